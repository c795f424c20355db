"""The metrics of the report on the embedded model, compared to slow references."""

import copy

import numpy as np
import pytest
import torch
from draws import rng
from PIL import Image
from report_data import pictures, random_regressor
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from torch import Tensor

from avatar.renderer.factors import FACTORS, MOTIONS, factors_from_z
from avatar.renderer.pose import EYE_Y
from avatar.renderer.render import render
from avatar.renderer.skin import brow_line
from avatar.report import heads
from avatar.report.detection import expected, sensible
from avatar.report.diversity import kid, nearest
from avatar.report.motions import STRENGTHS, movement_of
from avatar.report.ssim import WEIGHTS, batch_psnr, ms_ssim, scales, ssim_terms
from avatar.report.subject import resized
from avatar.training.regressor import Pictures, adjust, calibration, response
from encoder4editing.regressor import READ, SIDE, SKIN, Regressor, to_side
from micromotion.face.landmarks import find_landmarks


@pytest.fixture(scope="module")
def regressor() -> Regressor:
    return random_regressor()


def slow_ms_ssim(a: np.ndarray, b: np.ndarray, count: int) -> float:
    """MS-SSIM of one colour channel [S, S], float64, by the definition, window by window."""
    at = np.arange(11) - 5.0
    bell = np.exp(-(at[:, None] ** 2 + at**2) / (2 * 1.5**2))
    bell /= bell.sum()
    weights = np.array(WEIGHTS[:count]) / sum(WEIGHTS[:count])
    result = 1.0
    for i in range(count):
        wa, wb = (np.lib.stride_tricks.sliding_window_view(x, (11, 11)) for x in (a, b))
        ma, mb = (wa * bell).sum((2, 3)), (wb * bell).sum((2, 3))
        da, db = wa - ma[..., None, None], wb - mb[..., None, None]
        va, vb, cov = ((x * y * bell).sum((2, 3)) for x, y in ((da, da), (db, db), (da, db)))
        c1, c2 = 2.55**2, 7.65**2
        structure = (2 * cov + c2) / (va + vb + c2)
        if i == count - 1:
            structure = structure * (2 * ma * mb + c1) / (ma**2 + mb**2 + c1)
        result *= structure.mean() ** weights[i]
        a, b = ((x[::2, ::2] + x[1::2, ::2] + x[::2, 1::2] + x[1::2, 1::2]) / 4 for x in (a, b))
    return float(result)


# --- likeness


@pytest.mark.slow
@pytest.mark.parametrize(("size", "count"), [(256, 5), (128, 4), (64, 3)])
def test_ms_ssim_agrees_with_the_paper(size: int, count: int) -> None:
    a, b = pictures(2, size), pictures(2, size, seed=5)
    b = (0.7 * a.float() + 0.3 * b.float()).round().byte()
    assert scales(size) == count
    slow = [
        np.mean([slow_ms_ssim(x, y, count) for x, y in zip(one, other, strict=True)])
        for one, other in zip(a.double().numpy(), b.double().numpy(), strict=True)
    ]
    assert min(slow) > 0.3
    assert max(slow) < 0.99
    np.testing.assert_allclose(ms_ssim(a, b).numpy(), slow, rtol=1e-10)


def test_one_scale_is_scikit_images_ssim() -> None:
    a, b = pictures(1, 64)[0, 0].numpy(), pictures(1, 64, seed=3)[0, 0].numpy()
    _, full = structural_similarity(
        a, b, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=255, full=True
    )
    light, structure = ssim_terms(*(torch.from_numpy(x).double()[None, None] for x in (a, b)))
    np.testing.assert_allclose((light * structure)[0, 0].numpy(), full[5:-5, 5:-5], rtol=1e-6, atol=1e-9)


def test_likeness_is_one_for_equals_and_falls_with_noise_and_blur() -> None:
    true = pictures(2, 128)
    noise = torch.randn(true.shape, generator=rng(1))
    noisy = [(true + amount * noise).clamp(0, 255).round().byte() for amount in (0.0, 5.0, 20.0, 60.0)]
    for measure in (ms_ssim, batch_psnr):
        found = torch.stack([measure(each, true) for each in noisy])
        assert (found[:-1] > found[1:]).all()
        torch.testing.assert_close(found, torch.stack([measure(true, each) for each in noisy]))
    torch.testing.assert_close(ms_ssim(true, true), torch.ones(2, dtype=torch.float64))
    assert (ms_ssim(resized(resized(true, 32), 128), true) < 0.99).all()
    assert 0 <= float(ms_ssim(255 - true, true).max()) < 0.1  # a negative has no likeness, and gives no NaN
    assert batch_psnr(noisy[2], true)[0] == pytest.approx(
        peak_signal_noise_ratio(true[0].numpy(), noisy[2][0].numpy()), rel=1e-5
    )


def test_pictures_smaller_than_a_window_are_refused() -> None:
    assert scales(11) == 1
    with pytest.raises(ValueError, match="at least 11 pixels"):
        scales(10)


def slow_kid(x: np.ndarray, y: np.ndarray) -> float:
    def kernel(a: np.ndarray, b: np.ndarray) -> float:
        return float((a @ b / len(a) + 1) ** 3)

    m, n = len(x), len(y)
    xx = sum(kernel(x[i], x[j]) for i in range(m) for j in range(m) if i != j) / (m * (m - 1))
    yy = sum(kernel(y[i], y[j]) for i in range(n) for j in range(n) if i != j) / (n * (n - 1))
    return xx + yy - 2 * sum(kernel(a, b) for a in x for b in y) / (m * n)


# --- diversity


def test_kid_agrees_with_the_paper() -> None:
    x = torch.randn(23, 7, generator=rng(1), dtype=torch.float64)
    y = torch.randn(31, 7, generator=rng(2), dtype=torch.float64) + 0.3
    assert kid(x, y) == pytest.approx(slow_kid(x.numpy(), y.numpy()), rel=1e-12)
    assert kid(x, y) == pytest.approx(kid(y, x), rel=1e-12)


def test_kid_is_unbiased_and_sees_a_shift_and_a_narrowing() -> None:
    def draw(seed: int, count: int = 60) -> Tensor:
        return torch.randn(count, 5, generator=rng(seed), dtype=torch.float64)

    same = np.array([kid(draw(2 * i), draw(2 * i + 1)) for i in range(200)])
    assert same.min() < 0 < same.max()
    assert abs(same.mean()) < 3 * same.std() / 200**0.5
    assert kid(draw(1, 700), draw(2, 900) + 0.5) > 0.1  # more rows than one batch
    assert kid(draw(1, 700), 0.5 * draw(2, 900)) > 0.1


def test_nearest_finds_the_nearest() -> None:
    x = torch.randn(611, 4, generator=rng(1), dtype=torch.float64)
    y = torch.randn(90, 4, generator=rng(2), dtype=torch.float64)
    distance = (x[:, None] - y).norm(dim=2)
    found, where = nearest(x, y)
    torch.testing.assert_close(found, distance.min(dim=1).values)
    assert torch.equal(where, distance.argmin(dim=1))
    found, where = nearest(x, x, own=True)
    assert (where != torch.arange(len(x))).all()
    assert (found > 0).all()
    torch.testing.assert_close(found, (x - x[where]).norm(dim=1))


# --- motions


def test_motion_is_measured_as_constructed() -> None:
    true = np.array([[0.1, 0.9, 0.0, -0.05, 0.2], [0.3, 0.7, 0.0, 0.05, -0.2], [0.2, -0.4, 0.0, 0.0, 0.0]])
    read = np.asarray(STRENGTHS)[:, None, None] * true + np.array([0.2, -0.1, 0.3, 0.0, 0.5])
    found = movement_of(read, own=1)
    np.testing.assert_allclose(found.slopes, true, atol=1e-12)
    assert found.moved == pytest.approx(0.4)
    assert found.monotone() == pytest.approx(2 / 3)
    mean, size = found.others()["yaw"]
    assert mean == pytest.approx(0.0, abs=1e-12)
    assert size == pytest.approx(0.4 / 3 / 0.4)
    assert set(found.others()) == set(MOTIONS) - {"anger"}


def test_order_agrees_with_spearmans() -> None:
    from scipy.stats import spearmanr  # slow to import

    read = np.random.default_rng(0).normal(size=(len(STRENGTHS), 6, 5))
    read[:, 0, 2] = np.exp(STRENGTHS)
    found = movement_of(read, own=2)
    slow = [spearmanr(STRENGTHS, read[:, i, 2]).statistic for i in range(6)]
    np.testing.assert_allclose(found.order, slow, atol=1e-12)
    assert found.order[0] == pytest.approx(1.0)


# --- the evaluation regressor


@torch.inference_mode()
def test_pictures_of_any_size_give_the_same_readings(regressor: Regressor) -> None:
    small = pictures(2, 128).float() / 127.5 - 1
    large = small.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
    torch.testing.assert_close(regressor(large), regressor(small), atol=1e-5, rtol=1e-5)
    assert to_side(small[:, :, :64, :64]).shape == small.shape


@torch.inference_mode()
def test_age_is_read_from_the_skin_and_not_from_hair(regressor: Regressor) -> None:
    """Another picture's hair, brows and forehead do not change the age; nor do pixels beyond the face."""
    images = pictures(2, 128).float() / 127.5 - 1
    age = READ.index("age")
    before = regressor(images)
    above, beside = images.clone(), images.clone()
    above[:, :, : SKIN[0].start] = images[:, :, : SKIN[0].start].flip(0)
    beside[:, :, :30], beside[:, :, :, :16], beside[:, :, :, 112:] = 0.3, -0.2, 0.1
    assert torch.equal(regressor(beside), before)
    assert torch.equal(regressor(above)[:, age], before[:, age])
    assert not torch.equal(regressor(above), before)
    below = images.clone()
    below[:, :, 80:90, 60:70] *= -1
    assert not torch.equal(regressor(below)[:, age], before[:, age])


def test_age_is_read_below_the_brows_in_any_pose() -> None:
    """The lower edge of the angriest brow is above the window; the mouth is inside."""
    f = factors_from_z(heads.neutral(100))
    f |= {name: torch.ones(100, 1) for name in ("anger", "age")}
    across = torch.linspace(0.08, 0.46, 20)
    line, _ = brow_line(f, across.expand(100, -1))
    edge = (line - 0.04 * f["brow_thickness"]).amin(dim=1, keepdim=True)
    where = expected(heads.neutral(100))
    per_unit = (where[:, 1, 0] - where[:, 0, 0]) / (2 * f["eye_distance"][:, 0].numpy())
    lowest = where[:, 0, 1] - (edge[:, 0].numpy() - EYE_Y) * per_unit
    top, bottom = SKIN[0].start / SIDE, SKIN[0].stop / SIDE
    assert (lowest < top).all()
    assert (where[:, 2, 1] < bottom - 0.08).all()


def test_the_response_is_measured_as_constructed() -> None:
    true = torch.rand(500, len(READ), generator=rng(1))
    slopes = torch.eye(len(READ)) * 0.9 + 0.05 * torch.randn(len(READ), len(READ), generator=rng(2))
    read = true @ slopes + 0.1
    found, zero = response(read, true)
    torch.testing.assert_close(found, slopes, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(zero, torch.full((len(READ),), 0.1), atol=1e-4, rtol=1e-4)


@pytest.mark.slow
@torch.no_grad()
def test_a_calibrated_regressor_reads_each_motion_independently(regressor: Regressor) -> None:
    model, images = copy.deepcopy(regressor), pictures(96, 128)
    raw = torch.cat([model(part.float() / 127.5 - 1) for part in images.split(32)]).double()
    # True degrees that the readings follow with a slope of 0.8, with crosstalk and some noise.
    spread = torch.linalg.qr(raw - raw.mean(dim=0)).Q * len(raw) ** 0.5
    mixture = torch.eye(len(READ)) * 0.8
    mixture[1, 0], mixture[3, 2] = 0.3, -0.2
    model.setting.copy_(torch.linalg.lstsq(raw - raw.mean(dim=0), spread @ mixture.double()).solution)
    set_by_hand = model.setting.clone()
    true = spread.float()

    class Crooked(Regressor):
        """Reads as ``model`` does before calibration."""

        def forward(self, images: Tensor) -> Tensor:
            return (regressor(images) @ set_by_hand - self.zero) @ self.setting

    crooked, data = Crooked().eval(), Pictures(images, true)
    before = calibration(crooked, data)
    np.testing.assert_allclose(before.slope, 0.8, atol=1e-2)
    assert before.crosstalk[0] == pytest.approx(0.3, abs=1e-2)
    assert before.disturber[0] == "anger"
    adjust(crooked, data)
    after = calibration(crooked, data)
    count = len(MOTIONS)
    np.testing.assert_allclose(after.slope[:count], 1.0, atol=1e-2)
    np.testing.assert_allclose(after.crosstalk[:count], 0.0, atol=1e-2)
    np.testing.assert_allclose(after.slope[count:], 0.8, atol=1e-2)  # the free motions are unchanged
    assert max(after.error[:count]) < min(before.error[:count])
    adjust(crooked, data)  # calibration is idempotent
    np.testing.assert_allclose(calibration(crooked, data).slope, after.slope, atol=1e-3)


FACE = np.array([[0.374, 0.474], [0.626, 0.474], [0.5, 0.742]])


def landmarks_of(where: np.ndarray) -> np.ndarray:
    """68 landmarks [68, 2] with eyes and mouth at ``where``."""
    points = np.tile(where.mean(axis=0), (68, 1))
    ring = 0.02 * np.array([[-2, 0], [-1, -1], [1, -1], [2, 0], [1, 1], [-1, 1]])
    points[36:42], points[42:48] = where[0] + ring, where[1] + ring
    points[48], points[54] = where[2] - [0.09, 0], where[2] + [0.09, 0]
    return points


# --- detection


def test_landmarks_are_sensible_where_the_face_is() -> None:
    good = landmarks_of(FACE)
    assert sensible(good, FACE)
    assert sensible(good + 0.05, FACE)
    assert not sensible(good + np.array([0.1, 0]), FACE)  # beside it
    assert not sensible(good * [-1, 1] + [1, 0], FACE)  # eyes swapped
    assert not sensible(good * [1, -1] + [0, 1], FACE)  # upside down
    strayed = good.copy()
    strayed[30] = [1.02, 0.5]
    assert not sensible(strayed, FACE)  # a nose outside
    jaw = good.copy()
    jaw[8] = [0.5, 1.02]
    assert sensible(jaw, FACE)  # a long chin
    one_eye = good.copy()
    one_eye[42:48] += [0.0, 0.12]
    assert not sensible(one_eye, FACE)


@pytest.mark.slow
def test_eyes_and_mouth_are_where_dlib_finds_them_on_a_render() -> None:
    z = heads.with_factor(heads.neutral(1), "yaw", 0.3)
    picture = (render(factors_from_z(z), 128)[0] + 1) * 127.5
    image = Image.fromarray(picture.round().byte().movedim(0, -1).numpy()).resize((256, 256))
    points = find_landmarks(image, (40, 50, 220, 230)) / 256
    where = expected(z)[0]
    assert sensible(points, where)
    off = points[36:42].mean(axis=0) - where[0]
    assert np.abs(off).max() < 0.04


def test_a_turn_to_the_right_mirrors_one_to_the_left() -> None:
    straight = heads.neutral(5)
    left, right = (expected(heads.with_factor(straight, "yaw", yaw)) for yaw in (-0.5, 0.5))
    mirrored = right[:, [1, 0, 2]] * [-1, 1] + [1, 0]
    np.testing.assert_allclose(left, mirrored, atol=1e-5)
    assert (expected(straight)[:, 2, 0] - 0.5 < 1e-5).all()


def test_the_regressor_reads_the_first_factors_of_a_head() -> None:
    assert tuple(factor.name for factor in FACTORS[: len(READ)]) == READ
    assert READ[: len(MOTIONS)] == MOTIONS

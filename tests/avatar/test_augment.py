"""Each augmentation does what its name says; together they are reproducible, and leave a share unchanged."""

import io
import math

import numpy as np
import pytest
import torch
from draws import rng
from PIL import Image
from torch import Tensor

from avatar.data import augment as a

SIZE = 64
NAMES = [disturb.__name__ for disturb, _ in a.DISTURBANCES]


def pictures(count: int = 6, size: int = SIZE) -> Tensor:
    """A face-like picture: a light disc with two dark spots and a bar, before an even background."""
    at = (torch.arange(size) + 0.5) / size * 2 - 1
    x, y = at.view(1, 1, 1, size), at.view(1, 1, size, 1)
    colour = torch.rand(2, count, 3, 1, 1, generator=rng(5))
    head = ((0.55 - (x.square() + y.square()).sqrt()) * 20).sigmoid()
    result = torch.lerp(0.3 * colour[0] - 0.6, 0.4 + 0.5 * colour[1], head)
    for left in (-0.22, 0.22):
        result = torch.where((x - left).square() + (y + 0.15).square() < 0.01, -0.8, result)
    return torch.where((x.abs() < 0.2) & ((y - 0.25).abs() < 0.05), -0.3, result)


def changed(name: str, images: Tensor, seed: int = 0) -> Tensor:
    return getattr(a, name)(images, rng(seed))


def roughness(images: Tensor) -> float:
    return float(images.diff(dim=-1).square().mean() + images.diff(dim=-2).square().mean())


@pytest.mark.parametrize("size", [32, 128, 256])
def test_pictures_stay_pictures(size: int) -> None:
    images = pictures(4, size)
    before = images.clone()
    result = a.augment(images, rng(), keep=0)
    assert result.shape == images.shape
    assert result.dtype == torch.float32
    assert torch.equal(images, before), "the caller's pictures were changed"
    assert result.isfinite().all()
    assert -1 <= result.min() <= result.max() <= 1


def test_the_same_numbers_give_the_same_pictures() -> None:
    images = pictures()
    assert torch.equal(a.augment(images, rng(1)), a.augment(images, rng(1)))
    assert not torch.equal(a.augment(images, rng(1)), a.augment(images, rng(2)))


@pytest.mark.parametrize("keep", [0.0, 0.4, 1.0])
def test_a_share_of_pictures_is_unchanged(keep: float) -> None:
    images = pictures(1, 16).expand(600, -1, -1, -1)
    same = (a.augment(images, rng(), keep=keep) == images).all(dim=(1, 2, 3)).float().mean()
    untouched = math.prod(1 - share for _, share in a.DISTURBANCES)  # selected, but no augmentation applied
    assert abs(float(same) - (keep + (1 - keep) * untouched)) < 0.06


def test_autocast_changes_nothing() -> None:
    with torch.autocast("cpu", torch.bfloat16):
        inside = a.augment(pictures(), rng(), keep=0)
    assert torch.equal(inside, a.augment(pictures(), rng(), keep=0))


@pytest.mark.parametrize("name", NAMES)
def test_a_disturbance_changes_every_picture_and_repeats(name: str) -> None:
    images = pictures()
    result = changed(name, images)
    assert result.shape == images.shape
    assert result.isfinite().all()
    assert ((result - images).abs().amax(dim=(1, 2, 3)) > 0.01).all()
    assert torch.equal(result, changed(name, images))
    apart = (changed(name, images, 9) - result).abs().amax()
    assert apart > 0.01, "the degree is not drawn"


@pytest.mark.parametrize(
    "name",
    [
        "proportions",
        "relief",
        "backdrop",
        "light",
        "vignette",
        "frame",
        "occlude",
        "sketch",
        "colour",
        "tone",
        "blur",
    ],
)
def test_augmentations_scale_with_the_resolution(name: str) -> None:
    """A kernel that ignored the resolution would be half as wide."""
    large = pictures(4, 256)
    half = torch.nn.functional.avg_pool2d(large, 2)
    expected = changed(name, half)
    shrunk = torch.nn.functional.avg_pool2d(changed(name, large), 2)
    assert (shrunk - expected).abs().mean() < 0.04


@pytest.mark.slow
def test_eyes_mostly_shrink_where_they_are_and_the_edge_stays() -> None:
    at = (torch.arange(256) + 0.5) / 256 * 2 - 1
    x, y = at.view(1, 1, 1, -1), at.view(1, 1, -1, 1)
    eye = ((x - a.EYES[1]).square() + (y + 0.1).square() < 0.01).float() * 2 - 1
    result = changed("proportions", eye.expand(200, 3, -1, -1))
    area = (result[:, 0] > 0).float().mean(dim=(1, 2)) / (eye > 0).float().mean()
    assert 0.35 < area.min() < 0.6  # a side shrinks by up to 1.55
    assert 0.55 < area.mean() < 0.8
    places = torch.stack([at.expand(256, 256), at[:, None].expand(256, 256), torch.zeros(256, 256)])
    moved = (changed("proportions", places.expand(20, -1, -1, -1)) - places).abs().amax(dim=(0, 1))
    assert moved[:, 0].max() < 0.01
    assert moved[0].max() < 0.01


def test_relief_darkens_the_eyes_and_draws_thin_lines() -> None:
    even = torch.zeros(100, 3, 128, 128)
    light = (changed("relief", even) + 1)[:, 0]
    eye, cheek = light[:, 54:61, 46:52].mean(), light[:, 80:90, 46:52].mean()
    assert eye < 0.9 * cheek
    assert (light.amin(dim=(1, 2)) < 0.75).float().mean() > 0.5, "no lines"


def test_the_background_changes_only_behind_the_head() -> None:
    moved = (changed("backdrop", pictures()) - pictures()).abs().mean(dim=1)
    middle = slice(SIZE * 3 // 8, SIZE * 5 // 8)
    assert moved[:, :4, :4].mean() > 0.2
    assert moved[:, middle, middle].max() < 0.02


def test_light_falls_off_to_one_side() -> None:
    gain = (changed("light", torch.zeros(8, 3, SIZE, SIZE)) + 1).mean(dim=1)
    brightest = gain.amax(dim=(1, 2)) / gain.amin(dim=(1, 2))
    assert (brightest > 1.1).all()
    assert (brightest < 8).all()
    opposite = gain * gain.flip(1, 2)  # a plane in the exponent: the same everywhere
    assert (opposite.amax(dim=(1, 2)) / opposite.amin(dim=(1, 2)) < 1.02).all()


def test_a_vignette_leaves_the_middle_unchanged() -> None:
    moved = (changed("vignette", pictures()) - pictures()).abs().mean(dim=1)
    assert (moved[:, 0, 0] > 4 * moved[:, SIZE // 2, SIZE // 2]).all()


def test_framing_moves_by_a_few_pixels() -> None:
    at = (torch.arange(SIZE) + 0.5) / SIZE * 2 - 1
    places = torch.stack([at.expand(SIZE, SIZE), at[:, None].expand(SIZE, SIZE), torch.zeros(SIZE, SIZE)])
    shift = (changed("frame", places.expand(64, -1, -1, -1)) - places)[:, :2, 20:44, 20:44].abs()
    assert 0.05 < shift.max() < 0.16  # 4% of the side, and what zoom and turn add


def test_an_occluder_is_one_piece_and_leaves_the_rest() -> None:
    moved = (changed("occlude", pictures(64)) - pictures(64)).abs().amax(dim=1) > 0.02
    share = moved.float().mean(dim=(1, 2))
    assert share.max() < 0.3
    assert share.mean() > 0.03


@pytest.mark.parametrize("name", ["brush", "blur", "shake", "small"])
def test_smoothing_removes_detail_and_preserves_brightness(name: str) -> None:
    grainy = (pictures() + 0.2 * torch.randn(6, 3, SIZE, SIZE, generator=rng(3))).clamp(-1, 1)
    result = changed(name, grainy)
    assert roughness(result) < 0.7 * roughness(grainy)
    assert (result.mean(dim=(2, 3)) - grainy.mean(dim=(2, 3))).abs().max() < 0.1


def test_a_brush_preserves_edges_that_a_blur_removes() -> None:
    step = torch.ones(4, 3, SIZE, SIZE)
    step[..., : SIZE // 2] = -1
    assert torch.equal(changed("brush", step), step)
    assert (changed("blur", step) - step).abs().max() > 0.2


def test_a_blur_agrees_with_a_plain_convolution() -> None:
    """Compared to a plain double sum over the neighbours, mirrored at the borders."""
    images = pictures(1, 32)
    result = changed("blur", images, 4)
    width = 0.6 + 1.4 * float(torch.rand(1, generator=rng(4)))
    width *= 32 / 128
    reach = math.ceil(4 * 32 / 128)
    padded = np.pad(images[0].double().numpy(), ((0, 0), (reach, reach), (reach, reach)), mode="reflect")
    total, weights = np.zeros((3, 32, 32)), 0.0
    for dy in range(-reach, reach + 1):
        for dx in range(-reach, reach + 1):
            weight = math.exp(-(dx * dx + dy * dy) / (2 * width * width))
            weights += weight
            total += weight * padded[:, reach + dy : reach + dy + 32, reach + dx : reach + dx + 32]
    assert np.abs(total / weights - result[0].numpy()).max() < 1e-5


def test_posterising_leaves_few_levels() -> None:
    result = changed("posterise", pictures(12))
    levels = [len(picture.unique()) for picture in result]
    assert all(2 <= count <= 7 for count in levels)
    assert len(set(levels)) > 1


def test_a_sketch_is_dark_lines_on_light_paper() -> None:
    result = changed("sketch", pictures())
    assert (result.flatten(1).median(dim=1).values > 0).all()
    assert (result.amin(dim=(1, 2, 3)) < -0.2).all()
    spread = (result - result.mean(dim=1, keepdim=True)).abs().mean()
    assert spread < 0.5 * (pictures() - pictures().mean(dim=1, keepdim=True)).abs().mean() + 0.05


def test_a_canvas_is_fine_and_even_on_the_whole() -> None:
    flat = torch.zeros(8, 3, SIZE, SIZE)
    result = changed("canvas", flat)
    assert result.mean().abs() < 0.02
    assert roughness(result) > 1e-4


def test_colour_changes_do_not_move_pixels() -> None:
    """It maps colours to colours, whatever their neighbours."""
    images, order = pictures(), torch.randperm(SIZE, generator=rng(8))
    assert torch.allclose(
        changed("colour", images)[..., order], changed("colour", images[..., order]), atol=1e-6
    )


def test_a_tone_is_one_hue_and_half_of_them_are_grey() -> None:
    level = changed("tone", pictures(64)) + 1
    ratio = level / level.mean(dim=1, keepdim=True)
    assert (ratio.amax(dim=(2, 3)) - ratio.amin(dim=(2, 3))).max() < 1e-4
    grey = (ratio - 1).abs().amax(dim=(1, 2, 3)) < 1e-4
    assert 0.3 < grey.float().mean() < 0.7


def test_noise_has_no_bias() -> None:
    result = changed("noise", torch.zeros(16, 3, SIZE, SIZE))
    assert result.mean().abs() < 0.01
    assert 0.01 < result.std(dim=(1, 2, 3)).min() < result.std(dim=(1, 2, 3)).max() < 0.16


def test_jpeg_agrees_with_a_real_codec() -> None:
    """Pillow's file of the same quality has the same amount of error in the same positions."""
    images = pictures(1, 128)
    quality = 8 + 62 * float(torch.rand(1, 1, 1, 1, 1, 1, generator=rng(6)))
    ours = changed("jpeg", images, 6).clamp(-1, 1)
    pixels = ((images[0] + 1) * 127.5).round().byte().permute(1, 2, 0).numpy()
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=round(quality), subsampling=2)
    theirs = torch.from_numpy(np.array(Image.open(file))).permute(2, 0, 1)[None] / 127.5 - 1
    wrong_ours, wrong_theirs = (each - images for each in (ours, theirs))
    assert 0.7 < wrong_ours.std() / wrong_theirs.std() < 1.4
    assert torch.corrcoef(torch.stack([wrong_ours.flatten(), wrong_theirs.flatten()]))[0, 1] > 0.8


def test_jpeg_needs_whole_blocks() -> None:
    with pytest.raises(ValueError, match="multiple of 16"):
        a.jpeg(torch.zeros(1, 3, 24, 24), rng())

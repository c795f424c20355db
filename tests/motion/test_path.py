"""Motions along a curve: the rank, the path, and what must hold for any of them."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from draws import normal
from scipy.interpolate import make_smoothing_spline
from torch import Tensor

from micromotion.errors import MotionError
from micromotion.motion.anchor_analysis import analyse
from micromotion.motion.anchors import Anchors
from micromotion.motion.playable import Motion, load_motion
from micromotion.motion.robust_pca import principal_subspace

STYLES, DIM = 4, 128
DEGREES = torch.linspace(0, 1, 11)


def flat(*shape: int, seed: int = 0) -> Tensor:
    """Entries of which none stands out, so that the pursuit preserves them."""
    return normal(*shape, seed=seed).sign()


def bent(degrees: Tensor, bend: float = 1.0, noise: float = 0.0) -> Tensor:
    """Latents of rank 2 about an identity: linear along one direction, a parabola along another."""
    t = degrees[:, None, None]
    along, aside = flat(STYLES, DIM, seed=1), flat(STYLES, DIM, seed=2)
    latents = 10 * normal(STYLES, DIM, seed=7) + t * along + bend * (t * t - t) * aside
    return latents + noise * normal(*latents.shape, seed=20)


def curve(w_plus: Tensor, degrees: Tensor = DEGREES) -> Motion:
    return Motion.from_anchors(Anchors(w_plus, degrees), "smile", "curve")


def offsets(motion: Motion, degrees: Tensor = DEGREES) -> Tensor:
    return torch.stack([motion.offset(float(degree)) for degree in degrees])


def error(got: Tensor, wanted: Tensor) -> float:
    return float((got - wanted).norm() / wanted.norm())


# --- the rank -----------------------------------------------------------------------------------------------


def slow_rank(points: np.ndarray) -> int:
    """Gavish and Donoho's rule from the eigenvalues of the Gram matrix, one value at a time."""
    rows, columns = points.shape
    middle = sum(points[i] for i in range(rows)) / rows
    centred = points - middle
    values = np.sqrt(np.maximum(np.sort(np.linalg.eigvalsh(centred @ centred.T))[::-1][: rows - 1], 0))
    b = rows / columns
    limit = np.median(values) * (0.56 * b * b * b - 0.95 * b * b + 1.82 * b + 1.43)
    return sum(value > limit for value in values)


@pytest.mark.parametrize("rank", [1, 2, 3, 4])
@pytest.mark.parametrize("noise", [0.02, 0.1, 0.3])
def test_the_rank_is_the_number_of_components_above_the_noise(rank: int, noise: float) -> None:
    points = normal(11, rank, seed=1) @ normal(rank, 600, seed=2) + noise * normal(11, 600, seed=3)
    found = principal_subspace(points)
    assert found.coordinates.shape[1] == rank == slow_rank(points.double().numpy())
    assert found.threshold < float(found.singular_values[rank - 1])
    assert found.threshold > float(found.singular_values[rank])


@pytest.mark.parametrize("rank", [1, 2, 4])
def test_without_noise_the_rank_is_exact(rank: int) -> None:
    points = normal(11, rank, seed=1) @ normal(rank, 600, seed=2)
    found = principal_subspace(points)
    assert found.coordinates.shape == (11, rank)
    rebuilt = found.centre + found.coordinates @ found.basis
    torch.testing.assert_close(rebuilt.float(), points, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(found.basis @ found.basis.T, torch.eye(rank, dtype=torch.float64))


def test_pure_noise_has_rank_one_and_no_motion_rank_zero() -> None:
    assert principal_subspace(normal(11, 600)).coordinates.shape[1] == 1
    still = principal_subspace(normal(1, 600).expand(11, -1))
    assert still.coordinates.shape == (11, 0)


@pytest.mark.parametrize(("n", "dim"), [(2, 5), (3, 5), (4, 5), (11, 1), (128, 16), (16, 16)])
def test_any_shape_has_a_subspace(n: int, dim: int) -> None:
    found = principal_subspace(normal(n, dim))
    assert len(found.singular_values) == min(n - 1, dim)
    assert 1 <= found.coordinates.shape[1] <= min(n - 1, dim)
    if n <= 4:
        assert found.coordinates.shape[1] == 1


# --- analysing anchors --------------------------------------------------------------------------------------


def test_a_line_is_straight_and_of_rank_one() -> None:
    found = analyse(Anchors(bent(DEGREES, 0.0), DEGREES))
    assert found.subspace.coordinates.shape[1] == 1
    assert found.straightness > 1 - 1e-9
    assert max(found.gross) < 1e-5


def test_a_bend_is_detected_and_measured() -> None:
    """The share that a line explains, computed from the two almost orthogonal directions."""
    t = DEGREES.double()
    along, aside = t - t.mean(), t * t - t - (t * t - t).mean()
    wanted = float(along.square().sum() / (along.square().sum() + 4 * aside.square().sum()))
    found = analyse(Anchors(bent(DEGREES, 2.0, noise=0.1), DEGREES))
    assert found.subspace.coordinates.shape[1] == 2
    assert found.straightness == pytest.approx(wanted, abs=0.03)
    assert wanted < 0.8


def test_no_motion_counts_as_straight() -> None:
    still = normal(1, STYLES, DIM).expand(11, -1, -1)
    found = analyse(Anchors(still, DEGREES))
    assert (found.straightness, found.subspace.coordinates.shape[1]) == (1.0, 0)
    assert torch.equal(curve(still).offset(0.7), torch.zeros(STYLES, DIM))


def test_gross_errors_are_removed_and_reported_by_style() -> None:
    clean = bent(DEGREES, 0.0, noise=0.05)
    spoilt = clean.clone()
    spoilt[4, 2, 10] += 6.0
    spoilt[9, 2, 77] -= 6.0
    found = analyse(Anchors(spoilt, DEGREES))
    assert [share > 0 for share in found.gross] == [False, False, True, False]
    change = found.cleaned - analyse(Anchors(clean, DEGREES)).cleaned
    assert float(change.abs().max()) < 0.3
    assert found.subspace.coordinates.shape[1] == 1


def test_small_noise_is_left_for_the_subspace_to_average() -> None:
    clean = bent(DEGREES, 1.0, noise=0.1)
    found = analyse(Anchors(clean, DEGREES))
    moved = found.cleaned - found.cleaned.mean(0)
    wanted = clean.double() - clean.double().mean(0)
    assert error(moved, wanted) < 0.05


# --- the path -----------------------------------------------------------------------------------------------


def slow_curve(anchors: Anchors, degree: float) -> np.ndarray:
    """The curve from singular vectors and SciPy's splines, over a fine grid of smoothings."""
    points = analyse(anchors).cleaned.flatten(1).numpy()
    t = anchors.degrees.double().numpy()
    left, values, right = np.linalg.svd(points - points.mean(0), full_matrices=False)
    total = np.zeros(points.shape[1])
    for k in range(slow_rank(points)):
        coordinate = left[:, k] * values[k]
        least, best = np.inf, None
        for exponent in np.arange(-10, 6, 0.05):
            hat = make_smoothing_spline(t, np.eye(len(t)), lam=10**exponent)(t)
            spare = len(t) - 1.4 * np.trace(hat)
            score = np.sum((coordinate - hat @ coordinate) ** 2) / spare**2
            if spare > 0 and score < least:
                least, best = score, make_smoothing_spline(t, coordinate, lam=10**exponent)
        assert best is not None
        inside = float(np.clip(degree, t[0], t[-1]))
        total += (best(inside) + best(inside, 1) * (degree - inside) - best(0.0)) * right[k]
    return total.reshape(anchors.w_plus.shape[1:])


@pytest.mark.slow
def test_agrees_with_the_slow_reference() -> None:
    anchors = Anchors(bent(DEGREES, 1.5, noise=0.1), DEGREES)
    motion = Motion.from_anchors(anchors, "smile", "curve")
    for degree in (-1.0, 0.25, 0.5, 1.0, 1.7):
        wanted = torch.from_numpy(slow_curve(anchors, degree))
        assert error(motion.offset(degree).double(), wanted) < 0.02


@pytest.mark.parametrize("bend", [0.3, 1.0, 2.0])
def test_a_clean_curve_runs_through_its_anchors(bend: float) -> None:
    """Except for what the pursuit counts as sparse noise, which is largest without other noise."""
    latents = bent(DEGREES, bend)
    got = error(offsets(curve(latents)), latents - latents[0])
    straight = Motion.from_anchors(Anchors(latents, DEGREES), "smile")
    assert got < 0.07
    assert got < 0.35 * error(offsets(straight), latents - latents[0])


def test_noise_is_averaged_and_the_curve_beats_the_line() -> None:
    latents, clean = bent(DEGREES, 1.0, noise=0.1), bent(DEGREES, 1.0)
    got = error(offsets(curve(latents)), clean - clean[0])
    assert got < 0.75 * error(latents - latents[0], clean - clean[0])
    line = Motion.from_anchors(Anchors(latents, DEGREES), "smile")
    assert got < 0.6 * error(offsets(line), clean - clean[0])


def test_degree_zero_changes_nothing_and_one_is_the_last_anchor() -> None:
    latents = bent(DEGREES, 1.0)
    motion = curve(latents)
    assert torch.equal(motion.offset(0.0), torch.zeros(STYLES, DIM))
    assert error(motion.offset(1.0), latents[-1] - latents[0]) < 0.05
    inner = DEGREES[3:]  # degree 0 is before the first anchor
    assert torch.equal(curve(latents[3:], inner).offset(0.0), torch.zeros(STYLES, DIM))


def test_without_a_bend_the_curve_is_the_line() -> None:
    anchors = Anchors(bent(DEGREES, 0.0), DEGREES)
    line, path = (Motion.from_anchors(anchors, "smile", kind) for kind in ("line", "curve"))
    for strength in (-2.0, -0.5, 0.3, 1.0, 1.5, 4.0):
        torch.testing.assert_close(path.offset(strength), line.offset(strength), rtol=1e-4, atol=1e-4)


def test_beyond_the_anchors_the_curve_continues_straight() -> None:
    motion = curve(bent(DEGREES, 1.0, noise=0.05))
    for end, outwards in ((0.0, -1), (1.0, 1)):
        near, middle, far = (motion.offset(end + outwards * step) for step in (0.5, 1.0, 2.0))
        torch.testing.assert_close(far - middle, 2 * (middle - near), rtol=1e-4, atol=1e-5)
        inside = motion.offset(end) - motion.offset(end - outwards * 1e-3)
        outside = motion.offset(end + outwards * 1e-3) - motion.offset(end)
        assert error(outside, inside) < 0.02


def test_negated_anchors_give_the_negated_path() -> None:
    latents = bent(DEGREES, 1.0, noise=0.1)
    forth, back = curve(latents), curve(-latents)
    for strength in (-1.0, 0.4, 1.0, 2.0):
        torch.testing.assert_close(back.offset(strength), -forth.offset(strength), rtol=1e-5, atol=1e-5)


def test_reversed_anchors_give_the_reversed_path() -> None:
    latents = bent(DEGREES, 1.0, noise=0.1)
    forth, back = curve(latents), curve(latents.flip(0), 1 - DEGREES.flip(0))
    for strength in (-0.5, 0.3, 1.0, 1.5):
        wanted = forth.offset(1 - strength) - forth.offset(1.0)
        torch.testing.assert_close(back.offset(strength), wanted, rtol=1e-3, atol=1e-3)


def test_the_identity_does_not_matter() -> None:
    latents = (bent(DEGREES, 1.0, noise=0.1) * 2**10).round() / 2**10
    identity = (100 * normal(STYLES, DIM, seed=9)).round()
    torch.testing.assert_close(
        offsets(curve(latents + identity)), offsets(curve(latents)), rtol=1e-4, atol=1e-4
    )


def test_two_anchors_give_the_same_line_on_either_path() -> None:
    anchors = Anchors(bent(torch.tensor([0.0, 1.0]), 0.0), torch.tensor([0.0, 1.0]))
    line, path = (Motion.from_anchors(anchors, "smile", kind) for kind in ("line", "curve"))
    torch.testing.assert_close(path.offset(1.5), line.offset(1.5), rtol=1e-4, atol=1e-4)


def test_frames_follow_the_curve_by_degree() -> None:
    """As the animator does: the direction moves to a device, and frames have equal steps of strength."""
    motion = curve(bent(DEGREES, 1.0))
    moved = replace(motion, direction=motion.direction.clone())
    frames = list(moved.path(1.0, 5))
    for frame, strength in zip(frames, (0.0, 0.25, 0.5, 0.75, 1.0), strict=True):
        assert torch.equal(frame, motion.offset(strength))
        assert (frame.dtype, frame.shape) == (torch.float32, (STYLES, DIM))
    assert error(frames[2], frames[4] / 2) > 0.2, "it bends"


def test_the_file_names_the_path_and_the_caller_may_override_it(tmp_path: Path) -> None:
    Anchors(bent(DEGREES, 1.0), DEGREES, {"path": "curve"}).save(tmp_path / "nod.safetensors")
    Anchors(bent(DEGREES, 1.0), DEGREES).save(tmp_path / "plain.safetensors")
    assert load_motion(tmp_path / "nod.safetensors").curve is not None
    assert load_motion(tmp_path / "plain.safetensors").curve is None
    assert load_motion(tmp_path / "nod.safetensors", "line").curve is None
    assert load_motion(tmp_path / "plain.safetensors", "curve").curve is not None
    Anchors(bent(DEGREES), DEGREES, {"path": "spiral" * 99}).save(tmp_path / "odd.safetensors")
    with pytest.raises(MotionError, match=r'odd\.safetensors .*"line" or "curve", not') as caught:
        load_motion(tmp_path / "odd.safetensors")
    assert len(str(caught.value).replace(str(tmp_path), "")) < 200

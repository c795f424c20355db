"""Wrong frames are found and bridged by region; blinks and words are kept."""

import numpy as np
import pytest

from micromotion.drive.cleaning import REGIONS, clean, wrong_frames
from micromotion.drive.filters import bridged, savitzky_golay
from micromotion.photo.head import landmarks_in_depth

FRAMES = 90
BAD = (20, 47, 48, 71)


def talking(seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Shapes, spread and looks of a face that speaks, smiles and blinks, with the noise of its landmarks."""
    rng = np.random.default_rng(seed)
    times = np.arange(FRAMES) / 25
    shapes = np.repeat(landmarks_in_depth()[None, :, :2] * [1, -1] / 0.52, FRAMES, axis=0)
    words = np.clip(np.sin(2 * np.pi * 3 * times), 0, 1) * np.clip(np.sin(2 * np.pi * 0.4 * times), 0, 1)
    shapes[:, [57, 58, 56, 66, 65, 67, 8], 1] += 0.25 * words[:, None]
    smile = np.clip(times - 1, 0, 1) * np.clip(3.2 - times, 0, 1)
    shapes[:, 48] += 0.1 * smile[:, None] * [-1, -1]
    shapes[:, 54] += 0.1 * smile[:, None] * [1, -1]
    for start in (10, 34, 60):
        shapes[start : start + 3, [37, 38, 43, 44], 1] += 0.12
    shapes += rng.normal(0, 0.004, shapes.shape)
    spread = rng.uniform(0.9, 1.1, (FRAMES, 68)) * 0.02
    looks = np.full((FRAMES, 8, 8, 3), 120.0) + rng.normal(0, 1, (FRAMES, 8, 8, 3))
    return shapes, spread, looks


def spoiled() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    shapes, spread, looks = talking()
    rng = np.random.default_rng(5)
    for at in BAD:
        shapes[at] += rng.normal(0, 0.08, (68, 2))
        spread[at] *= 3
    return shapes, spread, looks


def test_nothing_is_wrong_in_a_clean_clip() -> None:
    for seed in range(5):
        assert not wrong_frames(*talking(seed))["all"].any()


def test_planted_wrong_frames_are_found_and_no_others() -> None:
    assert tuple(np.flatnonzero(wrong_frames(*spoiled())["all"])) == BAD


def test_a_frame_that_looks_like_another_person_is_found_without_any_spread() -> None:
    shapes, spread, looks = talking()
    shapes[40] += np.random.default_rng(5).normal(0, 0.08, (68, 2))
    assert not wrong_frames(shapes, spread, looks)["all"].any()
    looks[40] += 60
    assert np.flatnonzero(wrong_frames(shapes, spread, looks)["all"]).tolist() == [40]


def test_cleaning_brings_wrong_frames_back_and_keeps_the_rest() -> None:
    true = talking()[0]
    shapes, spread, looks = spoiled()
    cleaned = clean(shapes, wrong_frames(shapes, spread, looks))
    good = np.setdiff1d(np.arange(FRAMES), BAD)
    assert (cleaned[good] == true[good]).all()
    before, after = (np.abs(each[list(BAD)] - true[list(BAD)]).mean() for each in (shapes, cleaned))
    assert after < 0.25 * before


def test_a_blink_is_not_bridged_even_where_lids_look_unsure() -> None:
    shapes, spread, looks = talking()
    spread[10:13] *= 3
    wrong = wrong_frames(shapes, spread, looks)
    assert not wrong["all"][10:13].any()


def test_only_the_region_that_is_wrong_is_bridged() -> None:
    shapes, spread, looks = talking()
    brows = REGIONS["brows"]
    shapes[50, brows] += np.random.default_rng(2).normal(0, 0.15, (len(brows), 2))
    spread[50] *= 3
    wrong = wrong_frames(shapes, spread, looks)
    assert np.flatnonzero(wrong["brows"]).tolist() == [50]
    assert not wrong["mouth"].any()
    assert (clean(shapes, wrong)[:, REGIONS["mouth"]] == shapes[:, REGIONS["mouth"]]).all()


def test_nothing_is_bridged_where_most_of_a_clip_is_wrong_or_it_is_short() -> None:
    shapes, spread, looks = spoiled()
    assert not wrong_frames(shapes[:10], spread[:10], looks[:10])["all"].any()


@pytest.mark.parametrize("shape", [(9,), (9, 3), (9, 4, 2)])
def test_bridges_are_straight_and_hold_at_the_ends(shape: tuple[int, ...]) -> None:
    line = np.broadcast_to(np.arange(9.0).reshape(-1, *[1] * (len(shape) - 1)), shape)
    missing = np.isin(np.arange(9), (0, 3, 4, 8))
    holed = np.where(missing.reshape(-1, *[1] * (len(shape) - 1)), -99.0, line)
    expected = [1, 1, 2, 3, 4, 5, 6, 7, 7]
    assert bridged(holed, missing).reshape(9, -1)[:, 0].tolist() == expected
    assert (bridged(holed, np.ones(9, bool)) == holed).all()


@pytest.mark.parametrize("frames", [1, 2, 3, 4, 6, 7, 50])
@pytest.mark.parametrize("width", [1.0, 5.0, 7.0, 17.0])
def test_smoothing_neither_lags_nor_bends_straight_motion(frames: int, width: float) -> None:
    line = np.linspace(0, 1, frames)[:, None] * [1.0, -2.0]
    np.testing.assert_allclose(savitzky_golay(line, width), line, atol=1e-12)


def test_smoothing_lessens_trembling() -> None:
    noise = np.random.default_rng(0).normal(size=(400, 3))
    assert savitzky_golay(noise, 7).std() < 0.75

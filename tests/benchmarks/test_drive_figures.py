"""The measurement of driving: plain signs of landmarks, spoiled frames, and its section of docs/claims.md."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.drive.clips import EFFECTS, FITTED, MEASURED, all_clips
from benchmarks.drive.corruption import corrupted
from benchmarks.drive.section import (
    HEADING,
    astray_share,
    kept_section,
    median_of,
    replace_section,
    section,
)
from benchmarks.drive.signs import signs
from micromotion.drive.landmark_track import FaceTrack
from micromotion.photo.head import canonical_landmarks, landmarks_in_depth, rotations


def track(landmarks: np.ndarray) -> FaceTrack:
    frames = len(landmarks)
    return FaceTrack(
        seconds=np.arange(frames) / 25,
        seen=np.ones(frames, np.bool_),
        landmarks=landmarks,
        spread=np.zeros((frames, 68)),
        irises=np.zeros((frames, 2, 2)),
        looks=np.zeros((frames, 8, 8, 3)),
        others=0,
    )


def face() -> np.ndarray:
    """The mean head's landmarks [68, 2] from the front, in a picture of 300 pixels."""
    return 300 * canonical_landmarks()


def test_signs_do_not_depend_on_place_size_and_tilt() -> None:
    turn = np.array([[np.cos(0.3), -np.sin(0.3)], [np.sin(0.3), np.cos(0.3)]])
    found = signs(track(np.stack([face(), 1.7 * face() @ turn.T + [40, -9]])))
    for effect in EFFECTS:
        assert found[effect][0] == pytest.approx(found[effect][1], abs=1e-9)


@pytest.mark.parametrize(
    ("effect", "indices", "way"),
    [
        ("eyes_closed", [37, 38, 43, 44], (0, 1)),
        ("mouth_open", [65, 66, 67, 55, 56, 57, 58, 59], (0, 1)),
        ("smile", [54], (1, 0)),
        ("anger", [20, 21, 22, 23], (0, 1)),
    ],
)
def test_a_sign_grows_with_its_own_effect_and_no_other(
    effect: str, indices: list[int], way: tuple[int, int]
) -> None:
    moved = face()
    moved[indices] += 5 * np.array(way)
    found = signs(track(np.stack([face(), moved])))
    growth = {
        name: found[name][1] - found[name][0] for name in ("eyes_closed", "mouth_open", "smile", "anger")
    }
    assert growth[effect] > 0.02
    others = [value for name, value in growth.items() if name != effect]
    assert np.abs(others).max() < 0.2 * growth[effect] + 0.01


@pytest.mark.parametrize(("effect", "index", "least"), [("yaw", 0, 4.0), ("pitch", 1, 0.08)])
def test_a_turn_and_a_nod_are_seen_as_such(effect: str, index: int, least: float) -> None:
    angles = np.zeros((3, 3))
    angles[:, index] = (-10, 0, 10)
    seen = landmarks_in_depth() @ rotations(angles).mT
    found = signs(track(300 + 100 * seen[..., :2] * [1, -1]))[effect]
    assert found[0] < found[1] - least
    assert found[2] > found[1] + least


def test_clips_that_are_fitted_share_no_person_and_no_course_with_those_that_are_measured() -> None:
    measured, fitted = all_clips(MEASURED), all_clips(FITTED)
    assert not {clip.person for clip in measured} & {clip.person for clip in fitted}
    differ = [(one.effects != other.effects).any() for one, other in zip(measured, fitted, strict=True)]
    assert sum(differ) > 9  # of the turns there are only two
    for clip in measured:
        assert not clip.effects[0].any()
        assert not clip.camera[0].any()  # so that the first frame is the photo


def test_a_tenth_of_the_frames_is_spoiled_and_no_other() -> None:
    frames = [np.full((32, 32, 3), 100 + n, np.uint8) for n in range(48)]
    others = [np.full((32, 32, 3), 200, np.uint8)] * 48
    spoiled, kinds = corrupted(frames, others, seed=3)
    assert len(kinds) == 5
    assert set(kinds.values()) == {"blur", "cover", "face"}
    for at, (frame, now) in enumerate(zip(frames, spoiled, strict=True)):
        if at not in kinds:
            assert now is frame


def rows(r: float, moved: bool) -> dict[str, Any]:
    return {
        "r": r if moved else None,
        "gain": 0.9 if moved else None,
        "still": None if moved else 0.01,
        "spoiled": 0.1,
        "cleaned": 0.02,
        "moved": 0.2 if moved else None,
        "astray": None if moved else 0.05,
    }


def figures(r: float) -> dict[str, dict[str, Any]]:
    counted = {
        "frames": {"spoiled": 5, "found": 4, "false": 1, "bridged when clean": 0},
        "closings": {"true": 2, "without": 2, "with": 2},
    }
    return {name: {effect: rows(r, moved) for effect in EFFECTS} | counted for name, moved in CLIPS}


CLIPS = (("one", True), ("two", True), ("three", False))


def test_medians_take_only_the_clips_in_which_an_effect_moves() -> None:
    clips = figures(0.95)
    clips["one"]["smile"]["r"] = 0.5
    assert median_of(clips, "smile", "r") == pytest.approx((0.5 + 0.95) / 2)
    assert astray_share(clips, "smile") == pytest.approx(0.05 / 0.2)


def test_the_verdicts_follow_from_the_figures() -> None:
    good, bad = section(figures(0.95), figures(0.95)), section(figures(0.5), figures(0.5))
    assert "| lids | 0.95 ✓ | 0.9 | 0.90 ✓ | 25% ✗ |" in good
    assert "| lids | 0.50 ✗ | 0.9 | 0.90 ✓ | 25% ✗ |" in bad
    assert "| pitch | 0.50 | – | 0.90 ✓ | 25% ✗ |" in bad
    assert "| smile | 0.1000 | 0.0200 | 80% ✓ |" in good


def test_a_section_replaces_the_one_before_and_nothing_else(tmp_path: Path) -> None:
    page = tmp_path / "claims.md"
    page.write_text("# Claims\n\nText.\n", encoding="utf-8")
    assert kept_section(page) == ""
    for value in (0.95, 0.5):
        replace_section(page, section(figures(value), figures(value)))
        text = page.read_text(encoding="utf-8")
        assert text.startswith(f"# Claims\n\nText.\n\n{HEADING}\n\n")
        assert text.count(HEADING) == 1
        assert f"| lids | {value:.2f}" in text
        assert text == "# Claims\n\nText.\n" + kept_section(page)

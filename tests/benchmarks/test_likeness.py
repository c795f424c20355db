"""The metrics of docs/likeness.md on pictures with known values, and its small form end to end."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks.likeness import document, trial
from benchmarks.likeness.__main__ import measured, sheet
from benchmarks.likeness.document import OPEN, TARGETS
from benchmarks.likeness.measures import Seen, identity, seen, trembles, turned
from micromotion import Animator, align
from micromotion.photo.effects import Effects
from micromotion.photo.views import Stage, whole_photo
from micromotion.types import Frame

FACES = Path(__file__).resolve().parents[2] / "docs" / "faces"
BOX = tuple[int, int, int, int]


@pytest.fixture(scope="module")
def photo() -> Image.Image:
    return Image.open(FACES / "grace-hopper.jpg").convert("RGB")


@pytest.fixture(scope="module")
def moved(photo: Image.Image) -> dict[str, Frame]:
    stage = Stage(whole_photo(photo, align(photo)))
    asked = {
        "still": Effects(),
        "shut": Effects(left_eye=1, right_eye=1),
        "smile": Effects(smile=1),
        "turn": Effects(yaw=20),
        "old": Effects(age=1),
    }
    return {name: stage.drawn(effects) for name, effects in asked.items()}


@pytest.mark.slow
def test_each_metric_responds_to_its_own_motion(moved: dict[str, Frame], photo: Image.Image) -> None:
    box = align(photo).box
    found = {name: seen(frame, box)[0] for name, frame in moved.items()}
    still = found["still"]
    assert still.eyes > OPEN
    assert found["shut"].eyes < 0.75 * still.eyes, "of a shut eye dlib reads the lashes, too"
    assert found["smile"].gap > still.gap + 0.03
    assert found["smile"].teeth > still.teeth
    assert found["smile"].lift > still.lift
    quad = align(photo).quad
    assert turned(moved["still"], moved["turn"], quad) == pytest.approx(20, abs=9)  # dlib lags
    assert abs(turned(moved["still"], moved["smile"], quad)) < 4
    assert found["old"].fine > still.fine


@pytest.mark.slow
def test_the_same_picture_is_the_same_person_and_another_is_not(
    moved: dict[str, Frame], photo: Image.Image
) -> None:
    box = align(photo).box
    other = Image.open(FACES / "eileen-collins.jpg").convert("RGB")
    who, same, smiling = (identity(moved[name], box) for name in ("still", "still", "smile"))
    stranger = identity(np.asarray(other), align(other).box)
    assert np.linalg.norm(who - same) == 0
    assert 0 < np.linalg.norm(who - smiling) < 0.4 < 0.6 < np.linalg.norm(who - stranger)


def test_even_motion_is_not_trembling() -> None:
    rest = np.random.default_rng(0).normal(0, 50, (68, 2))
    rest[36], rest[45] = (0, 0), (100, 0)
    even = [rest + i * np.array([1.5, 0.5]) for i in range(12)]
    assert trembles(even) == pytest.approx((0, 0), abs=1e-9)
    shaken = [points + np.array([0, (-1) ** i]) for i, points in enumerate(even)]
    assert trembles(shaken) == pytest.approx((0.04, 0.04))  # 4 pixels over 100


@pytest.mark.slow
def test_a_trial_of_one_face_becomes_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (trial, document):
        monkeypatch.setattr(module, "MOTIONS", ("eyesClose", "headsTurn"))
        monkeypatch.setattr(module, "EXTREMES", (2.0,))
    monkeypatch.setattr(trial, "PLAYED", ("headsTurn",))
    monkeypatch.setattr(trial, "FRAMES", 4)
    monkeypatch.setattr(document, "TARGETS", [t for t in TARGETS if t.motion in ("eyesClose", "headsTurn")])
    animator = Animator.load("avatar", "cpu")
    first = measured(animator, "grace-hopper", tmp_path)
    assert isinstance(first.still, Seen)
    assert {(row.motion, row.way) for row in first.rows if row.seen} >= {("eyesClose", "now")}
    again = measured(animator, "grace-hopper", tmp_path)  # from the file
    assert again == first
    page = document.document([first])
    assert "eyes shut" in page
    assert "| eyesClose | 1 |" in page
    assert sheet(["grace-hopper"], "eyesClose", tmp_path).width > 300

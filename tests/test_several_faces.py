"""Several faces of one photo move in one video, each with its own motion."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from neighbouring_faces import together
from PIL import Image

from micromotion import Animator, parse_timeline
from micromotion.errors import MotionError, NoFaceError, OptionError
from micromotion.motion.anchors import Anchors
from micromotion.motion.schedule import schedule_faces
from micromotion.options import AnimateOptions
from micromotion.types import Frame

FACES = Path(__file__).resolve().parents[1] / "docs" / "faces"

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def avatar() -> Animator:
    return Animator.load("avatar", "cpu")


@pytest.fixture(scope="module")
def group() -> Image.Image:
    """Four people whose squares do not overlap: 0 is the rightmost, then 2, 1 and 3."""
    return Image.open(FACES / "groups" / "oath.jpg").convert("RGB")


@pytest.fixture(scope="module")
def still(group: Image.Image) -> Frame:
    return np.asarray(group)


def frames(animator: Animator, photo: Image.Image, motion: Any = "smile", **options: Any) -> list[Frame]:
    return list(animator.animate(photo, motion, **options))


def test_faces_apart_move_as_each_does_alone(avatar: Animator, group: Image.Image, still: Frame) -> None:
    both = frames(avatar, group, faces="0,2", frames=2)
    alone = [frames(avatar, group, face=number, frames=2) for number in (0, 2)]
    for shown, *each in zip(both, *alone, strict=True):
        if (shown != still).any():
            assert np.array_equal(shown, together(still, *each))
    assert np.array_equal(both[0], still)
    assert not np.array_equal(both[1], still)


def test_each_face_plays_its_own_motions(avatar: Animator, group: Image.Image, still: Frame) -> None:
    (shown,) = frames(avatar, group, "angry", faces="0=smile=0.5,0=eyesClose,1=headsTurn,3", frames=1)
    own = {0: {"smile": 0.5, "eyesClose": 1.0}, 1: "headsTurn", 3: "angry"}
    alone = [frames(avatar, group, motion, face=number, frames=1)[0] for number, motion in own.items()]
    assert np.array_equal(shown, together(still, *alone))
    for same in ("3,1=headsTurn,0=eyesClose,0=smile=0.5", {**own, 3: None}, {3: "angry", **own}):
        assert np.array_equal(frames(avatar, group, "angry", faces=same, frames=1)[0], shown), same


def test_all_faces_are_those_that_are_clear(
    avatar: Animator, group: Image.Image, astronaut: Image.Image
) -> None:
    video = avatar.animate(group, faces="all", frames=1)
    assert video.faces is not None
    assert (list(video.faces), video.found) == ([0, 1, 2, 3], 4)
    assert video.describe_faces() == "Faces: 4 found, moving 0, 1, 2, 3"
    assert video.face is video.faces[0]
    video = avatar.animate(astronaut, faces="all", frames=1)  # the second detection is no face
    assert video.describe_faces() == "Faces: 2 found, moving 0"
    assert np.array_equal(next(iter(video)), frames(avatar, astronaut, frames=1)[0])


def test_a_timeline_plays_on_all_faces(avatar: Animator, group: Image.Image, still: Frame) -> None:
    timeline = parse_timeline("0.1s smile, 0.2s eyesClose=0.8")
    shown = frames(avatar, group, timeline, faces=[1, 2], fps=10)[-1]
    alone = [frames(avatar, group, timeline, face=number, fps=10)[-1] for number in (1, 2)]
    assert np.array_equal(shown, together(still, *alone))


def test_faces_do_not_blink_at_the_same_time() -> None:
    """Each has another random timeline: face 0 that of the seed, face 1 that of the next one."""
    alive = parse_timeline("alive 4s")
    parts = schedule_faces(alive, AnimateOptions(fps=10, seed=7, faces="0,1"), (0, 1))
    zero, one = (parts.strengths[:, parts.columns[number]] for number in (0, 1))
    assert np.array_equal(zero, alive.strengths(10, seed=7))
    assert np.array_equal(one, alive.strengths(10, seed=8))
    assert not np.array_equal(zero, one)


def test_a_motion_without_stated_effects_is_measured_on_each_face(
    avatar: Animator, group: Image.Image, still: Frame, tmp_path: Path
) -> None:
    anchors = Anchors.load(avatar.bundle.motions["smile"])
    silent = {key: value for key, value in anchors.provenance.items() if not key.startswith("effects.")}
    path = tmp_path / "silent.safetensors"
    Anchors(anchors.w_plus, anchors.degrees, silent).save(path)
    video = avatar.animate(group, faces={0: path, 1: path}, frames=1)
    assert "invert" in video.timings
    alone = [frames(avatar, group, path, face=number, frames=1)[0] for number in (0, 1)]
    assert np.array_equal(next(iter(video)), together(still, *alone))


def test_a_large_photo_is_scaled_once_for_all(avatar: Animator, group: Image.Image) -> None:
    video = avatar.animate(group, faces="0,1", frames=1, size=600)
    assert video.size == (600, 300)
    shown = next(iter(video)).astype(int)
    small = np.asarray(group.resize((600, 300), Image.Resampling.LANCZOS))
    assert shown.shape == small.shape
    assert 0 < np.mean(shown != small) < 0.2


def test_a_sheet_says_who_does_what(avatar: Animator, group: Image.Image) -> None:
    mixed = avatar.animate(group, "smile", faces="0,1=angry=0.5,2", frames=2)
    assert mixed._label(1) == "0,2: smile 100%, 1: angry 50%"
    assert avatar.animate(group, "smile", faces="0,1", frames=2)._label(1) == "100%"


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"view": "face"}, "The view 'face' shows one face"),
        ({"view": "model"}, "The view 'model' shows one face"),
        ({"compare": True}, "Give faces or compare, not both"),
        ({"face": 1}, "Give faces or face, not both"),
        ({"aligned": True}, "Give faces or aligned, not both"),
        ({"lock_identity": True}, "Give faces or lock_identity, not both: the model can be tuned to one"),
    ],
)
def test_options_for_one_face_are_refused(avatar: Animator, options: Any, sentence: str) -> None:
    with pytest.raises(OptionError, match=sentence):
        avatar.animate("missing.jpg", faces="0,1", **options)


def test_what_cannot_be_played_is_refused_before_the_photo_is_opened(avatar: Animator) -> None:
    with pytest.raises(MotionError, match="did you mean 'smile'"):
        avatar.animate("missing.jpg", faces="0=smlie")
    with pytest.raises(OptionError, match="A timeline plays on all faces"):
        avatar.animate("missing.jpg", parse_timeline("1s smile"), faces="0=smile,1")
    with pytest.raises(OptionError, match="from -5 to 5, not 6"):
        avatar.animate("missing.jpg", faces="0=smile=3", strength=2)
    with pytest.raises(OptionError, match="in their photo, which a latent does not have"):
        avatar.animate(avatar.bundle.inverter.latent_avg[None], faces="0,1")
    with pytest.raises(OptionError, match="A strip of strengths shows one face"):
        avatar.at_strengths("missing.jpg", faces="0,1")


def test_a_face_that_is_not_there_is_refused(avatar: Animator, group: Image.Image) -> None:
    with pytest.raises(NoFaceError, match=r"Only 4 faces were found .* below 4, not 6"):
        avatar.animate(group, faces="0,6")


def test_without_an_effect_refine_is_said_to_have_none(avatar: Animator, group: Image.Image) -> None:
    with pytest.warns(UserWarning, match="refine has no effect"):
        video = avatar.animate(group, faces="0,1", refine=5, frames=1)
    assert "refine" not in video.timings


def test_there_are_no_latents_of_several_faces(avatar: Animator, group: Image.Image) -> None:
    with pytest.raises(OptionError, match="no latents of its own"):
        next(avatar.animate(group, faces="0,1", frames=1).latents())


def test_a_still_is_a_frame_of_the_video(avatar: Animator, group: Image.Image) -> None:
    video = avatar.animate(group, faces="0,1=angry", frames=4, fps=2)
    shown = list(video)
    for at, index in {None: 3, 0: 0, 0.5: 1, 0.99: 1, 1.0: 2, 1.5: 3, 2: 3}.items():
        assert np.array_equal(np.asarray(video.still(at)), shown[index]), at
    outside: list[Any] = [-0.1, 2.1, float("nan"), float("inf"), "1s"]
    for wrong in outside:
        with pytest.raises(OptionError, match="at must be a moment of the video, from 0 to 2 seconds, not"):
            video.still(wrong)

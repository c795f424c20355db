"""A visitor's driving video, and each face's own motion, without a browser."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from bad_clips import BAD, TOO_LONG, make
from PIL import Image
from sounds import click_times, with_sound
from trajectories import still

from micromotion import Animator
from micromotion.drive.options import DriveOptions
from micromotion.errors import MicromotionError, NoFaceError, OptionError
from micromotion.page.clip_fields import drive_options
from micromotion.page.clips import Clip, open_clip
from micromotion.page.sessions import ChosenFace
from micromotion.page.studio import STANDARD, Stopped, Studio
from micromotion.video.driving_video import DrivingVideoError

FACES = Path(__file__).resolve().parents[2] / "docs" / "faces"
NEVER = threading.Event()


@pytest.fixture(scope="module")
def animator(random_bundle: Path) -> Animator:
    return Animator.load(random_bundle, "cpu")


@pytest.fixture(scope="module")
def group(animator: Animator) -> ChosenFace:
    """A photo of four people, of whom the second is chosen."""
    with (FACES / "groups" / "oath.jpg").open("rb") as file:
        studio = Studio(animator)
        return studio.choose_face(studio.open_photo(file), 1)


@pytest.fixture(scope="module")
def clip(animator: Animator, tmp_path_factory: pytest.TempPathFactory) -> Clip:
    """Eight frames, in which Mona Lisa blinks and nods, with sound."""
    folder = tmp_path_factory.mktemp("clip")
    lids = np.repeat([[0.0], [0.0], [0.5], [1.0], [1.0], [0.5], [0.0], [0.0]], 2, axis=1)
    nod = 8 * lids[:, :1] * [0, 1, 0]  # of a blink alone dlib sees little here
    animator.drive(FACES / "mona-lisa.jpg", still(8, lids=lids, pose=nod)).save(folder / "silent.mp4")
    return open_clip(with_sound(folder / "silent.mp4", folder / "clip.mp4"))


def drive(
    studio: Studio, chosen: ChosenFace, clip: Clip, options: DriveOptions, path: Path
) -> tuple[list[tuple[str, int, int]], list[str]]:
    """Write the video; what was reported, and what is said in the end."""
    told: list[tuple[str, int, int]] = []
    notes = studio.drive(
        chosen,
        clip,
        options,
        path,
        stop=NEVER,
        on_read=lambda *n: told.append(("read", *n)),
        on_frame=lambda *n: told.append(("frame", *n)),
    )
    return told, list(notes)


def test_what_is_shown_of_a_clip(clip: Clip) -> None:
    assert (clip.frames, clip.sound) == (8, True)
    with Image.open(FACES / "mona-lisa.jpg") as photo:
        assert abs(clip.first.width - photo.width) <= 1


@pytest.mark.parametrize("name", [*BAD, *TOO_LONG])
def test_a_bad_clip_is_one_sentence_without_a_path(tmp_path: Path, name: str) -> None:
    path, words = make(name, tmp_path)
    with pytest.raises(DrivingVideoError, match=words) as caught:
        open_clip(path)
    assert str(caught.value).startswith("The video ")
    assert str(tmp_path) not in str(caught.value)


@pytest.mark.slow
def test_the_chosen_face_follows_as_by_the_animator(
    animator: Animator, group: ChosenFace, clip: Clip, tmp_path: Path
) -> None:
    options = DriveOptions(view="face", size=128, parts=("eyes",))
    told, notes = drive(Studio(animator), group, clip, options, tmp_path / "video.mp4")
    assert [each for each in told if each[0] == "frame"] == [("frame", n, 8) for n in range(1, 9)]
    assert ("read", 8, 8) in told
    assert any("Rest pose" in note for note in notes)
    video = animator.drive(group.photo, clip.path, options, face=1)
    video.save(tmp_path / "expected.mp4")
    for one, other in zip(
        *(_frames(tmp_path / f"{name}.mp4") for name in ("video", "expected")), strict=True
    ):
        assert np.array_equal(one, other)
    assert click_times(tmp_path / "video.mp4") != []


@pytest.mark.slow
def test_all_faces_follow(animator: Animator, group: ChosenFace, clip: Clip, tmp_path: Path) -> None:
    drive(Studio(animator), group, clip, DriveOptions(faces="all"), tmp_path / "video.mp4")
    frames = _frames(tmp_path / "video.mp4")
    change = np.abs(frames[4].astype(int) - frames[0]).max(axis=-1)
    for face in group.faces:
        left, top, right, bottom = face.box
        assert change[top:bottom, left:right].max() > 40


@pytest.mark.slow
def test_cancelling_ends_reading_and_rendering(
    animator: Animator, group: ChosenFace, clip: Clip, tmp_path: Path
) -> None:
    for stage in ("on_read", "on_frame"):
        stop = threading.Event()

        def halt(done: int, _total: int, stop: threading.Event = stop) -> None:
            if done == 2:
                stop.set()

        calls: dict[str, Any] = {"on_read": lambda *_: None, "on_frame": lambda *_: None, stage: halt}
        with pytest.raises(Stopped):
            Studio(animator).drive(
                group, clip, DriveOptions(view="face"), tmp_path / "video.mp4", stop=stop, **calls
            )
        assert list(tmp_path.iterdir()) == []


def test_a_clip_that_shows_no_such_person_is_told(
    animator: Animator, group: ChosenFace, clip: Clip, tmp_path: Path
) -> None:
    with pytest.raises(NoFaceError, match="there is no face 3"):
        drive(Studio(animator), group, clip, DriveOptions(clip_face=3), tmp_path / "video.mp4")
    assert list(tmp_path.iterdir()) == []


def test_a_clip_that_has_gone_is_told_without_its_path(
    animator: Animator, group: ChosenFace, tmp_path: Path
) -> None:
    gone = Clip(tmp_path / "clip", 3, Image.new("RGB", (9, 9)), sound=False)
    with pytest.raises(DrivingVideoError, match="There is no file The video") as caught:
        drive(Studio(animator), group, gone, DriveOptions(), tmp_path / "video.mp4")
    assert str(tmp_path) not in str(caught.value)


def test_the_fields_make_options() -> None:
    made = drive_options((["mouth", "eyes"], 0.5, True, False, 2), "model", None)
    assert made == DriveOptions(
        parts=("eyes", "mouth"), strength=0.5, mirror=True, audio=False, clip_face=1, view="photo"
    )
    assert drive_options((["eyes"], 1, False, True, 1), "photo", "all") == DriveOptions(
        parts=("eyes",), view="photo", faces="all"
    )
    for values, words in (
        (([], 1, False, True, 1), "Nothing would move"),
        ((["ears"], 1, False, True, 1), "parts must be"),
        ((["eyes"], 3, False, True, 1), "strength must be"),
        ((["eyes"], None, False, True, 1), "strength must be"),
        ((["eyes"], 1, False, True, None), "clip_face must be"),
    ):
        assert isinstance(error := drive_options(values, "photo", None), Exception)
        assert words in str(error)


def test_each_face_plays_its_own_motion(animator: Animator, group: ChosenFace, tmp_path: Path) -> None:
    path = tmp_path / "video.mp4"
    options = replace(STANDARD, frames=2, loop="once", view="photo", faces={0: "smile", 2: "headsTurn"})
    Studio(animator).render(group, {"smile": 1.0}, options, path, stop=NEVER, on_frame=lambda *_: None)
    expected = tmp_path / "expected.mp4"
    animator.animate(group.photo, "smile", options).save(expected)
    assert all(np.array_equal(*pair) for pair in zip(_frames(path), _frames(expected), strict=True))


def test_a_motion_of_its_own_is_no_file(animator: Animator, group: ChosenFace, tmp_path: Path) -> None:
    options = replace(STANDARD, view="photo", faces={0: "/etc/passwd.safetensors"})
    with pytest.raises(MicromotionError, match="There is no micromotion"):
        Studio(animator).render(
            group, {"smile": 1.0}, options, tmp_path / "a.mp4", stop=NEVER, on_frame=lambda *_: None
        )
    with pytest.raises(OptionError, match="choose a motion"):
        Studio(animator).render(group, {}, STANDARD, tmp_path / "a.mp4", stop=NEVER, on_frame=lambda *_: None)


def _frames(path: Path) -> list[np.ndarray]:
    with av.open(str(path)) as video:
        return [frame.to_ndarray(format="rgb24") for frame in video.decode(video=0)]

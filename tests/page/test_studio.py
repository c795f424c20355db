"""The page's work without a browser: faces, previews, videos, HTML."""

from __future__ import annotations

import os
import threading
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import av
import c2pa_reader
import numpy as np
import pytest
import torch
from PIL import Image
from random_networks import random_anchors

from micromotion import Animator, align
from micromotion.credentials.claim import CREATED
from micromotion.errors import ImageError, MicromotionError, NoFaceError, OptionError
from micromotion.motion.timeline_text import TimelineError, parse_timeline
from micromotion.page import markup
from micromotion.page.faces import examples, find_faces
from micromotion.page.presets import PRESETS, playable
from micromotion.page.sessions import ChosenFace
from micromotion.page.studio import STANDARD, Stopped, Studio
from micromotion.runtime.folders import learned_folder

NEVER = threading.Event()


@pytest.fixture(scope="module")
def animator(random_bundle: Path) -> Animator:
    return Animator.load(random_bundle, "cpu")


@pytest.fixture
def studio(animator: Animator) -> Studio:
    return Studio(animator)


@pytest.fixture(scope="module")
def face(animator: Animator, astronaut_file: Path) -> ChosenFace:
    """A photo with two detections, the second one false."""
    with astronaut_file.open("rb") as file:
        return Studio(animator).open_photo(file)


# Faces and examples.


@pytest.mark.slow
def test_faces_are_cropped_as_align_does(astronaut: Image.Image) -> None:
    faces = find_faces(astronaut)
    assert len(faces) == 2
    for number, face in enumerate(faces):
        expected = align(astronaut, 256, face=number)
        assert np.array_equal(np.asarray(face.image), np.asarray(expected.image))
        assert np.array_equal(face.quad, expected.quad)
        assert (face.box, face.score) == (expected.box, expected.score)


def test_a_photo_without_a_face_is_refused(studio: Studio) -> None:
    empty = BytesIO()
    Image.new("RGB", (200, 200), "teal").save(empty, "PNG")
    with pytest.raises(NoFaceError, match="No face was found"):
        studio.open_photo(empty)
    with pytest.raises(ImageError, match="The picture cannot be read"):
        studio.open_photo(BytesIO(b"no picture"))


@pytest.mark.slow
def test_a_face_is_encoded_as_the_animator_does(
    studio: Studio, animator: Animator, face: ChosenFace, astronaut: Image.Image, astronaut_file: Path
) -> None:
    assert torch.equal(face.latent, animator.encode(astronaut_file))
    other = studio.choose_face(face, 1)
    assert other.index == 1
    assert torch.equal(other.latent, animator.encode(astronaut_file, face=1))
    for missing in (-1, 2):
        with pytest.raises(OptionError, match="2 faces"):
            studio.choose_face(face, missing)


@pytest.mark.slow
def test_every_example_has_a_face() -> None:
    found = examples()
    assert found[0].title == "A rendered face"
    assert len({each.path for each in found}) == len(found) > 10
    assert "Mona Lisa" in {each.title for each in found}
    with Image.open(found[0].path) as picture:
        assert find_faces(picture.convert("RGB"))


# Previews and videos.


def test_a_preview_is_the_frame_of_the_video(studio: Studio, animator: Animator, face: ChosenFace) -> None:
    played = {"smile": 0.5, "headsTurn": -1.0}
    settings = replace(STANDARD, strength=1.5, frames=5, loop="once", easing="smooth")
    video = list(animator.animate(face.latent, played, strength=1.5, frames=5, easing="smooth"))
    for moment, index in ((1.0, 4), (0.5, 2), (0.0, 0), (7.0, 4)):
        assert np.array_equal(studio.still(face, played, settings, moment), video[index])


def test_the_preview_of_a_timeline_is_one_of_its_frames(
    studio: Studio, animator: Animator, face: ChosenFace
) -> None:
    timeline = studio.read_timeline("0.2s smile, 0.4s headsTurn=0.5 smile=0")
    video = list(animator.animate(face.latent, timeline, fps=10))
    still = studio.still(face, timeline, replace(STANDARD, fps=10, easing="linear"), 0.5)
    assert np.array_equal(still, video[2])
    assert not np.array_equal(still, video[0])


def test_strength_0_is_the_still_frame(studio: Studio, animator: Animator, face: ChosenFace) -> None:
    at_rest = next(iter(animator.animate(face.latent, frames=2)))
    assert np.array_equal(studio.still(face, {"smile": 0.0}, STANDARD), at_rest)
    assert np.array_equal(studio.still(face, {}, STANDARD), at_rest)


def test_a_video_is_written_frame_by_frame(studio: Studio, face: ChosenFace, tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    path = tmp_path / "video.mp4"
    settings = replace(STANDARD, frames=4, fps=12, loop="pingpong")
    studio.render(face, {"smile": 1.0}, settings, path, stop=NEVER, on_frame=lambda *n: told.append(n))
    assert told == [(n, 7) for n in range(1, 8)]
    with av.open(str(path)) as video:
        assert video.streams.video[0].average_rate == 12
        assert sum(1 for _ in video.decode(video=0)) == 7
    assert c2pa_reader.state(path.read_bytes()) == "Valid"
    assert c2pa_reader.actions(path.read_bytes())[-1]["digitalSourceType"] == CREATED


@pytest.mark.slow
def test_the_whole_photo_has_its_own_size(animator: Animator, astronaut: Image.Image, tmp_path: Path) -> None:
    faces = find_faces(astronaut)
    face = ChosenFace(astronaut, faces, 0, animator.encode(faces[0].image, aligned=True))
    settings = replace(STANDARD, frames=2, loop="once", view="photo")
    path = tmp_path / "video.mp4"
    Studio(animator).render(face, {"smile": 0.1}, settings, path, stop=NEVER, on_frame=lambda *_: None)
    with av.open(str(path)) as video:
        assert next(video.decode(video=0)).to_ndarray(format="rgb24").shape == (512, 512, 3)


def test_a_stopped_video_leaves_no_file(studio: Studio, face: ChosenFace, tmp_path: Path) -> None:
    stop = threading.Event()
    told: list[int] = []

    def tell(done: int, _total: int) -> None:
        told.append(done)
        if done == 2:
            stop.set()

    with pytest.raises(Stopped):
        studio.render(face, {"smile": 1.0}, STANDARD, tmp_path / "video.mp4", stop=stop, on_frame=tell)
    assert told == [1, 2]
    assert list(tmp_path.iterdir()) == []


def test_previews_are_rendered_between_a_videos_frames(
    studio: Studio, face: ChosenFace, tmp_path: Path
) -> None:
    """Another thread asks for a preview in the middle of a video, which waits for it."""
    seen: list[np.ndarray] = []

    def preview(done: int, _total: int) -> None:
        if done == 2:
            other = threading.Thread(target=lambda: seen.append(studio.still(face, {}, STANDARD)))
            other.start()
            other.join(60)

    settings = replace(STANDARD, frames=3, loop="once")
    studio.render(face, {"smile": 1.0}, settings, tmp_path / "video.mp4", stop=NEVER, on_frame=preview)
    assert len(seen) == 1


@pytest.mark.parametrize(
    ("played", "chosen", "words"),
    [
        ({"smile": 0.0}, {}, "Nothing would move"),
        ({"smile": 1.0}, {"strength": 0.0}, "Nothing would move"),
        ({"smile": 1.0}, {"frames": 601}, "frames must be"),
        ({"smile": 1.0}, {"frames": None}, "frames must be"),
        ({"smile": 1.0}, {"frames": 301}, "makes 601 frames"),
        ({"smile": 1.0}, {"fps": 0}, "fps must be"),
        ({"smile": 1.0}, {"loop": "for ever"}, "loop must be"),
        ({"smile": 1.0}, {"view": "elsewhere"}, "view must be"),
        ({"smile": 4.0}, {"strength": 2.0}, "strength must be"),
        ({"smiel": 1.0}, {}, "did you mean 'smile'"),
        ({"/etc/passwd.safetensors": 1.0}, {}, "There is no micromotion"),
    ],
)
def test_what_cannot_be_played_is_refused(
    studio: Studio, face: ChosenFace, tmp_path: Path, played: dict[str, float], chosen: dict, words: str
) -> None:
    path = tmp_path / "x.mp4"
    with pytest.raises(MicromotionError, match=words):
        studio.render(face, played, replace(STANDARD, **chosen), path, stop=NEVER, on_frame=lambda *_: None)
    assert list(tmp_path.iterdir()) == []


def test_a_timeline_names_motions_but_no_files(studio: Studio, random_bundle: Path) -> None:
    file = random_bundle / "anchors" / "smile.safetensors"
    with pytest.raises(TimelineError, match="line 1, column 4: There is no micromotion"):
        studio.read_timeline(f"1s {file}")


def test_a_motion_learned_meanwhile_can_be_played(
    studio: Studio, animator: Animator, face: ChosenFace
) -> None:
    assert studio.motions == ["headsTurn", "smile"]
    folder = learned_folder(animator.bundle.name)
    folder.mkdir(parents=True)
    random_anchors(7).save(folder / "grin.safetensors")
    assert studio.motions == ["grin", "headsTurn", "smile"]
    assert [studio.is_learned(name) for name in studio.motions] == [True, False, False]
    first = studio.still(face, {"grin": 1.0}, STANDARD)
    random_anchors(8).save(folder / "grin.safetensors")
    os.utime(folder / "grin.safetensors", (1, 1))  # learned again within the clock's last tick
    assert not np.array_equal(studio.still(face, {"grin": 1.0}, STANDARD), first)
    (folder / "grin.safetensors").unlink()
    with pytest.raises(MicromotionError, match="There is no micromotion 'grin'"):
        studio.still(face, {"grin": 1.0}, STANDARD)


def test_presets_use_only_motions_that_the_model_has() -> None:
    ours = ["smile", "angry", "aging", "eyesClose", "headsTurn"]
    assert playable(ours) == list(PRESETS)
    assert [each.name for each in playable(["smile"])] == ["Smile and rest"]
    assert playable([]) == []
    for preset in PRESETS:
        assert parse_timeline(preset.text).count(30) <= 300


# HTML.


def test_text_from_outside_is_escaped() -> None:
    error = OptionError("<b>&</b>")
    error.add_note("<script>")
    shown = markup.alert(error) + markup.note("<i>")
    assert "<b>" not in shown
    assert "<script>" not in shown
    assert "<i>" not in shown
    assert "&lt;b&gt;&amp;&lt;/b&gt;" in shown


def test_boxes_are_drawn_around_the_faces(face: ChosenFace) -> None:
    shown = markup.photo_with_faces(face.photo, face.faces, 1)
    assert shown.count('type="radio"') == 2
    left = face.faces[0].box[0]
    assert f"left:{100 * left / 512:.2f}%" in shown
    assert 'value="1" aria-label="Face 2 of 2" checked' in shown
    assert 'type="radio"' not in markup.photo_with_faces(face.photo, face.faces[:1], 0)

"""A trajectory plays on a photo, end to end on the embedded model and real faces."""

from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from bad_clips import BAD, TOO_LONG, make
from PIL import Image
from sounds import with_sound
from trajectories import displaced, still
from videos import write_video

from micromotion import Animator, parse_timeline
from micromotion.drive.driven_photo import DrivenPhoto, frame_at, places
from micromotion.drive.options import PARTS
from micromotion.drive.trajectory import Trajectory, save_trajectory
from micromotion.errors import MotionError, NoFaceError, OptionError
from micromotion.face.alignment import align
from micromotion.photo.views import Stage, whole_photo
from micromotion.types import Frame
from micromotion.video.driving_video import DrivingVideoError

FACES = Path(__file__).resolve().parents[2] / "docs" / "faces"
FACE = FACES / "eileen-collins.jpg"
EVERYTHING = still(
    lids=0.6,
    gaze=[[0.1, 0], [0.1, 0]],
    gap=0.3,
    landmarks=displaced(_19=(0, -0.1), _24=(0, -0.1), _8=(0, 0.2), _48=(0.05, 0), _54=(-0.05, 0)),
    pose=[10, 3, 2],
    shift=[0.1, 0],
)


@pytest.fixture(scope="module")
def animator() -> Animator:
    """The embedded model."""
    return Animator.load("avatar", "cpu")


@pytest.fixture(scope="module")
def stage() -> Stage:
    with Image.open(FACE) as file:
        picture = file.convert("RGB")
    return Stage(whole_photo(picture, align(picture)))


def drawn(stage: Stage, trajectory: Trajectory) -> Frame:
    return DrivenPhoto(stage, trajectory)(places(1)[0])


def change(stage: Stage, trajectory: Trajectory, landmarks: range) -> float:
    """How much a trajectory changes the part of the picture with these landmarks, in grey levels."""
    points = np.asarray(stage.scene.face.landmarks)[landmarks]
    (left, top), (right, bottom) = points.min(axis=0).astype(int), points.max(axis=0).astype(int) + 1
    picture = np.asarray(stage.scene.picture).astype(int)
    return float(np.abs(drawn(stage, trajectory) - picture)[top:bottom, left:right].mean())


def test_places_and_frames_are_inverse() -> None:
    for frames in (1, 2, 25, 1800):
        assert [frame_at(float(place), frames) for (place,) in places(frames)] == list(range(frames))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["eileen-collins", "mona-lisa"])
def test_a_trajectory_at_rest_gives_the_photo_bit_for_bit(animator: Animator, name: str) -> None:
    path = FACES / f"{name}.jpg"
    video = animator.drive(path, still(2, fps=12.5))
    assert (len(video), video.fps) == (2, 12.5)
    with Image.open(path) as file:
        for frame in video:
            assert (frame == np.asarray(file.convert("RGB"))).all()


@pytest.mark.slow
def test_parts_leave_the_others_as_they_are(animator: Animator, stage: Stage) -> None:
    places = {"mouth": range(48, 68), "eyes": range(36, 48), "brows": range(17, 27)}
    for part in ("mouth", "eyes", "brows"):
        moved = {place: change(stage, EVERYTHING.parts([part]), of) for place, of in places.items()}
        assert moved[part] > 3
        far = "mouth" if part != "mouth" else "eyes"
        assert moved[far] < 0.1 * moved[part]
    for part in PARTS:
        frame = next(iter(animator.drive(FACE, EVERYTHING, parts=part)))
        assert (frame == drawn(stage, EVERYTHING.parts([part]))).all()


@pytest.mark.slow
def test_strength_zero_is_the_photo_and_more_moves_more(animator: Animator) -> None:
    photo, half, whole = (
        next(iter(animator.drive(FACE, EVERYTHING, strength=strength))).astype(int)
        for strength in (0, 0.5, 1.0)
    )
    assert 0 < np.abs(half - photo).mean() < np.abs(whole - photo).mean()
    with Image.open(FACE) as file:
        assert (photo == np.asarray(file.convert("RGB"))).all()


@pytest.mark.slow
def test_mirror_moves_the_other_way(animator: Animator) -> None:
    turned = still(pose=[12, 0, 0])
    plain, mirror = (next(iter(animator.drive(FACE, turned, mirror=way))) for way in (False, True))
    other = next(iter(animator.drive(FACE, still(pose=[-12, 0, 0]))))
    assert (mirror == other).all()
    assert (plain != mirror).any()


@pytest.mark.slow
def test_the_same_trajectory_gives_the_same_frames(animator: Animator) -> None:
    one, other = (next(iter(animator.drive(FACE, EVERYTHING))) for _ in range(2))
    assert (one == other).all()


@pytest.mark.slow
def test_a_trajectorys_file_plays_on_any_photo(animator: Animator, tmp_path: Path) -> None:
    file = tmp_path / "all.safetensors"
    save_trajectory(file, EVERYTHING, {"source": "a test"})
    for name in ("eileen-collins", "berthe-morisot"):
        frames = list(animator.drive(FACES / f"{name}.jpg", file, view="face", size=256))
        assert len(frames) == 1
    with pytest.raises(OptionError, match="rest and clip_face are for a video"):
        animator.drive(FACE, file, rest=3)
    file.write_bytes(b"nothing")
    with pytest.raises(MotionError, match="cannot be read"):
        animator.drive(FACE, file)


@pytest.mark.slow
def test_a_video_drives_with_its_length_rate_and_sound(
    animator: Animator, clip: Path, tmp_path: Path
) -> None:
    video = animator.drive(FACES / "mona-lisa.jpg", clip, view="face", size=128)
    assert (len(video), round(video.fps, 3)) == (31, 25)
    assert any("Rest pose" in note for note in video.notes)
    video.save(tmp_path / "driven.mp4")
    with av.open(str(tmp_path / "driven.mp4")) as made:
        assert made.streams.video[0].frames == 31
        assert made.streams.audio[0].codec_context.name == "aac"
    silent = animator.drive(FACES / "mona-lisa.jpg", clip, view="face", size=128, audio=False)
    assert silent.sound is None


@pytest.mark.slow
def test_the_drivers_smile_and_blink_are_played_when_they_happen(animator: Animator, clip: Path) -> None:
    frames = [f.astype(int) for f in animator.drive(FACES / "mona-lisa.jpg", clip, view="face", size=256)]
    change = [float(np.abs(frame - frames[0]).mean()) for frame in frames]
    assert max(change[8:22]) > 3 * max(change[1], change[-1], 0.05)


@pytest.mark.slow
def test_wrong_clips_are_told(animator: Animator, tmp_path: Path) -> None:
    nobody = write_video(tmp_path / "grey.mp4", [np.full((96, 96, 3), 90, np.uint8)] * 3)
    with pytest.raises(NoFaceError, match="no face"):
        animator.drive(FACE, nobody)
    with pytest.raises(DrivingVideoError, match="There is no file"):
        animator.drive(FACE, tmp_path / "missing.mp4")


@pytest.mark.slow
@pytest.mark.parametrize("name", [*BAD, *TOO_LONG])
@pytest.mark.parametrize("options", [{"view": "model"}, {"faces": "all"}], ids=str)
def test_bad_clips_are_told_whatever_is_shown(
    animator: Animator, tmp_path: Path, options: dict[str, Any], name: str
) -> None:
    path, words = make(name, tmp_path)
    with pytest.raises(DrivingVideoError, match=words):
        animator.drive(FACE, path, **options)


@pytest.fixture(scope="module")
def clip(animator: Animator, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clip of 31 frames, with sound, in which another person smiles, and is at rest again."""
    folder = tmp_path_factory.mktemp("clip")
    silent = folder / "silent.mp4"
    timeline = "0.3s smile=0, 0.6s smile smooth, 0.8s hold, 1.1s smile=0 smooth, 1.2s hold"
    animator.animate(FACES / "grace-hopper.jpg", parse_timeline(timeline), fps=25).save(silent)
    return with_sound(silent, folder / "clip.mp4")

"""Following a face: the same numbers in any number of threads, and as read by dlib box by box."""

import weakref
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from face_clips import SIDE, write_swaying

from micromotion.drive import landmark_track
from micromotion.drive.landmark_track import FaceTrack, track_face
from micromotion.face.landmarks import landmark_readings
from micromotion.face.tiles import Box
from micromotion.types import Floats, Frame
from micromotion.video.driving_video import DrivingFrame, DrivingVideo, open_driving_video

FIELDS = ("seconds", "seen", "landmarks", "spread", "irises", "looks")


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_swaying(tmp_path_factory.mktemp("clip") / "a.mp4", 12)


def tracked(clip: Path) -> FaceTrack:
    return track_face(open_driving_video(clip))


def assert_same(one: FaceTrack, other: FaceTrack) -> None:
    for name in FIELDS:
        assert np.array_equal(getattr(one, name), getattr(other, name), equal_nan=True), name


@pytest.mark.slow
def test_the_number_of_threads_changes_no_bit(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    for threads in ("1", "2", "5"):
        monkeypatch.setenv("OMP_NUM_THREADS", threads)
        found.append(tracked(clip))
    assert found[0].seen.all()
    assert 0 < found[0].landmarks.min() < found[0].landmarks.max() < SIDE
    assert_same(found[0], found[1])
    assert_same(found[0], found[2])


@pytest.mark.slow
def test_it_is_what_dlib_reads_in_one_box_after_the_other(
    clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fast = tracked(clip)

    def one_by_one(pixels: Frame, boxes: list[Box]) -> Floats:
        return np.concatenate([landmark_readings(pixels, box, [(0, 0, 0)]) for box in boxes])

    monkeypatch.setattr(landmark_track, "_read_boxes", one_by_one)
    assert_same(fast, tracked(clip))


@pytest.mark.slow
def test_few_frames_are_in_memory_however_long_the_clip(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that is read, two decoded ahead, one on its way, and the one being made."""
    pictures: list[weakref.ref[object]] = []
    alive: list[int] = []
    plain = DrivingVideo.__iter__

    def watched(video: DrivingVideo) -> Iterator[DrivingFrame]:
        for frame in plain(video):
            pictures.append(weakref.ref(frame.image))
            alive.append(sum(picture() is not None for picture in pictures))
            yield frame

    monkeypatch.setattr(DrivingVideo, "__iter__", watched)
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    assert len(tracked(write_swaying(tmp_path / "a.mp4", 20))) == 20
    assert max(alive) <= 5

"""From a file to a trajectory: bounds, bad clips, and a photo's own motion read back."""

from pathlib import Path

import numpy as np
import pytest
from bad_clips import BAD, TOO_LONG, make
from PIL import Image
from video_formats import moving
from videos import write_video

from micromotion.drive.read import frame_rate, read_driving_video
from micromotion.drive.report import ReadReport, spans
from micromotion.errors import NoFaceError, OptionError
from micromotion.face.alignment import align
from micromotion.photo.effects import Effects
from micromotion.photo.views import Stage, whole_photo
from micromotion.types import Frame
from micromotion.video.driving_video import DrivingVideoError
from micromotion.video.writer import write_frames

FACES = Path(__file__).parents[2] / "docs/faces"


@pytest.mark.parametrize("name", [*BAD, *TOO_LONG])
def test_a_bad_clip_is_refused_in_one_sentence(tmp_path: Path, name: str) -> None:
    path, words = make(name, tmp_path)
    with pytest.raises(DrivingVideoError, match=words) as caught:
        read_driving_video(path)
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_clip_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DrivingVideoError, match=r"There is no file .*missing\.mp4"):
        read_driving_video(tmp_path / "missing.mp4")


def test_a_clip_without_a_face_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NoFaceError, match="no face"):
        read_driving_video(write_video(tmp_path / "a.mp4", moving(3)))


def test_options_are_checked(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", moving(3))
    with pytest.raises(OptionError, match="face"):
        read_driving_video(path, face=-1)
    with pytest.raises(OptionError, match="rest must be a whole number from 0 to 2"):
        read_driving_video(path, rest=3)


def test_the_frame_rate_is_the_average_of_the_frames_own_times() -> None:
    assert frame_rate(np.array([0.0, 0.01, 0.5])) == pytest.approx(4)
    assert frame_rate(np.array([0.0])) == 25


def test_the_report_says_what_was_found() -> None:
    flags = np.isin(np.arange(20), (3, 4, 5, 19))
    assert spans(flags) == ((3, 5), (19, 19))
    report = ReadReport((0, 1), {"mouth": spans(flags), "eyes": ()}, ((8, 12),), 1, 20, 25.0)
    assert report.sentences() == [
        "Rest pose: frames 0, 1.",
        "Bridged, as the mouth could not be read: frames 3–5, 19.",
        "The face was lost, and the motion eases out and in: frames 8–12 (0.32 to 0.52 s).",
        "Other people seen: 1; --face follows another one.",
    ]


def played() -> tuple[list[Frame], np.ndarray, np.ndarray]:
    """A photo that blinks, turns and comes back: its frames, its lids and its yaw."""
    photo = Image.open(FACES / "eileen-collins.jpg").convert("RGB").resize((330, 300))
    stage = Stage(whole_photo(photo, align(photo)))
    lids, yaw = np.zeros(24), 12 * np.sin(np.linspace(0, 2 * np.pi, 24)).clip(0, None)
    lids[14:18] = (0.6, 1, 1, 0.5)
    still = np.zeros((68, 2))
    frames = [
        stage.drawn(Effects(left_eye=lid, right_eye=lid, yaw=turn), still)
        for lid, turn in zip(lids.tolist(), yaw.tolist(), strict=True)
    ]
    return frames, lids, yaw


@pytest.mark.slow
def test_the_motion_of_a_driven_photo_is_read_back(tmp_path: Path) -> None:
    frames, lids, yaw = played()
    write_frames(frames, tmp_path / "a.mp4", 25)
    calls: list[tuple[int, int]] = []
    read = read_driving_video(tmp_path / "a.mp4", on_progress=lambda done, total: calls.append((done, total)))
    found = read.trajectory
    assert (len(found), found.fps) == (24, pytest.approx(25))
    assert calls[-1] == (24, 24)
    assert (found.weight == 1).all()
    assert np.corrcoef(found.pose[:, 0], yaw)[0, 1] > 0.95
    assert 0.6 < np.polyfit(yaw, found.pose[:, 0], 1)[0] < 1.3
    assert np.corrcoef(found.lids.mean(axis=1), lids)[0, 1] > 0.9
    assert found.lids[lids == 1].min() > 0.7
    assert np.abs(found.pose[:, 1:]).max() < 3
    assert np.abs(found.scale - 1).max() < 0.08
    assert read.recipe["frames"] == 24


@pytest.mark.slow
def test_a_lost_face_eases_out_and_in_and_cancelling_ends_the_work(tmp_path: Path) -> None:
    frames, _, _ = played()
    gone = [*frames[:8], *[np.full_like(frames[0], 90)] * 12, *frames[8:20]]
    write_frames(gone, tmp_path / "a.mp4", 25)
    read = read_driving_video(tmp_path / "a.mp4", rest=2)
    assert read.report.rest == (2,)
    assert [run for run in read.report.lost if run[0] <= 9 and run[1] >= 18]
    assert (read.trajectory.weight[9:19] == 0).all()
    assert read.trajectory.weight[[0, -1]].tolist() == [1, 1]
    assert np.abs(np.diff(read.trajectory.weight)).max() < 0.4

    class StopError(Exception):
        pass

    def stop(done: int, total: int) -> None:
        if done == 5:
            raise StopError

    with pytest.raises(StopError):
        read_driving_video(tmp_path / "a.mp4", on_progress=stop)
    with pytest.raises(NoFaceError, match="there is no face 3"):
        read_driving_video(tmp_path / "a.mp4", face=3)

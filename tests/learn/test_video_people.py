"""Videos with several people, or a person who leaves the picture: who is followed, and what is left out."""

from pathlib import Path

import numpy as np
import pytest
from model_videos import OTHER, PERSON, SMILE, agreement, collect, head, likeness, model, numbers, scene
from sightings import sighting
from typer.testing import CliRunner
from video_formats import moving
from videos import oriented, trimmed, write_video

from micromotion.cli.main import app
from micromotion.errors import NoFaceError, OptionError
from micromotion.learn.crop_selection import _inside
from micromotion.learn.track import find_people, find_tracks
from micromotion.learn.video import SeenFace, collect_from_video, describe_faces
from micromotion.video.driving_video import DrivingVideoError, open_driving_video

pytestmark = pytest.mark.slow


def pair(still_left: bool = True) -> list[np.ndarray]:
    """Two people side by side: one smiles, the other does not move."""
    places = (-8, 112) if still_left else (112, -8)
    return [
        scene((head(OTHER), places[0], 24), (head(PERSON, "smile", degree), places[1], 24))
        for degree in SMILE
    ]


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_video(tmp_path_factory.mktemp("two") / "two.mp4", pair(), crf="14")


def test_each_of_two_people_can_be_followed_and_the_other_is_reported(two: Path) -> None:
    best = find_people(find_tracks(open_driving_video(two))[1])[0][0]
    face = int(best[0].box[0] < 120)  # the number of the one who smiles, on the right
    with pytest.raises(DrivingVideoError, match="No motion was found in") as caught:
        collect_from_video(two, model(), count=7, face=1 - face)
    told = str(caught.value)
    assert f"; face {1 - face} (" in told
    assert f"another face was seen, face {face} (" in told
    assert told.endswith(f"--face {face} follows it.")
    collected = collect_from_video(two, model(), count=7, face=face)
    assert collected.followed is not None
    assert collected.followed.number == face
    assert collected.followed.across > 0.5  # the one who smiles
    (other,) = collected.others
    assert (other.number, other.frames) == (1 - face, 24)
    assert other.across < 0.5
    assert (other.first, other.last) == (0.0, pytest.approx(0.92))
    assert agreement(collected, SMILE) > 0.95
    assert collected.anchors.provenance["face"] == face
    assert collected.anchors.provenance["other_faces"] == 1


def test_the_command_reports_whom_it_followed(
    two: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    target = tmp_path / "grin.safetensors"
    monkeypatch.setattr("micromotion.cli.learn.place_for", lambda *_, **__: target)
    given = ["learn", "video", str(two), "--name", "grin", "--force"]
    results = [CliRunner().invoke(app, [*given, "--face", str(face)]) for face in (0, 1)]
    assert sorted(result.exit_code for result in results) == [0, 1]
    for face, result in enumerate(results):
        assert f"face {face} (" in result.stderr
        assert f"--face {1 - face} follows it" in result.stderr
    missing = CliRunner().invoke(app, [*given, "--face", "2"])
    assert missing.exit_code == 1
    assert "Only 2 faces were found" in missing.stderr
    assert "face must be below 2, not 2" in missing.stderr


def test_a_single_face_is_not_reported(tmp_path: Path) -> None:
    path = write_video(
        tmp_path / "a.mp4", [scene((head(PERSON, "smile", d), 16, 24)) for d in SMILE], crf="14"
    )
    collected = collect_from_video(path, model(), count=7)
    assert collected.others == ()
    assert collected.followed is not None
    assert describe_faces(collected.followed, ()) == ""
    with pytest.raises(NoFaceError, match=r"Only 1 face was found in .*a\.mp4"):
        collect_from_video(path, model(), face=1)


def test_the_same_person_after_a_cut_is_not_another_face(tmp_path: Path) -> None:
    frames = [scene((head(PERSON, "smile", d), 16, 24)) for d in SMILE]
    frames += [scene((head(PERSON, "smile", d), 100, 40)) for d in SMILE]
    collected = collect(tmp_path / "a.mp4", frames)
    assert max(numbers(collected.kept)) > 24
    assert collected.others == ()


@pytest.mark.parametrize("face", [-1, 100, 1.5])
def test_invalid_face_numbers_are_refused(tmp_path: Path, face: int) -> None:
    with pytest.raises(OptionError, match="face"):
        collect_from_video(tmp_path / "a.mp4", model(), face=face)


def test_people_are_ordered_by_the_first_frames_without_fleeting_ones() -> None:
    faint = [sighting(n, 0, rank=50) for n in range(40)]
    clear = [sighting(n, 100, rank=90) for n in range(3, 30)]
    again = [sighting(n, 110, rank=70) for n in range(35, 40)]  # where the clear one ended, later
    late = [sighting(n, 300, rank=900, shade=180) for n in range(20, 40)]
    fleeting = [sighting(n, 500, rank=60) for n in range(2)]
    people = find_people([faint, late, fleeting, again, clear])
    assert [person[0] for person in people] == [clear, faint, late]
    assert people[0] == [clear, again]
    assert find_people([]) == []
    assert find_people([fleeting]) == [[fleeting]]


def test_many_faces_are_described_briefly() -> None:
    faces = [SeenFace(n, 0.5, 0.5, 0.0, 1.0, 9) for n in range(12)]
    told = describe_faces(faces[0], faces[1:])
    assert "face 2 (" in told
    assert "face 3 (" not in told
    assert " and 9 more" in told
    assert len(told) < 220


# --- a face that leaves the picture ---


@pytest.mark.parametrize("step", [(8, 0), (0, -6)], ids=["to the right", "upwards"])
def test_crops_that_leave_the_picture_are_left_out(tmp_path: Path, step: tuple[int, int]) -> None:
    right, down = step
    frames = [scene((head(PERSON, "smile", degree), 16, 24)) for degree in SMILE]
    frames += [scene((head(PERSON, "smile", 1.0), 16 + right * n, 24 + down * n)) for n in range(1, 20)]
    collected = collect(tmp_path / "a.mp4", frames)
    leaving = {f.number for f in collected.left_out if f.reason == "the face leaves the picture"}
    assert leaving
    assert min(leaving) > 24
    assert max(numbers(collected.kept)) < min(leaving)
    assert len(collected.kept) >= 24
    change = collected.anchors.w_plus[-1] - collected.anchors.w_plus[0]
    whole = collect(tmp_path / "b.mp4", frames[:24]).anchors.w_plus
    assert float(change.norm() / (whole[-1] - whole[0]).norm()) == pytest.approx(1, abs=0.12)
    assert likeness(collected, "smile") > 0.8


def test_a_face_that_is_always_close_is_used(tmp_path: Path) -> None:
    """Its crop always exceeds the picture by the same amount, so it does not leave."""
    frames = [scene((head(PERSON, "smile", d), 56, 24))[34:-30, 64:-64] for d in SMILE]
    collected = collect(tmp_path / "a.mp4", frames)
    assert not [f for f in collected.left_out if f.reason == "the face leaves the picture"]
    assert agreement(collected, SMILE) > 0.9


def test_the_share_of_a_crop_inside_the_picture() -> None:
    square = np.array([[-0.5, -0.5], [-0.5, 63.5], [63.5, 63.5], [63.5, -0.5]])
    assert _inside(square, (64, 64)) == 1
    assert _inside(square + np.array([32, 0]), (64, 64)) == 0.5
    assert _inside(square - 32, (64, 64)) == 0.25
    assert _inside(square + 64, (64, 64)) == 0


# --- the container ---


@pytest.mark.parametrize("matrix", [(-1, 0, 0, 1), (0, 1, 1, 0), (0, -1, -1, 0), (1, 0, 0, -1)])
def test_a_mirroring_display_matrix_is_applied(tmp_path: Path, matrix: tuple[int, int, int, int]) -> None:
    """The frames are stored so that the matrix restores the original video; the same motion is learned."""
    a, b, c, d = matrix
    frames = [scene((head(PERSON, "headsTurn", degree), 16, 24)) for degree in SMILE]
    plain = collect(tmp_path / "a.mp4", frames)
    stored = [frame.transpose(1, 0, 2) if b else frame for frame in frames]
    stored = [frame[:: (c if b else d), :: (b if b else a)] for frame in stored]
    path = oriented(write_video(tmp_path / "b.mp4", stored, crf="14"), *matrix)
    collected = collect_from_video(path, model(), count=7)
    change, wanted = (
        (each.anchors.w_plus[-1] - each.anchors.w_plus[0]).flatten() for each in (collected, plain)
    )
    assert float(np.corrcoef(change, wanted)[0, 1]) > 0.95


def test_a_video_is_learned_only_from_the_shown_part(tmp_path: Path) -> None:
    """Of a long video only 24 frames are shown, and all 24 are used."""
    hidden = [*moving(300, 176, 240)]
    shown = [scene((head(PERSON, "smile", degree), 16, 24)) for degree in SMILE]
    path = write_video(tmp_path / "a.mp4", hidden + shown, g="400", crf="14", bf="0")
    collected = collect_from_video(trimmed(path, (0.96, 12.0)), model(), count=7)
    about = collected.anchors.provenance
    assert (about["frames"], about["frames_looked_at"]) == (24, 24)
    assert agreement(collected, SMILE) > 0.95

"""Any video gives upright frames at true times, one at a time, or a one-sentence error."""

import os
import struct
import weakref
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from bad_clips import BAD, TOO_LONG, make
from PIL import Image
from video_formats import moving, tile_error, tiles
from videos import oriented, trimmed, turned, write_sound, write_video

from micromotion.video import driving_video
from micromotion.video.driving_video import DrivingVideoError, Length, open_driving_video
from micromotion.video.writer import write_frames

KINDS = [
    ("a.mp4", "libx264", "yuv420p"),
    ("a.mov", "libx264", "yuv444p"),
    ("a.webm", "libvpx-vp9", "yuv420p"),
    ("a.mkv", "ffv1", "yuv444p"),
    ("a.avi", "mpeg4", "yuv420p"),
    ("b.avi", "mjpeg", "yuvj420p"),
    ("a.gif", "gif", "rgb8"),
    ("a.ts", "libx264", "yuv420p"),
]


def pictures(path: Path, limit: int = 240) -> list[np.ndarray]:
    return [np.asarray(still.image) for still in open_driving_video(path, limit)]


def refused(path: Path, words: str) -> None:
    """Check that opening or reading fails with one sentence that contains the words and the file's name."""
    with pytest.raises(DrivingVideoError, match=words) as caught:
        list(open_driving_video(path))
    sentence = str(caught.value)
    assert path.name in sentence
    assert sentence.endswith(".")
    assert "\n" not in sentence
    assert "Errno" not in sentence


# --- what is read ---


@pytest.mark.parametrize(("name", "codec", "pixels"), KINDS, ids=[f"{n}-{c}" for n, c, _ in KINDS])
def test_frames_are_read_from_every_format(tmp_path: Path, name: str, codec: str, pixels: str) -> None:
    frames = list(moving(12))
    read = open_driving_video(write_video(tmp_path / name, frames, codec, pixels))
    stills = list(read)
    assert (len(read), read.frames, len(stills)) == (12, 12, 12)
    assert [still.number for still in stills] == list(range(12))
    assert [still.seconds for still in stills] == pytest.approx([i / 25 for i in range(12)], abs=2e-3)
    for still, frame in zip(stills, frames, strict=True):
        assert still.image.mode == "RGB"
        error = np.abs(np.asarray(still.image).astype(float) - frame).mean()
        others = np.abs(np.asarray(still.image).astype(float) - frames[(still.number + 6) % 12]).mean()
        assert error < 0.7 * others


def test_colours_survive_a_round_trip(tmp_path: Path) -> None:
    path = write_frames([tiles()] * 3, tmp_path / "a.mp4", 25)
    assert all(tile_error(picture) <= 6 for picture in pictures(path))


@pytest.mark.parametrize("clockwise", [90, 180, 270])
def test_the_rotation_flag_is_applied(tmp_path: Path, clockwise: int) -> None:
    frames = list(moving(3))
    path = turned(write_video(tmp_path / "a.mp4", frames), clockwise)
    for picture, frame in zip(pictures(path), frames, strict=True):
        upright = np.rot90(frame, -clockwise // 90)
        assert picture.shape == upright.shape
        assert np.abs(picture.astype(float) - upright).mean() < 8


MATRICES = {
    "as it is": (1, 0, 0, 1),
    "mirrored": (-1, 0, 0, 1),
    "upside down": (-1, 0, 0, -1),
    "upside down, mirrored": (1, 0, 0, -1),
    "mirrored, turned left": (0, 1, 1, 0),
    "turned right": (0, 1, -1, 0),
    "turned left": (0, -1, 1, 0),
    "mirrored, turned right": (0, -1, -1, 0),
}


def shown(frame: np.ndarray, a: int, b: int, c: int, d: int) -> np.ndarray:
    """Move each pixel (x, y) to (a·x + c·y, b·x + d·y), relative to the picture's corner."""
    height, width = frame.shape[:2]
    y, x = np.mgrid[:height, :width]
    right, down = a * x + c * y, b * x + d * y
    right, down = right - right.min(), down - down.min()
    page = np.zeros((down.max() + 1, right.max() + 1, 3), np.uint8)
    page[down, right] = frame
    return page


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.webm"])
@pytest.mark.parametrize("matrix", MATRICES.values(), ids=MATRICES.keys())
def test_all_eight_display_matrices_are_applied(
    tmp_path: Path, matrix: tuple[int, int, int, int], name: str
) -> None:
    frames = list(moving(3))
    if name == "a.mp4":
        path = oriented(write_video(tmp_path / name, frames), *matrix)
    else:
        path = write_video(
            tmp_path / name, frames, "libvpx-vp9" if name == "a.webm" else "libx264", matrix=matrix
        )
    for picture, frame in zip(pictures(path), frames, strict=True):
        wanted = shown(frame, *matrix)
        assert picture.shape == wanted.shape
        assert np.abs(picture.astype(float) - wanted).mean() < 8


def test_pixels_are_made_square_before_rotation(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", moving(2), aspect=Fraction(2))
    assert [picture.shape for picture in pictures(oriented(path, 0, 1, 1, 0))] == [(128, 48, 3)] * 2


def picture_numbers(path: Path, frames: list[np.ndarray]) -> list[int]:
    """The index in `frames` of each picture of the video."""
    return [
        int(np.argmin([np.abs(picture.astype(float) - frame).mean() for frame in frames]))
        for picture in pictures(path)
    ]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("edits", "numbers"),
    [
        ([(0.4, 0.8)], range(20, 30)),
        ([(1.0, -1), (0.4, 0.8)], range(20, 30)),  # after a second of nothing
        ([(0.4, 0.2), (0.4, 1.2)], [*range(5, 15), *range(30, 40)]),
        ([(0.4, 1.2), (0.4, 0.2)], [*range(30, 40), *range(5, 15)]),
        ([(0.2, 0.2)] * 2, [*range(5, 10)] * 2),
        ([(9.0, 1.6)], range(40, 50)),  # longer than the media
    ],
)
def test_trimmed_frames_are_neither_shown_nor_counted(
    tmp_path: Path, edits: list[tuple[float, float]], numbers: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    numbers = list(numbers)
    monkeypatch.setattr(driving_video, "MAX_FILE_FRAMES", len(numbers))
    monkeypatch.setattr(driving_video, "MAX_SECONDS", len(numbers) / 25)
    frames = list(moving(50))
    path = trimmed(write_video(tmp_path / "a.mp4", frames, g="50", crf="4"), *edits)
    read = open_driving_video(path, len(numbers))
    assert (read.frames, read.step, len(read)) == (len(numbers), 1, len(numbers))
    stills = list(read)
    assert [still.number for still in stills] == list(range(len(numbers)))
    assert [still.seconds for still in stills] == pytest.approx(
        [n / 25 for n in range(len(numbers))], abs=0.05
    )
    assert picture_numbers(path, frames) == numbers


def test_a_fragmented_video_begins_where_its_edit_list_says(tmp_path: Path) -> None:
    frames = list(moving(50))
    path = write_video(tmp_path / "a.mp4", frames, g="10", crf="4", movflags="frag_keyframe+delay_moov")
    data = bytearray(path.read_bytes())
    start = data.index(b"elst") + 16
    (delay,) = struct.unpack_from(">i", data, start)
    struct.pack_into(">i", data, start, delay + 20 * 512)
    path.write_bytes(data)
    read = open_driving_video(path)
    assert (read.frames, len(list(read))) == (30, 30)
    assert next(iter(read)).seconds == 0
    assert picture_numbers(path, frames) == list(range(20, 50))


def test_times_are_true_at_a_variable_frame_rate(tmp_path: Path) -> None:
    times = [0.0, 0.04, 0.08, 0.5, 0.9, 0.91, 1.5]
    path = write_video(tmp_path / "a.mkv", moving(7), times=times)
    assert [still.seconds for still in open_driving_video(path)] == pytest.approx(times, abs=2e-3)


def test_time_begins_with_the_first_frame(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mkv", moving(3), times=[7.0, 7.1, 7.4])
    assert [still.seconds for still in open_driving_video(path)] == pytest.approx([0, 0.1, 0.4], abs=2e-3)


@pytest.mark.parametrize("shape", [(47, 63), (33, 64), (48, 35)])
def test_odd_sizes(tmp_path: Path, shape: tuple[int, int]) -> None:
    frames = list(moving(3, *shape))
    path = write_video(tmp_path / "a.mkv", frames, "ffv1", "bgr0")
    np.testing.assert_array_equal(pictures(path), frames)


def test_pixels_that_are_not_square_are_made_square(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", moving(2), aspect=Fraction(2))
    assert [picture.shape for picture in pictures(path)] == [(48, 128, 3)] * 2


def test_transparency_is_composited_over_white(tmp_path: Path) -> None:
    clear = [Image.new("RGBA", (40, 40), (shade, 0, 0, 0)) for shade in (10, 200)]
    clear[0].save(tmp_path / "a.apng", format="PNG", save_all=True, append_images=clear[1:], disposal=1)
    assert all((picture == 255).all() for picture in pictures(tmp_path / "a.apng"))


def test_a_video_of_one_frame_is_read(tmp_path: Path) -> None:
    assert [s.seconds for s in open_driving_video(write_video(tmp_path / "a.mp4", moving(1)))] == [0]


@pytest.mark.parametrize(
    ("limit", "numbers"), [(50, range(50)), (49, range(0, 50, 2)), (10, range(0, 50, 5))]
)
def test_a_long_video_is_sampled_evenly(tmp_path: Path, limit: int, numbers: range) -> None:
    read = open_driving_video(write_video(tmp_path / "a.mp4", moving(50)), limit)
    assert [still.number for still in read] == list(numbers)
    assert len(read) == len(numbers) <= limit
    assert [still.seconds for still in read] == pytest.approx([n / 25 for n in numbers])


def test_frames_are_streamed(tmp_path: Path) -> None:
    """Only the current frame is in memory."""
    alive: list[weakref.ref[Image.Image]] = []
    for still in open_driving_video(write_video(tmp_path / "a.mp4", moving(30))):
        alive = [each for each in alive if each() is not None]
        assert len(alive) <= 1
        alive.append(weakref.ref(still.image))


# --- what is refused ---


@pytest.mark.parametrize("name", BAD)
def test_a_bad_file_is_refused(tmp_path: Path, name: str) -> None:
    refused(*make(name, tmp_path))


@pytest.mark.parametrize("name", TOO_LONG)
def test_what_is_too_long_to_drive_a_photo_can_be_learned_from(tmp_path: Path, name: str) -> None:
    path, words = make(name, tmp_path)
    assert len(open_driving_video(path)) > 0
    with pytest.raises(DrivingVideoError, match=words):
        open_driving_video(path, 1800, Length(60, 1800))


def test_a_file_that_is_not_a_video_is_refused(tmp_path: Path, astronaut_file: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(b"not a video at all, only words " * 99)
    refused(tmp_path / "a.mp4", "cannot be read as a video")
    refused(astronaut_file, "cannot be read as a video")


def test_missing_empty_and_special_files_are_refused(tmp_path: Path) -> None:
    refused(tmp_path / "a.mp4", "There is no file")
    (tmp_path / "b.mp4").touch()
    refused(tmp_path / "b.mp4", "is empty")
    (tmp_path / "c.mp4").mkdir()
    refused(tmp_path / "c.mp4", "a folder or a device, not a file")
    os.mkfifo(tmp_path / "d.mp4")
    refused(tmp_path / "d.mp4", "a folder or a device, not a file")
    with pytest.raises(DrivingVideoError, match="cannot be opened"):
        open_driving_video("a\0.mp4")


def test_a_file_with_only_sound_is_refused(tmp_path: Path) -> None:
    refused(write_sound(tmp_path / "a.mp4"), "only sound")


def test_a_video_without_frames_is_refused(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "a.avi"), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        container.start_encoding()
    refused(tmp_path / "a.avi", "has no frames|cannot be read as a video")


@pytest.mark.parametrize("part", [0.05, 0.3, 0.6, 0.95])
@pytest.mark.parametrize("index_first", [True, False])
def test_a_truncated_file_is_refused(tmp_path: Path, part: float, index_first: bool) -> None:
    path = tmp_path / "a.mp4"
    if index_first:
        write_frames(moving(40), path, 25)
    else:
        write_video(path, moving(40))
    path.write_bytes(path.read_bytes()[: int(part * path.stat().st_size)])
    refused(path, "damaged or cut short|cannot be read as a video")


def test_damage_in_the_middle_never_crashes(tmp_path: Path) -> None:
    whole = write_video(tmp_path / "whole.avi", moving(20), "mjpeg", "yuvj420p").read_bytes()
    rng = np.random.default_rng(0)
    for _ in range(30):
        broken = bytearray(whole)
        for at in rng.integers(0, len(whole), 200):
            broken[at] = rng.integers(256)
        (tmp_path / "a.avi").write_bytes(broken)
        try:
            for still in open_driving_video(tmp_path / "a.avi"):
                assert still.image.mode == "RGB"
        except DrivingVideoError:
            continue


def test_playlists_are_not_followed(tmp_path: Path) -> None:
    write_video(tmp_path / "secret.ts", moving(20))
    write_video(tmp_path / "secret.mp4", moving(20))
    playlist = "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nsecret.ts\n#EXT-X-ENDLIST\n"
    (tmp_path / "a.mp4").write_text(playlist)
    (tmp_path / "a.m3u8").write_text(playlist)
    (tmp_path / "b.mp4").write_text("ffconcat version 1.0\nfile secret.mp4\n")
    with av.open(str(tmp_path / "a.m3u8")) as container:  # otherwise this test would prove nothing
        assert len(list(container.decode(video=0))) == 20
    for name in ("a.mp4", "a.m3u8", "b.mp4"):
        refused(tmp_path / name, "cannot be read as a video")


@pytest.mark.parametrize("edits", [[(0.4, 30.0)], [(0.0, 0.4)]])
def test_a_video_trimmed_to_nothing_is_refused(tmp_path: Path, edits: list[tuple[float, float]]) -> None:
    refused(trimmed(write_video(tmp_path / "a.mp4", moving(20)), *edits), "nothing but trimmed frames")


def test_trimmed_frames_are_bounded_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = trimmed(write_video(tmp_path / "a.mp4", moving(50), g="50"), (0.4, 0.8))
    assert len(pictures(path)) == 10
    monkeypatch.setattr(driving_video, "MAX_HIDDEN", 39)
    refused(path, "more than 39 trimmed frames")


def test_an_edit_list_that_would_exhaust_memory_is_not_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For each entry the decoder lists all frames since the last key frame: 16 bytes for 50 frames."""
    path = write_video(tmp_path / "a.mp4", moving(50), g="50")
    trimmed(path, *[(0.04, 1.9)] * 101)
    monkeypatch.setattr(av, "open", lambda *_, **__: pytest.fail("it was opened"))
    refused(path, "an edit list of 101 entries, more than 100")
    (tmp_path / "b.mov").write_bytes(path.read_bytes().replace(b"elst", b"xxxx") + b"cmov\0\0\0\x0cdcomzlib")
    refused(tmp_path / "b.mov", "a compressed header")


def test_the_longest_edit_list_is_read(tmp_path: Path) -> None:
    path = trimmed(
        write_video(tmp_path / "a.mp4", moving(20), g="1"), *[(0.04, 0.4)] * driving_video.MAX_EDITS
    )
    assert len(pictures(path)) == driving_video.MAX_EDITS


@pytest.mark.parametrize(
    ("bound", "value", "words"),
    [
        ("MAX_BYTES", 1000, "larger than 0 MB"),
        ("MAX_PIXELS", 64 * 48 - 1, "64×48"),
        ("MAX_SECONDS", 0.5, "longer than"),
        ("MAX_FILE_FRAMES", 19, "longer than .* 19 frames"),
    ],
)
def test_sizes_are_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bound: str, value: float, words: str
) -> None:
    path = write_video(tmp_path / "a.mp4", moving(20))
    assert len(pictures(path)) == 20
    monkeypatch.setattr(driving_video, bound, value)
    refused(path, words)


def test_unneeded_codecs_are_not_run(tmp_path: Path) -> None:
    refused(write_video(tmp_path / "a.avi", moving(3), "ffvhuff"), "uses the codec ffvhuff")

"""Failures while a video is written leave nothing behind."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from full_disk import files_of_at_most
from video_formats import ALL, VIDEO_NAMES, everything, moving

from micromotion.errors import OutputError
from micromotion.video import encoders
from micromotion.video.writer import write_frames


class Cancelled(BaseException):
    """Like Cog's CancelationException, not an Exception."""


@pytest.mark.parametrize("raised", [RuntimeError, OSError, KeyboardInterrupt, Cancelled, GeneratorExit])
@pytest.mark.parametrize("name", ALL)
def test_an_exception_midway_passes_through_and_leaves_nothing(
    tmp_path: Path, name: str, raised: type[BaseException]
) -> None:
    def breaking() -> Iterator[np.ndarray]:
        yield from moving(5)
        raise raised("midway")

    with pytest.raises(raised, match="midway"):
        write_frames(breaking(), tmp_path / name, 30)
    assert everything(tmp_path) == {}

    def stop(done: int) -> None:
        if done == 3:
            raise raised("midway")

    with pytest.raises(raised, match="midway"):
        write_frames(moving(5), tmp_path / name, 30, on_frame=stop)
    assert everything(tmp_path) == {}


@pytest.mark.parametrize("name", ALL)
def test_control_c_leaves_the_old_file(tmp_path: Path, name: str) -> None:
    if name == "a":
        (tmp_path / name).mkdir()
    else:
        (tmp_path / name).write_bytes(b"the old video")
    before = everything(tmp_path)

    def interrupt(done: int) -> None:
        if done == 55:
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        write_frames(moving(60), tmp_path / name, 30, on_frame=interrupt)
    assert everything(tmp_path) == before


@pytest.mark.parametrize("name", ALL)
def test_an_exception_at_the_very_end_leaves_nothing(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    kinds: dict[str, type[encoders.VideoEncoder]] = {
        "a.mp4": encoders.Mp4,
        "a.gif": encoders.Gif,
        "a.webp": encoders.WebP,
        "a": encoders.Pngs,
    }
    kind = kinds[name]
    finish = kind.finish

    def interrupted(self: encoders.VideoEncoder) -> None:
        finish(self)
        raise KeyboardInterrupt

    monkeypatch.setattr(kind, "finish", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_frames(moving(5), tmp_path / name, 30)
    assert everything(tmp_path) == {}


@pytest.mark.slow
@pytest.mark.parametrize("name", VIDEO_NAMES)
def test_an_existing_video_is_complete_until_it_is_replaced(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(b"the old video")
    seen = set()
    write_frames(moving(60), path, 30, on_frame=lambda _: seen.add(path.read_bytes()))
    assert seen == {b"the old video"}
    assert list(everything(tmp_path)) == [name]
    assert len(path.read_bytes()) > 1000
    mask = os.umask(0)
    os.umask(mask)
    assert path.stat().st_mode & 0o777 == 0o666 & ~mask


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize(
    ("frames", "total", "reason"),
    [
        ([], None, "there are no frames"),
        ([*moving(2), *moving(1, 40, 64)], None, "frame 2 has 64×40 pixels, the first one 64×48"),
        ([frame.astype(np.float32) for frame in moving(1)], None, "frame 0 is float32"),
        ([frame[..., 0] for frame in moving(1)], None, r"\[48, 64\], not uint8 \[H, W, 3\]"),
        ([frame[:0] for frame in moving(1)], None, r"\[0, 64, 3\]"),
        (list(moving(3)), 4, "got 3 frames, expected 4"),
        (list(moving(3)), 2, "got 3 frames, expected 2"),
    ],
)
def test_invalid_frames_are_refused(
    tmp_path: Path, name: str, frames: list[np.ndarray], total: int | None, reason: str
) -> None:
    with pytest.raises(OutputError, match=reason):
        write_frames(frames, tmp_path / name, 30, total=total)
    assert everything(tmp_path) == {}


@pytest.mark.parametrize("name", ["a.mp4", "a.webp"])
def test_an_encoder_error_is_an_output_error(tmp_path: Path, name: str) -> None:
    """Both formats are limited to 16384 pixels."""
    with pytest.raises(OutputError, match="could not be written"):
        write_frames([np.zeros((2, 16400, 3), np.uint8)], tmp_path / name, 30)
    assert everything(tmp_path) == {}


@pytest.mark.parametrize("name", VIDEO_NAMES)
def test_on_a_full_disk_the_video_is_complete_or_absent(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    whole = write_frames(moving(6, 8, 8), path, 30).read_bytes()
    path.unlink()
    sentences = []
    for limit in [*range(1, len(whole), len(whole) // 12), len(whole) - 1, len(whole), len(whole) + 1]:
        try:
            with files_of_at_most(limit):
                write_frames(moving(6, 8, 8), path, 30)
            assert path.read_bytes() == whole
            path.unlink()
        except OutputError as error:
            sentences.append(str(error))
        assert everything(tmp_path) == {}
    assert len(sentences) >= 12
    assert set(sentences) == {f"{path} could not be written: File too large."}


def test_a_disk_that_is_full_from_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("needs /dev/full")
    monkeypatch.setattr("micromotion.video.writer.secrets.token_hex", lambda _: "name")
    for suffix in (".mp4", ".webp", ".gif"):
        (tmp_path / f".micromotion-name{suffix}").symlink_to("/dev/full")
        with pytest.raises(OutputError, match="No space left on device"):
            write_frames(moving(3), tmp_path / f"a{suffix}", 30)
        assert everything(tmp_path) == {}
    assert Path("/dev/full").exists()

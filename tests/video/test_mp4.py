"""MP4: what was written is decoded again."""

import struct
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from video_formats import boxes, decoded, moving, tile_error, tiles

from micromotion.video.writer import write_frames


def moment(frame: av.VideoFrame) -> Fraction:
    """A frame's presentation time in seconds."""
    assert frame.pts is not None
    assert frame.time_base is not None
    return frame.pts * frame.time_base


@pytest.mark.parametrize(
    ("fps", "exact"),
    [
        (30, Fraction(30)),
        (24, Fraction(24)),
        (29.97, Fraction(30000, 1001)),
        (23.976, Fraction(24000, 1001)),
        (12.5, Fraction(25, 2)),
        (7, Fraction(7)),
    ],
)
def test_mp4_has_all_frames_at_the_exact_rate(tmp_path: Path, fps: float, exact: Fraction) -> None:
    with av.open(str(write_frames(moving(31), tmp_path / "a.mp4", fps))) as video:
        stream = video.streams.video[0]
        assert stream.codec_context.name == "h264"
        assert stream.average_rate == exact
        assert stream.duration is not None
        assert stream.time_base is not None
        assert stream.duration * stream.time_base == 31 / exact
        times = [moment(frame) for frame in video.decode(stream)]
    assert times == [i / exact for i in range(31)]


def test_mp4_plays_in_browsers(tmp_path: Path) -> None:
    path = write_frames(moving(10), tmp_path / "a.mp4", 30)
    with av.open(str(path)) as video:
        stream = video.streams.video[0]
        assert stream.codec_context.pix_fmt == "yuv420p"
        assert stream.codec_context.profile == "High"
        assert stream.sample_aspect_ratio == 1
        assert (stream.width, stream.height) == (64, 48)
    names = boxes(path.read_bytes())
    assert names.index("moov") < names.index("mdat")


def test_mp4_is_tagged_bt709_limited_in_the_stream_and_in_the_container(tmp_path: Path) -> None:
    path = write_frames(moving(3), tmp_path / "a.mp4", 30)
    with av.open(str(path)) as video:
        frame = next(video.decode(video=0))
        codec = video.streams.video[0].codec_context
        assert (codec.color_primaries, codec.color_trc, codec.colorspace, codec.color_range) == (1, 1, 1, 1)
        assert (frame.colorspace, frame.color_range) == (1, 1)
    assert b"colrnclx" + struct.pack(">HHHB", 1, 1, 1, 0) in path.read_bytes()


def test_mp4_colours_are_really_bt709(tmp_path: Path) -> None:
    """By BT.601, or with full range, saturated colours would be off by 20 levels and more."""
    frames = decoded(write_frames([tiles()] * 3, tmp_path / "a.mp4", 30))
    assert max(tile_error(frame) for frame in frames) <= 4


@pytest.mark.slow
@pytest.mark.parametrize("shape", [(128, 128), (256, 256), (600, 520)])
def test_mp4_keeps_the_picture(tmp_path: Path, shape: tuple[int, int]) -> None:
    y, x = np.mgrid[: shape[0], : shape[1]] / shape[0]
    source = [
        (127 + 90 * np.sin(np.stack([9 * x + 5 * y + i / 9, 7 * y - i / 7, 8 * x * y], 2))).astype(np.uint8)
        for i in range(12)
    ]
    frames = decoded(write_frames(source, tmp_path / "a.mp4", 30))
    errors = [np.mean((frame - original) ** 2) for frame, original in zip(frames, source, strict=True)]
    assert 10 * np.log10(255**2 / max(errors)) > 40


@pytest.mark.parametrize(("height", "width"), [(33, 17), (32, 17), (33, 18), (1, 1), (2, 3)])
def test_mp4_of_an_odd_size_repeats_the_last_row_and_column(tmp_path: Path, height: int, width: int) -> None:
    y, x = np.mgrid[:height, :width]
    source = np.stack([40 + 5 * y, 200 - 4 * y, 90 + x], axis=2).astype(np.uint8)
    (frame,) = decoded(write_frames([source], tmp_path / "a.mp4", 30))
    assert frame.shape == (height + height % 2, width + width % 2, 3)
    padded = np.pad(source, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
    assert np.abs(frame - padded).max() < 16

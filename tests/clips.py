"""Clips for the tests of learning from video, written through PyAV."""

import struct
from collections.abc import Iterable, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

TICK = Fraction(1, 1000)


def write_clip(
    path: Path,
    frames: Iterable[np.ndarray],
    codec: str = "libx264",
    pixels: str = "yuv420p",
    *,
    rate: int = 25,
    times: Sequence[float] | None = None,
    aspect: Fraction | None = None,
    **options: str,
) -> Path:
    """uint8 [H, W, 3] RGB frames into a file; times are in seconds, to the millisecond."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate, options=options)
        for number, frame in enumerate(frames):
            if number == 0:
                stream.height, stream.width, stream.pix_fmt = *frame.shape[:2], pixels
                if times is not None:
                    stream.codec_context.time_base = TICK
                if aspect is not None:
                    stream.codec_context.sample_aspect_ratio = aspect
            picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")
            if times is not None:
                picture.pts, picture.time_base = round(1000 * times[number]), TICK
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
    return path


def turned(path: Path, clockwise: int) -> Path:
    """The MP4 with the flag that says to show it turned, the matrix of its track's header (ISO 14496-12)."""
    a, b, c, d = {90: (0, 1, -1, 0), 180: (-1, 0, 0, -1), 270: (0, -1, 1, 0)}[clockwise]
    data = path.read_bytes()
    plain, wanted = (
        struct.pack(">9i", *(p << 16, q << 16, 0, r << 16, s << 16, 0, 0, 0, 1 << 30))
        for p, q, r, s in ((1, 0, 0, 1), (a, b, c, d))
    )
    at = data.index(plain, data.index(b"tkhd"))
    path.write_bytes(data[:at] + wanted + data[at + len(plain) :])
    return path


def write_sound(path: Path) -> Path:
    """A second of silence, in a container that could hold pictures."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=16000, layout="mono")
        for start in range(0, 16000, 1024):
            silence = av.AudioFrame.from_ndarray(
                np.zeros((1, 1024), np.float32), format="fltp", layout="mono"
            )
            silence.sample_rate, silence.pts = 16000, start
            container.mux(stream.encode(silence))
        container.mux(stream.encode(None))
    return path

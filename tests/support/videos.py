"""Videos for tests of learning from video, written with PyAV."""

import struct
from collections.abc import Iterable, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

TICK = Fraction(1, 1000)


def write_video(
    path: Path,
    frames: Iterable[np.ndarray],
    codec: str = "libx264",
    pixels: str = "yuv420p",
    *,
    rate: int = 25,
    times: Sequence[float] | None = None,
    aspect: Fraction | None = None,
    matrix: tuple[int, int, int, int] | None = None,
    movflags: str = "",
    **options: str,
) -> Path:
    """Write RGB frames, uint8 [H, W, 3], to a file; times are in seconds, to the millisecond.

    matrix: a, b, c, d of the container's display matrix, see `oriented`.
    """
    muxer = {"movflags": movflags} if movflags else {}
    with av.open(str(path), "w", options=muxer) as container:
        stream = container.add_stream(codec, rate=rate, options=options)
        assert isinstance(stream, av.VideoStream)
        for number, frame in enumerate(frames):
            if number == 0:
                stream.height, stream.width, stream.pix_fmt = *frame.shape[:2], pixels
                if matrix is not None:
                    a, b, c, d = (each << 16 for each in matrix)
                    stream.set_display_matrix([a, b, 0, c, d, 0, 0, 0, 1 << 30])
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


def oriented(path: Path, a: int, b: int, c: int, d: int) -> Path:
    """Set the matrix in the MP4's track header that shows (x, y) at (a·x + c·y, b·x + d·y)."""
    data = path.read_bytes()
    plain, wanted = (
        struct.pack(">9i", *(p << 16, q << 16, 0, r << 16, s << 16, 0, 0, 0, 1 << 30))
        for p, q, r, s in ((1, 0, 0, 1), (a, b, c, d))
    )
    at = data.index(plain, data.index(b"tkhd"))
    path.write_bytes(data[:at] + wanted + data[at + len(plain) :])
    return path


def trimmed(path: Path, *edits: tuple[float, float]) -> Path:
    """Give the MP4 an edit list of (duration, media time) in seconds; a media time of -1 shows nothing.

    The file must come from `write_video`, whose media times begin with the delay of its B-frames.
    """
    data = path.read_bytes()
    movie, media = (struct.unpack_from(">I", data, data.index(box) + 16)[0] for box in (b"mvhd", b"mdhd"))
    at = data.index(b"edts") - 4
    (size,) = struct.unpack_from(">I", data, at)
    (delay,) = struct.unpack_from(">i", data, data.index(b"elst") + 16)
    body = b"".join(
        struct.pack(">Iihh", round(long * movie), -1 if start < 0 else round(start * media) + delay, 1, 0)
        for long, start in edits
    )
    elst = struct.pack(">I4sII", 16 + len(body), b"elst", 0, len(edits)) + body
    edts = struct.pack(">I4s", 8 + len(elst), b"edts") + elst
    grown = bytearray(data[:at] + edts + data[at + size :])
    for box in (b"moov", b"trak"):
        where = grown.index(box) - 4
        struct.pack_into(">I", grown, where, struct.unpack_from(">I", grown, where)[0] + len(edts) - size)
    if grown.index(b"moov") < grown.index(b"mdat"):
        raise ValueError("the pictures would have to move")
    path.write_bytes(grown)
    return path


def turned(path: Path, clockwise: int) -> Path:
    """Make players show the MP4 rotated, by the matrix of its track header (ISO 14496-12)."""
    return oriented(path, *{90: (0, 1, -1, 0), 180: (-1, 0, 0, -1), 270: (0, -1, 1, 0)}[clockwise])


def write_sound(path: Path) -> Path:
    """Write a second of silence, in a container that could hold video."""
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

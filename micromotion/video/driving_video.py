"""Stream the frames of an untrusted driving video as a player shows them: upright, square pixels, true times.

The container's edit list and display matrix are applied.

The file is untrusted. The decoder gets it as bytes, never by name; only containers that cannot refer to other
files are allowed; bytes, pixels, seconds and the number of frames are limited. Of a long video only every
n-th frame is used. Memory holds the current frame, and those that the decoder needs.
"""

import math
import mmap
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, BinaryIO

import av
import numpy as np
from av.sidedata.sidedata import Type as SideData
from av.stream import Disposition
from PIL import Image

from micromotion.errors import MicromotionError

MAX_BYTES = 1 << 30
"""Largest file, in bytes: two minutes of a phone's 4K."""

MAX_PIXELS = 16_000_000
"""Largest width × height of a frame, in pixels: 4K in any shape."""

MAX_SECONDS = 120
"""Longest video: a micromotion takes seconds, and all frames have to be decoded."""

MAX_FILE_FRAMES = MAX_SECONDS * 240
"""Most frames in a file, of which every n-th is used."""

MAX_HIDDEN = MAX_FILE_FRAMES
"""Most frames hidden by an edit list, beside those that are shown: they are decoded too."""

MAX_EDITS = 100
"""Most entries of an edit list. The decoder builds a list of frames for each, so a small file could use much
memory.
"""

MAX_FRAMES = 240
"""Most frames that are used, spread evenly over the video."""


# Left out on purpose: playlists and lists of files (hls, dash, concat, sdp), which open what they name, and
# numbered pictures (image2).
_CONTAINERS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,gif,apng,mpegts,mpeg,flv,asf,ogg,yuv4mpegpipe"
_CODECS = (
    "h264,hevc,vp8,vp9,libvpx,libvpx-vp9,av1,libdav1d,libaom-av1,mpeg1video,mpeg2video,mpeg4,msmpeg4v3,h263,"
    "flv,wmv1,wmv2,wmv3,vc1,theora,mjpeg,gif,apng,png,ffv1,huffyuv,utvideo,prores,dnxhd,rawvideo,qtrle,cinepak"
)
_CLOCKWISE = {1: Image.Transpose.ROTATE_270, 2: Image.Transpose.ROTATE_180, 3: Image.Transpose.ROTATE_90}
_EDITS = re.compile(rb"(?s)(....)elst[\0\1]\0\0\0(....)")
_COMPRESSED = re.compile(rb"(?s)cmov....dcom")
_MEGAPIXELS = f"{MAX_PIXELS // 1_000_000} million pixels"
_THREADS = 4
_REORDERED = 32  # packets among which the first frame is, as decoding order is not that of time


class DrivingVideoError(MicromotionError):
    """The video or the pictures cannot be read, or no motion can be learned from them."""


@dataclass(frozen=True)
class Length:
    """The longest video that is read, in seconds and in frames of the file."""

    seconds: float
    frames: int


@dataclass(frozen=True)
class DrivingFrame:
    """One frame of a video: its number in the file, from 0; seconds since the first frame; RGB, upright."""

    number: int
    seconds: float
    image: Image.Image


@dataclass(frozen=True)
class DrivingVideo:
    """A readable video; each iteration streams its frames anew.

    path: the file. frames: how many it shows. step: every step-th of them is used; `len` is their number.
    longest: more is refused.
    """

    path: Path
    frames: int
    step: int
    longest: Length

    def __len__(self) -> int:
        return -(-self.frames // self.step)

    def __iter__(self) -> Iterator[DrivingFrame]:
        """The used frames, one by one, by increasing time.

        Raises DrivingVideoError if the file is damaged, or is larger or longer than its header says.
        """
        with opened(self.path) as (container, stream):
            clock = _Clock(1 / (stream.average_rate or Fraction(25)))
            shown = (frame for frame in container.decode(stream) if not _before(container, frame.time))
            for number, frame in enumerate(shown):
                _check_size(frame.width, frame.height, self.path)
                seconds = clock.read(frame)
                if seconds > self.longest.seconds or number >= self.longest.frames:
                    raise _too_long(self.path, seconds, self.longest)
                if number % self.step == 0:
                    yield DrivingFrame(number, seconds, _picture(frame, stream.sample_aspect_ratio))


def open_driving_video(
    path: str | Path, limit: int = MAX_FRAMES, longest: Length | None = None
) -> DrivingVideo:
    """Scan a video without decoding it, and choose which frames to use, at most `limit`.

    longest: what is refused as too long, by default above MAX_SECONDS or MAX_FILE_FRAMES.

    Reads MP4, MOV, WebM, MKV, AVI, GIF, APNG, MPEG, FLV, WMV and Ogg. A file that ends early is read as far
    as it goes, unless it ends within a frame. Frames hidden by an edit list count only towards MAX_HIDDEN.

    Raises DrivingVideoError: there is no such file, it is not a video, has only sound or no frames, is
    damaged or cut short, too long, or exceeds MAX_BYTES, MAX_PIXELS, MAX_HIDDEN or MAX_EDITS.
    """
    path = Path(path)
    longest = longest or Length(MAX_SECONDS, MAX_FILE_FRAMES)
    _check_file(path)
    times: list[Fraction] = []
    count = hidden = 0
    with opened(path) as (container, stream):
        for packet in container.demux(stream):
            if packet.size == 0:  # the end
                continue
            if packet.is_corrupt:
                raise _damaged(path)
            time = None if packet.pts is None else packet.pts * (packet.time_base or stream.time_base)
            if packet.is_discard or _before(container, time):
                hidden += 1
                if hidden > MAX_HIDDEN:
                    raise _trimmed(path, f"more than {MAX_HIDDEN} trimmed frames")
                continue
            count += 1
            if time is not None:
                times.append(time)
                times = [min(times), max(times)]
            length = times[-1] - times[0] if times else Fraction(0)
            if length > longest.seconds or count > longest.frames:
                raise _too_long(path, float(length), longest)
    if count == 0 and hidden:
        raise _trimmed(path, "nothing but trimmed frames")
    if count == 0:
        raise DrivingVideoError(f"{shown_path(path)} has no frames: record or save it again.")
    return DrivingVideo(path, count, -(-count // limit), longest)


def first_time(path: Path) -> Fraction:
    """The time of the first shown frame, in seconds; 0 if the file does not say. Raises DrivingVideoError."""
    times: list[Fraction] = []
    with opened(path) as (container, stream):
        for packet in container.demux(stream):
            if packet.size and packet.pts is not None and not packet.is_discard:
                time = packet.pts * packet.time_base
                times += [] if _before(container, time) else [time]
            if len(times) == _REORDERED:
                break
    return min(times, default=Fraction(0))


class _Clock:
    """Seconds since the first frame, strictly increasing, whatever the file says."""

    def __init__(self, usual: Fraction) -> None:
        self.usual = float(usual)
        self.first: float | None = None
        self.last = -self.usual

    def read(self, frame: av.VideoFrame) -> float:
        if frame.time is not None and self.first is None:
            self.first = frame.time - (self.last + self.usual)
        read = None if frame.time is None or self.first is None else frame.time - self.first
        self.last = read if read is not None and read > self.last else self.last + self.usual
        return self.last


def _before(container: Any, time: Fraction | float | None) -> bool:
    """Whether a time is before the first shown frame: a fragmented MP4's edit list starts at 0."""
    return time is not None and time < 0 and container.format.name.startswith("mov,")


def _check_edits(path: Path, file: BinaryIO) -> None:
    """Raise DrivingVideoError for an edit list above MAX_EDITS, or a compressed header that may contain one.

    Searches the whole file, since the decoder finds such a list anywhere.
    """
    with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        for found in _EDITS.finditer(data):
            size, count = (int.from_bytes(part, "big") for part in found.groups())
            if count > MAX_EDITS and size >= 12 * count:
                raise _trimmed(path, f"an edit list of {count} entries, more than {MAX_EDITS}")
        if _COMPRESSED.search(data):
            raise _trimmed(path, "a compressed header")


def _check_file(path: Path) -> None:
    name = shown_path(path)
    try:
        about = path.stat()
    except FileNotFoundError as error:
        raise DrivingVideoError(f"There is no file {name}: check its name and folder.") from error
    except (OSError, ValueError) as error:  # name too long, a zero byte in it, a failing disk
        raise DrivingVideoError(f"{name} cannot be opened ({_reason(error)}): check its name.") from error
    if not stat.S_ISREG(about.st_mode):  # before opening: a pipe would block, a device may act
        raise DrivingVideoError(f"{name} is a folder or a device, not a file: name a video.")
    if about.st_size == 0:
        raise DrivingVideoError(f"{name} is empty: choose another video.")
    if about.st_size > MAX_BYTES:
        raise DrivingVideoError(
            f"{name} is larger than {MAX_BYTES >> 20} MB: cut the video to the motion first."
        )


@contextmanager
def opened(path: Path) -> Iterator[tuple[Any, Any]]:
    """The file's container and its video stream, within the limits of `open_driving_video`.

    The decoder's errors become DrivingVideoError.
    """
    try:
        with path.open("rb") as file:
            _check_edits(path, file)
            try:
                container = av.open(
                    file,
                    container_options={"format_whitelist": _CONTAINERS, "protocol_whitelist": "none"},
                )
            except (av.FFmpegError, ValueError) as error:
                raise DrivingVideoError(
                    f"{shown_path(path)} cannot be read as a video: save it as MP4 and try again."
                ) from error
            with container:
                yield container, _stream(container, path)
    except (av.FFmpegError, MemoryError) as error:
        raise _damaged(path) from error
    except OSError as error:
        raise DrivingVideoError(f"{shown_path(path)} cannot be read ({_reason(error)}).") from error


def _stream(container: Any, path: Path) -> Any:
    """The first video stream, with a limited decoder."""
    streams = [one for one in container.streams.video if not one.disposition & Disposition.attached_pic]
    if not streams and not container.streams.audio:
        raise _damaged(path)
    if not streams:
        raise DrivingVideoError(f"{shown_path(path)} has only sound, no pictures: choose another video.")
    codec = streams[0].codec_context
    if codec is None or codec.name not in _CODECS.split(","):
        named = "an unknown codec" if codec is None else f"the codec {codec.name}"
        raise DrivingVideoError(
            f"{shown_path(path)} uses {named}, which is not supported: save it as MP4 with H.264."
        )
    _check_size(codec.width, codec.height, path)
    codec.options = {"max_pixels": str(2 * MAX_PIXELS)}  # decoders pad; the frame's size is checked too
    codec.thread_type, codec.thread_count = "AUTO", _THREADS
    return streams[0]


def _check_size(width: int, height: int, path: Path) -> None:
    if width * height > MAX_PIXELS:
        raise DrivingVideoError(
            f"{shown_path(path)} has frames of {width}×{height}, above {_MEGAPIXELS}: scale it down first."
        )


def _picture(frame: av.VideoFrame, aspect: Fraction | None) -> Image.Image:
    """RGB, uint8, upright, with square pixels, transparency over white as in `load_image`."""
    seen = any(part.is_alpha for part in frame.format.components)
    width = frame.width
    if aspect and Fraction(1, 4) <= aspect <= 4 and width * frame.height * aspect <= MAX_PIXELS:
        width = max(1, round(width * aspect))
    pixels = frame.reformat(width=width, format="rgba" if seen else "rgb24").to_ndarray()
    image = Image.fromarray(pixels)
    if seen:
        page = Image.new("RGB", image.size, "white")
        page.paste(image, mask=image)
        image = page
    for step in _orientation(frame):
        image = image.transpose(step)
    return image


def _orientation(frame: av.VideoFrame) -> Iterator[Image.Transpose]:
    """The transpositions from stored to shown pixels: perhaps a mirror, then a rotation by quarter turns.

    The display matrix is [a b u; c d v; x y w], with (x, y) shown at (a·x + c·y, b·x + d·y). PyAV reads only
    an angle from it, and ignores mirroring.
    """
    about: Any = frame.side_data
    matrix = about.get(SideData.DISPLAYMATRIX)
    if matrix is None:
        return
    a, b, _, c, d, *_ = np.frombuffer(matrix, np.int32).tolist()
    if a * d < b * c:
        yield Image.Transpose.FLIP_LEFT_RIGHT
        a, b = -a, -b
    turns = round(math.atan2(b - c, a + d) / (math.pi / 2)) % 4
    if turns:
        yield _CLOCKWISE[turns]


def _too_long(path: Path, seconds: float, longest: Length) -> DrivingVideoError:
    return DrivingVideoError(
        f"{shown_path(path)} is longer than {longest.seconds:g} s or {longest.frames} frames"
        f" ({seconds:.0f} s were read): cut the video to the motion first."
    )


def _trimmed(path: Path, what: str) -> DrivingVideoError:
    return DrivingVideoError(f"{shown_path(path)} has {what}: save the part to learn from as a new MP4.")


def _damaged(path: Path) -> DrivingVideoError:
    return DrivingVideoError(
        f"{shown_path(path)} is damaged or cut short and cannot be decoded: save or download it again."
    )


def shown_path(path: Path) -> str:
    """A video's path as errors show it: quoted, and cut to its last 120 characters."""
    text = str(path)
    return repr(text if len(text) <= 120 else f"…{text[-120:]}")


def _reason(error: Exception) -> object:
    return getattr(error, "strerror", None) or error

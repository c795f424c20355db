"""The streaming encoders behind `micromotion.video.writer`.

All have the same interface: the constructor takes (path, width, height, rate); `put` takes one frame (uint8
[H, W, 3], RGB); `finish` completes the file; `close` must always be called at the end. The first three may
raise OSError or av.FFmpegError; `close` raises nothing.

They use PyAV and Pillow directly, with fixed threads and metadata, as the same frames must give the same
bytes.
"""

import math
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from typing import Any, Protocol

import av
import numpy as np
from av.filter import Graph
from av.video.reformatter import ColorRange, Colorspace, Interpolation, VideoReformatter
from PIL import Image

from micromotion.credentials.signing import Credentials
from micromotion.types import Frame
from micromotion.video.picture import encode_picture
from micromotion.video.sound import Track

_BT709 = 1  # H.273's code of the primaries, the transfer function and the matrix
_LIMITED = 1  # FFmpeg's number for the range 16 … 235
_MILLISECOND = Fraction(1, 1000)
_HUNDREDTH = Fraction(1, 100)
_LOOKAHEAD_PIXELS = 40 * 2048**2  # total pixels of the frames in x264's lookahead
_X264_THREADS = 4  # fixed, since the bytes depend on it


class VideoEncoder(Protocol):
    def __init__(self, path: Path, width: int, height: int, rate: Fraction) -> None: ...
    def put(self, frame: Frame) -> None: ...
    def finish(self) -> None: ...
    def close(self) -> None: ...


class _Muxed:
    """A file with one stream of pictures, written by FFmpeg."""

    def __init__(
        self, path: Path, container: str, codec: str, options: dict[str, str], muxer: dict[str, str]
    ):
        self.container = av.open(str(path), "w", format=container, options=muxer)
        self.stream: Any = self.container.add_stream(codec, options=options)

    def shape(self, width: int, height: int, pixels: str, tick: Fraction) -> None:
        """Set the size, pixel format and time base (tick, in seconds) before the first picture."""
        self.stream.width, self.stream.height, self.stream.pix_fmt = width, height, pixels
        self.stream.codec_context.time_base = tick

    def encode(self, picture: av.VideoFrame | None) -> None:
        self.container.mux(self.stream.encode(picture))

    def finish(self) -> None:
        self.encode(None)
        self.container.close()

    def close(self) -> None:
        with suppress(av.FFmpegError, OSError):
            self.container.close()


class Mp4(_Muxed):
    """H.264, 4:2:0, BT.709 in limited range, index first: plays in every browser.

    4:2:0 needs even sizes: an odd width or height repeats its last column or row. The same frames give the
    same bytes on any number of cores.
    """

    def __init__(self, path: Path, width: int, height: int, rate: Fraction):
        x264 = f"cpu-independent=1{_lookahead(width * height)}"
        options = {"preset": "medium", "crf": str(_crf(width * height)), "x264-params": x264}
        # The time scale of the video's duration; the default, milliseconds, would round it.
        clock = rate.numerator * math.ceil(1000 / rate.numerator)
        muxer = {"movflags": "+faststart", "movie_timescale": str(clock)}
        super().__init__(path, "mp4", "libx264", options, muxer)
        self.padding = ((0, height % 2), (0, width % 2), (0, 0))
        self.reformatter = VideoReformatter()
        self.tick = 1 / rate
        self.count = 0
        self.sound: Track | None = None
        self.shape(width + width % 2, height + height % 2, "yuv420p", self.tick)
        codec = self.stream.codec_context
        codec.framerate = rate
        codec.thread_count, codec.thread_type = _X264_THREADS, "FRAME"
        codec.sample_aspect_ratio = Fraction(1)
        codec.color_primaries = codec.color_trc = codec.colorspace = _BT709
        codec.color_range = _LIMITED

    def put(self, frame: Frame) -> None:
        if np.any(self.padding):
            frame = np.pad(frame, self.padding, mode="edge")
        picture = av.VideoFrame.from_ndarray(frame, format="rgb24")
        # FFmpeg would convert by BT.601, whatever the tags say. Chroma averages of 2×2 do not ring.
        picture = self.reformatter.reformat(
            picture,
            format="yuv420p",
            dst_colorspace=Colorspace.ITU709,
            src_color_range=ColorRange.JPEG,
            dst_color_range=ColorRange.MPEG,
            interpolation=Interpolation.AREA | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INP,
        )
        picture.pts, picture.time_base, picture.duration = self.count, self.tick, 1
        self.count += 1
        self.encode(picture)
        self._sound_until(self.count * self.tick)

    def finish(self) -> None:
        self.container.mux(self.stream.encode(None))
        self._sound_until(self.count * self.tick)
        self.container.close()

    def carry(self, sound: Track) -> None:
        """Put a sound beside the pictures; before the first of them."""
        sound.join(self.container)
        self.sound = sound

    def _sound_until(self, seconds: Fraction) -> None:
        if self.sound is not None:
            for packet in self.sound.until(seconds):
                self.container.mux(packet)


def _crf(pixels: int) -> int:
    """The quality: better for small pictures, which are viewed enlarged and cost little."""
    return 10 if pixels <= 256**2 else 14 if pixels <= 512**2 else 18


def _lookahead(pixels: int) -> str:
    """Limits x264's lookahead of 40 frames if they are large: 40 of 12 million pixels take 2.5 GB."""
    return "" if pixels <= _LOOKAHEAD_PIXELS // 40 else f":rc-lookahead={max(4, _LOOKAHEAD_PIXELS // pixels)}"


class WebP(_Muxed):
    """Animated WebP, lossy, looping. Times are whole milliseconds; rounding errors do not accumulate.

    Browsers slow down pictures of 10 ms or less, so frames beyond 90 per second are skipped.
    """

    shortest = 11

    def __init__(self, path: Path, width: int, height: int, rate: Fraction):
        super().__init__(path, "webp", "libwebp", {"quality": "90", "compression_level": "4"}, {"loop": "0"})
        self.shape(width, height, "bgra", _MILLISECOND)
        self.rate = rate
        self.count = 0
        self.start = 0
        self.waiting: av.VideoFrame | None = None  # until the next frame gives its duration

    def put(self, frame: Frame) -> None:
        start = round(self.count * 1000 / self.rate)
        self.count += 1
        if self.waiting is None or start - self.start >= self.shortest:
            self._encode_waiting(start)
            self.waiting = av.VideoFrame.from_ndarray(frame, format="rgb24").reformat(format="bgra")
            self.start = start

    def _encode_waiting(self, end: int) -> None:
        if self.waiting is None:
            return
        self.waiting.pts, self.waiting.time_base = self.start, _MILLISECOND
        for packet in self.stream.encode(self.waiting):  # this encoder buffers nothing
            packet.duration = end - self.start
            self.container.mux(packet)

    def finish(self) -> None:
        self._encode_waiting(max(round(self.count * 1000 / self.rate), self.start + self.shortest))
        super().finish()


class Gif:
    """GIF, looping, with one palette for all frames.

    A palette per frame flickers, and the first frames lack colours that come later (teeth, in a smile). So
    frames are written to an unnamed temporary file while FFmpeg's palettegen counts their colours; `finish`
    reads them back. Ordered dithering is stable from frame to frame; error diffusion would crawl.

    Times are hundredths of a second; rounding errors do not accumulate. Browsers slow down pictures of 1/100
    s, so frames beyond 50 per second are skipped.
    """

    shortest = 2

    def __init__(self, path: Path, width: int, height: int, rate: Fraction):
        self.path, self.width, self.height, self.rate = path, width, height, rate
        self.count = 0
        self.starts: list[int] = []  # of the frames not skipped, in 1/100 s
        self.spool = tempfile.TemporaryFile(dir=path.parent)  # noqa: SIM115
        self.video: _Muxed | None = None
        graph = self.graph = Graph()  # its filters do not keep it alive
        self.colours = _source(graph, width, height, "rgb24")
        self.palette = graph.add("buffersink")
        graph.link_nodes(self.colours, graph.add("palettegen", "stats_mode=full"), self.palette).configure()

    def put(self, frame: Frame) -> None:
        start = round(self.count * 100 / self.rate)
        self.count += 1
        if self.starts and start - self.starts[-1] < self.shortest:
            return
        self.starts.append(start)
        self.spool.write(frame.data)
        # Six bits per channel, spread over 0 … 255: palettegen is slow with hundreds of thousands of colours.
        self.colours.push(_picture(frame & np.uint8(0xFC) | frame >> np.uint8(6), start))
        list(_ready(self.palette))  # empty, but unless polled, the filter queues all frames

    def finish(self) -> None:
        self.colours.push(None)
        graph = Graph()
        source = _source(graph, self.width, self.height, "rgb24")
        palette = _source(graph, 16, 16, "bgra")
        mapping = graph.add("paletteuse", "dither=bayer:bayer_scale=5")
        sink = graph.add("buffersink")
        source.link_to(mapping, 0, 0)
        palette.link_to(mapping, 0, 1)
        mapping.link_to(sink)
        graph.configure()
        palette.push(self.palette.pull())
        palette.push(None)

        video = self._open()
        for frame, start in zip(self._spooled(), self.starts, strict=True):
            source.push(_picture(frame, start))
            for picture in _ready(sink):
                video.encode(picture)
        source.push(None)
        for picture in _ready(sink):
            video.encode(picture)
        video.finish()

    def _open(self) -> _Muxed:
        last = round(self.count * 100 / self.rate) - self.starts[-1]
        options = {"loop": "0", "final_delay": str(max(last, self.shortest))}
        video = self.video = _Muxed(self.path, "gif", "gif", {}, options)
        video.shape(self.width, self.height, "pal8", _HUNDREDTH)
        return video

    def _spooled(self) -> Iterator[Frame]:
        self.spool.seek(0)
        shape = (self.height, self.width, 3)
        while data := self.spool.read(self.height * self.width * 3):
            yield np.frombuffer(data, np.uint8).reshape(shape)

    def close(self) -> None:
        with suppress(OSError):
            self.spool.close()
        if self.video is not None:
            self.video.close()


def _source(graph: Graph, width: int, height: int, pixels: str) -> Any:
    return graph.add_buffer(width=width, height=height, format=av.VideoFormat(pixels), time_base=_HUNDREDTH)


def _picture(frame: Frame, start: int) -> av.VideoFrame:
    picture = av.VideoFrame.from_ndarray(frame, format="rgb24")
    picture.pts, picture.time_base = start, _HUNDREDTH
    return picture


def _ready(sink: Any) -> Iterator[av.VideoFrame]:
    """The filter's output so far."""
    with suppress(av.BlockingIOError, av.EOFError):
        while True:
            yield sink.pull()


class Pngs:
    """A folder of frame_0000.png, frame_0001.png and so on, each signed as it is written."""

    def __init__(
        self, path: Path, width: int, height: int, rate: Fraction, credentials: Credentials | None = None
    ):
        self.path, self.credentials = path, credentials
        self.count = 0
        path.mkdir()

    def put(self, frame: Frame) -> None:
        encoded = encode_picture(Image.fromarray(frame), ".png", self.credentials, compress_level=1)
        (self.path / f"frame_{self.count:04d}.png").write_bytes(encoded)
        self.count += 1

    def finish(self) -> None:
        pass

    def close(self) -> None:
        pass

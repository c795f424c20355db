"""Put a driving video's sound beside new pictures, in sync: copied where MP4 allows it, or encoded as AAC.

The file is untrusted, and opened as the driving video itself is. Copied packets keep their bytes; what is
heard before the first picture, such as what an edit list cuts away, is hidden by an edit list again.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from micromotion.video.driving_video import first_time, opened

MAX_BYTES = 1_000_000
"""Most bytes of sound per second, more than 24 bits at 192 kHz in one channel…"""

MAX_PACKETS = 1000
"""…and most packets per second: more are damage, or an attack."""

MAX_RATE, MAX_CHANNELS = 192_000, 8

_COPIED = {"aac", "mp3", "ac3", "eac3", "opus", "alac", "flac"}
"""Codecs that MP4 holds, and players of it play."""

_DECODED = {*_COPIED, "vorbis", "mp2", "amr_nb", "amr_wb", "wmav1", "wmav2", "adpcm_ms", "adpcm_ima_wav"}
_PREROLL = Fraction(1, 10)  # seconds before the first picture that a decoder may need to start
_AAC_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000, 64000, 88200, 96000)
_BIT_RATE = 96_000  # of AAC, for each channel


@dataclass(frozen=True)
class Sound:
    """The sound of a driving video.

    path: the file. start: the time of its first picture, in seconds. seconds: how long the pictures play.
    copied: whether its packets are copied; otherwise it is encoded anew.
    """

    path: Path
    start: Fraction
    seconds: Fraction
    copied: bool

    @contextmanager
    def opened(self) -> Iterator[Track]:
        """Open the file; it is closed at the end of the block."""
        with opened(self.path) as (container, _):
            track = _Copied if self.copied else _Encoded
            yield track(container.streams.audio[0], self.start, self.seconds)


def find_sound(path: Path, seconds: Fraction) -> tuple[Sound | None, str]:
    """A driving video's sound for pictures of this length, and what users should know about it ("": nothing).

    None if it has none, or none that can be used. Raises DrivingVideoError if the file cannot be opened.
    """
    with opened(path) as (container, _):
        if not container.streams.audio:
            return None, ""
        stream = container.streams.audio[0]
        codec = _codec(stream)
        if codec is None:
            return None, "The clip's sound is of a kind that cannot be read: it is left out."
        start = first_time(path)
        if not _plausible(container, stream, start, seconds):
            return None, "The clip's sound is damaged: it is left out."
    copied = codec in _COPIED and (codec != "aac" or stream.codec_context.extradata is not None)
    told = "" if copied else f"The clip's sound is {codec}, which MP4 does not hold: it is encoded as AAC."
    return Sound(path, start, seconds, copied), told


def _codec(stream: Any) -> str | None:
    """The name of the codec of a stream; None if it is unknown, or not allowed."""
    context = stream.codec_context
    if context is None:
        return None
    name = str(context.codec.canonical_name)
    allowed = name in _DECODED or name.startswith("pcm_")
    sane = 0 < context.sample_rate <= MAX_RATE and 0 < context.channels <= MAX_CHANNELS
    return name if allowed and sane else None


def _plausible(container: Any, stream: Any, start: Fraction, seconds: Fraction) -> bool:
    """Whether the packets for these seconds are of believable number and size."""
    size = count = 0
    try:
        for packet, _ in _packets(container, stream, start, seconds):
            size, count = size + packet.size, count + 1
            if size > MAX_BYTES * (seconds + 1) or count > MAX_PACKETS * (seconds + 1):
                return False
    except (av.FFmpegError, OSError):
        return False
    return count > 0


def _packets(container: Any, stream: Any, start: Fraction, end: Fraction) -> Iterator[tuple[Any, Fraction]]:
    """The packets heard from the time `start` on for `end` seconds, with their time from then; increasing."""
    last = -_PREROLL - 1
    for packet in container.demux(stream):
        if packet.size == 0 or packet.pts is None:
            continue
        time = packet.pts * packet.time_base - start
        if time >= end:
            return
        if time > last and time + packet.duration * packet.time_base > -_PREROLL:
            last = time
            yield packet, time


class Track(ABC):
    """An opened sound, as the encoder takes it: packets of an output stream, in steps of time."""

    def __init__(self, stream: Any, start: Fraction, seconds: Fraction) -> None:
        self._stream, self._start, self._seconds = stream, start, seconds
        self._packets = self._made()
        self._next: tuple[Any, Fraction] | None = None
        self._joined: Any = None

    @abstractmethod
    def join(self, container: Any) -> None:
        """Add the sound's stream to an output container, before its first picture."""

    def until(self, seconds: Fraction) -> Iterator[Any]:
        """The next packets, those that begin before this time of the pictures."""
        while (following := self._next or next(self._packets, None)) is not None:
            packet, time = self._next = following
            if time >= seconds:
                return
            self._next = None
            yield packet

    @abstractmethod
    def _made(self) -> Iterator[tuple[Any, Fraction]]:
        """The packets, with the times at which they begin."""

    def _read(self) -> Iterator[tuple[Any, Fraction]]:
        return _packets(self._stream.container, self._stream, self._start, self._seconds)


class _Copied(Track):
    """The clip's own packets."""

    def join(self, container: Any) -> None:
        self._joined = container.add_stream_from_template(self._stream)

    def _made(self) -> Iterator[tuple[Any, Fraction]]:
        for packet, time in self._read():
            packet.pts = packet.dts = packet.pts - round(self._start / packet.time_base)
            packet.stream = self._joined
            yield packet, time


class _Encoded(Track):
    """The clip's sound, decoded and encoded as AAC, in at most two channels."""

    def join(self, container: Any) -> None:
        source = self._stream.codec_context
        near = min(_AAC_RATES, key=lambda rate: abs(rate - source.sample_rate))
        self._layout = "mono" if source.channels == 1 else "stereo"
        self._joined = container.add_stream("aac", rate=near, layout=self._layout)
        self._joined.bit_rate = _BIT_RATE * (1 if source.channels == 1 else 2)

    def _made(self) -> Iterator[tuple[Any, Fraction]]:
        context = self._joined.codec_context
        context.open()
        for frame in self._frames(context.frame_size):
            yield from self._encode(frame)
        yield from self._encode(None)

    def _encode(self, frame: av.AudioFrame | None) -> Iterator[tuple[Any, Fraction]]:
        for packet in self._joined.encode(frame):
            yield packet, packet.pts * packet.time_base

    def _frames(self, size: int) -> Iterator[av.AudioFrame]:
        """The sound from the first picture to the last, in frames of at most this many samples."""
        end, at, waiting = round(self._seconds * self._joined.rate), 0, np.zeros((0, 0), np.float32)
        for begin, samples in self._decoded():
            if not waiting.size and at == 0:
                at, samples = max(begin, 0), samples[:, max(-begin, 0) :]
                waiting = samples[:, :0]
            waiting = np.concatenate([waiting, samples], axis=1)[:, : max(end - at, 0)]
            while waiting.shape[1] >= size:
                yield self._timed(waiting[:, :size], at)
                at, waiting = at + size, waiting[:, size:]
        if waiting.size:
            yield self._timed(waiting, at)

    def _decoded(self) -> Iterator[tuple[int, NDArray[np.float32]]]:
        """Decoded samples [channels, n], and how many samples after the first picture they begin."""
        resampler = av.AudioResampler(format="fltp", layout=self._layout, rate=self._joined.rate)
        for packet, time in self._read():
            with suppress(av.InvalidDataError):
                for frame in packet.decode():
                    at = time if frame.time is None else Fraction(frame.time) - self._start
                    for part in resampler.resample(frame):
                        yield round(at * self._joined.rate), part.to_ndarray().astype(np.float32)

    def _timed(self, samples: NDArray[np.float32], at: int) -> av.AudioFrame:
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples), format="fltp", layout=self._layout)
        frame.rate, frame.pts, frame.time_base = self._joined.rate, at, Fraction(1, self._joined.rate)
        return frame

"""Videos with sound for tests, and what is heard in them."""

import hashlib
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

CLICKS = 1000.0  # Hz of the click at each whole second


def clicks(seconds: float, rate: int) -> NDArray[np.float32]:
    """A click of 20 ms at each whole second, [n]."""
    t = np.arange(round(seconds * rate)) / rate
    return np.where(t % 1 < 0.02, 0.8 * np.sin(2 * np.pi * CLICKS * t), 0).astype(np.float32)


def write_clicks(
    path: Path,
    sound: str = "aac",
    *,
    pictures: str = "libx264",
    seconds: float = 3,
    fps: int = 25,
    rate: int = 48000,
    first: float = 0.0,
    size: int = 64,
) -> Path:
    """A video of grey pictures with `clicks` in this codec; the first picture is shown at `first` seconds."""
    with av.open(str(path), "w") as container:
        video: Any = container.add_stream(pictures, rate=fps)
        video.width = video.height = size
        video.pix_fmt = "yuv420p"
        audio: Any = container.add_stream(sound, rate=rate, layout="stereo")
        for number in range(round(seconds * fps)):
            picture = av.VideoFrame.from_ndarray(np.full((size, size, 3), number % 250, np.uint8))
            picture.pts, picture.time_base = number + round(first * fps), Fraction(1, fps)
            container.mux(video.encode(picture))
        _encode(container, audio, clicks(seconds + first, rate), rate)
        container.mux(video.encode(None))
    return path


def with_sound(silent: Path, path: Path) -> Path:
    """A copy of a video with `clicks` as AAC."""
    with av.open(str(silent)) as source, av.open(str(path), "w") as container:
        pictures = source.streams.video[0]
        seconds = pictures.frames / float(pictures.average_rate or 25)
        video = container.add_stream_from_template(pictures)
        audio = container.add_stream("aac", rate=48000, layout="stereo")
        for packet in source.demux(pictures):
            if packet.size:
                packet.stream = video
                container.mux(packet)
        _encode(container, audio, clicks(seconds, 48000), 48000)
    return path


def packet_hashes(path: Path) -> list[str]:
    """The SHA-256 of each packet of a file's sound."""
    with av.open(str(path)) as container:
        packets = [packet for packet in container.demux(container.streams.audio[0]) if packet.size]
        return [hashlib.sha256(bytes(packet)).hexdigest() for packet in packets]


def click_times(path: Path) -> list[float]:
    """When the clicks begin, in seconds."""
    found: list[float] = []
    with av.open(str(path)) as container:
        for frame in container.decode(audio=0):
            samples = frame.to_ndarray().astype(np.float64)
            if frame.format.is_packed:
                samples = samples.reshape(-1, frame.layout.nb_channels).T
            loud = np.flatnonzero(np.abs(samples[0]) > 0.3 * (1 if np.abs(samples).max() < 2 else 32768))
            for at in loud[:1]:
                time = float(frame.time or 0) + at / frame.rate
                found += [time] if not found or time > found[-1] + 0.5 else []
    return found


def _encode(container: Any, audio: Any, samples: NDArray[np.float32], rate: int) -> None:
    context = audio.codec_context
    resampler = av.AudioResampler(format=context.format, layout="stereo", rate=rate)
    frame = av.AudioFrame.from_ndarray(np.stack([samples, samples]), format="fltp", layout="stereo")
    frame.rate, frame.pts, frame.time_base = rate, 0, Fraction(1, rate)
    fifo = av.AudioFifo()
    for part in resampler.resample(frame):
        fifo.write(part)
    while (piece := fifo.read(context.frame_size or 1024, partial=True)) is not None:
        container.mux(audio.encode(piece))
    container.mux(audio.encode(None))

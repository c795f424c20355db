"""Write frames, one by one, as H.264 MP4, GIF, WebP, or a folder of PNGs, by the name's suffix.

Memory does not grow with the number of frames. The output has a temporary name in the same folder until it is
complete, so that no reader sees a partial video.
"""

import math
import os
import secrets
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from fractions import Fraction
from functools import partial
from itertools import chain
from pathlib import Path

import av
import numpy as np
from PIL import Image

from micromotion.credentials.claim import Claim
from micromotion.credentials.signing import credentials_for
from micromotion.errors import OptionError, OutputError, ScaledWarning
from micromotion.types import Frame
from micromotion.video.encoders import Gif, Mp4, Pngs, VideoEncoder, WebP
from micromotion.video.format_limits import PHONES, Size, check_side, playable_size
from micromotion.video.output_names import check_folder_name
from micromotion.video.sound import Sound

_VIDEO_FORMATS: dict[str, type[VideoEncoder]] = {".mp4": Mp4, ".gif": Gif, ".webp": WebP}


def write_frames(
    frames: Iterable[Frame],
    path: str | os.PathLike[str],
    fps: float | Fraction,
    *,
    total: int | None = None,
    on_frame: Callable[[int], None] | None = None,
    full_size: bool = False,
    on_scaled: Callable[[str], None] | None = None,
    claim: Claim | None = None,
    sound: Sound | None = None,
) -> Path:
    """Write frames as they arrive, and return the path of the finished video.

    Args:
        frames: uint8 [H, W, 3] RGB arrays, all of one size; taken one at a time.
        path: ends in .mp4, .gif or .webp; without a suffix it is a folder for frame_0000.png and so on. An
            existing file is replaced atomically; a folder must be new or empty.
        fps: frames per second; 23.976, 29.97, 59.94 and the like mean exactly n·1000/1001.
        total: the expected number of frames; any other number is an error.
        on_frame: called with 1, 2, … after each frame was passed to the encoder.
        full_size, on_scaled: see `fit_size`.
        claim: what the file's content credentials say; None, or MICROMOTION_CREDENTIALS=off, for none.
            Without them, the same frames give the same bytes.
        sound: what is heard; only MP4 can hold it, the other formats leave it out.

    Raises:
        OutputError: the path cannot be written (see `check_output`), the disk is full, or there are no
            frames, frames of different sizes, of a wrong type, larger than the format allows (see
            `fit_size`), or not `total` frames.
        OptionError: fps is not within 0.1 to 240.
        CredentialsError: the certificate that is given cannot be used (before any frame is taken), or signing
            failed.

    On any exception, including KeyboardInterrupt and those of `frames` and `on_frame`, no partial output
    remains and an existing file is unchanged.
    """
    target = check_output(path)
    rate = frame_rate(fps)
    credentials = credentials_for(claim)
    fit = partial(
        fit_size, target, fps=rate, full_size=full_size, on_scaled=on_scaled or partial(_warn, depth=5)
    )
    with _replacing(target.resolve() if target.is_dir() else target) as temporary:
        make = _VIDEO_FORMATS.get(target.suffix.lower(), partial(Pngs, credentials=credentials))
        count = _encode(_checked(frames, target), make, temporary, target, rate, fit, on_frame, sound)
        if total is not None and count != total:
            raise OutputError(f"{target} was not written: got {count} frames, expected {total}.")
        if credentials is not None and temporary.is_file():
            with _readable(target):
                credentials.mark_video(temporary)
    return target


def check_output(path: str | os.PathLike[str]) -> Path:
    """Check, before any work, that `write_frames` can write there; leaves no trace.

    Raises:
        OutputError: an unknown suffix, a missing or unwritable folder, a folder with a video's name, a file
            instead of a folder, or a folder that is not empty.
    """
    text = os.fspath(path)
    target = Path(text)
    if not text or "\0" in text or target.name.lower() in _VIDEO_FORMATS:
        raise OutputError(f"{text!r} is not a valid output name; use one such as video.mp4.")
    try:
        if target.suffix.lower() in _VIDEO_FORMATS:
            _check_video(target, text)
        else:
            _check_folder(target, text)
        _check_parent(target)
    except (OSError, ValueError) as error:  # such as a name that is too long
        raise OutputError(f"{text!r} cannot be written: {_reason(error)}.") from error
    return target


def fit_size(
    path: str | os.PathLike[str],
    size: Size,
    fps: float | Fraction,
    *,
    full_size: bool = False,
    on_scaled: Callable[[str], None] | None = None,
) -> Size:
    """The width and height of a video of frames of this size at this path, before any frame is rendered.

    An MP4 too large for phones (H.264 above level 5.2) is scaled down, with its proportions, unless full_size
    is set. on_scaled is then called with a sentence; if it is None, a ScaledWarning is issued.

    Raises:
        OutputError: a side is longer than the format allows: 16,384 pixels in MP4, 16,383 in WebP, 65,535 in
            GIF.
        OptionError: fps is not within 0.1 to 240.
    """
    rate = frame_rate(fps)
    check_side(path, size)
    if full_size or Path(path).suffix.lower() != ".mp4":
        return size
    fitted = playable_size(size, rate)
    if fitted != size:
        (on_scaled or _warn)(
            f"{size[0]}×{size[1]} pixels at {float(rate):.4g} frames per second are more than phones play "
            f"(H.264 level {PHONES.name}): the video is scaled to {fitted[0]}×{fitted[1]}."
        )
    return fitted


def frame_rate(fps: float | Fraction) -> Fraction:
    """Frames per second as an exact fraction; a decimal near n·1000/1001 means the NTSC rate.

    Raises:
        OptionError: not a number, or not within 0.1 to 240.
    """
    if not (math.isfinite(fps) and 0.1 <= fps <= 240):
        raise OptionError(f"fps must be within 0.1 and 240, not {fps}.")
    if isinstance(fps, Fraction):
        return fps
    for whole in (24, 30, 48, 60, 120):
        ntsc = Fraction(whole * 1000, 1001)
        if abs(fps - ntsc) < 0.005:
            return ntsc
    return Fraction(fps).limit_denominator(1001)


def _check_video(target: Path, text: str) -> None:
    if target.is_dir() or text.endswith(os.sep):
        raise OutputError(f"{text} is a folder, but ends in {target.suffix}; choose another name.")
    if target.exists() and not target.is_file():
        raise OutputError(f"{text} exists and is not a regular file; choose another name.")


def _check_folder(target: Path, text: str) -> None:
    check_folder_name(text)
    if target.is_dir():
        if next(target.iterdir(), None) is not None:
            raise OutputError(f"The folder {text} is not empty; PNG frames need a new or an empty folder.")
        if os.path.ismount(target):
            raise OutputError(f"{text} is a mounted volume; name a new folder inside it for the PNG frames.")
    elif os.path.lexists(target):
        raise OutputError(f"{text} is a file; end the name in .mp4, .gif or .webp, or name a new folder.")
    elif target.suffix and not text.endswith(os.sep):
        known = ", ".join(_VIDEO_FORMATS)
        raise OutputError(
            f"{text}: {target.suffix} is unknown; use {known}, or no suffix for a folder of PNGs."
        )


def _check_parent(target: Path) -> None:
    folder = target.absolute().parent
    if not folder.exists():
        raise OutputError(f"{target} cannot be written: the folder {folder} does not exist; create it first.")
    if not folder.is_dir():
        raise OutputError(f"{target} cannot be written: {folder} is not a folder.")
    try:  # permissions mean nothing for root, nor on read-only volumes: so try it
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise OutputError(f"The folder {folder} cannot be written to: {_reason(error)}.") from error


@contextmanager
def _replacing(target: Path) -> Iterator[Path]:
    """A temporary path beside `target`, which replaces it at the end; on any exception it is deleted."""
    temporary = target.absolute().with_name(f".micromotion-{secrets.token_hex(4)}{target.suffix}")
    try:
        yield temporary
        with _readable(target):
            temporary.replace(target)
    finally:
        if temporary.is_dir():
            shutil.rmtree(temporary, ignore_errors=True)
        else:
            temporary.unlink(missing_ok=True)


@contextmanager
def _readable(target: Path) -> Iterator[None]:
    """Convert errors of the encoder and the disk to OutputError."""
    try:
        yield
    except (OSError, av.FFmpegError) as error:
        raise OutputError(f"{target} could not be written: {_reason(error)}.") from error


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)


def _checked(frames: Iterable[Frame], target: Path) -> Iterator[Frame]:
    """The same frames, contiguous; raises OutputError unless all are RGB pictures of one size."""
    first: tuple[int, ...] | None = None
    for index, frame in enumerate(frames):
        if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3 or not frame.size:
            raise OutputError(
                f"{target} was not written: frame {index} is {frame.dtype} {list(frame.shape)}, "
                "not uint8 [H, W, 3]."
            )
        first = first or frame.shape
        if frame.shape != first:
            raise OutputError(
                f"{target} was not written: frame {index} has {frame.shape[1]}×{frame.shape[0]} pixels, "
                f"the first one {first[1]}×{first[0]}."
            )
        yield np.ascontiguousarray(frame)


def _encode(
    frames: Iterator[Frame],
    make: Callable[[Path, int, int, Fraction], VideoEncoder],
    temporary: Path,
    target: Path,
    rate: Fraction,
    fit: Callable[[Size], Size],
    on_frame: Callable[[int], None] | None,
    sound: Sound | None,
) -> int:
    """Encode the frames, and a sound,; returns the frames' number."""
    first = next(frames, None)
    if first is None:
        raise OutputError(f"{target} was not written: there are no frames.")
    count = 0
    size = fit((first.shape[1], first.shape[0]))
    with ExitStack() as opened:
        with _readable(target):
            encoder = make(temporary, *size, rate)
            opened.callback(encoder.close)
            if sound is not None and isinstance(encoder, Mp4):
                encoder.carry(opened.enter_context(sound.opened()))
        for frame in chain([first], frames):
            with _readable(target):
                encoder.put(_resized(frame, size))
            count += 1
            if on_frame:
                on_frame(count)
        with _readable(target):
            encoder.finish()
    return count


def _resized(frame: Frame, size: Size) -> Frame:
    if frame.shape[1::-1] == size:
        return frame
    return np.asarray(Image.fromarray(frame).resize(size, Image.Resampling.LANCZOS))


def _warn(sentence: str, depth: int = 4) -> None:
    warnings.warn(f"{sentence} full_size=True keeps the full size.", ScaledWarning, stacklevel=depth)

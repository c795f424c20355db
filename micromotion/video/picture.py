"""One still picture into a file, complete or not at all."""

import secrets
import tempfile
from io import BytesIO
from pathlib import Path

from PIL.Image import Image

from micromotion.errors import OutputError
from micromotion.video.format_limits import check_side

_KINDS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP"}


def check_picture(path: str | Path) -> Path:
    """Find out, before any work is done, whether `write_picture` can write there; leaves no trace.

    Raises OutputError, in one sentence: an unknown suffix, a folder, or a folder that cannot be written to.
    """
    target = Path(path)
    if target.suffix.lower() not in _KINDS:
        raise OutputError(f"'{path}' is not the name of a picture: end it in {', '.join(_KINDS)}.")
    try:
        if target.is_dir():
            raise OutputError(f"{target} is a folder: choose another name for the picture.")
        tempfile.TemporaryFile(dir=target.absolute().parent).close()  # permissions say nothing to root
    except (OSError, ValueError) as error:
        raise OutputError(_cannot(target, error)) from error
    return target


def write_picture(image: Image, path: str | Path) -> None:
    """Write a PIL image as PNG, JPEG or WebP, by the suffix, replacing what is there in one step.

    Raises OutputError as `check_picture` does, where the picture is larger than the format takes, or the disk
    fails; nothing half-written is left.
    """
    target = check_picture(path)
    check_side(target, image.size)
    encoded = BytesIO()
    image.save(encoded, _KINDS[target.suffix.lower()], quality=95)
    temporary = target.absolute().with_name(f".micromotion-{secrets.token_hex(4)}")
    try:
        temporary.write_bytes(encoded.getbuffer())
        temporary.replace(target)
    except OSError as error:
        raise OutputError(_cannot(target, error)) from error
    finally:
        temporary.unlink(missing_ok=True)


def _cannot(target: Path, error: Exception) -> str:
    return f"{target} cannot be written: {getattr(error, 'strerror', None) or error}."

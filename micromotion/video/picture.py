"""Write a still picture atomically."""

import secrets
import tempfile
from io import BytesIO
from pathlib import Path
from typing import Any

from PIL.Image import Image

from micromotion.credentials.claim import Claim
from micromotion.credentials.signing import Credentials, credentials_for
from micromotion.credentials.xmp import pillow_options
from micromotion.errors import OutputError
from micromotion.video.format_limits import check_side

_KINDS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP"}


def check_picture(path: str | Path) -> Path:
    """Check, before any work, that `write_picture` can write there; leaves no trace.

    Raises OutputError: an unknown suffix, the path is a folder, or its folder is not writable.
    """
    target = Path(path)
    if target.suffix.lower() not in _KINDS:
        raise OutputError(f"'{path}' is not the name of a picture: end it in {', '.join(_KINDS)}.")
    try:
        if target.is_dir():
            raise OutputError(f"{target} is a folder: choose another name for the picture.")
        tempfile.TemporaryFile(dir=target.absolute().parent).close()  # root ignores permissions, so try
    except (OSError, ValueError) as error:
        raise OutputError(_cannot(target, error)) from error
    return target


def write_picture(image: Image, path: str | Path, claim: Claim | None = None) -> None:
    """Write a PIL image as PNG, JPEG or WebP, by the suffix, replacing an existing file atomically.

    claim: what its content credentials say; None, or MICROMOTION_CREDENTIALS=off, for none.

    Raises OutputError as `check_picture` does, if the picture is larger than the format allows, or if writing
    fails; CredentialsError if it cannot be signed. No partial file remains.
    """
    target = check_picture(path)
    check_side(target, image.size)
    encoded = encode_picture(image, target.suffix.lower(), credentials_for(claim), quality=95)
    temporary = target.absolute().with_name(f".micromotion-{secrets.token_hex(4)}")
    try:
        temporary.write_bytes(encoded)
        temporary.replace(target)
    except OSError as error:
        raise OutputError(_cannot(target, error)) from error
    finally:
        temporary.unlink(missing_ok=True)


def encode_picture(image: Image, suffix: str, credentials: Credentials | None, **options: Any) -> bytes:
    """The bytes of a PNG, JPEG or WebP file, with its credentials if there are any.

    options: Pillow's, for the format. Raises CredentialsError if it cannot be signed.
    """
    if credentials is not None:
        options |= pillow_options(suffix, credentials.packet)
    encoded = BytesIO()
    image.save(encoded, _KINDS[suffix], **options)
    if credentials is None:
        return encoded.getvalue()
    return credentials.sign_picture(encoded.getvalue(), suffix)


def _cannot(target: Path, error: Exception) -> str:
    return f"{target} cannot be written: {getattr(error, 'strerror', None) or error}."

"""Write a still picture atomically."""

import os
import secrets
from io import BytesIO
from pathlib import Path
from typing import Any

from PIL.Image import Image

from micromotion.credentials.claim import Claim
from micromotion.credentials.signing import Credentials, credentials_for
from micromotion.credentials.xmp import pillow_options
from micromotion.errors import OutputError
from micromotion.video.format_limits import check_side
from micromotion.video.output_names import check_place

_KINDS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP"}

_STILLS = (".png", ".jpg", ".jpeg")


def is_still(path: str | Path) -> bool:
    """Whether a name given for a video is that of a single picture, and not of a folder or a video."""
    return Path(path).suffix.lower() in _STILLS and not str(path).endswith(os.sep) and not Path(path).is_dir()


def check_picture(path: str | Path) -> Path:
    """Check, before any work, that `write_picture` can write there; leaves no trace.

    Raises OutputError: an unknown suffix, the path is a folder, or its folder is not writable.
    """
    target = Path(path)
    if target.suffix.lower() not in _KINDS:
        raise OutputError(f"'{path}' is not the name of a picture: end it in {', '.join(_KINDS)}.")
    check_place(target, "picture", f"{target} cannot be written")
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
        raise OutputError(f"{target} cannot be written: {error.strerror or error}.") from error
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

"""Puts credentials into files: the XMP packet, then the signed C2PA manifest, which covers it."""

from __future__ import annotations

import io
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO

from micromotion.credentials import xmp
from micromotion.credentials.certificates import VARIABLE, Certificate, signing_certificate, switched_off
from micromotion.credentials.claim import Claim
from micromotion.credentials.manifest import definition
from micromotion.errors import CredentialsError
from micromotion.runtime.parallel import uninterrupted

_TYPES = {
    ".mp4": "video/mp4",
    ".gif": "image/gif",
    ".webp": "image/webp",
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
}

_SETTINGS = {
    "builder": {"thumbnail": {"enabled": False}},  # by default up to 2 MB
    "verify": {"verify_after_sign": True, "remote_manifest_fetch": False, "ocsp_fetch": False},
}
"""c2pa's: no thumbnail, no network; read back what was signed."""


class Credentials:
    """The credentials of one output, which may be several files: a claim, and who signs it."""

    def __init__(self, claim: Claim, certificate: Certificate) -> None:
        self.claim = claim
        self._certificate = certificate

    @cached_property
    def packet(self) -> bytes:
        """The XMP packet, which a picture takes when it is encoded."""
        return xmp.packet(self.claim)

    def sign_picture(self, encoded: bytes, suffix: str) -> bytes:
        """The bytes of a picture, signed. suffix: such as ".png". Raises CredentialsError."""
        signed = io.BytesIO()
        self._sign(io.BytesIO(encoded), signed, suffix)
        return signed.getvalue()

    def mark_video(self, path: Path) -> None:
        """Put the packet into a finished video of this suffix and sign it; replaces the file.

        Raises OSError, or CredentialsError; the file is then of no use.
        """
        signed = path.with_name(f"{path.stem}-signed{path.suffix}")
        try:
            xmp.embed(path, self.packet)
            with path.open("rb") as source, _Target(signed) as target:
                try:
                    self._sign(source, target, path.suffix)
                except CredentialsError:
                    if target.error is not None:
                        raise target.error from None
                    raise
            signed.replace(path)
        finally:
            signed.unlink(missing_ok=True)

    def _sign(self, source: BinaryIO, target: BinaryIO, suffix: str) -> None:
        """Write the source with a signed manifest into the target."""
        # c2pa calls back into Python, and drops what is raised there.
        uninterrupted(lambda: _sign(self._certificate, self.claim, source, target, suffix.lower()))


def credentials_for(claim: Claim | None) -> Credentials | None:
    """The credentials for an output; None if there is no claim, or MICROMOTION_CREDENTIALS is `off`.

    Raises CredentialsError if the certificate that it names cannot be used, before anything is rendered.
    """
    if claim is None or switched_off():
        return None
    return Credentials(claim, signing_certificate())


def check_credentials() -> None:
    """Sign a picture of one pixel, and forget it. Raises CredentialsError if that fails."""
    from PIL import Image

    credentials = credentials_for(Claim("none", (), shows_photo=False))
    if credentials is not None:
        pixel = io.BytesIO()
        Image.new("RGB", (1, 1)).save(pixel, "PNG")
        credentials.sign_picture(pixel.getvalue(), ".png")


class _Target(io.BufferedRandom):
    """A new file that remembers why it could not be written, as c2pa does not tell."""

    def __init__(self, path: Path) -> None:
        super().__init__(io.FileIO(path, "x+"))
        self.error: OSError | None = None

    def write(self, content: Any) -> int:
        try:
            return super().write(content)
        except OSError as error:
            self.error = error
            raise


def _sign(certificate: Certificate, claim: Claim, source: BinaryIO, target: BinaryIO, suffix: str) -> None:
    import c2pa

    try:
        info = c2pa.C2paSignerInfo(certificate.algorithm, certificate.chain, certificate.key, None)
        with (
            c2pa.Context.from_dict(_SETTINGS, signer=c2pa.Signer.from_info(info)) as context,
            c2pa.Builder(definition(claim), context) as builder,
        ):
            builder.sign(_TYPES[suffix], source, target)
        target.flush()
    except c2pa.C2paError as error:
        raise CredentialsError(
            f"The content credentials could not be signed ({_reason(error)}): give another certificate in "
            f"{VARIABLE}, or leave them out with {VARIABLE}=off."
        ) from error


def _reason(error: Exception) -> str:
    """c2pa's own words, without the name of its type and the full stop."""
    return " ".join(str(error).split()).rstrip(".").rpartition(": ")[2] or "for no known reason"

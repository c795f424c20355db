"""Pictures whose pixels are stored rotated, with an EXIF orientation; and the same pictures upright."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from PIL import Image, PngImagePlugin

# By EXIF orientation: from stored to upright pixels, and from upright to stored ones.
UPRIGHT = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
    8: lambda a: np.rot90(a, 1),
}
STORED = UPRIGHT | {6: UPRIGHT[8], 8: UPRIGHT[6]}

KINDS = ("JPEG", "PNG", "WEBP", "AVIF", "TIFF", "PNG of ImageMagick", "PNG with XMP", "TIFF with both")
"""By EXIF; as ImageMagick writes EXIF into PNG; by XMP alone; by TIFF's own tag and XMP."""


def stored(picture: Image.Image, orientation: int, kind: str = "JPEG") -> bytes:
    """The file of a picture, its pixels stored in the given orientation."""
    pixels = np.ascontiguousarray(STORED[orientation](np.asarray(picture)))
    exif = Image.Exif()
    exif[0x0112] = orientation
    options: dict[str, Any] = {"exif": exif}
    xmp = f'<rdf:Description tiff:Orientation="{orientation}"/>'
    if kind.startswith("PNG "):
        text = PngImagePlugin.PngInfo()
        options = {"pnginfo": text}
        if "XMP" in kind:
            text.add_itxt("XML:com.adobe.xmp", xmp)
        else:
            raw = b"Exif\0\0" + exif.tobytes().removeprefix(b"Exif\0\0")
            text.add_text("Raw profile type exif", f"\nexif\n{len(raw):8}\n{raw.hex()}\n")
    if kind == "TIFF with both":
        options["tiffinfo"] = {0x0112: orientation, 700: xmp.encode()}
        del options["exif"]
    file = io.BytesIO()
    quality: dict[str, dict[str, Any]] = {
        "JPEG": {"quality": 92, "subsampling": 0},
        "WEBP": {"lossless": True},
        "AVIF": {"quality": 90},
    }
    Image.fromarray(pixels).save(file, kind.split()[0], **options, **quality.get(kind, {}))
    return file.getvalue()


def upright(data: bytes, orientation: int) -> Image.Image:
    """The upright picture in such a file, computed independently of the code under test."""
    with Image.open(io.BytesIO(data)) as image:
        if image.format == "TIFF":  # Pillow rotates those itself
            return Image.fromarray(np.asarray(image.convert("RGB")))
        return Image.fromarray(np.ascontiguousarray(UPRIGHT[orientation](np.asarray(image.convert("RGB")))))

"""Pictures: layouts × depths × profiles × orientations, and files with misleading pages."""

from __future__ import annotations

import struct
from functools import cache, partial
from itertools import product

import numpy as np
from PIL import Image
from profiles import P3, PROPHOTO, Curve, gray_profile, ink_profile, rgb_profile
from tiff_files import CMYK, GRAY, RGB, strips, tags_of, tiff
from turned import KINDS, STORED, stored

from abuse.items import Content

WHITE_IS_ZERO = 0
PHOTOMETRICS = {"black is 0": GRAY, "white is 0": WHITE_IS_ZERO, "RGB": RGB, "CMYK": CMYK}
DEPTHS = ("u1", "i1", "u2", "i2", "u4", "f2", "f4", "f8")
SIDE = 96
ORIENTATION, PROFILE = 274, 34675


def layouts(photo: Image.Image) -> dict[str, Content]:
    """TIFFs of every layout and depth, each with an orientation and a profile drawn for it."""
    rng = np.random.default_rng(11)
    small = photo.resize((SIDE, SIDE))
    contents: dict[str, Content] = {}
    for (shown, photometric), kind, planar, order in product(PHOTOMETRICS.items(), DEPTHS, (0, 1), "<>"):
        if planar and photometric in (GRAY, WHITE_IS_ZERO):
            continue
        drawn = int(rng.integers(1, 9)), int(rng.integers(len(_profiles()))), int(rng.choice([1, 8]))
        name = f"a TIFF of {kind}, {shown}, {'planes' if planar else 'pixels'}, {order}, {drawn}"
        contents[name] = partial(_layout, small, photometric, kind, bool(planar), order, *drawn)
    return contents


def _layout(
    photo: Image.Image,
    photometric: int,
    kind: str,
    planar: bool,
    order: str,
    orientation: int,
    profile: int,
    compression: int,
) -> bytes:
    mode = {RGB: "RGB", CMYK: "CMYK"}.get(photometric, "L")
    pixels = np.asarray(photo.convert(mode)).reshape(SIDE, SIDE, -1)
    pixels = STORED[orientation](255 - pixels if photometric == WHITE_IS_ZERO else pixels)
    if kind[0] == "f":
        samples = (pixels / 255).astype(kind)
    else:
        low, high = int(np.iinfo(kind).min), int(np.iinfo(kind).max)
        samples = (pixels.astype(np.int64) * ((high - low) // 255) + low).astype(kind)
    tags = tags_of(samples, photometric, planar=planar) | {259: compression, ORIENTATION: orientation}
    if _profiles()[profile]:
        tags |= {PROFILE: _profiles()[profile]}
    return tiff((tags, strips(samples, planar=planar, order=order, compression=compression)), order=order)


@cache
def _profiles() -> list[bytes]:
    curve = Curve(1.8)
    return [
        b"",
        rgb_profile(P3, curve),
        rgb_profile(PROPHOTO, curve),
        gray_profile(curve),
        ink_profile()[:5000],
        ink_profile(),
        np.random.default_rng(2).bytes(3000),
    ]


def turned_pictures(photo: Image.Image) -> dict[str, Content]:
    return {
        f"a {kind} turned by {orientation}": partial(stored, photo, orientation, kind)
        for kind, orientation in product(KINDS, (3, 5, 6))
    }


def strange_pages(photo: Image.Image) -> dict[str, tuple[Content, str]]:
    """TIFFs that must be refused, with words of the error."""
    pixels = np.asarray(photo)
    whole = tags_of(pixels, RGB, planar=False), strips(pixels, planar=False)
    wide = (pixels[..., :1].astype(np.uint16) * 257, GRAY)
    mosaic = {**tags_of(*wide, planar=False), 262: 32803}, strips(wide[0], planar=False)
    endless = tiff(whole, below=[whole])
    return {
        "a raw file below a preview": (lambda: tiff(whole, below=[mosaic]), "raw file"),
        "a raw file behind a preview": (lambda: tiff(whole, mosaic), "raw file"),
        "Canon's raw file": (lambda: tiff(whole, mark=b"CR\2\0"), "raw file"),
        "a TIFF of 60 pages": (lambda: tiff(*[whole] * 60), "several frames or pages"),
        "a TIFF with 60,000 tags": (lambda: _many_tags(60_000), "."),
        "a TIFF of planes that claims 10⁹ pixels": (
            lambda: tiff(({**whole[0], 258: [16] * 3, 284: 2, 256: 10**6, 257: 1000}, whole[1])),
            "million pixels",
        ),
        "a TIFF of planes that has too few strips": (
            lambda: tiff(({**whole[0], 258: [16] * 3, 284: 2}, whole[1][:4])),
            ".",
        ),
        "a TIFF cut in its table": (lambda: endless[: len(endless) - 90], "."),
    }


def _many_tags(count: int) -> bytes:
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, 1) for tag in range(count))
    return b"II*\0" + struct.pack("<IH", 8, count) + entries + bytes(4)

"""Pictures: every format truncated and with flipped bits, bombs, absurd sizes and metadata, other files."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from collections.abc import Iterator
from functools import cache, partial

import numpy as np
from PIL import Image, ImageCms, PngImagePlugin

from abuse.items import EITHER, FAILED, Content, Item, Request, data_url, expected
from abuse.layouts import layouts, strange_pages, turned_pictures
from micromotion.face.images import FORMATS

CUTS, FLIPS = 5, 7  # per format
FOREIGN = ("EPS", "PDF", "ICO", "ICNS", "IM", "MSP", "SPIDER", "XBM", "BLP", "DDS", "TIFF-CCITT", "HDF5")
"""Formats that Pillow reads and we do not, or only in part."""


def pictures(photo: Image.Image) -> Iterator[Item]:
    """All picture items; photo is a good picture with a face, 100 to 300 pixels wide."""
    yield from _damaged(photo)
    for name, content in _foreign(photo).items():
        yield _picture(f"{name} is a format that is not read", content, "JPEG or PNG")
    for name, content in _disguised().items():
        yield _picture(f"{name} under a picture's name", content, "JPEG or PNG")
    for name, (content, says) in _bombs(photo).items():
        yield _picture(name, content, says)
    for name, (content, says) in strange_pages(photo).items():
        yield _picture(name, content, says)
    for name, content in (_strange(photo) | layouts(photo) | turned_pictures(photo)).items():
        yield Request("pictures", name, partial(_body, content), EITHER)


def _picture(name: str, content: Content, says: str) -> Item:
    return Request("pictures", name, partial(_body, content), expected(FAILED), says)


def _body(content: Content) -> object:
    return {"input": {"image": data_url(content()), "frames": 1}}


def encode(image: Image.Image, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


# --- damage -------------------------------------------------------------------------------------------------


def _damaged(photo: Image.Image) -> Iterator[Item]:
    """Each format truncated at several places, and with a few bits flipped in header and body."""
    for number, kind in enumerate(FORMATS):
        rng = np.random.default_rng(number)
        data = cache(partial(encode, photo, kind))
        for share in (0.001, *np.sort(rng.uniform(0.01, 0.95, CUTS - 1))):
            cut = partial(_cut, data, float(share))
            yield Request("pictures", f"{kind} cut at {100 * share:.1f}%", partial(_body, cut), EITHER)
        for turn in range(FLIPS):
            flip = partial(_flip, data, int(rng.integers(1 << 32)), head=turn < 4)
            where = "head" if turn < 4 else "body"
            yield Request(
                "pictures", f"{kind} with bits flipped in its {where}, {turn}", partial(_body, flip), EITHER
            )


def _cut(data: Content, share: float) -> bytes:
    whole = data()
    return whole[: max(1, round(share * len(whole)))]


def _flip(data: Content, seed: int, *, head: bool) -> bytes:
    rng = np.random.default_rng(seed)
    bits = np.frombuffer(data(), np.uint8).copy()
    places = rng.integers(0, min(len(bits), 200) if head else len(bits), rng.integers(1, 9))
    bits[places] ^= np.uint8(1) << rng.integers(0, 8, len(places)).astype(np.uint8)
    return bits.tobytes()


# --- not pictures, or not ours ------------------------------------------------------------------------------


def _foreign(photo: Image.Image) -> dict[str, Content]:
    modes = {"MSP": "1", "XBM": "1", "BLP": "P", "SPIDER": "F"}
    contents: dict[str, Content] = {}
    for kind in FOREIGN:
        if kind in Image.SAVE or not Image.init() or kind in Image.SAVE:
            try:
                data = encode(photo.convert(modes.get(kind, "RGB")), kind)
            except (KeyError, OSError, ValueError):
                continue
            contents[kind] = partial(bytes, data)
    contents["PSD"] = lambda: b"8BPS\0\1" + bytes(6) + struct.pack(">HIIHH", 3, 256, 256, 8, 3) + bytes(400)
    contents["WMF"] = lambda: b"\xd7\xcd\xc6\x9a" + bytes(200)
    contents["FITS"] = lambda: b"SIMPLE  =                    T".ljust(2880)
    return contents


def _disguised() -> dict[str, Content]:
    svg = b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script><image href="file:///etc/passwd"/></svg>'
    lol = b'<!DOCTYPE l [<!ENTITY a "a">' + b"".join(
        b'<!ENTITY %c "%s">' % (98 + i, b"&%c;" % (97 + i) * 10) for i in range(9)
    )
    return {
        "SVG": lambda: b'<?xml version="1.0"?>' + svg,
        "an SVG of nested entities": lambda: lol + b"]><svg>&j;</svg>",
        "HTML": lambda: b"<!doctype html><script>document.cookie</script>" * 20,
        "PDF": lambda: (
            b"%PDF-1.7\n1 0 obj <</OpenAction <</S /JavaScript /JS (app.alert(1))>> >> endobj\n" * 9
        ),
        "PostScript": lambda: b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 99 99\n(/etc/passwd) (r) file\n",
        "ZIP": _zip,
        "a shell script": lambda: b"#!/bin/sh\nrm -rf /nowhere\n",
        "PHP behind a GIF's name": lambda: b"GIF89a<?php system($_GET[0]); ?>",
        "an ELF program": lambda: b"\x7fELF\x02\x01\x01" + bytes(200),
        "a Windows program": lambda: b"MZ" + bytes(200),
        "a pickle": lambda: b"\x80\x04cposix\nsystem\n(S'touch sprung'\ntR.",
        "MVG of ImageMagick": lambda: b"push graphic-context\nfill 'url(https://127.0.0.1/\"|ls \"-la)'\n",
        "a playlist": lambda: b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n",
        "gzip": lambda: zlib.compress(bytes(1000), wbits=31),
        "JSON": lambda: b'{"image": "x"}',
        "zeros": lambda: bytes(4096),
        "noise": lambda: np.random.default_rng(5).bytes(4096),
        "an MP4's head": lambda: struct.pack(">I4s4sI", 24, b"ftyp", b"isom", 512) + b"isomavc1" + bytes(500),
    }


def _zip() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("../../escaped.txt", bytes(1_000_000))
    return file.getvalue()


# --- bombs: refused from the header, or quickly -------------------------------------------------------------


def _bombs(photo: Image.Image) -> dict[str, tuple[Content, str]]:
    jpeg = encode(photo, "JPEG")
    return {
        "PNG of 20,000 × 20,000": (lambda: png(20_000, 20_000), "50 million pixels"),
        "PNG of 2³¹−1 × 2³¹−1": (lambda: png(2**31 - 1, 2**31 - 1, rows=1), "50 million pixels"),
        "PNG of 50,000,001 × 1": (lambda: png(50_000_001, 1, rows=1), "million pixels"),
        "PNG of 1,000,000 × 33, just within": (lambda: png(1_000_000, 33), "face"),
        "PNG of 33 × 1,000,000, just within": (lambda: png(33, 1_000_000), "face"),
        "PNG of 7,000 × 7,000, black": (lambda: png(7000, 7000), "face"),
        "PNG of 31 × 31": (lambda: png(31, 31), "31×31"),
        "PNG of 1 × 1": (lambda: png(1, 1), "1×1"),
        "PNG of 0 × 0": (lambda: png(0, 0), "."),
        "PNG with a text of 64 MB in 64 kB": (
            lambda: png(64, 64, chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(1 << 26), 9))),
            ".",
        ),
        "PNG with 100,000 text chunks": (lambda: png(64, 64, chunk(b"tEXt", b"a\0b") * 100_000), "face"),
        "PNG whose pixels unpack to 100 times its size": (
            lambda: png(64, 64, data=zlib.compress(bytes(1 << 26), 9)),
            ".",
        ),
        "JPEG whose header says 65,500 × 65,500": (
            lambda: _resized_jpeg(jpeg, 65_500, 65_500),
            "million pixels",
        ),
        "JPEG whose header says 7,000 × 7,000": (lambda: _resized_jpeg(jpeg, 7000, 7000), "."),
        "JPEG of 49 megapixels in 400 scans": (lambda: scans(photo, 7000, 400), "100 passes"),
        "JPEG of 49 megapixels in 30,000 scans": (lambda: scans(photo, 7000, 30_000), "100 passes"),
        "GIF of 65,535 × 65,535": (lambda: gif(65_535, 65_535), "million pixels"),
        "GIF of 20,000 frames": (lambda: gif(64, 64, frames=20_000), "still"),
        "BMP of 30,000 × 30,000": (lambda: bmp(30_000, 30_000), "million pixels"),
        "BMP of −2³¹ rows": (lambda: bmp(64, -(2**31)), "."),
        "TIFF of 100,000 × 100,000": (lambda: tiff(100_000, 100_000), "million pixels"),
        "TIFF of 10,000 pages": (lambda: tiff_pages(10_000), "."),
        "TIFF whose pages go round": (lambda: tiff(64, 64, again=True), "."),
        "JPEG 2000 of 2³¹ × 2³¹": (lambda: jpeg2000(photo, 2**31 - 1), "."),
        "JPEG 2000 of 7,000 × 7,000 that is cut": (
            lambda: jpeg2000(Image.new("RGB", photo.size, "gray"), 7000),  # a face in it would be found
            "face",
        ),
        "PPM of 10⁹ × 10⁹": (lambda: b"P6 1000000000 1000000000 255\n" + bytes(99), "million pixels"),
        "PPM with a comment of 10 MB": (lambda: b"P6 #" + b"x" * 10_000_000, "."),
        "SGI of 65,535 × 65,535": (
            lambda: struct.pack(">HBBHHHH", 474, 1, 1, 3, 65535, 65535, 3).ljust(600, b"\0"),
            ".",
        ),
        "QOI of 2³² × 2³²": (
            lambda: b"qoif" + struct.pack(">IIBB", 2**32 - 1, 2**32 - 1, 3, 0) + bytes(9),
            ".",
        ),
        "PCX of 65,536 × 65,536": (lambda: pcx(65_535, 65_535), "."),
        "TGA of 65,535 × 65,535, run lengths": (lambda: tga(65_535, 65_535), "."),
        "WebP of 16,383 × 16,383": (lambda: webp(16_383), "million pixels"),
        "file of 60 MB of zeros behind a PNG's head": (lambda: png(64, 64)[:40] + bytes(60 << 20), "."),
    }


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(
    width: int, height: int, extra: bytes = b"", *, rows: int | None = None, data: bytes | None = None
) -> bytes:
    """A black 1-bit PNG, with further chunks before its pixels, or with other or fewer pixels."""
    if data is None:
        packer = zlib.compressobj(9)
        row = bytes(min(1 + (width + 7) // 8, 1 << 20))
        parts = [packer.compress(row) for _ in range(height if rows is None else rows)]
        data = b"".join(parts) + packer.flush()
    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + extra + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def _resized_jpeg(data: bytes, width: int, height: int) -> bytes:
    """The JPEG with another size in its frame header."""
    at = next(i for i in (data.find(b"\xff\xc0"), data.find(b"\xff\xc2")) if i > 0)
    return data[: at + 5] + struct.pack(">HH", height, width) + data[at + 9 :]


def scans(photo: Image.Image, side: int, count: int) -> bytes:
    """A progressive JPEG with one of its scans repeated: each costs a pass over all pixels."""
    data = _resized_jpeg(encode(photo.convert("L"), "JPEG", progressive=True), side, side)
    starts = [i for i in range(len(data) - 1) if data[i : i + 2] == b"\xff\xda"]
    head, last = data[: starts[-1]], data[starts[-1] : -2]
    short = last[: 2 + struct.unpack(">H", last[2:4])[0]]  # the scan's header; no data is all zeros
    return head + short * count + b"\xff\xd9"


def gif(width: int, height: int, frames: int = 1) -> bytes:
    head = b"GIF89a" + struct.pack("<HHBBB", width, height, 0x80, 0, 0) + bytes(6)
    frame = b"," + struct.pack("<HHHHB", 0, 0, width, height, 0) + b"\x02\x02\x4c\x01\x00"
    return head + frame * frames + b";"


def bmp(width: int, height: int) -> bytes:
    info = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 24, 0, 0, 0, 0, 0, 0)
    return b"BM" + struct.pack("<IHHI", 54, 0, 0, 54) + info + bytes(100)


def tiff(width: int, height: int, *, again: bool = False) -> bytes:
    """One grey page; again: its next page is itself."""
    entries = [
        (256, 4, width),
        (257, 4, height),
        (258, 3, 8),
        (259, 3, 1),
        (262, 3, 1),
        (273, 4, 200),
        (279, 4, 99),
    ]
    body = struct.pack("<H", len(entries)) + b"".join(
        struct.pack("<HHII", tag, kind, 1, v) for tag, kind, v in entries
    )
    return (b"II*\0" + struct.pack("<I", 8) + body + struct.pack("<I", 8 if again else 0)).ljust(5000, b"\0")


def tiff_pages(count: int) -> bytes:
    """A TIFF with a chain of empty directories."""
    pages = [struct.pack("<HI", 0, 8 + 6 * (i + 1)) for i in range(count)]
    return b"II*\0" + struct.pack("<I", 8) + b"".join(pages)


def jpeg2000(photo: Image.Image, side: int) -> bytes:
    """The codestream with another size in its SIZ marker and, where there is one, in its box."""
    data = bytearray(encode(photo, "JPEG2000"))
    for mark, skip in ((b"ihdr", 4), (b"\xff\x51", 6)):
        at = data.find(mark)
        if at >= 0:
            data[at + skip : at + skip + 8] = struct.pack(">II", side, side)
    return bytes(data)


def pcx(right: int, bottom: int) -> bytes:
    head = struct.pack("<BBBBHHHHHH", 10, 5, 1, 8, 0, 0, right, bottom, 72, 72) + bytes(49)
    return (head + struct.pack("<BH", 1, 65_534)).ljust(128, b"\0") + bytes(100)


def tga(width: int, height: int) -> bytes:
    return struct.pack("<BBBHHBHHHHBB", 0, 0, 10, 0, 0, 0, 0, 0, width, height, 24, 0) + b"\xff\0\0\0" * 10


def webp(side: int) -> bytes:
    vp8l = b"\x2f" + struct.pack("<I", (side - 1) | (side - 1) << 14) + bytes(20)
    body = b"WEBPVP8L" + struct.pack("<I", len(vp8l)) + vp8l + b"\0" * (len(vp8l) % 2)
    return b"RIFF" + struct.pack("<I", len(body)) + body


# --- good pixels with odd metadata: a result or an error ----------------------------------------------------


def _strange(photo: Image.Image) -> dict[str, Content]:
    exif = Image.Exif()
    exif[0x0112] = 6
    looped = b"Exif\0\0II*\0\x08\0\0\0\x01\0\x69\x87\x04\0\x01\0\0\0\x08\0\0\0\x08\0\0\0"
    text = PngImagePlugin.PngInfo()
    text.add_text("Comment", "{degree} ' \" ; <script>" * 1000, zip=True)
    contents: dict[str, Content] = {
        "EXIF that goes round": lambda: encode(photo, "JPEG", exif=looped),
        "EXIF of 60 kB of noise": lambda: encode(
            photo, "JPEG", exif=b"Exif\0\0" + np.random.default_rng(1).bytes(60_000)
        ),
        "EXIF with 65,535 entries": lambda: encode(
            photo, "JPEG", exif=b"Exif\0\0MM\0\x2a\0\0\0\x08\xff\xff" + bytes(999)
        ),
        "an ICC profile of noise": lambda: encode(
            photo, "JPEG", icc_profile=np.random.default_rng(2).bytes(500_000)
        ),
        "an ICC profile of 10 MB": lambda: encode(photo, "PNG", icc_profile=bytes(10_000_000)),
        "an ICC profile that is cut": lambda: encode(photo, "PNG", icc_profile=_profile()[:200]),
        "XMP of 5 MB in a PNG": lambda: _with_text(
            photo, b"XML:com.adobe.xmp\0\0\0\0\0" + b"<x>" * 1_600_000
        ),
        "a comment of markup": lambda: encode(photo, "PNG", pnginfo=text),
        "60 comments of 64 kB in a JPEG": lambda: _with_comments(encode(photo, "JPEG"), 60, 65_500),
        "200,000 empty comments in a JPEG": lambda: _with_comments(encode(photo, "JPEG"), 200_000, 0),
        "megabytes behind the picture": lambda: encode(photo, "JPEG") + bytes(8 << 20),
        "a ZIP behind the picture": lambda: encode(photo, "PNG") + _zip(),
        "two JPEGs in one file": lambda: encode(photo, "JPEG") * 2,
        "a TIFF of floats that are not finite": lambda: encode(_not_finite(), "TIFF"),
        "a TIFF of 32-bit numbers": lambda: encode(photo.convert("I"), "TIFF"),
        "a CMYK JPEG": lambda: encode(photo.convert("CMYK"), "JPEG"),
        "a transparent PNG": lambda: encode(Image.new("RGBA", (64, 64), (0, 0, 0, 0)), "PNG"),
        "a palette of one colour": lambda: encode(Image.new("P", (64, 64)), "PNG"),
    }
    for value in (0, 9, 65_535):
        contents[f"EXIF orientation {value}"] = partial(_oriented, photo, value)
    return contents


def _profile() -> bytes:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def _oriented(photo: Image.Image, value: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = value
    return encode(photo, "JPEG", exif=exif)


def _with_text(photo: Image.Image, text: bytes) -> bytes:
    data = encode(photo, "PNG")
    return data[:33] + chunk(b"iTXt", text) + data[33:]


def _with_comments(data: bytes, count: int, size: int) -> bytes:
    return data[:2] + (b"\xff\xfe" + struct.pack(">H", 2 + size) + bytes(size)) * count + data[2:]


def _not_finite() -> Image.Image:
    return Image.fromarray(
        np.array([[np.nan, np.inf], [-np.inf, 3e38]], np.float32).repeat(40, 0).repeat(40, 1)
    )

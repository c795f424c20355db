"""Pictures with a profile are converted to sRGB; without one, or with a broken one, they are unchanged."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import numpy as np
import pytest
import skimage.data
from numpy.typing import NDArray
from PIL import Image, ImageCms
from profiles import P3, PROPHOTO, Curve, gray_profile, ink_profile, rgb_profile
from profiles import SRGB as SRGB_SPACE

from micromotion.face.color_profile import MAX_PROFILE
from micromotion.face.images import load_image

Floats = NDArray[np.float64]
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
LOSSLESS = ("PNG", "TIFF", "WEBP")


@pytest.fixture(scope="module")
def photo() -> Image.Image:
    return Image.fromarray(skimage.data.astronaut()).crop((100, 0, 340, 200)).resize((120, 100))


def encode(image: Image.Image, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    exact: dict[str, dict[str, Any]] = {
        "WEBP": {"lossless": True, "exact": True},
        "JPEG": {"quality": 98, "subsampling": 0},
    }
    image.save(file, kind, **exact.get(kind, {}), **options)
    return file.getvalue()


def difference(image: Image.Image, other: object) -> float:
    return float(np.abs(np.asarray(image, np.float64) - np.asarray(other, np.float64)).mean())


def linear(picture: Image.Image) -> Floats:
    """An sRGB picture in linear light, 0…1 (IEC 61966-2-1)."""
    values = np.asarray(picture, np.float64) / 255
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def stored_in(picture: Image.Image, primaries: Floats, curve: Curve) -> Image.Image:
    """An sRGB picture encoded in a wider colour space."""
    wide = np.linalg.inv(primaries) @ SRGB_SPACE @ linear(picture)[..., None]
    return Image.fromarray(np.rint(255 * curve.encoded(wide[..., 0].clip(0, 1))).astype(np.uint8))


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP", "JPEG", "AVIF"])
@pytest.mark.parametrize("space", [P3, PROPHOTO])
def test_wide_colours_are_brought_back(photo: Image.Image, space: Floats, kind: str) -> None:
    stored = stored_in(photo, space, Curve(1.8))
    assert difference(stored, photo) > 6
    loaded = load_image(encode(stored, kind, icc_profile=rgb_profile(space, Curve(1.8))))
    assert difference(loaded, photo) < {"JPEG": 2.5, "AVIF": 4}.get(kind, 1)
    assert loaded.info == {}


@pytest.mark.parametrize("kind", LOSSLESS)
def test_srgb_and_no_profile_change_nothing(photo: Image.Image, kind: str) -> None:
    assert difference(load_image(encode(photo, kind)), photo) == 0
    assert difference(load_image(encode(photo, kind, icc_profile=SRGB)), photo) == 0


def test_gray_through_its_curve(photo: Image.Image) -> None:
    """8 and 16 bits, with and without alpha; gray stays gray."""
    curve = Curve(1.0)
    gray = photo.convert("L")
    right = np.asarray(gray.convert("RGB"))
    profile = gray_profile(curve)
    light = linear(gray)
    deep = Image.fromarray(np.rint(65535 * light).astype(np.uint16))
    assert difference(load_image(encode(deep, "TIFF", icc_profile=profile)), right) < 0.6
    shallow = Image.fromarray(np.rint(255 * light).astype(np.uint8))
    for kind in LOSSLESS[:2]:
        loaded = load_image(encode(shallow, kind, icc_profile=profile))
        assert difference(loaded, right) < 3
        assert np.ptp(np.asarray(loaded), axis=-1).max() == 0
    shallow.putalpha(128)
    expected = np.asarray(load_image(encode(shallow.convert("L"), "PNG", icc_profile=profile)), np.float64)
    loaded = load_image(encode(shallow, "PNG", icc_profile=profile))
    assert difference(loaded, expected * 128 / 255 + 127) < 0.6


def test_gray_with_a_profile_for_colours(photo: Image.Image) -> None:
    """As often in gray JPEGs."""
    gray = photo.convert("L")
    stored = Image.fromarray(np.rint(255 * Curve(1.8).encoded(linear(gray))).astype(np.uint8))
    loaded = load_image(encode(stored, "PNG", icc_profile=rgb_profile(P3, Curve(1.8))))
    assert difference(loaded, gray.convert("RGB")) < 1


def test_opacity_is_laid_over_white_behind_the_profile(photo: Image.Image) -> None:
    profile = rgb_profile(P3, Curve(1.8))
    stored = stored_in(photo, P3, Curve(1.8))
    stored.putalpha(128)
    for kind in LOSSLESS:
        loaded = load_image(encode(stored, kind, icc_profile=profile))
        assert difference(loaded, np.asarray(photo) * (128 / 255) + 127) < 1


def test_a_palette_has_the_profiles_colours(photo: Image.Image) -> None:
    palette = stored_in(photo, P3, Curve(1.8)).quantize(200)
    profile = rgb_profile(P3, Curve(1.8))
    right = load_image(encode(palette.convert("RGB"), "PNG", icc_profile=profile))
    assert difference(load_image(encode(palette, "PNG", icc_profile=profile)), right) == 0


@pytest.mark.parametrize("kind", ["JPEG", "TIFF"])
def test_inks_look_as_printed(photo: Image.Image, kind: str) -> None:
    """A press whose inks are too dark."""
    shares = 1 - (np.asarray(photo, np.float64) / 255) ** (1 / 1.5)
    inks = np.concatenate([255 * shares, np.zeros((*shares.shape[:2], 1))], axis=-1)
    stored = Image.frombytes("CMYK", photo.size, np.rint(inks).astype(np.uint8).tobytes())
    loaded = load_image(encode(stored, kind, icc_profile=ink_profile()))
    assert difference(load_image(encode(stored, kind)), photo) > 15
    assert difference(loaded, photo) < 6


def test_a_profile_for_another_colour_model_is_ignored(photo: Image.Image) -> None:
    for picture, profile in (
        (photo, gray_profile(Curve(1.0))),
        (photo, ink_profile()),
        (photo.convert("CMYK"), rgb_profile(P3, Curve(1.8))),
        (photo.convert("L"), ink_profile()),
        (photo, ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()),
    ):
        plain = load_image(encode(picture, "TIFF"))
        assert difference(load_image(encode(picture, "TIFF", icc_profile=profile)), plain) == 0


def broken() -> dict[str, bytes]:
    good = rgb_profile(P3, Curve(1.8))
    rng = np.random.default_rng(3)
    count = struct.unpack(">I", good[128:132])[0]
    steps = b"mpet" + bytes(4) + struct.pack(">HHI", 3, 3, 100_000) + struct.pack(">II", 16, 16) * 100_000
    program = good[:128] + struct.pack(">I4sII", 1, b"D2B0", 144, len(steps)) + steps
    return {
        "noise": rng.bytes(5000),
        "cut": good[:200],
        "its tags lie beyond it": good[:132]
        + b"rXYZ\xff\xff\xff\xf0\0\0\0\x14" * count
        + good[132 + 12 * count :],
        "too large": (good + bytes(MAX_PROFILE))[: MAX_PROFILE + 1],
        "a long program": struct.pack(">I", len(program)) + program[4:],
        "nothing": b"\0" * 200,
    }


@pytest.mark.parametrize("how", broken())
@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP"])
def test_a_broken_profile_is_ignored(photo: Image.Image, how: str, kind: str) -> None:
    assert difference(load_image(encode(photo, kind, icc_profile=broken()[how])), photo) == 0


@pytest.mark.slow
def test_bits_flipped_in_a_profile_fail_no_picture(photo: Image.Image) -> None:
    rng = np.random.default_rng(4)
    for profile in (rgb_profile(P3, Curve(1.8)), SRGB, gray_profile(Curve(1.0)), ink_profile()):
        picture = photo.convert({b"GRAY": "L", b"CMYK": "CMYK"}.get(profile[16:20], "RGB"))
        for _ in range(40):
            bits = np.frombuffer(profile, np.uint8).copy()
            places = rng.integers(0, min(len(bits), 400), 4)
            bits[places] = rng.integers(0, 256, 4)
            assert load_image(encode(picture, "TIFF", icc_profile=bits.tobytes())).size == photo.size


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


@pytest.mark.parametrize(
    "damaged",
    [chunk(b"iCCP", b"a\0\1xx"), chunk(b"iCCP", b"a"), chunk(b"gAMA", b"\0"), chunk(b"cHRM", b"\0" * 9)],
)
def test_a_pngs_damaged_notes_on_colour_fail_no_picture(photo: Image.Image, damaged: bytes) -> None:
    data = encode(photo, "PNG")
    assert difference(load_image(data[:33] + damaged + data[33:]), photo) == 0


def test_a_png_may_have_a_profile_of_megabytes(photo: Image.Image) -> None:
    """Pillow itself refuses such a file."""
    profile = bytearray(rgb_profile(P3, Curve(1.8)) + bytes(3_000_000))
    profile[:4] = struct.pack(">I", len(profile))
    stored = stored_in(photo, P3, Curve(1.8))
    assert difference(load_image(encode(stored, "PNG", icc_profile=bytes(profile))), photo) < 1

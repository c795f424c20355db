"""TIFF: every pixel layout gives the right picture or a one-sentence error, and only one page counts."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import skimage.data
from numpy.typing import NDArray
from PIL import Image
from tiff_files import CMYK, GRAY, RGB, strips, tags_of, tiff

from micromotion.errors import ImageError
from micromotion.face.images import MAX_PIXELS, load_image

Pixels = NDArray[np.uint8]
WHITE_IS_ZERO = 0
SIZE = 61, 50  # neither is a multiple of a strip's rows or a tile's side


@pytest.fixture(scope="module")
def photo() -> Pixels:
    """A picture with levels from black to white."""
    picture = Image.fromarray(skimage.data.astronaut()).crop((100, 0, 340, 200)).resize(SIZE)
    pixels = np.asarray(picture).copy()
    pixels[0, 0], pixels[0, 1] = 0, 255
    return pixels


def gray_of(photo: Pixels) -> Pixels:
    return np.asarray(Image.fromarray(photo).convert("L"))[..., None]


def full_range(pixels: Pixels, kind: str) -> NDArray[Any]:
    """Scale 0…255 to the full range of a type; floats to 0…1."""
    if kind[0] == "f":
        return (pixels / 255).astype(kind)
    limits = np.iinfo(kind)
    step = (int(limits.max) - int(limits.min)) // 255
    return (pixels.astype(np.int64) * step + int(limits.min)).astype(kind)


def error_of(data: bytes, expected: NDArray[Any]) -> float:
    """Mean difference between the loaded and the right picture, in levels."""
    loaded = np.asarray(load_image(data), np.float64)
    assert loaded.shape == (*expected.shape[:2], 3)
    return float(np.abs(loaded - expected).mean())


def refusal(data: bytes) -> str:
    with pytest.raises(ImageError) as caught:
        load_image(data)
    sentence = str(caught.value)
    assert sentence.endswith(".")
    assert "\n" not in sentence
    return sentence


STORING = pytest.mark.parametrize(
    ("order", "compression", "tile"), [("<", 1, 0), (">", 1, 0), ("<", 8, 16), (">", 8, 0), (">", 1, 16)]
)


@STORING
@pytest.mark.parametrize("kind", ["u1", "i1", "u2", "i2", "u4", "i4", "f2", "f4"])
@pytest.mark.parametrize("photometric", [WHITE_IS_ZERO, GRAY])
def test_gray_of_every_type(
    photo: Pixels, photometric: int, kind: str, order: str, compression: int, tile: int
) -> None:
    gray = gray_of(photo)
    stored = full_range(255 - gray if photometric == WHITE_IS_ZERO else gray, kind)
    tags = tags_of(stored, photometric, planar=False) | {259: compression}
    tags |= {322: tile, 323: tile} if tile else {}
    data = tiff(
        (tags, strips(stored, planar=False, order=order, compression=compression, tile=tile)), order=order
    )
    assert error_of(data, gray) < 0.51


@STORING
@pytest.mark.parametrize("kind", ["u1", "u2", "i2", "u4"])
@pytest.mark.parametrize("photometric", [RGB, CMYK])
def test_planes(photo: Pixels, photometric: int, kind: str, order: str, compression: int, tile: int) -> None:
    right = Image.fromarray(photo)
    if photometric == CMYK:
        right = right.convert("CMYK")
    stored = full_range(np.asarray(right), kind)
    tags = tags_of(stored, photometric, planar=True) | {259: compression}
    tags |= {322: tile, 323: tile} if tile else {}
    data = tiff(
        (tags, strips(stored, planar=True, order=order, compression=compression, tile=tile)), order=order
    )
    assert error_of(data, np.asarray(right.convert("RGB"))) < 0.51


@pytest.mark.parametrize("kind", ["u1", "u2"])
@pytest.mark.parametrize(("extra", "premultiplied"), [(0, False), (1, True), (2, False)])
@pytest.mark.parametrize("photometric", [RGB, GRAY])
def test_planes_with_opacity(
    photo: Pixels, photometric: int, extra: int, premultiplied: bool, kind: str
) -> None:
    """Composited over white; a fourth plane that is not alpha is ignored."""
    colours = photo if photometric == RGB else gray_of(photo)
    opacity = np.broadcast_to(np.linspace(0, 255, SIZE[0]).astype(np.uint8), photo.shape[:2])[..., None]
    share = opacity / 255
    weighted = np.rint(colours * share).astype(np.uint8) if premultiplied else colours
    stored = full_range(np.concatenate([weighted, opacity], axis=-1), kind)
    tags = tags_of(stored, photometric, planar=True) | {338: extra}
    expected = colours * share + 255 * (1 - share) if extra else colours
    assert error_of(tiff((tags, strips(stored, planar=True))), expected) < 1.5


def test_planes_of_lab_are_the_picture(photo: Pixels) -> None:
    lab = np.asarray(Image.fromarray(photo).convert("LAB"))
    for planar in (False, True):
        data = tiff((tags_of(lab, 8, planar=planar), strips(lab, planar=planar)))
        assert error_of(data, photo) < 3


def test_twelve_bits(photo: Pixels) -> None:
    gray = gray_of(photo)[:, :60]
    wide = (gray.astype(np.uint32) * 4095 // 255).reshape(-1, 2)
    packed = np.stack([wide[:, 0] >> 4, (wide[:, 0] & 15) << 4 | wide[:, 1] >> 8, wide[:, 1] & 255], axis=-1)
    for order in "<>":
        tags = tags_of(gray.astype(np.uint16), GRAY, planar=False, bits=12) | {278: gray.shape[0]}
        assert error_of(tiff((tags, [packed.astype(np.uint8).tobytes()]), order=order), gray) < 0.51


@pytest.mark.parametrize("orientation", range(1, 9))
def test_planes_are_set_upright(photo: Pixels, orientation: int) -> None:
    wide = full_range(photo, "u2")
    tags = tags_of(wide, RGB, planar=True) | {274: orientation}
    plain = tags_of(photo, RGB, planar=False) | {274: orientation}
    right = np.asarray(load_image(tiff((plain, strips(photo, planar=False)))))
    assert error_of(tiff((tags, strips(wide, planar=True))), right) == 0


def test_unsupported_layouts_are_named(photo: Pixels) -> None:
    floats = full_range(photo, "f4")
    assert "32 bits float, 3 planes" in refusal(
        tiff((tags_of(floats, RGB, planar=True), strips(floats, planar=True)))
    )
    doubles = full_range(gray_of(photo), "f8")
    assert "64 bits float" in refusal(
        tiff((tags_of(doubles, GRAY, planar=False), strips(doubles, planar=False)))
    )
    assert "32 bits float, 3 samples" in refusal(
        tiff((tags_of(floats, RGB, planar=False), strips(floats, planar=False)))
    )
    coarse = tags_of(photo, 6, planar=False) | {530: [2, 2]}
    assert "subsampled" in refusal(tiff((coarse, strips(photo, planar=False))))


def test_an_opened_pil_image_is_read_from_its_file(photo: Pixels, tmp_path: Path) -> None:
    wide = full_range(photo, "u2")
    path = tmp_path / "planes.tif"
    path.write_bytes(tiff((tags_of(wide, RGB, planar=True), strips(wide, planar=True))))
    with Image.open(path) as opened:
        assert np.array_equal(np.asarray(load_image(opened)), photo)
    with Image.open(path) as opened:
        opened.load()
        with pytest.raises(ImageError, match="give the file itself"):
            load_image(opened)


def test_large_planes_are_refused_before_allocation(photo: Pixels) -> None:
    tags = tags_of(full_range(photo, "u2"), RGB, planar=True) | {256: MAX_PIXELS, 257: 40}
    assert "million pixels" in refusal(tiff((tags, [b"\0" * 100] * 18)))


# --- pages ---


def small(photo: Pixels, **tags: int) -> tuple[dict[int, int | bytes | Sequence[int]], list[bytes]]:
    copy = photo[::3, ::3]
    return tags_of(copy, RGB, planar=False), strips(copy, planar=False)


@pytest.mark.parametrize("kind", [{254: 1}, {255: 2}, {254: 4}, {254: 5}])
def test_smaller_copies_and_masks_do_not_count_as_pages(photo: Pixels, kind: dict[int, int]) -> None:
    whole = tags_of(photo, RGB, planar=False), strips(photo, planar=False)
    tags, pieces = small(photo)
    extra = {**tags, **kind}, pieces
    for data in (tiff(whole, extra, extra), tiff(extra, whole), tiff(extra, whole, extra)):
        assert error_of(data, photo) == 0
    assert "several frames or pages" in refusal(tiff(whole, extra, whole))
    assert "several frames or pages" in refusal(tiff(whole, (tags, pieces)))
    assert load_image(tiff(whole, below=[extra, extra])).size == SIZE, "a pyramid below the page"


RAW = {"colour filters": {262: 32803}, "linear": {262: 34892}, "a maker's coding": {259: 34713}}


@pytest.mark.parametrize("how", RAW)
def test_a_cameras_raw_file_is_refused_whatever_else_is_in_it(photo: Pixels, how: str) -> None:
    """Its preview, a small version of the photo, is not used instead."""
    preview = {**tags_of(photo, RGB, planar=False), 254: 1}, strips(photo, planar=False)
    mosaic = full_range(gray_of(photo), "u2")
    sensor = {**tags_of(mosaic, GRAY, planar=False), **RAW[how]}, strips(mosaic, planar=False)
    for order in "<>":
        files = (
            tiff(preview, below=[sensor], order=order),
            tiff(preview, sensor),
            tiff(sensor, below=[preview]),
        )
        for data in files:
            assert "camera's raw file: save it as JPEG or PNG" in refusal(data)
        with Image.open(io.BytesIO(files[0])) as opened, pytest.raises(ImageError, match="raw file"):
            load_image(opened)


def test_canons_raw_file_is_recognised_by_its_signature(photo: Pixels) -> None:
    """Its first page is a preview that is not marked as one."""
    preview = tags_of(photo, RGB, planar=False), strips(photo, planar=False)
    assert "raw file" in refusal(tiff(preview, mark=b"CR\2\0"))

"""Any still picture loads as upright RGB; anything else is refused in one sentence, before allocation."""

import contextlib
import io
import os
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import skimage.data
from blank_png import blank_png
from PIL import Image

from micromotion.errors import ImageError
from micromotion.face.images import (
    FORMATS,
    MAX_BYTES,
    MAX_PIXELS,
    MAX_SCANS,
    MIN_SIDE,
    ImageSource,
    gray_to_8_bits,
    load_image,
)


@pytest.fixture(scope="module")
def photo() -> Image.Image:
    return Image.fromarray(skimage.data.astronaut()).crop((100, 0, 340, 200))


def encode(image: Image.Image, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def difference(image: Image.Image, other: Image.Image) -> float:
    """Mean absolute difference in gray levels."""
    assert image.size == other.size
    return float(np.abs(np.asarray(image, np.float64) - np.asarray(other, np.float64)).mean())


def refusal(source: ImageSource) -> str:
    """The one-sentence error of a refused source."""
    with pytest.raises(ImageError) as caught:
        load_image(source)
    sentence = str(caught.value)
    assert sentence[0].isupper() or sentence[0] in "'\""
    assert sentence.endswith(".")
    assert "\n" not in sentence
    assert len(sentence) < 250
    return sentence


# --- what is read ---


@pytest.mark.parametrize("kind", FORMATS)
def test_every_format_is_read(photo: Image.Image, kind: str) -> None:
    loaded = load_image(encode(photo, kind))
    assert loaded.mode == "RGB"
    assert difference(loaded, photo) < {"GIF": 8, "JPEG": 5, "WEBP": 5, "AVIF": 5}.get(kind, 1e-9)


@pytest.mark.parametrize("wrap", ["str", "Path", "bytes", "file", "BytesIO at its end", "PIL"])
def test_every_source_gives_the_same_picture(photo: Image.Image, tmp_path: Path, wrap: str) -> None:
    path = tmp_path / "face.png"
    photo.save(path)
    with path.open("rb") as file:
        ended = io.BytesIO()
        photo.save(ended, "PNG")
        sources: dict[str, ImageSource] = {
            "str": str(path),
            "Path": path,
            "bytes": path.read_bytes(),
            "file": file,
            "BytesIO at its end": ended,
            "PIL": photo,
        }
        assert difference(load_image(sources[wrap]), photo) == 0


def test_a_pil_image_is_left_alone(photo: Image.Image) -> None:
    loaded = load_image(photo)
    loaded.paste((0, 0, 0), (0, 0, 50, 50))
    assert photo.getpixel((10, 10)) != (0, 0, 0)


COLOURS = ["P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "LAB", "HSV"]
GRAYS = ["1", "L", "LA", "La", "I", "F", "I;16", "I;16L", "I;16B"]


@pytest.mark.parametrize("mode", [*COLOURS, *GRAYS])
def test_every_mode_becomes_rgb(mode: str) -> None:
    loaded = load_image(Image.new(mode, (40, 50)))
    assert (loaded.mode, loaded.size) == ("RGB", (40, 50))


# The stored pixels for each EXIF orientation, if `a` is the upright picture.
STORED = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.transpose(1, 0, 2),
    6: lambda a: np.rot90(a, 1),
    7: lambda a: a[::-1, ::-1].transpose(1, 0, 2),
    8: lambda a: np.rot90(a, -1),
}


@pytest.mark.parametrize("orientation", STORED)
@pytest.mark.parametrize("kind", ["PNG", "TIFF", "JPEG", "WEBP", "AVIF"])
def test_exif_orientation_is_applied(photo: Image.Image, orientation: int, kind: str) -> None:
    stored = Image.fromarray(np.ascontiguousarray(STORED[orientation](np.asarray(photo))))
    exif = Image.Exif()
    exif[0x0112] = orientation
    loaded = load_image(encode(stored, kind, exif=exif))
    assert difference(loaded, photo) < (5 if kind in ("JPEG", "WEBP", "AVIF") else 1e-9)


def test_broken_exif_does_not_matter(photo: Image.Image) -> None:
    assert difference(load_image(encode(photo, "PNG", exif=b"Exif\0\0MM\0\x2a\xff\xff\xff\xff")), photo) == 0


def test_transparency_is_composited_over_white() -> None:
    pixels = np.zeros((40, 40, 4), np.uint8)
    pixels[:, :20] = (200, 100, 0, 128)
    loaded = np.asarray(load_image(Image.fromarray(pixels)), np.float64)
    expected = np.array([200, 100, 0]) * 128 / 255 + 255 * (127 / 255)
    np.testing.assert_allclose(loaded[0, 0], expected, atol=1)
    np.testing.assert_array_equal(loaded[0, 39], [255, 255, 255])


@pytest.mark.parametrize("kind", ["PNG", "GIF"])
def test_palette_with_transparency(kind: str) -> None:
    image = Image.new("P", (40, 40), 1)
    image.putpalette([255, 0, 0, 0, 0, 255])
    image.paste(0, (0, 0, 20, 40))
    loaded = load_image(encode(image, kind, transparency=0))
    assert loaded.getpixel((5, 5)) == (255, 255, 255)
    assert loaded.getpixel((30, 5)) == (0, 0, 255)


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "PPM"])
def test_16_bit_gray_is_scaled_not_clipped(photo: Image.Image, kind: str) -> None:
    gray = photo.convert("L")
    deep = Image.fromarray(np.asarray(gray, np.uint16) * 257)
    assert difference(load_image(encode(deep, kind)), gray.convert("RGB")) == 0


def test_float_tiff(photo: Image.Image) -> None:
    gray = photo.convert("L")
    deep = Image.fromarray(np.asarray(gray, np.float32) / 255)
    assert difference(load_image(encode(deep, "TIFF")), gray.convert("RGB")) == 0


def test_cmyk_jpeg_is_not_a_negative(photo: Image.Image) -> None:
    data = encode(photo.convert("CMYK"), "JPEG", quality=95)
    assert b"Adobe" in data  # the variant with inverted values
    assert difference(load_image(data), photo) < 4


def test_the_first_of_a_phones_two_pictures_is_used(photo: Image.Image) -> None:
    data = encode(photo, "MPO", save_all=True, append_images=[Image.new("RGB", photo.size)])
    assert Image.open(io.BytesIO(data)).format == "MPO"
    assert difference(load_image(data), photo) < 5


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (np.array([0, 65535], np.uint16), [0, 255]),
        (np.array([0, 255], np.uint16), [0, 1]),
        (np.array([0, 200], np.int32), [0, 200]),
        (np.array([0, 25700], np.int32), [0, 100]),
        (np.array([0, 10_000_000], np.int32), [0, 255]),
        (np.array([-10, 0, 10], np.int32), [0, 128, 255]),
        (np.array([0, 0.2, 1], np.float32), [0, 51, 255]),
        (np.array([0, 51, 255], np.float64), [0, 51, 255]),
        (np.array([-3.5, -3.5]), [0, 0]),
        (np.array([7, 8], np.uint8), [7, 8]),
    ],
)
def test_gray_ranges(values: np.ndarray, expected: list[int]) -> None:
    scaled = gray_to_8_bits(values)
    assert scaled.dtype == np.uint8
    np.testing.assert_array_equal(scaled, expected)


# --- what is refused ---


def test_paths_that_are_not_pictures_are_refused(tmp_path: Path, photo: Image.Image) -> None:
    assert "There is no file" in refusal(tmp_path / "nowhere.jpg")
    assert "There is no file" in refusal("http://127.0.0.1:9/face.jpg")
    assert "folder" in refusal(tmp_path)
    assert "not an ordinary file" in refusal("/dev/zero")
    assert "cannot be opened" in refusal("a\0b.png")
    assert "cannot be opened" in refusal("x" * 5000)
    photo.save(tmp_path / "a.png")
    assert "cannot be opened" in refusal(tmp_path / "a.png" / "b.png")


def test_a_pipe_is_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    assert "not an ordinary file" in refusal(tmp_path / "pipe.jpg")


def test_an_unreadable_file_is_refused(
    tmp_path: Path, photo: Image.Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "secret.png"
    photo.save(path)
    path.chmod(0)
    if os.geteuid() == 0:  # root may read everything

        def denied(*_: object, **__: object) -> None:
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr(Path, "open", denied)
    assert "may not be read" in refusal(path)


def test_contents_that_are_not_a_picture_are_refused(tmp_path: Path, photo: Image.Image) -> None:
    text = tmp_path / "text.jpg"
    text.write_text("Dear Sir, this is a letter and not a photograph.\n" * 50)
    assert "cannot be read as a picture" in refusal(text)
    assert repr(str(text)) in refusal(text)
    (tmp_path / "empty.jpg").touch()
    assert "is empty" in refusal(tmp_path / "empty.jpg")
    assert "is empty" in refusal(b"")
    assert "is empty" in refusal(io.BytesIO())
    for kind in ("JPEG", "PNG", "WEBP", "AVIF", "TIFF", "GIF"):
        data = encode(photo, kind)
        sentence = refusal(data[: len(data) // 2])
        assert "damaged or cut short" in sentence or "cannot be read" in sentence
    assert "damaged or cut short" in refusal(encode(photo, "JPEG")[:-2000])
    assert refusal(encode(photo, "PNG")[:20])


def test_a_file_above_the_limit_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "large.png"
    with path.open("wb") as file:
        file.truncate(MAX_BYTES + 1)  # sparse
    assert f"larger than {MAX_BYTES // 2**20} MB" in refusal(path)


def test_formats_that_may_execute_programs_are_not_opened(photo: Image.Image) -> None:
    for kind in ("EPS", "PSD", "ICO", "PDF"):
        data = b"8BPS" + bytes(100) if kind == "PSD" else encode(photo, kind)
        assert "cannot be read as a picture" in refusal(data)


@pytest.mark.parametrize("size", [(1, 1), (4000, 10), (MIN_SIDE - 1, 500)])
def test_too_small(size: tuple[int, int]) -> None:
    sentence = refusal(encode(Image.new("RGB", size), "PNG"))
    assert f"{size[0]}×{size[1]}" in sentence
    assert f"{MIN_SIDE} pixels" in sentence


def test_just_within_the_limits() -> None:
    assert load_image(encode(Image.new("L", (MIN_SIDE, 5000)), "PNG")).size == (MIN_SIDE, 5000)
    assert "50 million" in refusal(blank_png(MAX_PIXELS // 1000 + 1, 1000))
    assert load_image(blank_png(MAX_PIXELS // 1000, 1000)).size == (50_000, 1000)


@pytest.mark.filterwarnings("error")
def test_between_pillows_limits_and_ours_no_warning_is_shown() -> None:
    assert "10000×10000" in refusal(blank_png(10_000, 10_000))


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF", "AVIF"])
def test_animated_pictures_are_refused(photo: Image.Image, kind: str) -> None:
    data = encode(photo, kind, save_all=True, append_images=[Image.new("RGB", photo.size)])
    assert "a still picture is needed" in refusal(data)


def test_wrong_types_are_programming_errors(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("x")
    with pytest.raises(TypeError, match="takes a path"):
        load_image(3)  # type: ignore[arg-type]  # wrong on purpose
    with (tmp_path / "a.txt").open() as file, pytest.raises(TypeError, match="binary"):
        load_image(file)  # type: ignore[arg-type]  # wrong on purpose


def test_a_huge_picture_in_a_small_file_takes_no_memory(tmp_path: Path) -> None:
    """400 million pixels in 50 KB: refused from the header, with hardly any memory."""
    bomb = tmp_path / "bomb.png"
    bomb.write_bytes(blank_png(20_000, 20_000))
    assert bomb.stat().st_size < 100_000
    program = """
import resource, sys
from micromotion.face.images import ImageError, load_image
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
before = peak()
try:
    load_image(sys.argv[1])
except ImageError as error:
    print(peak() - before, error)
"""
    run = subprocess.run(
        [sys.executable, "-c", program, str(bomb)], capture_output=True, text=True, check=True, cwd=Path.cwd()
    )
    grown, sentence = run.stdout.split(" ", 1)
    assert "million pixels" in sentence
    assert int(grown) * (1024 if sys.platform == "linux" else 1) < 20e6
    assert run.stderr == ""


def many_scans(photo: Image.Image, count: int, extra: bytes = b"") -> bytes:
    """A progressive JPEG whose last scan is repeated; extra is inserted after its first two bytes."""
    data = encode(photo, "JPEG", progressive=True)
    last = data.rindex(b"\xff\xda")
    header = data[last : last + 2 + int.from_bytes(data[last + 2 : last + 4], "big")]
    return data[:2] + extra + data[2:-2] + header * count + b"\xff\xd9"


def test_a_jpeg_with_too_many_passes_is_refused(photo: Image.Image, tmp_path: Path) -> None:
    """Each pass costs ten bytes and a loop over all pixels, in a decoder that cannot be interrupted."""
    usual = encode(photo, "JPEG", progressive=True).count(b"\xff\xda")
    assert load_image(many_scans(photo, MAX_SCANS - usual)).size == photo.size
    bomb = many_scans(photo, MAX_SCANS - usual + 1)
    assert "more than 100 passes" in refusal(bomb)
    path = tmp_path / "bomb.jpg"
    path.write_bytes(bomb)
    assert "more than 100 passes" in refusal(path)


def test_scans_are_counted_only_in_the_main_picture(photo: Image.Image) -> None:
    """Not in its segments, which contain thumbnails, nor after its end, where phones put a second picture."""
    segment = b"\xff\xe2" + struct.pack(">H", 2 + 2 * 5000) + b"\xff\xda" * 5000
    whole = many_scans(photo, 1, extra=segment) + b"\xff\xda" * 5000
    assert load_image(whole).size == photo.size


@pytest.mark.slow
@pytest.mark.parametrize(
    "kind", ["JPEG", "PNG", "WEBP", "TIFF", "GIF", "BMP", "JPEG2000", "AVIF", "QOI", "TGA"]
)
def test_random_damage_gives_a_picture_or_an_error(photo: Image.Image, kind: str) -> None:
    rng = np.random.default_rng(7)
    data = np.frombuffer(encode(photo.resize((64, 64)), kind), np.uint8)
    for _ in range(60):
        broken = data.copy()
        places = rng.integers(0, min(len(data), 300), rng.integers(1, 8))
        broken[places] = rng.integers(0, 256, len(places))
        with contextlib.suppress(ImageError):
            assert load_image(broken.tobytes()).mode == "RGB"

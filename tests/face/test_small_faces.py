"""Small faces in large photos are found, or the error says how wide a face must be."""

import re
from pathlib import Path

import numpy as np
import pytest
import skimage.data
from PIL import Image

from micromotion.errors import NoFaceError
from micromotion.face.alignment import align
from micromotion.face.detection import SECOND_LOOK, detect, smallest_face
from micromotion.page.faces import find_faces

pytestmark = pytest.mark.slow

FACES = Path(__file__).resolve().parents[2] / "docs" / "faces"


def scene(size: tuple[int, int]) -> Image.Image:
    """A wall, lit from one side, without a face."""
    across, down = np.linspace(60, 190, size[0])[:, None], np.linspace(-30, 30, size[1])[:, None, None]
    return Image.fromarray((across + down + (0, 10, 20)).astype(np.uint8))


def person(width: int) -> tuple[Image.Image, np.ndarray]:
    """A head whose face has about this width, and the middle of its face."""
    head = Image.fromarray(skimage.data.astronaut()).crop((120, 0, 370, 230))
    scale = width / 93
    head = head.resize((round(250 * scale), round(230 * scale)), Image.Resampling.LANCZOS)
    return head, np.array([100, 121]) * scale


def with_faces(size: tuple[int, int], *faces: tuple[int, int, int]) -> Image.Image:
    """A scene with faces of given widths and middles."""
    picture = scene(size)
    for width, x, y in faces:
        head, middle = person(width)
        picture.paste(head, (round(x - middle[0]), round(y - middle[1])))
    return picture


def middle(box: tuple[int, ...]) -> np.ndarray:
    return np.array([box[0] + box[2], box[1] + box[3]]) / 2


@pytest.mark.parametrize(
    ("size", "face"),
    [
        ((6000, 4000), (100, 4100, 1300)),
        ((4000, 6000), (75, 2010, 2995)),  # where tiles meet
        ((17000, 1000), (60, 12345, 480)),
        ((3000, 2000), (48, 250, 1500)),
    ],
)
def test_a_small_face_of_a_large_photo_is_found(size: tuple[int, int], face: tuple[int, int, int]) -> None:
    width, x, y = face
    picture = with_faces(size, face)
    assert not detect(picture, at_least=0)  # one detection pass is not enough
    crop = align(picture, 64)
    assert np.abs(middle(crop.box) - (x, y)).max() < 0.15 * width
    assert 0.75 < (crop.box[2] - crop.box[0]) / width < 1.35
    reference = align(with_faces((400, 300), (width, 200, 150)), 64)
    assert np.abs(np.asarray(crop.image, int) - np.asarray(reference.image)).mean() < 6


def test_large_faces_come_first_and_small_ones_follow() -> None:
    """Small ones are searched for only if requested, and each is counted once."""
    picture = with_faces(
        (4500, 3000), (600, 1200, 1200), (400, 3300, 1200), (80, 2250, 1500), (60, 2000, 2700)
    )
    first = detect(picture)
    assert sorted(round(middle(one.box)[0] / 300) for one in first) == [4, 11]
    everyone = detect(picture, at_least=3)
    assert everyone[:2] == first
    assert sorted(round(middle(one.box)[0] / 50) for one in everyone[2:]) == [40, 45]
    assert align(picture, 64).box == first[0].box
    assert align(picture, 64, face=3).box == everyone[3].box
    with pytest.raises(
        NoFaceError, match=r"Only 4 faces .* below 4, not 4\. In a picture of 4500×3000 .* 43 "
    ):
        align(picture, 64, face=4)


def test_a_photo_whose_face_is_found_is_searched_once(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object) -> None:
        raise AssertionError("looked at again")

    monkeypatch.setitem(detect.__globals__, "_look_closer", never)
    assert len(detect(with_faces((2400, 2000), (500, 1000, 1000)))) == 1


@pytest.mark.parametrize(("size", "width"), [((6000, 4000), 57), ((2000, 1300), 40)])
def test_the_error_says_how_wide_a_face_must_be(size: tuple[int, int], width: int) -> None:
    assert smallest_face(size) == width
    picture = with_faces(size, (width // 2, size[0] // 2, size[1] // 2))
    with pytest.raises(NoFaceError) as caught:
        align(picture)
    sentence = str(caught.value)
    assert sentence.startswith("No face was found")
    assert re.search(
        rf"{size[0]}×{size[1]} pixels a face must be at least {width} pixels wide: crop", sentence
    )
    head = align(
        picture.crop((size[0] // 2 - 150, size[1] // 2 - 150, size[0] // 2 + 150, size[1] // 2 + 150))
    )
    assert head.score is not None  # cropping helps, as the sentence says


def test_the_page_says_how_wide_a_face_must_be() -> None:
    with pytest.raises(NoFaceError, match="at least 40 pixels wide: crop"):
        find_faces(scene((2000, 1300)))


def test_how_wide_a_face_must_be() -> None:
    assert smallest_face((400, 300)) == 20
    assert smallest_face((640, 480)) == smallest_face((1600, 1600)) == smallest_face((4000, 3000)) == 40
    assert smallest_face((8600, 5700)) == 81
    assert smallest_face((17000, 1000)) == smallest_face((1000, 17000)) == 48
    for megapixels in (16, 24, 50):
        width = smallest_face((8000, megapixels * 125))
        assert 80 / width == pytest.approx((SECOND_LOOK / (megapixels * 1e6)) ** 0.5, rel=0.03)


def test_the_error_for_a_small_picture_does_not_suggest_cropping() -> None:
    with pytest.raises(NoFaceError) as caught:
        align(scene((400, 300)))
    assert "wide" not in str(caught.value)

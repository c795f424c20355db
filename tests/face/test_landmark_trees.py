"""The landmark model for many boxes at once gives dlib's own landmarks, to the bit."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from micromotion.errors import BundleError
from micromotion.face.landmark_trees import LandmarkTrees, gray_as_dlib, landmark_trees
from micromotion.face.landmarks import landmark_model, landmark_readings, moved_boxes
from micromotion.face.tiles import Box
from micromotion.types import Frame

FACES = sorted((Path(__file__).parents[2] / "docs/faces").glob("*.jpg"))
ROUND = [(0.04 * x, 0.04 * y, 0.03 * x) for x in range(-2, 3) for y in range(-2, 3)]


@pytest.fixture(scope="module")
def trees() -> LandmarkTrees:
    return landmark_trees(landmark_model())


def pictures() -> Iterator[Frame]:
    """Faces, noise, and a picture of one colour."""
    for path in FACES[::3]:
        with Image.open(path) as file:
            yield np.asarray(file.convert("RGB"))
    yield np.random.default_rng(0).integers(0, 256, (150, 210, 3), np.uint8)
    yield np.full((120, 90, 3), 77, np.uint8)


@pytest.mark.slow
def test_landmarks_are_those_of_dlib_for_boxes_on_the_face_beside_it_and_beyond_the_border(
    trees: LandmarkTrees,
) -> None:
    rng = np.random.default_rng(1)
    for pixels in pictures():
        height, width = pixels.shape[:2]
        third = min(height, width) // 3
        boxes: list[Box] = [(third, third, 2 * third, 2 * third)]
        for _ in range(2):
            left, top, side = (int(each) for each in rng.integers((-40, -40, 25), (width, height, 300)))
            boxes.append((left, top, left + side, top + side))
        for box in boxes:
            found = trees.readings(gray_as_dlib(pixels), moved_boxes(box, ROUND))
            assert np.array_equal(found, landmark_readings(pixels, box, ROUND))


@pytest.mark.slow
def test_a_reading_depends_on_its_box_alone_and_threads_share_the_model(trees: LandmarkTrees) -> None:
    gray = gray_as_dlib(next(pictures()))
    boxes = moved_boxes((60, 90, 190, 220), ROUND)
    together = trees.readings(gray, boxes)
    with ThreadPoolExecutor(3) as pool:
        single = list(pool.map(lambda box: trees.readings(gray, [box])[0], boxes))
    assert np.array_equal(together, np.stack(single))
    assert together.dtype == np.float64


def test_gray_is_the_mean_of_the_channels_rounded_down() -> None:
    pixels = np.random.default_rng(2).integers(0, 256, (9, 7, 3), np.uint8)
    assert np.array_equal(gray_as_dlib(pixels), pixels.astype(int).sum(axis=2) // 3)


def test_another_file_is_refused(tmp_path: Path) -> None:
    content = landmark_model().read_bytes()[:200_000]
    for name, data in {
        "words": b"only words " * 99,
        "empty": b"",
        "cut": content,
        "longer": content[:3] + b"\x04\xff\xff\xff\x7f" + content[3:],
        "header": content[:995],
    }.items():
        path = tmp_path / name
        path.write_bytes(data)
        with pytest.raises(BundleError, match="is not a dlib landmark model of 68 points"):
            landmark_trees(path)
    with pytest.raises(BundleError, match="is not a dlib landmark model"):
        landmark_trees(tmp_path / "missing")

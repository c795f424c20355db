"""The real faces in the documents: each is credited, small, and detected."""

from pathlib import Path

import pytest
from PIL import Image

from micromotion import align

pytestmark = pytest.mark.slow

FACES = Path(__file__).resolve().parents[2] / "docs" / "faces"
PICTURES = sorted(FACES.glob("*.jpg"))


def test_every_picture_has_its_credit_and_every_credit_its_picture() -> None:
    rows = [line for line in (FACES / "README.md").read_text(encoding="utf-8").splitlines() if "| `" in line]
    credited = [line.split("`")[1] for line in rows]
    assert sorted(credited) == [path.name for path in PICTURES]
    for row in rows:
        assert all(cell.strip() for cell in row.strip("|").split("|")), row
        assert row.count("|") == 6, row


def test_there_are_twelve_faces_or_more() -> None:
    assert len(PICTURES) >= 12


@pytest.mark.parametrize("path", PICTURES, ids=lambda path: path.stem)
def test_a_face_is_found_in_a_small_file(path: Path) -> None:
    assert path.stat().st_size <= 60_000
    with Image.open(path) as image:
        assert image.width <= 512
        assert not image.getexif()
        score = align(image, 256).score
        assert score is not None
        assert score > 0.5

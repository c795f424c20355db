"""Several faces in one photo: two that touch, and how those that are apart move together."""

from functools import cache
from pathlib import Path

from PIL import Image

from micromotion.face.alignment import align, align_all
from micromotion.face.crop import AlignedFace
from micromotion.types import Frame

FACES = Path(__file__).resolve().parents[2] / "docs" / "faces"


def portrait(name: str) -> Image.Image:
    return Image.open(FACES / f"{name}.jpg").convert("RGB")


@cache
def neighbours() -> tuple[Image.Image, dict[int, AlignedFace]]:
    """Two heads that touch: Morisot's, cut off by Franklin, who is larger and to the right of her."""
    left, right = portrait("berthe-morisot"), portrait("benjamin-franklin")
    her, him = align(left), align(right)
    scale = 1.1 * (her.box[2] - her.box[0]) / (him.box[2] - him.box[0])
    right = right.resize((round(right.width * scale), round(right.height * scale)), Image.Resampling.LANCZOS)
    him = align(right)
    edge = her.box[2] - round(0.05 * (her.box[2] - her.box[0]))
    start = him.box[0] - round(0.1 * (her.box[2] - her.box[0]))
    photo = Image.new("RGB", (edge + right.width - start, left.height))
    photo.paste(right.crop((start, 0, right.width, right.height)), (edge, her.box[1] - him.box[1]))
    photo.paste(left.crop((0, 0, edge, left.height)), (0, 0))
    found = dict(enumerate(align_all(photo)))
    assert len(found) == 2
    assert found[0].box[0] > found[1].box[2], "0 is Franklin, 1 is Morisot"
    return photo, found


def features(face: AlignedFace) -> tuple[slice, slice]:
    """The rows and columns of a face between brows and chin, and between the outer corners of the eyes."""
    assert face.landmarks is not None
    left, right = face.landmarks[36, 0], face.landmarks[45, 0]
    return slice(round(face.landmarks[17:27, 1].min()), round(face.landmarks[8, 1])), slice(
        round(left), round(right)
    )


def together(still: Frame, *alone: Frame) -> Frame:
    """The photo with the changes of several frames, in each of which another face has moved."""
    whole = still.copy()
    for frame in alone:
        moved = (frame != still).any(axis=-1)
        assert moved.any()
        assert (whole[moved] == still[moved]).all(), "they overlap"
        whole[moved] = frame[moved]
    return whole

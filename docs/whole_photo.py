"""docs/whole-photo.jpg: two portraits in one picture, one face chosen, the whole picture with it moving.

Run `.venv/bin/python docs/whole_photo.py` from the top of the checkout.
"""

from pathlib import Path

import numpy as np
from PIL import Image

from micromotion import Animator
from micromotion.sheet import contact_sheet

DOCS = Path(__file__).resolve().parent
WHO = "eileen-collins", "grace-hopper"
FACE, MOMENTS, STRENGTH = 1, 4, 0.6
HEIGHT, KEPT, TILE, QUALITY = 560, 340, 560, 88


def side_by_side(names: tuple[str, ...]) -> Image.Image:
    """Pictures of docs/faces at one height, without a gap, down to the chest."""
    pictures = [Image.open(DOCS / "faces" / f"{name}.jpg").convert("RGB") for name in names]
    scaled = [each.resize((round(each.width * HEIGHT / each.height), HEIGHT)) for each in pictures]
    return Image.fromarray(np.concatenate([np.asarray(each)[:KEPT] for each in scaled], axis=1))


def main() -> None:
    photo = side_by_side(WHO)
    animator = Animator.load("avatar", "cpu")
    clip = animator.animate(photo, "smile", strength=STRENGTH, face=FACE, frames=MOMENTS, frame="photo")
    labels = ["the photo", *(f"smile {100 * STRENGTH * i / (MOMENTS - 1):.0f}%" for i in range(1, MOMENTS))]
    sheet = contact_sheet(list(clip), labels=labels, columns=2, tile=TILE)
    sheet.save(DOCS / "whole-photo.jpg", quality=QUALITY)


if __name__ == "__main__":
    main()

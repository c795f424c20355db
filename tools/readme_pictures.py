"""The README's pictures of real faces: docs/alive.webp, docs/own-faces.jpg and docs/whole-photo.webp.

Run `python -m tools.readme_pictures` from the top of the checkout.
"""

from pathlib import Path

import numpy as np
from PIL import Image

from micromotion import Animator, parse_timeline
from micromotion.types import Frame
from micromotion.video.contact_sheet import contact_sheet

DOCS = Path(__file__).resolve().parents[1] / "docs"
FACES = DOCS / "faces"
ALIVE = "eileen-collins"
SHOWN = ("grace-hopper", "young-woman-in-mauve", "mona-lisa", "benjamin-franklin", "berthe-morisot")
MOTIONS = ("smile", "angry", "aging", "eyesClose", "headsTurn")
TILE = 220  # pixels
FPS, QUALITY = 12, 82


def main() -> None:
    animator = Animator.load("avatar", "cpu")
    alive(animator)
    own_faces(animator)
    one_of_a_group(animator)


def alive(animator: Animator) -> None:
    """A loop of six seconds."""
    photo = FACES / f"{ALIVE}.jpg"
    write_loop(list(animator.animate(photo, parse_timeline("alive"), fps=FPS)), DOCS / "alive.webp")


def own_faces(animator: Animator) -> None:
    """A row for each face: the photo, then the five motions at full strength."""
    tiles: list[Frame] = []
    for name in SHOWN:
        photo = FACES / f"{name}.jpg"
        tiles.append(next(iter(animator.animate(photo, "smile", frames=1, strength=0, view="face"))))
        for motion in MOTIONS:
            tiles.append(next(iter(animator.animate(photo, motion, frames=1, view="face"))))
    labels = ["photo", *MOTIONS, *[""] * (len(tiles) - 1 - len(MOTIONS))]
    resized = [
        np.asarray(Image.fromarray(tile).resize((TILE, TILE), Image.Resampling.LANCZOS)) for tile in tiles
    ]
    sheet = contact_sheet(resized, labels=labels, columns=1 + len(MOTIONS), tile=TILE)
    sheet.save(DOCS / "own-faces.jpg", quality=QUALITY, optimize=True)


def one_of_a_group(animator: Animator) -> None:
    """A photo of several people, in which one smiles."""
    video = animator.animate(
        FACES / "groups" / "oath.jpg",
        "smile",
        face=1,
        frames=16,
        fps=FPS,
        loop="pingpong",
        easing="smooth",
    )
    write_loop(list(video), DOCS / "whole-photo.webp")


def write_loop(frames: list[Frame], path: Path) -> None:
    """Write an animated WebP that loops forever."""
    first, *rest = [Image.fromarray(frame) for frame in frames]
    first.save(
        path,
        save_all=True,
        append_images=rest,
        duration=1000 // FPS,
        loop=0,
        quality=QUALITY,
        minimize_size=True,
    )


if __name__ == "__main__":
    main()

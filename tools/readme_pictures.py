"""The README's pictures of real faces: docs/alive.webp, own-faces.jpg, drive.jpg and whole-photo.webp.

Run `python -m tools.readme_pictures` from the top of the checkout.
"""

import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

from micromotion import Animator, parse_timeline
from micromotion.drive.read import read_driving_video
from micromotion.types import Frame
from micromotion.video.contact_sheet import contact_sheet

DOCS = Path(__file__).resolve().parents[1] / "docs"
FACES = DOCS / "faces"
ALIVE = "eileen-collins"
SHOWN = ("grace-hopper", "young-woman-in-mauve", "mona-lisa", "benjamin-franklin", "berthe-morisot")
MOTIONS = ("smile", "angry", "aging", "eyesClose", "headsTurn")
DRIVER, DRIVEN = "grace-hopper", ("mona-lisa", "eileen-collins", "george-washington")
PERFORMANCE = (
    "0.5s hold, 0.8s smile smooth, 1.1s hold, 1.4s smile=0 smooth, 1.6s eyesClose, 1.8s hold, "
    "2s eyesClose=0, 2.4s headsTurn=0.9 smooth, 2.7s hold, 3.1s headsTurn=0 angry=0.9 smooth, 3.4s hold"
)
MOMENTS = (0.2, 1.0, 1.7, 2.6, 3.3)  # seconds
TILE, DRIVEN_TILE = 220, 180  # pixels
FPS, CLIP_FPS, QUALITY = 12, 20, 82


def main() -> None:
    animator = Animator.load("avatar", "cpu")
    alive(animator)
    own_faces(animator)
    driven(animator)
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
    sheet = contact_sheet([_tile(tile) for tile in tiles], labels=labels, columns=1 + len(MOTIONS), tile=TILE)
    sheet.save(DOCS / "own-faces.jpg", quality=QUALITY, optimize=True)


def driven(animator: Animator) -> None:
    """A row for the driving video, a photo that was animated, and one for each photo that it drives."""
    performed = animator.animate(FACES / f"{DRIVER}.jpg", parse_timeline(PERFORMANCE), fps=CLIP_FPS)
    with tempfile.TemporaryDirectory() as folder:
        clip = Path(folder) / "clip.mp4"
        performed.save(clip)
        trajectory = read_driving_video(clip).trajectory
    shown = animator.animate(FACES / f"{DRIVER}.jpg", parse_timeline(PERFORMANCE), fps=CLIP_FPS, view="face")
    videos = [shown, *(animator.drive(FACES / f"{name}.jpg", trajectory, view="face") for name in DRIVEN)]
    moments = [round(CLIP_FPS * seconds) for seconds in MOMENTS]
    rows = [list(video) for video in videos]
    sheet = contact_sheet(
        [_tile(row[moment]) for row in rows for moment in moments],
        labels=[f"{seconds:g} s" for seconds in MOMENTS] * len(rows),
        columns=len(moments),
        tile=DRIVEN_TILE,
    )
    sheet.save(DOCS / "drive.jpg", quality=QUALITY, optimize=True)


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


def _tile(picture: Frame) -> Frame:
    return np.asarray(Image.fromarray(picture).resize((TILE, TILE), Image.Resampling.LANCZOS))


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

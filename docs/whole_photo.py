"""docs/whole-photo.webp: a photo of several people, in which one moves; .jpg: its first and its middle frame.

Run `.venv/bin/python docs/whole_photo.py` from the top of the checkout.
"""

from pathlib import Path

from PIL import Image

from micromotion import Animator
from micromotion.sheet import contact_sheet

DOCS = Path(__file__).resolve().parent
PHOTO = DOCS / "faces" / "groups" / "oath.jpg"
FACE, MOTION, STRENGTH = 1, "smile", 0.5
FRAMES, FPS = 16, 12
TILE, QUALITY = 880, 88


def main() -> None:
    animator = Animator.load("avatar", "cpu")
    clip = animator.animate(
        PHOTO,
        MOTION,
        strength=STRENGTH,
        face=FACE,
        frames=FRAMES,
        fps=FPS,
        loop="pingpong",
        easing="smooth",
        frame="photo",
    )
    frames = list(clip)
    first, *rest = [Image.fromarray(frame) for frame in frames]
    first.save(
        DOCS / "whole-photo.webp",
        save_all=True,
        append_images=rest,
        duration=1000 // FPS,
        loop=0,
        quality=QUALITY,
        minimize_size=True,
    )
    shown = [frames[0], frames[FRAMES - 1]]
    contact_sheet(shown, columns=1, tile=TILE).save(DOCS / "whole-photo.jpg", quality=QUALITY)


if __name__ == "__main__":
    main()

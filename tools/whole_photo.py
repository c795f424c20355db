"""docs/whole-photo.webp: a photo of several people, in which one moves.

Run `python -m tools.whole_photo` from the top of the checkout.
"""

from pathlib import Path

from PIL import Image

from micromotion import Animator

DOCS = Path(__file__).resolve().parents[1] / "docs"
PHOTO = DOCS / "faces" / "groups" / "oath.jpg"
FACE, MOTION, STRENGTH = 1, "smile", 0.5
FRAMES, FPS = 16, 12
QUALITY = 88


def main() -> None:
    animator = Animator.load("avatar", "cpu")
    video = animator.animate(
        PHOTO,
        MOTION,
        strength=STRENGTH,
        face=FACE,
        frames=FRAMES,
        fps=FPS,
        loop="pingpong",
        easing="smooth",
        view="photo",
    )
    first, *rest = [Image.fromarray(frame) for frame in video]
    first.save(
        DOCS / "whole-photo.webp",
        save_all=True,
        append_images=rest,
        duration=1000 // FPS,
        loop=0,
        quality=QUALITY,
        minimize_size=True,
    )


if __name__ == "__main__":
    main()

"""The Cog service: what a caller may ask for, and one call into `micromotion`.

Cog reads the inputs from this text without running it. So each description is one plain string, limits and
choices are literals, and `openapi.json` beside this file says the same (`python tests/test_openapi.py` writes it).
"""

# ruff: noqa: B008, E501 (Cog's way of declaring inputs; a description in two pieces is read wrongly)

import os
import queue
import shutil
import tempfile
import threading
import time
from collections.abc import Callable

from cog import BaseRunner, Input, Path

from micromotion import Animator
from micromotion.errors import ImageError, MotionError
from micromotion.weights.install import ensure

MODEL = "MICROMOTION_MODEL"  # environment variable: another model than "avatar", by name or folder
FETCH = "MICROMOTION_FETCH"  # environment variable: "1" to fetch that model where it is not in the image
COLLECTED_AFTER = 5.0  # seconds; Cog reads the result right after run() has returned, and leaves it to us


class Predictor(BaseRunner):
    def setup(self) -> None:
        """Load the model once, before the first prediction; fetch it before if that is asked for."""
        model = os.environ.get(MODEL, "avatar")
        if os.environ.get(FETCH) == "1":
            ensure(model)
        self.animator = Animator.load(model)
        print(self.animator.bundle.describe())
        self.results = tempfile.TemporaryDirectory(prefix="micromotion-")
        self.finished: queue.SimpleQueue[tuple[Path, float]] = queue.SimpleQueue()
        threading.Thread(target=_remove_finished, args=[self.finished], daemon=True).start()

    def run(
        self,
        image: Path = Input(
            description="A picture with a face: a photo, a painting or a drawing, as JPEG, PNG, WebP or any other still format, at most 50 million pixels.",
            accept="image/*",
        ),
        motion: str = Input(
            description="The micromotion to play. 'custom' means the one that template describes; it comes with a later version and fails for now.",
            default="smile",
            choices=["smile", "angry", "aging", "eyesClose", "headsTurn", "custom"],
        ),
        template: str = Input(
            description="Only for the motion 'custom': a sentence that describes it, with {degree} where the degree goes, as in 'a person with {degree} smile'.",
            default="",
            max_length=200,
        ),
        strength: float = Input(
            description="How far the motion goes: 1 is its full degree, 0 is a still face, a negative number plays the opposite.",
            default=1.0,
            ge=-5.0,
            le=5.0,
        ),
        frames: int = Input(
            description="The number of frames, from the still face in the first to the full motion in the last.",
            default=90,
            ge=1,
            le=600,
        ),
        fps: int = Input(description="Frames per second.", default=30, ge=1, le=60),
        seed: int = Input(
            description="Draws other fine texture (skin, hair), the same for the same number; -1 takes the model's own. Either way the same request gives the same video.",
            default=-1,
            ge=-1,
            le=4294967295,
        ),
        face: int = Input(
            description="Which face, if there are several: 0 is the clearest one, 1 the next.",
            default=0,
            ge=0,
            le=99,
        ),
        refine: int = Input(
            description="Improves the likeness by this many steps before the motion is played: 0 is off, 30 is a good number, more takes longer.",
            default=0,
            ge=0,
            le=200,
        ),
        output_format: str = Input(
            description="The kind of file: mp4 is a video, gif and webp are animated pictures.",
            default="mp4",
            choices=["mp4", "gif", "webp"],
        ),
    ) -> Path:
        """Play a micromotion on the face in a picture."""
        folder = Path(tempfile.mkdtemp(dir=self.results.name))
        output = folder / f"{motion}.{output_format}"
        try:
            if not isinstance(image, os.PathLike):  # no URL, so Cog left it a string: one of our own files?
                raise ImageError("The image must be sent as an http, https or data URL.")
            if motion == "custom":
                raise MotionError(
                    "The motion 'custom' comes with a later version: choose smile, angry, aging, eyesClose or headsTurn."
                )
            with image.open("rb") as photo:
                clip = self.animator.animate(
                    photo,
                    motion,
                    strength=strength,
                    frames=int(frames),  # JSON's 90.0 is valid where an integer is asked for
                    fps=int(fps),
                    face=int(face),
                    seed=None if seed == -1 else int(seed),
                    refine=int(refine),
                    on_refine=_refining(int(refine)),
                )
            width, height = clip.size
            print(f"Face {face:.0f} found; playing {motion} at strength {strength:g}.")
            print(f"Rendering {len(clip)} frames of {width}×{height}, {clip.fps} per second.")
            clip.save(output, on_frame=_progress(len(clip)))
        except BaseException:  # Cog's CancelationException is not an Exception
            self.finished.put((folder, time.monotonic()))
            raise
        for stage, seconds in clip.timings.items():
            self.record_metric(f"timing.{stage}", round(seconds, 4))
        print(f"Done: {output.name}, {output.stat().st_size / 1000:.0f} kB.")
        self.finished.put((folder, time.monotonic() + COLLECTED_AFTER))
        return output


def _progress(total: int) -> Callable[[int], None]:
    """A callback that logs the number of finished frames, about ten times."""
    step = max(1, total // 10)

    def report(done: int) -> None:
        if done % step == 0:
            print(f"Rendered {done} of {total} frames.")

    return report


def _refining(total: int) -> Callable[[int, float], None]:
    """A callback that logs the steps of refinement, about five times."""
    step = max(1, total // 5)

    def report(done: int, loss: float) -> None:
        if done % step == 0:
            print(f"Refined by {done} of {total} steps, loss {loss:.4f}.")

    return report


def _remove_finished(finished: "queue.SimpleQueue[tuple[Path, float]]") -> None:
    """Remove the folders of results, in turn, each when its time has come; never returns.

    One thread for all, started in setup(): a second cancellation can strike a thread that is just starting,
    and whoever starts it would then wait for ever.
    """
    while True:
        folder, due = finished.get()
        time.sleep(max(0.0, due - time.monotonic()))
        shutil.rmtree(folder, ignore_errors=True)

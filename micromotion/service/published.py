"""The inputs of the published model, `micromotion` and `scale`, in terms of our own.

Its service (predict.py of wuqiuche/micromotion-styleGAN, commit ecc4454) plays w0 + i/100 · scale · d for
i = 0 … 99 at 30 frames per second, and shows the frames of the model; d is the motion's straight direction.
Importing this module does not import torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from micromotion.errors import OptionError
from micromotion.motion.library import find_motion, load_fitting
from micromotion.motion.recipe import PUBLISHED_LAST, PUBLISHED_SCALE
from micromotion.options import AnimateOptions

if TYPE_CHECKING:
    from micromotion.motion.files import Provenance
    from micromotion.types import LoadedModel

MICROMOTION = "eyesClose"
"""The motion if only a scale is sent."""
FRAMES, FPS = 100, 30

BESIDE: Mapping[str, tuple[object, ...]] = {
    "motion": ("smile",),
    "template": ("",),
    "motion_file": (None,),
    "timeline": ("",),
    "strength": (1.0,),
    "frames": (90, FRAMES),
    "fps": (FPS,),
    "loop": ("once",),
    "easing": ("linear",),
    "view": ("auto", "model"),
    "frame": ("", "crop"),
    "faces": ("",),
    "driving_video": (None,),
}
"""The inputs that `micromotion` and `scale` replace, and the values that may stand beside these two: the
default, and what they give anyway."""


@dataclass(frozen=True)
class Published:
    """A request to the published model: one of its motions, and a scale in 1…10, of which 5 is usual."""

    micromotion: str
    scale: int

    @classmethod
    def asked(cls, micromotion: str, scale: int | None) -> Published | None:
        """The request of a prediction with these inputs; None if neither was sent ("" and None)."""
        if not is_asked({"micromotion": micromotion, "scale": scale}):
            return None
        return cls(micromotion or MICROMOTION, int(PUBLISHED_SCALE if scale is None else scale))

    def translated(
        self, options: AnimateOptions, bundle: LoadedModel, folder: Path
    ) -> tuple[AnimateOptions, dict[str, Path]]:
        """The options of the published model's video, and the files to play instead of motions, by name.

        Scale 5 is strength 1, and the last of the 100 frames is at 99/100 of it. A direction that the authors
        published has these 99/100 in its own strength 1 (see `micromotion.motion.directions.full_motion`).
        A motion learned as a curve is played along its straight line, from a file written into the folder.

        Raises MotionError if the model has no such motion, or its file cannot be used.
        """
        path = find_motion(self.micromotion, bundle)
        provenance = _provenance(path)
        strength = PUBLISHED_LAST * self.scale / PUBLISHED_SCALE
        full = provenance.get("scale")  # of a published direction: the scale that its strength 1 stands for
        if isinstance(full, int | float) and full > 0:
            strength = self.scale / full
        options = replace(
            options, strength=strength, frames=FRAMES, fps=FPS, loop="once", easing="linear", view="model"
        )
        if provenance.get("path") != "curve":
            return options, {}
        return options, {self.micromotion: _straight(path, bundle, folder)}

    def describe(self, options: AnimateOptions) -> str:
        """One line for the log: the same request with the inputs of today."""
        return (
            f"micromotion and scale are the published model's inputs; today's are motion={self.micromotion}, "
            f"strength={options.strength:g}, frames={options.frames}, view={options.view}."
        )


def is_asked(inputs: Mapping[str, object]) -> bool:
    """Whether these inputs have one of the published model's."""
    return inputs.get("micromotion") not in (None, "") or inputs.get("scale") is not None


def check_alone(inputs: Mapping[str, object], *, sent: bool) -> None:
    """Raise OptionError if any of these inputs contradicts the published model's.

    sent: they are what the caller sent, so that a motion or a strength was chosen even if it is the default.
    """
    for name, fitting in BESIDE.items():
        if name in inputs and (inputs[name] not in fitting or (sent and name in ("motion", "strength"))):
            raise OptionError(
                f"{name} cannot be sent together with micromotion or scale, which play {FRAMES} frames as "
                f"the published model did: leave {name} out, or send motion and strength instead of the two."
            )


def _provenance(path: Path) -> Provenance:
    from micromotion.motion.anchors import Anchors
    from micromotion.motion.directions import KIND, read_direction
    from micromotion.motion.files import motion_file_kind

    return read_direction(path)[1] if motion_file_kind(path) == KIND else Anchors.load(path).provenance


def _straight(path: Path, bundle: LoadedModel, folder: Path) -> Path:
    """A file in the folder with the straight line of a motion of this model."""
    from micromotion.motion.directions import save_direction

    line = folder / path.name
    save_direction(load_fitting(path, bundle, "line").direction, line, {})
    return line

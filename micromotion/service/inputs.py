"""The inputs of a prediction: its files, their contradictions, and its options.

Importing this module does not import torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from micromotion.errors import ImageError, MicromotionError, MotionError, OptionError
from micromotion.options import AnimateOptions, Easing, Loop
from micromotion.service import uploads
from micromotion.service.driving import check_driving
from micromotion.service.published import check_alone, is_asked
from micromotion.service.values import chosen_view, stripped
from micromotion.video.driving_video import DrivingVideoError

_FILES: Mapping[str, type[MicromotionError]] = {
    "image": ImageError,
    "motion_file": MotionError,
    "driving_video": DrivingVideoError,
}
"""The inputs that are files, of which only the image is required, and the error in each."""


def received(inputs: Mapping[str, Any]) -> dict[str, Path | None]:
    """The files that were sent, by the name of their input.

    Raises the error of that input if it is not a URL; DownloadError.
    """
    files = {name: uploads.as_sent(inputs[name]) for name in _FILES}
    for name, error in _FILES.items():
        if not (isinstance(files[name], Path) or (name != "image" and files[name] is None)):
            raise error(f"The {name} must be sent as an http, https or data URL.")
    return cast("dict[str, Path | None]", files)


def check_together(inputs: Mapping[str, Any]) -> None:
    """Raise OptionError or MotionError if inputs contradict each other."""
    if is_asked(inputs):
        check_alone({**stripped(inputs), "frame": "", "view": chosen_view(inputs)}, sent=False)
    check_driving(inputs, sent=False)
    _check_motion(inputs["motion"], inputs["template"], inputs["motion_file"])
    if inputs["at"] != -1 and inputs["output_format"] != "png":
        raise OptionError("The input at is the moment of a still: choose the output_format 'png'.")


def animate_options(inputs: Mapping[str, Any]) -> AnimateOptions:
    """The options of an animation, but for `faces`; raises OptionError."""
    seed = int(inputs["seed"])
    return AnimateOptions(
        strength=inputs["strength"],
        frames=int(inputs["frames"]),  # in JSON, 90.0 is a valid integer
        fps=int(inputs["fps"]),
        loop=cast("Loop", inputs["loop"]),  # Cog supports no Literal; these three are checked
        easing=cast("Easing", inputs["easing"]),
        view=chosen_view(inputs),
        size=int(inputs["size"]),
        compare=inputs["compare"],
        face=int(inputs["face"]),
        seed=None if seed == -1 else seed,
        refine=int(inputs["refine"]),
        lock_identity=inputs["lock_identity"],
    )


def _check_motion(motion: str, template: str, motion_file: object) -> None:
    """Raise MotionError unless motion, template and motion_file name one motion together."""
    if motion == "custom" and motion_file is not None:
        raise MotionError("Both motion 'custom' and a motion_file were sent: leave one of them out.")
    if motion == "custom" and not template.strip():
        raise MotionError(
            "The motion 'custom' needs a template that describes it, such as 'a person with {degree} smile'."
        )
    if motion != "custom" and template.strip():
        raise MotionError(
            "A template is only for the motion 'custom': choose that, or leave the template out."
        )

"""A prediction whose photo a video drives: which inputs go together, and the driven video.

Importing this module does not import torch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from micromotion.drive.options import PARTS, DriveOptions
from micromotion.errors import OptionError
from micromotion.runtime.progress import progress_lines
from micromotion.service.deadline import Deadline
from micromotion.service.values import chosen_view, stripped

if TYPE_CHECKING:
    from micromotion.animation import Video
    from micromotion.animator import Animator

TRACK, CLIP = "driving_video.safetensors", "driving_video"
"""Names of the file that was sent, in the prediction's folder: a trajectory, and a video."""

BESIDE: Mapping[str, object] = {
    "motion": "smile",
    "template": "",
    "motion_file": None,
    "timeline": "",
    "frames": 90,
    "fps": 30,
    "loop": "once",
    "easing": "linear",
    "seed": -1,
    "refine": 0,
    "lock_identity": False,
    "compare": False,
    "micromotion": "",
    "scale": None,
}
"""The inputs that contradict a driving_video, and their defaults, which do not."""

ABOUT: Mapping[str, object] = {
    "parts": ",".join(PARTS),
    "mirror": False,
    "clip_face": 0,
    "rest": -1,
    "audio": True,
}
"""The inputs that are about a driving_video, and their defaults."""


def check_driving(inputs: Mapping[str, object], *, sent: bool) -> None:
    """Raise OptionError if one of these inputs contradicts a driving_video, or is about one that is missing.

    sent: they are what the caller sent, so that a motion was chosen even if it is the default.
    """
    given = stripped(inputs)
    if given.get("driving_video") is None:
        for name, default in ABOUT.items():
            if given.get(name, default) != default:
                raise OptionError(
                    f"{name} is about a driving_video, and none was sent: send one, or leave {name} out."
                )
        return
    for name, default in BESIDE.items():
        if name in given and (given[name] != default or (sent and name == "motion")):
            raise OptionError(
                f"{name} cannot be sent together with a driving_video, whose motion, length and pace are "
                "played as they are: leave one of the two out."
            )


def linked(sent: Path, folder: Path) -> Path:
    """The file that was sent, linked in the folder by the name of its input and of its kind."""
    link = folder / (TRACK if _is_safetensors(sent) else CLIP)
    link.symlink_to(sent)
    return link


def drive(
    animator: Animator, photo: BinaryIO, clip: Path, inputs: Mapping[str, Any], deadline: Deadline
) -> Video:
    """The photo driven by a clip, as the inputs say; logs progress and what was found in the clip.

    Raises what `Animator.drive` raises; TimeLimitError.
    """
    rest = int(inputs["rest"])
    options = DriveOptions(
        parts=inputs["parts"],
        strength=inputs["strength"],
        mirror=inputs["mirror"],
        view=chosen_view(inputs),
        size=int(inputs["size"]),  # in JSON, 1920.0 is a valid integer
        face=int(inputs["face"]),
        faces=inputs["faces"].strip() or None,
        clip_face=int(inputs["clip_face"]),
        rest=None if rest == -1 else rest,
        audio=inputs["audio"],
    )
    watched = deadline.watch("reading the driving_video", _reading())
    video = animator.drive(photo, clip, options, on_read=watched)
    for note in video.notes:
        print(note)
    who = f"Face {options.face} found" if options.selection is None else video.describe_faces()
    print(f"{who}; playing driving_video at strength {options.strength:g}.")
    if video.sound is not None and inputs["output_format"] in ("gif", "webp"):
        print("Only an MP4 can have sound: the driving_video's is left out.")
    return video


def _reading() -> Callable[[int, int], None]:
    """Prints progress while a video is read, whose length is known when the first frame is."""
    lines: list[Callable[..., None]] = []

    def report(done: int, total: int) -> None:
        if not lines:
            lines.append(progress_lines("Read", "frames", total))
        lines[0](done)

    return report


def _is_safetensors(path: Path) -> bool:
    """Whether a file begins as safetensors do: the length of a header, and the header, which is JSON."""
    with path.open("rb") as file:
        head = file.read(9)
    return head[8:] == b"{" and int.from_bytes(head[:8], "little") <= path.stat().st_size

"""The options of `Animator.drive`: name, default, limits and help text of each, validated on construction.

Importing this module does not import torch.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal, TypedDict, get_args

from micromotion.errors import OptionError
from micromotion.face_selection import MAX_FACE, MAX_FACES, FaceSelection, parse_faces
from micromotion.option_checks import check_fields, check_names
from micromotion.options import MAX_SIZE, View

MAX_STRENGTH = 2.0
MAX_DRIVING_FRAMES = 1800
"""Most frames of a driving video or a trajectory: a minute at 30 frames per second."""

Part = Literal["eyes", "mouth", "brows", "pose"]
PARTS: tuple[Part, ...] = get_args(Part)
"""The parts of a face that can be played by themselves. The jaw and the nose go with the mouth."""


@dataclass(frozen=True, kw_only=True)
class DriveOptions:
    """The options of a photo that a video drives.

    Its constructor raises OptionError, naming the option and its limits.
    """

    parts: tuple[Part, ...] = field(
        default=PARTS,
        metadata={
            "help": f"Which parts of the face move, with commas between: {', '.join(PARTS)}. The others stay "
            "as in the photo."
        },
    )
    strength: float = field(
        default=1.0,
        metadata={"help": f"How much of the motion is played, 0 to {MAX_STRENGTH:g}; 1 is all of it."},
    )
    mirror: bool = field(default=False, metadata={"help": "Move as the driving face would in a mirror."})
    view: View = field(
        default="auto",
        metadata={
            "choices": get_args(View),
            "help": "What is shown: the whole photo, whose own face moves; the square around that face; or "
            "the face as the model draws it, driven by the clip's latents. auto is the photo.",
        },
    )
    size: int | Literal["full"] = field(
        default=1920,
        metadata={
            "word": "full",
            "limits": (64, MAX_SIZE),
            "help": "The longest side of the views photo and face, in pixels; nothing is enlarged, and "
            "'full' keeps the photo's own.",
        },
    )
    face: int = field(
        default=0,
        metadata={"limits": (0, MAX_FACE), "help": "Which of several faces of the photo; 0 is the clearest."},
    )
    faces: FaceSelection | str | Sequence[int] | None = field(
        default=None,
        metadata={
            "metavar": "LIST",
            "help": "Several faces of the whole photo, instead of one: 'all', or numbers as 0,2; at most "
            f"{MAX_FACES}. Each does what the clip's does.",
        },
    )
    clip_face: int = field(
        default=0,
        metadata={"limits": (0, MAX_FACE), "help": "Which of several faces of the clip; 0 is the clearest."},
    )
    rest: int | None = field(
        default=None,
        metadata={
            "limits": (0, MAX_DRIVING_FRAMES - 1),
            "default": "found in the clip",
            "help": "The frame of the clip, from 0, that shows its face at rest.",
        },
    )
    audio: bool = field(default=True, metadata={"help": "Keep the clip's sound."})

    def __post_init__(self) -> None:
        object.__setattr__(self, "parts", _parts(self.parts))
        try:
            valid = math.isfinite(self.strength) and 0 <= self.strength <= MAX_STRENGTH
        except TypeError:
            valid = False
        if not valid:
            raise OptionError(
                f"strength must be a number from 0 to {MAX_STRENGTH:g}, not {self.strength!r:.80}."
            )
        check_fields(self)
        if self.faces is not None:
            object.__setattr__(self, "faces", parse_faces(self.faces))
            self._check_faces()
        if self.view == "model" and set(self.parts) != set(PARTS):
            raise OptionError(
                "The view 'model' plays the whole face: leave out parts, or take the view 'photo'."
            )
        if self.view == "model" and self.mirror:
            raise OptionError("The view 'model' cannot be mirrored: leave out mirror, or take another view.")

    @property
    def longest(self) -> int | None:
        """Longest side of the output in pixels; None: the photo's own."""
        return None if self.size == "full" else self.size

    @property
    def selection(self) -> FaceSelection | None:
        """The parsed `faces`; None: only `face` moves."""
        assert self.faces is None or isinstance(self.faces, FaceSelection)
        return self.faces

    def _check_faces(self) -> None:
        """Raise OptionError for faces with motions of their own, or beside an option for a single face."""
        if self.selection is not None and self.selection.names:
            raise OptionError(
                "All of the faces do what the clip's does, and none has a motion of its own: faces must be "
                "'all', or numbers such as 0,2."
            )
        if self.view in ("face", "model"):
            raise OptionError(
                f"The view {self.view!r} shows one face: leave out faces, or take the view 'photo'."
            )
        if self.face:
            raise OptionError("Give faces or face, not both: it names a single one.")


class DriveKeywords(TypedDict, total=False):
    """The same options as keywords, for type checkers."""

    parts: str | tuple[Part, ...]
    strength: float
    mirror: bool
    view: View
    size: int | Literal["full"]
    face: int
    faces: FaceSelection | str | Sequence[int] | None
    clip_face: int
    rest: int | None
    audio: bool


DRIVE_OPTIONS: Mapping[str, Any] = {each.name: each for each in fields(DriveOptions)}
"""Each option's dataclass field by name."""


def drive_options_from(keywords: Mapping[str, Any], options: DriveOptions | None = None) -> DriveOptions:
    """The options, overridden by keywords.

    Raises OptionError for a wrong value; TypeError for an unknown name, with the nearest known one.
    """
    check_names(keywords, DRIVE_OPTIONS)
    return replace(options, **keywords) if options else DriveOptions(**keywords)


def _parts(given: object) -> tuple[Part, ...]:
    """The parts of a text with commas, or of a sequence, in the order of PARTS; raises OptionError."""
    names = given.replace(" ", "").split(",") if isinstance(given, str) else given
    try:
        wanted = {str(name) for name in names}  # type: ignore[attr-defined]  # TypeError is caught
    except TypeError:
        wanted = set()
    if not wanted or not wanted <= set(PARTS):
        raise OptionError(f"parts must be some of {', '.join(PARTS)}, not {given!r:.80}.")
    return tuple(part for part in PARTS if part in wanted)

"""The options of an animation: name, default, limits and help text of each, validated on construction.

The command line, Python and the page use `AnimateOptions`; a test compares it with the service's literals,
which Cog reads without running them. Importing this module does not import torch.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import Field, dataclass, field, fields, replace
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, Literal, TypedDict, get_args

from micromotion.errors import MotionError, OptionError
from micromotion.face_selection import MAX_FACE, MAX_FACES, FaceSelection, FacesGiven, parse_faces
from micromotion.option_checks import (
    MAX_STRENGTH,
    check_choice,
    check_fields,
    check_names,
    check_strength,
    check_whole,
)

if TYPE_CHECKING:
    from stylegan2 import Generator

MAX_FRAMES = 600
MAX_FPS = 60
MAX_SEED = 2**32 - 1
MAX_REFINE = 200
MAX_SIZE = 16384
MAX_VIDEO_PIXELS = 4_000_000_000  # of all frames together; 80 frames of the largest photo

Loop = Literal["once", "pingpong", "hold"]
Easing = Literal["linear", "smooth"]
View = Literal["auto", "photo", "face", "model"]
DeprecatedFrame = Literal["crop", "photo"]
"""The values of `frame`, the old name of view."""

VIEWS: dict[str, View] = {"crop": "model", "photo": "photo"}
"""The deprecated option `frame` -> view."""


def _whole(low: int, high: int, sentence: str) -> dict[str, Any]:
    return {"limits": (low, high), "help": sentence}


def _choice(choices: object, sentence: str) -> dict[str, Any]:
    return {"choices": get_args(choices), "help": sentence}


@dataclass(frozen=True, kw_only=True)
class AnimateOptions:
    """The options of an animation.

    Its constructor raises OptionError, naming the option and its limits.

    >>> AnimateOptions(strength=-0.5, loop="pingpong").frames
    90
    """

    strength: float = field(
        default=1.0,
        metadata={
            "help": f"Strength of the motion, up to ±{MAX_STRENGTH:g}; negative plays the opposite. It "
            "multiplies the strengths of several motions and of a timeline."
        },
    )
    frames: int = field(
        default=90,
        metadata=_whole(
            1, MAX_FRAMES, f"Number of frames, 1 to {MAX_FRAMES}; a timeline has its own length."
        ),
    )
    fps: int = field(default=30, metadata=_whole(1, MAX_FPS, f"Frames per second, 1 to {MAX_FPS}."))
    loop: Loop = field(
        default="once",
        metadata=_choice(Loop, "once; pingpong: forwards, then backwards; hold: then hold the end as long."),
    )
    easing: Easing = field(default="linear", metadata=_choice(Easing, "smooth starts and ends gently."))
    view: View = field(
        default="auto",
        metadata=_choice(
            View,
            "What is shown: the whole photo, whose own face moves; the square around that face; or the face "
            "as the model draws it. auto takes what suits the model.",
        ),
    )
    size: int | Literal["full"] = field(
        default=1920,
        metadata={
            "word": "full",
            **_whole(
                64,
                MAX_SIZE,
                "The longest side of the views photo and face, in pixels; nothing is enlarged, and 'full' "
                "keeps the photo's own.",
            ),
        },
    )
    compare: bool = field(
        default=False,
        metadata={"help": "Show the photo, its inversion and the animation side by side."},
    )
    face: int = field(default=0, metadata=_whole(0, MAX_FACE, "Which of several faces; 0 is the clearest."))
    faces: FaceSelection | FacesGiven | None = field(
        default=None,
        metadata={
            "metavar": "LIST",
            "help": "Several faces of the whole photo, instead of one: 'all', numbers as 0,2, or with their "
            f"own motions, as 0=smile,1=angry=0.5. At most {MAX_FACES} move.",
        },
    )
    aligned: bool = field(
        default=False, metadata={"help": "The picture is already cropped to the face: use it unchanged."}
    )
    seed: int | None = field(
        default=None,
        metadata={
            **_whole(
                0,
                MAX_SEED,
                "Seed of the noise for fine texture (skin, hair), in a model that has noise; the avatar has "
                "none.",
            ),
            "default": "the model's own",
        },
    )
    refine: int = field(
        default=0,
        metadata=_whole(
            0,
            MAX_REFINE,
            f"Improve the likeness of what the model draws by this many steps, 0 to {MAX_REFINE}; 30 is "
            "a good number.",
        ),
    )
    lock_identity: bool = field(
        default=False,
        metadata={"help": "Tune the model to this person first: minutes on a CPU, once per photo."},
    )

    def __post_init__(self) -> None:
        check_strength(self.strength)
        check_fields(self)
        if self.faces is not None:
            object.__setattr__(self, "faces", parse_faces(self.faces))
            self._check_faces()
        if self.compare and self.view in ("photo", "face"):
            raise OptionError(
                f"A comparison shows what the model draws: leave out compare, or the view {self.view!r}."
            )

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
        """Raise OptionError for options that apply to a single face."""
        if self.view in ("face", "model"):
            raise OptionError(
                f"The view {self.view!r} shows one face: leave out faces, or take the view 'photo'."
            )
        for name, reason in {
            "face": "it names a single one",
            "compare": "a comparison shows one face as the model draws it",
            "lock_identity": "the model can be tuned to one person only",
            "aligned": "a picture cropped to a face has no others",
        }.items():
            if getattr(self, name):
                raise OptionError(f"Give faces or {name}, not both: {reason}.")


class AnimateKeywords(TypedDict, total=False):
    """The same options as keywords, for type checkers; `frame` is deprecated, see `options_from`."""

    strength: float
    frames: int
    fps: int
    loop: Loop
    easing: Easing
    view: View
    size: int | Literal["full"]
    compare: bool
    face: int
    faces: FaceSelection | FacesGiven | None
    aligned: bool
    seed: int | None
    refine: int
    lock_identity: bool
    frame: DeprecatedFrame


OPTIONS: Mapping[str, Field[Any]] = {each.name: each for each in fields(AnimateOptions)}
"""Each option's dataclass field by name; its metadata has `limits` (lowest, highest), `choices`, `help`."""


def options_from(keywords: Mapping[str, Any], options: AnimateOptions | None = None) -> AnimateOptions:
    """The options, overridden by keywords; `frame` is the old name of `view`.

    Raises OptionError for a wrong value, or if both names are given; TypeError for an unknown name, with the
    nearest known one.
    """
    named = dict(keywords)
    frame = named.pop("frame", None)
    if frame is not None:
        if "view" in named:
            raise OptionError("Give view or frame, not both: frame is the old name of view.")
        named["view"] = view_of_frame(frame)
        warnings.warn("frame is now called view, and 'crop' is 'model'", DeprecationWarning, stacklevel=3)
    check_names(named, OPTIONS)
    return replace(options, **named) if options else AnimateOptions(**named)


def view_of_frame(frame: str) -> View:
    """The view for a value of the deprecated option `frame`; raises OptionError for other values."""
    check_choice("frame", frame, VIEWS)
    return VIEWS[frame]


def seed_of_noise(
    seed: int | None, generator: Generator, warn: Callable[[str], object], *, drawn: bool = False
) -> int | None:
    """The seed; None if the generator has no noise, calling `warn` unless it draws the motion (`drawn`)."""
    if seed is None or generator.has_noise:
        return seed
    if not drawn:
        warn("This model has no noise: the seed has no effect.")
    return None


def check_refine(steps: int) -> None:
    """Raise OptionError unless steps is a whole number in 0…200."""
    check_whole("refine", steps, 0, MAX_REFINE)


def check_total_pixels(size: tuple[int, int], frames: int) -> None:
    """Raise OptionError if this many frames of this width and height exceed MAX_VIDEO_PIXELS."""
    if size[0] * size[1] * frames > MAX_VIDEO_PIXELS:
        most = MAX_VIDEO_PIXELS // (size[0] * size[1])
        raise OptionError(
            f"{frames} frames of a photo of {size[0]}×{size[1]} pixels are too many: at most {most} are "
            "possible; use fewer frames, a smaller photo, or the view 'model'."
        )


def check_motion(name: str, known: Iterable[str]) -> None:
    """Raise MotionError, listing the known motions and suggesting the nearest, unless name is one of them."""
    known = list(known)
    if name in known:
        return
    if not known:
        raise MotionError(
            f"There is no micromotion {name!r}: this model has none; "
            "add some with `micromotion weights add FILE --name MODEL`."
        )
    by_lower_case = {each.lower(): each for each in known}
    near = get_close_matches(str(name).lower(), by_lower_case, n=1)
    hint = f" (did you mean {by_lower_case[near[0]]!r}?)" if near else ""
    raise MotionError(f"There is no micromotion {name!r}{hint}; this model has {', '.join(known)}.")

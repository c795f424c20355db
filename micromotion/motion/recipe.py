"""Recipes: readable files that say how a micromotion is collected, from text or from a video.

A recipe is a TOML file, one per motion, in `anchors/MODEL/MOTION.toml`. It has everything that the anchors
depend on, so that they can be collected again, and names the direction that the method's authors published
for the same motion. Defaults are the original's (wuqiuche/micromotion-styleGAN, which follows StyleCLIP).

Importing this module does not import torch.
"""

import stat
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from micromotion.errors import MotionError
from micromotion.options import MAX_SEED
from micromotion.runtime.folders import ROOTS

PLACE = "{degree}"
MAX_BYTES = 64 << 10
MAX_TEXT = 300
MAX_DEGREES = 100

PUBLISHED_SCALE = 5.0
"""main.py, `--scale`: the factor of a published direction."""
PUBLISHED_LAST = 0.99
"""main.py: the last of the video's 100 frames is i = 99 of i/100."""

Degrees = tuple[tuple[str, float], ...]


@dataclass(frozen=True)
class Recipe:
    """How the anchors of one micromotion are collected.

    A file has exactly one of template and clip, and degrees only with a template.

    Attributes:
        name: of the motion.
        template: a sentence for CLIP with {degree} where the degree's words go; None for a video.
        degrees: words, and their increasing numbers in units of the motion (0 neutral … 1 full).
        clip: a description of the video from which the motion is collected; None for a text.
        seed: of the sampled face (main.py, --seed). Unknown for the published directions.
        truncation: of that face towards the mean face (main.py).
        steps: of Adam for each degree (main.py).
        learning_rate: Adam's maximum learning rate (main.py).
        ramp_up: the fraction of the steps with a linear ramp up (main.py, lr_rampup).
        ramp_down: the fraction with a cosine ramp down (StyleCLIP/optimization/text.py, get_lr).
        l2: weight of the squared distance from the face's latent (main.py, l2_lambda).
        identity: weight of the identity loss (main.py, id_lambda).
        published: the name of the published direction in weights/manifest.toml; or None.
        scale: the factor of the published direction (main.py, --scale).
    """

    name: str
    template: str | None = None
    degrees: Degrees = ()
    clip: str | None = None
    seed: int = 1
    truncation: float = 0.7
    steps: int = 40
    learning_rate: float = 0.1
    ramp_up: float = 0.05
    ramp_down: float = 0.25
    l2: float = 0.008
    identity: float = 0.005
    published: str | None = None
    scale: float = PUBLISHED_SCALE

    def sentences(self) -> list[tuple[str, float]]:
        """Each degree's sentence and number, in order; empty for a motion from a video."""
        if self.template is None:
            return []
        return [(self.template.replace(PLACE, words), number) for words, number in self.degrees]

    def provenance(self, source: str, licence: str) -> dict[str, str | int | float]:
        """The provenance of the published direction, downloaded from `source`.

        The template is the one that the authors give for the motion. The seed and the video of the published
        direction are unknown, and therefore left out.
        """
        about: dict[str, str | int | float] = {
            "motion": self.name,
            "source": source,
            "licence": licence,
            "scale": self.scale,
            "strength 1": f"{PUBLISHED_LAST * self.scale:.6g} times the published direction",
        }
        if self.template is not None:
            about["template"] = self.template
            about["degrees"] = ", ".join(words for words, _ in self.degrees)
        if self.clip is not None:
            about["collected from"] = "a video"
        return about


def find_recipes(model: str) -> dict[str, Recipe]:
    """The recipes of a model, by the motion's name, sorted; empty if there are none.

    Read from `anchors/MODEL` in the installed package or the checkout. Raises as `load_recipe` does.
    """
    if model in ("", "..") or Path(model).name != model:  # a name, and no path
        return {}
    for root in ROOTS:
        paths = sorted((root / "anchors" / model).glob("*.toml"))
        if paths:
            return {path.stem: load_recipe(path) for path in paths}
    return {}


def load_recipe(path: str | Path) -> Recipe:
    """Read a recipe, named after its file.

    Raises MotionError, with the file and the key, for an unknown key, a wrong type or a value out of range.
    """
    path = Path(path)
    try:
        table = tomllib.loads(_read_text(path))
    except (tomllib.TOMLDecodeError, RecursionError, ValueError) as error:
        # ValueError: a whole number of thousands of digits
        raise MotionError(f"The recipe {path} is not valid TOML: {str(error)[:200]}.") from error
    try:
        return _recipe(path.stem, table)
    except MotionError as error:
        raise MotionError(f"The recipe {path} cannot be used: {error}") from error


def _read_text(path: Path) -> str:
    try:
        about = path.stat()
        if not stat.S_ISREG(about.st_mode):
            raise MotionError(f"{path} is a folder or a device, not a recipe.")
        if about.st_size > MAX_BYTES:
            raise MotionError(f"{path} is larger than {MAX_BYTES >> 10} kB, the limit for a recipe.")
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise MotionError(f"The recipe {path} is not text in UTF-8.") from error
    except (OSError, ValueError) as error:
        raise MotionError(f"The recipe {path} does not exist, or is not accessible.") from error


def _recipe(name: str, table: dict[str, Any]) -> Recipe:
    unknown = table.keys() - _CHECKS.keys()
    if unknown:
        raise MotionError(f"it has an unknown key {min(unknown)!r}; known are {', '.join(_CHECKS)}.")
    recipe = Recipe(name, **{key: _CHECKS[key](key, value) for key, value in table.items()})
    if (recipe.template is None) == (recipe.clip is None):
        raise MotionError("it must have either a template or a clip, and not both.")
    if (recipe.template is None) != (not recipe.degrees):
        raise MotionError("degrees belong to a template, and a template needs degrees.")
    if recipe.ramp_up + recipe.ramp_down > 1:
        raise MotionError("ramp_up and ramp_down are fractions of the steps; their sum must not exceed 1.")
    return recipe


def _text(key: str, value: object) -> str:
    if not isinstance(value, str) or not value.strip() or len(value) > MAX_TEXT or not value.isprintable():
        raise MotionError(f"{key} must be a line of 1 to {MAX_TEXT} characters in quotes.")
    return value


def _template(key: str, value: object) -> str:
    text = _text(key, value)
    without = text.replace(PLACE, "", 1)
    if without == text or "{" in without or "}" in without:
        raise MotionError(f"{key} must contain {PLACE} once and no other brace, but is {text!r}.")
    return text


def _published(key: str, value: object) -> str:
    text = _text(key, value)
    if "/" in text or "\\" in text or text.startswith("."):
        raise MotionError(f"{key} must be a file name such as smile.d_latent, not a path: {text!r}.")
    return text


def _degrees(key: str, value: object) -> Degrees:
    if not isinstance(value, list) or not 2 <= len(value) <= MAX_DEGREES:
        raise MotionError(f'{key} must be a list of 2 to {MAX_DEGREES} pairs such as ["10%", 0.1].')
    pairs = []
    for pair in value:
        if not isinstance(pair, list) or len(pair) != 2:
            raise MotionError(f'{key} must be a list of pairs such as ["10%", 0.1].')
        pairs.append((_text(f"the words of {key}", pair[0]), _number(-10, 10)(key, pair[1])))
    if any(later <= earlier for (_, earlier), (_, later) in pairwise(pairs)):
        raise MotionError(f"the numbers of {key} must increase from each pair to the next.")
    return tuple(pairs)


def _number(low: float, high: float) -> Callable[[str, object], float]:
    def check(key: str, value: object) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
            raise MotionError(f"{key} must be a number from {low:g} to {high:g}.")
        return float(value)

    return check


def _whole(low: int, high: int) -> Callable[[str, object], int]:
    def check(key: str, value: object) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            raise MotionError(f"{key} must be a whole number from {low} to {high}.")
        return value

    return check


_CHECKS: dict[str, Callable[[str, object], Any]] = {
    "template": _template,
    "degrees": _degrees,
    "clip": _text,
    "seed": _whole(0, MAX_SEED),
    "truncation": _number(0, 1),
    "steps": _whole(1, 10_000),
    "learning_rate": _number(1e-6, 10),
    "ramp_up": _number(0, 1),
    "ramp_down": _number(0, 1),
    "l2": _number(0, 1000),
    "identity": _number(0, 1000),
    "published": _published,
    "scale": _number(0.001, 1000),
}
"""The check of each key in the file; the keys are the fields of `Recipe` except `name`."""

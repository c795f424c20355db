"""What the credentials of a file say: how it was made, by which model, with which motions.

Never the photo, its name, its path, or who made it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from micromotion import __version__
from micromotion.types import Strengths

PROGRAM = "micromotion"
VERSION = __version__

TERMS = "http://cv.iptc.org/newscodes/digitalsourcetype/"
"""IPTC's vocabulary of digital source types."""
EDITED = TERMS + "compositeWithTrainedAlgorithmicMedia"
CREATED = TERMS + "trainedAlgorithmicMedia"

_LONGEST = 40  # characters of a name, so that 16 motions stay below 10 kB


class Played(NamedTuple):
    """A motion, and its lowest and highest strength in the file."""

    name: str
    lowest: float
    highest: float

    @classmethod
    def of(cls, name: object, lowest: float, highest: float) -> Played:
        """The same with a plain name and three decimals."""
        return cls(plain(name), *(round(float(each), 3) + 0.0 for each in (lowest, highest)))  # −0 + 0 is 0

    def __str__(self) -> str:
        """ "smile 0 to 1", "smile 1"."""
        span = f"{self.lowest:g}" if self.lowest == self.highest else f"{self.lowest:g} to {self.highest:g}"
        return f"{self.name} {span}"


@dataclass(frozen=True)
class Claim:
    """What the credentials of a file say.

    model: the model's name. shows_photo: whether a photo's own pixels are shown, or only the model's.
    """

    model: str
    motions: tuple[Played, ...]
    shows_photo: bool

    @classmethod
    def of(cls, model: str, names: Sequence[str], strengths: Strengths, *, shows_photo: bool) -> Claim:
        """The claim of a file that shows these motions at these strengths, [frames, motions]."""
        played = map(Played.of, names, strengths.min(0), strengths.max(0))
        return cls(plain(model), tuple(played), shows_photo)

    @property
    def source_type(self) -> str:
        """The IPTC digital source type, a URI."""
        return EDITED if self.shows_photo else CREATED

    @property
    def sentence(self) -> str:
        """The same for people, in one sentence."""
        what = "The face in a photo was moved" if self.shows_photo else "A face was drawn and moved"
        motions = f": {', '.join(map(str, self.motions))}" if self.motions else ""
        return f"{what} by a machine-learning model{motions}."


def plain(name: object, most: int = _LONGEST) -> str:
    """The name, shortened, without control characters, which neither XML nor a terminal can have."""
    return "".join(each if each.isprintable() else "?" for each in str(name)[:most])

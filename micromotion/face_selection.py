"""Which of a photo's faces move, and what each of them plays: the option `faces`, parsed."""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from micromotion.errors import OptionError
from micromotion.option_checks import check_strength, check_whole

MAX_FACE = 99
MAX_FACES = 16
MAX_FACES_TEXT = 1000  # characters

OwnMotions = str | Path | Sequence[str | Path] | Mapping[str, float] | Mapping[str | Path, float] | None
"""What one of several faces plays by itself, as `Motions` without a timeline; None: what the others play."""
FacesGiven = str | Sequence[int] | Mapping[int, OwnMotions]
"""Several faces: a text (see `parse_faces`), numbers, or a mapping from numbers to motions of their own."""
_ListedFace = tuple[int, tuple[str | Path, float] | None]
"""An entry in a list of faces: the number, and a motion of its own with its strength."""


@dataclass(frozen=True)
class FaceSelection:
    """The faces of a photo that move, and the motions of their own.

    own: by the face's number, as `align` counts them; a face without motions (name, strength) plays what is
    played in all. None: all clear faces, at most 16, without motions of their own.
    """

    own: tuple[tuple[int, tuple[tuple[str | Path, float], ...]], ...] | None

    @property
    def numbers(self) -> tuple[int, ...] | None:
        """The numbers of the faces, in order; None: all."""
        return None if self.own is None else tuple(number for number, _ in self.own)

    @property
    def all_have_own(self) -> bool:
        """Whether every face has motions of its own."""
        return self.own is not None and all(motions for _, motions in self.own)

    @property
    def names(self) -> list[str | Path]:
        """The names of all motions of their own."""
        return list(dict.fromkeys(name for _, motions in self.own or () for name, _ in motions))

    def with_files(self, files: Mapping[str, Path]) -> FaceSelection:
        """The same selection with the motions of these names replaced by files."""
        if self.own is None:
            return self
        return FaceSelection(
            tuple(
                (number, tuple((files.get(str(name), name), strength) for name, strength in motions))
                for number, motions in self.own
            )
        )

    def motions_of(self, number: int) -> dict[str | Path, float]:
        """The strengths of a face's own motions by name; empty if it has none."""
        return dict(dict(self.own or ()).get(number, ()))


def parse_faces(faces: FaceSelection | FacesGiven) -> FaceSelection:
    """The faces that move, from a text, numbers, a mapping or an already parsed selection.

    The text is `all`, or a list such as `0,2` or `0=smile,1=angry=0.5,1=eyesClose`: numbers, each alone or
    with a motion of its own and that motion's strength; a face with several motions is listed once for each.
    The order does not matter. Raises OptionError, also for more than 16 faces.
    """
    if isinstance(faces, FaceSelection):
        return faces
    if isinstance(faces, str) and faces.strip() == "all":
        return FaceSelection(None)
    own: dict[int, dict[str | Path, float]] = {}
    for number, played in _listed_faces(faces):
        check_whole("a number in faces", number, 0, MAX_FACE)
        number = operator.index(number)
        if number in own and (played is None or not own[number] or played[0] in own[number]):
            raise OptionError(
                f"Face {number} is listed twice in faces: list it once, or once for each motion of its own."
            )
        own.setdefault(number, {})
        if played is not None:
            check_strength(played[1])
            own[number][played[0]] = played[1]
    check_whole("the number of faces", len(own), 1, MAX_FACES)
    return FaceSelection(
        tuple((number, tuple(sorted(own[number].items(), key=str))) for number in sorted(own))
    )


def _listed_faces(faces: FacesGiven) -> list[_ListedFace]:
    """The entries of a list of faces; raises OptionError."""
    if isinstance(faces, str):
        check_whole("the number of characters of faces", len(faces), 0, MAX_FACES_TEXT)
        return [_face_of_text(part.strip()) for part in faces.split(",")]
    if isinstance(faces, Mapping):
        return [each for number, motions in faces.items() for each in _faces_of_motions(number, motions)]
    if not isinstance(faces, Sequence):
        raise _not_faces(faces)
    numbers: Sequence[Any] = faces  # checked by `parse_faces`
    return [(number, None) for number in numbers]


def _face_of_text(part: str) -> _ListedFace:
    """NUMBER, NUMBER=MOTION or NUMBER=MOTION=STRENGTH."""
    number, equals, motion = (each.strip() for each in part.partition("="))
    if not number.isdecimal() or (equals and not motion):
        raise _not_faces(part)
    if not equals:
        return int(number), None
    name, equals, strength = motion.rpartition("=")
    if not equals or motion.endswith(".safetensors"):  # a file's name may have an equals sign
        return int(number), (motion, 1.0)
    try:
        played = name.strip(), float(strength)
    except ValueError:
        raise _not_faces(part) from None
    if not played[0]:
        raise _not_faces(part)
    return int(number), played


def _faces_of_motions(number: int, motions: OwnMotions) -> list[_ListedFace]:
    """An entry for each of a face's own motions, or one without."""
    if motions is None:
        return [(number, None)]
    if isinstance(motions, (str, Path)):
        motions = [motions]
    if isinstance(motions, Mapping):
        played = list(motions.items())
    elif isinstance(motions, Sequence):
        played = [(name, 1.0) for name in motions]
    else:
        played = []
    if not played:
        raise OptionError(
            f"The motions of face {number} must be a name, several, or a mapping from names to strengths, "
            f"not {motions!r:.80}; a timeline plays on all faces."
        )
    return [(number, (name, strength)) for name, strength in played]


def _not_faces(given: object) -> OptionError:
    return OptionError(
        f"faces must be 'all', or a list such as 0,2 or 0=smile,1=angry=0.5, not {given!r:.80}."
    )

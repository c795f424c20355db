"""What became of a row."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any, Literal

from micromotion.batch.rows import Row
from micromotion.errors import (
    ImageError,
    MicromotionError,
    MotionError,
    OptionError,
)
from micromotion.runtime.main_memory import is_out_of_memory, too_little_memory

Status = Literal["done", "refused", "failed"]
"""refused: the picture or the request is at fault, and would be again. failed: it may go well next time."""

RANK: dict[Status, int] = {"failed": 0, "refused": 1, "done": 2}
"""If an id has several results, the one with the highest rank counts."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """A row of the results.

    Attributes:
        id, image, name, version, digest: see `Row`.
        status: see `Status`.
        sentence: the reason, if it was not done; else what there is to say, such as that it was scaled.
        seconds: that it took; None if its video was there already.
        face: left, top, right and bottom of the face's box in the photo; None if unknown.
        video: where it is, relative to the destination; None if there is none.
        finished: seconds since 1970, UTC.
    """

    id: str
    image: str
    name: str
    version: str
    digest: str
    status: Status
    sentence: str = ""
    seconds: float | None = None
    face: tuple[float, float, float, float] | None = None
    video: str | None = None
    finished: float = field(default_factory=time.time)

    @classmethod
    def done(
        cls,
        row: Row,
        *,
        seconds: float | None = None,
        face: tuple[float, float, float, float] | None = None,
        sentence: str = "",
    ) -> Outcome:
        """A row whose video is there."""
        return cls(
            **_about(row),
            status="done",
            sentence=sentence,
            seconds=seconds,
            face=face,
            video=row.video,
        )

    @classmethod
    def of_error(cls, row: Row, error: Exception, seconds: float | None = None) -> Outcome:
        """A row that could not be done."""
        final = isinstance(error, ImageError | OptionError | MotionError) and not is_out_of_memory(error)
        status: Status = "refused" if final else "failed"
        return cls(**_about(row), status=status, sentence=sentence_of(error), seconds=seconds)

    @classmethod
    def failed(cls, row: Row, sentence: str) -> Outcome:
        """A row that may go well the next time."""
        return cls(**_about(row), status="failed", sentence=sentence)


def _about(row: Row) -> dict[str, Any]:
    """The fields of a row that its results repeat."""
    return {each: getattr(row, each) for each in ("id", "image", "name", "version", "digest")}


def sentence_of(error: Exception) -> str:
    """The error as one line."""
    text = " ".join(str(error).split())
    if is_out_of_memory(error):
        return too_little_memory("this photo")
    return text if isinstance(error, MicromotionError) else f"unexpected {type(error).__name__}: {text:.300}"

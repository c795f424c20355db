"""The sound that is put beside a video's pictures, as the encoder takes it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from fractions import Fraction
from typing import Any, Protocol


class SoundTrack(Protocol):
    """An opened sound, for one video."""

    def join(self, container: Any) -> None:
        """Add the sound's stream to an output container, before its first picture."""

    def until(self, seconds: Fraction) -> Iterator[Any]:
        """The next packets of that stream, those that begin before this time of the video."""


class Sound(Protocol):
    """A sound that can be opened for a video."""

    def opened(self) -> AbstractContextManager[SoundTrack]:
        """Open it; closed at the end of the block."""

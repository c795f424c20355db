"""A video as Python expects a sequence of frames: a length, a duration, an array, and a notebook's player."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Container, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from micromotion.errors import OptionError
from micromotion.types import Frame
from micromotion.video.notebook import mime_bundle, show

if TYPE_CHECKING:
    from micromotion.credentials.claim import Claim
    from micromotion.video.sound import Sound

MAX_ARRAY_BYTES = 2 * 2**30
"""Largest array of a whole video, in bytes: 300 frames of 1920×1240 pixels."""


class FrameSequence(ABC):
    """Frames of one size at a frame rate, rendered whenever they are iterated over."""

    fps: float
    """Frames per second."""
    sound: Sound | None
    """What is heard in an MP4."""

    @abstractmethod
    def __len__(self) -> int:
        """The number of frames."""

    @abstractmethod
    def __iter__(self) -> Iterator[Frame]:
        """The frames, uint8 [H, W, 3], one at a time."""

    @property
    @abstractmethod
    def size(self) -> tuple[int, int]:
        """Width and height of a frame in pixels."""

    @property
    @abstractmethod
    def title(self) -> str:
        """What is played, in a few words."""

    @property
    @abstractmethod
    def claim(self) -> Claim:
        """What the content credentials of its files say."""

    @property
    def duration(self) -> float:
        """Its length in seconds."""
        return len(self) / float(self.fps)

    def __repr__(self) -> str:
        count = "1 frame" if len(self) == 1 else f"{len(self)} frames"
        width, height = self.size
        return (
            f"<{type(self).__name__}: {self.title}, {count}, {self.duration:.4g} s at {float(self.fps):.4g} "
            f"fps, {width}×{height} pixels>"
        )

    def numpy(self) -> NDArray[np.uint8]:
        """All frames in one array, uint8 [frames, H, W, 3], 0 … 255; renders them.

        Raises OptionError, before rendering, if it would have more than MAX_ARRAY_BYTES.
        """
        width, height = self.size
        shape = (len(self), height, width, 3)
        if np.prod(shape, dtype=np.int64) > MAX_ARRAY_BYTES:
            raise OptionError(
                f"An array of {len(self)} frames of {width}×{height} pixels is larger than "
                f"{MAX_ARRAY_BYTES // 2**30} GB: take a part, as in video[:{self._most_frames()}].numpy(), "
                "or iterate over the video."
            )
        frames = np.empty(shape, np.uint8)
        for place, frame in zip(frames, self, strict=True):
            place[:] = frame
        return frames

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> NDArray[Any]:
        """`numpy()` for `np.asarray(video)`; raises ValueError for copy=False, as it always is new."""
        if copy is False:
            raise ValueError("A video's frames are rendered into a new array: copy=False is not possible.")
        return self.numpy().astype(dtype or np.uint8, copy=False)

    def show(self) -> None:
        """Play the video in a notebook; raises OptionError elsewhere."""
        show(self)

    def _repr_mimebundle_(
        self, include: Container[str] | None = None, exclude: Container[str] | None = None
    ) -> dict[str, str]:
        """What a notebook shows for it, by MIME type (see `micromotion.video.notebook.mime_bundle`)."""
        return mime_bundle(self, include, exclude)

    def _most_frames(self) -> int:
        width, height = self.size
        return max(1, MAX_ARRAY_BYTES // (3 * width * height))

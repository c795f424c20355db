"""A clip: micromotions on one face, whose frames render when they are asked for."""

from __future__ import annotations

import time
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from micromotion.motion.micromotion import Motion
from micromotion.options import MAX_FRAMES, check_whole
from micromotion.runtime.device_memory import DeviceMemory, deterministic, translate_oom
from micromotion.runtime.frame_transfer import Rendered, fetch_frames
from micromotion.types import Frame, Pose, Row, Strengths
from micromotion.video.contact_sheet import contact_sheet, evenly_spaced, sheet_size
from micromotion.video.format_limits import check_side
from micromotion.video.picture import check_picture, write_picture
from micromotion.video.pixels import all_finite, quantise
from micromotion.video.writer import fit_size, write_frames

if TYPE_CHECKING:
    from micromotion.face.crop import AlignedFace
    from micromotion.inversion.pivotal_tuning import Likeness
    from stylegan2 import Generator
    from stylegan2.synthesis import Noise


class Finish(Protocol):
    """What becomes of each rendered frame: it is put beside others, or back into its photo."""

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of what is made of a frame, in pixels."""

    def poses(self, strengths: Strengths) -> Strengths:
        """The strengths [n, motions] at which it wants to see the face before a film of these plays."""

    def begin(self, still: Frame, poses: Sequence[Pose]) -> Callable[[Frame, Row], Frame]:
        """What is to be done with each frame and its strengths, given first what the model makes of the
        photo, at rest, and the poses that it wanted.
        """


class Clip:
    """Micromotions on one face, as a sequence of uint8 RGB frames [H, W, 3] that render when asked for.

    Nothing is kept: iterating again renders again, and memory does not grow with the number of frames. On a
    GPU the next frame renders while the caller is busy with this one; on a CPU nothing renders ahead.

    `timings` holds the seconds per stage: motion, align, invert, refine if asked for; render and encode are
    the latest pass's. render is how long the caller waited for frames: on a GPU, what rendered while the
    caller was encoding is not counted, so that the stages add up to the whole.

    `likeness` says what locking the identity bought; None where it was not asked for.

    Where a GPU's memory does not suffice, the inverter makes room in main memory and the frame renders once
    more; DeviceMemoryError, while iterating, says that this did not help.
    """

    def __init__(
        self,
        generator: Generator,
        code: Tensor,
        motions: Sequence[Motion],
        strengths: Strengths,
        *,
        fps: int,
        seed: int | None = None,
        timings: dict[str, float] | None = None,
        memory: DeviceMemory | None = None,
        finish: Finish | None = None,
        face: AlignedFace | None = None,
        likeness: Likeness | None = None,
    ) -> None:
        """code is the still face [1, num_styles, style_dim], on the device that renders; strengths is float64
        [frames, motions]; memory is that device's; finish is done to each frame that was rendered; face is
        where the face lies in its photo, None for a code; the rest as in `Animator.animate`.
        """
        self.fps = fps
        self.timings = timings if timings is not None else {}
        self.likeness = likeness
        self.face = face
        self._generator = generator
        self._code = code
        self._motions = motions
        self._strengths = strengths
        self._seed = seed
        self._memory = memory or DeviceMemory(code.device, generator)
        self._finish = finish

    def __len__(self) -> int:
        return len(self._strengths)

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of a frame in pixels."""
        if self._finish is not None:
            return self._finish.size
        return self._generator.resolution, self._generator.resolution

    def latents(self) -> Iterator[Tensor]:
        """The frames' W+ codes [1, num_styles, style_dim]."""
        return self._codes(self._strengths)

    def _codes(self, strengths: Strengths) -> Iterator[Tensor]:
        styles, dim = self._code.shape[1:]
        moved = offsets(self._motions, strengths, (styles, dim)).to(self._code.device)
        return (self._code + offset for offset in moved)

    def __iter__(self) -> Iterator[Frame]:
        self.timings["render"] = 0.0
        frames = self._frames_of(self._strengths)
        while True:
            with timed(self.timings, "render"):
                frame = next(frames, None)
            if frame is None:
                return
            yield frame

    def save(
        self,
        path: str | Path,
        *,
        sheet: str | Path | None = None,
        count: int = 8,
        on_frame: Callable[[int], None] | None = None,
        full_size: bool = False,
        on_scaled: Callable[[str], None] | None = None,
    ) -> None:
        """Write the clip as MP4, GIF, WebP or a folder of PNGs, by its suffix; files appear when complete.

        sheet: also write a contact sheet of count of the very same frames there, each rendered once.
        on_frame is called with the number of frames written so far. An MP4 of more pixels than phones play is
        scaled down to what they do, and on_scaled told so (without it, by a ScaledWarning), unless full_size;
        a size that the format does not take is refused before anything renders (see `video.fit_size`).
        Raises OptionError, OutputError.
        """
        fit_size(path, self.size, self.fps, full_size=full_size, on_scaled=on_scaled)
        wanted = self._spread(count) if sheet is not None else []
        if sheet is not None:
            check_side(check_picture(sheet), sheet_size(self.size, len(wanted)))
        kept: list[Frame] = []
        self.timings["encode"] = 0.0
        with timed(self.timings, "encode"):
            write_frames(
                _keeping(self, wanted, kept),
                path,
                self.fps,
                total=len(self),
                on_frame=on_frame,
                full_size=full_size,
                on_scaled=lambda _: None,  # it is told already
            )
        self.timings["encode"] -= self.timings["render"]
        if sheet is not None:
            write_picture(self._lay_out(kept, wanted), sheet)

    def sheet(self, count: int = 8) -> Image.Image:
        """A contact sheet of count frames, evenly spread, with their strengths; only these render.

        Raises OptionError unless count is in 1…600; a clip of fewer frames shows them all.
        """
        wanted = self._spread(count)
        return self._lay_out(list(self._frames_of(self._strengths[wanted])), wanted)

    def _spread(self, count: int) -> list[int]:
        check_whole("count", count, 1, MAX_FRAMES)
        return evenly_spaced(len(self), count)

    def _lay_out(self, frames: list[Frame], indices: list[int]) -> Image.Image:
        return contact_sheet(frames, labels=[self._label(index) for index in indices])

    def _label(self, index: int) -> str:
        """How strong the motions are in a frame; a name is needed only where there are several."""
        percent = [round(100 * strength) for strength in self._strengths[index]]
        if len(percent) == 1:
            return f"{percent[0]}%"
        playing = zip(self._motions, percent, strict=True)
        return ", ".join(f"{motion.name} {each}%" for motion, each in playing if each) or "0%"

    def _frames_of(self, strengths: Strengths) -> Iterator[Frame]:
        """The finished frames at these strengths."""
        if self._finish is None:
            return self._rendered(self._codes(strengths))
        return self._finished(strengths, self._finish)

    def _finished(self, strengths: Strengths, finish: Finish) -> Iterator[Frame]:
        poses = finish.poses(self._strengths)
        codes = self._codes(np.concatenate([poses, strengths]))
        frames = self._rendered(chain([self._code], codes))
        draw = finish.begin(next(frames), list(zip(poses, islice(frames, len(poses)), strict=True)))
        yield from map(draw, frames, strengths)

    def _rendered(self, latents: Iterable[Tensor]) -> Iterator[Frame]:
        """The frames of these codes; the one place where rendering waits for a device."""
        device, side = self._code.device, self._generator.resolution
        with translate_oom(f"rendering {side}×{side} pixels", device):
            noise = self._memory.retry(self._draw_noise)
            pictures = (self._memory.retry(partial(self._render, each, noise)) for each in latents)
            yield from fetch_frames(pictures, ahead=1 if device.type == "cuda" else 0)

    def _draw_noise(self) -> Noise:
        """The noise of all frames."""
        if self._seed is None:
            return "fixed"
        return self._generator.draw_noise(torch.Generator().manual_seed(self._seed))

    def _render(self, latent: Tensor, noise: Noise) -> Rendered:
        """One frame, and whether it is finite, on the device; a GPU has only been told to render it."""
        with torch.inference_mode(), deterministic():
            picture = self._generator.synthesize(latent, noise=noise)[0]
            return quantise(picture), all_finite(picture)


def offsets(motions: Sequence[Motion], strengths: Strengths, shape: tuple[int, int]) -> Tensor:
    """What to add to a face's code in each frame, float32 [frames, styles, dim], in main memory.

    strengths is float64 [frames, motions]; shape is (styles, dim). Motions along straight lines are one
    product, [frames, lines] times [lines, styles · dim]; those along curves are read off one by one.
    """
    directions = torch.zeros(len(motions), *shape)
    for direction, motion in zip(directions, motions, strict=True):
        if motion.curve is None:
            direction.copy_(motion.direction)
    moved = (torch.from_numpy(strengths).float() @ directions.flatten(1)).unflatten(1, shape)
    for motion, column in zip(motions, strengths.T, strict=True):
        if motion.curve is not None:
            for frame, strength in zip(moved, column, strict=True):
                frame += motion.offset(float(strength)).cpu()
    return moved


def _keeping(frames: Iterable[Frame], wanted: Container[int], kept: list[Frame]) -> Iterator[Frame]:
    """Pass frames on as they come, and keep the few whose index is wanted."""
    for index, frame in enumerate(frames):
        if index in wanted:
            kept.append(frame)
        yield frame


@contextmanager
def timed(timings: dict[str, float], stage: str) -> Iterator[None]:
    """Add the seconds that the block takes to timings[stage]."""
    start = time.perf_counter()
    try:
        yield
    finally:
        timings[stage] = timings.get(stage, 0.0) + time.perf_counter() - start

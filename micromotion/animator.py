"""From a photo to a clip: align, invert into W+, add a micromotion, synthesize frame by frame."""

from __future__ import annotations

import time
from collections.abc import Callable, Container, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np
import torch
from PIL import Image

from micromotion.align import align, as_aligned
from micromotion.bundle import IDENTITY, Bundle, load_bundle
from micromotion.encoders import Frame
from micromotion.errors import OptionError
from micromotion.frames import fetch, repeatable, take_turns, told_when_full, with_room
from micromotion.images import load_image
from micromotion.learn.store import find_motion, load_fitting, playable_motions
from micromotion.motion import Motion
from micromotion.options import MAX_FRAMES, check_play, check_whole
from micromotion.picture import check_picture, write_picture
from micromotion.pixels import quantise
from micromotion.refine import Report
from micromotion.refine import refine as refine_code
from micromotion.sheet import contact_sheet, evenly_spaced
from micromotion.video import write_frames

if TYPE_CHECKING:
    from encoder4editing.identity import IdentityNet
    from stylegan2 import Generator
    from stylegan2.synthesis import Noise

Photo = str | Path | bytes | BinaryIO | Image.Image
INVERTER_SIZE = 256  # e4e's input, in pixels


class Animator:
    """Plays a bundle's micromotions on faces; keeps no state between calls but the loaded nets."""

    def __init__(self, bundle: Bundle) -> None:
        self.bundle = bundle

    @classmethod
    def load(cls, name: str | Path = "avatar", device: str | torch.device = "auto") -> Animator:
        """Load a bundle by name or folder onto a device; raises as `load_bundle` does."""
        return cls(load_bundle(name, device))

    @property
    def motions(self) -> list[str]:
        """The names of the micromotions that it can play, sorted: the model's own, and those learned."""
        return list(playable_motions(self.bundle))

    @property
    def identity(self) -> IdentityNet | None:
        """The bundle's identity net; None where it has none, as it can be played without."""
        files = self.bundle.files
        return self.bundle.identity if files and files[0].with_name(IDENTITY).is_file() else None

    def encode(
        self,
        photo: Photo,
        *,
        face: int = 0,
        aligned: bool = False,
        refine: int = 0,
        on_refine: Report | None = None,
    ) -> torch.Tensor:
        """Invert the face of a photo: its W+ code [1, num_styles, style_dim], float32, on the model's device.

        photo is a path, the bytes of an image file, an open file or a PIL image. face counts the faces found,
        the best-scoring first; aligned=True takes the picture as an FFHQ-like crop already. refine improves
        the code by so many steps, 0…200 (see `micromotion.refine`); on_refine is told the steps done and the
        loss. Give the code to `animate` in place of the photo to play many motions for one inversion.
        Raises OptionError, ImageError, NoFaceError; DeviceMemoryError where a GPU is too small (see `Clip`).
        """
        check_play(face=face, refine=refine)
        return self._encode(photo, face, aligned, refine, on_refine, {})

    def animate(
        self,
        photo: Photo | torch.Tensor,
        motion: str | Path = "smile",
        *,
        strength: float = 1.0,
        frames: int = 90,
        fps: int = 30,
        face: int = 0,
        aligned: bool = False,
        seed: int | None = None,
        refine: int = 0,
        on_refine: Report | None = None,
    ) -> Clip:
        """Play a micromotion on the face of a photo, or on a code from `encode`; frames render when iterated.

        motion is one of `motions`, or the file of one, as a Path or a name that ends in .safetensors.
        strength 1 is the motion's calibrated full degree, reached in the last frame along a straight line
        from the still face, or along the curve that was learned; negative plays the opposite. seed=None takes
        the generator's fixed noise, a whole number draws other noise, the same for all frames so that texture
        does not boil. refine and on_refine are as in `encode`; a code is not refined any more.
        Options are checked before the photo is opened. Raises OptionError, MotionError, ImageError,
        NoFaceError, DeviceMemoryError.
        """
        check_play(strength=strength, frames=frames, fps=fps, face=face, seed=seed, refine=refine)
        path = find_motion(motion, self.bundle)
        if refine and isinstance(photo, torch.Tensor):
            raise OptionError("Only a photo can be refined, not its code: give refine to encode().")
        timings: dict[str, float] = {}
        with _timed(timings, "motion"):
            learned = load_fitting(path, self.bundle)
        if isinstance(photo, torch.Tensor):
            code = self._check_code(photo)
        else:
            code = self._encode(photo, face, aligned, refine, on_refine, timings)
        return Clip(
            self.bundle.generator,
            code,
            learned,
            strength=strength,
            frames=frames,
            fps=fps,
            seed=seed,
            timings=timings,
            make_room=partial(take_turns, self.bundle.inverter, self.bundle.generator, self.bundle.device),
        )

    def _encode(
        self,
        photo: Photo,
        face: int,
        aligned: bool,
        steps: int,
        on_refine: Report | None,
        timings: dict[str, float],
    ) -> torch.Tensor:
        with _timed(timings, "align"):
            image = load_image(photo)
            crop = as_aligned(image, INVERTER_SIZE) if aligned else align(image, INVERTER_SIZE, face=face)
        with _timed(timings, "invert"), told_when_full("finding the face's code", self.bundle.device):
            pixels = _from_uint8(np.asarray(crop.image))
            make_room = partial(take_turns, self.bundle.generator, self.bundle.inverter, self.bundle.device)
            code = with_room(partial(self._invert, pixels), make_room)
        if steps == 0:
            return code
        with _timed(timings, "refine"), told_when_full("refining the face's code", self.bundle.device):
            make_room = partial(take_turns, self.bundle.inverter, self.bundle.generator, self.bundle.device)
            return with_room(partial(self._refine, code, pixels, steps, on_refine), make_room)

    def _invert(self, image: torch.Tensor) -> torch.Tensor:
        device = self.bundle.device
        inverter = self.bundle.inverter
        if inverter.latent_avg.device != device:  # it has given way to the generator
            inverter.to(device)
        with torch.inference_mode(), repeatable():
            code = inverter.invert(image.to(device)).float()
        if code.is_cuda:
            torch.cuda.synchronize(device)  # so that the seconds count here, not for the first frame
        return code

    def _refine(
        self, code: torch.Tensor, image: torch.Tensor, steps: int, report: Report | None
    ) -> torch.Tensor:
        generator = self.bundle.generator.to(self.bundle.device)  # it may have given way to the inverter
        return refine_code(generator, code, image, steps, identity=self.identity, on_step=report)

    def _check_code(self, code: torch.Tensor) -> torch.Tensor:
        if tuple(code.shape) != (1, *self._code_shape):
            raise OptionError(
                f"A face's code has the shape {[1, *self._code_shape]} in this model, not {list(code.shape)}."
            )
        return code.to(self.bundle.device)

    @property
    def _code_shape(self) -> tuple[int, int]:
        return self.bundle.generator.num_styles, self.bundle.generator.style_dim


class Clip:
    """A micromotion on one face, as a sequence of uint8 RGB frames [H, W, 3] that render when asked for.

    Nothing is kept: iterating again renders again, and memory does not grow with the number of frames. On a
    GPU the next frame renders while the caller is busy with this one; on a CPU nothing renders ahead.

    `timings` holds the seconds per stage: motion, align, invert, refine if asked for; render and encode are
    the latest pass's. render is how long the caller waited for frames: on a GPU, what rendered while the
    caller was encoding is not counted, so that the stages add up to the whole.

    Where a GPU's memory does not suffice, the inverter makes room in main memory and the frame renders once
    more; DeviceMemoryError, while iterating, says that this did not help.
    """

    def __init__(
        self,
        generator: Generator,
        code: torch.Tensor,
        motion: Motion,
        *,
        strength: float,
        frames: int,
        fps: int,
        seed: int | None = None,
        timings: dict[str, float] | None = None,
        make_room: Callable[[], None] = torch.cuda.empty_cache,
    ) -> None:
        """code is the still face [1, num_styles, style_dim], on the device that renders; make_room is called
        when that device is full; the rest as in `Animator.animate`.
        """
        self.fps = fps
        self.timings = timings if timings is not None else {}
        self._generator = generator
        self._code = code
        self._motion = motion
        self._strength = strength
        self._frames = frames
        self._seed = seed
        self._make_room = make_room

    def __len__(self) -> int:
        return self._frames

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of a frame in pixels."""
        return self._generator.resolution, self._generator.resolution

    def latents(self) -> Iterator[torch.Tensor]:
        """The frames' W+ codes [1, num_styles, style_dim], from the still face to the full motion."""
        motion = replace(self._motion, direction=self._motion.direction.to(self._code.device))
        for offset in motion.path(self._strength, self._frames):
            yield self._code + offset

    def __iter__(self) -> Iterator[Frame]:
        self.timings["render"] = 0.0
        frames = self._frames_of(self.latents())
        while True:
            with _timed(self.timings, "render"):
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
    ) -> None:
        """Write the clip as MP4, GIF, WebP or a folder of PNGs, by its suffix; files appear when complete.

        sheet: also write a contact sheet of count of the very same frames there, each rendered once.
        on_frame is called with the number of frames written so far. Raises OptionError, OutputError.
        """
        wanted = self._spread(count) if sheet is not None else []
        if sheet is not None:
            check_picture(sheet)
        kept: list[Frame] = []
        self.timings["encode"] = 0.0
        with _timed(self.timings, "encode"):
            write_frames(_keeping(self, wanted, kept), path, self.fps, total=len(self), on_frame=on_frame)
        self.timings["encode"] -= self.timings["render"]
        if sheet is not None:
            write_picture(self._lay_out(kept, wanted), sheet)

    def sheet(self, count: int = 8) -> Image.Image:
        """A contact sheet of count frames, evenly spread, with their strengths; only these render.

        Raises OptionError unless count is in 1…600; a clip of fewer frames shows them all.
        """
        wanted = self._spread(count)
        latents = (latent for index, latent in enumerate(self.latents()) if index in wanted)
        return self._lay_out(list(self._frames_of(latents)), wanted)

    def _spread(self, count: int) -> list[int]:
        check_whole("count", count, 1, MAX_FRAMES)
        return evenly_spaced(len(self), count)

    def _lay_out(self, frames: list[Frame], indices: list[int]) -> Image.Image:
        last = len(self) - 1
        strengths = [self._strength * (index / last if last else 1.0) for index in indices]
        return contact_sheet(frames, labels=[f"{round(100 * strength)}%" for strength in strengths])

    def _frames_of(self, latents: Iterable[torch.Tensor]) -> Iterator[Frame]:
        """The frames of these codes; the one place where rendering waits for a device."""
        device = self._code.device
        with told_when_full(f"rendering {self.size[0]}×{self.size[1]} pixels", device):
            noise = with_room(self._prepare, self._make_room)
            pictures = (with_room(partial(self._render, each, noise), self._make_room) for each in latents)
            yield from fetch(pictures, ahead=1 if device.type == "cuda" else 0)

    def _prepare(self) -> Noise:
        """The generator onto its device, which it may have left for the inverter; the noise of all frames."""
        self._generator.to(self._code.device)
        if self._seed is None:
            return "fixed"
        return self._generator.draw_noise(torch.Generator().manual_seed(self._seed))

    def _render(self, latent: torch.Tensor, noise: Noise) -> torch.Tensor:
        """One frame, uint8 [H, W, 3] on the device; a GPU has only been told to render it."""
        with torch.inference_mode(), repeatable():
            return quantise(self._generator.synthesize(latent, noise=noise)[0])


def _keeping(frames: Iterable[Frame], wanted: Container[int], kept: list[Frame]) -> Iterator[Frame]:
    """Pass frames on as they come, and keep the few whose index is wanted."""
    for index, frame in enumerate(frames):
        if index in wanted:
            kept.append(frame)
        yield frame


def _from_uint8(pixels: Frame) -> torch.Tensor:
    """uint8 [H, W, 3] in 0…255 -> float32 [1, 3, H, W] in [-1, 1]."""
    return torch.tensor(pixels).permute(2, 0, 1)[None] / 127.5 - 1


@contextmanager
def _timed(timings: dict[str, float], stage: str) -> Iterator[None]:
    """Add the seconds that the block takes to timings[stage]."""
    start = time.perf_counter()
    try:
        yield
    finally:
        timings[stage] = timings.get(stage, 0.0) + time.perf_counter() - start

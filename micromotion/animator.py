"""From a photo to a clip: align, invert into W+, add a micromotion, synthesize frame by frame."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Unpack

import numpy as np
import torch
from PIL import Image

from micromotion.animation import Clip, Finish, timed
from micromotion.errors import OptionError
from micromotion.face.alignment import align, as_aligned
from micromotion.face.crop import AlignedFace, crop_quad
from micromotion.face.images import ImageSource, load_image
from micromotion.inversion.pivotal_tuning import Likeness, likeness, tuned
from micromotion.inversion.refinement import OnStep
from micromotion.inversion.refinement import refine as refine_code
from micromotion.inversion.shapes import check_code
from micromotion.motion.library import find_motion, load_fitting, playable_motions
from micromotion.motion.micromotion import Motion
from micromotion.motion.schedule import MotionName, Motions, schedule, schedule_strip
from micromotion.options import AnimateKeywords, AnimateOptions, check_film, options_from, seed_that_draws
from micromotion.photo.paste import Paste
from micromotion.photo.response import poses
from micromotion.runtime.device_memory import DeviceMemory, deterministic, translate_oom
from micromotion.runtime.forking import survive_forks
from micromotion.types import Frame, Pose, Strengths
from micromotion.video.comparison import Comparison, strength_strip
from micromotion.weights.bundle import IDENTITY, Bundle, load_bundle

if TYPE_CHECKING:
    from encoder4editing.identity import IdentityNet
    from stylegan2 import Generator

__all__ = ["Animator", "Clip"]

INVERTER_SIZE = 256  # e4e's input, in pixels


@dataclass(frozen=True, eq=False)
class _Face:
    """A face's code [1, num_styles, style_dim], and what it was read from: the photo, RGB, and the place."""

    photo: Image.Image | None
    crop: AlignedFace | None
    code: torch.Tensor

    def at(self, size: int) -> Frame:
        """The crop of the photo, uint8 [size, size, 3]; raises OptionError if there is only the code."""
        if self.photo is None or self.crop is None:
            raise OptionError(
                "Only a photo can be compared or its identity locked, not a code: give animate() the photo."
            )
        if self.crop.landmarks is None:  # it was taken as it is, without a border to be filled
            return np.asarray(as_aligned(self.photo, size).image)
        return np.asarray(crop_quad(self.photo, self.crop.quad, size))

    def whole_photo(self, frames: int) -> _InPhoto:
        """The way back into the photo, for so many frames; raises OptionError if there is only the code."""
        if self.photo is None or self.crop is None:
            raise OptionError("A face can only be put back into its photo, which a code does not have.")
        check_film(self.photo.size, frames)
        return _InPhoto(self.photo, self.crop)


@dataclass(frozen=True, eq=False)
class _InPhoto:
    """Puts frames back into the photo; a `Finish` of a clip."""

    photo: Image.Image
    crop: AlignedFace

    @property
    def size(self) -> tuple[int, int]:
        return self.photo.size

    def poses(self, strengths: Strengths) -> Strengths:
        return poses(strengths)

    def begin(self, still: Frame, poses: Sequence[Pose]) -> Paste:
        paste = Paste(self.photo, self.crop, still)
        paste.learn(poses)
        return paste


class Animator:
    """Plays a bundle's micromotions on faces; keeps no state between calls but the loaded nets."""

    def __init__(self, bundle: Bundle) -> None:
        self.bundle = bundle
        survive_forks()

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
        photo: ImageSource,
        *,
        face: int = 0,
        aligned: bool = False,
        refine: int = 0,
        on_refine: OnStep | None = None,
    ) -> torch.Tensor:
        """Invert the face of a photo: its W+ code [1, num_styles, style_dim], float32, on the model's device.

        photo is a path, the bytes of an image file, an open file or a PIL image. face counts the faces found,
        the best-scoring first; aligned=True takes the picture as an FFHQ-like crop already. refine improves
        the code by so many steps, 0…200 (see `micromotion.inversion.refinement`); on_refine is told the steps
        done and the loss. Give the code to `animate` in place of the photo to play many motions for one
        inversion. Raises OptionError, ImageError, NoFaceError; DeviceMemoryError where a GPU is too small
        (see `Clip`).
        """
        options = AnimateOptions(face=face, aligned=aligned, refine=refine)
        return self._read(photo, options, on_refine, {}).code

    def animate(
        self,
        photo: ImageSource | torch.Tensor,
        motion: Motions = "smile",
        options: AnimateOptions | None = None,
        *,
        on_refine: OnStep | None = None,
        on_lock: OnStep | None = None,
        **keywords: Unpack[AnimateKeywords],
    ) -> Clip:
        """Play micromotions on the face of a photo, or on a code from `encode`; frames render when iterated.

        motion is one of `motions`, or the file of one, as a Path or a name that ends in .safetensors; or
        several of these, in a sequence or mapped to how strong each is; or a `Timeline`, whose length is its
        own and which frames says nothing about. strength 1 is a motion's calibrated full degree, reached in
        the last frame along a straight line from the still face, or along the curve that was learned;
        negative plays the opposite; it multiplies the strengths of several motions and of a timeline.

        All else is an option, see `AnimateOptions`: given together as `options`, or each by its name (these
        win over `options`). loop "pingpong" plays all of it backwards as well, "hold" stays at the end for as
        long again: n frames become 2n − 1. view "photo" puts the face back into the photo, see `Paste`;
        compare=True puts the photo's crop, and the still face that the model makes of it, beside each frame:
        of the two only one, and neither for a code. seed=None takes the generator's fixed noise, a whole
        number draws other noise, the same for all frames so that texture does not boil. A model may have no
        noise, and "avatar" has none: there a seed changes nothing, and a UserWarning says so. refine and
        on_refine are as in `encode`; a code is not refined any more. lock_identity tunes a copy of the
        generator around the photo's code, once for each photo, in minutes on a CPU (see
        `micromotion.inversion.pivotal_tuning.tuned`); on_lock is told the steps done and the loss, and the
        clip's `likeness` says what it bought.

        Options are checked before the photo is opened. Raises OptionError, MotionError, ImageError,
        NoFaceError, DeviceMemoryError.
        """
        options = options_from(keywords, options)
        names, strengths = schedule(motion, options)
        timings: dict[str, float] = {}
        learned = self._load(names, timings)
        read = self._read(photo, options, on_refine, timings)
        generator, found = self.bundle.generator, None
        if options.lock_identity:
            generator, found = self._lock(read, learned, on_lock, timings)
        finish: Finish | None = None
        if options.compare:
            finish = Comparison(read.at(self.bundle.generator.resolution))
        elif options.view == "photo":
            finish = read.whole_photo(len(strengths))
        seed = seed_that_draws(options.seed, self.bundle.generator, partial(warnings.warn, stacklevel=3))
        return Clip(
            generator,
            read.code,
            learned,
            strengths,
            fps=options.fps,
            seed=seed,
            timings=timings,
            memory=self._memory(generator),
            finish=finish,
            face=read.crop,
            likeness=found,
        )

    def at_strengths(
        self,
        photo: ImageSource | torch.Tensor,
        motion: Motions = "smile",
        strengths: Sequence[float] = (-1.0, 0.0, 1.0, 2.0),
        options: AnimateOptions | None = None,
        *,
        on_refine: OnStep | None = None,
        **keywords: Unpack[AnimateKeywords],
    ) -> Image.Image:
        """One picture of the face at 1 to 24 strengths of a motion, or of several at once, side by side.

        Of the options, those that say how the photo is read and drawn count: face, aligned, seed, refine.
        Raises and warns as `animate`.
        """
        options = options_from(keywords, options)
        names, rows = schedule_strip(motion, strengths)
        learned = self._load(names, {})
        read = self._read(photo, options, on_refine, {})
        seed = seed_that_draws(options.seed, self.bundle.generator, partial(warnings.warn, stacklevel=3))
        return strength_strip(list(self._drawn(read.code, learned, rows, seed)), strengths)

    def still(self, code: torch.Tensor, motions: Sequence[Motion], strengths: Sequence[float]) -> Frame:
        """One frame of a code from `encode`, uint8 [R, R, 3], with these motions at these strengths."""
        return next(iter(self._drawn(code, motions, np.array([strengths], np.float64))))

    def _drawn(
        self,
        code: torch.Tensor,
        motions: Sequence[Motion],
        strengths: Strengths,
        seed: int | None = None,
    ) -> Clip:
        """What the model draws of a code, as it is."""
        generator = self.bundle.generator
        memory = self._memory(generator)
        return Clip(generator, code, motions, strengths, fps=1, seed=seed, memory=memory)

    def _load(self, names: Sequence[MotionName], timings: dict[str, float]) -> list[Motion]:
        paths = [find_motion(name, self.bundle) for name in names]
        with timed(timings, "motion"):
            return [load_fitting(path, self.bundle) for path in paths]

    def _lock(
        self, read: _Face, motions: Sequence[Motion], on_lock: OnStep | None, timings: dict[str, float]
    ) -> tuple[Generator, Likeness]:
        """The generator tuned around a face, and what that has done to its likeness and to the motions."""
        ours, device, task = self.bundle.generator, self.bundle.device, "tuning the generator"
        image = _from_uint8(read.at(ours.resolution)).to(device)
        named = {motion.name: motion for motion in motions}
        tune = partial(tuned, ours, read.code, image, identity=self.identity, on_step=on_lock)
        with timed(timings, "lock"), translate_oom(task, device):
            generator = self._memory(ours).retry(tune)
            found = likeness(ours, generator, read.code, image, identity=self.identity, motions=named)
        return generator, found

    def _memory(self, generator: Generator) -> DeviceMemory:
        """The device while a generator is at work on it: ours, or one tuned to a face."""
        return DeviceMemory(self.bundle.device, generator, spare=self.bundle.inverter)

    def _read(
        self,
        photo: ImageSource | torch.Tensor,
        options: AnimateOptions,
        on_refine: OnStep | None,
        timings: dict[str, float],
    ) -> _Face:
        """The face of a photo, inverted and refined; a code is taken as it is."""
        if isinstance(photo, torch.Tensor):
            if options.refine:
                raise OptionError("Only a photo can be refined, not its code: give refine to encode().")
            check_code(self.bundle.generator, photo)
            return _Face(None, None, photo.to(self.bundle.device))
        with timed(timings, "align"):
            image = load_image(photo)
            if options.aligned:
                crop = as_aligned(image, INVERTER_SIZE)
            else:
                crop = align(image, INVERTER_SIZE, face=options.face)
        pixels = _from_uint8(np.asarray(crop.image))
        with timed(timings, "invert"):
            code = self._invert(pixels)
        if options.refine:
            with timed(timings, "refine"):
                code = self._refine(code, pixels, options.refine, on_refine)
        return _Face(image, crop, code)

    def _invert(self, image: torch.Tensor) -> torch.Tensor:
        """The code of a crop [1, 3, H, W] in [-1, 1]."""
        device, inverter = self.bundle.device, self.bundle.inverter

        def invert() -> torch.Tensor:
            with torch.inference_mode(), deterministic():
                return inverter.invert(image.to(device)).float()

        memory = DeviceMemory(device, inverter, spare=self.bundle.generator)
        code = memory.run("finding the face's code", invert)
        if code.is_cuda:
            torch.cuda.synchronize(device)  # so that the seconds count here, not for the first frame
        return code

    def _refine(
        self, code: torch.Tensor, image: torch.Tensor, steps: int, report: OnStep | None
    ) -> torch.Tensor:
        generator = self.bundle.generator
        work = partial(refine_code, generator, code, image, steps, identity=self.identity, on_step=report)
        return self._memory(generator).run("refining the face's code", work)


def _from_uint8(pixels: Frame) -> torch.Tensor:
    """uint8 [H, W, 3] in 0…255 -> float32 [1, 3, H, W] in [-1, 1]."""
    return torch.tensor(pixels).permute(2, 0, 1)[None] / 127.5 - 1

"""From a photo to the latent of a face in it: find it, invert it into W+, bring the model closer to it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, TypeGuard

import numpy as np
import torch
from PIL import Image

from micromotion.animation import timed
from micromotion.errors import OptionError
from micromotion.face.alignment import align, align_all, as_aligned
from micromotion.face.arrays import is_picture
from micromotion.face.crop import AlignedFace, crop_quad
from micromotion.face.detection import CLEAR_SCORE
from micromotion.face.images import ImageSource, load_image
from micromotion.face_selection import MAX_FACES, FaceSelection
from micromotion.inversion.pivotal_tuning import Likeness, likeness, tuned
from micromotion.inversion.refinement import OnStep
from micromotion.inversion.refinement import refine as refine_latent
from micromotion.inversion.shapes import check_latent
from micromotion.motion.playable import Motion
from micromotion.options import AnimateOptions, View
from micromotion.photo.views import Scene, face_square, whole_photo
from micromotion.runtime.device_memory import DeviceMemory, deterministic, translate_oom
from micromotion.runtime.forking import survive_forks
from micromotion.types import Frame
from micromotion.weights.bundle import IDENTITY, Bundle

if TYPE_CHECKING:
    from encoder4editing.identity import IdentityNet
    from stylegan2 import Generator

INVERTER_SIZE = 256  # e4e's input, in pixels


@dataclass(frozen=True, eq=False)
class FoundFace:
    """A face in its RGB photo; or, without photo and crop, its latent [1, num_styles, style_dim]."""

    photo: Image.Image | None
    crop: AlignedFace | None
    latent: torch.Tensor | None

    def at(self, size: int) -> Frame:
        """The crop of the photo, uint8 [size, size, 3]; raises OptionError if there is only the latent."""
        if self.photo is None or self.crop is None:
            raise OptionError(
                "Only a photo can be compared or its identity locked, not a latent: give animate() the photo."
            )
        if self.crop.landmarks is None:  # an aligned picture, whose border needs no filling
            return np.asarray(as_aligned(self.photo, size).image)
        return np.asarray(crop_quad(self.photo, self.crop.quad, size))

    def scene(self, view: View, longest: int | None) -> Scene:
        """The scene of a view of the photo; raises OptionError if there is only the latent."""
        if self.photo is None or self.crop is None:
            raise OptionError("A face can only be moved in its photo, which a latent does not have.")
        return (whole_photo if view == "photo" else face_square)(self.photo, self.crop, longest)


@dataclass(frozen=True, eq=False)
class FoundFaces:
    """Several faces of an RGB photo.

    every: all that were found, the clearest first. moving: the numbers of those that move. near: by number,
    these and all other clear ones, which are to be kept apart.
    """

    photo: Image.Image
    every: Sequence[AlignedFace]
    moving: Sequence[int]
    near: Mapping[int, AlignedFace]

    @property
    def movers(self) -> dict[int, AlignedFace]:
        """The faces that move, by number."""
        return {number: self.every[number] for number in self.moving}


class FaceEncoder:
    """Finds faces, and brings them into a bundle's latent space; its only state is the loaded networks."""

    def __init__(self, bundle: Bundle) -> None:
        self.bundle = bundle
        survive_forks()

    @property
    def identity(self) -> IdentityNet | None:
        """The bundle's identity network; None if it has none, as it is optional."""
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
        """Invert the face of a photo into its W+ latent [1, num_styles, style_dim], float32, on the device.

        Pass the latent to `animate` instead of the photo, to invert once and play many motions.

        Args:
            photo: a path, the bytes of an image file, an open file or a PIL image; or an array or a tensor
                [H, W, 3] in sRGB, uint8 or floats from 0 to 1.
            face: which face; 0 has the best detection score.
            aligned: the picture is already an FFHQ-like crop.
            refine: number of refinement steps, 0…200 (see `micromotion.inversion.refinement`).
            on_refine: called with the number of steps done, and the loss.

        Raises OptionError, ImageError, NoFaceError; DeviceMemoryError if the GPU has too little memory (see
        `Video`).
        """
        options = AnimateOptions(face=face, aligned=aligned, refine=refine)
        return self._latent(self._find(photo, options, {}), refine, on_refine, {})

    def _lock(
        self,
        face: FoundFace,
        latent: torch.Tensor,
        motions: Sequence[Motion],
        on_lock: OnStep | None,
        timings: dict[str, float],
    ) -> tuple[Generator, Likeness]:
        """The generator tuned around a face, and the effect on its likeness and the motions."""
        ours, device, task = self.bundle.generator, self.bundle.device, "tuning the generator"
        image = _from_uint8(face.at(ours.resolution)).to(device)
        named = {motion.name: motion for motion in motions}
        tune = partial(tuned, ours, latent, image, identity=self.identity, on_step=on_lock)
        with timed(timings, "lock"), translate_oom(task, device):
            generator = self._memory(ours).retry(tune)
            found = likeness(ours, generator, latent, image, identity=self.identity, motions=named)
        return generator, found

    def _memory(self, generator: Generator) -> DeviceMemory:
        """The device's memory while this generator, the bundle's or a tuned one, runs on it."""
        return DeviceMemory(self.bundle.device, generator, spare=self.bundle.inverter)

    def _find(self, photo: ImageSource, options: AnimateOptions, timings: dict[str, float]) -> FoundFace:
        """The face of a photo, not yet inverted; or a latent, unchanged."""
        if is_latent(photo):
            if options.refine:
                raise OptionError("Only a photo can be refined, not its latent: give refine to encode().")
            check_latent(self.bundle.generator, photo)
            return FoundFace(None, None, photo.to(self.bundle.device))
        with timed(timings, "align"):
            image = load_image(photo)
            if options.aligned:
                crop = as_aligned(image, INVERTER_SIZE)
            else:
                crop = align(image, INVERTER_SIZE, face=options.face)
        return FoundFace(image, crop, None)

    def _find_several(
        self, photo: ImageSource, selection: FaceSelection, timings: dict[str, float]
    ) -> FoundFaces:
        """The selected faces of a photo, and those near them."""
        with timed(timings, "align"):
            image = load_image(photo)
            found = align_all(image, INVERTER_SIZE, last=max(selection.numbers or (0,)))
        clear = [number for number, face in enumerate(found) if (face.score or 0) >= CLEAR_SCORE]
        moving = selection.numbers or clear[:MAX_FACES] or (0,)
        near = {number: found[number] for number in sorted({*moving, *clear})}
        return FoundFaces(image, found, moving, near)

    def _latent(
        self, face: FoundFace, refine: int, on_refine: OnStep | None, timings: dict[str, float]
    ) -> torch.Tensor:
        """The latent of a face; for a photo, its inversion, refined by this many steps."""
        if face.crop is None:
            assert face.latent is not None
            return face.latent
        pixels = _from_uint8(np.asarray(face.crop.image))
        with timed(timings, "invert"):
            latent = self._invert(pixels).clone()  # one that its owner may change, unlike inference's
        if refine:
            with timed(timings, "refine"):
                latent = self._refine(latent, pixels, refine, on_refine)
        return latent

    def _invert(self, image: torch.Tensor) -> torch.Tensor:
        """The latent of a crop [1, 3, H, W] in [-1, 1]."""
        device, inverter = self.bundle.device, self.bundle.inverter

        def invert() -> torch.Tensor:
            with torch.inference_mode(), deterministic():
                return inverter.invert(image.to(device)).float()

        memory = DeviceMemory(device, inverter, spare=self.bundle.generator)
        latent = memory.run("inverting the face", invert)
        if latent.is_cuda:
            torch.cuda.synchronize(device)  # so that this time is not counted as the first frame's
        return latent

    def _refine(
        self, latent: torch.Tensor, image: torch.Tensor, steps: int, report: OnStep | None
    ) -> torch.Tensor:
        generator = self.bundle.generator
        work = partial(refine_latent, generator, latent, image, steps, identity=self.identity, on_step=report)
        return self._memory(generator).run("refining the face's latent", work)


def is_latent(photo: ImageSource) -> TypeGuard[torch.Tensor]:
    """Whether it is a latent, [1, num_styles, style_dim]: a tensor whose shape is not that of a picture."""
    return isinstance(photo, torch.Tensor) and not is_picture(tuple(photo.shape))


def _from_uint8(pixels: Frame) -> torch.Tensor:
    """uint8 [H, W, 3] in 0…255 -> float32 [1, 3, H, W] in [-1, 1]."""
    return torch.tensor(pixels).permute(2, 0, 1)[None] / 127.5 - 1


def no_latent() -> torch.Tensor:
    """The latent of a video of several faces: raises OptionError."""
    raise OptionError("A video of several faces has no latents of its own: animate one face for them.")

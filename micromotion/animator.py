"""The pipeline from a photo to a video: align, invert into W+, add a micromotion, synthesise each frame."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Unpack

import numpy as np
import torch
from PIL import Image

from encoder4editing.regressor import READ
from micromotion.animation import Finish, Video, timed
from micromotion.drive.driven_photo import DrivenPhoto, places
from micromotion.drive.latents import read_latents
from micromotion.drive.options import DriveKeywords, DriveOptions, drive_options_from
from micromotion.drive.performance import clip_sound, is_trajectory_file, perform
from micromotion.drive.read import OnProgress
from micromotion.drive.trajectory import Trajectory
from micromotion.errors import NoEffectWarning, OptionError
from micromotion.face.alignment import align, as_aligned
from micromotion.face.crop import AlignedFace, crop_quad
from micromotion.face.images import ImageSource, load_image
from micromotion.inversion.pivotal_tuning import Likeness, likeness, tuned
from micromotion.inversion.refinement import OnStep
from micromotion.inversion.refinement import refine as refine_latent
from micromotion.inversion.shapes import check_latent
from micromotion.motion.library import find_motion, load_fitting, playable_motions
from micromotion.motion.micromotion import Motion
from micromotion.motion.schedule import MotionName, Motions, is_drawn, schedule, schedule_strip
from micromotion.options import (
    AnimateKeywords,
    AnimateOptions,
    View,
    check_total_pixels,
    options_from,
    seed_of_noise,
)
from micromotion.photo.landmark_reading import LandmarkReader
from micromotion.photo.reading import Reader, RegressorReader
from micromotion.photo.views import PhotoView, Scene, Stage, face_square, whole_photo
from micromotion.runtime.device_memory import DeviceMemory, deterministic, translate_oom
from micromotion.runtime.forking import survive_forks
from micromotion.types import Frame, Strengths
from micromotion.video.comparison import Comparison, strength_strip
from micromotion.weights.bundle import IDENTITY, Bundle, load_bundle

if TYPE_CHECKING:
    from encoder4editing.identity import IdentityNet
    from stylegan2 import Generator

__all__ = ["Animator", "Video"]

INVERTER_SIZE = 256  # e4e's input, in pixels


@dataclass(frozen=True, eq=False)
class _Face:
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


class Animator:
    """Plays a bundle's micromotions on faces; its only state is the loaded networks."""

    def __init__(self, bundle: Bundle) -> None:
        self.bundle = bundle
        survive_forks()

    @classmethod
    def load(cls, name: str | Path = "avatar", device: str | torch.device = "auto") -> Animator:
        """Load a bundle by name or folder onto a device; raises as `load_bundle` does."""
        return cls(load_bundle(name, device))

    @property
    def motions(self) -> list[str]:
        """The names of the playable micromotions, sorted: the model's own, and those learned."""
        return list(playable_motions(self.bundle))

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
            photo: a path, the bytes of an image file, an open file or a PIL image.
            face: which face; 0 has the best detection score.
            aligned: the picture is already an FFHQ-like crop.
            refine: number of refinement steps, 0…200 (see `micromotion.inversion.refinement`).
            on_refine: called with the number of steps done, and the loss.

        Raises OptionError, ImageError, NoFaceError; DeviceMemoryError if the GPU has too little memory (see
        `Video`).
        """
        options = AnimateOptions(face=face, aligned=aligned, refine=refine)
        return self._latent(self._find(photo, options, {}), refine, on_refine, {})

    def animate(
        self,
        photo: ImageSource | torch.Tensor,
        motion: Motions = "smile",
        options: AnimateOptions | None = None,
        *,
        on_refine: OnStep | None = None,
        on_lock: OnStep | None = None,
        **keywords: Unpack[AnimateKeywords],
    ) -> Video:
        """Play micromotions on the face of a photo, or on a latent from `encode`.

        Frames render when the video is iterated. Options are checked before the photo is opened.

        Args:
            photo: as in `encode`, or a latent from `encode`, which cannot be refined, compared or put back
                into its photo.
            motion: one of `motions`; or a file, as a Path or a name that ends in .safetensors; or several of
                these, as a sequence or a mapping to strengths; or a `Timeline`, which has its own length and
                ignores `frames`.
            options: see `AnimateOptions`.
            on_refine, on_lock: called with the number of refinement or tuning steps done, and the loss.
            keywords: single options by name; they override `options`.

        Details of some options:
            strength: 1 is a motion's calibrated full degree, reached in the last frame on a straight line
                from the still face, or on the learned curve; negative plays the opposite. It multiplies the
                strengths of several motions and of a timeline.
            loop: "pingpong" appends the frames in reverse, "hold" repeats the last one: n become 2n − 1
                frames.
            view: "photo" shows the whole photo with its own face moving; "face" the square around it; "model"
                what the model draws; "auto" what suits the model.
            compare: puts the photo's crop and its still reconstruction beside each frame; only with the views
                "auto" and "model".
            seed: None uses the generator's fixed noise; a number draws noise, the same for all frames so that
                texture does not flicker. In a model without noise, such as "avatar", it changes nothing, and
                a NoEffectWarning says so.
            refine: improves the likeness of what the model draws. If none of it is shown or measured, the
                photo is not even inverted, and a NoEffectWarning says so.
            lock_identity: tunes a copy of the generator around the photo's latent, once per photo, in minutes
                on a CPU (see `micromotion.inversion.pivotal_tuning.tuned`); the video's `likeness` has the
                result.

        Raises OptionError, MotionError, ImageError, NoFaceError, DeviceMemoryError.
        """
        options = options_from(keywords, options)
        names, strengths = schedule(motion, options)
        timings: dict[str, float] = {}
        learned = self._load(names, timings)
        face = self._find(photo, options, timings)
        finish = self._finish(face, options, learned, strengths)
        warn = partial(warnings.warn, category=NoEffectWarning, stacklevel=3)
        seed = seed_of_noise(options.seed, self.bundle.generator, warn, drawn=is_drawn(motion))
        refine = _refine_steps(options, finish, strengths, warn)
        latent: Callable[[], torch.Tensor] | torch.Tensor
        latent = partial(self._latent, face, refine, on_refine, timings)
        generator, found = self.bundle.generator, None
        if finish is None or finish.needs_model(strengths):
            latent = latent()
            if options.lock_identity:
                generator, found = self._lock(face, latent, learned, on_lock, timings)
        return Video(
            generator,
            latent,
            learned,
            strengths,
            fps=options.fps,
            seed=seed,
            timings=timings,
            memory=self._memory(generator),
            finish=finish,
            face=face.crop,
            likeness=found,
        )

    def drive(
        self,
        photo: ImageSource,
        clip: str | Path | Trajectory,
        options: DriveOptions | None = None,
        *,
        on_read: OnProgress | None = None,
        **keywords: Unpack[DriveKeywords],
    ) -> Video:
        """Move the face of a photo as the face in a video moves, with its length, frame rate and sound.

        Frames render when the video is iterated; the clip is read before. Only what differs from the driving
        face's rest pose is played, so that nothing of its looks shows.

        Args:
            photo: a path, the bytes of an image file, an open file or a PIL image.
            clip: a video; or a trajectory that was read from one, or its file, which ends in .safetensors.
            options: see `DriveOptions`.
            on_read: called with (done, total) while the clip is read.
            keywords: single options by name; they override `options`.

        The video's `notes` say what was found in the clip: lost or mended frames, and what became of its
        sound. Raises OptionError, ImageError, NoFaceError, DrivingVideoError, MotionError, DeviceMemoryError.
        """
        options = drive_options_from(keywords, options)
        timings: dict[str, float] = {}
        face = self._find(photo, AnimateOptions(face=options.face), timings)
        if options.view == "model":
            return self._driven_model(face, clip, options, on_read, timings)
        with timed(timings, "read"):
            performance = perform(clip, options, on_read)
        scene = face.scene("photo" if options.view == "auto" else options.view, options.longest)
        strengths = places(len(performance.trajectory))
        check_total_pixels(scene.size, len(strengths))
        return Video(
            self.bundle.generator,
            partial(self._latent, face, 0, None, timings),
            [Motion("clip", torch.zeros(self.bundle.latent_shape))],  # the model's latent stays
            strengths,
            fps=performance.trajectory.fps,
            timings=timings,
            memory=self._memory(self.bundle.generator),
            finish=DrivenPhoto(Stage(scene), performance.trajectory),
            face=face.crop,
            sound=performance.sound,
            notes=performance.notes,
        )

    def _driven_model(
        self,
        face: _Face,
        clip: str | Path | Trajectory,
        options: DriveOptions,
        on_read: OnProgress | None,
        timings: dict[str, float],
    ) -> Video:
        """What the model draws of a face, driven by the latents of a clip."""
        if isinstance(clip, Trajectory) or is_trajectory_file(clip):
            raise OptionError("The view 'model' plays a video's latents, which a trajectory does not have.")
        with timed(timings, "read"):
            read = read_latents(
                clip, self.bundle, face=options.clip_face, rest=options.rest, on_progress=on_read
            )
        sound, notes = None, read.sentences
        if options.audio:
            sound, notes = clip_sound(Path(clip), len(read.path), read.fps, notes)
        return Video(
            self.bundle.generator,
            self._latent(face, 0, None, timings),
            [read.motion(options.strength)],
            places(len(read.path)),
            fps=read.fps,
            timings=timings,
            memory=self._memory(self.bundle.generator),
            face=face.crop,
            sound=sound,
            notes=notes,
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

        Only the options for reading and drawing the photo apply: view, size, face, aligned, seed, refine. The
        view "auto" is "face" for models whose own is "photo". Raises and warns as `animate`.
        """
        options = options_from(keywords, options)
        names, rows = schedule_strip(motion, strengths)
        learned = self._load(names, {})
        face = self._find(photo, options, {})
        warn = partial(warnings.warn, category=NoEffectWarning, stacklevel=3)
        seed = seed_of_noise(options.seed, self.bundle.generator, warn)
        if options.view == "auto" and self._view(options, face) == "photo":
            options = replace(options, view="face")
        finish = self._finish(face, options, learned, rows)
        refine = _refine_steps(options, finish, rows, warn)
        latent = partial(self._latent, face, refine, on_refine, {})
        return strength_strip(list(self._drawn(latent, learned, rows, seed, finish)), strengths)

    def still(
        self,
        latent: torch.Tensor,
        motions: Sequence[Motion],
        strengths: Sequence[float],
        stage: Stage | None = None,
    ) -> Frame:
        """One frame of a latent from `encode`, uint8 [H, W, 3], with these motions at these strengths.

        stage: the latent's face in its photo, to draw there; without it, the model's picture is returned.
        """
        finish = None if stage is None else self._photo_view(stage.scene, motions, stage=stage)
        return next(iter(self._drawn(latent, motions, np.array([strengths], np.float64), finish=finish)))

    def _drawn(
        self,
        latent: torch.Tensor | Callable[[], torch.Tensor],
        motions: Sequence[Motion],
        strengths: Strengths,
        seed: int | None = None,
        finish: Finish | None = None,
    ) -> Video:
        """The video of a latent: the model's frames, finished if `finish` is given."""
        generator = self.bundle.generator
        memory = self._memory(generator)
        return Video(generator, latent, motions, strengths, fps=1, seed=seed, memory=memory, finish=finish)

    def _view(self, options: AnimateOptions, face: _Face) -> View:
        """The view to show: "auto" is "model" without a photo or for a comparison."""
        if options.view != "auto":
            return options.view
        return "model" if face.photo is None or options.compare else self.bundle.view

    def _finish(
        self, face: _Face, options: AnimateOptions, motions: Sequence[Motion], strengths: Strengths
    ) -> Finish | None:
        """The postprocessing of the model's frames; None if they are shown unchanged."""
        if options.compare:
            return Comparison(face.at(self.bundle.generator.resolution))
        if (view := self._view(options, face)) == "model":
            return None
        scene = face.scene(view, options.longest)
        check_total_pixels(scene.size, len(strengths))
        draws_other_face = self.bundle.view == "photo" and not options.lock_identity
        return self._photo_view(scene, motions, may_be_twin=not draws_other_face)

    def _photo_view(
        self,
        scene: Scene,
        motions: Sequence[Motion],
        *,
        may_be_twin: bool = False,
        stage: Stage | None = None,
    ) -> PhotoView:
        """The `Finish` for a scene with these motions."""
        reader: Reader = LandmarkReader()
        if self.bundle.regressor is not None:
            reader = RegressorReader(self.bundle.regressor, READ, self.bundle.device)
        provenances = [each.provenance for each in motions]
        return PhotoView(scene, provenances, reader, may_be_twin=may_be_twin, stage=stage)

    def _load(self, names: Sequence[MotionName], timings: dict[str, float]) -> list[Motion]:
        paths = [find_motion(name, self.bundle) for name in names]
        with timed(timings, "motion"):
            return [load_fitting(path, self.bundle) for path in paths]

    def _lock(
        self,
        face: _Face,
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

    def _find(
        self, photo: ImageSource | torch.Tensor, options: AnimateOptions, timings: dict[str, float]
    ) -> _Face:
        """The face of a photo, not yet inverted; or a latent, unchanged."""
        if isinstance(photo, torch.Tensor):
            if options.refine:
                raise OptionError("Only a photo can be refined, not its latent: give refine to encode().")
            check_latent(self.bundle.generator, photo)
            return _Face(None, None, photo.to(self.bundle.device))
        with timed(timings, "align"):
            image = load_image(photo)
            if options.aligned:
                crop = as_aligned(image, INVERTER_SIZE)
            else:
                crop = align(image, INVERTER_SIZE, face=options.face)
        return _Face(image, crop, None)

    def _latent(
        self, face: _Face, refine: int, on_refine: OnStep | None, timings: dict[str, float]
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


def _refine_steps(
    options: AnimateOptions, finish: Finish | None, strengths: Strengths, warn: Callable[[str], object]
) -> int:
    """The steps of refinement; 0, with a warning, if the model's frames are neither shown nor measured."""
    if options.refine and finish is not None and not finish.needs_model(strengths):
        warn("Only the photo's own pixels are shown, and nothing of the model: refine has no effect.")
        return 0
    return options.refine


def _from_uint8(pixels: Frame) -> torch.Tensor:
    """uint8 [H, W, 3] in 0…255 -> float32 [1, 3, H, W] in [-1, 1]."""
    return torch.tensor(pixels).permute(2, 0, 1)[None] / 127.5 - 1

"""The pipeline from a photo to a video: align, invert into W+, add a micromotion, synthesise each frame."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Unpack

import numpy as np
import torch
from PIL import Image

from encoder4editing.regressor import READ
from micromotion.animation import Finish, Video, timed
from micromotion.driving import FaceDriver
from micromotion.encoding import FoundFace, is_latent, no_latent
from micromotion.errors import NoEffectWarning, OptionError
from micromotion.face.images import ImageSource
from micromotion.face_selection import FaceSelection
from micromotion.inversion.refinement import OnStep
from micromotion.motion.library import find_motion, load_fitting, playable_motions
from micromotion.motion.playable import Motion
from micromotion.motion.schedule import (
    MotionName,
    Motions,
    is_drawn,
    schedule,
    schedule_faces,
    schedule_strip,
)
from micromotion.options import (
    AnimateKeywords,
    AnimateOptions,
    View,
    check_total_pixels,
    options_from,
    seed_of_noise,
)
from micromotion.photo.group import GroupView, Role
from micromotion.photo.landmark_reading import LandmarkReader
from micromotion.photo.reading import EffectsReader, Reader, RegressorReader
from micromotion.photo.views import PhotoView, Scene, Stage
from micromotion.types import Frame, Strengths
from micromotion.video.comparison import Comparison, strength_strip
from micromotion.weights.bundle import BundleFiles, load_bundle

__all__ = ["Animator", "Video"]


class Animator(FaceDriver):
    """Plays a bundle's micromotions on faces; its only state is the loaded networks.

    >>> animator = Animator.load("avatar")
    >>> animator.motions
    ['aging', 'angry', 'eyesClose', 'headsTurn', 'smile']
    >>> animator.animate("docs/face.jpg", motion="smile", frames=2).save("smile.mp4")
    """

    @classmethod
    def load(cls, name: str | Path | BundleFiles = "avatar", device: str | torch.device = "auto") -> Animator:
        """Load a bundle by name, folder or `hf://owner/name` onto a device; raises as `load_bundle` does."""
        return cls(load_bundle(name, device))

    @property
    def motions(self) -> list[str]:
        """The names of the playable micromotions, sorted: the model's own, and those learned."""
        return list(playable_motions(self.bundle))

    def animate(
        self,
        photo: ImageSource,
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
            motion: one of `motions`; or a file, as a Path, a name that ends in .safetensors or, on the hub,
                `hf://owner/name/FILE`; or several of these, as a sequence or a mapping to strengths; or a
                `Timeline`, which has its own length and ignores `frames`.
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
            faces: several faces of the whole photo move, each with its own motions if it is given some (see
                `micromotion.face_selection.parse_faces`); a timeline plays on all of them, and random ones
                differ from face to face. They are always moved in the photo's own pixels. The video's `faces`
                has those that move.
            lock_identity: tunes a copy of the generator around the photo's latent, once per photo, in minutes
                on a CPU (see `micromotion.inversion.pivotal_tuning.tuned`); the video's `likeness` has the
                result.

        Raises OptionError, MotionError, ImageError, NoFaceError, DeviceMemoryError.
        """
        options = options_from(keywords, options)
        warn = partial(warnings.warn, category=NoEffectWarning, stacklevel=3)
        if options.selection is not None:
            return self._animate_faces(photo, motion, options, options.selection, on_refine, warn)
        names, strengths = schedule(motion, options)
        timings: dict[str, float] = {}
        learned = self._load(names, timings)
        face = self._find(photo, options, timings)
        finish = self._finish(face, options, learned, strengths)
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
            model=self.bundle.name,
        )

    def at_strengths(
        self,
        photo: ImageSource,
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
        if options.faces is not None:
            raise OptionError("A strip of strengths shows one face: leave out faces, or take `face`.")
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

    def _animate_faces(
        self,
        photo: ImageSource,
        motion: Motions,
        options: AnimateOptions,
        selection: FaceSelection,
        on_refine: OnStep | None,
        warn: Callable[[str], object],
    ) -> Video:
        """`animate` for several faces."""
        if is_latent(photo):
            raise OptionError("Faces can only be moved in their photo, which a latent does not have.")
        for name in schedule_faces(motion, options, selection.numbers or (0,)).names:
            find_motion(name, self.bundle)  # checked before the photo is opened
        timings: dict[str, float] = {}
        found = self._find_several(photo, selection, timings)
        parts = schedule_faces(motion, options, found.moving)
        learned = self._load(parts.names, timings)
        seed = seed_of_noise(options.seed, self.bundle.generator, warn, drawn=is_drawn(motion))
        latents: dict[int, torch.Tensor] = {}

        def role(number: int, columns: list[int]) -> Role:
            motions = [learned[column] for column in columns]
            reader = EffectsReader([each.provenance for each in motions], self._reader())
            return Role(
                columns,
                reader,
                parts.strengths[:, columns],
                lambda rows: self._drawn(latents[number], motions, rows, seed),
            )

        roles = {number: role(number, columns) for number, columns in parts.columns.items()}
        view = GroupView(found.photo, found.near, roles, options.longest)
        check_total_pixels(view.size, len(parts.strengths))
        refine = _refine_steps(options, view, parts.strengths, warn)
        for number in view.measured:
            face = FoundFace(found.photo, found.every[number], None)
            latents[number] = self._latent(face, refine, on_refine, timings)
        return Video(
            self.bundle.generator,
            no_latent,
            learned,
            parts.strengths,
            fps=options.fps,
            timings=timings,
            finish=view,
            face=found.every[found.moving[0]],
            faces=found.movers,
            found=len(found.every),
            labels=parts.labels([motion.name for motion in learned]),
            model=self.bundle.name,
        )

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

    def _view(self, options: AnimateOptions, face: FoundFace) -> View:
        """The view to show: "auto" is "model" without a photo or for a comparison."""
        if options.view != "auto":
            return options.view
        return "model" if face.photo is None or options.compare else self.bundle.view

    def _finish(
        self, face: FoundFace, options: AnimateOptions, motions: Sequence[Motion], strengths: Strengths
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
        provenances = [each.provenance for each in motions]
        return PhotoView(scene, provenances, self._reader(), may_be_twin=may_be_twin, stage=stage)

    def _reader(self) -> Reader:
        """What measures effects in the model's frames."""
        if self.bundle.regressor is None:
            return LandmarkReader()
        return RegressorReader(self.bundle.regressor, READ, self.bundle.device)

    def _load(self, names: Sequence[MotionName], timings: dict[str, float]) -> list[Motion]:
        paths = [find_motion(name, self.bundle) for name in names]
        with timed(timings, "motion"):
            loaded = {path: load_fitting(path, self.bundle) for path in dict.fromkeys(paths)}
        return [loaded[path] for path in paths]


def _refine_steps(
    options: AnimateOptions, finish: Finish | None, strengths: Strengths, warn: Callable[[str], object]
) -> int:
    """The steps of refinement; 0, with a warning, if the model's frames are neither shown nor measured."""
    if options.refine and finish is not None and not finish.needs_model(strengths):
        warn("Only the photo's own pixels are shown, and nothing of the model: refine has no effect.")
        return 0
    return options.refine

"""From a photo and a clip to a video: the photo's face does what the face in the clip does."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

import torch

from micromotion.animation import Video, timed
from micromotion.drive.options import DriveKeywords, DriveOptions, drive_options_from
from micromotion.encoding import FaceEncoder, FoundFace, no_latent
from micromotion.errors import OptionError
from micromotion.face.images import ImageSource
from micromotion.face_selection import FaceSelection
from micromotion.motion.playable import Motion
from micromotion.options import AnimateOptions, check_total_pixels
from micromotion.photo.views import Stage

if TYPE_CHECKING:
    from micromotion.drive.driven_photo import Driven
    from micromotion.drive.performance import Performance
    from micromotion.drive.read import OnProgress
    from micromotion.drive.trajectory import Trajectory


class FaceDriver(FaceEncoder):
    """Plays the motion of a clip on faces; its only state is the loaded networks."""

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
            photo: as in `encode`.
            clip: a video; or a trajectory that was read from one, or its file, which ends in .safetensors.
            options: see `DriveOptions`. With `faces`, several faces of the whole photo move, each as the one
                in the clip; the video's `faces` has them.
            on_read: called with (done, total) while the clip is read.
            keywords: single options by name; they override `options`.

        The video's `notes` say what was found in the clip: lost or mended frames, and what became of its
        sound. Raises OptionError, ImageError, NoFaceError, DrivingVideoError, MotionError, DeviceMemoryError.
        """
        options = drive_options_from(keywords, options)
        if options.selection is not None:
            return self._drive_faces(photo, clip, options, options.selection, on_read)
        from micromotion.drive.driven_photo import DrivenPhoto
        from micromotion.drive.performance import perform

        timings: dict[str, float] = {}
        face = self._find(photo, AnimateOptions(face=options.face), timings)
        if options.view == "model":
            return self._drive_model(face, clip, options, on_read, timings)
        with timed(timings, "read"):
            performance = perform(clip, options, on_read)
        scene = face.scene("photo" if options.view == "auto" else options.view, options.longest)
        check_total_pixels(scene.size, len(performance.trajectory))
        finish = DrivenPhoto(Stage(scene), performance.trajectory)
        latent = partial(self._latent, face, 0, None, timings)
        return self._driven(performance, finish, latent=latent, timings=timings, face=face.crop)

    def _drive_faces(
        self,
        photo: ImageSource,
        clip: str | Path | Trajectory,
        options: DriveOptions,
        selection: FaceSelection,
        on_read: OnProgress | None,
    ) -> Video:
        """`drive` for several faces."""
        from micromotion.drive.driven_photo import DrivenGroup
        from micromotion.drive.performance import perform

        timings: dict[str, float] = {}
        found = self._find_several(photo, selection, timings)
        with timed(timings, "read"):
            performance = perform(clip, options, on_read)
        group = DrivenGroup(found.photo, found.near, found.moving, performance.trajectory, options.longest)
        check_total_pixels(group.size, len(performance.trajectory))
        return self._driven(
            performance,
            group,
            latent=no_latent,
            timings=timings,
            face=found.every[found.moving[0]],
            faces=found.movers,
            found=len(found.every),
        )

    def _driven(self, performance: Performance, finish: Driven, **known: Any) -> Video:
        """The video of a photo's own pixels; known: further arguments of `Video`."""
        from micromotion.drive.driven_photo import places

        return Video(
            self.bundle.generator,
            motions=[Motion("clip", torch.zeros(self.bundle.latent_shape))],  # the model's latent stays
            strengths=places(len(performance.trajectory)),
            fps=performance.trajectory.fps,
            memory=self._memory(self.bundle.generator),
            finish=finish,
            sound=performance.sound,
            notes=performance.notes,
            model=self.bundle.name,
            **known,
        )

    def _drive_model(
        self,
        face: FoundFace,
        clip: str | Path | Trajectory,
        options: DriveOptions,
        on_read: OnProgress | None,
        timings: dict[str, float],
    ) -> Video:
        """What the model draws of a face, driven by the latents of a clip."""
        from micromotion.drive.driven_photo import places
        from micromotion.drive.latents import read_latents
        from micromotion.drive.performance import clip_sound, is_trajectory_file
        from micromotion.drive.trajectory import Trajectory

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
            model=self.bundle.name,
        )

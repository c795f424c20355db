"""The page's work without the browser: encode a face once, then render a preview per slider change.

One thread uses the networks at a time, for one frame at a time: all visitors' previews are rendered between
the frames of a video.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from micromotion.animation import Video
from micromotion.animator import Animator
from micromotion.drive.options import DriveOptions
from micromotion.errors import MicromotionError, OptionError
from micromotion.face.crop import AlignedFace
from micromotion.face.images import load_image
from micromotion.motion.library import load_fitting, playable_motions
from micromotion.motion.playable import Motion
from micromotion.motion.schedule import MotionChoice, schedule
from micromotion.motion.timeline import Timeline
from micromotion.motion.timeline_text import parse_timeline
from micromotion.options import AnimateOptions, View, check_motion
from micromotion.page.clips import Clip, without_path
from micromotion.page.faces import find_faces
from micromotion.page.sessions import ChosenFace
from micromotion.types import Frame, Strengths
from micromotion.video.writer import fit_size, write_frames

if TYPE_CHECKING:
    from torch import Tensor


class Stopped(MicromotionError):  # noqa: N818, not an error
    """The visitor has cancelled."""


STANDARD = AnimateOptions(frames=60, loop="pingpong", easing="smooth")
"""The options of a video unless the visitor changes them."""


class Studio:
    """One model, shared by all visitors; thread-safe."""

    def __init__(self, animator: Animator) -> None:
        self._animator = animator
        self._loaded: dict[Path, tuple[tuple[int, int], Motion]] = {}
        self._model_lock = threading.Lock()

    @property
    def motions(self) -> list[str]:
        """The motions that can be played now, sorted, including those just learned."""
        return self._animator.motions

    def is_learned(self, name: str) -> bool:
        return name not in self._animator.bundle.motions

    def open_photo(self, picture: BinaryIO) -> ChosenFace:
        """Open an untrusted picture file, and encode its clearest face. Raises ImageError, NoFaceError."""
        photo = load_image(picture)
        faces = find_faces(photo)
        return ChosenFace(photo, faces, 0, self._encode(faces[0]))

    def choose_face(self, chosen: ChosenFace, face: int) -> ChosenFace:
        """Another face of the same photo; raises OptionError if there is no face of this index."""
        if not 0 <= face < len(chosen.faces):
            raise OptionError(f"The photo has {len(chosen.faces)} faces, and none is number {face + 1}.")
        return ChosenFace(chosen.photo, chosen.faces, face, self._encode(chosen.faces[face]))

    def _encode(self, face: AlignedFace) -> Tensor:
        with self._model_lock:
            return self._animator.encode(face.image, aligned=True)

    def read_timeline(self, text: str) -> Timeline:
        """A timeline of this model's motions, by name only, never by file; raises TimelineError."""
        known = self.motions
        return parse_timeline(text, lambda name: check_motion(name, known))

    def still(
        self, chosen: ChosenFace, played: MotionChoice, options: AnimateOptions, moment: float = 1.0
    ) -> Frame:
        """One frame of the video of the face, uint8 [H, W, 3]. moment: 0 is its first, 1 its last.

        It shows the photo's own pixels unless the view is the model's. Ignores the loop. Raises OptionError,
        MotionError.
        """
        names, strengths = self._schedule(played, replace(options, loop="once"))
        row = strengths[round(min(max(moment, 0.0), 1.0) * (len(strengths) - 1))]
        with self._model_lock:
            motions = [self._motion(name) for name in names]
            stage = None if self.view_of(options) == "model" else chosen.stage
            return self._animator.still(chosen.latent, motions, row, stage)

    def view_of(self, options: AnimateOptions) -> View:
        """The view that these options ask for: "auto" is the one that suits the model."""
        return self._animator.bundle.view if options.view == "auto" else options.view

    def render(
        self,
        chosen: ChosenFace,
        played: MotionChoice,
        options: AnimateOptions,
        path: Path,
        *,
        stop: threading.Event,
        on_frame: Callable[[int, int], None],
        on_scaled: Callable[[str], None] | None = None,
    ) -> None:
        """Write the video. on_frame gets the number of frames done and in total; on_scaled gets a sentence if
        the video is scaled down so that phones can play it.

        Raises Stopped at the next frame after stop is set, leaving no file; OptionError if nothing would
        move; otherwise what `Animator.animate` raises.
        """
        for name in options.selection.names if options.selection else ():
            check_motion(str(name), self.motions)
        _, strengths = self._schedule(played, options)
        if not strengths.any():
            raise OptionError(
                "Nothing would move: push a slider away from 0, choose a motion, or write a timeline."
            )
        own = self.view_of(options) != "model"
        with self._model_lock:
            video = self._animator.animate(
                chosen.photo if own else chosen.latent,
                played if isinstance(played, Timeline) else _moving(played),
                replace(options, face=chosen.index if own and not options.faces else 0),
            )

        self._write(video, path, stop, on_frame, on_scaled)

    def drive(
        self,
        chosen: ChosenFace,
        clip: Clip,
        options: DriveOptions,
        path: Path,
        *,
        stop: threading.Event,
        on_read: Callable[[int, int], None],
        on_frame: Callable[[int, int], None],
        on_scaled: Callable[[str], None] | None = None,
    ) -> Sequence[str]:
        """Write the video of the face, or of the faces that the options name, driven by a clip.

        The photo's own pixels move: the model is not used. on_read: as on_frame, while the clip is read.
        Returns what was found in the clip, for people. Raises as `render` does; DrivingVideoError.
        """

        def read(done: int, total: int) -> None:
            if stop.is_set():
                raise Stopped("Stopped; no video was saved.")
            on_read(done, total)

        options = replace(options, face=0 if options.faces else chosen.index)
        with without_path(clip.path):
            video = self._animator.drive(chosen.photo, clip.path, options, on_read=read)
            self._write(video, path, stop, on_frame, on_scaled)
        return video.notes

    def _write(
        self,
        video: Video,
        path: Path,
        stop: threading.Event,
        on_frame: Callable[[int, int], None],
        on_scaled: Callable[[str], None] | None,
    ) -> None:
        def report(done: int) -> None:
            on_frame(done, len(video))

        fit_size(path, video.size, video.fps, on_scaled=on_scaled)
        write_frames(
            self._interruptible(video, stop),
            path,
            video.fps,
            total=len(video),
            on_frame=report,
            on_scaled=lambda _: None,  # reported above
            claim=video.claim,
            sound=video.sound,
        )

    def _interruptible(self, video: Video, stop: threading.Event) -> Iterator[Frame]:
        """The video's frames; releases the model between them. Raises Stopped."""
        frames = iter(video)
        while True:
            if stop.is_set():
                raise Stopped("Stopped; no video was saved.")
            with self._model_lock:
                frame = next(frames, None)
            if frame is None:
                return
            yield frame

    def _schedule(self, played: MotionChoice, options: AnimateOptions) -> tuple[tuple[str, ...], Strengths]:
        if isinstance(played, Timeline):
            wanted: MotionChoice = played
        else:
            known = self.motions
            for name in played:
                check_motion(name, known)
            wanted = _moving(played)
            if not wanted:
                return (), np.zeros((1, 0))
        names, strengths = schedule(wanted, options)
        return tuple(map(str, names)), strengths

    def _motion(self, name: str) -> Motion:
        """A micromotion, cached until its file changes: reading one takes longer than a frame."""
        bundle = self._animator.bundle
        known = playable_motions(bundle)
        check_motion(name, known)
        path = known[name]
        try:
            status = path.stat()
        except OSError as error:
            raise OptionError(f"The micromotion {name!r} no longer exists: reload the page.") from error
        stamp = (status.st_mtime_ns, status.st_size)
        if path not in self._loaded or self._loaded[path][0] != stamp:
            self._loaded[path] = stamp, load_fitting(path, bundle)
        return self._loaded[path][1]


def _moving(strengths: Mapping[str, float]) -> dict[str, float]:
    """The motions whose strength is not 0."""
    return {name: strength for name, strength in strengths.items() if strength}

"""The work behind the page: a photo into a face's code once, then one picture for each move of a slider.

Nothing here knows of browsers. One net works at a time, a picture at a time: a film that is being rendered
lets everyone's previews in between its frames.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from micromotion.animation import Clip
from micromotion.animator import Animator
from micromotion.errors import MicromotionError, OptionError
from micromotion.face.alignment import AlignedFace
from micromotion.face.images import load_image
from micromotion.motion.library import load_fitting, playable_motions
from micromotion.motion.micromotion import Motion
from micromotion.motion.schedule import schedule
from micromotion.motion.timeline import Timeline, parse_timeline
from micromotion.options import AnimateOptions, check_motion
from micromotion.page.faces import find_faces
from micromotion.page.visits import Sitter
from micromotion.types import Frame, Strengths
from micromotion.video.writer import fit_size, write_frames

if TYPE_CHECKING:
    from torch import Tensor

Played = Mapping[str, float] | Timeline
"""What is played: how strong each motion is, or a timeline."""


class Stopped(MicromotionError):  # noqa: N818, it is no error
    """The visitor asked to stop."""


STANDARD = AnimateOptions(frames=60, loop="pingpong", easing="smooth")
"""What a film is like unless the visitor says otherwise."""


class Studio:
    """One model, for all visitors; may be asked from any thread."""

    def __init__(self, animator: Animator) -> None:
        self._animator = animator
        self._loaded: dict[Path, tuple[tuple[int, int], Motion]] = {}
        self._net = threading.Lock()

    @property
    def motions(self) -> list[str]:
        """What can be played now, sorted, also what was learned a moment ago."""
        return self._animator.motions

    def is_learned(self, name: str) -> bool:
        return name not in self._animator.bundle.motions

    def seat(self, picture: BinaryIO) -> Sitter:
        """The clearest face of a stranger's picture file, encoded. Raises ImageError, NoFaceError."""
        photo = load_image(picture)
        faces = find_faces(photo)
        return Sitter(photo, faces, 0, self._encode(faces[0]))

    def choose(self, sitter: Sitter, face: int) -> Sitter:
        """Another face of the same photo; raises OptionError where there is none of this number."""
        if not 0 <= face < len(sitter.faces):
            raise OptionError(f"The photo has {len(sitter.faces)} faces, and none is number {face + 1}.")
        return Sitter(sitter.photo, sitter.faces, face, self._encode(sitter.faces[face]))

    def _encode(self, face: AlignedFace) -> Tensor:
        with self._net:
            return self._animator.encode(face.image, aligned=True)

    def read_timeline(self, text: str) -> Timeline:
        """A timeline of this model's motions, by name alone; TimelineError says where the text is wrong."""
        known = self.motions
        return parse_timeline(text, lambda name: check_motion(name, known))

    def still(self, sitter: Sitter, played: Played, options: AnimateOptions, moment: float = 1.0) -> Frame:
        """One frame of the film of the face's crop, uint8 [R, R, 3]: moment 0 is its first, 1 the last.

        Of a loop, only the way there counts. Raises OptionError, MotionError.
        """
        names, strengths = self._schedule(played, replace(options, loop="once"))
        row = strengths[round(min(max(moment, 0.0), 1.0) * (len(strengths) - 1))]
        with self._net:
            motions = [self._motion(name) for name in names]
            return self._animator.still(sitter.code, motions, row)

    def film(
        self,
        sitter: Sitter,
        played: Played,
        options: AnimateOptions,
        path: Path,
        *,
        stop: threading.Event,
        on_frame: Callable[[int, int], None],
        on_scaled: Callable[[str], None] | None = None,
    ) -> None:
        """Write the film; on_frame is told how many frames there are, and of how many; on_scaled, in a
        sentence, that it is made smaller so that phones play it.

        Raises Stopped soon after stop is set, between two frames, and leaves nothing behind then; otherwise
        as `Animator.animate` does, and OptionError where nothing would move.
        """
        _, strengths = self._schedule(played, options)
        if not strengths.any():
            raise OptionError("Nothing would move: push a slider away from 0, or write a timeline.")
        whole = options.view == "photo"
        with self._net:
            clip = self._animator.animate(
                sitter.photo if whole else sitter.code,
                played if isinstance(played, Timeline) else _moving(played),
                replace(options, face=sitter.chosen if whole else 0),
            )

        def told(done: int) -> None:
            on_frame(done, len(clip))

        fit_size(path, clip.size, clip.fps, on_scaled=on_scaled)
        write_frames(
            self._in_turn(clip, stop),
            path,
            clip.fps,
            total=len(clip),
            on_frame=told,
            on_scaled=lambda _: None,  # it is told already
        )

    def _in_turn(self, clip: Clip, stop: threading.Event) -> Iterator[Frame]:
        """The clip's frames; others' work comes in between."""
        frames = iter(clip)
        while True:
            if stop.is_set():
                raise Stopped("Stopped; nothing was kept.")
            with self._net:
                frame = next(frames, None)
            if frame is None:
                return
            yield frame

    def _schedule(self, played: Played, options: AnimateOptions) -> tuple[tuple[str, ...], Strengths]:
        if isinstance(played, Timeline):
            wanted: Played = played
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
        """A micromotion, read again only when its file has changed: reading one takes longer than a frame."""
        bundle = self._animator.bundle
        known = playable_motions(bundle)
        check_motion(name, known)
        path = known[name]
        try:
            status = path.stat()
        except OSError as error:
            raise OptionError(f"The micromotion {name!r} is gone: load the page again.") from error
        stamp = (status.st_mtime_ns, status.st_size)
        if path not in self._loaded or self._loaded[path][0] != stamp:
            self._loaded[path] = stamp, load_fitting(path, bundle)
        return self._loaded[path][1]


def _moving(strengths: Mapping[str, float]) -> dict[str, float]:
    """Those that are not at rest."""
    return {name: strength for name, strength in strengths.items() if strength}

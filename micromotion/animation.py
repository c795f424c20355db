"""A video: micromotions on one face, rendered frame by frame on demand."""

from __future__ import annotations

import copy
import operator
import time
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, SupportsIndex, overload

import torch
from PIL import Image
from torch import Tensor

from micromotion.credentials.claim import Claim
from micromotion.errors import OptionError
from micromotion.motion.playable import Motion
from micromotion.motion.schedule import frame_at
from micromotion.option_checks import check_whole
from micromotion.options import MAX_FRAMES
from micromotion.runtime.device_memory import DeviceMemory, deterministic, translate_oom
from micromotion.runtime.frame_transfer import Rendered, fetch_frames
from micromotion.runtime.parallel import ahead
from micromotion.types import Frame, Pose, Row, Strengths
from micromotion.video.contact_sheet import contact_sheet, evenly_spaced, sheet_size
from micromotion.video.format_limits import check_side
from micromotion.video.frame_sequence import FrameSequence
from micromotion.video.picture import check_picture, write_picture
from micromotion.video.pixels import all_finite, quantise
from micromotion.video.sound import Sound
from micromotion.video.writer import fit_size, write_frames

if TYPE_CHECKING:
    from micromotion.face.crop import AlignedFace
    from micromotion.inversion.pivotal_tuning import Likeness
    from stylegan2 import Generator
    from stylegan2.synthesis import Noise


class Drawing(Protocol):
    """Draws finished frames, independently; if it needs no frames, several threads may call it at once."""

    @property
    def needs_frames(self) -> bool:
        """Whether it needs the model's render of each frame; if not, it is passed None."""

    def __call__(self, strengths: Row, frame: Frame | None) -> Frame:
        """The finished frame, uint8 [H, W, 3], at these strengths of the motions."""


class Finish(Protocol):
    """Postprocesses the frames: puts each beside others, or draws it in the photo."""

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of a finished frame, in pixels."""

    def needs_model(self, strengths: Strengths) -> bool:
        """Whether it needs any render of the model to finish frames of these strengths."""

    def looks_at(self, strengths: Strengths) -> Strengths:
        """The strengths [n, motions] whose renders it needs before it finishes frames of these strengths; a
        row of zeros is the still frame.
        """

    def begin(self, seen: Sequence[Pose]) -> Drawing:
        """Return what draws the frames, given the poses of `looks_at`."""


class Video(FrameSequence):
    """Micromotions on one face, as a sequence of uint8 RGB frames [H, W, 3] rendered on demand.

    Frames are not stored: each iteration renders them again, and memory does not grow with their number. On a
    GPU the next frame renders while the caller uses this one; on a CPU nothing renders ahead. `video[i]` is a
    frame, `video[a:b]` a video of these frames.

    `timings`: seconds per stage: motion, align, invert, and refine if requested; render and encode are those
    of the last iteration. render is the time that the caller waited for frames, so that the stages add up to
    the total even if a GPU renders while the caller encodes.

    `face`: the face that moves, or the clearest of several; None for a latent. `faces`: if several faces were
    asked for, those that move, by number, of `found` in the photo; else None.

    `likeness`: the effect of locking the identity; None if it was not locked.

    `notes`: sentences about the input that users should know, such as where a driving face was lost.

    If a GPU runs out of memory, the inverter is offloaded to the CPU and the frame is rendered again; if that
    does not help, iterating raises DeviceMemoryError.

    >>> from micromotion import Animator
    >>> video = Animator.load("avatar").animate("docs/face.jpg", "smile", frames=4, fps=2, view="model")
    >>> len(video), video.duration, video[1:3].numpy().shape
    (4, 2.0, (2, 256, 256, 3))
    """

    def __init__(
        self,
        generator: Generator,
        latent: Tensor | Callable[[], Tensor],
        motions: Sequence[Motion],
        strengths: Strengths,
        *,
        fps: float,
        seed: int | None = None,
        timings: dict[str, float] | None = None,
        memory: DeviceMemory | None = None,
        finish: Finish | None = None,
        face: AlignedFace | None = None,
        faces: Mapping[int, AlignedFace] | None = None,
        found: int = 1,
        labels: Sequence[str] | None = None,
        likeness: Likeness | None = None,
        model: str = "",
        sound: Sound | None = None,
        notes: Sequence[str] = (),
    ) -> None:
        """Create a video; nothing is rendered yet.

        Args:
            latent: of the still frame, [1, num_styles, style_dim], on the device that renders; or a
                function that returns it, called on first use.
            strengths: float64 [frames, motions].
            memory: of that device; None: of the generator's device.
            finish: applied to each rendered frame.
            face: the face in its photo; None for a latent.
            faces: several faces that move, by number; None: `face` alone.
            found: how many faces the photo has.
            labels: the motions' names on contact sheets; None: their own.
            model: the name of the generator's model.
            sound: what is heard in a saved MP4.
            notes: see the class.

        For the other arguments see `Animator.animate`.
        """
        self.fps = fps
        self.timings = timings if timings is not None else {}
        self.likeness = likeness
        self.notes = tuple(notes)
        self.face = face
        self.faces = faces
        self.found = found
        self.sound = sound
        self._generator = generator
        self._given = latent
        self._motions = motions
        self._labels = labels or [motion.name for motion in motions]
        self._strengths = self._all_strengths = strengths
        self._seed = seed
        self._memory = memory or DeviceMemory(generator.latent_avg.device, generator)
        self._finish = finish
        self._model = model

    def __len__(self) -> int:
        return len(self._strengths)

    @overload
    def __getitem__(self, index: SupportsIndex) -> Frame: ...
    @overload
    def __getitem__(self, index: slice) -> Video: ...
    def __getitem__(self, index: SupportsIndex | slice) -> Frame | Video:
        """One frame, uint8 [H, W, 3]; or a video of some frames, as they are in this one, at the same rate.

        Only they are rendered. A slice is without sound, unless it is the whole video. Raises IndexError for
        a frame that is not there, OptionError for a slice without frames.
        """
        if isinstance(index, slice):
            return self._part(range(len(self))[index])
        place = range(len(self))[operator.index(index)]
        return next(iter(self._part(range(place, place + 1))))

    def _part(self, places: range) -> Video:
        """The video of the frames at these places."""
        if not places:
            raise OptionError(f"That slice has none of the video's {len(self)} frames: take at least one.")
        part = copy.copy(self)
        part.timings = dict(self.timings)
        part._strengths = self._strengths[places]
        part.sound = self.sound if places == range(len(self)) else None
        return part

    @property
    def title(self) -> str:
        """The names of the motions that play."""
        return ", ".join(dict.fromkeys(self._labels)) or "still"

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of a frame in pixels."""
        if self._finish is not None:
            return self._finish.size
        return self._generator.resolution, self._generator.resolution

    @property
    def claim(self) -> Claim:
        """What the content credentials of its files say."""
        names = [motion.name for motion in self._motions]
        return Claim.of(self._model, names, self._strengths, shows_photo=self._finish is not None)

    @cached_property
    def _latent(self) -> Tensor:
        return self._given() if callable(self._given) else self._given

    def latents(self) -> Iterator[Tensor]:
        """The frames' W+ latents [1, num_styles, style_dim]."""
        return self._latents_at(self._strengths)

    def _latents_at(self, strengths: Strengths) -> Iterator[Tensor]:
        styles, dim = self._latent.shape[1:]
        moved = offsets(self._motions, strengths, (styles, dim)).to(self._latent.device)
        return (self._latent + offset for offset in moved)

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
        credentials: bool = True,
    ) -> None:
        """Write the video as MP4, GIF, WebP or a folder of PNGs, by its suffix; files appear when complete.

        Only an MP4 has sound, if the video has any.

        sheet: path of a contact sheet of `count` of these frames; no frame is rendered twice. on_frame:
        called with the number of frames written. An MP4 with more pixels than phones can play is scaled down
        unless full_size is set; on_scaled is then called with a sentence (if None, a ScaledWarning is
        issued). A size that the format does not support is refused before rendering (see
        `video.writer.fit_size`). credentials: whether the files carry content credentials, which
        MICROMOTION_CREDENTIALS=off also leaves out. Raises OptionError, OutputError, CredentialsError.
        """
        claim = self.claim if credentials else None
        fit_size(path, self.size, self.fps, full_size=full_size, on_scaled=on_scaled)
        wanted = self._spread(count) if sheet is not None else []
        if sheet is not None:
            check_side(check_picture(sheet), sheet_size(self.size, len(wanted)))
        collected: list[Frame] = []
        self.timings["encode"] = 0.0
        with timed(self.timings, "encode"):
            write_frames(
                _collecting(self, wanted, collected),
                path,
                self.fps,
                total=len(self),
                on_frame=on_frame,
                full_size=full_size,
                on_scaled=lambda _: None,  # reported above
                claim=claim,
                sound=self.sound,
            )
        self.timings["encode"] -= self.timings["render"]
        if sheet is not None:
            write_picture(self._lay_out(collected, wanted), sheet, claim)

    def sheet(self, count: int = 8) -> Image.Image:
        """A contact sheet of `count` evenly spaced frames, with their strengths; only these are rendered.

        Raises OptionError unless count is in 1…600; a video of fewer frames shows them all.
        """
        wanted = self._spread(count)
        return self._lay_out(list(self._frames_of(self._strengths[wanted])), wanted)

    def describe_faces(self) -> str:
        """How many faces were found, and which of them move."""
        moving = ", ".join(map(str, self.faces or ()))
        return f"Faces: {self.found} found, moving {moving}"

    def still(self, at: float | None = None) -> Image.Image:
        """The frame shown at a moment, in seconds, as a picture; None: the last one. Only it is rendered.

        Raises OptionError unless the moment is in the video.
        """
        index = frame_at(at, len(self), self.fps)
        self.timings["render"] = 0.0
        with timed(self.timings, "render"):
            return Image.fromarray(next(self._frames_of(self._strengths[index : index + 1])))

    def _spread(self, count: int) -> list[int]:
        check_whole("count", count, 1, MAX_FRAMES)
        return evenly_spaced(len(self), count)

    def _lay_out(self, frames: list[Frame], indices: list[int]) -> Image.Image:
        return contact_sheet(frames, labels=[self._label(index) for index in indices])

    def _label(self, index: int) -> str:
        """The motions' strengths in a frame, with names if there are several motions."""
        percent = [round(100 * strength) for strength in self._strengths[index]]
        if len(percent) == 1:
            return f"{percent[0]}%"
        playing = zip(self._labels, percent, strict=True)
        return ", ".join(f"{name} {each}%" for name, each in playing if each) or "0%"

    def _frames_of(self, strengths: Strengths) -> Iterator[Frame]:
        """The finished frames at these strengths."""
        if self._finish is None:
            return self._rendered(self._latents_at(strengths))
        return self._finished(strengths, self._finish)

    def _finished(self, strengths: Strengths, finish: Finish) -> Iterator[Frame]:
        poses = finish.looks_at(self._all_strengths)  # a part is drawn as in the whole video
        seen = self._rendered(self._latents_at(poses)) if len(poses) else []
        drawing = finish.begin(list(zip(poses, seen, strict=True)))
        if not drawing.needs_frames:
            yield from ahead(partial(drawing, frame=None), list(strengths))
            return
        yield from map(drawing, strengths, self._rendered(self._latents_at(strengths)))

    def _rendered(self, latents: Iterable[Tensor]) -> Iterator[Frame]:
        """The frames of these latents; the only place where rendering waits for the device."""
        device, side = self._latent.device, self._generator.resolution
        with translate_oom(f"rendering {side}×{side} pixels", device):
            noise = self._memory.retry(self._draw_noise)
            pictures = (self._memory.retry(partial(self._render, each, noise)) for each in latents)
            yield from fetch_frames(pictures, ahead=1 if device.type == "cuda" else 0)

    def _draw_noise(self) -> Noise:
        """The noise that all frames share."""
        if self._seed is None:
            return "fixed"
        return self._generator.draw_noise(torch.Generator().manual_seed(self._seed))

    def _render(self, latent: Tensor, noise: Noise) -> Rendered:
        """One frame, and whether it is finite, on the device; on a GPU both are still pending."""
        with torch.inference_mode(), deterministic():
            picture = self._generator.synthesize(latent, noise=noise)[0]
            return quantise(picture), all_finite(picture)


def offsets(motions: Sequence[Motion], strengths: Strengths, shape: tuple[int, int]) -> Tensor:
    """The offsets to a face's latent in each frame, float32 [frames, styles, dim], on the CPU.

    strengths: float64 [frames, motions]; shape: (styles, dim). Straight motions are one matrix product,
    [frames, lines] times [lines, styles · dim]; curved ones are evaluated frame by frame.
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


def _collecting(frames: Iterable[Frame], wanted: Container[int], collected: list[Frame]) -> Iterator[Frame]:
    """Pass frames on, and append those with a wanted index to `collected`."""
    for index, frame in enumerate(frames):
        if index in wanted:
            collected.append(frame)
        yield frame


@contextmanager
def timed(timings: dict[str, float], stage: str) -> Iterator[None]:
    """Add the seconds that the block takes to timings[stage]."""
    start = time.perf_counter()
    try:
        yield
    finally:
        timings[stage] = timings.get(stage, 0.0) + time.perf_counter() - start

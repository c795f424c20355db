"""Collect the anchors of a new micromotion from a driving video, or from a series of pictures.

The face is tracked, cropped the same way in each frame and inverted into W+; the latents are then ordered
along the motion. Unusable frames are left out, each with a reason.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from micromotion.errors import NoFaceError
from micromotion.face.alignment import align
from micromotion.face.crop import crop_quad, ffhq_quad
from micromotion.learn import ordering
from micromotion.learn.crop_selection import FEWEST, Crop, candidates, choose
from micromotion.learn.ordering import fit_path, one_axis_share, orient_path, steadiness
from micromotion.learn.track import Track, find_people, find_tracks
from micromotion.motion.anchors import MAX_ANCHORS, Anchors
from micromotion.option_checks import check_whole
from micromotion.runtime.device_memory import deterministic, translate_oom
from micromotion.video.driving_video import DrivingVideo, DrivingVideoError, open_driving_video
from micromotion.weights.bundle import Bundle
from micromotion.weights.bundle_record import file_record

OnProgress = Callable[[int, int], None]

CROP = 256  # the inverters' input, in pixels
BATCH = 8
NAMED_FACES = 2  # other faces listed in a message
MIN_CHANGE = 0.05  # least length of a motion's path; unit: the distance between two people
MIN_STEADINESS = 2.5  # see `steadiness`: trembling alone exceeds it in less than 1% of videos
MIN_ONE_AXIS_SHARE = 0.72  # see `one_axis_share`: trembling alone has up to 0.65, motions 0.86 or more


@dataclass(frozen=True)
class SampledFrame:
    """A frame of a video, or a picture of a series: its number, from 0; its time; why it was used or left
    out.
    """

    number: int
    seconds: float
    reason: str


@dataclass(frozen=True)
class SeenFace:
    """A face in a video.

    number: as in the option `face`, 0 is the clearest. across, down: its first position, as fractions of the
    picture's width and height. first, last: seconds. frames: how many show it.
    """

    number: int
    across: float
    down: float
    first: float
    last: float
    frames: int

    def __str__(self) -> str:
        return (
            f"face {self.number} ({100 * self.across:.0f}% across, {100 * self.down:.0f}% down, "
            f"{self.first:.2f} to {self.last:.2f} s)"
        )


@dataclass(frozen=True, eq=False)
class Collected:
    """Anchors, and the frames they were collected from.

    kept: the used frames, with their degree; left_out: the others, with the reason; both in order of time.
    followed: the tracked face of a video; others: the other faces in it, the best first.
    """

    anchors: Anchors
    kept: tuple[SampledFrame, ...]
    left_out: tuple[SampledFrame, ...]
    followed: SeenFace | None = None
    others: tuple[SeenFace, ...] = ()


def collect_from_video(
    path: str | Path, bundle: Bundle, *, count: int = 11, face: int = 0, on_progress: OnProgress | None = None
) -> Collected:
    """Collect anchors from the motion of one face in a video, evenly spaced along the motion.

    Face 0 is the clearest in the first frames, 1 the next; after a cut, a face is followed further only if
    its latents match. Frames without the face, with the face partly outside, blurred frames and outliers are
    left out. The anchors are evenly spaced, by arc length in W+, on a smooth curve through the remaining
    latents.

    Degree 0, the rest pose, is the pose at the beginning of the video; degree 1 is the far end of the motion.
    If the video begins within a sixth of either end of the motion, the rest pose is that end (a blink, a
    smile; it may be repeated). If the motion goes both ways about the rest pose (a nod, a head shake),
    degrees start below 0, and 1 is the end that is reached first, unless the other one is much further away.

    Args:
        path: a video that `open_driving_video` reads; at most MAX_FRAMES of its frames are used.
        count: number of anchors, 2 to MAX_ANCHORS.
        face: which face to follow, 0 is the clearest (see `track.find_people`).
        on_progress: called with (done, total); each frame counts twice, when searched and when inverted.

    Raises:
        DrivingVideoError: the video cannot be read, has no motion, or fewer usable frames than `count`.
        NoFaceError: no face was found, or none of this number. OptionError: `count`, `face`.
        DeviceMemoryError: the GPU has too little memory.
    """
    check_whole("count", count, 2, MAX_ANCHORS)
    check_whole("face", face, 0, 99)
    path = Path(path)
    video = open_driving_video(path)
    done = _counter(2 * len(video), on_progress)
    frames, tracks = find_tracks(video, lambda _: done())
    people = find_people(tracks)
    main = _chosen(path, people, face)
    crops = candidates(tracks, main)
    latents, sharpness = _invert_crops(video, crops, bundle, done)
    kept, reasons = choose(crops, latents.flatten(1).double().numpy(), sharpness, _variety(bundle))
    taken = [crops[i].frame for i in kept]
    left_out = tuple(
        SampledFrame(*frames[at], reasons.get(at, "the face was not found"))
        for at in range(len(frames))
        if at not in set(taken)
    )
    ours = [main, *(tracks[number - 1] for number in {crops[i].track for i in kept} if number)]
    followed, others = _faces(people, face, ours)
    about = f"; {describe_faces(followed, others)}" if others else ""
    _require_enough(path, len(kept), left_out, max(count, FEWEST), about)
    motion, rest = _motion(path, latents[kept], bundle, about)
    full = motion.length - rest
    places = np.linspace(0, motion.length, count)
    provenance: dict[str, str | int | float] = {
        "source": "video",
        "file": path.name,
        "sha256": str(file_record(path)["sha256"]),
        "model": bundle.name,
        "frames": video.frames,
        "frames_looked_at": len(frames),
        "frames_kept": len(kept),
        "frames_left_out": len(left_out),
        "face": face,
        "other_faces": len(others),
        "seconds": round(frames[-1][1], 3),
    }
    w_plus = torch.from_numpy(motion.at(places)).view(count, *latents.shape[1:])
    return Collected(
        Anchors(w_plus, torch.from_numpy((places - rest) / full), provenance),
        tuple(
            SampledFrame(*frames[at], _degree_text((place - rest) / full))
            for at, place in zip(taken, motion.places.tolist(), strict=True)
        ),
        left_out,
        followed,
        others,
    )


def describe_faces(followed: SeenFace, others: Sequence[SeenFace]) -> str:
    """A clause that says which face was followed and which others were seen; "" if there are no others."""
    if not others:
        return ""
    named = ", ".join(map(str, others[:NAMED_FACES]))
    if others[NAMED_FACES:]:
        named += f" and {len(others) - NAMED_FACES} more"
    were = "another face was" if len(others) == 1 else "other faces were"
    return f"{followed} was followed, but {were} seen, {named}; --face {others[0].number} follows it"


def _chosen(path: Path, people: list[list[Track]], face: int) -> Track:
    """The main track of the face of this number; raises NoFaceError if there is none."""
    if not people:
        raise NoFaceError(
            f"No face was found in {str(path)!r}: record one face from the front, close up, in good light."
        )
    if face >= len(people):
        found = "1 face was" if len(people) == 1 else f"{len(people)} faces were"
        raise NoFaceError(
            f"Only {found} found in {str(path)!r}: face must be below {len(people)}, not {face}."
        )
    return people[face][0]


def _faces(
    people: list[list[Track]], face: int, ours: Sequence[Track]
) -> tuple[SeenFace, tuple[SeenFace, ...]]:
    """The followed face, and the other faces: people with none of `ours`, the tracks matched by latent."""
    others = (
        _seen(number, person)
        for number, person in enumerate(people)
        if number != face and not any(each is one for each in person for one in ours)
    )
    return _seen(face, people[face]), tuple(others)


def _seen(number: int, person: Sequence[Track]) -> SeenFace:
    sightings = sorted((one for track in person for one in track), key=lambda one: one.frame)
    across, down = sightings[0].landmarks.mean(axis=0) / sightings[0].picture
    return SeenFace(
        number, float(across), float(down), sightings[0].seconds, sightings[-1].seconds, len(sightings)
    )


def collect_from_images(
    paths: Sequence[str | Path], bundle: Bundle, *, on_progress: OnProgress | None = None
) -> Collected:
    """Collect anchors from pictures of one face, in order from the rest pose to the full motion.

    One anchor per picture: degree 0 is the first, 1 the last, and the others are spaced by arc length in W+.
    Pictures without a face are left out. A `SampledFrame`'s number is its index in `paths`, its seconds are
    0. on_progress: called with (done, total).

    Raises:
        DrivingVideoError: fewer than 2 or more than MAX_ANCHORS pictures, fewer than 2 with a face, or two
            consecutive pictures that are the same.
        NoFaceError: none shows a face. ImageError: a picture cannot be read. DeviceMemoryError: the GPU has
            too little memory.
    """
    if not 2 <= len(paths) <= MAX_ANCHORS:
        raise DrivingVideoError(
            f"A motion needs 2 to {MAX_ANCHORS} pictures, from rest pose to full motion, not {len(paths)}."
        )
    done = _counter(len(paths), on_progress)
    numbers: list[int] = []
    latents: list[torch.Tensor] = []
    left_out: list[SampledFrame] = []
    for number, path in enumerate(paths):
        try:
            latents.append(invert_pictures([align(path, CROP).image], bundle))
            numbers.append(number)
        except NoFaceError:
            left_out.append(SampledFrame(number, 0.0, "no face was found"))
        done()
    if not numbers:
        raise NoFaceError(
            f"No face was found in any of the {len(paths)} pictures: try frontal, well-lit faces."
        )
    if len(numbers) < 2:
        raise DrivingVideoError(
            f"A face was found only in {str(paths[numbers[0]])!r}, but a motion needs 2 pictures."
        )
    w_plus = torch.cat(latents)
    steps = w_plus.flatten(1).double().diff(dim=0).norm(dim=1)
    if not bool((steps > 1e-6 * steps.sum()).all()):
        same = int(steps.argmin())
        first, second = (str(paths[numbers[i]]) for i in (same, same + 1))
        raise DrivingVideoError(
            f"{first!r} and {second!r} show the same face without a motion: leave one out."
        )
    degrees = torch.cat([steps.new_zeros(1), steps.cumsum(0)]) / steps.sum()
    provenance: dict[str, str | int | float] = {
        "source": "images",
        "model": bundle.name,
        "pictures": len(paths),
        "pictures_kept": len(numbers),
        "pictures_left_out": len(left_out),
    }
    for number in numbers:
        path = Path(paths[number])
        provenance |= {f"file_{number}": path.name, f"sha256_{number}": str(file_record(path)["sha256"])}
    kept = tuple(
        SampledFrame(number, 0.0, _degree_text(degree))
        for number, degree in zip(numbers, degrees.tolist(), strict=True)
    )
    return Collected(Anchors(w_plus, degrees, provenance), kept, tuple(left_out))


def _require_enough(
    path: Path, usable: int, left_out: tuple[SampledFrame, ...], needed: int, about: str
) -> None:
    if usable >= needed:
        return
    reasons = [frame.reason for frame in left_out]
    why = "; ".join(f"{reasons.count(reason)}: {reason}" for reason in dict.fromkeys(reasons))
    raise DrivingVideoError(
        f"{str(path)!r} has {_counted(usable, 'usable frame')} of the {usable + len(left_out)} examined, but"
        f" {needed} are needed{f' ({why})' if why else ''}: record longer, or ask for fewer anchors{about}."
    )


def _motion(path: Path, latents: torch.Tensor, bundle: Bundle, about: str) -> tuple[ordering.Path, float]:
    """The path through latents [n, styles, dim] in order of time, and the arc length of the rest pose."""
    flat = latents.flatten(1).double().numpy()
    motion = fit_path(flat)
    trembles = steadiness(motion.places) < MIN_STEADINESS or one_axis_share(flat) < MIN_ONE_AXIS_SHARE
    if trembles or motion.length < MIN_CHANGE * _variety(bundle):
        raise DrivingVideoError(
            f"No motion was found in {str(path)!r}: its {len(latents)} usable frames look the same,"
            " or tremble more than they move; record a slower or a larger motion, and cut the video to it"
            f"{about}."
        )
    return orient_path(motion)


def _invert_crops(
    video: DrivingVideo, crops: list[Crop], bundle: Bundle, done: Callable[[], None]
) -> tuple[torch.Tensor, np.ndarray]:
    """Latents [n, styles, dim], float32 on the CPU, and sharpness [n] of the crops, in a second pass."""
    latents: list[torch.Tensor] = []
    sharpness: list[float] = []
    batch: list[Image.Image] = []
    for image in _cropped(video, crops, done):
        batch.append(image)
        sharpness.append(_sharpness(image))
        if len(batch) == BATCH:
            latents.append(invert_pictures(batch, bundle))
            batch = []
    if batch:
        latents.append(invert_pictures(batch, bundle))
    return torch.cat(latents), np.array(sharpness)


def _cropped(video: DrivingVideo, crops: list[Crop], done: Callable[[], None]) -> Iterator[Image.Image]:
    """The crops' pictures; crops and pictures are in the order of the frames."""
    waiting = iter(crops)
    crop = next(waiting, None)
    for index, frame in enumerate(video):
        while crop is not None and crop.frame == index:
            yield crop_quad(frame.image, ffhq_quad(crop.landmarks), CROP)
            crop = next(waiting, None)
        done()


def invert_pictures(images: list[Image.Image], bundle: Bundle) -> torch.Tensor:
    """Latents of aligned RGB pictures: [n, styles, dim], float32 on the CPU."""
    inverter = bundle.inverter.to(bundle.device)  # it may have been offloaded to make room for the generator
    pixels = torch.from_numpy(np.stack([np.asarray(image) for image in images])).permute(0, 3, 1, 2)
    with translate_oom("inverting the faces", bundle.device), torch.inference_mode(), deterministic():
        return inverter.invert(pixels.to(bundle.device) / 127.5 - 1).float().cpu()


def _sharpness(image: Image.Image) -> float:
    """The root mean square of the gray picture's Laplacian in the centre, where the face is."""
    quarter = image.width // 4
    face = image.crop((quarter, quarter, image.width - quarter, image.height - quarter))
    gray = np.asarray(face.convert("L").reduce(2)).astype(np.float32)
    inner = gray[1:-1, 1:-1]
    curve = 4 * inner - gray[:-2, 1:-1] - gray[2:, 1:-1] - gray[1:-1, :-2] - gray[1:-1, 2:]
    return float(np.sqrt(np.mean(curve**2)))


def _variety(bundle: Bundle) -> float:
    """The typical distance in W+ between the latents of two people."""
    generator = bundle.generator
    z = torch.randn(64, generator.config.z_dim, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        w = generator.mapping(z.to(next(generator.mapping.parameters()).device)).double()
    return math.sqrt(2 * generator.num_styles * float(w.var(dim=0).sum()))


def _counter(total: int, on_progress: OnProgress | None) -> Callable[[], None]:
    """A function that reports, at each call, one more of `total` as done."""
    done = 0

    def count() -> None:
        nonlocal done
        done = min(done + 1, total)
        if on_progress:
            on_progress(done, total)

    return count


def _counted(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def _degree_text(degree: float) -> str:
    return f"at {round(degree, 2) + 0.0:.2f} of the motion"  # + 0.0 turns -0.0 into 0.0

"""Anchors of a new micromotion from a clip of a face that makes it, or from a row of pictures.

The face is followed and cropped the same way in each frame, inverted into W+, and the codes are put in the
order of the motion. Frames that do not help are left out, each with the reason told.
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
from micromotion.learn.choosing import FEWEST, Crop, candidates, choose
from micromotion.learn.footage import Footage, FootageError, open_footage
from micromotion.learn.ordering import from_rest, lay_path, one_way, steadiness
from micromotion.learn.track import Track, find_people, find_tracks
from micromotion.motion.anchors import MAX_ANCHORS, Anchors
from micromotion.options import check_whole
from micromotion.runtime.device_memory import deterministic, translate_oom
from micromotion.weights.bundle import Bundle
from micromotion.weights.bundle_record import file_record

OnProgress = Callable[[int, int], None]

CROP = 256  # the inverters' input, in pixels
BATCH = 8
TOLD = 2  # other faces that are named
MIN_CHANGE = 0.05  # least length of a motion's path, in distances between two people
MIN_STEADINESS = 2.5  # see `steadiness`: trembling comes to as much in less than one clip of a hundred
MIN_ONE_WAY = 0.72  # see `one_way`: clips that only tremble have up to 0.65, motions 0.86 or more


@dataclass(frozen=True)
class SampledFrame:
    """A frame of a clip, or a picture of a row: its number, from 0; its time; why it was kept or left out."""

    number: int
    seconds: float
    reason: str


@dataclass(frozen=True)
class SeenFace:
    """A face of a clip: its number, the best 0, as `face` takes it; where its middle first is, in parts of
    the picture's width and height; its first and last second; and in how many frames it was seen.
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
    """Anchors, and what became of every frame that was looked at: those kept, with the degree found in each,
    and those left out, with the reason; both in order of time. Of a clip also the face that was followed, and
    the other faces that were seen, the best first.
    """

    anchors: Anchors
    kept: tuple[SampledFrame, ...]
    left_out: tuple[SampledFrame, ...]
    followed: SeenFace | None = None
    others: tuple[SeenFace, ...] = ()


def collect_from_video(
    path: str | Path, bundle: Bundle, *, count: int = 11, face: int = 0, on_progress: OnProgress | None = None
) -> Collected:
    """Anchors of the motion that one face makes in a clip, at even steps along it.

    Face 0 is the clearest of the first frames, 1 the next; after a cut a face is taken up again only where
    its code says that it is the same. Left out are frames without it or that it is leaving, blurred ones, and
    those whose code lies far from the rest. The anchors lie evenly, by arc length in W+, along a smooth curve
    through the codes that are left.

    *Rest*, degree 0, is where the face is when the clip begins; degree 1 is the far end of the motion. Where
    the clip begins within a sixth of the motion's either end, rest is that end (a blink, a smile; how often
    it is repeated does not matter). Where the motion goes both ways about rest (nodding, shaking the head),
    the degrees begin below 0, and 1 is the end that is gone to first, unless the other is far further away.

    Args:
        path: a clip as `open_footage` reads it, to at most MAX_FRAMES frames.
        count: how many anchors, 2 to MAX_ANCHORS.
        face: which of several faces to follow, counted from 0, the best (see `track.find_people`).
        on_progress: called with (done, total); each frame counts twice, when searched and when inverted.

    Raises:
        FootageError: the clip cannot be read, holds no motion, or fewer usable frames than `count`.
        NoFaceError: no face was found, or none of this number. OptionError: `count`, `face`.
        DeviceMemoryError: a GPU is too small.
    """
    check_whole("count", count, 2, MAX_ANCHORS)
    check_whole("face", face, 0, 99)
    path = Path(path)
    footage = open_footage(path)
    done = _counter(2 * len(footage), on_progress)
    frames, tracks = find_tracks(footage, lambda still: done())
    people = find_people(tracks)
    main = _chosen(path, people, face)
    crops = candidates(tracks, main)
    codes, sharpness = _invert_crops(footage, crops, bundle, done)
    kept, reasons = choose(crops, codes.flatten(1).double().numpy(), sharpness, _variety(bundle))
    taken = [crops[i].frame for i in kept]
    left_out = tuple(
        SampledFrame(*frames[at], reasons.get(at, "the face was not found"))
        for at in range(len(frames))
        if at not in set(taken)
    )
    ours = [main, *(tracks[number - 1] for number in {crops[i].track for i in kept} if number)]
    followed, others = _faces(people, face, ours)
    about = f"; {tell_faces(followed, others)}" if others else ""
    _require_enough(path, len(kept), left_out, max(count, FEWEST), about)
    motion, rest = _motion(path, codes[kept], bundle, about)
    full = motion.length - rest
    places = np.linspace(0, motion.length, count)
    provenance: dict[str, str | int | float] = {
        "source": "video",
        "file": path.name,
        "sha256": str(file_record(path)["sha256"]),
        "model": bundle.name,
        "frames": footage.frames,
        "frames_looked_at": len(frames),
        "frames_kept": len(kept),
        "frames_left_out": len(left_out),
        "face": face,
        "other_faces": len(others),
        "seconds": round(frames[-1][1], 3),
    }
    w_plus = torch.from_numpy(motion.at(places)).view(count, *codes.shape[1:])
    return Collected(
        Anchors(w_plus, torch.from_numpy((places - rest) / full), provenance),
        tuple(
            SampledFrame(*frames[at], _told((place - rest) / full))
            for at, place in zip(taken, motion.places.tolist(), strict=True)
        ),
        left_out,
        followed,
        others,
    )


def tell_faces(followed: SeenFace, others: Sequence[SeenFace]) -> str:
    """Which face was followed and which others were seen, as a part of a sentence; "" where it was alone."""
    if not others:
        return ""
    named = ", ".join(map(str, others[:TOLD])) + (f" and {len(others) - TOLD} more" if others[TOLD:] else "")
    were = "another face was" if len(others) == 1 else "other faces were"
    return f"{followed} was followed, but {were} seen, {named}; --face {others[0].number} follows it"


def _chosen(path: Path, people: list[list[Track]], face: int) -> Track:
    """The track to begin with; raises NoFaceError where there is no face of this number."""
    if not people:
        raise NoFaceError(
            f"No face was found in {str(path)!r}: film one face from the front, in good light, not from afar."
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
    """The face that was followed, and the others: those that none of our tracks, known by code, is of."""
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
    """Anchors of a motion from pictures of one face that makes it, given in order from rest to full.

    One anchor a picture: 0 is the first one, 1 the last, and those between lie where the way through W+ from
    picture to picture puts them. Pictures without a face are left out. numbers are places in `paths`, seconds
    are 0. `on_progress` is called with (done, total).

    Raises:
        FootageError: fewer than 2 or more than MAX_ANCHORS pictures are given, fewer than 2 show a face, or
            two of them that follow each other are the same.
        NoFaceError: none shows a face. ImageError: a picture cannot be read. DeviceMemoryError: a GPU is too
            small.
    """
    if not 2 <= len(paths) <= MAX_ANCHORS:
        raise FootageError(
            f"A motion needs 2 to {MAX_ANCHORS} pictures, from rest to full, but these are {len(paths)}."
        )
    done = _counter(len(paths), on_progress)
    numbers: list[int] = []
    codes: list[torch.Tensor] = []
    left_out: list[SampledFrame] = []
    for number, path in enumerate(paths):
        try:
            codes.append(_invert([align(path, CROP).image], bundle))
            numbers.append(number)
        except NoFaceError:
            left_out.append(SampledFrame(number, 0.0, "no face was found"))
        done()
    if not numbers:
        raise NoFaceError(
            f"No face was found in any of the {len(paths)} pictures: try frontal, well-lit ones."
        )
    if len(numbers) < 2:
        raise FootageError(
            f"Only {str(paths[numbers[0]])!r} shows a face that can be found, but a motion needs 2 pictures."
        )
    w_plus = torch.cat(codes)
    steps = w_plus.flatten(1).double().diff(dim=0).norm(dim=1)
    if not bool((steps > 1e-6 * steps.sum()).all()):
        same = int(steps.argmin())
        first, second = (str(paths[numbers[i]]) for i in (same, same + 1))
        raise FootageError(f"{first!r} and {second!r} show the same face without a motion: leave one out.")
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
        SampledFrame(number, 0.0, _told(degree))
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
    raise FootageError(
        f"{str(path)!r} has {_counted(usable, 'usable frame')} of the {usable + len(left_out)} looked at, but"
        f" {needed} are needed{f' ({why})' if why else ''}: film longer, or ask for fewer anchors{about}."
    )


def _motion(path: Path, codes: torch.Tensor, bundle: Bundle, about: str) -> tuple[ordering.Path, float]:
    """The path through codes [n, styles, dim] in order of time, and the place of rest on it."""
    flat = codes.flatten(1).double().numpy()
    motion = lay_path(flat)
    trembles = steadiness(motion.places) < MIN_STEADINESS or one_way(flat) < MIN_ONE_WAY
    if trembles or motion.length < MIN_CHANGE * _variety(bundle):
        raise FootageError(
            f"No motion was found in {str(path)!r}: its {len(codes)} usable frames look the same,"
            " or tremble more than they move; film a slower or a larger motion, and cut the clip to it"
            f"{about}."
        )
    return from_rest(motion)


def _invert_crops(
    footage: Footage, crops: list[Crop], bundle: Bundle, done: Callable[[], None]
) -> tuple[torch.Tensor, np.ndarray]:
    """Codes [n, styles, dim], float32 on the CPU, and sharpness [n] of crops, in a second pass."""
    codes: list[torch.Tensor] = []
    sharpness: list[float] = []
    batch: list[Image.Image] = []
    for image in _cropped(footage, crops, done):
        batch.append(image)
        sharpness.append(_sharpness(image))
        if len(batch) == BATCH:
            codes.append(_invert(batch, bundle))
            batch = []
    if batch:
        codes.append(_invert(batch, bundle))
    return torch.cat(codes), np.array(sharpness)


def _cropped(footage: Footage, crops: list[Crop], done: Callable[[], None]) -> Iterator[Image.Image]:
    """The crops' pictures, in their order, which is that of the frames."""
    waiting = iter(crops)
    crop = next(waiting, None)
    for index, still in enumerate(footage):
        while crop is not None and crop.frame == index:
            yield crop_quad(still.image, ffhq_quad(crop.landmarks), CROP)
            crop = next(waiting, None)
        done()


def _invert(images: list[Image.Image], bundle: Bundle) -> torch.Tensor:
    """Codes of aligned RGB pictures: [n, styles, dim], float32 on the CPU."""
    inverter = bundle.inverter.to(bundle.device)  # it may have given way to the generator
    pixels = torch.from_numpy(np.stack([np.asarray(image) for image in images])).permute(0, 3, 1, 2)
    with translate_oom("finding the faces' codes", bundle.device), torch.inference_mode(), deterministic():
        return inverter.invert(pixels.to(bundle.device) / 127.5 - 1).float().cpu()


def _sharpness(image: Image.Image) -> float:
    """The root mean square of the gray picture's Laplacian, in its middle, where the face is."""
    quarter = image.width // 4
    face = image.crop((quarter, quarter, image.width - quarter, image.height - quarter))
    gray = np.asarray(face.convert("L").reduce(2)).astype(np.float32)
    inner = gray[1:-1, 1:-1]
    curve = 4 * inner - gray[:-2, 1:-1] - gray[2:, 1:-1] - gray[1:-1, :-2] - gray[1:-1, 2:]
    return float(np.sqrt(np.mean(curve**2)))


def _variety(bundle: Bundle) -> float:
    """How far apart the codes of two people of the model typically lie in W+."""
    generator = bundle.generator
    z = torch.randn(64, generator.config.z_dim, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        w = generator.mapping(z.to(next(generator.mapping.parameters()).device)).double()
    return math.sqrt(2 * generator.num_styles * float(w.var(dim=0).sum()))


def _counter(total: int, on_progress: OnProgress | None) -> Callable[[], None]:
    """Each call tells that one more of `total` is done."""
    done = 0

    def count() -> None:
        nonlocal done
        done = min(done + 1, total)
        if on_progress:
            on_progress(done, total)

    return count


def _counted(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def _told(degree: float) -> str:
    return f"at {round(degree, 2) + 0.0:.2f} of the motion"  # + 0.0: no minus before nothing

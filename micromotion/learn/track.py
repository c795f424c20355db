"""Track faces through a driving video, with landmarks that do not tremble.

Every detected face is linked to the most similar one of the frames before, by position, size and appearance;
a face that cannot be linked starts a new track. A second face is therefore another track, and so is any face
after a cut: the tracker never guesses that two tracks show the same person
(`micromotion.learn.crop_selection` compares their latents).
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from micromotion.face.detection import Detection, detect
from micromotion.face.landmarks import find_landmarks
from micromotion.face.tiles import Box
from micromotion.video.driving_video import DrivingFrame

SEARCH_SIDE = 800
"""Long side of the frame for detection, in pixels; a face of a twentieth of it is still found."""

MAX_FACES = 4
"""Most faces tracked per frame, the best first."""

FIRST_FRAMES = 8
"""The person is the clearest face in the first FIRST_FRAMES frames that show a face."""

MIN_SEEN = 3
"""Fewest frames of any other face; fewer may be a false detection."""

MAX_GAP = 0.5  # seconds that a face may be hidden and still be linked
MAX_MOVE = 0.5  # furthest move between two frames, in widths of the face
MAX_GROWTH = 0.35  # largest change of size, as a logarithm
MAX_CHANGE = 16.0  # largest mean change of the face's thumbnail, in gray levels
_THUMB = 6
_SMOOTHING = 0.08  # seconds, sigma

# Landmarks from shifted and enlarged boxes differ, and their mean is steadier. The method of `find_landmarks`
# for a single photo takes five times as long; here the neighbouring frames steady the crop.
_SHIFTS = ((0, 0, 0), (0.03, 0, 0), (-0.03, 0, 0), (0, 0.03, 0), (0, -0.03, 0), (0, 0, 0.04), (0, 0, -0.04))


@dataclass(frozen=True, eq=False)
class Sighting:
    """A face in one frame.

    frame: index among the used frames; seconds: its time. box: the detector's, in the frame's pixels; rank:
    see `Detection.rank`, with box widths in pixels of a frame of SEARCH_SIDE or less. landmarks: [68, 2]
    float64. thumb: [6, 6, 3] float32 in 0…255, the area of the landmarks. picture: width and height of the
    frame in pixels.
    """

    frame: int
    seconds: float
    box: Box
    rank: float
    landmarks: np.ndarray
    thumb: np.ndarray
    picture: tuple[int, int] = (0, 0)


Track = list[Sighting]


def find_tracks(
    video: Iterable[DrivingFrame], on_frame: Callable[[DrivingFrame], None] | None = None
) -> tuple[list[tuple[int, float]], list[Track]]:
    """Number and seconds of all frames of a video, and the tracks of the faces in them.

    A track has its sightings in order of time, at most one per frame, with gaps of up to half a second.
    Frames are streamed. Raises what iterating `video` raises.
    """
    frames: list[tuple[int, float]] = []
    tracks: list[Track] = []
    for index, frame in enumerate(video):
        seen = [
            _sighting(index, frame, found, scale)
            for scale, detections in [search(frame.image)]
            for found in detections
        ]
        _link(tracks, seen, frames[-1][1] if frames else 0.0)
        frames.append((frame.number, frame.seconds))
        if on_frame:
            on_frame(frame)
    return frames, tracks


def find_people(tracks: Sequence[Track]) -> list[list[Track]]:
    """The people in a video, each as a list of tracks; both lists are sorted, the best first.

    Sorted by how clear the face is in the first FIRST_FRAMES frames that show a face; faces
    that appear later come last. Two tracks are one person's if one begins where the other ended, however much
    later, and looks the same. A person other than the first needs at least MIN_SEEN frames.
    """
    people: list[list[Track]] = []
    for track in _ranked(tracks) if tracks else []:
        same = next((person for person in people if any(_follow(track, other) for other in person)), None)
        if same is None:
            people.append([track])
        elif {each.frame for each in track}.isdisjoint(each.frame for other in same for each in other):
            same.append(track)
    return people[:1] + [person for person in people[1:] if sum(map(len, person)) >= MIN_SEEN]


def _ranked(tracks: Sequence[Track]) -> list[Track]:
    """Tracks by their best rank in the first FIRST_FRAMES frames that show a face; then all others."""
    last = sorted({sighting.frame for track in tracks for sighting in track})[:FIRST_FRAMES][-1]

    def clearest(track: Track) -> tuple[bool, float]:
        first = [sighting.rank for sighting in track if sighting.frame <= last]
        return bool(first), max(first or [sighting.rank for sighting in track])

    return sorted(tracks, key=clearest, reverse=True)


def _follow(one: Track, other: Track) -> bool:
    """Whether one track begins where the other ended, and looks the same."""
    early, late = sorted((one, other), key=lambda track: track[0].frame)
    return early[-1].frame < late[0].frame and _dissimilarity(early[-1], late[0]) is not None


def steady_landmarks(track: Track) -> np.ndarray:
    """The landmarks of a track, smoothed over time: [n, 68, 2] float64.

    dlib finds each landmark independently per frame, with an error of about a pixel; crops from such
    landmarks tremble, and the inverter takes trembling for motion. Only the face's shape, the landmarks
    relative to their mean, is smoothed; the mean is far more precise and follows a shaking camera. Local
    linear regression with Gaussian weights of 0.08 s, by true times, neither lags nor flattens at the ends,
    and leaves frames further apart than that unchanged (Cleveland 1979).
    """
    times = np.array([sighting.seconds for sighting in track])
    points = np.stack([sighting.landmarks for sighting in track])
    centre = points.mean(axis=1, keepdims=True)
    shape = (points - centre).reshape(len(track), -1)
    smooth = line_weights(times, times, np.full(len(times), _SMOOTHING)) @ shape
    return smooth.reshape(points.shape) + centre


def line_weights(at: np.ndarray, known: np.ndarray, widths: np.ndarray) -> np.ndarray:
    """Weights [m, n] that smooth values at `known` [n]: local linear regression, evaluated at `at` [m].

    widths: [m], the Gaussian's sigma for each evaluated position. Rows sum to 1; straight lines stay
    unchanged.
    """
    away = known[None] - at[:, None]
    weights = np.exp(-0.5 * np.minimum((away / widths[:, None]) ** 2, 200.0)) + 1e-80
    total = weights.sum(axis=1, keepdims=True)
    mean = (weights * away).sum(axis=1, keepdims=True) / total
    centred = away - mean
    spread = (weights * centred**2).sum(axis=1, keepdims=True) / total
    tilt = np.where(spread > 1e-6 * widths[:, None] ** 2, mean / np.maximum(spread, 1e-300), 0.0)
    return weights / total * (1 - tilt * centred)


def search(image: Image.Image) -> tuple[float, list[Detection]]:
    """The scale of a copy of at most SEARCH_SIDE, and the faces in it, best first, in the copy's pixels."""
    small = image.copy()
    small.thumbnail((SEARCH_SIDE, SEARCH_SIDE), Image.Resampling.BILINEAR, reducing_gap=2.0)
    return image.width / small.width, detect(small)[:MAX_FACES]


def _sighting(index: int, frame: DrivingFrame, found: Detection, scale: float) -> Sighting:
    left, top, right, bottom = (round(scale * edge) for edge in found.box)
    side = right - left
    corner = left - side // 2, top - side // 2
    near = frame.image.crop((*corner, right + side // 2, bottom + side // 2))
    inside = (left - corner[0], top - corner[1], right - corner[0], bottom - corner[1])
    readings = [find_landmarks(near, _shifted(inside, *shift), compatible=True) for shift in _SHIFTS]
    landmarks = np.mean(readings, axis=0)
    (x, y), reach = landmarks.mean(axis=0), 2.0 * landmarks.std()
    face = (round(x - reach), round(y - reach), round(x + reach), round(y + reach))
    thumb = near.resize((_THUMB, _THUMB), Image.Resampling.BOX, box=_clipped(face, near.size))
    return Sighting(
        index,
        frame.seconds,
        (left, top, right, bottom),
        found.rank,
        landmarks + corner,
        np.asarray(thumb).astype(np.float32),
        frame.image.size,
    )


def _shifted(box: Box, right: float, down: float, growth: float) -> Box:
    side = box[2] - box[0]
    return (
        round(box[0] + side * (right - growth)),
        round(box[1] + side * (down - growth)),
        round(box[2] + side * (right + growth)),
        round(box[3] + side * (down + growth)),
    )


def _clipped(box: Box, size: tuple[int, int]) -> Box:
    left, top = min(max(box[0], 0), size[0] - 1), min(max(box[1], 0), size[1] - 1)
    return left, top, max(min(box[2], size[0]), left + 1), max(min(box[3], size[1]), top + 1)


def _link(tracks: list[Track], seen: list[Sighting], before: float) -> None:
    """Append each sighting to the track it continues, the most similar pairs first, or start a new track.

    before: time of the previous frame, whose faces may be linked however long ago it was.
    """
    pairs = sorted(
        (cost, which, one)
        for which, track in enumerate(tracks)
        for one, sighting in enumerate(seen)
        if track[-1].seconds >= min(before, sighting.seconds - MAX_GAP)
        and (cost := _dissimilarity(track[-1], sighting)) is not None
    )
    continued: set[int] = set()
    linked: set[int] = set()
    for _, which, one in pairs:
        if which not in continued and one not in linked:
            tracks[which].append(seen[one])
            continued.add(which)
            linked.add(one)
    tracks.extend([sighting] for one, sighting in enumerate(seen) if one not in linked)


def _dissimilarity(last: Sighting, now: Sighting) -> float | None:
    """How different two sightings are, 0…3; None if they cannot show the same face."""
    (x, y, side), (new_x, new_y, new_side) = _place(last.box), _place(now.box)
    move = float(np.hypot(new_x - x, new_y - y)) / side
    growth = abs(float(np.log(new_side / side)))
    change = float(np.abs(now.thumb - last.thumb).mean())
    if move > MAX_MOVE or growth > MAX_GROWTH or change > MAX_CHANGE:
        return None
    return move / MAX_MOVE + growth / MAX_GROWTH + change / MAX_CHANGE


def _place(box: Box) -> tuple[float, float, float]:
    """Centre and width of a box."""
    return (box[0] + box[2]) / 2, (box[1] + box[3]) / 2, max(1.0, float(box[2] - box[0]))

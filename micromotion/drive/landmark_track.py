"""Follow one face through a video: in each frame its landmarks, steady to a fifth of a pixel, and its irises.

dlib's landmarks of one box are off by most of a pixel. So they are read in 25 boxes, each shifted a little,
of a crop that is level and of fixed size, placed by the frame before; their mean is four times as steady, and
their spread tells where it is not to be trusted. The video is streamed: of a frame only numbers are kept.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from itertools import islice, product

import numpy as np
from PIL import Image

from micromotion.drive.gaze import NOWHERE, find_irises
from micromotion.errors import NoFaceError
from micromotion.face.crop import AlignedFace
from micromotion.face.detection import detect_once
from micromotion.face.landmark_trees import gray_as_dlib, landmark_trees
from micromotion.face.landmarks import landmark_model, landmark_readings, moved_boxes
from micromotion.face.tiles import Box
from micromotion.learn.track import Sighting, find_people, find_tracks, search
from micromotion.runtime.parallel import read_ahead
from micromotion.types import Floats, Frame
from micromotion.video.driving_video import DrivingFrame, DrivingVideo

CROP = 384
"""Side of the level crop in pixels."""

FIRST_FRAMES = 8
"""The face is chosen among those of so many frames, from the first that shows one."""

_BOX = 1.8  # the crop's side over that of dlib's box
_WIDE, _TALL = 1.17 * 2.0, 1.17 * 1.9  # dlib's box in distances between the eyes, and from eyes to mouth
_BOXES = [(0.03 * right, 0.03 * down, 0.0) for right, down in product(range(-2, 3), repeat=2)]
_CHECK = 160  # side at which the crop is searched for a face, which is then 89 pixels wide
_THUMB = 8
_MAX_CHANGE = 24.0  # gray levels between the thumbnails of one person
_ADAPTING = 0.1  # per frame: how fast the person's usual look follows the light
_MAX_STEP, _MAX_GROWTH = 0.5, 0.2  # eye distances, logarithm: between two frames of a face that was not seen
_PATIENCE = 3  # frames without the face before it is searched for in the whole picture
_SEARCH_EVERY = 3  # of the frames after that
_LOOK_ROUND = 1.0  # seconds between two looks for other people
_STRIDE, _EAGER = 5, 25  # beyond the first 25 frames every fifth is searched for the first face


@dataclass(frozen=True, eq=False)
class FaceTrack:
    """What each of the n frames shows of one face.

    seconds: [n], since the first frame. seen: bool [n], whether the face is there. landmarks: [n, 68, 2], in
    the frame's pixels; where the face is not seen they are guesses, before its first frame zeros. spread:
    [n, 68], the landmarks' standard deviation between boxes, in eye distances. irises: [n, 2, 2], each iris's
    place from the middle of the eye's corners, (right, down) along the eye, in eye widths; NaN where the eye
    is shut. looks: [n, 8, 8, 3], small pictures of the face, in gray levels. others: the most other faces in
    one frame.
    """

    seconds: Floats
    seen: np.ndarray
    landmarks: Floats
    spread: Floats
    irises: Floats
    looks: Floats
    others: int

    def __len__(self) -> int:
        return len(self.seconds)


def track_face(
    video: DrivingVideo, face: int = 0, on_frame: Callable[[int], None] | None = None
) -> FaceTrack:
    """Follow a face through all frames; 0 is the clearest in the first frames that show one, 1 the next.

    on_frame is called with the number of frames done; what it raises ends the work. Frames are decoded ahead
    in another thread.

    Raises:
        NoFaceError: there is no face, or none of this number. DrivingVideoError: the video is damaged.
    """
    start, people = _first_people(video, on_frame)
    if face >= len(people):
        found = "no face" if not people else f"{len(people)} face{'s' if len(people) > 1 else ''}"
        raise NoFaceError(
            f"The video shows {found}"
            + (f", and there is no face {face}: 0 is the first." if people else ": choose another video.")
        )
    follower = _Follower(people[face], start)
    with closing(read_ahead(video)) as frames:
        for index, frame in enumerate(frames):
            follower.look(index, frame)
            if on_frame:
                on_frame(index + 1)
    return follower.track(len(people) - 1)


def _first_people(video: DrivingVideo, on_frame: Callable[[int], None] | None) -> tuple[int, list[Sighting]]:
    """The index of the first frame that shows a face; each person's first sighting, the clearest first."""
    for index, frame in enumerate(video):
        if index > _EAGER and index % _STRIDE:
            continue
        if on_frame:
            on_frame(0)
        if search(frame.image)[1]:
            break
    else:
        return 0, []
    _, tracks = find_tracks(islice(video, index, index + FIRST_FRAMES))
    return index, [person[0][0] for person in find_people(tracks)]


@dataclass
class _Follower:
    """Follows one face from frame to frame, and keeps what it saw."""

    first: Sighting
    start: int
    rows: list[tuple[float, bool, Floats, Floats, Floats, Floats]] = field(default_factory=list)
    others: int = 0
    known: Floats | None = None  # landmarks of the last frame that is trusted
    usual: Floats | None = None  # the person's usual look
    missed: int = 0
    looked_round: float = -_LOOK_ROUND

    def look(self, index: int, frame: DrivingFrame) -> None:
        """Read the next frame."""
        picture = frame.image
        if index == self.start + self.first.frame:
            self.known = self.first.landmarks
            self.known = _read(picture, self.known).landmarks
        if self.known is None:
            self._keep(frame.seconds, False, _Reading.nothing())
            return
        if self.missed > _PATIENCE and self.missed % _SEARCH_EVERY == 0:
            self._search(picture)
        reading = _read(picture, self.known)
        seen = reading.shows_face and self._looks_alike(reading.look)
        if seen or _near(reading.landmarks, self.known):
            self.known = reading.landmarks
        if seen:
            usual = reading.look if self.usual is None else self.usual
            self.usual = usual + _ADAPTING * (reading.look - usual)
        self.missed = 0 if seen else self.missed + 1
        self._keep(frame.seconds, seen, reading)
        if frame.seconds >= self.looked_round + _LOOK_ROUND:
            self.looked_round = frame.seconds
            self.others = max(self.others, sum(1 for _ in self._others(picture)))

    def track(self, others: int) -> FaceTrack:
        seconds, seen, landmarks, spread, irises, looks = (np.array(c) for c in zip(*self.rows, strict=True))
        return FaceTrack(seconds, seen, landmarks, spread, irises, looks, max(others, self.others))

    def _keep(self, seconds: float, seen: bool, reading: _Reading) -> None:
        self.rows.append((seconds, seen, reading.landmarks, reading.spread, reading.irises, reading.look))

    def _looks_alike(self, look: Floats) -> bool:
        return self.usual is None or bool(np.abs(look - self.usual).mean() < _MAX_CHANGE)

    def _search(self, picture: Image.Image) -> None:
        """Look for the lost face in the whole picture; if one looks like it, go on from there."""
        for landmarks in _faces(picture):
            reading = _read(picture, landmarks)
            if reading.shows_face and self._looks_alike(reading.look):
                self.known = reading.landmarks
                return

    def _others(self, picture: Image.Image) -> Iterator[Floats]:
        """The landmarks of faces that are not ours."""
        assert self.known is not None
        for landmarks in _faces(picture):
            away = np.linalg.norm(landmarks.mean(axis=0) - self.known.mean(axis=0))
            if away > 1.5 * _eye_distance(self.known):
                yield landmarks


@dataclass(frozen=True, eq=False)
class _Reading:
    """One frame's landmarks and more, as in `FaceTrack`; whether the detector finds a face there."""

    landmarks: Floats
    spread: Floats
    irises: Floats
    look: Floats
    shows_face: bool

    @classmethod
    def nothing(cls) -> _Reading:
        return cls(
            np.zeros((68, 2)), np.zeros(68), np.full((2, 2), NOWHERE), np.zeros((_THUMB, _THUMB, 3)), False
        )


def _faces(picture: Image.Image) -> Iterator[Floats]:
    """Rough landmarks of the faces in a picture, best first: those of one box each."""
    scale, found = search(picture)
    for one in found:
        left, top, right, bottom = (round(scale * edge) for edge in one.box)
        yield landmark_readings(np.asarray(picture), (left, top, right, bottom), [(0, 0, 0)])[0]


def _read(picture: Image.Image, near: Floats) -> _Reading:
    """Read the face of which `near` [68, 2] are the landmarks, or those of the frame before."""
    crop = _level_crop(picture, near)
    pixels: Frame = np.asarray(crop.image)
    readings = _read_boxes(pixels, moved_boxes(crop.box, _BOXES))
    mean = readings.mean(axis=0)
    return _Reading(
        landmarks=crop.to_source(mean),
        spread=np.linalg.norm(readings.std(axis=0), axis=1) / _eye_distance(mean),
        irises=find_irises(pixels, mean),
        look=np.asarray(crop.image.resize((_THUMB, _THUMB), Image.Resampling.BOX, box=crop.box)).astype(
            np.float64
        ),
        shows_face=_shows_face(crop.image),
    )


def _read_boxes(pixels: Frame, boxes: list[Box]) -> Floats:
    """The landmarks in each box, [n, 68, 2], as of `landmark_readings`."""
    return landmark_trees(landmark_model()).readings(gray_as_dlib(pixels), boxes)


def _level_crop(picture: Image.Image, landmarks: Floats) -> AlignedFace:
    """The square [CROP, CROP] around a face, its eyes level, and dlib's box in it."""
    eyes, mouth = landmarks[36:48].mean(axis=0), landmarks[48:60].mean(axis=0)
    across = landmarks[42:48].mean(axis=0) - landmarks[36:42].mean(axis=0)
    apart = max(float(np.linalg.norm(across)), 1.0)
    half = _BOX / 2 * max(_WIDE * apart, _TALL * float(np.linalg.norm(mouth - eyes)))
    right = half * across / apart
    down = np.array([-right[1], right[0]])
    middle = landmarks[17:].mean(axis=0)
    quad = middle + np.array([-right - down, -right + down, right + down, right - down])
    low, high = round(CROP * (0.5 - 0.5 / _BOX)), round(CROP * (0.5 + 0.5 / _BOX))
    return AlignedFace(_cut(picture, quad), quad, (low, low, high, high), None, None)


def _cut(picture: Image.Image, quad: Floats) -> Image.Image:
    """The square `quad` of a picture at CROP × CROP, anti-aliased; black beyond the picture."""
    low, high = np.floor(quad.min(axis=0)).astype(int) - 2, np.ceil(quad.max(axis=0)).astype(int) + 3
    low, high = np.clip(low, 0, picture.size), np.clip(high, 0, picture.size)
    shrink = max(1, int(np.linalg.norm(quad[3] - quad[0]) / (1.5 * CROP)))
    if shrink > 1 and (high - low).min() > shrink:
        picture, corners = picture.reduce(shrink, box=(*low.tolist(), *high.tolist())), (quad + 0.5 - low)
        corners = corners / shrink
    else:
        corners = quad + 0.5
    right, down = (corners[3] - corners[0]) / CROP, (corners[1] - corners[0]) / CROP
    matrix = (right[0], down[0], corners[0, 0], right[1], down[1], corners[0, 1])
    return picture.transform((CROP, CROP), Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR)


def _shows_face(crop: Image.Image) -> bool:
    """Whether the detector finds a face of about the right size in the middle of a level crop."""
    small = crop.resize((_CHECK, _CHECK), Image.Resampling.BILINEAR)
    for left, top, right, bottom in (found.box for found in detect_once(small)):
        away = np.hypot(left + right - _CHECK, top + bottom - _CHECK) / 2
        if away < 0.2 * _CHECK and right - left < 0.9 * _CHECK:
            return True
    return False


def _near(landmarks: Floats, known: Floats) -> bool:
    """Whether a face could have moved so far between two frames."""
    distance, before = _eye_distance(landmarks), _eye_distance(known)
    step = np.linalg.norm(landmarks.mean(axis=0) - known.mean(axis=0)) / before
    return bool(step < _MAX_STEP and abs(np.log(distance / before)) < _MAX_GROWTH)


def _eye_distance(landmarks: Floats) -> float:
    apart = np.linalg.norm(landmarks[42:48].mean(axis=0) - landmarks[36:42].mean(axis=0))
    return max(float(apart), 1e-3)

"""Which faces of a clip are the person's, and which of their codes belong to the motion.

Every face that might be is inverted (`candidates`); then the codes tell who it is, and which are out of line.
"""

from dataclasses import dataclass

import numpy as np

from micromotion.face.crop import ffhq_quad
from micromotion.face.tiles import Box
from micromotion.learn.ordering import strangeness
from micromotion.learn.track import Track, steady_landmarks

MIN_SHARPNESS = 0.4  # of the median frame's
MAX_TURN = 0.6  # sine of the angle between a code's movement and the plane of the motion
SAME_PERSON = 0.1  # in distances between two people: tracks this near to each other are one person's
MIN_STRANGE = 0.06  # likewise: a code this near to the motion's plane always belongs
HALF = 0.5  # of a crop: less within the picture is always too little
MIN_INSIDE = 0.85  # of what nearly all of the person's crops have within the picture
_PROBES = 32  # points along a crop's side that are asked whether they lie within the picture
FEWEST = 5  # frames that a plane of motion can be laid through


@dataclass(frozen=True, eq=False)
class Crop:
    """A face that may be the person's.

    frame: where it was seen. landmarks: what it is cropped by. track: which one, counted from 1, the
    person's own is 0. free: no other face is in the way. inside: how much of the crop lies within the
    picture, 0…1.
    """

    frame: int
    landmarks: np.ndarray
    track: int
    free: bool
    inside: float


def candidates(tracks: list[Track], main: Track) -> list[Crop]:
    """The faces to invert, by frame: those of the person's track, and any in frames where that is not."""
    taken = {sighting.frame for sighting in main}
    boxes: dict[int, list[Box]] = {}
    for sighting in (one for track in tracks for one in track):
        boxes.setdefault(sighting.frame, []).append(sighting.box)
    crops = [
        Crop(
            sighting.frame,
            landmarks,
            0 if track is main else number,
            _free(sighting.box, boxes[sighting.frame]),
            _inside(ffhq_quad(landmarks), sighting.picture),
        )
        for number, track in enumerate(tracks, 1)
        if track is main or taken.isdisjoint(sighting.frame for sighting in track)
        for sighting, landmarks in zip(track, steady_landmarks(track), strict=True)
    ]
    return sorted(crops, key=lambda crop: crop.frame)


def _inside(quad: np.ndarray, picture: tuple[int, int]) -> float:
    """How much of a crop, by its corners [4, 2], lies within a picture of this width and height: 0…1."""
    places = (np.arange(_PROBES) + 0.5) / _PROBES
    right, down = places[:, None, None] * (quad[3] - quad[0]), places[:, None] * (quad[1] - quad[0])
    points = quad[0] + right + down + 0.5
    return float(((points >= 0) & (points <= picture)).all(axis=-1).mean())


def _free(box: Box, all_boxes: list[Box]) -> bool:
    """Whether no other face's box comes nearer to a face's than a quarter of its width: heads are wider."""
    reach = (box[2] - box[0]) // 4
    return not any(
        other != box
        and other[0] < box[2] + reach
        and other[2] > box[0] - reach
        and other[1] < box[3] + reach
        and other[3] > box[1] - reach
        for other in all_boxes
    )


def choose(
    crops: list[Crop], codes: np.ndarray, sharpness: np.ndarray, variety: float
) -> tuple[list[int], dict[int, str]]:
    """Which crops to keep, at most one a frame, by growing time; and why other frames are left out.

    codes are [n, D]; variety is the distance of two people's.
    """
    tracks = np.array([crop.track for crop in crops])
    sharp = sharpness >= MIN_SHARPNESS * np.median(sharpness[tracks == 0])
    free = np.array([crop.free for crop in crops])
    inside = np.array([crop.inside for crop in crops])
    whole = inside >= max(HALF, MIN_INSIDE * np.quantile(inside[tracks == 0], 0.9))
    main = _same_person(tracks, codes, sharp & free & whole, SAME_PERSON * variety)
    trusted = main & sharp & free & whole
    belongs, far = trusted, np.where(main, 0.0, 1.0)
    if trusted.sum() >= FEWEST:  # else there is too little to compare others with
        far, moved = strangeness(codes, trusted)
        # A bent motion leaves its plane: far out, what moves mostly along with the others still belongs.
        belongs = trusted & (
            (far <= max(MIN_STRANGE * variety, _limit(far[trusted]))) | (far <= MAX_TURN * moved)
        )
    kept: dict[int, int] = {}
    reasons: dict[int, str] = {}
    for i in np.argsort(far, kind="stable"):
        at = crops[i].frame
        if belongs[i]:
            kept.setdefault(at, int(i))
        elif not sharp[i]:
            reasons.setdefault(at, "the face is blurred")
        elif main[i] and not whole[i]:
            reasons.setdefault(at, "the face leaves the picture")
        elif not free[i]:
            reasons.setdefault(at, "another face is in the way")
        elif main[i]:
            reasons.setdefault(at, "its code is far from the rest")
        else:
            reasons.setdefault(at, "the face was lost, and the one seen here may be another's")
    return [kept[at] for at in sorted(kept)], {at: why for at, why in reasons.items() if at not in kept}


def _same_person(tracks: np.ndarray, codes: np.ndarray, clear: np.ndarray, reach: float) -> np.ndarray:
    """Which crops are of the person's tracks: 0 and those that come as near as `reach` to them, a mask [n].

    tracks: [n]; codes: [n, D]. A track is one face's throughout, so it is asked where it comes nearest: a
    quarter of its clear crops must be near to one of the person's, before or after a cut.
    """
    ours = tracks == 0
    grown = True
    while grown:
        grown = False
        for track in np.unique(tracks[clear & ~ours]):
            theirs = clear & (tracks == track)
            near = [
                np.linalg.norm(codes[ours & clear] - code, axis=1).min(initial=np.inf)
                for code in codes[theirs]
            ]
            if np.quantile(near, 0.25) <= reach:
                ours |= tracks == track
                grown = True
    return ours


def _limit(far: np.ndarray) -> float:
    """The largest strangeness that still belongs: six robust deviations above the median, or 2.5 times it."""
    median = float(np.median(far))
    return max(median + 6 * 1.4826 * float(np.median(np.abs(far - median))), 2.5 * median)

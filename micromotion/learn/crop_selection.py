"""Select the crops of a driving video that show the person and belong to the motion.

`candidates` lists the crops to invert; `choose` then compares their latents to find the person's crops, and
to discard outliers.
"""

from dataclasses import dataclass

import numpy as np

from micromotion.face.crop import ffhq_quad
from micromotion.face.tiles import Box
from micromotion.learn.ordering import outlier_distance
from micromotion.learn.track import Track, steady_landmarks

MIN_SHARPNESS = 0.4  # relative to the median of the main track's crops
MAX_TURN = 0.6  # sine of the angle between a latent's offset and the plane of the motion
SAME_PERSON = 0.1  # tracks closer than this are of one person; unit: the distance between two people
MIN_OUTLIER_DISTANCE = 0.06  # in the same unit; latents nearer to the motion's plane are never outliers
HALF = 0.5  # smallest part of any crop that must be inside the picture
MIN_INSIDE = 0.85  # the same, relative to the 90th percentile of the person's crops
_PROBES = 32  # sample points per side of a crop
FEWEST = 5  # fewest frames to which a plane of motion can be fitted


@dataclass(frozen=True, eq=False)
class Crop:
    """A face that may be the person's.

    frame: index of its frame. landmarks: those that define the crop. track: number of its track, from 1; 0
    for the main track. free: no other face is near it. inside: the part of the crop within the picture, 0…1.
    """

    frame: int
    landmarks: np.ndarray
    track: int
    free: bool
    inside: float


def candidates(tracks: list[Track], main: Track) -> list[Crop]:
    """The faces to invert, by frame: the main track's, and those of tracks that share no frame with it."""
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
    """The part, 0…1, of a crop with corners [4, 2] that lies within a picture of this width and height."""
    steps = (np.arange(_PROBES) + 0.5) / _PROBES
    right, down = steps[:, None, None] * (quad[3] - quad[0]), steps[:, None] * (quad[1] - quad[0])
    points = quad[0] + right + down + 0.5
    return float(((points >= 0) & (points <= picture)).all(axis=-1).mean())


def _free(box: Box, all_boxes: list[Box]) -> bool:
    """Whether no other box is within a quarter of this box's width; a head is wider than its box."""
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
    crops: list[Crop], latents: np.ndarray, sharpness: np.ndarray, variety: float
) -> tuple[list[int], dict[int, str]]:
    """The indices of the crops to use, at most one per frame, by time; and per rejected frame the reason.

    latents: [n, D]. variety: the typical distance between two people's latents.
    """
    tracks = np.array([crop.track for crop in crops])
    sharp = sharpness >= MIN_SHARPNESS * np.median(sharpness[tracks == 0])
    free = np.array([crop.free for crop in crops])
    inside = np.array([crop.inside for crop in crops])
    whole = inside >= max(HALF, MIN_INSIDE * np.quantile(inside[tracks == 0], 0.9))
    main = _same_person(tracks, latents, sharp & free & whole, SAME_PERSON * variety)
    trusted = main & sharp & free & whole
    belongs, far = trusted, np.where(main, 0.0, 1.0)
    if trusted.sum() >= FEWEST:  # too few latents have no outliers
        far, moved = outlier_distance(latents, trusted)
        # A curved motion leaves its plane, so a distant latent belongs if it moves mostly within the plane.
        belongs = trusted & (
            (far <= max(MIN_OUTLIER_DISTANCE * variety, _limit(far[trusted]))) | (far <= MAX_TURN * moved)
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
            reasons.setdefault(at, "its latent is an outlier")
        else:
            reasons.setdefault(at, "the face was lost, and this one may be another person's")
    return [kept[at] for at in sorted(kept)], {at: why for at, why in reasons.items() if at not in kept}


def _same_person(tracks: np.ndarray, latents: np.ndarray, clear: np.ndarray, reach: float) -> np.ndarray:
    """A mask [n] of the crops that show the person: track 0, and all tracks within `reach` of it.

    tracks: [n]; latents: [n, D]. A track shows one face throughout, so only its nearest crops count: a
    quarter of its clear crops must lie within `reach` of one of the person's, for example across a cut.
    """
    ours = tracks == 0
    grown = True
    while grown:
        grown = False
        for track in np.unique(tracks[clear & ~ours]):
            theirs = clear & (tracks == track)
            near = [
                np.linalg.norm(latents[ours & clear] - latent, axis=1).min(initial=np.inf)
                for latent in latents[theirs]
            ]
            if np.quantile(near, 0.25) <= reach:
                ours |= tracks == track
                grown = True
    return ours


def _limit(far: np.ndarray) -> float:
    """The largest outlier_distance that still belongs: six robust deviations above the median, or 2.5 times
    it.
    """
    median = float(np.median(far))
    return max(median + 6 * 1.4826 * float(np.median(np.abs(far - median))), 2.5 * median)

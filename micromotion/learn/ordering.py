"""Latent codes of a clip's frames, in the order of the motion: which fit together, the path they lie on.

Codes are rows of [n, D] float64 arrays. Times do not matter here: a nod that goes down and up passes the same
places twice.
"""

from dataclasses import dataclass

import numpy as np

from micromotion.learn.track import line_weights

_FOLDS = 5
_RANK = 2  # a motion's path bends: a line and a curve
_ROUNDS = 6
_GRID = 33
_WIDTH = 1 / 12  # of the path: how far neighbours smooth a place on it
_UNEVEN = 2.5  # ends this much further away than the other are the motion, the other its recoil
_EDGE = 1 / 6  # of the path: rest this near to an end is that end


@dataclass(frozen=True, eq=False)
class Path:
    """The curve that codes lie along.

    codes: [n, D], what it was laid through. places: [n], how far along each lies, from 0. length: the whole
    path's, in the codes' unit.
    """

    codes: np.ndarray
    places: np.ndarray
    length: float

    def at(self, places: np.ndarray) -> np.ndarray:
        """The codes [m, D] at places [m] along the path, each smoothed over its neighbours."""
        return _line_weights(places, self.places, self.length) @ self.codes


def strangeness(codes: np.ndarray, trusted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How far each code [n, D] lies from the plane of motion of the trusted ones (a mask [n]), and from their
    median: two of [n].

    The plane has two dimensions, through the trusted codes' median, by spherical PCA: each code counts by its
    direction alone, so that a wild one does not turn the plane (Locantore et al. 1999, "Robust principal
    component analysis for functional data"). No code helps to lay the plane that it is measured by.
    """
    away = codes - np.median(codes[trusted], axis=0)
    unit = away / np.maximum(np.linalg.norm(away, axis=1, keepdims=True), 1e-12)
    result = np.empty(len(codes))
    for fold in range(_FOLDS):
        asked = np.arange(len(codes)) % _FOLDS == fold
        basis = np.linalg.svd(unit[trusted & ~asked], full_matrices=False)[2][:_RANK]
        result[asked] = np.linalg.norm(away[asked] - away[asked] @ basis.T @ basis, axis=1)
    return result, np.linalg.norm(away, axis=1)


def lay_path(codes: np.ndarray) -> Path:
    """A smooth curve through codes [n, D], n ≥ 3, and where each lies along it.

    A principal curve (Hastie and Stuetzle 1989): from the codes' first principal component, smoothed over
    neighbours and projected on to, in turns. Its direction is arbitrary.
    """
    centred = codes - codes.mean(axis=0)
    left, sizes, _ = np.linalg.svd(centred, full_matrices=False)
    scores = (left * sizes)[:, : min(10, len(codes) - 1)]  # the rest is noise that only lengthens the way
    places = scores[:, 0] - scores[:, 0].min()
    length = float(places.max())
    for _ in range(_ROUNDS):
        curve = _line_weights(np.linspace(0, length, _GRID), places, length) @ scores
        places, length = _project(scores, curve)
        if length <= 1e-9:
            break
    return Path(codes, places, length)


def from_rest(path: Path, start: int = 3) -> tuple[Path, float]:
    """The path turned so that it runs towards the full motion, and the place of rest on it.

    The codes are in order of time. Rest is where the first `start` of them lie, in the median: near an end,
    it is that end, and the motion goes one way (a blink, a smile). Else the motion goes both ways about rest
    (a nod, a turning head), and runs towards the end that the face moves to first, unless the other is more
    than _UNEVEN times further away.
    """
    rest = float(np.median(path.places[:start]))
    forth, back = path.length - rest, rest
    towards_end = forth > back
    if max(forth, back) < _UNEVEN * min(forth, back):
        beyond = (path.places - rest) / path.length
        first = np.flatnonzero(np.abs(beyond) > 0.9 * _EDGE)
        towards_end = bool(beyond[first[0]] > 0) if len(first) else towards_end
    if not towards_end:
        path, rest = Path(path.codes, path.length - path.places, path.length), path.length - rest
    return path, (0.0 if rest < _EDGE * path.length else rest)


def steadiness(places: np.ndarray) -> float:
    """Whether places [n], in order of time, move on rather than tremble: in standard deviations of trembling.

    Places drawn one by one from anywhere differ from the next by as much as from any other (von Neumann 1941,
    "Distribution of the ratio of the mean square successive difference to the variance").
    """
    count = len(places)
    ratio = np.square(np.diff(places)).mean() / (2 * max(float(places.var(ddof=1)), 1e-300))
    return float((1 - ratio) / np.sqrt((count - 2) / (count**2 - 1)))


def one_way(codes: np.ndarray) -> float:
    """How much of the variance of codes [n, D], n ≥ 2, lies along their first principal component, 0 to 1.

    A motion goes one way; what trembles goes all ways, also where smoothing over time has made it slow.
    """
    sizes = np.square(np.linalg.svd(codes - codes.mean(axis=0), compute_uv=False))
    return float(sizes[0] / max(float(sizes.sum()), 1e-300))


def _line_weights(at: np.ndarray, known: np.ndarray, length: float) -> np.ndarray:
    """`line_weights` as wide as _WIDTH of the path, or wide enough for the three nearest."""
    third = np.sort(np.abs(known[None] - at[:, None]), axis=1)[:, min(2, len(known) - 1)]
    return line_weights(at, known, np.maximum(max(_WIDTH * length, 1e-12), third))


def _project(points: np.ndarray, curve: np.ndarray) -> tuple[np.ndarray, float]:
    """How far along a polyline [m, d] the point nearest to each of [n, d] lies, and the part that is used."""
    steps = np.diff(curve, axis=0)
    lengths = np.linalg.norm(steps, axis=1)
    begins = np.concatenate([[0.0], np.cumsum(lengths)])[:-1]
    away = points[:, None] - curve[None, :-1]  # [n, m − 1, d]
    part = np.clip((away * steps).sum(axis=2) / np.maximum(lengths**2, 1e-300), 0, 1)
    distance = ((away - part[..., None] * steps) ** 2).sum(axis=2)
    nearest = distance.argmin(axis=1)
    rows = np.arange(len(points))
    places = begins[nearest] + part[rows, nearest] * lengths[nearest]
    return places - places.min(), float(np.ptp(places))

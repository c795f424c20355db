"""Order the latents of a video's frames along the motion: outliers, the path through them, its direction.

Latents are rows of [n, D] float64 arrays. Time does not matter here: a nod passes the same positions on its
way down and up.
"""

from dataclasses import dataclass

import numpy as np

from micromotion.learn.track import line_weights

_FOLDS = 5
_RANK = 2  # a motion's path bends: a line and a curve
_ROUNDS = 6
_GRID = 33
_WIDTH = 1 / 12  # sigma of the smoothing, as a fraction of the path
_UNEVEN = 2.5  # an end this many times further than the other is the motion, the other its recoil
_EDGE = 1 / 6  # a rest pose this near to an end, as a fraction of the path, is that end


@dataclass(frozen=True, eq=False)
class Path:
    """A smooth curve through latents.

    latents: [n, D], those it was fitted to. places: [n], each latent's arc length along the path, from 0.
    length: of the whole path, in the latents' unit.
    """

    latents: np.ndarray
    places: np.ndarray
    length: float

    def at(self, places: np.ndarray) -> np.ndarray:
        """The latents [m, D] at arc lengths [m] along the path, each smoothed over its neighbours."""
        return _line_weights(places, self.places, self.length) @ self.latents


def outlier_distance(latents: np.ndarray, trusted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Each latent's distance from the plane of motion, and from the median: two arrays [n].

    latents: [n, D]; trusted: mask [n] of those that define plane and median. The plane has two dimensions and
    passes through the median; it is found by spherical PCA, in which only a latent's direction counts, so
    that outliers do not tilt the plane (Locantore et al. 1999, "Robust principal component analysis for
    functional data"). Cross-validated: no latent contributes to the plane from which its own distance is
    measured.
    """
    away = latents - np.median(latents[trusted], axis=0)
    unit = away / np.maximum(np.linalg.norm(away, axis=1, keepdims=True), 1e-12)
    result = np.empty(len(latents))
    for fold in range(_FOLDS):
        asked = np.arange(len(latents)) % _FOLDS == fold
        basis = np.linalg.svd(unit[trusted & ~asked], full_matrices=False)[2][:_RANK]
        result[asked] = np.linalg.norm(away[asked] - away[asked] @ basis.T @ basis, axis=1)
    return result, np.linalg.norm(away, axis=1)


def fit_path(latents: np.ndarray) -> Path:
    """A smooth curve through latents [n, D], n ≥ 3, and each latent's arc length along it.

    A principal curve (Hastie and Stuetzle 1989): starts from the latents' first principal component, then
    alternates smoothing and projection. Its direction is arbitrary.
    """
    centred = latents - latents.mean(axis=0)
    left, sizes, _ = np.linalg.svd(centred, full_matrices=False)
    scores = (left * sizes)[
        :, : min(10, len(latents) - 1)
    ]  # further components are noise that only lengthens the path
    places = scores[:, 0] - scores[:, 0].min()
    length = float(places.max())
    for _ in range(_ROUNDS):
        curve = _line_weights(np.linspace(0, length, _GRID), places, length) @ scores
        places, length = _project(scores, curve)
        if length <= 1e-9:
            break
    return Path(latents, places, length)


def orient_path(path: Path, start: int = 3) -> tuple[Path, float]:
    """The path directed towards the full motion, and the arc length of the rest pose on it.

    The latents are in order of time. The rest pose is the median of the first `start` of them. If it is near
    an end, it is that end, and the motion goes one way (a blink, a smile). Otherwise the motion goes both
    ways (a nod, a head shake), and is directed to the end that is reached first, unless the other end is more
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
        path, rest = Path(path.latents, path.length - path.places, path.length), path.length - rest
    return path, (0.0 if rest < _EDGE * path.length else rest)


def steadiness(places: np.ndarray) -> float:
    """How much arc lengths [n], in order of time, move steadily rather than tremble: a z-score.

    The null hypothesis is independent values, which differ from their successor as much as from any other
    (von Neumann 1941, "Distribution of the ratio of the mean square successive difference to the variance").
    """
    count = len(places)
    ratio = np.square(np.diff(places)).mean() / (2 * max(float(places.var(ddof=1)), 1e-300))
    return float((1 - ratio) / np.sqrt((count - 2) / (count**2 - 1)))


def one_axis_share(latents: np.ndarray) -> float:
    """The share, 0 to 1, of the variance of latents [n, D], n ≥ 2, along their first principal component.

    A motion has one axis; trembling goes in all directions, even after smoothing over time.
    """
    sizes = np.square(np.linalg.svd(latents - latents.mean(axis=0), compute_uv=False))
    return float(sizes[0] / max(float(sizes.sum()), 1e-300))


def _line_weights(at: np.ndarray, known: np.ndarray, length: float) -> np.ndarray:
    """`line_weights` with a sigma of _WIDTH of the path, or as large as the three nearest need."""
    third = np.sort(np.abs(known[None] - at[:, None]), axis=1)[:, min(2, len(known) - 1)]
    return line_weights(at, known, np.maximum(max(_WIDTH * length, 1e-12), third))


def _project(points: np.ndarray, curve: np.ndarray) -> tuple[np.ndarray, float]:
    """Project points [n, d] onto a polyline [m, d]: their arc lengths, from 0, and the length they span."""
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

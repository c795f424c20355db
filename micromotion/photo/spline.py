"""The smoothest displacement field through scattered points: a thin-plate spline."""

import numpy as np
from numpy.typing import NDArray

from micromotion.photo.sampling import product, turned
from micromotion.types import Floats


class ThinPlate:
    """A field with about `values` at `anchors` and minimal bending energy (Bookstein 1989).

    anchors: [n, 2]; values: [n, d]; softness: [n] or a number, how far the field may miss an anchor to be
    smoother, in squared units of the anchors (Wahba's smoothing spline); 0 interpolates. Anchors should be
    within about a unit square, as the system is not normalised.
    """

    def __init__(self, anchors: Floats, values: Floats, softness: Floats | float = 0.0) -> None:
        count = len(anchors)
        system = np.zeros((count + 3, count + 3))
        system[:count, :count] = _bending(anchors, anchors)
        system[np.arange(count), np.arange(count)] += softness
        system[:count, count:] = _affine(anchors)
        system[count:, :count] = _affine(anchors).T
        right = np.zeros((count + 3, values.shape[1]))
        right[:count] = values
        self._anchors = np.asarray(anchors, np.float64)
        self._weights = np.linalg.solve(system, right)

    def __call__(self, points: Floats) -> Floats:
        """The field [..., d] at points [..., 2]."""
        flat = np.asarray(points, np.float64).reshape(-1, 2)
        count = len(self._anchors)
        bent = product(_bending(flat, self._anchors), self._weights[:count].astype(np.float32))
        field = bent.astype(np.float64) + turned(flat, self._weights[count + 1 :].T) + self._weights[count]
        found: Floats = field.reshape(*points.shape[:-1], -1)
        return found


def square_border(count: int = 7) -> Floats:
    """Points around the unit square, `count` on each side: [4 * (count - 1), 2]."""
    edge = np.linspace(0, 1, count)
    return np.array([(x, y) for x in edge for y in edge if x in (0, 1) or y in (0, 1)])


def _bending(points: Floats, centres: Floats) -> NDArray[np.float32]:
    """r² log r² of every point to every centre, [n, m].

    Single precision is four times as fast; as the weights are small, the error is 1e-6 of the square.
    """
    at, around = points.astype(np.float32), centres.astype(np.float32)
    square = (at[:, :1] - around[:, 0]) ** 2 + (at[:, 1:] - around[:, 1]) ** 2
    bending: NDArray[np.float32] = square * np.log(square + np.float32(1e-12))
    return bending


def _affine(points: Floats) -> Floats:
    return np.concatenate([np.ones((len(points), 1)), points], axis=1)

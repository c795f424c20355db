"""A face in a frame of a video, without a picture."""

import numpy as np

from micromotion.learn.track import Sighting


def sighting(frame: int, left: int, side: int = 60, shade: float = 100.0, rank: float = 100.0) -> Sighting:
    points = np.random.default_rng(frame).normal((left + side / 2, 50), 1, (68, 2))
    thumb = np.full((6, 6, 3), shade, np.float32)
    return Sighting(frame, frame / 25, (left, 20, left + side, 20 + side), rank, points, thumb)

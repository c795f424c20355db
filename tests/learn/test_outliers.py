"""Outliers among few latents, and far ones; and smoothing of landmarks preserves a blink."""

import numpy as np
import pytest

from micromotion.learn.ordering import outlier_distance
from micromotion.learn.track import Sighting, steady_landmarks


def arc(count: int) -> np.ndarray:
    """Latents [count, 40] of a motion, in order, on a slightly bent line with a little noise."""
    rng = np.random.default_rng(4)
    frame = np.linalg.qr(rng.normal(size=(40, 40)))[0][:2]
    turns = np.linspace(0, 1, count)
    points = 10 * np.stack([np.cos(turns), np.sin(turns)], axis=1)
    return points @ frame + 0.05 * rng.normal(size=(count, 40))


@pytest.mark.parametrize("size", [10.0, 1000.0])
def test_an_outlier_among_few_does_not_define_its_own_plane(size: float) -> None:
    latents = arc(11)
    away = np.random.default_rng(5).normal(size=40)
    latents[7] += size * away / np.linalg.norm(away)
    far, _ = outlier_distance(latents, np.ones(11, bool))
    assert far[7] > 0.5 * size


def test_a_far_outlier_does_not_tilt_the_plane_of_the_others() -> None:
    """Only its direction counts, however far it is."""
    latents = arc(60)
    before, _ = outlier_distance(latents, np.ones(60, bool))
    away = np.random.default_rng(5).normal(size=(2, 40))
    latents[[20, 41]] += 1e4 * away / np.linalg.norm(away, axis=1, keepdims=True)
    after, _ = outlier_distance(latents, np.ones(60, bool))
    others = np.delete(np.arange(60), [20, 41])
    assert after[others].max() < 2 * before.max()


def test_smoothed_landmarks_still_blink() -> None:
    """Lids that close for a fifth of a second still visibly close."""
    frames, fps, rng = 50, 25, np.random.default_rng(6)
    shape = rng.uniform(100, 200, (68, 2))
    closed = np.exp(-0.5 * ((np.arange(frames) - 25) / 2.5) ** 2)
    track = []
    for frame in range(frames):
        points = shape.copy()
        points[[37, 38, 43, 44], 1] += 8 * closed[frame]
        track.append(Sighting(frame, frame / fps, (100, 100, 200, 200), 1.0, points, np.zeros((6, 6, 3))))
    lids = steady_landmarks(track)[:, 37, 1] - steady_landmarks(track)[:, 39, 1]
    assert np.ptp(lids) > 0.6 * 8

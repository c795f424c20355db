"""The rest pose is found where the face does nothing, even if it rarely does."""

import numpy as np

from micromotion.drive.measures import brow_height
from micromotion.drive.rest import find_rest, usual_openness
from micromotion.photo.head import landmarks_in_depth


def resting(frames: int) -> np.ndarray:
    """Shapes of a face at rest with open eyes and a closed mouth of people's usual width."""
    shape = landmarks_in_depth()[:, :2] * [1, -1]
    shape /= np.linalg.norm(shape[42:48].mean(axis=0) - shape[36:42].mean(axis=0))
    for first in (36, 42):
        middle = (shape[first, 1] + shape[first + 3, 1]) / 2
        shape[[first + 1, first + 2], 1], shape[[first + 4, first + 5], 1] = middle - 0.06, middle + 0.06
    shape[60:68, 1] = shape[[48, 54], 1].mean() + 0.01
    noise = np.random.default_rng(1).normal(0, 0.002, (frames, 68, 2))
    moved: np.ndarray = shape + noise
    return moved


def test_a_held_expression_is_not_the_rest_pose() -> None:
    shapes = resting(60)
    shapes[:45, [48, 54]] += np.array([[-0.15, -0.08], [0.15, -0.08]])
    shapes[:45, [65, 66, 67], 1] += 0.2
    found = find_rest(shapes, np.zeros((60, 2)))
    assert len(found) == 5
    assert (found >= 45).all()


def test_a_frown_is_not_the_rest_pose_of_a_person_unlike_others() -> None:
    """High brows are this person's looks, not what the face does."""
    shapes = resting(48)
    usual = brow_height(shapes).mean()
    shapes[:, 17:27, 1] -= 0.47 - usual
    frown = slice(20, 31)
    shapes[frown, 17:27, 1] += 0.13
    found = find_rest(shapes, np.zeros((48, 2)))
    assert not np.isin(found, np.arange(48)[frown]).any()


def test_shut_eyes_and_a_turned_head_are_not_the_rest_pose() -> None:
    shapes, angles = resting(60), np.zeros((60, 2))
    shapes[:20, [37, 38, 43, 44], 1] += 0.1
    angles[20:40] = 20, 0
    found = find_rest(shapes, angles)
    assert (found >= 40).all()


def test_a_clip_of_one_frame_rests_in_it() -> None:
    assert find_rest(resting(1), np.zeros((1, 2))).tolist() == [0]


def test_the_usual_openness_ignores_blinks_and_stays_within_what_eyes_have() -> None:
    ratios = np.full((100, 2), 0.3)
    ratios[40:60] = 0.1
    np.testing.assert_allclose(usual_openness(ratios), 0.3)
    np.testing.assert_allclose(usual_openness(np.full((9, 2), 0.1)), 0.24)

"""Poses of synthetic landmarks, in float64, and what remains when they are taken out."""

import numpy as np
import pytest

from micromotion.drive.pose import Head, expressions, fit_poses, front_view, head_of, without_lids
from micromotion.photo.head import landmarks_in_depth, rotations


def front() -> np.ndarray:
    """The mean head's landmarks [68, 2] in a picture, 100 pixels per unit."""
    mean: np.ndarray = landmarks_in_depth()[:, :2] * [100, -100] + 300
    return mean


def seen(head: Head, poses: np.ndarray, moved: np.ndarray | None = None) -> np.ndarray:
    """Landmarks of a head in poses [n, 6], after its points have moved by [n, 68, 2] (right, down)."""
    points = np.repeat(head.points[None], len(poses), axis=0)
    if moved is not None:
        points[..., :2] += moved * [1, -1]
    turned = points @ rotations(poses[:, :3]).mT
    return np.exp(poses[:, 3])[:, None, None] * turned[..., :2] * [1, -1] + poses[:, None, 4:]


@pytest.fixture(scope="module")
def head() -> Head:
    return head_of(front())


@pytest.fixture(scope="module")
def poses() -> np.ndarray:
    rng = np.random.default_rng(0)
    low, high = [-25, -12, -20, 3.5, 0, 0], [25, 12, 20, 4.5, 500, 500]
    return rng.uniform(low, high, (40, 6))


def test_a_face_that_looks_ahead_is_its_own_front_view(head: Head) -> None:
    np.testing.assert_allclose(head.rest[:3], 0, atol=0.01)
    distance = np.exp(head.rest[3])
    ours, given = front_view(head) * distance, front()
    np.testing.assert_allclose(ours - ours.mean(axis=0), given - given.mean(axis=0), atol=0.05)


def test_any_pose_is_recovered(head: Head, poses: np.ndarray) -> None:
    found = fit_poses(head, seen(head, poses))
    np.testing.assert_allclose(found[:, :3], poses[:, :3], atol=0.2)
    np.testing.assert_allclose(found[:, 3], poses[:, 3], atol=1e-3)
    np.testing.assert_allclose(found[:, 4:], poses[:, 4:], atol=1)


def test_the_expression_is_recovered_from_any_pose(head: Head, poses: np.ndarray) -> None:
    rng = np.random.default_rng(1)
    moved = np.zeros((len(poses), 68, 2))
    moved[:, 48:] = rng.normal(0, 0.1, (len(poses), 20, 2))  # the mouth, which says nothing of the pose
    found = expressions(head, seen(head, poses, moved), fit_poses(head, seen(head, poses, moved)))
    np.testing.assert_allclose(found[:, 48:], moved[:, 48:], atol=0.006)
    np.testing.assert_allclose(found[:, :48], 0, atol=0.006)


def test_one_landmark_gone_astray_does_not_turn_the_head(head: Head, poses: np.ndarray) -> None:
    landmarks = seen(head, poses)
    landmarks[:, 30] += 0.5 * np.exp(poses[:, 3:4])
    np.testing.assert_allclose(fit_poses(head, landmarks)[:, :3], poses[:, :3], atol=0.6)


def test_the_pose_is_relative_to_a_rest_pose_that_is_turned_itself(poses: np.ndarray) -> None:
    straight = head_of(front())
    begin = np.array([12.0, 0, 8, 4, 250, 250])
    head = head_of(seen(straight, begin[None])[0])
    turned = begin + [10, 0, 0, 0, 0, 0]
    found = fit_poses(head, seen(straight, turned[None]))[0] - head.rest
    np.testing.assert_allclose(found[:3], [10, 0, 0], atol=2.5)


def test_a_blink_is_no_nod(head: Head) -> None:
    landmarks = np.repeat(seen(head, head.rest[None]), 2, axis=0)
    distance = np.exp(head.rest[3])
    for index, fraction in ((36, 0.05), (45, 0.05), (39, 0.03), (42, 0.03), (27, 0.02), (28, 0.01)):
        landmarks[1, index, 1] += fraction * distance  # as dlib sees closing lids
    closed = np.array([0.0, 1.0])
    open_, shut = fit_poses(head, without_lids(landmarks, closed))
    assert abs(fit_poses(head, landmarks)[1, 1] - open_[1]) > 1
    np.testing.assert_allclose(shut[:3], open_[:3], atol=0.05)

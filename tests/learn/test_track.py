"""Tracking a face through a video and ordering its frames, in parts and without a model."""

from collections.abc import Sequence

import numpy as np
import pytest
from sightings import sighting

from micromotion.learn import ordering
from micromotion.learn.ordering import fit_path, one_axis_share, orient_path, outlier_distance, steadiness
from micromotion.learn.track import Sighting, Track, _link, _ranked, line_weights, steady_landmarks


def linked(frames: Sequence[Sequence[Sighting]]) -> list[Track]:
    tracks: list[Track] = []
    before = 0.0
    for seen in frames:
        _link(tracks, list(seen), before)
        before = seen[0].seconds if seen else before
    return tracks


def test_two_faces_that_cross_keep_their_tracks() -> None:
    there = [sighting(n, 100, shade=100) for n in range(20)]
    passing = [sighting(n, 12 * n, shade=140) for n in range(20)]
    tracks = linked(
        [[b, a] if n % 2 else [a, b] for n, (a, b) in enumerate(zip(there, passing, strict=True))]
    )
    assert sorted(map(len, tracks)) == [20, 20]
    for track in tracks:
        assert len({float(each.thumb.mean()) for each in track}) == 1


def test_a_face_that_looks_different_is_another_track() -> None:
    tracks = linked([[sighting(n, 100, shade=100 if n < 5 else 140)] for n in range(10)])
    assert [len(track) for track in tracks] == [5, 5]
    assert len(linked([[sighting(n, 100, side=60 if n < 5 else 120)] for n in range(10)])) == 2
    assert len(linked([[sighting(n, 100 if n < 5 else 180)] for n in range(10)])) == 2


def test_a_face_is_linked_over_a_short_gap_only() -> None:
    assert len(linked([[sighting(0, 100)], [], [], [sighting(9, 102)]])) == 1
    assert len(linked([[sighting(0, 100)], [sighting(8, 900)], [sighting(24, 100)]])) == 3


def test_the_person_is_the_clearest_of_the_first_frames() -> None:
    faint = [sighting(n, 0, rank=50) for n in range(40)]
    clear = [sighting(n, 100, rank=90) for n in range(3, 30)]
    late = [sighting(n, 200, rank=900) for n in range(20, 40)]
    assert _ranked([faint, late, clear])[0] is clear


def test_landmarks_are_smoothed_but_follow_the_camera() -> None:
    rng = np.random.default_rng(0)
    times = np.sort(rng.uniform(0, 2, 60))
    face = rng.normal(0, 30, (68, 2))
    grown = face * (1 + 0.1 * times[:, None, None])
    shake = rng.normal(0, 5, (60, 1, 2))
    noisy = grown + shake + rng.normal(0, 1, (60, 68, 2))
    track = [
        Sighting(n, float(times[n]), (0, 0, 60, 60), 1.0, noisy[n], np.zeros((6, 6, 3), np.float32))
        for n in range(60)
    ]
    steady = steady_landmarks(track)
    assert np.std(steady - grown - shake) < 0.55 * np.std(noisy - grown - shake)
    np.testing.assert_allclose(steady.mean(axis=1), noisy.mean(axis=1), atol=1e-9)


def test_line_weights_are_those_of_a_weighted_fit() -> None:
    rng = np.random.default_rng(0)
    known, values = rng.uniform(0, 5, 30), rng.normal(size=30)
    at, widths = np.linspace(-0.5, 5.5, 13), rng.uniform(0.2, 1, 13)
    for place, width, got in zip(at, widths, line_weights(at, known, widths) @ values, strict=True):
        slope_and_height = np.polyfit(
            known - place, values, 1, w=np.exp(-0.25 * ((known - place) / width) ** 2)
        )
        assert got == pytest.approx(slope_and_height[1], rel=1e-4, abs=1e-4)
    np.testing.assert_allclose(line_weights(at, known, widths) @ (3 * known - 1), 3 * at - 1, atol=1e-6)


def bent(turns: np.ndarray, noise: float, seed: int = 0) -> np.ndarray:
    """Latents [n, 40] on an arc of a circle of radius 10, by its angle."""
    rng = np.random.default_rng(seed)
    frame = np.linalg.qr(rng.normal(size=(40, 40)))[0][:2]
    arc = 10 * np.stack([np.cos(turns), np.sin(turns)], axis=1)
    return arc @ frame + noise * rng.normal(size=(len(turns), 40)) + 5


def test_a_path_follows_the_bend() -> None:
    turns = np.random.default_rng(1).permutation(np.linspace(0, 2.6, 80))
    path = fit_path(bent(turns, 0.1))
    assert path.length == pytest.approx(26, rel=0.08)
    assert abs(float(np.corrcoef(path.places, turns)[0, 1])) > 0.998
    read = path.at(np.linspace(0, path.length, 9))
    steps = np.linalg.norm(np.diff(read, axis=0), axis=1)
    assert steps.max() < 1.3 * steps.min()


def test_many_outliers_are_still_recognised() -> None:
    latents = bent(np.linspace(0, 1, 60), 0.1)
    rng = np.random.default_rng(3)
    strange = rng.choice(60, 8, replace=False)
    latents[strange] += 20 * rng.normal(size=(8, 40)) / np.sqrt(40)
    far, _ = outlier_distance(latents, np.ones(60, bool))
    assert set(np.argsort(far)[-8:]) == set(strange)
    assert far[strange].min() > 3 * np.delete(far, strange).max()


@pytest.mark.parametrize(
    ("turns", "rest", "forward"),
    [
        (np.linspace(0, 1, 50), 0.0, True),
        (np.sin(np.linspace(0, 3.1, 50)), 0.0, True),  # there and back
        (np.linspace(1, 0, 50), 0.0, False),
        (0.5 * np.sin(np.linspace(0, 6.28, 60)), 0.5, True),  # both ways: the end reached first
        (-0.5 * np.sin(np.linspace(0, 6.28, 60)), 0.5, False),
        (np.concatenate([np.linspace(0, -0.5, 20), np.linspace(-0.5, 0.8, 60)]), 8 / 13, False),
        (np.concatenate([np.linspace(0, -0.3, 20), np.linspace(-0.3, 0.9, 60)]), 1 / 4, True),  # a recoil
    ],
)
def test_the_rest_pose_is_where_the_video_begins(turns: np.ndarray, rest: float, forward: bool) -> None:
    path, place = orient_path(fit_path(bent(turns, 0.02)))
    assert place / path.length == pytest.approx(rest, abs=0.06)
    assert (np.corrcoef(path.places, turns)[0, 1] > 0) is np.bool_(forward)
    if rest == 0:
        assert place == 0


def test_a_motion_goes_one_way_and_slow_trembling_does_not() -> None:
    rng = np.random.default_rng(1)
    trembling = np.cumsum(rng.normal(size=(40, 30)), axis=0)
    trembling = trembling[4:] - trembling[:-4]  # smoothed over time
    moving = np.linspace(0, 1, 36)[:, None] * 4 * rng.normal(size=30)
    assert one_axis_share(trembling) < 0.5
    assert one_axis_share(moving + 0.2 * trembling) > 0.85
    values = np.linalg.eigvalsh(np.cov(trembling.T))
    assert one_axis_share(trembling) == pytest.approx(values[-1] / values.sum())
    assert one_axis_share(np.ones((5, 3))) == 0


def test_trembling_is_not_a_motion() -> None:
    rng = np.random.default_rng(0)
    trembling = [steadiness(rng.normal(size=count)) for count in (8, 16, 50, 200) for _ in range(500)]
    assert np.mean(np.array(trembling) > 2.5) < 0.01
    assert abs(np.std(trembling) - 1) < 0.1
    for places in (np.arange(8), np.sin(np.arange(40) / 3), [0] * 9 + [1, 3, 4, 3, 1] + [0] * 9):
        assert steadiness(np.array(places, float) + 0.05 * rng.normal(size=len(places))) > 2.5


def test_few_latents_give_a_path_too() -> None:
    path = fit_path(bent(np.array([0.0, 0.3, 0.4, 0.9, 1.0]), 0.0))
    assert np.isfinite(path.at(np.linspace(0, path.length, 11))).all()
    still = fit_path(np.ones((6, 40)))
    assert still.length == pytest.approx(0, abs=1e-6)
    assert np.isfinite(still.at(np.zeros(3))).all()
    assert ordering._FOLDS <= 5  # FEWEST latents leave some for every fold

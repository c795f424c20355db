import numpy as np
import pytest

from micromotion.errors import OptionError
from micromotion.motion.alive import MOTIONS, Alive
from micromotion.motion.schedule import schedule
from micromotion.motion.timeline_text import TimelineError, parse_timeline
from micromotion.options import AnimateOptions, check_motion

SEEDS = range(40)


def loops(fps: int = 30) -> np.ndarray:
    """The strengths of a loop for each seed: [seeds, frames, motions]."""
    return np.stack([Alive().strengths(fps, seed=seed) for seed in SEEDS])


def test_alive_is_a_seamless_loop_of_six_seconds() -> None:
    played = loops()
    assert played.shape == (len(SEEDS), 180, 3)
    assert (played[:, 0] == 0).all()  # the still frame
    around = np.concatenate([played, played[:, :2]], axis=1)
    for motion, most in zip(MOTIONS[1:], (0.01, 0.03), strict=True):
        step = np.abs(np.diff(around[..., MOTIONS.index(motion)], axis=1))
        assert step.max() < most
        assert step[:, -2:].max() < most


def test_eyes_blink_at_a_natural_rate_and_open_in_between() -> None:
    closed = loops()[..., 0]
    blinks = (np.diff((closed > 0.5).astype(int), axis=1) == 1).sum(axis=1)
    assert blinks.min() >= 1
    assert blinks.max() <= 4
    assert 1.5 <= blinks.mean() <= 2.6  # 15 to 26 a minute
    assert closed.min() >= 0
    assert closed.max() <= 1
    assert (closed.max(axis=1) > 0.95).all()  # each blink closes the eyes
    assert (closed > 0.05).mean() < 0.15


def test_the_head_sways_a_little_and_the_smile_only_begins() -> None:
    _, turn, smile = np.moveaxis(loops(), -1, 0)
    assert np.abs(turn).max() < 0.4
    assert (np.ptp(turn, axis=1) > 0.1).all()
    assert smile.min() >= 0
    assert 0.3 <= smile.max(axis=1).min() < smile.max(axis=1).max() <= 0.45


def test_the_seed_determines_the_strengths() -> None:
    assert (Alive().strengths(30, seed=4) == Alive().strengths(30, seed=4)).all()
    assert (Alive().strengths(30, seed=4) != Alive().strengths(30, seed=5)).any()
    names, drawn = schedule(parse_timeline("alive"), AnimateOptions(seed=4, fps=30, strength=0.5))
    assert names == MOTIONS
    np.testing.assert_allclose(drawn, 0.5 * Alive().strengths(30, seed=4))


def test_alive_is_parsed_with_a_length_and_a_repeat() -> None:
    assert parse_timeline("alive") == Alive()
    assert parse_timeline("  alive 8.5s ; repeat 2 # twice\n") == Alive(seconds=8.5, repeat=2)
    twice = parse_timeline("alive 3s, repeat 2").strengths(25, seed=1)
    assert len(twice) == 150
    assert (twice[:75] == twice[75:]).all()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("alive 1s", "2s to 600s"),
        ("alive 8", "write 8s"),
        ("alive=2", "alive stands alone"),
        ("alive 8s smile", "alive stands alone"),
        ("alive, 2s smile", "nothing but repeat"),
        ("alive, repeat 1000", "1 to 100"),
    ],
)
def test_errors_have_their_position(text: str, says: str) -> None:
    with pytest.raises(TimelineError, match=says):
        parse_timeline(text)


def test_a_model_without_its_motions_and_a_loop_too_long_are_refused() -> None:
    with pytest.raises(TimelineError, match="eyesClose"):
        parse_timeline("alive", lambda name: check_motion(name, ["smile"]))
    with pytest.raises(OptionError, match="600"):
        Alive(seconds=30).strengths(60)

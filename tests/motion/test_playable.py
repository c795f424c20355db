from pathlib import Path

import numpy as np
import pytest
import torch
from draws import normal
from hypothesis import given, settings
from hypothesis import strategies as st

from micromotion.errors import OptionError
from micromotion.motion.anchors import Anchors
from micromotion.motion.playable import Motion, load_motion

STYLES, DIM = 4, 64


@settings(max_examples=25, deadline=None)
@given(strength=st.floats(-5, 5), frames=st.integers(1, 600))
def test_the_path_goes_from_0_to_the_strength_in_equal_steps(strength: float, frames: int) -> None:
    motion = Motion("smile", normal(STYLES, DIM))
    offsets = torch.stack(list(motion.path(strength, frames)))
    steps = np.linspace(0, strength, frames) if frames > 1 else np.array([strength])
    wanted = torch.from_numpy(steps)[:, None, None] * motion.direction.double()
    torch.testing.assert_close(offsets.double(), wanted, rtol=1e-6, atol=1e-6)


def test_strength_is_linear_and_negative_is_the_opposite() -> None:
    motion = Motion("smile", normal(STYLES, DIM))
    torch.testing.assert_close(motion.offset(1.5), 1.5 * motion.offset(1.0))
    assert torch.equal(motion.offset(-1.0), -motion.direction)
    assert torch.equal(motion.offset(0.0), torch.zeros(STYLES, DIM))


@pytest.mark.parametrize(
    ("strength", "frames"),
    [(float("nan"), 9), (float("inf"), 9), (99.0, 9), (1.0, 0), (1.0, -3), (1.0, 10**9)],
)
def test_an_impossible_path_is_refused_at_once(strength: float, frames: int) -> None:
    with pytest.raises(OptionError):
        Motion("smile", normal(STYLES, DIM)).path(strength, frames)


def test_load_motion_learns_from_the_file(tmp_path: Path) -> None:
    anchors = Anchors(normal(11, STYLES, DIM), torch.linspace(0, 1, 11))
    anchors.save(tmp_path / "eyesClose.safetensors")
    motion = load_motion(tmp_path / "eyesClose.safetensors")
    assert motion.name == "eyesClose"
    assert torch.equal(motion.direction, Motion.from_anchors(anchors, "eyesClose").direction)

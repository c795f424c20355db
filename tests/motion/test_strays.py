"""Anchors that are wrong as a whole, such as another face's, are left out; valid motions are not."""

from itertools import combinations

import pytest
import torch
from draws import normal
from torch import Tensor

from micromotion.motion.anchor_analysis import _strays, analyse
from micromotion.motion.anchors import Anchors
from micromotion.motion.playable import Motion

STYLES, DIM = 4, 64
DEGREES = torch.linspace(0, 1, 11)


TRUTH, PERSON, NOISE = normal(STYLES, DIM), normal(STYLES, DIM, seed=1), normal(11, STYLES, DIM, seed=2)
OTHERS = 3 * normal(11, STYLES, DIM, seed=3)
"""As far from the person as three motions."""


def performed(degrees: Tensor, noise: float = 0.03) -> Tensor:
    return PERSON + degrees[:, None, None] * TRUTH + noise * NOISE[: len(degrees)]


def spoilt(w_plus: Tensor, where: tuple[int, ...]) -> Tensor:
    w_plus = w_plus.clone()
    w_plus[list(where)] = OTHERS[list(where)]
    return w_plus


def error(got: Tensor, wanted: Tensor = TRUTH) -> float:
    return float((got - wanted).norm() / wanted.norm())


@pytest.mark.parametrize("noise", [0.03, 0.3])
@pytest.mark.parametrize("count", [1, 2, 3])
def test_other_peoples_latents_are_left_out_at_any_position(count: int, noise: float) -> None:
    """In the middle, side by side and at both ends."""
    for where in list(combinations(range(11), count))[:: 4 if count == 3 else 1]:
        anchors = Anchors(spoilt(performed(DEGREES, noise), where), DEGREES)
        assert _strays(anchors.w_plus.double().transpose(0, 1)) == where


@pytest.mark.parametrize("where", [(10,), (0, 5), (3, 9, 10)])
def test_strays_do_not_affect_the_direction(where: tuple[int, ...]) -> None:
    w_plus = spoilt(performed(DEGREES), where)
    found = analyse(Anchors(w_plus, DEGREES))
    assert found.strays == where
    kept = [i for i in range(11) if i not in where]
    assert torch.equal(found.direction, analyse(Anchors(w_plus[kept], DEGREES[kept])).direction)
    assert error(found.direction) < 0.06
    assert error(w_plus[-1] - w_plus[0]) > 2 or not {0, 10} & set(where)


@pytest.mark.parametrize("where", [(4,), (0, 7), (9, 10), (0, 5, 10)])
def test_strays_are_interpolated(where: tuple[int, ...]) -> None:
    clean = analyse(Anchors(performed(DEGREES), DEGREES))
    found = analyse(Anchors(spoilt(performed(DEGREES), where), DEGREES))
    assert found.cleaned.shape == (11, STYLES, DIM)
    moved, wanted = (each.cleaned - each.cleaned.mean(0) for each in (found, clean))
    assert error(moved, wanted) < 0.1
    assert found.subspace.coordinates.shape == (11, 1)
    assert found.straightness > 0.99
    assert min(found.gross) > 0.6 > 0.2 > max(clean.gross), "the errors are reported"
    curve = Motion.from_anchors(Anchors(spoilt(performed(DEGREES), where), DEGREES), "smile", "curve")
    assert error(curve.offset(1.0)) < 0.1


def test_single_entries_may_be_wrong_as_well() -> None:
    w_plus = spoilt(performed(DEGREES), (2, 10))
    hit = torch.rand(w_plus.shape, generator=torch.Generator().manual_seed(5)) < 0.1
    found = analyse(Anchors(torch.where(hit, OTHERS.flip(0), w_plus), DEGREES))
    assert found.strays == (2, 10)
    assert error(found.direction) < 0.4


def bent(degrees: Tensor) -> Tensor:
    """Half a circle."""
    across = normal(STYLES, DIM, seed=4)
    angle = torch.pi * degrees[:, None, None]
    return PERSON + (1 - angle.cos()) * TRUTH + angle.sin() * across


@pytest.mark.parametrize(
    "w_plus",
    [
        performed(DEGREES, 0.0),
        performed(DEGREES),
        performed(DEGREES, 3.0),
        performed(2 * DEGREES - 1),
        performed(DEGREES**3),
        performed((DEGREES * 10 > 4.5).float()),
        performed((DEGREES - 0.7).clamp(min=0)),
        performed((DEGREES - 0.7).clamp(min=0), 0.0),
        bent(DEGREES),
        PERSON.expand(11, -1, -1),
    ],
    ids=[
        "clean",
        "noise",
        "noise alone",
        "both ways",
        "ever faster",
        "a step",
        "late",
        "late, clean",
        "bent",
        "still",
    ],
)
def test_valid_motions_have_no_strays(w_plus: Tensor) -> None:
    assert analyse(Anchors(w_plus, DEGREES)).strays == ()


def test_a_motion_of_few_entries_has_no_strays() -> None:
    truth = torch.where(torch.arange(DIM) < 3, TRUTH, 0.0)
    w_plus = PERSON + DEGREES[:, None, None] * truth
    assert analyse(Anchors(w_plus, DEGREES)).strays == ()
    assert analyse(Anchors(spoilt(w_plus, (0, 6)), DEGREES)).strays == (0, 6)


def test_among_few_anchors_none_is_a_stray() -> None:
    degrees = torch.linspace(0, 1, 6)
    found = analyse(Anchors(spoilt(performed(degrees), (3,)), degrees))
    assert found.strays == ()
    assert found.cleaned.shape == (6, STYLES, DIM)
    seven = torch.linspace(0, 1, 7)
    assert analyse(Anchors(spoilt(performed(seven), (3,)), seven)).strays == (3,)


def test_at_most_a_third_are_strays() -> None:
    found = analyse(Anchors(spoilt(performed(DEGREES), (1, 3, 5, 7, 9)), DEGREES))
    assert len(found.strays) <= 3

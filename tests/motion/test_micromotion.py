import json
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from draws import normal, rng
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from micromotion.errors import MotionError, OptionError, OutputError
from micromotion.motion.anchors import KIND, MAX_ANCHORS, Provenance
from micromotion.motion.files import MAX_BYTES
from micromotion.motion.micromotion import Anchors, Motion, load_motion
from stylegan2.checkpoints.storage import FORMAT

STYLES, DIM = 4, 64
DEGREES = torch.linspace(0, 1, 11)


def heavy_tailed(*shape: int, seed: int = 0) -> Tensor:
    """Laplace-distributed: some entries of the direction stand out, as in real ones."""
    return (
        normal(*shape, seed=seed).sign() * torch.empty(shape).exponential_(generator=rng(seed + 1)) / 2**0.5
    )


def line(direction: Tensor, degrees: Tensor = DEGREES, seed: int = 7) -> Tensor:
    """Latents [n, styles, dim] of an identity ten times the motion's size, on a straight line."""
    return 10 * normal(*direction.shape, seed=seed) + degrees[:, None, None] * direction


def gross_errors(shape: torch.Size, share: float, size: float = 5.0, seed: int = 11) -> Tensor:
    hit = torch.rand(shape, generator=rng(seed)) < share
    return torch.where(hit, size * normal(*shape, seed=seed + 1), torch.tensor(0.0))


def learned(w_plus: Tensor, degrees: Tensor = DEGREES) -> Tensor:
    return Motion.from_anchors(Anchors(w_plus, degrees), "smile").direction


def error(got: Tensor, wanted: Tensor) -> float:
    return float((got - wanted).norm() / wanted.norm())


# --- the direction ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "degrees",
    [DEGREES, torch.tensor([0.0, 1.0]), torch.linspace(0.2, 0.7, 6), torch.linspace(-1, 1, 10)],
    ids=["eleven", "two", "half of the motion", "both ways"],
)
def test_a_clean_line_gives_its_change_per_degree(degrees: Tensor) -> None:
    truth = heavy_tailed(STYLES, DIM)
    assert error(learned(line(truth, degrees), degrees), truth) < 1e-3


@pytest.mark.parametrize("degrees", [DEGREES**2, torch.rand(20, generator=rng(5)).sort().values])
def test_uneven_degrees_are_weighted_correctly(degrees: Tensor) -> None:
    truth = heavy_tailed(STYLES, DIM)
    assert error(learned(line(truth, degrees), degrees), truth) < 0.04


@pytest.mark.parametrize("share", [0.05, 0.1, 0.2])
@pytest.mark.parametrize("make", [normal, heavy_tailed])
@pytest.mark.parametrize("noise", [0.0, 0.1])
def test_gross_errors_hardly_change_the_direction(
    make: Callable[..., Tensor], share: float, noise: float
) -> None:
    """Errors of five times the motion in 5 to 20% of the entries, with and without small noise."""
    truth = make(STYLES, 256)
    clean = line(truth)
    spoilt = clean + gross_errors(clean.shape, share) + noise * normal(*clean.shape, seed=20)
    direction = learned(spoilt)
    fitted = torch.einsum("n,nsd->sd", (DEGREES - 0.5) / (DEGREES - 0.5).square().sum(), spoilt)
    assert error(direction, truth) < 0.35 * error(spoilt[-1] - spoilt[0], truth)
    assert error(direction, truth) < 0.5 * error(fitted, truth)
    assert error(direction, truth) < {0.05: 0.2, 0.1: 0.3, 0.2: 0.6}[share]


def test_few_gross_errors_in_a_clean_line_are_removed() -> None:
    truth = heavy_tailed(STYLES, 256)
    clean = line(truth)
    assert error(learned(clean + gross_errors(clean.shape, 0.02)), truth) < 1e-3


def test_large_entries_of_the_direction_keep_their_size() -> None:
    """The pursuit alone would count the excess of a large entry as sparse noise, in every anchor."""
    truth = 0.5 + normal(STYLES, DIM).abs()
    truth[:, 5] = 30.0
    assert error(learned(line(truth) + 0.01 * normal(11, STYLES, DIM, seed=3)), truth) < 0.01


def test_noise_is_averaged_over_the_anchors() -> None:
    truth = normal(STYLES, 256)
    noisy = line(truth) + 0.1 * normal(11, STYLES, 256, seed=4)
    assert error(learned(noisy), truth) < 0.85 * error(noisy[-1] - noisy[0], truth)


def test_the_identity_does_not_matter() -> None:
    """An identity of a thousand times the motion's size, in numbers that float32 adds exactly."""
    moved = line(normal(STYLES, DIM)) + gross_errors(torch.Size((11, STYLES, DIM)), 0.05)
    moved = (moved * 2**10).round() / 2**10
    identity = (normal(STYLES, DIM, seed=9) * 1000).round()
    torch.testing.assert_close(learned(moved + identity), learned(moved), rtol=1e-4, atol=1e-4)


def test_the_direction_scales_and_reverses_with_the_anchors() -> None:
    anchors = line(normal(STYLES, DIM)) + gross_errors(torch.Size((11, STYLES, DIM)), 0.05)
    direction = learned(anchors)
    torch.testing.assert_close(learned(8 * anchors), 8 * direction, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(learned(-anchors), -direction, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(learned(anchors, DEGREES / 2), 2 * direction, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(
        learned(anchors.flip(0), 1 - DEGREES.flip(0)), -direction, rtol=1e-4, atol=1e-5
    )


def test_styles_are_independent() -> None:
    """A style whose anchors do not move has a direction of exactly zero, whatever the others do."""
    anchors = line(normal(STYLES, DIM)) + gross_errors(torch.Size((11, STYLES, DIM)), 0.1)
    direction = learned(anchors)
    still = anchors.clone()
    still[:, 1] = anchors[0, 1]
    spoilt = learned(still)
    assert torch.equal(spoilt[1], torch.zeros(DIM))
    for style in (0, 2, 3):
        torch.testing.assert_close(spoilt[style], direction[style], rtol=1e-6, atol=1e-7)


def test_a_motion_learned_on_one_face_is_the_same_on_another() -> None:
    truth = normal(STYLES, DIM)
    first, second = line(truth, seed=1), line(truth, seed=2)
    assert error(first[0] + learned(second), first[-1]) < 1e-6


def test_the_report_contains_rank_and_noise() -> None:
    flat = normal(STYLES, 256).sign()
    clean = Motion.from_anchors(Anchors(line(flat), DEGREES), "smile")
    assert clean.name == "smile"
    assert clean.rank == (1,) * STYLES
    assert max(clean.noise) < 1e-5
    anchors = line(flat)
    anchors[:, 0] += gross_errors(torch.Size((11, 256)), 0.05)
    anchors[:, 1] = anchors[0, 1]
    spoilt = Motion.from_anchors(Anchors(anchors, DEGREES), "smile")
    assert spoilt.noise[0] > 0.5
    assert (spoilt.rank[1], spoilt.noise[1]) == (0, 0.0)


def test_many_anchors_are_accepted() -> None:
    degrees = torch.linspace(0, 1, MAX_ANCHORS)
    truth = heavy_tailed(2, 32)
    anchors = line(truth, degrees)
    assert error(learned(anchors + gross_errors(anchors.shape, 0.1), degrees), truth) < 0.02


def test_anchors_too_far_apart_are_refused() -> None:
    far = torch.zeros(3, 2, 4)
    far[1], far[2] = 1e38, 3e38
    with pytest.raises(MotionError, match="'smile' give no finite direction"):
        learned(far, torch.tensor([0.0, 1e-30, 2e-30]))


# --- playing it ---------------------------------------------------------------------------------------------


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


# --- anchors and their files --------------------------------------------------------------------------------


def good_tensors() -> dict[str, Any]:
    return {"w_plus": line(normal(STYLES, DIM)), "degrees": DEGREES.clone()}


def good_metadata(**changes: str) -> dict[str, str]:
    return {"format": FORMAT, "kind": KIND, "provenance": "{}"} | changes


def write(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str] | None) -> Path:
    safetensors.torch.save_file(tensors, path, metadata)
    return path


def test_anchors_survive_a_round_trip(tmp_path: Path) -> None:
    about: Provenance = {"bundle": "avatar", "motion": "Lächeln", "seed": 7, "loss": 0.25}
    saved = Anchors(**good_tensors(), provenance=about)
    saved.save(tmp_path / "smile.safetensors")
    loaded = Anchors.load(str(tmp_path / "smile.safetensors"))
    assert torch.equal(loaded.w_plus, saved.w_plus)
    assert torch.equal(loaded.degrees, saved.degrees)
    assert loaded.provenance == about
    assert [path.name for path in tmp_path.iterdir()] == ["smile.safetensors"]
    assert stat.S_IMODE((tmp_path / "smile.safetensors").stat().st_mode) & 0o444
    safetensors.torch.load_file(tmp_path / "smile.safetensors")


def test_equal_anchors_give_equal_bytes(tmp_path: Path) -> None:
    about = {"a": 1, "b": 2}
    for index in range(8):
        Anchors(**good_tensors(), provenance=dict(sorted(about.items(), reverse=index % 2 == 0))).save(
            tmp_path / f"{index}.safetensors"
        )
    assert len({path.read_bytes() for path in tmp_path.iterdir()}) == 1


def test_load_motion_learns_from_the_file(tmp_path: Path) -> None:
    anchors = Anchors(**good_tensors())
    anchors.save(tmp_path / "eyesClose.safetensors")
    motion = load_motion(tmp_path / "eyesClose.safetensors")
    assert motion.name == "eyesClose"
    assert torch.equal(motion.direction, Motion.from_anchors(anchors, "eyesClose").direction)


def test_the_loaded_anchors_outlive_their_file(tmp_path: Path) -> None:
    path = write(tmp_path / "smile.safetensors", good_tensors(), good_metadata())
    anchors = Anchors.load(path)
    path.write_bytes(b"")
    assert torch.equal(anchors.w_plus, good_tensors()["w_plus"])


def test_saving_replaces_or_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "smile.safetensors"
    path.write_text("old")
    Anchors(**good_tensors()).save(path)
    Anchors.load(path)
    with pytest.raises(OutputError, match="cannot be written to"):
        Anchors(**good_tensors()).save(tmp_path / "nowhere" / "smile.safetensors")
    (tmp_path / "folder.safetensors").mkdir()
    with pytest.raises(OutputError, match="cannot be written to"):
        Anchors(**good_tensors()).save(tmp_path / "folder.safetensors")
    assert sorted(item.name for item in tmp_path.iterdir()) == ["folder.safetensors", "smile.safetensors"]


def test_anchors_are_stored_as_float32(tmp_path: Path) -> None:
    half = Anchors(good_tensors()["w_plus"].double(), torch.arange(11))
    assert half.w_plus.dtype == half.degrees.dtype == torch.float32
    half.save(tmp_path / "smile.safetensors")
    Anchors.load(tmp_path / "smile.safetensors")


BAD_TENSORS = {
    "not increasing": ({"degrees": DEGREES.flip(0)}, "must increase"),
    "a degree twice": ({"degrees": DEGREES.round()}, "must increase"),
    "NaN degree": ({"degrees": DEGREES / 0}, "degrees contains NaN"),
    "NaN code": ({"w_plus": torch.full((11, STYLES, DIM), torch.nan)}, "w_plus contains NaN"),
    "infinite code": (
        {"w_plus": torch.full((11, STYLES, DIM), torch.inf)},
        "w_plus contains NaN or infinity",
    ),
    "one anchor": ({"w_plus": torch.ones(1, STYLES, DIM), "degrees": torch.zeros(1)}, "2 to 128 anchors"),
    "no anchor": ({"w_plus": torch.ones(0, STYLES, DIM), "degrees": torch.zeros(0)}, "2 to 128 anchors"),
    "too many": ({"w_plus": torch.ones(500, 1, 1), "degrees": torch.arange(500.0)}, "these are 500"),
    "no styles": ({"w_plus": torch.ones(11, 0, DIM)}, "need w_plus"),
    "no styles axis": ({"w_plus": torch.ones(11, DIM)}, "need w_plus"),
    "scalar degrees": ({"degrees": torch.tensor(1.0)}, "need w_plus"),
    "other lengths": ({"degrees": DEGREES[:5].clone()}, r"\[11, 4, 64\] and \[5\]"),
}


@pytest.mark.parametrize(("changes", "words"), BAD_TENSORS.values(), ids=BAD_TENSORS.keys())
def test_impossible_anchors_are_refused(changes: dict[str, Tensor], words: str, tmp_path: Path) -> None:
    """In memory, and from a file, whose name the error then contains."""
    with pytest.raises(MotionError, match=words):
        Anchors(**(good_tensors() | changes))
    path = write(tmp_path / "smile.safetensors", good_tensors() | changes, good_metadata())
    with pytest.raises(MotionError, match=words) as caught:
        Anchors.load(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


BAD_FILES = {
    "no metadata": (good_tensors(), None, "does not say"),
    "another kind": (good_tensors(), good_metadata(kind="stylegan2"), "does not say"),
    "another format": (good_tensors(), good_metadata(format="micromotion/2"), "does not say"),
    "a tensor missing": ({"w_plus": good_tensors()["w_plus"]}, good_metadata(), "and nothing else"),
    "a tensor more": (good_tensors() | {"more": torch.ones(1)}, good_metadata(), "and nothing else"),
    "float64": (
        {name: tensor.double() for name, tensor in good_tensors().items()},
        good_metadata(),
        "must be float32",
    ),
    "provenance no JSON": (good_tensors(), good_metadata(provenance="{"), "not valid JSON"),
    "provenance too deep": (good_tensors(), good_metadata(provenance="[" * 10**5), "not valid JSON"),
    "provenance a list": (good_tensors(), good_metadata(provenance="[1]"), "must map names"),
    "provenance nested": (good_tensors(), good_metadata(provenance='{"a": {}}'), "must map names"),
    "provenance NaN": (good_tensors(), good_metadata(provenance='{"a": NaN}'), "must map names"),
}


@pytest.mark.parametrize(("tensors", "metadata", "words"), BAD_FILES.values(), ids=BAD_FILES.keys())
def test_a_file_of_something_else_is_refused(
    tensors: dict[str, Tensor], metadata: dict[str, str] | None, words: str, tmp_path: Path
) -> None:
    path = write(tmp_path / "smile.safetensors", tensors, metadata)
    with pytest.raises(MotionError, match=words) as caught:
        load_motion(path)
    assert str(path) in str(caught.value)


def test_files_that_are_not_anchors_are_refused(tmp_path: Path) -> None:
    good = write(tmp_path / "good.safetensors", good_tensors(), good_metadata()).read_bytes()
    path = tmp_path / "smile.safetensors"
    for content in (b"", b"GIF89a", b"x" * 1000, good[:4], good[:100], good[:-1], good + b"more"):
        path.write_bytes(content)
        with pytest.raises(MotionError, match=r"smile\.safetensors cannot be read as a micromotion"):
            load_motion(path)
    with pytest.raises(MotionError, match="does not exist"):
        load_motion(tmp_path / "missing.safetensors")
    with pytest.raises(MotionError, match="not accessible"):
        load_motion(tmp_path / ("long" * 999))
    with pytest.raises(MotionError, match="a folder or a device"):
        load_motion(tmp_path)
    with pytest.raises(MotionError, match="a folder or a device"):
        load_motion("/dev/zero")


def test_absurd_sizes_are_refused_before_allocation(tmp_path: Path) -> None:
    huge = tmp_path / "huge.safetensors"
    with huge.open("wb") as file:
        file.truncate(MAX_BYTES + 1)
    with pytest.raises(MotionError, match="larger than 32 MB"):
        load_motion(huge)
    header = {
        "__metadata__": good_metadata(),
        "w_plus": {"dtype": "F32", "shape": [2**30, 18, 512], "data_offsets": [0, 2**30 * 18 * 512 * 4]},
        "degrees": {"dtype": "F32", "shape": [2**30], "data_offsets": [0, 2**32]},
    }
    text = json.dumps(header).encode()
    boastful = tmp_path / "boastful.safetensors"
    boastful.write_bytes(len(text).to_bytes(8, "little") + text)
    with pytest.raises(MotionError, match="cannot be read as a micromotion"):
        load_motion(boastful)


def test_a_pickle_is_not_executed(tmp_path: Path) -> None:
    class Mischief:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (tmp_path / "executed",))

    path = tmp_path / "smile.safetensors"
    torch.save({"w_plus": Mischief()}, path)
    with pytest.raises(MotionError, match="cannot be read"):
        load_motion(path)
    assert not (tmp_path / "executed").exists()

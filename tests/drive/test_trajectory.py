"""Trajectories: parts, amounts, mirror images, and files that are not trusted."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from micromotion.drive.options import MAX_DRIVING_FRAMES, PARTS
from micromotion.drive.trajectory import Trajectory, load_trajectory, save_trajectory
from micromotion.errors import MotionError, OptionError, OutputError

ARRAYS = ("lids", "gaze", "gap", "landmarks", "pose", "shift", "scale", "weight")


def moving(frames: int = 5) -> Trajectory:
    """Every value differs, and none is at rest."""
    rng = np.random.default_rng(3)

    def some(*shape: int) -> np.ndarray:
        return rng.integers(4, 32, (frames, *shape)) / 64  # exact in float32, too

    return Trajectory(
        23.976,
        lids=some(2),
        gaze=some(2, 2),
        gap=some(),
        landmarks=some(68, 2),
        pose=20 * some(3),
        shift=some(2),
        scale=1 + some(),
        weight=some(),
    )


def assert_same(one: Trajectory, other: Trajectory) -> None:
    assert one.fps == other.fps
    for name in ARRAYS:
        np.testing.assert_allclose(getattr(one, name), getattr(other, name), rtol=1e-12, atol=1e-12)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "wave.safetensors"
    save_trajectory(path, moving(), {"file": "wave.mp4", "rest": 3})
    return path


def rewrite(path: Path, metadata: dict[str, str] | None = None, **changed: torch.Tensor | None) -> None:
    """Write a saved trajectory again with other tensors (None: without it) and metadata."""
    tensors = load_file(path) | changed
    known = {
        "format": "micromotion/1",
        "kind": "trajectory",
        "provenance": json.dumps({"fps": 25.0}),
    }
    save_file({k: v for k, v in tensors.items() if v is not None}, path, known | (metadata or {}))


def test_a_saved_trajectory_is_loaded_unchanged_with_its_recipe(file: Path) -> None:
    loaded, recipe = load_trajectory(file)
    assert_same(loaded, moving())
    assert recipe == {"file": "wave.mp4", "rest": 3}


def test_equal_trajectories_give_equal_bytes(file: Path, tmp_path: Path) -> None:
    other = tmp_path / "again.safetensors"
    save_trajectory(other, moving(), {"rest": 3, "file": "wave.mp4"})
    assert other.read_bytes() == file.read_bytes()


def test_the_longest_trajectory_fits_its_file(tmp_path: Path) -> None:
    save_trajectory(tmp_path / "long.safetensors", moving(MAX_DRIVING_FRAMES), {"file": "x" * 255})
    assert len(load_trajectory(tmp_path / "long.safetensors")[0]) == MAX_DRIVING_FRAMES


def test_a_trajectory_is_not_written_into_a_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="trajectory"):
        save_trajectory(tmp_path / "none" / "wave.safetensors", moving(), {})


@pytest.mark.parametrize(
    ("changed", "mention"),
    [
        ({"gap": torch.full((5,), float("nan"))}, "gap"),
        ({"gap": torch.full((5,), 7.0)}, "gap"),
        ({"lids": torch.full((5, 2), 1.01)}, "lids"),
        ({"scale": torch.zeros(5)}, "scale"),
        ({"pose": torch.zeros(4, 3)}, "pose"),
        ({"landmarks": torch.zeros(5, 67, 2)}, "landmarks"),
        ({"gap": torch.zeros(0)}, "1 to 1800 frames"),
        ({"gap": torch.zeros(MAX_DRIVING_FRAMES + 1)}, "1 to 1800 frames"),
        ({"gap": torch.zeros(())}, "shape"),
        ({"weight": torch.zeros(5, dtype=torch.float64)}, "float32"),
        ({"weight": None}, "must contain"),
        ({"more": torch.zeros(5)}, "must contain"),
        ({"metadata": {"kind": "anchors"}}, "trajectory"),
        ({"metadata": {"provenance": "{}"}}, "frames per second"),
        ({"metadata": {"provenance": '{"fps": "25"}'}}, "frames per second"),
        ({"metadata": {"provenance": '{"fps": -1}'}}, "frames per second"),
        ({"metadata": {"provenance": '{"fps": 1' + "0" * 400 + "}"}}, "frames per second"),
        ({"metadata": {"provenance": '{"fps": NaN}'}}, "provenance"),
        ({"metadata": {"provenance": "[" * 100_000}}, "JSON"),
    ],
)
def test_a_bad_file_is_refused_in_one_sentence(file: Path, changed: dict[str, Any], mention: str) -> None:
    rewrite(file, **changed)
    with pytest.raises(MotionError, match=mention) as caught:
        load_trajectory(file)
    assert file.name in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_cut_or_huge_file_is_refused(file: Path, tmp_path: Path) -> None:
    for path in (tmp_path / "none.safetensors", tmp_path):
        with pytest.raises(MotionError, match="trajectory"):
            load_trajectory(path)
    whole = file.read_bytes()
    for length in (0, 7, 100, len(whole) - 1):
        file.write_bytes(whole[:length])
        with pytest.raises(MotionError, match="trajectory"):
            load_trajectory(file)
    with file.open("wb") as sparse:
        sparse.truncate(1 << 30)
    with pytest.raises(MotionError, match="larger than"):
        load_trajectory(file)


def test_frames_per_second_are_positive_and_finite() -> None:
    for fps in (0.0, -1.0, float("inf"), float("nan"), 1000.0):
        with pytest.raises(MotionError, match="frames per second"):
            replace(moving(), fps=fps)


def test_each_part_moves_by_itself_and_all_parts_are_the_whole() -> None:
    whole = moving()
    assert_same(whole.parts(PARTS), whole)
    rest = dict.fromkeys(ARRAYS, 0.0) | {"scale": 1.0}
    moves = {
        "eyes": {"lids", "gaze"},
        "mouth": {"gap"},
        "brows": set(),
        "pose": {"pose", "shift", "scale"},
    }
    total = np.zeros_like(whole.landmarks)
    for part, arrays in moves.items():
        one = whole.parts([part])
        for name in set(ARRAYS) - {"landmarks", "weight"}:
            expected = getattr(whole, name) if name in arrays else rest[name]
            assert (getattr(one, name) == expected).all(), (part, name)
        total += one.landmarks
    assert (total == whole.landmarks).all()
    assert not whole.parts(["pose"]).landmarks.any()


@pytest.mark.parametrize("names", [["ears"], ["eyes", "ears"], []])
def test_unknown_parts_are_refused(names: list[str]) -> None:
    with pytest.raises(OptionError, match="eyes, mouth, brows, pose"):
        moving().parts(names)


def test_a_scaled_trajectory_goes_from_rest_through_itself_to_its_limits() -> None:
    whole = moving()
    assert_same(whole.scaled(1), whole)
    still = whole.scaled(0)
    assert (still.scale == 1).all()
    assert not still.landmarks.any()
    assert not still.pose.any()
    wide = replace(whole, lids=np.full((5, 2), 0.9)).scaled(2)
    assert (wide.lids == 1).all()
    assert (whole.scaled(2).gap == 2 * whole.gap).all()
    assert (whole.scaled(0.5).weight == whole.weight).all()


@pytest.mark.parametrize("strength", [-0.1, 2.1, float("nan"), float("inf")])
def test_a_strength_out_of_range_is_refused(strength: float) -> None:
    with pytest.raises(OptionError, match="strength"):
        moving().scaled(strength)


def test_the_mirror_image_of_the_mirror_image_is_the_motion_itself() -> None:
    assert_same(moving().mirrored().mirrored(), moving())


def test_a_mirror_swaps_the_sides() -> None:
    whole, mirror = moving(), moving().mirrored()
    assert (mirror.lids[:, 0] == whole.lids[:, 1]).all()
    assert (mirror.gaze[:, 0] == whole.gaze[:, 1] * [-1, 1]).all()
    assert (mirror.landmarks[:, 48] == whole.landmarks[:, 54] * [-1, 1]).all()
    assert (mirror.pose == whole.pose * [-1, 1, -1]).all()
    assert (mirror.shift == whole.shift * [-1, 1]).all()
    assert (mirror.scale == whole.scale).all()


def test_a_trajectory_at_other_times_is_interpolated() -> None:
    whole, known = moving(), np.array([0.0, 0.1, 0.2, 0.5, 1.0])
    assert_same(whole.at(known, known), whole)
    np.testing.assert_allclose(whole.at(np.full(5, 0.35), known).gap, (whole.gap[2] + whole.gap[3]) / 2)

"""Generator files: round trip, rosinality's format, and decoders in encoders' checkpoints."""

import argparse
import os
import stat
from pathlib import Path
from typing import Any

import pytest
import stylegan2_reference as reference
import torch
from safetensors.torch import load_file, save_file
from stylegan2_files import (
    CONFIG,
    METADATA,
    assert_refused,
    rosinality_state,
    save_own,
    save_public,
    small_generator,
)
from torch import Tensor

from stylegan2 import load_generator, save_generator


@pytest.fixture
def own(tmp_path: Path) -> Path:
    return save_own(tmp_path)


@pytest.fixture
def public(tmp_path: Path) -> Path:
    return save_public(tmp_path)


# --- our own format ---------------------------------------------------------------------------------------


def test_saved_files_survive_a_round_trip(own: Path) -> None:
    saved, loaded = small_generator(), load_generator(str(own))
    assert loaded.config == saved.config
    assert not loaded.training
    assert loaded.state_dict().keys() == saved.state_dict().keys()
    for name, tensor in loaded.state_dict().items():
        assert tensor.dtype == torch.float32
        assert tensor.device.type == "cpu"
        assert torch.equal(tensor, saved.state_dict()[name])
    w_plus = torch.randn(1, 6, 6)
    assert torch.equal(loaded.synthesize(w_plus), saved.synthesize(w_plus))
    assert all(parameter.requires_grad for parameter in loaded.parameters())


def test_half_precision_files_load_as_float32(own: Path) -> None:
    save_file({name: tensor.half() for name, tensor in load_file(own).items()}, own, METADATA)
    loaded = load_generator(own)
    assert {tensor.dtype for tensor in loaded.state_dict().values()} == {torch.float32}


def test_loading_draws_no_random_numbers_and_does_not_need_the_file_afterwards(own: Path) -> None:
    before = torch.random.get_rng_state()
    loaded = load_generator(own)
    assert torch.equal(before, torch.random.get_rng_state())
    with torch.no_grad():
        other = small_generator()
        other.synthesis.constant.zero_()
    save_generator(other, own)  # replaced by another file, as our writers do
    own.unlink()
    for name, tensor in loaded.state_dict().items():
        assert torch.equal(tensor, small_generator().state_dict()[name])


@pytest.mark.slow
def test_training_in_place_leaves_the_file_alone(own: Path) -> None:
    before = own.read_bytes()
    loaded = load_generator(own)
    optimizer = torch.optim.SGD(loaded.parameters(), lr=1.0)
    loaded.synthesize(torch.ones(1, 6, 6)).square().mean().backward()
    optimizer.step()
    loaded.latent_avg.zero_()
    assert not torch.equal(loaded.synthesis.constant, small_generator().synthesis.constant)
    assert own.read_bytes() == before


@pytest.mark.parametrize("stored_half", [False, True], ids=["from float32", "from float16"])
def test_half_precision_is_that_of_use_half(own: Path, stored_half: bool) -> None:
    if stored_half:
        save_generator(small_generator().use_half(), own)
    expected = small_generator().use_half().state_dict()
    found = load_generator(own, half=True).state_dict()
    assert {tensor.dtype for tensor in found.values()} == {torch.float16, torch.float32}
    for name, tensor in found.items():
        assert tensor.dtype == expected[name].dtype
        assert torch.equal(tensor, expected[name])


def test_public_files_load_in_half_precision_too(public: Path) -> None:
    expected = load_generator(public).use_half().state_dict()
    found = load_generator(public, half=True).state_dict()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in found.items())
    assert all(tensor.dtype == expected[name].dtype for name, tensor in found.items())


def test_saving_is_whole_or_not_at_all(tmp_path: Path, own: Path) -> None:
    assert [path.name for path in tmp_path.iterdir()] == [own.name]
    assert stat.S_IMODE(own.stat().st_mode) & 0o444 == 0o444 & ~_umask()
    with pytest.raises(OSError):  # noqa: PT011 (which one depends on the system)
        save_generator(small_generator(), tmp_path / "no such folder" / "generator.safetensors")
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError):  # noqa: PT011
        save_generator(small_generator(), tmp_path / "folder")
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["folder", own.name]


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


# --- rosinality's format ----------------------------------------------------------------------------------


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
@torch.no_grad()
def test_a_rosinality_file_gives_the_reference_picture(tmp_path: Path, zipped: bool) -> None:
    path = tmp_path / "public.pt"
    state, average = rosinality_state(), torch.randn(6)
    contents = {"g": {"ignored": torch.ones(1)}, "g_ema": state, "latent_avg": average}
    contents["args"] = argparse.Namespace(size=16)
    torch.save(contents, path, _use_new_zipfile_serialization=zipped)
    generator = load_generator(path)
    assert generator.config == CONFIG
    assert torch.equal(generator.latent_avg, average)

    network = reference.from_rosinality(state)
    z, w_plus = torch.randn(6), torch.randn(6, 6)
    expected_w = torch.from_numpy(reference.map_z(network, z.double().numpy()))
    expected = torch.from_numpy(reference.synthesize(network, w_plus.double().numpy(), 16))
    w, image = generator.mapping(z[None])[0], generator.synthesize(w_plus[None])[0]
    assert (w - expected_w).abs().max() <= 1e-5 * expected_w.abs().max()
    assert (image - expected).abs().max() <= 1e-5 * expected.abs().max()


def encoder_checkpoint(path: Path, average: object, **changes: object) -> Path:
    """What e4e, pSp and ReStyle write: a decoder, an encoder, and options, which are irrelevant here."""
    state: dict[str, Any] = {f"decoder.{name}": tensor for name, tensor in rosinality_state().items()}
    state |= {"encoder.input_layer.0.weight": torch.ones(4, 6, 3, 3), "encoder.anything": torch.ones(1)}
    options = argparse.Namespace(encoder_type="GradualStyleEncoder", stylegan_size=1024, device="cuda:0")
    torch.save({"state_dict": state | changes, "latent_avg": average, "opts": options}, path)
    return path


ROW = torch.tensor([0.1, -2.0, 3.3, 1e-7, 0.7, 5.0])


# --- decoders in encoders' checkpoints --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("average", "expected"),
    [
        (ROW, ROW),
        (ROW[None], ROW),
        (ROW.repeat(6, 1), ROW),
        (ROW.expand(6, 6), ROW),
        (torch.stack([ROW * i for i in range(6)]), ROW * 2.5),
    ],
    ids=["one", "one row", "equal rows", "one row for all", "rows"],
)
def test_a_decoder_is_the_generator_with_one_average(
    average: Tensor, expected: Tensor, tmp_path: Path
) -> None:
    torch.save({"g_ema": rosinality_state(), "latent_avg": ROW}, tmp_path / "alone.pt")
    alone = load_generator(tmp_path / "alone.pt")
    loaded = load_generator(encoder_checkpoint(tmp_path / "e4e.pt", average))
    assert loaded.config == alone.config
    assert not loaded.training
    for name, tensor in loaded.state_dict().items():
        if name != "latent_avg":
            assert torch.equal(tensor, alone.state_dict()[name])
    assert torch.allclose(loaded.latent_avg, expected, rtol=1e-6, atol=0)
    if average.shape[0] == 1 or average.ndim == 1 or (average == average[0]).all():
        assert torch.equal(loaded.latent_avg, expected)  # the mean of equal rows may have a rounding error


@pytest.mark.parametrize("kept", ["2000", "0.5", "0.99"])
def test_encoder_checkpoints_cut_short_are_refused(kept: str, tmp_path: Path) -> None:
    path = encoder_checkpoint(tmp_path / "e4e.pt", ROW)
    size = int(float(kept) * path.stat().st_size) if "." in kept else int(kept)
    path.write_bytes(path.read_bytes()[:size])
    assert_refused(path, "cut short")


BAD_DECODERS: dict[str, tuple[object, dict[str, object], str]] = {
    "average of 18 styles": (ROW.repeat(18, 1), {}, "[18, 6]"),
    "average of other length": (torch.ones(7), {}, "[7]"),
    "average of no length": (torch.tensor(1.0), {}, "[]"),
    "average of words": ("words", {}, "lacks latent_avg"),
    "endless average": (torch.ones(1, 1).expand(10**12, 6), {}, "[1000000000000, 6]"),
    "integers": (torch.ones(6, dtype=torch.int64), {}, "latent_avg is no plain"),
    "no tensor": (ROW, {"decoder.conv1.conv.weight": 3}, "its decoder that is not a tensor"),
    "unknown": (ROW, {"decoder.conv9.conv.weight": torch.ones(1)}, "'conv9.conv.weight' in its decoder"),
    "wrong shape": (ROW, {"decoder.conv1.noise.weight": torch.ones(2)}, "[2], not [1]"),
    "endless bias": (
        ROW,
        {"decoder.to_rgb1.bias": torch.ones(10**5, 1).expand(10**5, 10**5)[:, :, None, None]},
        "",
    ),
}


@pytest.mark.parametrize(("average", "changes", "mention"), BAD_DECODERS.values(), ids=BAD_DECODERS.keys())
def test_bad_decoders_are_refused(
    average: object, changes: dict[str, object], mention: str, tmp_path: Path
) -> None:
    assert_refused(encoder_checkpoint(tmp_path / "bad.pt", average, **changes), mention)


def test_an_encoder_without_its_decoder_is_no_generator(tmp_path: Path) -> None:
    torch.save({"state_dict": {"encoder.x": torch.ones(1)}, "latent_avg": ROW}, tmp_path / "x.pt")
    assert_refused(tmp_path / "x.pt", "holds no generator")

"""Generator files: round trip, rosinality's format, and everything that a file can have wrong with it."""

import argparse
import json
import os
import pickle
import stat
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import refusals
import stylegan2_reference as reference
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from stylegan2 import CheckpointError, Generator, GeneratorConfig, load_generator, save_generator

CONFIG = GeneratorConfig(16, 6, 6, 2, channels={4: 5, 8: 7, 16: 3})
METADATA = {"format": "micromotion/1", "kind": "stylegan2", "config": json.dumps(CONFIG.to_dict())}


def small_generator() -> Generator:
    generator = Generator(CONFIG, torch.Generator().manual_seed(0))
    with torch.no_grad():
        for parameter in generator.parameters():
            parameter += 0.1
        generator.latent_avg += 0.5
    return generator


def rosinality_state() -> dict[str, Tensor]:
    """A 16×16 generator as that project stores it, filled with random numbers, noise strengths included."""
    rng = torch.Generator().manual_seed(5)
    kernel = torch.outer(torch.tensor([1.0, 3, 3, 1]), torch.tensor([1.0, 3, 3, 1])) / 16
    state: dict[str, Tensor] = {}

    def put(name: str, *shape: int) -> None:
        state[name] = torch.randn(shape, generator=rng)

    def conv(name: str, out: int, width: int, size: int) -> None:
        put(f"{name}.conv.weight", 1, out, width, size, size)
        put(f"{name}.conv.modulation.weight", width, 6)
        put(f"{name}.conv.modulation.bias", width)

    def styled(name: str, out: int, width: int, up: bool) -> None:
        conv(name, out, width, 3)
        put(f"{name}.noise.weight", 1)
        put(f"{name}.activate.bias", out)
        if up:
            state[f"{name}.conv.blur.kernel"] = kernel

    def to_rgb(name: str, width: int, up: bool) -> None:
        if up:
            state[f"{name}.upsample.kernel"] = kernel
        put(f"{name}.bias", 1, 3, 1, 1)
        conv(name, 3, width, 1)

    for i in (1, 2):
        put(f"style.{i}.weight", 6, 6)
        put(f"style.{i}.bias", 6)
        state[f"style.{i}.weight"] *= 100
        state[f"style.{i}.bias"] *= 20
    put("input.input", 1, 5, 4, 4)
    styled("conv1", 5, 5, False)
    to_rgb("to_rgb1", 5, False)
    for i, (out, width) in enumerate(((7, 5), (7, 7), (3, 7), (3, 3))):
        styled(f"convs.{i}", out, width, i % 2 == 0)
    to_rgb("to_rgbs.0", 7, True)
    to_rgb("to_rgbs.1", 3, True)
    for i, side in enumerate((4, 8, 8, 16, 16)):
        put(f"noises.noise_{i}", 1, 1, side, side)
    return state


@pytest.fixture
def own(tmp_path: Path) -> Path:
    path = tmp_path / "generator.safetensors"
    save_generator(small_generator(), path)
    return path


@pytest.fixture
def public(tmp_path: Path) -> Path:
    path = tmp_path / "public.pt"
    torch.save({"g_ema": rosinality_state(), "latent_avg": torch.ones(6)}, path)
    return path


assert_refused = partial(refusals.assert_refused, load_generator)


# --- our own format ---------------------------------------------------------------------------------------


def test_what_is_saved_comes_back(own: Path) -> None:
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
    save_generator(other, own)  # another file under the same name, as every writer of ours does it
    own.unlink()
    for name, tensor in loaded.state_dict().items():
        assert torch.equal(tensor, small_generator().state_dict()[name])


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


# --- decoders in encoders' checkpoints --------------------------------------------------------------------


def encoder_checkpoint(path: Path, average: object, **changes: object) -> Path:
    """What e4e, pSp and ReStyle write: a decoder beside an encoder, and options, which do not matter here."""
    state: dict[str, Any] = {f"decoder.{name}": tensor for name, tensor in rosinality_state().items()}
    state |= {"encoder.input_layer.0.weight": torch.ones(4, 6, 3, 3), "encoder.anything": torch.ones(1)}
    options = argparse.Namespace(encoder_type="GradualStyleEncoder", stylegan_size=1024, device="cuda:0")
    torch.save({"state_dict": state | changes, "latent_avg": average, "opts": options}, path)
    return path


ROW = torch.tensor([0.1, -2.0, 3.3, 1e-7, 0.7, 5.0])


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
        assert torch.equal(loaded.latent_avg, expected)  # the mean of equal rows may be off by a rounding


@pytest.mark.parametrize("kept", ["2000", "0.5", "0.99"])
def test_encoder_checkpoints_cut_short_are_refused(kept: str, tmp_path: Path) -> None:
    path = encoder_checkpoint(tmp_path / "e4e.pt", ROW)
    size = int(float(kept) * path.stat().st_size) if "." in kept else int(kept)
    path.write_bytes(path.read_bytes()[:size])
    assert_refused(path, "cut short")


BAD_DECODERS: dict[str, tuple[object, dict[str, object], str]] = {
    "no average": (None, {}, "lacks latent_avg"),
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


# --- bad PyTorch files ------------------------------------------------------------------------------------


def edited(change: Callable[[dict[str, Any]], object]) -> Callable[[Path], None]:
    """A rosinality checkpoint after a change of its contents."""

    def write(path: Path) -> None:
        contents: dict[str, Any] = {"g_ema": rosinality_state(), "latent_avg": torch.ones(6)}
        change(contents)
        torch.save(contents, path)

    return write


def compressed(path: Path) -> None:
    torch.save({"g_ema": rosinality_state(), "latent_avg": torch.ones(6)}, path)
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in parts.items():
            archive.writestr(name, data)


BAD_PUBLIC: dict[str, tuple[Callable[[Path], Any], str]] = {
    "a tensor": (lambda path: torch.save(torch.ones(3), path), "Tensor"),
    "another model": (lambda path: torch.save({"state_dict": {}}, path), "no generator"),
    "no average": (edited(lambda c: c.pop("latent_avg")), "latent_avg"),
    "average of 18 styles": (edited(lambda c: c.update(latent_avg=torch.ones(18, 6))), "[18, 6]"),
    "no dictionary": (edited(lambda c: c.update(g_ema=[1, 2])), "g_ema"),
    "no tensor": (edited(lambda c: c["g_ema"].update({"input.input": "text"})), "input.input"),
    "numbered names": (edited(lambda c: c["g_ema"].update({7: torch.ones(1)})), "7"),
    "missing": (edited(lambda c: c["g_ema"].pop("convs.2.activate.bias")), "synthesis.convs.3.bias"),
    "missing constant": (edited(lambda c: c["g_ema"].pop("input.input")), "synthesis.constant"),
    "missing mapping": (edited(lambda c: c["g_ema"].pop("style.1.weight")), "mapping.layers.0.weight"),
    "unknown": (edited(lambda c: c["g_ema"].update(extra=torch.ones(1))), "extra"),
    "flat constant": (edited(lambda c: c["g_ema"].update({"input.input": torch.ones(1)})), "dimensions"),
    "wrong shape": (edited(lambda c: c["g_ema"].update({"conv1.noise.weight": torch.ones(2)})), "[2]"),
    "other filter": (
        edited(lambda c: c["g_ema"].update({"to_rgbs.1.upsample.kernel": torch.ones(4, 4)})),
        "filter",
    ),
    "integers": (
        edited(lambda c: c["g_ema"].update({"conv1.noise.weight": torch.ones(1, dtype=torch.int32)})),
        "synthesis.convs.0.noise_strength",
    ),
    "sparse": (
        edited(lambda c: c["g_ema"].update({"conv1.noise.weight": torch.ones(1).to_sparse()})),
        "conv1.noise.weight",
    ),
    "without data": (
        edited(lambda c: c["g_ema"].update({"conv1.noise.weight": torch.ones(1, device="meta")})),
        "conv1.noise.weight",
    ),
    "huge view": (
        edited(lambda c: c["g_ema"].update({"convs.1.conv.weight": torch.ones(1).expand(1, 8000, 7, 3, 3)})),
        "",
    ),
    "endless width": (
        edited(lambda c: c["g_ema"].update({"input.input": torch.ones(1).expand(1, 10**9, 4, 4)})),
        "impossible",
    ),
    "compressed": (compressed, "compressed"),
}


@pytest.mark.filterwarnings("ignore:Sparse invariant checks")
@pytest.mark.parametrize(("write", "mention"), BAD_PUBLIC.values(), ids=BAD_PUBLIC.keys())
def test_bad_pytorch_files_are_refused(write: Callable[[Path], Any], mention: str, tmp_path: Path) -> None:
    path = tmp_path / "bad.pt"
    write(path)
    assert_refused(path, mention)


def test_views_that_claim_more_than_the_file_holds_are_refused(tmp_path: Path) -> None:
    """Every shape fits, but 2 MB of numbers are one number that is repeated."""
    state = rosinality_state()
    for i, (out, width) in enumerate(((256, 5), (256, 256), (3, 256))):
        one = torch.ones(1)
        state[f"convs.{i}.conv.weight"] = one.expand(1, out, width, 3, 3)
        state[f"convs.{i}.conv.modulation.weight"] = one.expand(width, 6)
        state[f"convs.{i}.conv.modulation.bias"] = one.expand(width)
        state[f"convs.{i}.activate.bias"] = one.expand(out)
    state["to_rgbs.0.conv.weight"] = one.expand(1, 3, 256, 1, 1)
    state["to_rgbs.0.conv.modulation.weight"] = one.expand(256, 6)
    state["to_rgbs.0.conv.modulation.bias"] = one.expand(256)
    torch.save({"g_ema": state, "latent_avg": torch.ones(6)}, tmp_path / "views.pt")
    assert_refused(tmp_path / "views.pt", "more numbers than the file holds")


class Bomb:
    """Unpickling it as Python would makes a folder."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.mkdir, (str(self.trace),)


@pytest.mark.parametrize("how", ["zip", "legacy", "plain pickle"])
def test_a_malicious_pickle_executes_nothing(how: str, tmp_path: Path) -> None:
    path, trace = tmp_path / "bad.pt", tmp_path / "trace"
    contents = {"g_ema": rosinality_state(), "latent_avg": Bomb(trace)}
    if how == "plain pickle":
        path.write_bytes(pickle.dumps(contents))
    else:
        torch.save(contents, path, _use_new_zipfile_serialization=how == "zip")
    assert_refused(path)
    assert not trace.exists()


# --- damaged and foreign files ----------------------------------------------------------------------------


def test_files_that_are_no_checkpoints_are_refused(tmp_path: Path) -> None:
    assert_refused(tmp_path / "missing.safetensors", "no model file")
    assert_refused(tmp_path, "folder")
    assert_refused(tmp_path / ("long" * 200))
    path = tmp_path / "file.safetensors"
    rng = np.random.default_rng(0)
    for contents in (
        b"",
        b"x",
        b"This is a text, not a model.\n",
        bytes(1000),
        rng.bytes(1000),
        b"PK\x03\x04" + rng.bytes(500),
        b"\xff" * 8 + b"{",  # a header of 2^64 bytes
        (10**7).to_bytes(8, "little") + b"{" * 200,
        (200).to_bytes(8, "little") + b"{" * 200,
    ):
        path.write_bytes(contents)
        assert_refused(path)


@pytest.mark.parametrize("kept", [9, 100, 3000, -1], ids=str)
@pytest.mark.parametrize("which", ["own", "public", "legacy"])
def test_files_cut_short_are_refused(which: str, kept: int, request: pytest.FixtureRequest) -> None:
    path: Path = request.getfixturevalue("public" if which == "legacy" else which)
    if which == "legacy":
        torch.save(torch.load(path), path, _use_new_zipfile_serialization=False)
    path.write_bytes(path.read_bytes()[:kept])
    assert_refused(path)


@pytest.mark.filterwarnings("ignore:TypedStorage is deprecated")
@pytest.mark.parametrize("which", ["own", "public"])
def test_flipped_bytes_are_refused_or_harmless(which: str, request: pytest.FixtureRequest) -> None:
    """Whatever is wrong inside, nothing but CheckpointError comes out."""
    path: Path = request.getfixturevalue(which)
    good = np.frombuffer(path.read_bytes(), dtype=np.uint8)
    rng = np.random.default_rng(0)
    refused = 0
    for _ in range(150):
        bad = good.copy()
        where = rng.integers(0, 6000 if which == "own" else len(good), 3)
        bad[where] = rng.integers(0, 256, 3)
        path.write_bytes(bad.tobytes())
        try:
            load_generator(path)
        except CheckpointError:
            refused += 1
    assert refused > 10


def without(name: str) -> Callable[[dict[str, Tensor]], object]:
    return lambda state: state.pop(name)


def with_(name: str, tensor: Tensor) -> Callable[[dict[str, Tensor]], object]:
    return lambda state: state.update({name: tensor})


@pytest.mark.parametrize(
    ("change", "mention"),
    [
        (without("latent_avg"), "lacks latent_avg"),
        (lambda state: (state.pop("latent_avg"), state.pop("synthesis.noise_1")), "and 1 more"),
        (with_("taps", torch.ones(4)), "unexpected taps"),
        (with_("latent_avg", torch.ones(7)), "shape [7], not [6]"),
        (with_("latent_avg", torch.ones(6, dtype=torch.int64)), "latent_avg is no"),
    ],
)
def test_contents_that_do_not_fit_are_refused(
    own: Path, change: Callable[[dict[str, Tensor]], object], mention: str
) -> None:
    state = load_file(own)
    change(state)
    save_file(state, own, METADATA)
    assert_refused(own, mention)


@pytest.mark.parametrize(
    "metadata",
    [
        None,
        METADATA | {"format": "other/1"},
        METADATA | {"kind": "e4e"},
        {"format": "micromotion/1", "kind": "stylegan2"},
        METADATA | {"config": "{"},
        METADATA | {"config": "[" * 100_000},
        METADATA | {"config": "[]"},
        METADATA | {"config": "{}"},
        METADATA | {"config": json.dumps(CONFIG.to_dict() | {"resolution": 2**40})},
        METADATA | {"config": json.dumps(CONFIG.to_dict() | {"resolution": "16"})},
        METADATA | {"config": json.dumps(CONFIG.to_dict() | {"mapping_layers": 10**12})},
        METADATA | {"config": json.dumps(CONFIG.to_dict() | {"unknown": 1})},
        METADATA | {"config": json.dumps(CONFIG.to_dict() | {"un\nknown" * 1000: 1})},
        METADATA | {"config": json.dumps(CONFIG.to_dict() | {"resolution": "16\n" * 1000})},
        METADATA | {"config": json.dumps(CONFIG.to_dict() | {"channels": [5, 7, 3]})},
        METADATA | {"config": json.dumps(CONFIG.to_dict() | {"channels": {"four": 5}})},
        METADATA | {"config": json.dumps(CONFIG.to_dict() | {"channels": {"4": 5, "8": 7, "16": 10**9}})},
    ],
    ids=lambda metadata: str(metadata)[-60:],
)
def test_bad_metadata_is_refused(own: Path, metadata: dict[str, str] | None) -> None:
    save_file(load_file(own), own, metadata)
    assert_refused(own)

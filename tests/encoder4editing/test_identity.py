"""The identity network: parity with an independent one, its loss, its files, and bad files."""

import json
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import identity_reference as reference
import numpy as np
import pytest
import refusals
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from encoder4editing import IdentityConfig, IdentityNet, load_identity, save_identity

CONFIG = IdentityConfig(input_size=24, feature_dim=20, widths=(8, 16, 32), depths=(1, 2, 1), se_reduction=8)


def pictures(size: int, count: int = 2, seed: int = 1) -> Tensor:
    return torch.rand(count, 3, size, size, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def publish(path: Path, change: Callable[[dict[str, Any]], object] = lambda state: None) -> Path:
    state: dict[str, Any] = reference.published_state()
    change(state)
    torch.save(state, path)
    return path


@pytest.fixture
def net(tmp_path: Path) -> IdentityNet:
    return load_identity(publish(tmp_path / "public.pth"))


# --- features and loss -------------------------------------------------------------------------


@pytest.mark.parametrize("size", [256, 300, 512, 90], ids=str)
def test_features_are_those_of_an_independent_network(size: int, net: IdentityNet) -> None:
    images = pictures(size)
    expected = np.stack([reference.features(reference.published_state(), i.double().numpy()) for i in images])
    found = net.features(images)
    assert found.dtype == torch.float32
    assert np.abs(found.detach().numpy() - expected).max() <= 1e-5
    assert np.abs(expected[0] - expected[1]).max() > 1e-2  # otherwise the test would prove nothing


def test_features_are_of_unit_length_and_the_same_for_each_picture_alone(net: IdentityNet) -> None:
    images = pictures(256, 3)
    together = net.features(images)
    assert torch.allclose(together.norm(dim=1), torch.ones(3))
    assert torch.allclose(together, torch.cat([net.features(image[None]) for image in images]), atol=1e-6)
    assert torch.equal(net(images), together)


def test_only_the_face_region_matters(net: IdentityNet) -> None:
    """Rows 35 to 222 and columns 32 to 219 of 256², no more and no less."""
    images = pictures(256, 1).requires_grad_()
    net.features(images)[0, 0].backward()
    assert images.grad is not None
    rows, columns = torch.nonzero(images.grad[0].abs().sum(0), as_tuple=True)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (35, 222, 32, 219)


def test_features_stay_float32_under_autocast_and_for_half_pictures(net: IdentityNet) -> None:
    images = pictures(256)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(net.features(images), net.features(images.float()))
    assert net.features(images.half()).dtype == torch.float32


def test_the_loss_is_one_minus_the_mean_dot(net: IdentityNet) -> None:
    images, others = pictures(256), pictures(320, seed=2)
    state = reference.published_state()
    pairs = [
        [reference.features(state, picture.double().numpy()) for picture in pair]
        for pair in zip(images, others, strict=True)
    ]
    expected = np.mean([1 - a @ b for a, b in pairs])
    assert abs(net.loss(images, others).item() - expected) <= 1e-5
    assert expected > 1e-3
    assert abs(net.loss(images, images).item()) <= 1e-6
    assert torch.equal(net.loss(images, net.features(others)), net.loss(images, others))
    assert torch.allclose(net.loss(images, others[:1]), net.loss(images, others[:1].expand(2, -1, -1, -1)))


def test_the_loss_has_a_gradient_for_the_pictures_alone(net: IdentityNet) -> None:
    net.double()
    images, others = pictures(256).double().requires_grad_(), pictures(256, seed=2).double().requires_grad_()
    (gradient,) = torch.autograd.grad(net.loss(images, others), images)
    step = torch.randn(images.shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64) * 1e-5
    with torch.no_grad():
        rise = net.loss(images + step, others) - net.loss(images - step, others)
    assert torch.allclose(rise, 2 * (gradient * step).sum(), rtol=1e-3)
    net.loss(images, net.features(others)).backward()
    assert others.grad is None


@pytest.mark.parametrize(
    "images",
    [
        torch.zeros(3, 256, 256),
        torch.zeros(1, 1, 256, 256),
        torch.zeros(1, 3, 256, 200),
        torch.zeros(1, 3, 0, 0),
        torch.zeros(1, 3, 256, 256, dtype=torch.uint8),
    ],
    ids=lambda images: f"{list(images.shape)} {images.dtype}",
)
def test_pictures_of_another_shape_are_refused(images: Tensor, net: IdentityNet) -> None:
    with pytest.raises(ValueError, match="images must be"):
        net.features(images)
    with pytest.raises(ValueError, match="images must be"):
        net.loss(pictures(256), images)


def test_a_reference_that_does_not_fit_is_refused(net: IdentityNet) -> None:
    for wrong in (pictures(256, 3), torch.zeros(2, 21), torch.zeros(3, 20)):
        with pytest.raises(ValueError, match="reference"):
            net.loss(pictures(256, 2), wrong)


# --- configuration -----------------------------------------------------------------------------


def test_the_default_is_the_public_ir_se50() -> None:
    with torch.device("meta"):
        net = IdentityNet(IdentityConfig())
    assert sum(parameter.numel() for parameter in net.parameters()) == 43_797_696
    assert net.linear.in_features == 512 * 7 * 7


def test_random_weights_come_from_the_given_generator() -> None:
    before = torch.random.get_rng_state()
    with torch.random.fork_rng():
        one, same = (IdentityNet(CONFIG, torch.Generator().manual_seed(4)) for _ in range(2))
        other = IdentityNet(CONFIG, torch.Generator().manual_seed(5))
    assert torch.equal(before, torch.random.get_rng_state())
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), same.parameters(), strict=True))
    assert not torch.equal(one.linear.weight, other.linear.weight)


def test_the_configuration_survives_json() -> None:
    assert IdentityConfig.from_dict(json.loads(json.dumps(CONFIG.to_dict()))) == CONFIG


@pytest.mark.parametrize(
    "values",
    [
        {"input_size": 110},
        {"input_size": 0},
        {"input_size": 2048},
        {"input_size": True},
        {"input_size": "112"},
        {"feature_dim": 10**9},
        {"widths": (64, 128)},
        {"widths": (), "depths": ()},
        {"widths": (8,) * 9, "depths": (1,) * 9, "input_size": 512},
        {"widths": (64, 128, 256, 10**9)},
        {"depths": (3, 4, 14, 0)},
        {"widths": 7},
        {"stem_stride": 3},
        {"unknown": 1},
    ],
    ids=str,
)
def test_impossible_configurations_are_refused(values: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"^[^\n]{5,200}$"):
        IdentityConfig.from_dict(values)


# --- files -------------------------------------------------------------------------------------


def assert_same(one: IdentityNet, other: IdentityNet) -> None:
    assert one.config == other.config
    assert one.state_dict().keys() == other.state_dict().keys()
    for name, tensor in one.state_dict().items():
        assert torch.equal(tensor, other.state_dict()[name])
        assert tensor.dtype == other.state_dict()[name].dtype


def test_a_public_file_is_recognised_by_its_contents(net: IdentityNet, tmp_path: Path) -> None:
    assert net.config == CONFIG
    assert not net.training
    assert net.backbone.get_buffer("stem.norm.num_batches_tracked").item() == 1234
    wrapped = tmp_path / "face.safetensors"
    torch.save({"state_dict": reference.published_state(), "epoch": 7}, wrapped)
    assert_same(load_identity(wrapped), net)
    legacy = tmp_path / "legacy.bin"
    torch.save(reference.published_state(), legacy, _use_new_zipfile_serialization=False)
    assert_same(load_identity(str(legacy)), net)


def test_a_file_without_batch_counters_loads(net: IdentityNet, tmp_path: Path) -> None:
    def change(state: dict[str, Any]) -> None:
        for name in [name for name in state if name.endswith("num_batches_tracked")]:
            del state[name]

    loaded = load_identity(publish(tmp_path / "old.pth", change))
    assert torch.equal(loaded.features(pictures(256)), net.features(pictures(256)))


def test_saved_files_survive_a_round_trip(net: IdentityNet, tmp_path: Path) -> None:
    save_identity(net, tmp_path / "identity.safetensors")
    loaded = load_identity(tmp_path / "identity.safetensors")
    assert_same(loaded, net)
    assert not loaded.training
    save_identity(loaded, tmp_path / "again.safetensors")
    assert (tmp_path / "again.safetensors").read_bytes() == (tmp_path / "identity.safetensors").read_bytes()


def test_stem_stride_and_other_stages_survive_a_file(tmp_path: Path) -> None:
    config = IdentityConfig(32, 12, widths=(8, 12), depths=(1, 1), se_reduction=5, stem_stride=2)
    net = IdentityNet(config, torch.Generator().manual_seed(0)).eval()
    save_identity(net, tmp_path / "small.safetensors")
    loaded = load_identity(tmp_path / "small.safetensors")
    assert_same(loaded, net)
    assert loaded.features(pictures(128)).shape == (2, 12)


def without(name: str) -> Callable[[dict[str, Any]], object]:
    return lambda state: state.pop(name)


def with_(name: Any, value: object) -> Callable[[dict[str, Any]], object]:
    return lambda state: state.update({name: value})


def only(**contents: object) -> Callable[[dict[str, Any]], object]:
    def change(state: dict[str, Any]) -> None:
        state.clear()
        state.update(contents)

    return change


def claim_too_much(state: dict[str, Any]) -> None:
    for name, tensor in state.items():
        if tensor.is_floating_point():
            state[name] = torch.ones(1).expand(tensor.shape)


BAD: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "empty": (only(), "lacks"),
    "another model": (only(g_ema={}, latent_avg=torch.ones(3)), "g_ema"),
    "no state dict": (only(state_dict=[1]), "state dict"),
    "missing": (without("body.2.res_layer.4.running_var"), "backbone.units.2.norm2.running_var"),
    "missing head": (without("output_layer.3.weight"), "linear.weight"),
    "missing unit": (without("body.0.res_layer.3.weight"), "backbone.units.0.conv2"),
    "unexpected": (with_("body.0.res_layer.9.weight", torch.ones(1)), "body.0.res_layer.9.weight"),
    "line breaks": (with_("a\nb" * 1000, torch.ones(1)), "unexpected a b"),
    "numbered": (with_(3, torch.ones(1)), "3"),
    "no tensor": (with_("epoch", 7), "epoch"),
    "meta": (with_("output_layer.3.bias", torch.ones(20, device="meta")), "output_layer.3.bias"),
    "wrong shape": (with_("output_layer.3.bias", torch.ones(21)), "[21], not [20]"),
    "flat": (with_("output_layer.3.weight", torch.ones(1)), "linear.weight"),
    "side is no whole number": (with_("output_layer.3.weight", torch.ones(20, 32 * 8)), "linear.weight"),
    "no features": (with_("output_layer.3.weight", torch.ones(0, 0)), "impossible"),
    "integers": (with_("output_layer.3.bias", torch.ones(20, dtype=torch.int32)), "linear.bias"),
    "endless": (
        with_("output_layer.3.weight", torch.ones(1).expand(10**9, 10**9)),
        "impossible",
    ),
    "views": (claim_too_much, "more numbers than the file holds"),
}


assert_refused = partial(refusals.assert_refused, load_identity)


@pytest.mark.parametrize(("change", "mention"), BAD.values(), ids=BAD.keys())
def test_bad_public_files_are_refused(
    change: Callable[[dict[str, Any]], object], mention: str, tmp_path: Path
) -> None:
    assert_refused(publish(tmp_path / "bad.pth", change), mention)


@pytest.mark.parametrize("kept", [0, 9, 100, 5000, -1], ids=str)
@pytest.mark.parametrize("own", [True, False], ids=["own", "public"])
def test_truncated_files_are_refused(own: bool, kept: int, net: IdentityNet, tmp_path: Path) -> None:
    path = publish(tmp_path / "bad.pth")
    if own:
        save_identity(net, path)
    path.write_bytes(path.read_bytes()[:kept])
    assert_refused(path)


def test_other_files_are_refused(net: IdentityNet, tmp_path: Path) -> None:
    assert_refused(tmp_path / "missing.pth", "no model file")
    path = tmp_path / "script.pt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("script/constants.pkl", b"")
    assert_refused(path, "torchscript")
    save_identity(net, path)
    metadata = {"format": "micromotion/1", "kind": "identity"}
    for config, mention in (("{}", "lacks"), ('{"x": 1}', "impossible"), ('{"depths": 3}', "impossible")):
        save_file(load_file(path), path, metadata | {"config": config})
        assert_refused(path, mention)
    save_file(load_file(path), path, metadata | {"kind": "e4e"})
    assert_refused(path, "identity")

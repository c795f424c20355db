"""The one-pass encoders against an independent float64 reference, written over the published key names."""

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from encoder4editing_reference import (
    TINY,
    TYPES,
    Reference,
    make_images,
    make_inverter,
    published_state,
    randomised,
    relative_error,
)
from PIL import Image
from torch import Tensor

from encoder4editing import EncoderConfig, Inverter, load_inverter
from encoder4editing.backbone import Conv2d, halve_convolutions
from micromotion import align
from stylegan2 import load_generator

VARIANTS: dict[str, dict[str, Any]] = {
    "tiny": {},
    "one style": {"num_styles": 1},
    "coarse only": {"num_styles": 3},
    "no fine styles": {"num_styles": 7},
    "first fine style": {"num_styles": 8},
    "pyramid of another width": {"fpn_width": 40},
    "stages of one width": {"widths": (16, 16, 16, 64)},
    "stem stride": {"stem_stride": 2, "num_styles": 12},
    "few channels": {"widths": (8, 12, 20, 28), "fpn_width": 28, "depths": (2, 1, 1, 2)},
    "other gates": {"se_reduction": 4},
    **TYPES,
}
VARIANTS["BackboneEncoder of another width"] = {"pyramid": False, "deltas": False, "fpn_width": 40}


def variant(name: str) -> EncoderConfig:
    fields: dict[str, Any] = {field: getattr(TINY, field) for field in TINY.__dataclass_fields__}
    return EncoderConfig(**(fields | VARIANTS[name]))


@pytest.mark.slow
@pytest.mark.parametrize("name", VARIANTS)
def test_agrees_with_reference(name: str) -> None:
    config = variant(name)
    inverter = make_inverter(config)
    images = make_images(config.input_size)
    with torch.no_grad():
        w_plus = inverter.invert(images)
    assert w_plus.shape == (2, config.num_styles, config.style_dim)
    assert w_plus.dtype == torch.float32
    assert relative_error(w_plus, Reference(inverter)(images)) < 1e-5


def test_double_precision_agrees_to_rounding() -> None:
    inverter = make_inverter(TINY).double()
    images = make_images(TINY.input_size).double()
    with torch.no_grad():
        assert relative_error(inverter.invert(images), Reference(inverter)(images)) < 1e-12


@pytest.mark.slow
def test_default_is_the_public_architecture() -> None:
    """Names, shapes and parameter count of the public IR-SE50 e4e for a 1024² generator."""
    with torch.device("meta"):
        inverter = Inverter(EncoderConfig())
    shapes = {name: tuple(tensor.shape) for name, tensor in published_state(inverter).items()}
    assert len(shapes) == 621
    assert sum(p.numel() for p in inverter.parameters()) == 267_136_704
    for name, shape in {
        "encoder.input_layer.0.weight": (64, 3, 3, 3),
        "encoder.input_layer.2.weight": (64,),
        "encoder.body.0.res_layer.5.fc1.weight": (4, 64, 1, 1),
        "encoder.body.3.shortcut_layer.0.weight": (128, 64, 1, 1),
        "encoder.body.7.shortcut_layer.1.running_var": (256,),
        "encoder.body.20.res_layer.5.fc2.weight": (256, 16, 1, 1),
        "encoder.body.23.res_layer.3.weight": (512, 512, 3, 3),
        "encoder.styles.0.convs.6.bias": (512,),
        "encoder.styles.6.convs.8.weight": (512, 512, 3, 3),
        "encoder.styles.17.convs.10.weight": (512, 512, 3, 3),
        "encoder.styles.17.linear.weight": (512, 512),
        "encoder.latlayer1.weight": (512, 256, 1, 1),
        "encoder.latlayer2.weight": (512, 128, 1, 1),
    }.items():
        assert shapes[name] == shape
    for absent in ("encoder.styles.2.convs.8.weight", "encoder.styles.6.convs.10.weight"):
        assert absent not in shapes
    assert (inverter.num_styles, inverter.style_dim, inverter.input_size) == (18, 512, 256)


def test_average_latent_is_the_origin() -> None:
    inverter = make_inverter(TINY)
    images = make_images(TINY.input_size)
    with torch.no_grad():
        with_average = inverter.invert(images)
        average = inverter.latent_avg.clone()
        inverter.latent_avg.zero_()
        torch.testing.assert_close(inverter.invert(images) + average, with_average)


@pytest.mark.parametrize("factor", [2, 4])
def test_larger_pictures_are_averaged_by_area(factor: int) -> None:
    inverter = make_inverter(TINY)
    images = make_images(TINY.input_size * factor)
    blocks = images.unflatten(3, (-1, factor)).unflatten(2, (-1, factor)).mean((3, 5))
    with torch.no_grad():
        torch.testing.assert_close(inverter.invert(images), inverter.invert(blocks))


def test_every_picture_of_a_batch_is_inverted_by_itself() -> None:
    inverter = make_inverter(TINY)
    images = make_images(TINY.input_size, count=3)
    with torch.no_grad():
        alone = torch.cat([inverter.invert(image[None]) for image in images])
        torch.testing.assert_close(inverter.invert(images), alone)


def test_training_reaches_every_parameter_and_the_running_statistics() -> None:
    inverter = make_inverter(variant("other gates")).train()  # wide gates, or all of one may be closed
    before = {name: tensor.clone() for name, tensor in inverter.named_buffers()}
    inverter.invert(make_images(TINY.input_size)).square().mean().backward()
    for name, parameter in inverter.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.any(), name
    for name, tensor in inverter.named_buffers():
        assert torch.equal(tensor, before[name]) == (name == "latent_avg"), name


def test_fresh_weights_come_from_the_generator_alone() -> None:
    """The same seed gives the same weights, of the spread that torch's own initialisation has."""
    first, second = (Inverter(TINY, torch.Generator().manual_seed(3)).state_dict() for _ in range(2))
    for name, parameter in Inverter(TINY).named_parameters():
        assert torch.equal(first[name], second[name]), name
        if parameter.numel() > 300:
            torch.testing.assert_close(first[name].std(), parameter.std(), rtol=0.2, atol=0)
        if parameter.unique().numel() > 1:
            assert not torch.equal(first[name], parameter), name


@pytest.mark.slow
def test_a_few_steps_of_training_fit_a_latent() -> None:
    rng = torch.Generator().manual_seed(0)
    inverter = Inverter(TINY, rng).train()
    images = make_images(TINY.input_size, count=4)
    target = torch.randn(4, TINY.num_styles, TINY.style_dim, generator=rng)
    optimizer = torch.optim.Adam(inverter.parameters(), lr=0.01)
    losses = []
    for _ in range(30):
        loss = F.mse_loss(inverter(images), target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.3 * losses[0]


def test_autocast_keeps_latents_in_float32() -> None:
    inverter = make_inverter(TINY)
    images = make_images(TINY.input_size)
    with torch.autocast("cpu", torch.bfloat16):
        w_plus = inverter.invert(images)
        w_plus.square().mean().backward()
        assert inverter.encoder(images).dtype == torch.float32  # differences are added up precisely
    assert w_plus.dtype == torch.float32
    assert relative_error(w_plus, Reference(inverter)(images)) < 0.05
    assert all(p.grad is not None and p.grad.isfinite().all() for p in inverter.parameters())


@pytest.mark.slow
@pytest.mark.parametrize(
    "images",
    [
        torch.zeros(1, 3, 32, 32),
        torch.zeros(1, 3, 64, 96),
        torch.zeros(3, 64, 64),
        torch.zeros(1, 4, 64, 64),
        torch.zeros(1, 3, 64, 64, dtype=torch.uint8),
    ],
    ids=["too small", "not square", "no batch", "four channels", "bytes"],
)
def test_images_of_another_kind_are_refused(images: Tensor) -> None:
    with pytest.raises(ValueError, match="images must be"):
        make_inverter(TINY).invert(images)


@pytest.mark.parametrize(
    "fields",
    [
        {"input_size": 100},
        {"input_size": 16},
        {"input_size": 32, "stem_stride": 2},
        {"num_styles": 0},
        {"num_styles": 10**9},
        {"style_dim": -1},
        {"widths": (64, 128, 256)},
        {"widths": (64, 128, 256, 10**6)},
        {"depths": (3, 4, 14, 0)},
        {"depths": (3, 4, 14, 3.0)},
        {"stem_stride": True},
        {"input_channels": 4},
        {"input_channels": True},
        {"pyramid": 1},
        {"deltas": None},
    ],
    ids=str,
)
def test_invalid_architectures_are_refused(fields: dict) -> None:
    with pytest.raises(ValueError, match=r"must be|four"):
        EncoderConfig(**fields)


def test_six_channels_need_a_generator() -> None:
    with pytest.raises(ValueError, match="3 input channels, not of 6"):
        Inverter(EncoderConfig(input_channels=6))


# --- half precision ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", TYPES)
def test_half_precision_changes_latents_little(name: str) -> None:
    config = variant(name)
    inverter, images = make_inverter(config), make_images(config.input_size)
    offsets = Reference(inverter).offsets(images)
    assert inverter.use_half() is inverter
    with torch.no_grad():
        w_plus = inverter.invert(images)
    assert w_plus.dtype == torch.float32
    assert relative_error(w_plus - inverter.latent_avg, offsets) < 2e-3


def test_half_precision_is_of_convolution_weights_only() -> None:
    with torch.device("meta"):
        inverter = Inverter(TINY).use_half()
    for name, parameter in inverter.named_parameters():
        halved = parameter.ndim == 4 and "gate" not in name
        assert parameter.dtype == (torch.float16 if halved else torch.float32), name
    assert all(buffer.dtype != torch.float16 for buffer in inverter.buffers())


@pytest.mark.parametrize("half", [False, True])
def test_images_of_half_precision_are_accepted(half: bool) -> None:
    inverter = make_inverter(TINY)
    images = make_images(2 * TINY.input_size).half()  # averaged down: in float32
    expected = Reference(inverter)(images.double().unflatten(3, (-1, 2)).unflatten(2, (-1, 2)).mean((3, 5)))
    if half:
        inverter.use_half()
    with torch.no_grad():
        w_plus = inverter.invert(images)
    assert w_plus.dtype == torch.float32
    assert relative_error(w_plus, expected) < (2e-3 if half else 1e-5)


def test_half_precision_does_not_overflow_or_vanish() -> None:
    """Features above and below float16's range, as a network with random weights may have."""
    inverter = make_inverter(TINY)
    images = make_images(TINY.input_size)
    with torch.no_grad():
        for scale in (1e7, 1e-14):  # of everything after the second stage
            for norm in ("2.norm2", "1.norm2", "1.shortcut.norm"):
                for part in ("weight", "bias"):
                    inverter.encoder.backbone.units.get_parameter(f"{norm}.{part}").mul_(scale)
            offsets = Reference(inverter).offsets(images)
            half = copy.deepcopy(inverter).use_half()
            assert relative_error(half.invert(images) - half.latent_avg, offsets) < 5e-3


def test_a_half_precision_convolution_scales_every_sample_by_itself() -> None:
    conv = randomised(Conv2d(6, 5, 3, 2, 1), seed=0)
    x = make_images(8)[:1].repeat(4, 2, 1, 1) * torch.tensor([1.0, 1e9, 1e-9, 0.0])[:, None, None, None]
    assert conv.bias is not None
    bias = conv.bias[:, None, None]
    with torch.no_grad():
        expected = conv.double()(x.double()) - bias
        conv.float()
        halve_convolutions(conv)
        answers = conv(x)
    assert answers.dtype == torch.float32
    assert torch.equal(answers[3], bias.expand_as(answers[3]))
    for sample in (0, 1):
        assert relative_error(answers[sample] - bias, expected[sample]) < 2e-3
    conv.bias = None
    for sample in (0, 1, 2):
        assert relative_error(conv(x)[sample], expected[sample]) < 2e-3


@pytest.mark.slow
def test_half_precision_hardly_changes_an_avatar(astronaut: Image.Image) -> None:
    """The shipped model on a real photo: the pictures of both latents agree to a fraction of a grey level."""
    weights = Path(__file__).parents[2] / "weights" / "avatar"
    full, half = (load_inverter(weights / "inverter.safetensors", half=half) for half in (False, True))
    generator = load_generator(weights / "generator.safetensors")
    face = np.asarray(align(astronaut).image, dtype=np.float32) / 127.5 - 1
    image = torch.from_numpy(face).permute(2, 0, 1)[None]
    with torch.no_grad():
        codes = full.invert(image), half.invert(image)
        first, second = (generator.synthesize(w_plus).clamp(-1, 1) for w_plus in codes)
    assert relative_error(codes[1], codes[0].double()) < 2e-3
    assert F.mse_loss(first, second) < 4 * 10**-5.5  # 55 dB of a range of 2

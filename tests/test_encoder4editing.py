"""The e4e encoder against an independent float64 reference that is written over the published key names."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from encoder4editing import EncoderConfig, Inverter

TINY = EncoderConfig(
    input_size=64,
    num_styles=9,
    style_dim=24,
    widths=(16, 32, 48, 64),
    depths=(1, 2, 3, 1),
    fpn_width=64,
    head_width=20,
)

VARIANTS = {
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
}


def make_inverter(config: EncoderConfig, seed: int = 0) -> Inverter:
    """An inverter in eval mode with every tensor random, also those that are trivial in a fresh model."""
    generator = torch.Generator().manual_seed(seed)
    inverter = Inverter(config).eval()
    for name, tensor in inverter.state_dict().items():
        if name.endswith("running_var"):
            tensor.copy_(torch.rand(tensor.shape, generator=generator) + 0.5)
        elif tensor.is_floating_point():
            fan_in = tensor[0].numel() if tensor.ndim == 4 else 1
            tensor.copy_(torch.randn(tensor.shape, generator=generator) / math.sqrt(fan_in))
    return inverter


def make_images(size: int, count: int = 2, seed: int = 1) -> Tensor:
    return torch.rand(count, 3, size, size, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def published(name: str) -> str:
    """The name that a tensor of ours has in the public e4e code (`latlayer0` alone does not exist there)."""
    for ours, theirs in (
        ("encoder.backbone.", "encoder."),
        ("stem.conv", "input_layer.0"),
        ("stem.norm", "input_layer.1"),
        ("stem.act", "input_layer.2"),
        ("units", "body"),
        ("shortcut.conv", "shortcut_layer.0"),
        ("shortcut.norm", "shortcut_layer.1"),
        ("norm1", "res_layer.0"),
        ("conv1", "res_layer.1"),
        (".act", ".res_layer.2"),
        ("conv2", "res_layer.3"),
        ("norm2", "res_layer.4"),
        ("gate.squeeze", "res_layer.5.fc1"),
        ("gate.excite", "res_layer.5.fc2"),
        ("heads", "styles"),
        ("lateral_coarse", "latlayer0"),
        ("lateral_middle", "latlayer1"),
        ("lateral_fine", "latlayer2"),
    ):
        name = name.replace(ours, theirs)
    head, convs, rest = name.partition(".convs.")
    if convs:
        index, _, kind = rest.partition(".")
        name = f"{head}.convs.{2 * int(index)}.{kind}"
    return name


def published_state(inverter: Inverter) -> dict[str, Tensor]:
    return {published(name): tensor for name, tensor in inverter.state_dict().items() if name != "latent_avg"}


class Reference:
    """e4e in float64 and plain functions, read off the paper and the public checkpoint's names."""

    def __init__(self, inverter: Inverter) -> None:
        self.config = inverter.config
        self.p = {name.removeprefix("encoder."): t.double() for name, t in published_state(inverter).items()}
        self.average = inverter.latent_avg.double()

    def norm(self, x: Tensor, name: str) -> Tensor:
        mean, var = self.p[name + ".running_mean"], self.p[name + ".running_var"]
        weight, bias = self.p[name + ".weight"], self.p[name + ".bias"]
        columns = [t.reshape(1, -1, 1, 1) for t in (mean, var, weight, bias)]
        return (x - columns[0]) / (columns[1] + 1e-5).sqrt() * columns[2] + columns[3]

    def prelu(self, x: Tensor, name: str) -> Tensor:
        return torch.where(x >= 0, x, x * self.p[name + ".weight"].reshape(1, -1, 1, 1))

    def conv(self, x: Tensor, name: str, stride: int = 1) -> Tensor:
        weight = self.p[name + ".weight"]
        return F.conv2d(x, weight, self.p.get(name + ".bias"), stride, weight.shape[-1] // 2)

    def unit(self, x: Tensor, name: str, stride: int) -> Tensor:
        shortcut = x[:, :, ::stride, ::stride]
        if f"{name}.shortcut_layer.0.weight" in self.p:
            shortcut = self.norm(self.conv(shortcut, f"{name}.shortcut_layer.0"), f"{name}.shortcut_layer.1")
        y = self.conv(self.norm(x, f"{name}.res_layer.0"), f"{name}.res_layer.1")
        y = self.conv(self.prelu(y, f"{name}.res_layer.2"), f"{name}.res_layer.3", stride)
        y = self.norm(y, f"{name}.res_layer.4")
        gate = self.conv(y.mean((2, 3), keepdim=True), f"{name}.res_layer.5.fc1").clamp(min=0)
        gate = 1 / (1 + torch.exp(-self.conv(gate, f"{name}.res_layer.5.fc2")))
        return y * gate + shortcut

    def head(self, x: Tensor, index: int) -> Tensor:
        layer = 0
        while f"styles.{index}.convs.{layer}.weight" in self.p:
            x = self.conv(x, f"styles.{index}.convs.{layer}", 2)
            x = torch.where(x >= 0, x, 0.01 * x)
            layer += 2
        assert x.shape[2:] == (1, 1)
        weight = self.p[f"styles.{index}.linear.weight"]
        return x[:, :, 0, 0] @ (weight / math.sqrt(weight.shape[1])).T + self.p[f"styles.{index}.linear.bias"]

    @staticmethod
    def double_size(x: Tensor) -> Tensor:
        """Bilinear interpolation whose corner samples are the old corner samples."""
        n = x.shape[-1]
        position = torch.arange(2 * n, dtype=x.dtype) * (n - 1) / (2 * n - 1)
        matrix = (1 - (position[:, None] - torch.arange(n)).abs()).clamp(min=0)
        return matrix @ x @ matrix.T

    def __call__(self, images: Tensor) -> Tensor:
        x = images.double()
        x = self.conv(x, "input_layer.0", self.config.stem_stride)
        x = self.prelu(self.norm(x, "input_layer.1"), "input_layer.2")
        stages, unit = [], 0
        for depth in self.config.depths:
            for index in range(depth):
                x = self.unit(x, f"body.{unit}", 2 if index == 0 else 1)
                unit += 1
            stages.append(x)
        coarse = self.conv(stages[3], "latlayer0") if "latlayer0.weight" in self.p else stages[3]
        middle = self.double_size(coarse) + self.conv(stages[2], "latlayer1")
        fine = self.double_size(middle) + self.conv(stages[1], "latlayer2")
        levels = [coarse] * 3 + [middle] * 4 + [fine] * 64
        w0 = self.head(coarse, 0)
        deltas = [torch.zeros_like(w0)] + [self.head(levels[i], i) for i in range(1, self.config.num_styles)]
        return torch.stack([w0 + delta for delta in deltas], dim=1) + self.average


def relative_error(value: Tensor, expected: Tensor) -> float:
    return ((value.double() - expected).abs().max() / expected.abs().max()).item()


def variant(name: str) -> EncoderConfig:
    fields = {field: getattr(TINY, field) for field in TINY.__dataclass_fields__}
    return EncoderConfig(**(fields | VARIANTS[name]))


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
    inverter = make_inverter(variant("other gates")).train()  # wide gates, or all of one may be shut
    before = {name: tensor.clone() for name, tensor in inverter.named_buffers()}
    inverter.invert(make_images(TINY.input_size)).square().mean().backward()
    for name, parameter in inverter.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.any(), name
    for name, tensor in inverter.named_buffers():
        assert torch.equal(tensor, before[name]) == (name == "latent_avg"), name


def test_a_few_steps_of_training_fit_a_latent() -> None:
    torch.manual_seed(0)
    inverter = Inverter(TINY).train()
    images, target = make_images(TINY.input_size, count=4), torch.randn(4, TINY.num_styles, TINY.style_dim)
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
    assert w_plus.dtype == torch.float32
    assert relative_error(w_plus, Reference(inverter)(images)) < 0.05
    assert all(p.grad.isfinite().all() for p in inverter.parameters())


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
    ],
    ids=str,
)
def test_impossible_architectures_are_refused(fields: dict) -> None:
    with pytest.raises(ValueError, match=r"must be|four"):
        EncoderConfig(**fields)

"""Small networks with random weights, of one size, and a bundle of them."""

from pathlib import Path

import torch
from torch import Tensor

from encoder4editing import EncoderConfig, Inverter
from encoder4editing.identity import IdentityConfig, IdentityNet
from micromotion.motion.anchors import Anchors
from micromotion.weights.bundle import save_bundle
from stylegan2 import Generator, GeneratorConfig

RESOLUTION, STYLES, STYLE_DIM = 32, 8, 16


def random_generator() -> Generator:
    """A generator of 32×32 pixels and 8 styles of 16, with random noise strengths (fresh ones are zero)."""
    rng = torch.Generator().manual_seed(1)
    widths = {4: 16, 8: 16, 16: 8, 32: 8}
    config = GeneratorConfig(RESOLUTION, STYLE_DIM, z_dim=STYLE_DIM, mapping_layers=2, channels=widths)
    generator = Generator(config, rng)
    with torch.no_grad():
        for name, parameter in generator.named_parameters():
            if "noise_strength" in name:
                parameter.copy_(0.3 * torch.randn(parameter.shape, generator=rng))
            if ".to_rgbs." in f".{name}" and name.endswith("weight") and parameter.ndim == 4:
                parameter.mul_(0.2)  # so that most pixels are within [-1, 1]
    return generator.eval()


def same(one: Generator, other: Generator) -> bool:
    """Whether all parameters and buffers are equal."""
    theirs = other.state_dict()
    return all(torch.equal(value, theirs[name]) for name, value in one.state_dict().items())


def random_inverter(num_styles: int = STYLES) -> Inverter:
    """An inverter that reads 32×32 pixels."""
    config = EncoderConfig(
        input_size=32,
        num_styles=num_styles,
        style_dim=STYLE_DIM,
        widths=(8, 8, 8, 8),
        depths=(1, 1, 1, 1),
        fpn_width=8,
        head_width=8,
        se_reduction=4,
    )
    with torch.random.fork_rng():
        torch.manual_seed(2)
        return Inverter(config).eval()


def random_identity() -> IdentityNet:
    """An identity network that reads 16×16 pixels and gives 8 features."""
    rng = torch.Generator().manual_seed(4)
    return IdentityNet(IdentityConfig(16, 8, (8, 8), (1, 1), 2), rng).eval().requires_grad_(False)


def random_code(generator: Generator) -> Tensor:
    """A random latent of this generator, [1, styles, dim]."""
    z = torch.randn(1, STYLE_DIM, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        return generator.mapping(z)[:, None].repeat(1, STYLES, 1)


def smooth_image() -> Tensor:
    """A smooth picture, [1, 3, R, R], that no latent of the generator gives."""
    coarse = torch.rand(1, 3, 4, 4, generator=torch.Generator().manual_seed(2)) * 2 - 1
    return torch.nn.functional.interpolate(coarse, RESOLUTION, mode="bicubic").clamp(-1, 1)


def zero_code(generator: Generator) -> Tensor:
    """A latent of the right shape, [1, styles, dim]."""
    return torch.zeros(1, generator.num_styles, generator.style_dim)


def random_anchors(seed: int) -> Anchors:
    """Six latents on a straight line."""
    rng = torch.Generator().manual_seed(seed)
    still, direction = torch.randn(2, STYLES, STYLE_DIM, generator=rng)
    degrees = torch.linspace(0, 1, 6)
    return Anchors(still + degrees[:, None, None] * direction, degrees, {"source": "random"})


def save_random_bundle(folder: Path) -> None:
    """Write a bundle with random weights and the motions smile and headsTurn into an existing folder."""
    save_bundle(
        folder,
        name="random",
        generator=random_generator(),
        inverter=random_inverter(),
        about={"training": "none, random weights"},
    )
    (folder / "anchors").mkdir()
    for seed, motion in enumerate(("smile", "headsTurn")):
        random_anchors(seed).save(folder / "anchors" / f"{motion}.safetensors")

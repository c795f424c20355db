"""The identity network, the loss that preserves a face's identity, and their files.

ArcFace (Deng et al. 2019, arXiv 1801.07698) over the IR-SE backbone, with the crop and the loss that pSp,
e4e and StyleCLIP (Patashnik et al. 2021, arXiv 2103.17249) use for aligned faces.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from encoder4editing.backbone import Backbone, backbone_layer, check_sizes, check_stages, with_counters
from stylegan2.checkpoints.layout import Contents, Sought, contents_of, find
from stylegan2.checkpoints.storage import (
    CheckpointError,
    State,
    assign_state,
    is_ours,
    read_safetensors,
    skeleton,
    write_safetensors,
)
from stylegan2.errors import about

KIND = "identity"

ALIGNED_SIZE = 256
"""The side in pixels to which a picture is resized before it is cropped."""
CROP_ROWS = slice(35, 223)
CROP_COLUMNS = slice(32, 220)
"""The part of those pixels that shows only the face, in an FFHQ-aligned picture."""


@dataclass(frozen=True)
class IdentityConfig:
    """Architecture of an `IdentityNet`; the defaults are the public IR-SE50.

    Attributes:
        input_size: side in pixels of the cropped face that the network sees; every stage halves it, so it
            must be a multiple of `reduction`.
        feature_dim: length of the features.
        widths: channels of the backbone's stages, 1 to 8 of them.
        depths: residual units of each stage.
        se_reduction: channels per hidden channel in the squeeze-and-excitation gates.
        stem_stride: stride of the first convolution, 1 or 2.

    Raises:
        ValueError: a value is outside its bounds.
    """

    input_size: int = 112
    feature_dim: int = 512
    widths: tuple[int, ...] = (64, 128, 256, 512)
    depths: tuple[int, ...] = (3, 4, 14, 3)
    se_reduction: int = 16
    stem_stride: int = 1

    def __post_init__(self) -> None:
        if len(self.widths) != len(self.depths) or not 1 <= len(self.widths) <= 8:
            raise ValueError("an identity network has 1 to 8 stages, and a width and a depth for each")
        limits = {"input_size": 1024, "feature_dim": 8192, "se_reduction": 8192, "stem_stride": 2}
        check_sizes({name: (getattr(self, name), limit) for name, limit in limits.items()})
        check_stages(self.widths, self.depths)
        if self.input_size % self.reduction:
            raise ValueError(f"input_size must be a multiple of {self.reduction}, not {self.input_size}")

    @property
    def reduction(self) -> int:
        """How many times smaller than the input the deepest feature map is."""
        return self.stem_stride << len(self.widths)

    def to_dict(self) -> dict[str, Any]:
        """The configuration as a JSON-serialisable dictionary; `from_dict` is the inverse."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "IdentityConfig":
        """The configuration from `to_dict`, or its JSON. Raises ValueError for unknown or invalid values."""
        try:
            lists = {key: tuple(value) for key, value in values.items() if isinstance(value, list)}
            return cls(**(dict(values) | lists))
        except TypeError as error:
            raise ValueError(
                f"the configuration has unknown entries or entries of a wrong kind ({error})"
            ) from error


class IdentityNet(nn.Module):
    """Maps faces to features whose dot product measures how alike two people look: 1 is the same person.

    A fresh network has random weights, drawn from `rng` on the CPU or from torch's global generator. For
    features and losses it must be in eval mode, as `load_identity` leaves it.
    """

    def __init__(self, config: IdentityConfig, rng: torch.Generator | None = None) -> None:
        super().__init__()
        self.config = config
        self.backbone = Backbone(config.widths, config.depths, config.se_reduction, config.stem_stride)
        width, side = config.widths[-1], config.input_size // config.reduction
        self.norm = nn.BatchNorm2d(width)
        self.linear = nn.Linear(width * side * side, config.feature_dim)
        self.feature_norm = nn.BatchNorm1d(config.feature_dim)
        if rng is not None:
            _draw_weights(self, rng)

    def features(self, images: Tensor) -> Tensor:
        """Identity features of pictures, differentiably.

        Args:
            images: [B, 3, S, S], floating point, in [-1, 1], FFHQ-aligned, of any size. They are resized to
                256² by adaptive average pooling, cropped to the face, and pooled to the network's input.

        Returns:
            [B, feature_dim] of unit length, in the dtype of the weights (float32), also under autocast.

        Raises:
            ValueError: the images have another shape or dtype.
        """
        if not images.is_floating_point() or images.ndim != 4 or images.shape[1] != 3:
            raise ValueError(
                f"images must be floating point [B, 3, S, S], not {images.dtype} {list(images.shape)}"
            )
        if images.shape[2] != images.shape[3] or images.shape[2] == 0:
            raise ValueError(f"images must be square, not {images.shape[2]}×{images.shape[3]}")
        with torch.autocast(images.device.type, enabled=False):
            faces = self._faces(images.to(self.linear.weight.dtype))
            maps = self.norm(self.backbone(faces)[-1])
            return F.normalize(self.feature_norm(self.linear(maps.flatten(1))))

    def forward(self, images: Tensor) -> Tensor:
        """`features`."""
        return self.features(images)

    def loss(self, images: Tensor, reference: Tensor) -> Tensor:
        """The identity loss: the mean over the batch of 1 − the dot product with the reference's features.

        Args:
            images: [B, 3, S, S] as for `features`; the loss is differentiable with respect to them.
            reference: the people they should show, as pictures [B or 1, 3, S', S'] or as their features
                [B or 1, feature_dim]; constant for differentiation.

        Returns:
            A scalar from 0 (the same) to 2.

        Raises:
            ValueError: either has a wrong shape or dtype.
        """
        with torch.no_grad():
            wanted = reference if reference.ndim == 2 else self.features(reference)
        if wanted.shape[0] not in (1, images.shape[0]) or wanted.shape[1] != self.config.feature_dim:
            raise ValueError(
                f"the reference must be of 1 or {images.shape[0]} people, or their features of length "
                f"{self.config.feature_dim}, not {list(reference.shape)}"
            )
        return (1 - (self.features(images) * wanted.detach()).sum(dim=1)).mean()

    def _faces(self, images: Tensor) -> Tensor:
        """[B, 3, S, S] -> [B, 3, input_size, input_size], the faces alone."""
        if images.shape[-1] != ALIGNED_SIZE:
            images = F.adaptive_avg_pool2d(images, ALIGNED_SIZE)
        return F.adaptive_avg_pool2d(images[:, :, CROP_ROWS, CROP_COLUMNS], self.config.input_size)


def load_identity(path: str | Path, *, device: str | torch.device = "cpu") -> IdentityNet:
    """Reads an identity network, in float32 and eval mode, on `device`.

    Args:
        path: a file written by `save_identity`, or a public one of ArcFace's IR-SE networks
            (`model_ir_se50.pth`, of TreB1eN/InsightFace_Pytorch): a state dict in a PyTorch or safetensors
            file, in any wrapper that `stylegan2.checkpoints.layout` understands. Its contents, not its name,
            decide which it is.
        device: the network's device.

    Raises:
        CheckpointError: the file is missing, damaged, no identity network, or its parts do not fit together.
    """
    path = Path(path)
    if is_ours(path):
        values, state = read_safetensors(path, KIND, device)
        with about(path, "identity network"):
            config = IdentityConfig.from_dict(values)
    else:
        contents = contents_of(path, "identity network")
        with about(path, "identity network"):
            config, state = _from_public(contents)
    with skeleton():  # no memory before names and shapes are checked
        network = IdentityNet(config)
    assign_state(network, state, path)
    return network.to(device).eval()


def save_identity(net: IdentityNet, path: str | Path, *, half: bool = False) -> None:
    """Writes an identity network as safetensors that `load_identity` reads; complete or not at all.

    Args:
        net: the network; it is not changed.
        path: the file.
        half: stores matrices and convolutions as float16; they are float32 again once loaded. Biases and
            normalisation stay float32.

    Raises:
        OSError: the file cannot be written.
    """
    state = net.state_dict()
    if half:
        state = {name: tensor.half() if tensor.ndim > 1 else tensor for name, tensor in state.items()}
    write_safetensors(path, KIND, net.config.to_dict(), state)


# --- the public format -------------------------------------------------------------------------

# Public name → ours, of what follows the backbone.
_HEAD = {"output_layer.0": "norm", "output_layer.3": "linear", "output_layer.4": "feature_norm"}

IDENTITY = Sought("a state dict of an IR-SE identity network", tuple(f"{layer}.weight" for layer in _HEAD))


def _from_public(contents: Contents) -> tuple[IdentityConfig, State]:
    """Configuration and our state dict. Raises CheckpointError, lacking the file's name, or ValueError."""
    found = find(contents, IDENTITY)
    state = with_counters({_our_name(name): tensor for name, tensor in found.state.items()})
    return _config(state), state


def _our_name(name: str) -> str:
    """A public name in ours; an unknown one is left as it is, and so reported as unexpected."""
    layer, _, entry = name.rpartition(".")
    if layer in _HEAD:
        return f"{_HEAD[layer]}.{entry}"
    ours = backbone_layer(layer)
    return f"backbone.{ours}.{entry}" if ours else name


def _config(state: State) -> IdentityConfig:
    """The architecture of a translated state dict; a stage begins where the width changes."""

    def shape(layer: str, dims: int) -> torch.Size:
        name = f"{layer}.weight"
        if name not in state or state[name].ndim != dims:
            raise CheckpointError(
                f"holds no IR-SE identity network: it lacks {name}, or has it in another shape"
            )
        return state[name].shape

    units = re.compile(r"backbone\.units\.(\d+)\.")
    count = len({found[1] for name in state if (found := units.match(name))})
    widths = [shape(f"backbone.units.{index}.conv2", 4)[0] for index in range(max(1, count))]
    stages = [(width, len(list(group))) for width, group in groupby(widths)]
    hidden, gated = shape("backbone.units.0.gate.squeeze", 4)[:2]
    features, inputs = shape("linear", 2)
    side = math.isqrt(inputs // max(1, widths[-1]))  # of the deepest map, which is flattened
    return IdentityConfig(
        input_size=side << len(stages),
        feature_dim=features,
        widths=tuple(width for width, _ in stages),
        depths=tuple(depth for _, depth in stages),
        se_reduction=gated // max(1, hidden),
    )


@torch.no_grad()
def _draw_weights(module: nn.Module, rng: torch.Generator) -> None:
    """Draws a new network's random weights again from `rng`, uniformly within ±1/√fan_in."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            bound = 1 / math.sqrt(layer.weight[0].numel())
            for parameter in layer.parameters():
                parameter.uniform_(-bound, bound, generator=rng)

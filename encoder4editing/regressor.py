"""The regressor: estimates from a picture a face's smile, anger, closed eyes, age, turn and others.

It is for faces of the embedded model, and was trained on renders with known values (see
`avatar.training.regressor`). The product uses it to measure how far a motion moves a face, the laboratory as
a metric.
"""

from itertools import pairwise
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from stylegan2.checkpoints.storage import CheckpointError

READ = (
    "smile",
    "anger",
    "eyes_closed",
    "age",
    "yaw",
    "mouth_open",
    "pitch",
    "roll",
    "gaze_x",
    "gaze_y",
)
"""The outputs, in this order: the five motions, then the free movements, as the renderer names them."""

SIDE = 128
FACE = slice(30, 126), slice(16, 112)
"""Rows and columns of a SIDE² crop with face and neck; only the neck's lean shows a roll."""
SKIN = slice(63, 119), slice(36, 92)
"""Rows and columns from the lower lids to the chin; an angry face has its brows between the eyes."""
FACE_WIDTHS, SKIN_WIDTHS = (24, 48, 72, 96), (16, 32, 48, 64)


class Block(nn.Module):
    """A residual block that halves the picture; its two convolutions contribute nothing at initialisation."""

    def __init__(self, width_in: int, width: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(width_in, width, 3, stride=2, padding=1)
        self.second = nn.Conv2d(width, width, 3, padding=1)
        self.straight = nn.Conv2d(width_in, width, 1)
        self.gain = nn.Parameter(torch.zeros(()))  # De & Smith 2020, "SkipInit": no normalisation is needed

    def forward(self, x: Tensor) -> Tensor:
        residual = self.second(F.leaky_relu(self.first(x), 0.2))
        return F.leaky_relu(self.straight(F.avg_pool2d(x, 2)) + self.gain * residual, 0.2)


def reader(widths: tuple[int, ...], stride: int, side: int, count: int) -> nn.Sequential:
    """A network from pictures [B, 3, 8·side·stride, …] to numbers [B, count]."""
    return nn.Sequential(
        nn.Conv2d(3, widths[0], 3, stride=stride, padding=1),
        nn.LeakyReLU(0.2),
        *(Block(a, b) for a, b in pairwise(widths)),
        nn.Conv2d(widths[-1], 32, 1),
        nn.Flatten(),
        nn.Linear(32 * side * side, 64),
        nn.LeakyReLU(0.2),
        nn.Linear(64, count),
    )


class Regressor(nn.Module):
    """Pictures [B, 3, S, S] in [-1, 1], of any size S → degrees [B, len(READ)] of ``READ``.

    Age has its own network, which sees only the skin below the eyes: hair and brows turn grey with age, and
    must not count as wrinkles. (A beard is still visible.)
    """

    setting: Tensor
    zero: Tensor
    window: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.face = reader(FACE_WIDTHS, 2, 6, len(READ) - 1)
        self.skin = reader(SKIN_WIDTHS, 1, 7, 1)
        self.register_buffer("setting", torch.eye(len(READ)))
        self.register_buffer("zero", torch.zeros(len(READ)))
        self.register_buffer("window", skin_window(), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        seen, skin = self.windows(images)
        face, age, at = self.face(seen), self.skin(skin), READ.index("age")
        read = torch.cat([face[:, :at], age, face[:, at:]], dim=1).float()
        return (read - self.zero) @ self.setting

    def windows(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """The inputs of the two networks: face and neck [B, 3, 96, 96], and skin [B, 3, 56, 56]."""
        x = to_side(images)
        return x[:, :, *FACE], x[:, :, *SKIN] * self.window


def skin_window() -> Tensor:
    """A mask, 1 on the skin and 0 where hair may be: a box with round corners."""
    at = torch.linspace(-1, 1, SKIN[0].stop - SKIN[0].start)
    return (at[:, None].pow(4) + at.pow(4) <= 1).float()


def to_side(images: Tensor) -> Tensor:
    """Pictures of any size resized to SIDE²; larger ones are averaged."""
    if images.shape[-1] < SIDE:
        return F.interpolate(images, size=(SIDE, SIDE), mode="bilinear", align_corners=False)
    return images if images.shape[-1] == SIDE else F.adaptive_avg_pool2d(images, SIDE)


def load_regressor(path: Path, device: str | torch.device = "cpu") -> Regressor:
    """Read a regressor onto a device, in eval mode. Raises CheckpointError if the file is not one."""
    model = Regressor()
    try:
        model.load_state_dict(load_file(path))
    except (SafetensorError, OSError, RuntimeError) as error:
        raise CheckpointError(f"{path} is not a file of this regressor, or it is damaged.") from error
    return model.eval().requires_grad_(False).to(device)

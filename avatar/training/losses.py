"""Losses that make a generator spend its capacity on expressions rather than on hair and backdrop."""

import torch
import torch.nn.functional as F
from torch import Tensor

from avatar.renderer.factors import factors_from_z
from avatar.renderer.render import crop_frame, landmarks

SCALES = 3


def attention(z: Tensor, size: int, focus: float = 10.0) -> Tensor:
    """Weights [B, 1, size, size], from 1 to 1 + ``focus``, raised where expressions happen.

    That is at the eyes, the brows and the mouth, and a little over the whole face. The positions are the
    renderer's, so they follow the head when it turns.
    """
    f = factors_from_z(z)
    cx, cy, half = crop_frame(f)
    at = {name: ((x - cx) / half, (y - cy) / half) for name, (x, y) in landmarks(f).items()}
    grid = (torch.arange(size, device=z.device) + 0.5) / size * 2 - 1
    u, v = grid.view(1, 1, size), -grid.view(1, size, 1)

    def hill(x: Tensor, y: Tensor, width: float, height: float) -> Tensor:
        return torch.exp(-(((u - x[:, :, None]) / width) ** 2) - ((v - y[:, :, None]) / height) ** 2)

    left, right = at["left_eye"], at["right_eye"]
    mouth = [(a + b) / 2 for a, b in zip(at["left_mouth"], at["right_mouth"], strict=True)]
    middle = [(a + b + 2 * c) / 4 for a, b, c in zip(left, right, mouth, strict=True)]
    hills = [
        *(hill(x, y, 0.20, 0.11) for x, y in (left, right)),
        *(hill(x, y + 0.22, 0.20, 0.10) for x, y in (left, right)),
        hill(mouth[0], mouth[1], 0.34, 0.20),
        0.35 * hill(middle[0], middle[1] + 0.15, 0.62, 0.85),
    ]
    return 1 + focus * torch.stack(hills, dim=1).amax(dim=1, keepdim=True)


class GeneratorLoss:
    """Weighted L1 on colours and gradients at three scales, and a relative loss on differences within pairs.

    L1 alone lets a small generator ignore a smile, which is only a few pixels. Gradients at three scales make
    lines count; the attention map makes the face count; the pair term, |Δy − Δx| over the pixels where the
    pair differs relative to |Δx| there, makes a change of one factor count as much as a whole face, however
    small it is, and most where attention is.
    """

    def __init__(self, pair_weight: float = 0.25, gradient_weight: float = 1.0) -> None:
        self.pair_weight, self.gradient_weight = pair_weight, gradient_weight

    def __call__(self, made: Tensor, true: Tensor, weight: Tensor) -> Tensor:
        """The loss, a scalar.

        Args:
            made: the generator's pictures [2P, 3, S, S] in [-1, 1]; 2i and 2i + 1 are a pair.
            true: the renders, in the same shape and order.
            weight: the attention map [2P, 1, S, S].
        """
        return self.picture(made, true, weight) + self.pair_weight * self.pair(made, true, weight)

    def picture(self, made: Tensor, true: Tensor, weight: Tensor) -> Tensor:
        total = made.new_zeros(())
        for scale in range(SCALES):
            if scale:
                made, true, weight = (F.avg_pool2d(t, 2) for t in (made, true, weight))
            error = made - true
            total = total + (error.abs() * weight).mean() / weight.mean()
            across = (error[..., 1:] - error[..., :-1]).abs() * weight[..., 1:]
            down = (error[..., 1:, :] - error[..., :-1, :]).abs() * weight[..., 1:, :]
            total = total + self.gradient_weight * (across.mean() + down.mean()) / weight.mean()
        return total

    def pair(self, made: Tensor, true: Tensor, weight: Tensor) -> Tensor:
        """How much of each pair's change is missed, from 0 to 3; the face counts more than the hair."""
        made_change, true_change = made[1::2] - made[::2], true[1::2] - true[::2]
        size = true_change.abs().mean(dim=1, keepdim=True)
        near = F.avg_pool2d(size, 5, stride=1, padding=2)
        # The root, or a wrinkle would count for nothing beside hair that turns grey.
        mask = (near / near.amax(dim=(1, 2, 3), keepdim=True).clamp(min=1e-3)).sqrt()
        mask = mask * torch.maximum(weight[1::2], weight[::2])
        wrong = ((made_change - true_change).abs() * mask).sum(dim=(1, 2, 3))
        there = (true_change.abs() * mask).sum(dim=(1, 2, 3))
        return (wrong / (there + 0.02)).clamp(max=3.0).mean()

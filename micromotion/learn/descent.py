"""Adam with the learning-rate schedule of StyleGAN's projector, for many latents side by side, resumable.

The state is one safetensors file, replaced atomically after every step. It holds the recipe of its
collection, and is refused for any other.

Implemented here, rather than with `torch.optim.Adam`, so that the state is a few tensors in one file without
a pickle, from which the optimisation resumes bit-exactly.
"""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from micromotion.errors import MotionError, OutputError
from stylegan2.checkpoints.storage import DTYPES, CheckpointError, read_safetensors, write_safetensors

KIND = "text-progress"
NAME = "progress.safetensors"
BETAS, EPSILON = (0.9, 0.999), 1e-8
"""PyTorch's defaults, as in the original."""


def rate(step: int, steps: int, highest: float, *, ramp_up: float = 0.05, ramp_down: float = 0.25) -> float:
    """Adam's learning rate at a step, counted from 0: a linear ramp up, and a cosine ramp down.

    ramp_up, ramp_down: the fraction of the steps that each takes; 0 for no ramp (Karras et al. 2020, arXiv
    1912.04958, appendix D, as in StyleCLIP). With a ramp up, the first rate is 0.
    """
    done = step / steps
    fall = min(1.0, (1 - done) / ramp_down) if ramp_down else 1.0
    rise = min(1.0, done / ramp_up) if ramp_up else 1.0
    return highest * rise * (0.5 - 0.5 * math.cos(fall * math.pi))


@dataclass
class Descent:
    """Latents being optimised, and the state of Adam (Kingma, Ba 2015, arXiv 1412.6980).

    Attributes:
        latents: [n, styles, dim], after `done` steps. Adam works elementwise, so each of the n
            latents is optimised as it would be alone.
        mean, square: running means of the gradient and of its square, shaped as the latents.
        losses: float32 [3, n], of the last step: CLIP, squared distance and identity, before their weights.
        done: number of steps taken.
    """

    latents: Tensor
    mean: Tensor
    square: Tensor
    losses: Tensor
    done: int = 0

    @classmethod
    def begin(cls, start: Tensor, count: int) -> "Descent":
        """`count` copies of one latent [styles, dim], with an empty state."""
        latents = start.detach().expand(count, -1, -1).contiguous()
        return cls(latents, torch.zeros_like(latents), torch.zeros_like(latents), torch.zeros(3, count))

    def step(self, gradient: Tensor, rate: float) -> None:
        """Take one step of Adam, in place."""
        self.done += 1
        self.mean.lerp_(gradient, 1 - BETAS[0])
        self.square.mul_(BETAS[1]).addcmul_(gradient, gradient, value=1 - BETAS[1])
        even = [1 - beta**self.done for beta in BETAS]  # both means begin at 0
        size = (self.square.sqrt() / math.sqrt(even[1])).add_(EPSILON)
        self.latents.addcdiv_(self.mean, size, value=-rate / even[0])


def save(descent: Descent, folder: Path, recipe: dict[str, Any]) -> None:
    """Write the state into a folder, creating it if missing. Raises OutputError."""
    tensors = {name: getattr(descent, attribute) for attribute, name in _TENSORS.items()}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_safetensors(folder / NAME, KIND, {"recipe": recipe, "done": descent.done}, tensors)
    except OSError as error:
        raise OutputError(
            f"The progress cannot be saved in {folder}: {error.strerror or error}. "
            "Free some space there or name another folder."
        ) from error


def resume(begun: Descent, folder: Path, recipe: dict[str, Any], steps: int) -> Descent:
    """The state that `save` wrote into a folder, or `begun` if there is none.

    Nothing in the file is executed; only tensors with the names, shapes and dtypes of `begun` are read.
    Raises MotionError if the file is damaged or of another collection.
    """
    path = folder / NAME
    if not path.is_file():
        if path.exists() or (folder.exists() and not folder.is_dir()):
            raise MotionError(f"{folder} is not a folder, which progress is saved in: name another.")
        return begun
    try:
        _require_fitting(path, begun)
        config, tensors = read_safetensors(path, KIND, begun.latents.device)
    except (CheckpointError, SafetensorError, OSError) as error:
        raise MotionError(f"The progress in {path} cannot be read: delete the file to begin anew.") from error
    if config.get("recipe") != recipe:
        raise MotionError(
            f"{path} is the progress of another collection{_difference(config.get('recipe'), recipe)}: "
            "name another folder, or delete the file to begin anew."
        )
    done = config.get("done")
    whole = isinstance(done, int) and not isinstance(done, bool) and 0 <= done <= steps
    finite = all(bool(torch.isfinite(tensor).all()) for tensor in tensors.values())
    if not whole or not finite or bool((tensors["square"] < 0).any()):
        raise MotionError(f"The progress in {path} is damaged: delete the file to begin anew.")
    assert isinstance(done, int)
    # Copies, since the file that the tensors are mapped from will be replaced.
    own = {attribute: tensors[name].clone() for attribute, name in _TENSORS.items()}
    own["losses"] = own["losses"].cpu()
    return Descent(**own, done=done)


_TENSORS = {"latents": "codes", "mean": "mean", "square": "square", "losses": "losses"}
"""Attributes of `Descent`, and their tensors' names in the file."""


def _require_fitting(path: Path, begun: Descent) -> None:
    """Raise CheckpointError unless the file's header lists tensors of the right names, shapes and dtypes."""
    with safe_open(path, framework="pt") as file:
        found = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118 (it is not a mapping)
        shapes = {name: (part.get_dtype(), list(part.get_shape())) for name, part in found.items()}
    wanted = {name: getattr(begun, attribute) for attribute, name in _TENSORS.items()}
    if shapes != {name: (DTYPES[part.dtype], list(part.shape)) for name, part in wanted.items()}:
        raise CheckpointError(f"{path} holds other tensors")


def _difference(theirs: object, ours: dict[str, Any]) -> str:
    """The names of the entries in which two recipes differ, for an error message."""
    if not isinstance(theirs, dict):
        return ""
    names = [name for name in ours if theirs.get(name) != ours[name]]
    return f" (its {' and '.join(names)} {'is' if len(names) == 1 else 'are'} not the same)" if names else ""

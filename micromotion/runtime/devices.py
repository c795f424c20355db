"""Which device networks run on."""

from __future__ import annotations

import torch

from micromotion.errors import OptionError

OLDEST_GPU = (7, 5)  # compute capability that PyTorch 2.11 has kernels for: T4 and newer


def pick_device(device: str | torch.device) -> torch.device:
    """The device for "auto", "cpu", "cuda" or "cuda:N"; a GPU has its index.

    "auto" is the first GPU, or the CPU if there is none or it is too old for this PyTorch. Raises OptionError
    if the device is unknown, missing, or too old.
    """
    if device == "auto":
        usable = torch.cuda.is_available() and torch.cuda.get_device_capability(0) >= OLDEST_GPU
        return torch.device("cuda:0" if usable else "cpu")
    try:
        wanted = torch.device(device)
    except (RuntimeError, TypeError):
        wanted = None
    if wanted is None or wanted.type not in ("cpu", "cuda"):
        raise OptionError(f"device must be auto, cpu, cuda or cuda:N, not {str(device)!r}.")
    if wanted.type == "cuda" and (wanted.index or 0) >= torch.cuda.device_count():
        raise OptionError(f"There is no device {str(wanted)!r} on this machine; use auto or cpu.")
    if wanted.type == "cuda":
        wanted = torch.device("cuda", wanted.index or 0)
        if torch.cuda.get_device_capability(wanted) < OLDEST_GPU:
            raise OptionError(f"The GPU {str(wanted)!r} is older than this PyTorch supports; use cpu.")
    return wanted

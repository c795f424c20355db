"""Memory of the networks' device: which network occupies it, offloading, and out-of-memory errors."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TypeVar

import torch
from torch import nn

from micromotion.errors import DeviceMemoryError, MainMemoryError
from micromotion.runtime import main_memory

T = TypeVar("T")


class DeviceMemory:
    """A network in use on a device, and a spare one that is offloaded if memory does not suffice for both."""

    def __init__(self, device: torch.device, needs: nn.Module, spare: nn.Module | None = None) -> None:
        self.device = device
        self._needs = needs
        self._spare = spare

    def run(self, task: str, work: Callable[[], T]) -> T:
        """`work()` with the network on the device; see `retry`.

        Raises DeviceMemoryError, one sentence that names the task, if memory does not suffice.
        """
        with translate_oom(task, self.device):
            return self.retry(work)

    def retry(self, work: Callable[[], T]) -> T:
        """`work()` with the network on the device; if memory runs out, again after `offload`.

        Raises PyTorch's error (see `is_device_full`) if that did not help.
        """
        try:
            self._fetch()
            return work()
        except RuntimeError as error:
            if not is_device_full(error):
                raise
        # Only here is the exception gone, whose traceback kept work's tensors alive.
        self.offload()
        return work()

    def offload(self) -> None:
        """Move the spare network to main memory, and return torch's cached memory to the driver.

        Then moves the needed one back to the device: if the spare one uses it (as ReStyle does the
        generator), it was offloaded too.
        """
        if self._spare is not None:
            self._spare.to("cpu")
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        self._needs.to(self.device)

    def _fetch(self) -> None:
        """Move the network to the device if it is not there."""
        first = next(self._needs.parameters(), None)
        if first is None or first.device != self.device:
            self._needs.to(self.device)


@contextmanager
def deterministic() -> Iterator[None]:
    """Within the block, cuDNN uses only deterministic algorithms. Ours on a CPU are always deterministic, for
    the same number of threads.
    """
    before = torch.backends.cudnn.deterministic
    torch.backends.cudnn.deterministic = True
    try:
        yield
    finally:
        torch.backends.cudnn.deterministic = before


def is_device_full(error: RuntimeError) -> bool:
    """Whether an error of PyTorch means that the device is out of memory.

    The allocator has its own error type; the driver, and cuBLAS or cuDNN creating handles, only a message.
    """
    return isinstance(error, torch.OutOfMemoryError) or any(
        words in str(error) for words in ("out of memory", "ALLOC_FAILED")
    )


@contextmanager
def translate_oom(task: str, device: torch.device) -> Iterator[None]:
    """Turn a GPU's out-of-memory error into DeviceMemoryError, and one of main memory into MainMemoryError.

    Each is one sentence with the task and a remedy.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if isinstance(error, MemoryError) or not is_device_full(error):
            if main_memory.is_out_of_memory(error):
                raise MainMemoryError(main_memory.too_little_memory(task)) from error
            raise
        left = ""
        if device.type == "cuda":
            with suppress(RuntimeError):  # the query takes a little memory too
                free, total = (size / 2**30 for size in torch.cuda.mem_get_info(device))
                left = f" ({free:.1f} of {total:.1f} GB are free)"
        raise DeviceMemoryError(
            f"The GPU has too little memory for {task}{left}: close other programs that use it, take a GPU "
            "with 6 GB or more, or run on the CPU (--device cpu)."
        ) from error

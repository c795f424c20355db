"""Frames on their way from the device that renders them, and what happens when that device is full."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import TypeVar

import torch
from torch import Tensor

from micromotion.errors import DeviceMemoryError, MainMemoryError, RenderError
from micromotion.runtime.main_memory import is_out_of_memory, too_little_memory
from micromotion.video.encoders import Frame

T = TypeVar("T")


Rendered = tuple[Tensor, Tensor]
"""A picture, uint8 [H, W, 3], and whether the numbers that it was made of are finite, bool []."""


def fetch(pictures: Iterable[Rendered], *, ahead: int) -> Iterator[Frame]:
    """The pictures, on any one device, as arrays in main memory of their own, in order.

    `ahead` pictures more are taken before one is handed out. On a GPU, which works on its own once it has
    been told what to do, 1 keeps it rendering the next picture while the caller encodes this one; 0 is right
    where rendering is done when a picture comes. Never are more than ahead + 1 pictures under way.

    Raises RenderError for a picture of numbers that are not finite: in 8 bits it would be black.
    """
    under_way: deque[Callable[[], Frame]] = deque()
    for picture in pictures:
        under_way.append(_start(picture))
        if len(under_way) > ahead:
            yield under_way.popleft()()
    while under_way:
        yield under_way.popleft()()


def _start(rendered: Rendered) -> Callable[[], Frame]:
    """Begin to copy a picture into main memory; the function returned waits for the end and gives the copy.

    On a GPU the copy queues up behind the rendering, goes into page-locked memory and blocks nobody; the
    allocator uses such memory again and again, so the frame handed out is a copy of it.
    """
    picture, finite = rendered
    if not picture.is_cuda:
        return lambda: _require_finite(picture.numpy(), finite)
    landing = torch.empty(picture.shape, dtype=picture.dtype, pin_memory=True)
    landing.copy_(picture, non_blocking=True)
    verdict = torch.empty((), dtype=torch.bool, pin_memory=True)
    verdict.copy_(finite, non_blocking=True)
    arrived = torch.cuda.Event(blocking=True)  # sleeps, and leaves the core to the encoder's threads
    arrived.record(torch.cuda.current_stream(picture.device))

    def wait() -> Frame:
        arrived.synchronize()
        return _require_finite(landing.numpy().copy(), verdict)

    return wait


def _require_finite(frame: Frame, finite: Tensor) -> Frame:
    if not bool(finite):
        raise RenderError(
            "The model gave numbers that are not finite, which are no picture: its files or the motion's are "
            "damaged, or the strength is too large for it."
        )
    return frame


@contextmanager
def deterministic() -> Iterator[None]:
    """Within the block cuDNN takes only algorithms that give the same bits each time. So do ours on a CPU,
    with the same number of threads.
    """
    before = torch.backends.cudnn.deterministic
    torch.backends.cudnn.deterministic = True
    try:
        yield
    finally:
        torch.backends.cudnn.deterministic = before


def is_out_of_memory(error: RuntimeError) -> bool:
    """Whether an error of PyTorch means that the GPU's memory is used up.

    Its allocator says so by the error's type; the driver, and cuBLAS or cuDNN making their handles, by words.
    """
    return isinstance(error, torch.OutOfMemoryError) or any(
        words in str(error) for words in ("out of memory", "ALLOC_FAILED")
    )


def retry_on_oom(work: Callable[[], T], make_room: Callable[[], object]) -> T:
    """work(); if the GPU's memory does not suffice, make_room() and work() once more.

    Raises what PyTorch does (see `is_out_of_memory`) if that did not help.
    """
    try:
        return work()
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
    # Only here the exception is gone, whose traceback kept work's tensors alive.
    make_room()
    return work()


def offload_to_cpu(goes: torch.nn.Module, stays: torch.nn.Module, device: torch.device) -> None:
    """Make room on a GPU: one net goes to main memory, what torch holds in reserve goes back to the driver.

    The net that stays is fetched again: where the other uses it (as ReStyle does the generator), it has
    gone along.
    """
    goes.to("cpu")
    torch.cuda.empty_cache()
    stays.to(device)


@contextmanager
def translate_oom(task: str, device: torch.device) -> Iterator[None]:
    """Turn a full GPU's error into DeviceMemoryError, and that of a full main memory into MainMemoryError.

    Each is one sentence with the task and what can be done.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if isinstance(error, MemoryError) or not is_out_of_memory(error):
            if is_out_of_memory(error):
                raise MainMemoryError(too_little_memory(task)) from error
            raise
        left = ""
        if device.type == "cuda":
            with suppress(RuntimeError):  # asking takes a little memory too
                free, total = (size / 2**30 for size in torch.cuda.mem_get_info(device))
                left = f" ({free:.1f} of {total:.1f} GB are free)"
        raise DeviceMemoryError(
            f"The GPU has too little memory for {task}{left}: close other programs that use it, take a GPU "
            "with 6 GB or more, or run on the CPU (--device cpu)."
        ) from error

"""Transfers rendered frames from the device to main memory."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator

import torch
from torch import Tensor

from micromotion.errors import RenderError
from micromotion.types import Frame

Rendered = tuple[Tensor, Tensor]
"""A picture, uint8 [H, W, 3], and whether the model's output for it is finite, bool []."""


def fetch_frames(pictures: Iterable[Rendered], *, ahead: int) -> Iterator[Frame]:
    """The pictures, all on one device, as separate arrays in main memory, in order.

    Reads `ahead` pictures ahead of the one it yields. On a GPU, which works asynchronously, 1 lets it render
    the next picture while the caller encodes this one; use 0 where rendering is synchronous. At most
    ahead + 1 pictures are in flight.

    Raises RenderError for a picture of non-finite output: in 8 bits it would be black.
    """
    under_way: deque[Callable[[], Frame]] = deque()
    for picture in pictures:
        under_way.append(_start(picture))
        if len(under_way) > ahead:
            yield under_way.popleft()()
    while under_way:
        yield under_way.popleft()()


def _start(rendered: Rendered) -> Callable[[], Frame]:
    """Start copying a picture to main memory; the returned function waits for the copy and returns it.

    On a GPU the copy is queued behind the rendering, goes to page-locked memory and blocks nothing; the
    allocator reuses such memory, so the returned frame is a copy of it.
    """
    picture, finite = rendered
    if not picture.is_cuda:
        return lambda: _require_finite(picture.numpy(), finite)
    landing = torch.empty(picture.shape, dtype=picture.dtype, pin_memory=True)
    landing.copy_(picture, non_blocking=True)
    verdict = torch.empty((), dtype=torch.bool, pin_memory=True)
    verdict.copy_(finite, non_blocking=True)
    arrived = torch.cuda.Event(blocking=True)  # sleeps, leaving the core to the encoder's threads
    arrived.record(torch.cuda.current_stream(picture.device))

    def wait() -> Frame:
        arrived.synchronize()
        return _require_finite(landing.numpy().copy(), verdict)

    return wait


def _require_finite(frame: Frame, finite: Tensor) -> Frame:
    if not bool(finite):
        raise RenderError(
            "The model's output is not finite: its files or the motion's are damaged, or the strength is too "
            "large for it."
        )
    return frame

"""Frames on their way from the device that renders them into main memory."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator

import torch
from torch import Tensor

from micromotion.errors import RenderError
from micromotion.types import Frame

Rendered = tuple[Tensor, Tensor]
"""A picture, uint8 [H, W, 3], and whether the numbers that it was made of are finite, bool []."""


def fetch_frames(pictures: Iterable[Rendered], *, ahead: int) -> Iterator[Frame]:
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

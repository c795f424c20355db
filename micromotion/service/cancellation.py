"""Handles cancellations that arrive at a bad moment.

Cog cancels by raising an exception in the prediction's thread, wherever it is. In a callback of the
interpreter (of a weak reference, in __del__), Python only prints "Exception ignored", and the prediction runs
to its end: about one cancellation in fifty. During an import, a half-loaded module stays behind, and
everything that needs it fails from then on.

While a thread starts, Python 3.11 gives it the number of the thread that starts it. The new one is cancelled
instead, before it has said that it runs, and the other waits for that for ever.

A fourth kind cannot be fixed here: one that arrives before Cog's worker has begun is lost (see
`micromotion.service.gateway`).
"""

import ctypes
import importlib
import queue
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from micromotion.weights.bundle import Bundle

DELAY = 0.01  # seconds; raised in the hook itself, the exception would be ignored again

LATE = (
    "av",
    "dlib",
    "numpy.ma",
    "platformdirs",
    "micromotion.drive.driven_photo",
    "micromotion.drive.latents",
    "micromotion.drive.performance",
    "micromotion.learn.text_cache",
    "micromotion.motion.library",
)
"""Modules that are imported lazily."""
LATE_FOR_LEARNING = ("clip", "micromotion.weights.clip_model", "numpy.ctypeslib")


def keep_cancellations(predicting: Callable[[], bool]) -> None:
    """From now on, raise an ignored cancellation again if the prediction is still running."""
    from cog import CancelationException

    lost: queue.SimpleQueue[int] = queue.SimpleQueue()
    usual = sys.unraisablehook

    def hook(unraisable: "sys.UnraisableHookArgs") -> None:
        if issubclass(unraisable.exc_type, CancelationException):
            lost.put(threading.get_ident())
        else:
            usual(unraisable)

    def deliver() -> None:
        while True:
            ident = lost.get()
            time.sleep(DELAY)
            if predicting():
                ctypes.pythonapi.PyThreadState_SetAsyncExc(
                    ctypes.c_ulong(ident), ctypes.py_object(CancelationException)
                )

    sys.unraisablehook = hook
    threading.Thread(target=deliver, daemon=True).start()


def start_threads_apart() -> None:
    """From now on, let one thread, which nobody cancels, start all others."""
    usual = threading.Thread.start
    asked: queue.SimpleQueue[tuple[threading.Thread, queue.SimpleQueue[BaseException | None]]]
    asked = queue.SimpleQueue()

    def serve() -> None:
        while True:
            thread, answer = asked.get()
            try:
                usual(thread)
                answer.put(None)
            except BaseException as error:  # such as too many threads
                answer.put(error)

    def start(self: threading.Thread) -> None:
        answer: queue.SimpleQueue[BaseException | None] = queue.SimpleQueue()
        asked.put((self, answer))
        error = answer.get()
        if error is not None:
            raise error

    threading.Thread(target=serve, daemon=True).start()
    threading.Thread.start = start  # type: ignore[method-assign]


def import_ahead(bundle: "Bundle") -> None:
    """Import everything that predictions with this model would import lazily.

    Call it in setup, which nobody cancels. It takes some seconds, most of them for what PyTorch's optimisers
    import on first use.
    """
    from micromotion.weights.bundle import CLIP

    learns = bool(bundle.files) and bundle.files[0].with_name(CLIP).is_file()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "pkg_resources is deprecated")  # in clip
        for name in LATE + LATE_FOR_LEARNING * learns:
            importlib.import_module(name)
    _write_a_video()
    _step()


def _write_a_video() -> None:
    import numpy as np
    from PIL import Image

    from micromotion.credentials.claim import Claim
    from micromotion.video.writer import write_frames

    Image.init()
    with tempfile.TemporaryDirectory() as folder:
        claim = Claim("none", (), shows_photo=False)
        write_frames([np.zeros((16, 16, 3), np.uint8)], f"{folder}/video.mp4", 30, claim=claim)


def _step() -> None:
    import torch

    weight = torch.zeros(1, requires_grad=True)
    weight.sum().backward()
    torch.optim.Adam([weight]).step()

"""Cancellations that strike at a bad moment.

Cog cancels by raising an exception in the thread of the prediction, wherever that is. Where it strikes in a
callback of the interpreter (of a weak reference, in __del__), Python only says "Exception ignored", and the
prediction goes on to its end: about one cancellation in fifty. Where it strikes an import, half a module
stays behind, and from then on all that needs it fails.

A third kind cannot be mended here: one that comes before Cog's worker has begun is lost (see
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

DELAY = 0.01  # seconds; in the hook itself the exception would be ignored again

LATE = (
    "av",
    "dlib",
    "numpy.ma",
    "platformdirs",
    "micromotion.learn.text_cache",
    "micromotion.motion.library",
)
"""Modules that are imported where they are used."""
LATE_FOR_LEARNING = ("clip", "micromotion.weights.clip_model", "numpy.ctypeslib")


def keep_cancellations(predicting: Callable[[], bool]) -> None:
    """From now on a cancellation that was ignored is raised once more, if the prediction still goes on."""
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


def import_ahead(bundle: "Bundle") -> None:
    """Import now what predictions with this model import on their way.

    To be called in setup, which nobody cancels. It takes some seconds, most of them for what PyTorch's
    optimisers import when they are first used.
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

    from micromotion.video.writer import write_frames

    Image.init()
    with tempfile.TemporaryDirectory() as folder:
        write_frames([np.zeros((16, 16, 3), np.uint8)], f"{folder}/video.mp4", 30)


def _step() -> None:
    import torch

    weight = torch.zeros(1, requires_grad=True)
    weight.sum().backward()
    torch.optim.Adam([weight]).step()

"""Cancellations that get lost, and are delivered again.

Cog cancels by raising an exception in the thread of the prediction, wherever that is. Where it strikes in a
callback of the interpreter (of a weak reference, in __del__), Python only says "Exception ignored", and the
prediction goes on to its end: about one cancellation in fifty.
"""

import ctypes
import queue
import sys
import threading
import time
from collections.abc import Callable

DELAY = 0.01  # seconds; in the hook itself the exception would be ignored again


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

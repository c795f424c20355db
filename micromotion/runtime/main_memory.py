"""Recognises out-of-memory errors of Python, PyTorch, the loader and the kernel, and words our own."""

from __future__ import annotations

import errno
import os
import sys
from contextlib import suppress

from micromotion.errors import MainMemoryError

_WORDS = (
    "allocate memory",  # PyTorch's allocator, the kernel
    "not enough memory",
    "failed to map segment",  # the loader, of a library such as libtorch_cuda.so
    "bad_alloc",  # C++
    "bad allocation",
    "could not create a primitive",  # oneDNN
    "can't start new thread",  # no memory for its stack
)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error, or one of its causes, means that this process can get no more main memory."""
    return any(
        isinstance(each, MemoryError)
        or (isinstance(each, OSError) and each.errno == errno.ENOMEM)
        or (isinstance(each, RuntimeError | ImportError | OSError) and any(w in str(each) for w in _WORDS))
        for each in _chain(error)
    )


def too_little_memory(task: str) -> str:
    """The error message for a task."""
    return (
        f"There is too little memory for {task}: close other programs, or raise the limit of this process "
        "(ulimit -v) or of its container."
    )


def import_torch() -> None:
    """Import torch, whose libraries may abort the process if memory is too small.

    So if this process has an address space limit (ulimit -v), a forked child tries first. Raises
    MainMemoryError if the child was aborted, else what the import raises.
    """
    if "torch" not in sys.modules and _is_limited() and not _survives_torch():
        raise MainMemoryError(too_little_memory("PyTorch"))
    import torch  # noqa: F401


def _is_limited() -> bool:
    if sys.platform == "win32":
        return False
    import resource

    return resource.getrlimit(resource.RLIMIT_AS)[0] != resource.RLIM_INFINITY


def _survives_torch() -> bool:
    """Whether a forked child survives the import, whatever that raises."""
    child = os.fork()
    if child == 0:
        with suppress(BaseException):
            os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
            import torch  # noqa: F401
        os._exit(0)
    return os.waitpid(child, 0)[1] == 0


def _chain(error: BaseException | None) -> list[BaseException]:
    """An error and its causes, as a traceback would show them."""
    found: list[BaseException] = []
    while error is not None and error not in found:
        found.append(error)
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return found

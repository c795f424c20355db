"""When main memory does not suffice: how Python, PyTorch, the loader and the kernel say so, and how we do."""

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
    "can't start new thread",  # there is no room for its stack
)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error, or one that it came from, means that this process may have no more main memory."""
    return any(
        isinstance(each, MemoryError)
        or (isinstance(each, OSError) and each.errno == errno.ENOMEM)
        or (isinstance(each, RuntimeError | ImportError | OSError) and any(w in str(each) for w in _WORDS))
        for each in _chain(error)
    )


def too_little_memory(task: str) -> str:
    """The sentence for people."""
    return (
        f"There is too little memory for {task}: close other programs, or raise the limit of this process "
        "(ulimit -v) or of its container."
    )


def import_torch() -> None:
    """Import torch, whose libraries may abort the process where they find too little memory.

    So where this process has a limit of addresses (ulimit -v), a copy of it tries first. Raises
    MainMemoryError if that was aborted, else what the import raises.
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
    """Whether a copy of this process is still there after the import, whatever it raised."""
    child = os.fork()
    if child == 0:
        with suppress(BaseException):
            os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
            import torch  # noqa: F401
        os._exit(0)
    return os.waitpid(child, 0)[1] == 0


def _chain(error: BaseException | None) -> list[BaseException]:
    """An error and those that it came from, as a traceback would show them."""
    found: list[BaseException] = []
    while error is not None and error not in found:
        found.append(error)
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return found

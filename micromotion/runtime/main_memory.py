"""When main memory does not suffice: how Python, PyTorch, the loader and the kernel say so, and how we do."""

from __future__ import annotations

import errno

_WORDS = (
    "allocate memory",  # PyTorch's allocator, the kernel
    "not enough memory",
    "failed to map segment",  # the loader, of a library such as libtorch_cuda.so
    "bad_alloc",  # C++
    "bad allocation",
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


def _chain(error: BaseException | None) -> list[BaseException]:
    """An error and those that it came from, as a traceback would show them."""
    found: list[BaseException] = []
    while error is not None and error not in found:
        found.append(error)
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return found

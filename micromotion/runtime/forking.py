"""That networks go on working in a child of `os.fork`, as multiprocessing, gunicorn and Celery make them.

OpenMP's threads are not there in the child, but its library believes they are, and waits for them without
end. So the forking thread's are ended before the fork; its process gets new ones when it needs them.
"""

from __future__ import annotations

import ctypes
import os
from contextlib import suppress
from functools import cache
from threading import Lock

_HARD = 2  # omp_pause_hard: give everything back


@cache
def survive_forks() -> None:
    """Prepare torch in this process for forks, once; whoever runs a network calls it before.

    A child begins with one thread, for it has siblings as a rule, and together they would wait for each other
    most of the time. `torch.set_num_threads` gives it more.
    """
    import torch

    openmp = ctypes.CDLL(torch._C.__file__)  # symbols are looked for in what it depends on, too

    def before() -> None:
        # With one thread there is nobody to wait for: nor for those that an earlier fork has lost already.
        if torch.get_num_threads() > 1:
            with suppress(AttributeError):  # before OpenMP 5: then the child must keep to its one thread
                openmp.omp_pause_resource_all(_HARD)

    os.register_at_fork(before=before, after_in_child=lambda: torch.set_num_threads(1))


@cache
def hold_for_forks(lock: Lock) -> None:
    """From now on, make forks wait while another thread holds the lock, so that the child finds it free."""
    os.register_at_fork(before=lock.acquire, after_in_parent=lock.release, after_in_child=lock.release)

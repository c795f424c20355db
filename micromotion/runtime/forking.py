"""Makes networks work in a child of `os.fork`, as created by multiprocessing, gunicorn and Celery.

OpenMP's threads do not exist in the child, but its library waits for them for ever. So the forking thread's
OpenMP threads are ended before the fork; its process starts new ones when needed.
"""

from __future__ import annotations

import ctypes
import os
from contextlib import suppress
from functools import cache
from threading import Lock

_HARD = 2  # omp_pause_hard: release all resources


@cache
def survive_forks() -> None:
    """Prepare torch in this process for forks, once; call it before running a network.

    A child starts with one thread, because it usually has siblings, and with more they would mostly wait for
    each other. `torch.set_num_threads` gives it more.
    """
    import torch

    openmp = ctypes.CDLL(torch._C.__file__)  # its dependencies are searched for symbols too

    def before() -> None:
        # With one thread there is none to wait for, not even threads lost in an earlier fork.
        if torch.get_num_threads() > 1:
            with suppress(AttributeError):  # before OpenMP 5: the child must stay with its one thread
                openmp.omp_pause_resource_all(_HARD)

    os.register_at_fork(before=before, after_in_child=lambda: torch.set_num_threads(1))


@cache
def hold_for_forks(lock: Lock) -> None:
    """From now on, forks wait while another thread holds the lock, so it is free in the child."""
    os.register_at_fork(before=lock.acquire, after_in_parent=lock.release, after_in_child=lock.release)

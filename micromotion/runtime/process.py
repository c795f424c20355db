"""What a program of its own may set for its process, and a library must not: memory, threads.

The command line and the service call `configure_process` at their start. Importing micromotion changes
nothing: whoever uses it as a library keeps their allocator and their threads, and may call these functions
too.
"""

import ctypes
import math
import os
import sys
from contextlib import suppress
from pathlib import Path

_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX = -1, -2, -4  # mallopt(3)
_SPINS = "20000"
_CGROUP = Path("/sys/fs/cgroup")
_LEAST_MEMORY = 4 << 30  # bytes; on a smaller machine freed memory is better given back


def configure_process() -> None:
    """Prepare a process that does nothing but this, best before torch is imported and any thread runs.

    torch gets as many threads as the process has cores, by its affinity and its container's quota, of which
    it knows nothing; where it has been imported already, it stays as it was how they wait (`threads`). Freed
    memory is kept where there is enough (`keep_memory`). Variables that are set already win.
    """
    chosen = os.environ.get("OMP_NUM_THREADS")
    for name, value in threads(usable_cores()).items():
        os.environ.setdefault(name, value)
    if chosen is None and "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(usable_cores())
    if _memory() >= _LEAST_MEMORY:
        keep_memory()


def threads(count: int) -> dict[str, str]:
    """Environment variables for that many threads, which soon fall asleep when there is nothing to do.

    By default they spin for milliseconds: where other programs want the cores, that is up to 20 times slower.
    To sleep at once, as the policy alone would have it, costs 50 µs at each of the hundreds of steps of a
    small frame: twice its time. So they spin for a tenth of a millisecond (libgomp's own variable wins over
    the policy), which also on a busy machine was the best of those tried.
    """
    return {"OMP_NUM_THREADS": str(count), "OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": _SPINS}


def keep_memory() -> None:
    """Ask glibc to keep freed memory for what comes next, in this process, until its end.

    By default every large tensor is mapped afresh and given back: at 1024² that takes as long as the
    arithmetic. What the process has needed once it then holds. Does nothing where there is no glibc.
    """
    if sys.platform == "linux":
        libc = ctypes.CDLL(None)
        if hasattr(libc, "mallopt"):
            libc.mallopt(_M_MMAP_MAX, 0)
            libc.mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)
            libc.mallopt(_M_TOP_PAD, 64 << 20)


def usable_cores() -> int:
    """How many cores this process may use: by its affinity and its container's quota, at least 1."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with suppress(OSError, ValueError):
        quota, period = (_CGROUP / "cpu.max").read_text().split()
        cores = min(cores, math.ceil(int(quota) / int(period)))  # "max" is no number: no quota
    return max(cores, 1)


def _memory() -> int:
    """Bytes that this process may take: the machine's, or its container's limit; 0 if that is not known."""
    try:
        known = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return 0
    with suppress(OSError, ValueError):
        known = min(known, int((_CGROUP / "memory.max").read_text()))
    return known

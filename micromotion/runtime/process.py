"""Process-wide settings of memory and threads, which a program may change and a library must not.

The command line and the service call `configure_process` at their start. Importing micromotion changes
nothing: users of the library keep their allocator and threads, and may call these functions too.
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
_LEAST_MEMORY = 4 << 30  # bytes; on a smaller machine, freed memory is better returned


def configure_process() -> None:
    """Configure a process that runs nothing else, best before torch is imported and any thread runs.

    torch gets as many threads as the process has cores, by its affinity and its container's quota, which
    torch ignores; if torch is already imported, how they wait (`threads`) does not change. Freed memory is
    kept if there is enough (`keep_memory`). Environment variables that are already set win.
    """
    chosen = os.environ.get("OMP_NUM_THREADS")
    for name, value in threads(usable_cores()).items():
        os.environ.setdefault(name, value)
    if chosen is None and "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(usable_cores())
    if _memory() >= _LEAST_MEMORY:
        keep_memory()


def threads(count: int) -> dict[str, str]:
    """Environment variables for that many threads, which soon sleep when idle.

    By default they spin for milliseconds: if other programs need the cores, that is up to 20 times slower.
    Sleeping at once, as the policy alone would do, costs 50 µs at each of the hundreds of steps of a small
    frame: twice its time. So they spin for a tenth of a millisecond (libgomp's own variable overrides the
    policy), the best of the values tried, also on a busy machine.
    """
    return {"OMP_NUM_THREADS": str(count), "OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": _SPINS}


def keep_memory() -> None:
    """Make glibc keep freed memory for reuse until this process ends.

    By default every large tensor is mapped and unmapped: at 1024² that takes as long as the arithmetic. The
    process then stays at its peak memory. Does nothing without glibc.
    """
    if sys.platform == "linux":
        libc = ctypes.CDLL(None)
        if hasattr(libc, "mallopt"):
            libc.mallopt(_M_MMAP_MAX, 0)
            libc.mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)
            libc.mallopt(_M_TOP_PAD, 64 << 20)


def usable_threads() -> int:
    """The number of threads this process should use: OMP_NUM_THREADS if it is set, else `usable_cores`."""
    chosen = os.environ.get("OMP_NUM_THREADS", "")
    return max(int(chosen), 1) if chosen.isdecimal() else usable_cores()


def usable_cores() -> int:
    """The number of cores this process may use, by its affinity and its container's quota, at least 1."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with suppress(OSError, ValueError):
        quota, period = (_CGROUP / "cpu.max").read_text().split()
        cores = min(cores, math.ceil(int(quota) / int(period)))  # "max" is not a number: no quota
    return max(cores, 1)


def _memory() -> int:
    """Bytes that this process may use: the machine's, or its container's limit; 0 if unknown."""
    try:
        known = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return 0
    with suppress(OSError, ValueError):
        known = min(known, int((_CGROUP / "memory.max").read_text()))
    return known

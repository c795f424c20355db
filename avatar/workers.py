"""One process per core.

For small tensors, four processes of one thread each do several times the work of one process of four threads.
"""

import os
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.multiprocessing as mp

from micromotion.runtime.process import keep_memory


def default_workers() -> int:
    """One per core, or one in all where there is a GPU."""
    return 1 if torch.cuda.is_available() else len(os.sched_getaffinity(0))


def spawn(count: int, target: Callable[..., None], *args: Any) -> None:
    """Run ``target(rank, *args)`` in ``count`` processes of one thread each.

    With a count of 1 it is the calling process. Raises torch.multiprocessing.ProcessRaisedException if one of
    several raised.
    """
    if count == 1:
        threads = torch.get_num_threads()
        try:
            _enter(0, target, args)
        finally:
            torch.set_num_threads(threads)
    else:
        mp.spawn(_enter_one, (count, target, args), nprocs=count)


def share(
    pieces: Sequence[int], target: Callable[..., None], *args: Any, count: int | None = None, compiles: bool
) -> None:
    """Share pieces among ``count`` processes, or one per core, which run ``target(rank, mine, *args)``.

    If the target ``compiles`` something first, one process does a piece alone, and the others then find what
    it compiled: compiling all at once, they would block each other.
    """
    count = count or default_workers()
    if compiles and count > 1 and pieces:
        spawn(1, _take, target, pieces[:1], 1, args)
        pieces = pieces[1:]
    if pieces:
        world = min(count, len(pieces))
        spawn(world, _take, target, pieces, world, args)


def _take(
    rank: int, target: Callable[..., None], pieces: Sequence[int], world: int, args: tuple[Any, ...]
) -> None:
    target(rank, pieces[rank::world], *args)


def _enter_one(rank: int, count: int, target: Callable[..., None], args: tuple[Any, ...]) -> None:
    cores = sorted(os.sched_getaffinity(0))
    if count == len(cores):
        # Workers wait for each other at every step: two sharing a core for a moment halve the speed of all.
        os.sched_setaffinity(0, {cores[rank]})
    _enter(rank, target, args)


def _enter(rank: int, target: Callable[..., None], args: tuple[Any, ...]) -> None:
    torch.set_num_threads(1)
    keep_memory()
    target(rank, *args)

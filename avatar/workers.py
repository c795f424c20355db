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

    A single one is the caller's own process. Raises torch.multiprocessing.ProcessRaisedException where one of
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
    """Run ``target(rank, mine, *args)`` in ``count`` processes, or one per core, which share the pieces.

    Where it compiles something before its first, one process does a piece alone, and the others find what it
    compiled: all at once, they would keep each other waiting.
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
        # They wait for each other at every step: two that share a core for a moment halve the pace of all.
        os.sched_setaffinity(0, {cores[rank]})
    _enter(rank, target, args)


def _enter(rank: int, target: Callable[..., None], args: tuple[Any, ...]) -> None:
    torch.set_num_threads(1)
    keep_memory()
    target(rank, *args)

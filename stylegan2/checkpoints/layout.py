"""Finds a network in a checkpoint, whatever its tensors are wrapped in.

Projects save the same tensors bare, as `state_dict`, `g_ema`, `g` or `params_ema`, in nested dictionaries,
and under the prefixes that wrappers add (`module.` of DataParallel, `_orig_mod.` of torch.compile, `decoder.`
in an encoder's checkpoint). Here a dictionary's key and a prefix are the same: a step on the way to the
tensors. A network is recognised by the names of tensors that it always has, wherever they are.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from stylegan2.checkpoints.storage import REAL, State, file_kind, is_plain, read_foreign, read_torch
from stylegan2.errors import CheckpointError, one_line

AVERAGES = ("latent_avg", "mean_latent", "dlatent_avg", "w_avg")
"""What the average latent is called, within a network's dictionary or beside it."""

MAX_DEPTH = 8  # of nested dictionaries, and parts of a prefix; checkpoints have fewer than four
_EMA = re.compile(r"(^|_)ema(_|$)|^(Gs|g_running)$", re.IGNORECASE)  # the average over training
_WRAPPERS = {"module", "_orig_mod", "state_dict", "model", "net", "params"}

Contents = Mapping[Any, Any]


@dataclass(frozen=True)
class Sought:
    """A kind of network: its name in messages, with an article, and entries of which it has at least one."""

    what: str
    marks: tuple[str, ...]


@dataclass(frozen=True)
class FoundNetwork:
    """A network in a checkpoint.

    Attributes:
        way: the keys and parts of the prefix that lead to it.
        state: its tensors under their public names.
    """

    way: tuple[str, ...]
    state: State
    _around: tuple[Contents, ...]  # the dictionaries on the way, from the outermost
    _prefix: str

    @property
    def where(self) -> str:
        """Which part of the file it is, for messages: "g_ema", "its decoder"."""
        last = next((step for step in reversed(self.way) if step not in _WRAPPERS), "")
        known = {"": "its state dict", "decoder": "its decoder", "encoder": "its encoder"}
        return known.get(last, one_line(last)[:40])

    def nearest(self, *names: str) -> object:
        """The nearest value under one of the names, in the network's dictionary or those around it; or None.

        The names may have the network's prefix, the beginning of it, or none.
        """
        steps = self._prefix.split(".")[:-1]
        prefixes = ("".join(f"{step}." for step in steps[:length]) for length in range(len(steps), -1, -1))
        *outer, own = self._around
        searched = [*((own, prefix) for prefix in prefixes), *((each, "") for each in reversed(outer))]
        values = (entries.get(prefix + name) for entries, prefix in searched for name in names)
        return next((value for value in values if value is not None), None)


def contents_of(path: Path, what: str) -> dict[Any, Any]:
    """The contents of another project's PyTorch checkpoint or safetensors file.

    Raises CheckpointError, also for other kinds of file; `what`, without an article, names the network there.
    """
    kind = file_kind(path)
    if kind == "torch":
        return read_torch(path)
    if kind == "safetensors":
        return read_foreign(path)
    raise CheckpointError(f"{path} is a {kind} file, which holds no {what}.")


def holds(contents: Contents, sought: Sought) -> bool:
    """Whether the contents of a file include a network of that kind, or a part of one."""
    return any(True for _ in _candidates(contents, sought))


def find(contents: Contents, sought: Sought) -> FoundNetwork:
    """The network of that kind in the contents of a file: of several, the average over training if present.

    Otherwise the most complete one, then the least deeply nested, then the first. Raises CheckpointError, its
    sentence lacking the file's name, if there is none or an entry of it is not a tensor.
    """
    best = min(_candidates(contents, sought), key=lambda each: each[0], default=None)
    if best is None:
        inner = contents.get("state_dict")
        entries = inner if isinstance(inner, Mapping) and inner else contents
        listed = ", ".join(str(key) if isinstance(key, str) else repr(key)[:20] for key in [*entries][:3])
        has = f"its entries: {one_line(listed)[:60]}" if entries else "it is empty"
        bare = sought.what.partition(" ")[2]
        raise CheckpointError(
            f"holds no {bare}: it lacks {sought.marks[0]}, which no state_dict in it has ({has})"
        )
    _, way, around, prefix = best
    found = FoundNetwork(way, {}, around, prefix)
    for key, value in around[-1].items():
        name = key.removeprefix(prefix) if isinstance(key, str) else key
        if (isinstance(key, str) and not key.startswith(prefix)) or name in AVERAGES:
            continue
        if isinstance(name, str) and is_plain(value):
            found.state[name] = value
        elif isinstance(name, str) or not prefix:
            raise CheckpointError(
                f"has an entry {name!r:.80} in {found.where} that is not a tensor, "
                f"so it is not of {sought.what}"
            )
    return found


def average_rows(average: object, styles: int, dim: int) -> Tensor | None:
    """An average latent as float32 [1 or styles, dim]; None if there is none.

    It may be stored as [dim], [1, dim] or [styles, dim], with more dimensions of 1 before these. Raises
    CheckpointError, lacking the file's name, for anything else.
    """
    if average is None:
        return None
    if not is_plain(average):
        raise CheckpointError("lacks latent_avg: what has its name is no average latent")
    shape = list(average.shape)
    fits = shape[-1:] == [dim] and shape[-2:-1] in ([], [1], [styles]) and set(shape[:-2]) <= {1}
    if not fits:
        raise CheckpointError(
            f"holds no average latent (latent_avg) of the shape {[styles, dim]}, but one of {shape}"
        )
    if average.dtype not in REAL:
        raise CheckpointError("does not fit its model: latent_avg is no plain array of real numbers")
    return average.reshape(-1, dim).float()


_Candidate = tuple[tuple[bool, int, int], tuple[str, ...], tuple[Contents, ...], str]


def _candidates(contents: Contents, sought: Sought) -> Iterator[_Candidate]:
    """Rank (lowest is best), way, dictionaries and prefix of each candidate: it has one of the marks."""
    for keys, around in _dictionaries(contents):
        marks: dict[str, int] = {}
        for key in around[-1]:
            for mark in sought.marks if isinstance(key, str) else ():
                if key == mark or key.endswith(f".{mark}"):
                    prefix = key[: -len(mark)]
                    marks[prefix] = marks.get(prefix, 0) + 1
        for prefix, count in marks.items():
            if prefix.count(".") > MAX_DEPTH:
                continue
            way = (*keys, *prefix.split(".")[:-1])
            yield (not _says_average(way), -count, len(way)), way, around, prefix


def _dictionaries(contents: Contents) -> Iterator[tuple[tuple[str, ...], tuple[Contents, ...]]]:
    """All dictionaries, each once: the keys that lead to it, and the chain from the outermost to itself."""
    waiting: list[tuple[tuple[str, ...], tuple[Contents, ...]]] = [((), (contents,))]
    seen = set()
    for keys, around in waiting:  # which grows during the loop
        if id(around[-1]) in seen:
            continue
        seen.add(id(around[-1]))
        yield keys, around
        if len(keys) < MAX_DEPTH:
            inner = [(key, value) for key, value in around[-1].items() if isinstance(value, Mapping)]
            waiting += [((*keys, key), (*around, value)) for key, value in inner if isinstance(key, str)]


def _says_average(way: tuple[str, ...]) -> bool:
    return any(_EMA.search(step) for step in way)

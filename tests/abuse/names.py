"""Names of files that are hard to print, in encodings that lack their letters."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from abuse.items import FAILED, SUCCEEDED, Command, Item, expected

NAMES = {
    "umlauts": "grüße".encode(),
    "emoji": "😀👩‍👩‍👧".encode(),
    "right to left": "وجه\u202egpj".encode(),
    "no UTF-8": b"caf\xe9\xff",
    "a surrogate as UTF-8": b"\xed\xa0\x80",
    "control characters": b"a\x1b[31mb\x07\x7f",
    "ends of lines": b"a\nb\rc",
    "markup": b"[b]{0}%s",
    "a dash": b"-o",
    "long": "ü".encode() * 122,
    "blanks": b"  \xc2\xa0 ",
}
ENCODINGS = ("utf-8", "ascii", "cp1252")


def names(model: Path, photo: Path) -> Iterator[Item]:
    """Each name for a photo that can be animated, and for a missing one."""
    for name, written in NAMES.items():
        for encoding in ENCODINGS:
            for outcome in (SUCCEEDED, FAILED):
                arguments = partial(_animate, model, photo if outcome == SUCCEEDED else None, written)
                label = f"name: {name}, in {encoding}, {outcome}"
                yield Command("names", label, arguments, expected(outcome), encoding=encoding)


def _animate(model: Path, photo: Path | None, name: bytes, folder: Path) -> Sequence[str]:
    path = folder / os.fsdecode(name + b".jpg")
    if photo is not None:
        shutil.copyfile(photo, path)
    return ["animate", f"./{path.name}", "--model", str(model), "--frames", "2"]

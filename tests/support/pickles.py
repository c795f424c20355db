"""Pickle files: their readers, the check of a refusal, and how they are written."""

import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hostile_pickles
import pytest
import torch
from refusals import assert_sentence

from micromotion.errors import MotionError
from stylegan2 import CheckpointError
from stylegan2.checkpoints.unpickling import read_pickle, read_saved, read_torchscript

QUIET = [
    pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:Detected pickle protocol"),
    pytest.mark.filterwarnings("ignore:'torch.load' received a zip file that looks like a TorchScript"),
]
"""Marks for modules in which PyTorch warns of its own formats."""
LAYOUT = (b"K\x00", b"K\x02K\x03\x86", b"K\x03K\x01\x86", b"\x89", b"N")  # offset 0, [2, 3], steps [3, 1]
READERS: dict[str, Callable[[Path], Any]] = {
    "pickle": read_pickle,
    "torchscript": read_torchscript,
    "zip": read_saved,
    "legacy": read_saved,
}


def assert_refused(path: Path, *mentions: str, read: Callable[[Path], Any] = read_pickle) -> None:
    """Check that reading fails, also as a motion, with one short sentence that names file and reason."""
    with pytest.raises((CheckpointError, MotionError)) as caught:
        read(path)
    assert_sentence(caught.value, path, *mentions)


def write(path: Path, *instructions: bytes) -> Path:
    path.write_bytes(hostile_pickles.START + b"".join(instructions) + pickle.STOP)
    return path


class Network(torch.nn.Module):
    """A network for TorchScript archives."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2))
        self.names = ["a", "b"]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.inner(x) + len(self.names)


def aligned(archive: zipfile.ZipFile, name: str) -> zipfile.ZipInfo:
    """An entry whose data start at a multiple of 64 bytes, as PyTorch aligns them."""
    assert archive.fp is not None
    entry = zipfile.ZipInfo(name)
    entry.extra = bytes(-(archive.fp.tell() + 30 + len(name)) % 64)
    return entry

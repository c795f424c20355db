"""Our CUDA kernels compiled as C++, so that a machine without a GPU runs the same arithmetic."""

import ctypes
import shutil
import subprocess
from collections.abc import Callable
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

import pytest
from torch import Tensor

from stylegan2.kernels import LANES, NAMES, SOURCE, Kernel, Kernels, as_c, defined


@cache
def libraries() -> dict[int, ctypes.CDLL]:
    """The kernels' libraries by LANES; skips the test if there is no compiler."""
    folder = Path(mkdtemp())
    built = {lanes: build(SOURCE, folder / f"kernels{lanes}.so", *defined(lanes)) for lanes in LANES}
    found = {lanes: ctypes.CDLL(str(library)) for lanes, library in built.items()}
    shutil.rmtree(folder)
    return found


def build(source: Path, library: Path, *options: str) -> Path:
    """Compile CUDA or C++ as C++, or C, to a shared library; skips the test if there is no compiler."""
    compiler = shutil.which("gcc" if source.suffix == ".c" else "g++")
    if compiler is None:
        pytest.skip("needs gcc and g++ to compile the kernels for the CPU")
    language = [] if source.suffix == ".c" else ["-x", "c++", "-std=c++17"]
    warnings = ["-Wall", "-Wextra", "-Wno-unknown-pragmas", "-Werror"]
    command = [compiler, *warnings, "-O2", "-shared", "-fPIC", *options, *language]
    subprocess.run([*command, str(source), "-o", str(library)], check=True)
    return library


def host_kernels() -> Kernels:
    """The kernels for tensors in main memory."""
    return {(name, lanes): _kernel(library[name]) for lanes, library in libraries().items() for name in NAMES}


def _kernel(function: Callable[..., object]) -> Kernel:
    def run(threads: int, *arguments: Tensor | float | None) -> None:
        function(ctypes.c_uint(threads), *map(as_c, arguments))

    return run

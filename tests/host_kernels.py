"""Our CUDA kernels compiled as C++, so that a machine without a GPU can run the very same arithmetic."""

import ctypes
import shutil
import subprocess
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

import pytest

import stylegan2.kernels
from stylegan2.kernels import LANES, NAMES, Kernel, Kernels, as_c

SOURCE = Path(stylegan2.kernels.__file__).with_name("kernels.cu")


@cache
def host_kernels() -> Kernels:
    """The kernels for tensors in main memory; skips the test where there is no C++ compiler."""
    compiler = shutil.which("g++")
    if compiler is None:
        pytest.skip("needs g++ to compile the kernels for the CPU")
    folder, kernels = Path(mkdtemp()), {}
    for lanes in LANES:
        library = folder / f"kernels{lanes}.so"
        options = [
            "-shared",
            "-fPIC",
            "-O2",
            "-std=c++17",
            "-Wall",
            "-Wextra",
            "-Wno-unknown-pragmas",
            "-Werror",
        ]
        command = [compiler, *options, f"-DLANES={lanes}", "-x", "c++", str(SOURCE), "-o", str(library)]
        subprocess.run(command, check=True)
        loaded = ctypes.CDLL(str(library))
        kernels |= {(name, lanes): _kernel(loaded[name]) for name in NAMES}
    shutil.rmtree(folder)
    return kernels


def _kernel(function: ctypes._CFuncPtr) -> Kernel:
    def run(threads: int, *arguments: object) -> None:
        function(ctypes.c_uint(threads), *map(as_c, arguments))  # type: ignore[arg-type]

    return run

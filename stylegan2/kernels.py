"""Compiles our CUDA kernels (`kernels.cu`) for a GPU when a model is loaded onto it, and launches them.

NVRTC, which comes with PyTorch, compiles them in less than half a second: no compiler has to be installed,
nothing is built beforehand, and nothing is written to disk.
"""

import ctypes
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

SOURCE = Path(__file__).with_name("kernels.cu")
LANES = (8, 1)
"""How many channels a thread can process at once; the first that divides the channel count is used."""
RUN = 4
"""How many consecutive rows a thread of `blur_finish` computes."""
NAMES = ("modulate", "finish", "blur_finish", "add_rgb")
_BLOCK = 256  # threads

Kernel = Callable[..., None]
"""Called with the number of threads, then the kernel's arguments: tensors, None for a null, int or float."""
Kernels = Mapping[tuple[str, int], Kernel]
"""Keyed by name and LANES."""


class KernelError(RuntimeError):
    """The kernels cannot be compiled or launched; the message is the driver's or the compiler's."""


def compile_for(capability: tuple[int, int], lanes: int) -> bytes:
    """The kernels as machine code (a cubin) for a compute capability such as (7, 5); needs no GPU.

    Raises KernelError if this NVRTC does not know the capability, ImportError if there is no NVRTC.
    """
    from cuda.bindings import nvrtc

    major, minor = capability
    options = [f"--gpu-architecture=sm_{major}{minor}", "--std=c++17", *defined(lanes)]
    program = _checked(nvrtc.nvrtcCreateProgram(SOURCE.read_bytes(), b"kernels.cu", 0, [], []))
    try:
        _checked(nvrtc.nvrtcCompileProgram(program, len(options), [each.encode() for each in options]))
        code = b" " * _checked(nvrtc.nvrtcGetCUBINSize(program))
        _checked(nvrtc.nvrtcGetCUBIN(program, code))
    finally:
        nvrtc.nvrtcDestroyProgram(program)
    return code


def defined(lanes: int) -> list[str]:
    """The macros that the source needs, as compiler options."""
    return [f"-DLANES={lanes}", f"-DRUN={RUN}"]


def load(device: torch.device) -> Kernels:
    """Compile the kernels for a GPU and load them there. Raises KernelError, ImportError."""
    from cuda.bindings import driver

    kernels: dict[tuple[str, int], Kernel] = {}
    with torch.cuda.device(device):
        torch.cuda.synchronize()  # makes PyTorch's context the current one
        for lanes in LANES:
            code = compile_for(torch.cuda.get_device_capability(), lanes)
            module = _checked(driver.cuModuleLoadData(code))
            for name in NAMES:
                function = _checked(driver.cuModuleGetFunction(module, name.encode()))
                kernels[name, lanes] = _launcher(driver.cuLaunchKernel, function)
    return kernels


def _launcher(launch: Callable[..., Any], function: object) -> Kernel:
    """A kernel as a function that launches it on PyTorch's current stream of the current device."""

    def run(threads: int, *arguments: Tensor | float | None) -> None:
        values = [ctypes.c_uint(threads), *map(as_c, arguments)]
        addresses = (ctypes.c_void_p * len(values))(*map(ctypes.addressof, values))
        stream = torch.cuda.current_stream().cuda_stream
        grid, block = (-(-threads // _BLOCK), 1, 1), (_BLOCK, 1, 1)
        _checked(launch(function, *grid, *block, 0, stream, ctypes.addressof(addresses), 0))

    return run


def as_c(argument: Tensor | float | None) -> Any:
    """An argument as its ctypes value: a tensor's address, an unsigned int or a float."""
    if argument is None:
        return ctypes.c_void_p(None)
    if isinstance(argument, Tensor):
        return ctypes.c_void_p(argument.data_ptr())
    return ctypes.c_uint(argument) if isinstance(argument, int) else ctypes.c_float(argument)


def _checked(result: tuple[Any, ...]) -> Any:
    """The value that a function of the bindings returned after its error code. Raises KernelError."""
    error, *values = result
    if int(error) != 0:
        raise KernelError(error.name)
    return values[0] if values else None

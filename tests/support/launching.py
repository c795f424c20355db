"""Run by `test_fast_gpu.py` where `libcuda.so.1` is `stand_in_driver.c`: launch the kernels as on a GPU.

They are loaded and launched through NVIDIA's own bindings; the stand-in driver runs them compiled as C++.
Prints the trial picture's error, and the number of launches.
"""

import ctypes
from collections.abc import Callable
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import torch
from host_kernels import libraries

from stylegan2 import fast_gpu, kernels

STREAM = 0x1234
WORD, REAL, POINTER = ctypes.c_uint, ctypes.c_float, ctypes.c_void_p
TAKES = {
    "modulate": [*[POINTER] * 4, *[WORD] * 4, REAL, REAL],
    "finish": [*[POINTER] * 4, WORD, REAL, REAL],
    "blur_finish": [*[POINTER] * 6, WORD, WORD, REAL, REAL],
    "add_rgb": [*[POINTER] * 5, WORD, REAL, REAL, REAL],
}
launches = 0


@ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.c_char_p, ctypes.POINTER(WORD), ctypes.c_void_p, ctypes.POINTER(ctypes.c_void_p)
)
def launched(kernel: bytes, geometry: Any, stream: int, parameters: Any) -> int:
    """Run a kernel in place of the driver; 0, or an error number."""
    global launches
    launches += 1
    module, name = kernel.decode().split()
    threads = WORD.from_address(parameters[0])
    values = [kind.from_address(parameters[i]) for i, kind in enumerate(TAKES[name], 1)]
    grid, *ones, shared = geometry[0], geometry[1], geometry[2], geometry[4], geometry[5], geometry[6]
    enough = (grid - 1) * geometry[3] < threads.value <= grid * geometry[3]
    if stream != STREAM or not enough or ones != [1, 1, 1, 1] or shared:
        return 1
    libraries()[kernels.LANES[int(module) - 1]][name](threads, *values)
    return 0


driver = ctypes.CDLL("libcuda.so.1")
driver.when_launched(launched)
stand_ins: dict[str, Callable[..., object]] = {
    "device": lambda _: nullcontext(),
    "synchronize": lambda: None,
    "get_device_capability": lambda: (7, 5),
    "current_stream": lambda: SimpleNamespace(cuda_stream=STREAM),
}
for function, stand_in in stand_ins.items():
    setattr(torch.cuda, function, stand_in)
cpu = torch.device("cpu")
with torch.no_grad():
    print(fast_gpu._trial(cpu, kernels.load(cpu)), launches)

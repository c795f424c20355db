"""If main memory runs out, the command prints one sentence, and Python raises a specific exception."""

import errno
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from commands import COMMAND
from typer.testing import CliRunner

from micromotion.cli.main import app
from micromotion.errors import ImageError, MainMemoryError
from micromotion.runtime.device_memory import translate_oom
from micromotion.runtime.main_memory import is_out_of_memory

pytestmark = pytest.mark.slow

SENTENCE = "micromotion: There is too little memory for "


@pytest.mark.parametrize("megabytes", [300, 1500, 3000])
def test_a_memory_limit_is_reported(
    desk: Path, random_bundle: Path, astronaut_file: Path, megabytes: int
) -> None:
    """Too little memory to load PyTorch: at each limit another of its libraries does not fit."""
    command = [*COMMAND, "animate", str(astronaut_file), "--model", str(random_bundle), "--frames", "2"]
    limit = f'ulimit -v {megabytes << 10}; exec "$@"'
    done = subprocess.run(
        ["bash", "-c", limit, "bash", *command], capture_output=True, text=True, timeout=300
    )
    assert done.returncode in (0, 1)
    if done.returncode == 1:
        assert done.stderr.startswith(SENTENCE)
        assert done.stderr.count("\n") == 1
        assert list(desk.iterdir()) == []
    assert done.returncode == 1 or megabytes == 3000


def test_a_failed_allocation_raises_a_specific_exception() -> None:
    device = torch.device("cpu")
    told = pytest.raises(MainMemoryError, match="too little memory for rendering")
    with told as caught, translate_oom("rendering", device):
        torch.empty(1 << 60, dtype=torch.uint8)
    assert isinstance(caught.value.__cause__, RuntimeError)
    with pytest.raises(MainMemoryError), translate_oom("it", device):
        raise MemoryError
    with pytest.raises(RuntimeError, match="shape"), translate_oom("it", device):
        raise RuntimeError("shape mismatch")


def _damaged() -> None:
    try:
        raise MemoryError
    except MemoryError as error:
        raise ImageError("The picture is damaged.") from error


def _raising(error: Exception) -> Callable[[], None]:
    def burst() -> None:
        raise error

    return burst


@pytest.mark.parametrize(
    ("burst", "said"),
    [
        (_raising(MemoryError()), SENTENCE),
        (_raising(OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))), SENTENCE),
        (_raising(RuntimeError("std::bad_alloc")), SENTENCE),
        (_raising(RuntimeError("could not create a primitive")), SENTENCE),
        (_raising(ImportError("libtorch_cuda.so: failed to map segment from shared object")), SENTENCE),
        (_raising(ImportError("libtorch_cpu.so: cannot allocate memory in static TLS")), SENTENCE),
        (_damaged, SENTENCE),
        (_raising(ImageError("It is damaged.")), "micromotion: It is damaged."),
        (
            _raising(ImportError("libtorch_cuda.so: cannot open shared object file: No such file")),
            "micromotion: A required library cannot be loaded (libtorch_cuda.so: cannot open",
        ),
        (
            _raising(OSError("libcudart.so.13: cannot open shared object file")),
            "micromotion: A required library cannot be loaded (libcudart.so.13",
        ),
        (_raising(RuntimeError("a\x1b[31m")), "micromotion: unexpected RuntimeError: a\\x1b[31m"),
    ],
)
def test_each_error_becomes_one_sentence(
    desk: Path, monkeypatch: pytest.MonkeyPatch, burst: Callable[[], None], said: str
) -> None:
    monkeypatch.setattr("micromotion.cli.main.find_model", lambda _: burst())
    result = CliRunner().invoke(app, ["motions"])
    assert result.exit_code == 1
    assert result.stderr.startswith(said)
    assert result.stderr.count("\n") == 1


def test_other_errors_are_not_mistaken_for_it() -> None:
    for error in (ValueError("allocate memory"), OSError(errno.ENOSPC, "full"), ImportError("no module")):
        assert not is_out_of_memory(error)
    looped = RuntimeError("one")
    looped.__cause__ = looped
    assert not is_out_of_memory(looped)


def test_a_library_that_may_abort_is_first_loaded_in_a_child(
    tmp_path: Path,
) -> None:
    (tmp_path / "torch.py").write_text("import os; print('terminate called', flush=True); os.abort()")
    code = (
        "import resource, sys; from micromotion.runtime.main_memory import import_torch\n"
        "sys.path.insert(0, sys.argv[1])\n"
        "resource.setrlimit(resource.RLIMIT_AS, (1 << 40, 1 << 40))\n"
        "try: import_torch()\n"
        "except Exception as error: print(type(error).__name__, error)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True)
    assert done.returncode == 0
    assert done.stdout.splitlines()[-1].startswith("MainMemoryError There is too little memory for PyTorch")

"""Restricted unpickling: nothing in a file is executed, and no file takes for ever."""

import os
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import hostile_pickles
import pytest
from hostile_pickles import FORMS, called, named, text
from pickles import QUIET, READERS, assert_refused, write
from refusals import assert_sentence

from encoder4editing import load_inverter
from encoder4editing.identity import load_identity
from micromotion.motion.playable import load_motion
from micromotion.weights.clip_model import load_clip
from stylegan2 import CheckpointError, load_generator
from stylegan2.checkpoints.storage import file_kind, read_torch
from stylegan2.checkpoints.unpickling import Inert, read_pickle

pytestmark = [pytest.mark.slow, *QUIET]
LOADERS: dict[str, Callable[[Path], object]] = {
    "generator": load_generator,
    "inverter": load_inverter,
    "identity": load_identity,
    "clip": load_clip,
    "motion": load_motion,
}
PROGRAMS = list(hostile_pickles.programs(Path("canary")))


def test_the_hostile_pickles_are_dangerous(tmp_path: Path) -> None:
    """Otherwise refusing them would prove nothing: Python's own unpickler executes every one."""
    for number, stream in enumerate(hostile_pickles.programs(tmp_path / "canary").values()):
        replaced = hostile_pickles.programs(tmp_path / f"{number:06}")  # the same length
        assert len(replaced) == len(PROGRAMS)
        (tmp_path / f"{number}.pkl").write_bytes(list(replaced.values())[number])
        assert stream
    program = (
        "import pickle, sys, pathlib\n"
        "for name in sys.argv[1:]:\n"
        "    try: pickle.loads(pathlib.Path(name).read_bytes())\n"
        "    except Exception as error: print(name, repr(error))\n"
    )
    files = sorted(tmp_path.glob("*.pkl"))
    result = subprocess.run(
        [sys.executable, "-c", program, *map(str, files)], capture_output=True, text=True, timeout=120
    )
    obeyed = [tmp_path / f"{number:06}" for number in range(len(PROGRAMS))]
    deadline = time.monotonic() + 30
    while not all(folder.is_dir() for folder in obeyed) and time.monotonic() < deadline:
        time.sleep(0.05)  # some of them start a process and do not wait for it
    harmless = [name for name, folder in zip(PROGRAMS, obeyed, strict=True) if not folder.is_dir()]
    assert harmless == [], result.stdout + result.stderr


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("loader", LOADERS)
def test_no_loader_executes_a_file(loader: str, form: str, tmp_path: Path) -> None:
    load, canary = LOADERS[loader], tmp_path / "canary"
    sys.modules.pop("this", None)
    streams = hostile_pickles.programs(canary) | hostile_pickles.quiet()
    for name, stream in streams.items():
        path = tmp_path / "hostile.file"
        FORMS[form](stream, path)
        loaded = set(sys.modules)
        assert_refused(path, read=load)
        assert not canary.exists(), name
        assert "this" not in sys.modules, name
        assert "antigravity" not in set(sys.modules) - loaded, name


@pytest.mark.parametrize("form", READERS)
def test_no_reader_executes_a_file(form: str, tmp_path: Path) -> None:
    """They may return records, but nothing is executed."""
    canary = tmp_path / "canary"
    streams = hostile_pickles.programs(canary) | hostile_pickles.quiet()
    loaded = set(sys.modules)
    for name, stream in streams.items():
        path = tmp_path / "hostile.file"
        FORMS[form](stream, path)
        try:
            read = READERS[form](path)
        except CheckpointError as error:
            assert_sentence(error, path)
        else:
            assert type(read) in (Inert, dict), name
        assert not canary.exists(), name
        assert set(sys.modules) == loaded, name


def test_names_are_only_strings(tmp_path: Path) -> None:
    """Calls remain unevaluated records."""
    read = read_pickle(write(tmp_path / "file", hostile_pickles.programs(Path("x"))["eval"][2:-1]))
    assert (read.module, read.name, read.state) == ("builtins", "eval", None)
    assert read.args == ("__import__('os').mkdir('x')",)
    poisoned = called(named("a", "b")) + b"}" + text("__class__") + named("builtins", "type") + b"sb"
    record = read_pickle(write(tmp_path / "file", poisoned))
    assert type(record) is Inert
    assert list(record.state) == ["__class__"]


@pytest.mark.parametrize("form", READERS)
@pytest.mark.parametrize("name", hostile_pickles.bombs())
def test_bombs_are_refused_quickly(
    name: str, form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stylegan2.checkpoints.pickle_machine.MAX_STEPS", 200_000)  # a fifth of the timeout
    path = tmp_path / "bomb"
    FORMS[form](hostile_pickles.bombs()[name], path)
    tracemalloc.start()
    try:
        READERS[form](path)
    except CheckpointError as error:
        assert_sentence(error, path)
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 50e6 + 100 * path.stat().st_size


@pytest.mark.parametrize(
    ("name", "mention"),
    [
        ("a key of tuples of tuples", "keys are not text"),
        ("a key of tuples of tuples, by the memo", "keys are not text"),
        ("keys that are numbers", "keys are not text"),
        ("a key that is a long number", "keys are not text"),
        ("a set of tuples of tuples", "keys are not text"),
        ("a key as long as a book", "keys are not text"),
        ("one list of pairs, made a dictionary again and again", "more instructions"),
        ("one storage, unpacked again and again", "again and again"),
    ],
)
def test_bombs_are_named(name: str, mention: str, tmp_path: Path) -> None:
    (tmp_path / "bomb").write_bytes(hostile_pickles.bombs()[name])
    assert_refused(tmp_path / "bomb", mention)


def test_no_loader_waits_for_ever(tmp_path: Path) -> None:
    """For such a key torch.load would take practically for ever, in either of its formats."""
    stream = hostile_pickles.bombs()["a key of tuples of tuples, by the memo"]
    for form, write_form in FORMS.items():
        write_form(stream, tmp_path / f"{form}.file")
    hostile_pickles.crowded_zip(stream, tmp_path / "crowded.file")
    program = (
        "import sys, pathlib, test_unpickling_hostile as tests\n"
        "for load in tests.LOADERS.values():\n"
        "    for path in map(pathlib.Path, sys.argv[1:]):\n"
        "        tests.assert_refused(path, read=load)\n"
        "        print(path)\n"
    )
    command = [sys.executable, "-c", program, *map(str, sorted(tmp_path.glob("*.file")))]
    here, support = Path(__file__).parent, Path(hostile_pickles.__file__).parent
    paths = os.pathsep.join([os.environ["PYTHONPATH"], str(support)])
    result = subprocess.run(
        command,
        cwd=here,
        env=os.environ | {"PYTHONPATH": paths},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert result.returncode == 0, result.stderr
    assert len(result.stdout.splitlines()) == len(LOADERS) * (len(FORMS) + 1)


def test_a_long_table_of_contents_is_not_read(tmp_path: Path) -> None:
    hostile_pickles.crowded_zip(b"\x80\x02}.", tmp_path / "file")
    tracemalloc.start()
    assert file_kind(tmp_path / "file") == "torch"
    assert_refused(tmp_path / "file", "table of contents", read=read_torch)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1e6


def test_endless_programs_are_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stylegan2.checkpoints.pickle_machine.MAX_STEPS", 10_000)
    path = tmp_path / "file"
    assert read_pickle(write(path, b"\x8f0" * 4_998 + b"N")) is None  # and the first, and the last
    assert_refused(write(path, b"\x8f0" * 5_000 + b"N"), "more instructions")


@pytest.mark.parametrize(
    "instructions",
    [
        *(b"", b"R", b"t", b"(", b"0", b"]R", b"N)R", b"K\x01)\x81", b"NNb", b"]K\x01s", b"}(K\x01u", b"NNa"),
        *(b"h\x05", b"}]K\x02s", b"(K\x01o", b"Q", b"]Q", b"\x97", b"\x93", b"K\x01K\x02\x93", b"(e"),
        *(b"2", b"b", b"\xff"),
    ],
    ids=repr,
)
def test_instructions_out_of_place_are_refused(instructions: bytes, tmp_path: Path) -> None:
    assert_refused(write(tmp_path / "file", instructions))

"""Process-wide settings; importing the library sets none."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from micromotion.runtime import process


@pytest.mark.slow
def test_importing_changes_nothing_for_the_host_program() -> None:
    code = (
        "import json, os, torch\n"
        "before = [torch.get_num_threads(), torch.get_default_dtype() == torch.float32, dict(os.environ)]\n"
        "import micromotion, stylegan2, encoder4editing, micromotion.animator, micromotion.cli.main\n"
        "after = [torch.get_num_threads(), torch.get_default_dtype() == torch.float32, dict(os.environ)]\n"
        "print(json.dumps(before == after))"
    )
    root = Path(process.__file__).parents[2]
    answer = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(answer.stdout) is True


def test_settle_sets_the_threads_unless_they_are_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "keep_memory", lambda: None)
    monkeypatch.setattr(process, "usable_cores", lambda: 3)
    for name in process.threads(1):  # setenv first, so that they are restored at the end
        monkeypatch.setenv(name, "1")
        monkeypatch.delenv(name)
    before = torch.get_num_threads()
    try:
        process.configure_process()
        assert torch.get_num_threads() == 3
        assert {name: os.environ[name] for name in process.threads(3)} == process.threads(3)
        monkeypatch.setenv("OMP_NUM_THREADS", "2")
        process.configure_process()
        assert torch.get_num_threads() == 3
        assert os.environ["OMP_NUM_THREADS"] == "2"
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("text", "most"), [("100000 100000", 1), ("50000 100000", 1), ("150000 100000", 2), ("max 100000", None)]
)
def test_a_containers_quota_bounds_the_threads(
    text: str, most: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cores = len(os.sched_getaffinity(0))
    monkeypatch.setattr(process, "_CGROUP", tmp_path)
    assert process.usable_cores() == cores
    (tmp_path / "cpu.max").write_text(text)
    assert process.usable_cores() == min(cores, most or cores)


def test_keep_memory_is_off_if_there_is_little(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = []
    monkeypatch.setattr(process, "keep_memory", lambda: kept.append(True))
    monkeypatch.setattr(process, "_CGROUP", tmp_path)
    for name in process.threads(1):
        monkeypatch.setenv(name, "1")
    (tmp_path / "memory.max").write_text(str(1 << 30))
    process.configure_process()
    assert not kept
    (tmp_path / "memory.max").write_text("max")
    monkeypatch.setattr(process, "_LEAST_MEMORY", 1)
    process.configure_process()
    assert kept

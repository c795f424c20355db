"""Cache folders stay within bounds, even if others write there."""

import os
from pathlib import Path

import pytest

from micromotion.runtime.cache import STALE, prune


def fill(folder: Path, **sizes: int) -> None:
    """Write files of these sizes, each newer than the one before."""
    for age, (name, size) in enumerate(sizes.items()):
        (folder / name).write_bytes(bytes(size))
        os.utime(folder / name, (10**9 + age, 10**9 + age))


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize(
    ("most", "most_bytes", "left"),
    [
        (9, 99, ["a", "b", "c", "d"]),
        (2, 99, ["c", "d"]),
        (9, 11, ["c", "d"]),
        (9, 10, ["d"]),
        (9, 9, []),
        (0, 99, []),
    ],
)
def test_the_newest_files_stay(tmp_path: Path, most: int, most_bytes: int, left: list[str]) -> None:
    fill(tmp_path, a=5, b=4, c=1, d=10)
    prune(tmp_path, most, most_bytes)
    assert names(tmp_path) == left


def test_a_folder_counts_as_one_entry(tmp_path: Path) -> None:
    (tmp_path / "stopped").mkdir()
    (tmp_path / "stopped/progress").write_bytes(bytes(50))
    fill(tmp_path, old=10)
    prune(tmp_path, 9, 59)
    assert names(tmp_path) == ["stopped"]
    prune(tmp_path, 9, 49)
    assert names(tmp_path) == []


def test_old_incomplete_files_are_removed(tmp_path: Path) -> None:
    for name in (".left", ".busy"):
        (tmp_path / name).mkdir()
    fill(tmp_path, **{".file": 3}, whole=3)
    os.utime(tmp_path / ".left", (10**9, 10**9))
    prune(tmp_path, 1, 3)
    assert names(tmp_path) == [".busy", "whole"]
    assert STALE > 60


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="Linux has files that cannot be removed")
def test_impossible_folders_are_not_an_error(tmp_path: Path) -> None:
    prune(tmp_path / "nothing", 1, 1)
    (tmp_path / "file").write_bytes(b"")
    prune(tmp_path / "file", 1, 1)
    (tmp_path / "dangling").symlink_to("nowhere")
    prune(tmp_path, 0, 0)
    assert names(tmp_path) == ["dangling"]
    prune(Path("/proc/self/fdinfo"), 0, 0)

"""Downloads to full disks and to unwritable folders."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from faulty_downloads import CONTENT, RIGHT, SHA256, assert_sentence, failure, run_python
from misbehaving_server import File, MisbehavingServer

from micromotion.errors import DownloadError
from micromotion.weights.download import Url, download
from micromotion.weights.partfile import Part, hidden

# ── the disk ───────────────────────────────────────────────────────────────────────────────────────────────


def test_a_file_too_large_for_the_disk_is_refused(server: MisbehavingServer, target: Path) -> None:
    message = failure(server, target, File(CONTENT), size=1 << 60)
    assert "MB free" in message
    assert server.requests == []


def test_a_stated_length_too_large_for_the_disk_is_refused(server: MisbehavingServer, target: Path) -> None:
    message = failure(server, target, File(CONTENT, announce=1 << 59), size=None)
    assert "MB free" in message


LIMITED = """
    import json, resource, sys
    from micromotion.weights.download import Url, download
    from micromotion.errors import DownloadError
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))
    address, target, known = json.loads(sys.argv[1])
    try:
        download([Url(address)], target, **known)
    except DownloadError as error:
        print(error)
"""


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path | None]:
    """A file system of 1 MB; None if it cannot be mounted."""
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    try:
        mounted = subprocess.run(mount, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        mounted = False
    try:
        yield folder if mounted else None
    finally:
        if mounted:
            subprocess.run(["umount", "-l", str(folder)], check=True)


def sentence_of_a_full_disk(address: str, folder: Path, disk: Path | None, known: dict[str, Any]) -> str:
    """The error on the small disk; without one, in a process whose files are limited to a megabyte."""
    if disk is None:
        job = json.dumps([address, str(folder / "weights.pt"), known])
        return run_python(LIMITED, job)
    with pytest.raises(DownloadError) as caught:
        download([Url(address)], disk / "weights.pt", **known)
    return str(caught.value) + "\n"


@pytest.mark.slow
@pytest.mark.parametrize("mounts", [True, False], ids=["small disk", "limited process"])
def test_the_disk_fills_up(
    server: MisbehavingServer, tmp_path: Path, small_disk: Path | None, mounts: bool
) -> None:
    """The size is unknown beforehand; a full disk fails all sources at once."""
    disk = small_disk if mounts else None
    folder = disk or tmp_path
    address = server.add("/a", File(CONTENT, chunked=True))
    message = sentence_of_a_full_disk(address, tmp_path, disk, {"sha256": SHA256})
    assert_sentence(message.removesuffix("\n"))
    assert "disk is full" in message
    assert not (folder / "weights.pt").exists()
    assert 500_000 < (folder / ".weights.pt.part").stat().st_size <= 1 << 20  # kept to resume from
    assert not (folder / ".weights.pt.lock").exists()
    if disk is None:
        finishes_in(server, tmp_path)


def finishes_in(server: MisbehavingServer, folder: Path) -> None:
    address = server.add("/good", File(CONTENT))
    download([Url(address)], folder / "weights.pt", **RIGHT)
    assert (folder / "weights.pt").read_bytes() == CONTENT
    assert "range" in server.asked("/good")[0].headers


@pytest.mark.slow
def test_the_disk_may_be_filled_by_others_meanwhile(server: MisbehavingServer, tmp_path: Path) -> None:
    """The size was known and fitted; a process limit simulates the disk, as it is available everywhere."""
    address = server.add("/a", File(CONTENT))
    message = run_python(LIMITED, json.dumps([address, str(tmp_path / "weights.pt"), RIGHT]))
    assert "disk is full" in message
    assert not (tmp_path / "weights.pt").exists()
    finishes_in(server, tmp_path)


def test_an_unwritable_folder_is_reported(server: MisbehavingServer, tmp_path: Path) -> None:
    """As the user nobody if the tests run as root, which permissions do not stop."""
    folder = tmp_path / "locked"
    folder.mkdir()
    folder.chmod(0o555)
    tmp_path.chmod(0o755)
    code = """
        import os, sys
        from micromotion.weights.download import Url, download
        from micromotion.errors import DownloadError
        os.chdir(sys.argv[2])  # by an absolute path nobody might not get there
        if os.getuid() == 0:
            os.setuid(65534)
        try:
            download([Url(sys.argv[1])], "locked/weights.pt")
        except DownloadError as error:
            print(error)
    """
    message = run_python(code, server.add("/a", File(CONTENT)), str(tmp_path))
    assert_sentence(message.removesuffix("\n"))
    assert "locked may not be read or written" in message
    assert server.requests == []
    assert list(folder.iterdir()) == []


def test_a_right_file_in_an_unwritable_folder_is_used(tmp_path: Path) -> None:
    """Models may be in read-only container images, where no lock can be taken either."""
    (tmp_path / "weights.pt").write_bytes(CONTENT)
    (tmp_path / ".weights.pt.lock").mkdir()  # locking would fail
    download([], tmp_path / "weights.pt", **RIGHT)


def test_a_folder_as_target_is_refused(server: MisbehavingServer, tmp_path: Path) -> None:
    (tmp_path / "weights.pt").mkdir()
    with pytest.raises(DownloadError, match="is a folder") as caught:
        download([Url(server.add("/a", File(CONTENT)))], tmp_path / "weights.pt", **RIGHT)
    assert_sentence(str(caught.value))
    assert [path.name for path in tmp_path.iterdir()] == ["weights.pt"]


def test_a_device_as_target_is_refused() -> None:
    with pytest.raises(DownloadError, match="not a file"):
        download([], os.devnull, **RIGHT)
    assert Path(os.devnull).exists()


def test_partial_writes_are_continued(target: Path) -> None:
    """write() may write only a part, and returns how much."""
    target.parent.mkdir()

    class Reluctant:
        def __init__(self, file: Any) -> None:
            self.close, self.fileno, self._write = file.close, file.fileno, file.write

        def write(self, data: memoryview) -> int:
            return int(self._write(data[:1000]))

    with Part(target) as part:
        part._file = Reluctant(part._file)  # type: ignore[assignment]  # a file with partial writes
        part.append(CONTENT[:12_345])
        assert part.sha256 == hashlib.sha256(CONTENT[:12_345]).hexdigest()
        part.publish()
    assert target.read_bytes() == CONTENT[:12_345]


@pytest.mark.parametrize("suffix", ["part", "lock"])
def test_a_folder_at_a_needed_path_is_reported(server: MisbehavingServer, target: Path, suffix: str) -> None:
    target.parent.mkdir()
    hidden(target, suffix).mkdir()
    failure(server, target, File(CONTENT))


def test_a_file_at_a_folders_path_is_reported(server: MisbehavingServer, tmp_path: Path) -> None:
    (tmp_path / "models").write_text("a file")
    with pytest.raises(DownloadError) as caught:
        download([Url(server.add("/a", File(CONTENT)))], tmp_path / "models" / "weights.pt", **RIGHT)
    assert_sentence(str(caught.value))


def test_too_long_a_name_is_reported(server: MisbehavingServer, tmp_path: Path) -> None:
    for length in (250, 300):
        with pytest.raises(DownloadError) as caught:
            download([Url(server.add("/a", File(CONTENT)))], tmp_path / ("x" * length), **RIGHT)
        assert_sentence(str(caught.value))

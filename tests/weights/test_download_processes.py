"""Downloads by several processes at once, and by processes that are killed."""

from __future__ import annotations

import bz2
import fcntl
import json
import random
import signal
import threading
from pathlib import Path
from typing import Any

import pytest
from faulty_downloads import CONTENT, QUICK, RIGHT, SIZE, finishes, run_python, start_python
from misbehaving_server import File, InTurn, MisbehavingServer, Status, wait_until

from micromotion.weights.download import Url, download
from micromotion.weights.partfile import _try_lock, hidden

pytestmark = pytest.mark.slow

# ── two at once ────────────────────────────────────────────────────────────────────────────────────────────

FETCH = """
    import json, sys
    from micromotion.weights.download import Url, download
    address, target, known = json.loads(sys.argv[1])
    download([Url(address)], target, **known)
    print("done")
"""


def test_three_processes_fetch_one_file_once(server: MisbehavingServer, target: Path) -> None:
    address = server.add("/a", File(CONTENT, pace=0.02))
    job = json.dumps([address, str(target), RIGHT])
    processes = [start_python(FETCH, job) for _ in range(3)]
    assert [process.communicate(timeout=60)[0] for process in processes] == ["done\n"] * 3
    assert target.read_bytes() == CONTENT
    assert len(server.requests) == 1
    assert [path.name for path in target.parent.iterdir()] == [target.name]


def test_many_threads_fetch_one_file_once(server: MisbehavingServer, target: Path) -> None:
    address = server.add("/a", InTurn(File(CONTENT, cut=2_000_000), File(CONTENT, pace=0.005)))
    errors: list[BaseException] = []

    def fetch() -> None:
        try:
            download([Url(address)], target, **RIGHT, **QUICK)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=fetch) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert errors == []
    assert target.read_bytes() == CONTENT
    assert len(server.requests) == 2


def test_a_waiting_process_reports_progress_and_takes_over_from_a_dead_one(
    server: MisbehavingServer, target: Path
) -> None:
    address = server.add("/a", InTurn(File(CONTENT, stall=2_000_000), File(CONTENT)))
    slow = start_python(FETCH, json.dumps([address, str(target), RIGHT]))
    wait_until(lambda: hidden(target, "part").exists() and hidden(target, "part").stat().st_size == 2_000_000)
    seen: list[int] = []

    def watch(done: int, total: int | None) -> None:
        seen.append(done)
        if len(seen) == 3:
            slow.kill()

    download([Url(address)], target, **RIGHT, on_progress=watch)
    slow.wait()
    assert seen[:3] == [2_000_000] * 3
    assert server.requests[-1].headers["range"] == "bytes=2000000-"
    assert target.read_bytes() == CONTENT
    assert [path.name for path in target.parent.iterdir()] == [target.name]


def test_a_lock_on_a_just_removed_file_does_not_count(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The holder removes the lock file between our opening and locking it; another may lock a new one."""
    target.parent.mkdir()
    lock = fcntl.flock

    def late(file: Any, how: int) -> None:
        hidden(target, "lock").unlink()
        lock(file, how)

    with monkeypatch.context() as patch:
        patch.setattr(fcntl, "flock", late)
        assert _try_lock(target) is None
    first = _try_lock(target)
    assert first is not None
    assert _try_lock(target) is None
    first.close()


# ── killed ─────────────────────────────────────────────────────────────────────────────────────────────────

NURSERY = """
    import json, os, random, signal, sys, time
    from micromotion.weights.download import Url, download
    address, target, known, name, delays = json.loads(sys.argv[1])
    ended = []
    for delay in delays:
        child = os.fork()
        if child == 0:
            signal.signal(signal.SIGINT, signal.default_int_handler)
            try:
                download([Url(address)], target, **known)
            except KeyboardInterrupt:
                os._exit(130)
            os._exit(0)
        time.sleep(delay)
        os.kill(child, getattr(signal, name))
        ended.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
        if os.path.exists(target):
            assert open(target, "rb").read() == open(sys.argv[2], "rb").read(), "a bad file under a good name"
            os.unlink(target)
    print(json.dumps(ended))
"""


@pytest.mark.parametrize(("name", "times"), [("SIGKILL", 20), ("SIGTERM", 4), ("SIGINT", 4)])
def test_downloads_killed_at_random_moments_resume(
    server: MisbehavingServer, tmp_path: Path, name: str, times: int
) -> None:
    """Processes are forked after all imports, so that they are killed during the download."""
    folder = tmp_path / "models"
    target, right = folder / "weights.pt", tmp_path / "right"
    right.write_bytes(CONTENT)
    address = server.add("/a", File(CONTENT, pace=0.012))
    rng = random.Random(20)
    delays = [rng.uniform(0.0, 0.45) for _ in range(times)]
    job = json.dumps([address, str(target), RIGHT, name, delays])
    ended = json.loads(run_python(NURSERY, job, str(right)))
    stopped = {-getattr(signal, name), 130 if name == "SIGINT" else None}
    assert sum(code in stopped for code in ended) >= times // 2, "most must have been killed on the way"
    finishes(server, target)
    if name == "SIGKILL":
        assert any("range" in request.headers for request in server.requests), "none went on with a part"


AT = """
    import json, os, signal, sys
    from micromotion.weights.download import Url, download
    address, target, known, steps = json.loads(sys.argv[1])
    right = open(sys.argv[2], "rb").read()
    fsync = os.fsync
    os.fsync = lambda file: (sys.audit("fsync", target), fsync(file))
    ended = []
    for event, count in steps:
        if (child := os.fork()) == 0:
            def kill(name, arguments, left=[count]):
                if name == event and any(os.path.basename(target) in str(a) for a in arguments):
                    left[0] -= 1
                    if left[0] == 0:
                        os.kill(os.getpid(), signal.SIGKILL)
            sys.addaudithook(kill)
            download([Url(address)], target, **known)
            os._exit(0)
        ended.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
        named = os.path.exists(target)
        assert not named or open(target, "rb").read() == right, "a bad file under a good name"
        download([Url(address)], target, **known)
        assert open(target, "rb").read() == right
        os.unlink(target)
    print(json.dumps(ended))
"""


@pytest.mark.parametrize("known", [RIGHT, {"size": SIZE}], ids=["with a hash", "without"])
def test_downloads_killed_between_any_two_steps_resume(
    server: MisbehavingServer, tmp_path: Path, known: dict[str, Any]
) -> None:
    """After each kill, the next call finishes the download."""
    target, right = tmp_path / "models" / "weights.pt", tmp_path / "right"
    right.write_bytes(CONTENT)
    steps = [
        ("open", 1),  # the lock
        ("open", 2),  # the part
        ("os.remove", 1),  # an older version note
        ("fsync", 1),
        ("os.rename", 1),  # before the rename
        ("os.remove", 2),  # renamed, before the note is removed
        ("fsync", 2),  # of the folder
        ("os.remove", 3),  # before the lock is removed
    ]
    if "sha256" not in known:
        steps.append(("open", 3))  # the note
    address = server.add("/a", File(CONTENT))
    ended = json.loads(run_python(AT, json.dumps([address, str(target), known, steps]), str(right)))
    assert ended == [-signal.SIGKILL] * len(steps), "a step was not met"


def test_a_killed_packed_download_restarts(server: MisbehavingServer, target: Path) -> None:
    packed = server.add("/a.bz2", InTurn(File(bz2.compress(CONTENT), stall=2_000_000), Status(404)))
    code = FETCH.replace("Url(address)", "Url(address, 'bz2')")
    process = start_python(code, json.dumps([packed, str(target), RIGHT]))
    wait_until(lambda: hidden(target, "part").exists() and hidden(target, "part").stat().st_size > 500_000)
    process.kill()
    process.wait()
    assert not target.exists()
    finishes(server, target)

"""`download` against what goes wrong: bad servers, a full disk, two at once, and a kill at any moment.

Each test ends in one of two ways: the right file under its name, or no file there and one sentence.
"""

from __future__ import annotations

import bz2
import email.utils
import fcntl
import hashlib
import json
import os
import random
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from misbehaving_server import (
    Behaviour,
    DrivePage,
    Exchange,
    File,
    InTurn,
    MisbehavingServer,
    Status,
    babble,
    drip_chunk_extension,
    drip_headers,
    endless,
    gzipped,
    hang_up,
    page,
    redirect,
    wait_until,
)

from micromotion.errors import DownloadError
from micromotion.weights.download import Url, download
from micromotion.weights.partfile import Part, _try_lock, hidden

ROOT = Path(__file__).resolve().parents[1]
CONTENT = np.random.default_rng(7).bytes(3_000_000)
OTHER = np.random.default_rng(8).bytes(3_000_000)
SIZE = len(CONTENT)
SHA256 = hashlib.sha256(CONTENT).hexdigest()
RIGHT: dict[str, Any] = {"size": SIZE, "sha256": SHA256}
QUICK: dict[str, Any] = {"timeout": 10.0, "backoff": 0.01}  # only retries are in a hurry


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[MisbehavingServer]:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    with MisbehavingServer() as running:
        yield running


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "weights.pt"


def assert_sentence(message: str) -> None:
    assert message.endswith(".")
    assert "\n" not in message
    assert not any(mark in message for mark in (". ", "? ", "! ", "Traceback", "Errno", "httpx")), message


def failure(server: MisbehavingServer, target: Path, behaviour: Behaviour, **options: Any) -> str:
    """The sentence of a download that fails, after which there is no file under the target's name."""
    with pytest.raises(DownloadError) as caught:
        download([Url(server.add("/bad", behaviour))], target, **{**RIGHT, **QUICK, **options})
    assert_sentence(str(caught.value))
    assert not target.exists()
    return str(caught.value)


def finishes(server: MisbehavingServer, target: Path) -> None:
    """Whatever was left, a good server completes it, and nothing else remains."""
    download([Url(server.add("/good", File(CONTENT)))], target, **RIGHT, **QUICK)
    assert target.read_bytes() == CONTENT
    assert [path.name for path in target.parent.iterdir()] == [target.name]


# ── bad servers ────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("behaviour", "words"),
    [
        pytest.param(File(CONTENT, cut=100_000, ranges="ignored"), "breaks the connection", id="truncates"),
        pytest.param(
            File(CONTENT, cut=100_000, chunked=True, ranges="ignored"),
            "breaks the connection",
            id="in chunks",
        ),
        pytest.param(
            File(CONTENT, cut=100_000, lengthless=True, ranges="ignored"),
            "breaks off after 100000 of 3000000 bytes",
            id="without a length",
        ),
        pytest.param(
            File(CONTENT, cut=100_000, reset=True, ranges="ignored"), "breaks the connection", id="resets"
        ),
        pytest.param(hang_up, "breaks the connection", id="hangs up"),
        pytest.param(babble, "breaks the connection", id="not HTTP"),
        pytest.param(redirect("/bad"), "redirects more than 10 times", id="redirects in circles"),
        pytest.param(Status(401), "answers 401 Unauthorized", id="401"),
        pytest.param(Status(403), "answers 403 Forbidden", id="403"),
        pytest.param(Status(404), "answers 404 Not Found", id="404"),
        pytest.param(Status(429), "answers 429 Too Many Requests", id="429"),
        pytest.param(Status(500), "answers 500 Internal Server Error", id="500"),
        pytest.param(Status(503), "answers 503 Service Unavailable", id="503"),
        pytest.param(Status(299), "answers 299", id="299"),
        pytest.param(Status(204, body=b""), "answers 204", id="204"),
        pytest.param(Status(304, body=b""), "answers 304", id="304"),
        pytest.param(
            File(CONTENT, announce=SIZE - 1), "has 2999999 bytes instead of 3000000", id="says less"
        ),
        pytest.param(
            File(CONTENT, announce=SIZE + 1), "has 3000001 bytes instead of 3000000", id="says more"
        ),
        pytest.param(File(CONTENT[:-1], announce=SIZE), "ends after 2999999 bytes", id="has less"),
        pytest.param(File(CONTENT[:-1], chunked=True), "ends after 2999999 bytes", id="has less, in chunks"),
        pytest.param(File(CONTENT + b"x"), "has 3000001 bytes instead of 3000000", id="has more"),
        pytest.param(File(CONTENT + b"x", chunked=True), "sends more than", id="has more, in chunks"),
        pytest.param(
            Status(200, {"Content-Length": "-5"}), "breaks the connection", id="a length that is no number"
        ),
        pytest.param(endless, "sends more than", id="never ends"),
        pytest.param(File(OTHER), "SHA-256", id="other bytes"),
        pytest.param(File(CONTENT[:-1] + b"?"), "SHA-256", id="one other byte"),
        pytest.param(page("<html>Log in</html>"), "sends a web page", id="a page"),
        pytest.param(DrivePage(File(CONTENT), "id"), "sends a web page", id="Drive's page, but not Drive"),
        pytest.param(gzipped(CONTENT), "compressed", id="gzip"),
    ],
)
def test_bad_servers(server: MisbehavingServer, target: Path, behaviour: Behaviour, words: str) -> None:
    message = failure(server, target, behaviour)
    assert any(word in message for word in words.split("|")), message
    finishes(server, target)


@pytest.mark.parametrize(
    "behaviour",
    [
        pytest.param(File(CONTENT, stall=200_000), id="stalls"),
        pytest.param(lambda exchange: exchange.pause(60), id="no answer"),
    ],
)
def test_silence(server: MisbehavingServer, target: Path, behaviour: Behaviour) -> None:
    assert "sends nothing for 0.4 s" in failure(server, target, behaviour, timeout=0.4)
    finishes(server, target)


def test_nobody_listens(target: Path) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{closed.getsockname()[1]}/a"
        with pytest.raises(DownloadError, match="cannot be reached") as caught:
            download([Url(address)], target, **RIGHT, **QUICK)
    assert_sentence(str(caught.value))


@pytest.mark.parametrize(
    "behaviour",
    [
        pytest.param(File(CONTENT, chunk=1, pace=0.01), id="body"),
        pytest.param(File(CONTENT, chunk=1, pace=0.01, lengthless=True), id="body without a length"),
        pytest.param(drip_headers, id="headers"),
        pytest.param(drip_chunk_extension, id="chunk extension"),
    ],
)
@pytest.mark.parametrize("known", [RIGHT, {"size": None, "sha256": None}], ids=["known", "unknown"])
def test_a_drip_is_bounded(
    server: MisbehavingServer, target: Path, behaviour: Behaviour, known: dict[str, Any]
) -> None:
    """Every byte comes well within the timeout; only their rate tells."""
    message = failure(server, target, behaviour, **known, timeout=30.0, patience=0.4)
    assert "sends less than 1000 bytes a second" in message
    assert len(server.requests) <= 1  # none where this machine stalls for a whole window before it asks


def test_slow_is_not_too_slow(server: MisbehavingServer, target: Path) -> None:
    """Longer than several windows in all, at 20 kB a window of which 2 would do."""
    content = CONTENT[:60_000]
    address = server.add("/slow", File(content, chunk=1000, pace=0.1))
    download([Url(address)], target, size=len(content), timeout=30.0, patience=2.0)
    assert target.read_bytes() == content


# ── retries ────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("behaviour", "requests"),
    [(Status(404), 1), (Status(403), 1), (File(OTHER), 1), (Status(500), 3), (Status(429), 3), (hang_up, 3)],
)
def test_how_often(server: MisbehavingServer, target: Path, behaviour: Behaviour, requests: int) -> None:
    failure(server, target, behaviour)
    assert len(server.requests) == requests


@pytest.mark.parametrize("passing", [Status(500), Status(429), hang_up, File(CONTENT, cut=5000)])
def test_what_passes_is_sat_out(server: MisbehavingServer, target: Path, passing: Behaviour) -> None:
    address = server.add("/a", InTurn(passing, passing, File(CONTENT)))
    download([Url(address)], target, **RIGHT, **QUICK)
    assert target.read_bytes() == CONTENT


def test_a_connection_that_breaks_often_gets_there(server: MisbehavingServer, target: Path) -> None:
    """Each answer brings over a megabyte: progress, however many answers it takes."""
    content = CONTENT * 3
    address = server.add("/a", File(content, cut=1_100_000))
    download([Url(address)], target, size=len(content), **QUICK)
    assert target.read_bytes() == content
    assert len(server.requests) == 9


def test_a_server_that_breaks_at_the_same_place_for_ever(server: MisbehavingServer, target: Path) -> None:
    failure(server, target, File(CONTENT, cut=1_500_000, ranges="ignored"))
    assert len(server.requests) == 3


def test_retry_after_is_kept_to(server: MisbehavingServer, target: Path) -> None:
    times: list[float] = []

    def good(exchange: Exchange) -> None:
        times.append(time.monotonic())
        File(CONTENT)(exchange)

    def busy(exchange: Exchange) -> None:
        times.append(time.monotonic())
        Status(429, {"Retry-After": "1"})(exchange)

    download([Url(server.add("/a", InTurn(busy, good)))], target, **RIGHT, **QUICK)
    assert times[1] - times[0] >= 1  # how much longer is the machine's affair


@pytest.mark.parametrize("when", ["3600", email.utils.formatdate(time.time() + 3600, usegmt=True), "9" * 9])
def test_nobody_waits_an_hour(server: MisbehavingServer, target: Path, when: str) -> None:
    busy = server.add("/busy", Status(503, {"Retry-After": when}))
    download([Url(busy), Url(server.add("/good", File(CONTENT)))], target, **RIGHT, **QUICK)
    assert len(server.asked("/busy")) == 1


@pytest.mark.parametrize("when", ["soon", "-1", "", "0", "Wed, 21 Oct 2015 07:28:00 GMT"])
def test_strange_times(server: MisbehavingServer, target: Path, when: str) -> None:
    failure(server, target, Status(503, {"Retry-After": when}))
    assert len(server.requests) == 3


# ── the disk ───────────────────────────────────────────────────────────────────────────────────────────────


def test_too_large_for_the_disk(server: MisbehavingServer, target: Path) -> None:
    message = failure(server, target, File(CONTENT), size=1 << 60)
    assert "MB free" in message
    assert server.requests == []


def test_too_large_for_the_disk_says_the_server(server: MisbehavingServer, target: Path) -> None:
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
    """A file system of 1 MB; None where we may not mount one."""
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
    """Fills the small disk; where there is none, a process whose files may not grow beyond a megabyte."""
    if disk is None:
        job = json.dumps([address, str(folder / "weights.pt"), known])
        return run_python(LIMITED, job)
    with pytest.raises(DownloadError) as caught:
        download([Url(address)], disk / "weights.pt", **known)
    return str(caught.value) + "\n"


@pytest.mark.parametrize("mounts", [True, False], ids=["small disk", "limited process"])
def test_the_disk_fills_up(
    server: MisbehavingServer, tmp_path: Path, small_disk: Path | None, mounts: bool
) -> None:
    """Nobody knows the size beforehand; the first source's failure here is the failure of all."""
    disk = small_disk if mounts else None
    folder = disk or tmp_path
    address = server.add("/a", File(CONTENT, chunked=True))
    message = sentence_of_a_full_disk(address, tmp_path, disk, {"sha256": SHA256})
    assert_sentence(message.removesuffix("\n"))
    assert "disk is full" in message
    assert not (folder / "weights.pt").exists()
    assert 500_000 < (folder / ".weights.pt.part").stat().st_size <= 1 << 20  # kept, to go on from
    assert not (folder / ".weights.pt.lock").exists()
    if disk is None:
        finishes_in(server, tmp_path)


def finishes_in(server: MisbehavingServer, folder: Path) -> None:
    address = server.add("/good", File(CONTENT))
    download([Url(address)], folder / "weights.pt", **RIGHT)
    assert (folder / "weights.pt").read_bytes() == CONTENT
    assert "range" in server.asked("/good")[0].headers


def test_somebody_else_fills_the_disk_meanwhile(server: MisbehavingServer, tmp_path: Path) -> None:
    """The size was known and fitted; the limit of a process stands for the disk: that is there everywhere."""
    address = server.add("/a", File(CONTENT))
    message = run_python(LIMITED, json.dumps([address, str(tmp_path / "weights.pt"), RIGHT]))
    assert "disk is full" in message
    assert not (tmp_path / "weights.pt").exists()
    finishes_in(server, tmp_path)


def test_a_folder_that_may_not_be_written(server: MisbehavingServer, tmp_path: Path) -> None:
    """As nobody, where the tests run as root, whom no permission stops."""
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


def test_a_right_file_in_such_a_folder_will_do(tmp_path: Path) -> None:
    """Models are baked into containers whose files nobody may write; there, there can be no lock either."""
    (tmp_path / "weights.pt").write_bytes(CONTENT)
    (tmp_path / ".weights.pt.lock").mkdir()  # taking the lock would fail
    download([], tmp_path / "weights.pt", **RIGHT)


def test_the_target_is_a_folder(server: MisbehavingServer, tmp_path: Path) -> None:
    (tmp_path / "weights.pt").mkdir()
    with pytest.raises(DownloadError, match="is a folder") as caught:
        download([Url(server.add("/a", File(CONTENT)))], tmp_path / "weights.pt", **RIGHT)
    assert_sentence(str(caught.value))
    assert [path.name for path in tmp_path.iterdir()] == ["weights.pt"]


def test_the_target_is_a_device() -> None:
    with pytest.raises(DownloadError, match="not a file"):
        download([], os.devnull, **RIGHT)
    assert Path(os.devnull).exists()


def test_a_disk_that_takes_little_at_a_time(target: Path) -> None:
    """write() may take a part of what it is given, and says so."""

    class Reluctant:
        def __init__(self, file: Any) -> None:
            self.close, self.fileno, self._write = file.close, file.fileno, file.write

        def write(self, data: memoryview) -> int:
            return int(self._write(data[:1000]))

    with Part(target) as part:
        part._file = Reluctant(part._file)  # type: ignore[assignment]
        part.append(CONTENT[:12_345])
        assert part.sha256 == hashlib.sha256(CONTENT[:12_345]).hexdigest()
        part.publish()
    assert target.read_bytes() == CONTENT[:12_345]


@pytest.mark.parametrize("suffix", ["part", "lock"])
def test_something_is_in_the_way(server: MisbehavingServer, target: Path, suffix: str) -> None:
    hidden(target, suffix).mkdir()
    failure(server, target, File(CONTENT))


def test_a_folders_place_is_taken(server: MisbehavingServer, tmp_path: Path) -> None:
    (tmp_path / "models").write_text("a file")
    with pytest.raises(DownloadError) as caught:
        download([Url(server.add("/a", File(CONTENT)))], tmp_path / "models" / "weights.pt", **RIGHT)
    assert_sentence(str(caught.value))


def test_a_name_that_is_too_long(server: MisbehavingServer, tmp_path: Path) -> None:
    for length in (250, 300):
        with pytest.raises(DownloadError) as caught:
            download([Url(server.add("/a", File(CONTENT)))], tmp_path / ("x" * length), **RIGHT)
        assert_sentence(str(caught.value))


# ── two at once ────────────────────────────────────────────────────────────────────────────────────────────

FETCH = """
    import json, sys
    from micromotion.weights.download import Url, download
    address, target, known = json.loads(sys.argv[1])
    download([Url(address)], target, **known)
    print("done")
"""


def start_python(code: str, *arguments: str) -> subprocess.Popen[str]:
    """A process of its own that runs some lines of Python."""
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code), *arguments],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )


def run_python(code: str, *arguments: str) -> str:
    """What they print, once they have come to a good end."""
    process = start_python(code, *arguments)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    return out


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


def test_who_waits_sees_progress_and_takes_over_from_the_dead(
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


def test_a_lock_on_a_file_that_was_just_removed_is_none(
    target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The holder removes the lock file between our opening and our locking it; a third may lock a new one."""
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
def test_killed_at_random_moments(server: MisbehavingServer, tmp_path: Path, name: str, times: int) -> None:
    """Processes are forked from one that has imported everything: the moments fall into the download."""
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
def test_killed_between_any_two_steps(
    server: MisbehavingServer, tmp_path: Path, known: dict[str, Any]
) -> None:
    """After each, the next call finishes."""
    target, right = tmp_path / "models" / "weights.pt", tmp_path / "right"
    right.write_bytes(CONTENT)
    steps = [
        ("open", 1),  # the lock
        ("open", 2),  # the part
        ("os.remove", 1),  # an older note
        ("fsync", 1),
        ("os.rename", 1),  # named in the next moment
        ("os.remove", 2),  # it has its name, the note is to go
        ("fsync", 2),  # of the folder
        ("os.remove", 3),  # the lock is to go
    ]
    if "sha256" not in known:
        steps.append(("open", 3))  # the note
    address = server.add("/a", File(CONTENT))
    ended = json.loads(run_python(AT, json.dumps([address, str(target), known, steps]), str(right)))
    assert ended == [-signal.SIGKILL] * len(steps), "a step was not met"


def test_a_packed_download_is_killed(server: MisbehavingServer, target: Path) -> None:
    packed = server.add("/a.bz2", InTurn(File(bz2.compress(CONTENT), stall=2_000_000), Status(404)))
    code = FETCH.replace("Url(address)", "Url(address, 'bz2')")
    process = start_python(code, json.dumps([packed, str(target), RIGHT]))
    wait_until(lambda: hidden(target, "part").exists() and hidden(target, "part").stat().st_size > 500_000)
    process.kill()
    process.wait()
    assert not target.exists()
    finishes(server, target)

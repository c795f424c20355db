"""`micromotion serve` as a process: how it starts, fails to start, and ends."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from inner_server import running_inner
from public_files import Offer
from running_server import COMMAND, ROOT, START, STOP, begin, data_url, relatives, start, stop, wait_until

from micromotion.errors import BundleError, MicromotionError, OptionError
from micromotion.service.server import _Lost, _model, _run, serve


@pytest.mark.slow
def test_a_signal_ends_a_busy_server_and_its_children(tmp_path: Path, astronaut_file: Path) -> None:
    server = start(tmp_path)
    begin(server, "interrupted", data_url(astronaut_file.read_bytes()))
    assert len(relatives(server)) >= 3, "the command, the server and its worker"
    assert stop(server, signal.SIGTERM) == 0
    assert relatives(server) == []
    assert server.left() == set()
    assert "Traceback" not in server.log.read_text()


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("deaf", [False, True])
def test_each_signal_ends_the_server_and_its_children(
    number: signal.Signals, deaf: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also a server that ignores the request to end, and the child that it leaves behind."""
    monkeypatch.setattr("micromotion.service.server.GRACE", 0.3)
    before = signal.getsignal(number)
    trap = "trap '' TERM; " if deaf else ""
    script = f"{trap}sleep 1000 & echo $! > child; kill -{int(number)} {os.getpid()}; wait"
    assert _run(["sh", "-c", script], cwd=tmp_path, env=os.environ) == 0
    assert signal.getsignal(number) == before
    child = Path("/proc") / (tmp_path / "child").read_text().strip() / "stat"
    wait_until(lambda: not child.exists() or ") Z " in child.read_text(), STOP, "the child to end")


def test_the_worker_check_ignores_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    """The request to this machine must not go through a proxy, which could not reach it."""
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    with running_inner() as server:
        lost = _Lost(server.server_port)
        server.answer = b'{"setup": {"status": "succeeded"}}'
        assert lost._was_set_up()
        for answer in (b'{"setup": {"status": "failed"}}', b"{}", b"[]", b"no JSON"):
            server.answer = answer
            assert not lost._was_set_up()


@pytest.mark.slow
def test_a_port_in_use_gives_a_one_sentence_error(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])
        result = subprocess.run(
            [*COMMAND, "--port", port],
            cwd=tmp_path,
            env={**os.environ, "TMPDIR": str(tmp_path), "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            timeout=START,
        )
    assert result.returncode == 1
    assert result.stderr.splitlines() == [
        f"micromotion: 127.0.0.1, port {port}, cannot be listened on: Address already in use; choose another."
    ]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("port", [0, -1, 65536])
def test_an_invalid_port_is_refused(port: int) -> None:
    with pytest.raises(OptionError, match=f"port must be a whole number from 1 to 65535, not {port}"):
        serve(port=port)


def test_an_invalid_host_is_refused() -> None:
    with pytest.raises(OptionError, match=r"192\.0\.2\.1, port 5000, cannot be listened on"):
        serve(host="192.0.2.1")


def test_without_cog_it_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "coglet", None)
    with pytest.raises(MicromotionError, match=r'pip install "micromotion\[service\]"'):
        serve()


@pytest.mark.slow
def test_the_model_is_fetched_before_the_server_starts(offer: Offer, cache: Path) -> None:
    with pytest.raises(BundleError, match="run `micromotion weights fetch tiny`"):
        _model("tiny", fetch=False)
    assert offer.asked() == []
    assert _model("tiny", fetch=True) == "tiny"
    assert (cache / "models/tiny/bundle.json").is_file()
    assert _model(str(cache / "models/tiny"), fetch=True) == str(cache / "models/tiny"), "a folder"


def test_a_missing_model_is_reported_before_anything_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MICROMOTION_MODEL", "ffhq")
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    with pytest.raises(BundleError, match="run `micromotion weights fetch ffhq`"):
        serve(port=port)

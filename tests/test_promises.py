"""What SECURITY.md promises: no input is executed, no network, no images in the log."""

from __future__ import annotations

import ast
import base64
import io
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image
from running_server import ROOT, STOP, data_url, start, stop, wait_until

pytestmark = pytest.mark.slow

PLACES = ("micromotion", "stylegan2", "encoder4editing", "avatar", "benchmarks", ".ci")
SOURCES = [ROOT / "predict.py", *(path for place in PLACES for path in sorted((ROOT / place).rglob("*.py")))]

# --- nothing is executed ------------------------------------------------------------------------------------

MODULES = {
    "pickle",
    "_pickle",
    "cPickle",
    "marshal",
    "shelve",
    "dill",
    "cloudpickle",
    "joblib",
    "yaml",
    "pty",
}
"""Functions that execute what they read."""
CALLS = {"eval", "exec", "compile", "__import__"}
METHODS = {("os", "system"), ("os", "popen"), ("torch", "load"), ("jit", "load"), ("hub", "load"),
           ("subprocess", "getoutput"), ("subprocess", "getstatusoutput")}  # fmt: skip


def dangers(source: str) -> Iterator[str]:
    """The calls in a source that could execute input."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [alias.name for alias in node.names]
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            yield from (f"import {name}" for name in names if name.split(".")[0] in MODULES)
        elif isinstance(node, ast.Call):
            called = node.func
            if isinstance(called, ast.Name) and called.id in CALLS:
                yield f"{called.id}()"
            if isinstance(called, ast.Attribute):
                owner = ast.unparse(called.value).rpartition(".")[2]
                if (owner, called.attr) in METHODS:
                    only = any(
                        each.arg == "weights_only" and ast.unparse(each.value) == "True"
                        for each in node.keywords
                    )
                    yield f"{owner}.{called.attr}({'weights_only' * only})"
            for keyword in node.keywords:
                if keyword.arg in ("shell", "allow_pickle") and ast.unparse(keyword.value) != "False":
                    yield f"{keyword.arg}="


def test_no_source_executes_input() -> None:
    assert len(SOURCES) > 80
    found = {str(path.relative_to(ROOT)): set(dangers(path.read_text())) for path in SOURCES}
    for path in found:
        if path.startswith("avatar/"):  # the training's own checkpoints; others' might never end
            found[path] -= {"torch.load(weights_only)"}
    assert {path: each for path, each in found.items() if each} == {}


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "from pickle import loads",
        "import torch, marshal",
        "eval('1')",
        "exec(compile(x, '', 'exec'))",
        "torch.load(path, weights_only=True)",
        "torch.jit.load(path)",
        "torch.hub.load(a, b)",
        "os.system('ls')",
        "subprocess.run('ls', shell=True)",
        "np.load(path, allow_pickle=True)",
        "subprocess.Popen(words, shell=flag)",
    ],
)
def test_the_search_finds_dangerous_calls(source: str) -> None:
    assert list(dangers(source)) != []


def test_the_search_ignores_harmless_calls() -> None:
    source = "re.compile(x); model.eval(); np.load(p, allow_pickle=False); json.load(f); import pickletools"
    assert list(dangers(source)) == []


# --- no network ---------------------------------------------------------------------------------------------

OFFLINE = """
import os, sys
NETWORK = ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto", "urllib.Request")
def refuse(event, given):
    if event in NETWORK:
        os.write(2, f"network: {event} {given}".encode())
        os._exit(9)
sys.addaudithook(refuse)
from micromotion.cli.main import main
sys.argv = ["micromotion", *sys.argv[1:]]
main()
"""


def offline(*arguments: object) -> subprocess.CompletedProcess[str]:
    """The command line in a process that ends at its first use of a network."""
    return subprocess.run(
        [sys.executable, "-c", OFFLINE, *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=300,
    )


def test_the_search_for_a_network_works() -> None:
    assert offline("weights", "fetch", "ffhq", "--yes").returncode == 9


def test_a_photo_is_animated_without_a_network(
    random_bundle: Path, astronaut_file: Path, tmp_path: Path
) -> None:
    video = tmp_path / "video.mp4"
    done = offline(
        "animate", astronaut_file, "--model", random_bundle, "--refine", 1, "--frames", 2, "-o", video
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert video.read_bytes()[4:8] == b"ftyp"


# --- the log ------------------------------------------------------------------------------------------------


def test_the_log_contains_no_image_data(
    random_bundle: Path, astronaut: Image.Image, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For good, failed and refused requests, the server's log contains neither inputs nor results."""
    monkeypatch.setenv("MICROMOTION_MODEL", str(random_bundle))
    file = io.BytesIO()
    astronaut.save(file, "JPEG")
    photo = file.getvalue()
    server = start(tmp_path)
    try:
        good = server.predict(data_url(photo))[1]
        assert good["status"] == "succeeded", good
        for image in (photo[: len(photo) // 2], b"private words " * 100):
            assert server.predict(data_url(image))[1]["status"] == "failed"
        assert server.predict(data_url(photo), strength=100)[0] == 422
        assert server.call("/predictions", f'{{"input": {{"image": "{data_url(photo)}"')[0] == 400
        told = good["logs"]
    finally:
        stop(server, signal.SIGTERM)
    wait_until(lambda: server.process.poll() is not None, STOP, "the server to end")
    log = told + server.log.read_text(errors="replace")
    assert "Done: smile.mp4" in log
    assert "private words" not in log
    assert re.search(r"[A-Za-z0-9+/=]{100}", log) is None, "base64"
    for content in (photo, base64.b64decode(good["output"].partition(",")[2])):
        text = base64.b64encode(content).decode()
        assert not any(text[at : at + 40] in log for at in range(0, len(text) - 40, 40))

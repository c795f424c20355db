"""The photo-real model at full size, end to end from a published checkpoint on a server to a video.

The checkpoint has the published names, shapes and size, but random weights: the result is no face, but needs
the real one's memory and arithmetic.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from published_e4e import SIZE, STYLES, write_published_e4e

import micromotion

pytestmark = pytest.mark.slow

GIGABYTES_NEEDED = 8  # of disk: the checkpoint, its copy, the bundle in both precisions
MEMORY = 8 << 30

MANIFEST = """
format = "micromotion-manifest/1"
[licences.none]
name = "random numbers"
commercial = true
link = "https://example.org"
[models.ffhq]
purpose = "full size"
files = ["e4e_ffhq_encode.pt"]
motions = ["smile.d_latent"]
"""

FILE = """
[files."{name}"]
purpose = "random numbers"
bytes = {bytes}
sha256 = "{sha256}"
licence = "none"
sources = [{{ url = "{address}/{name}" }}]
"""


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def manifest(tmp_path: Path) -> Iterator[Path]:
    """The manifest of a server with the two public files, which are removed afterwards."""
    public = tmp_path / "public"
    public.mkdir()
    if shutil.disk_usage(public).free < GIGABYTES_NEEDED << 30:
        short_of_disk = f"needs {GIGABYTES_NEEDED} GB of disk for a full-size checkpoint"
        if os.environ.get("CI"):
            pytest.fail(short_of_disk)
        pytest.skip(short_of_disk)
    rng = torch.Generator().manual_seed(0)
    write_published_e4e(public / "e4e_ffhq_encode.pt", rng)
    torch.save(0.02 * torch.randn(1, STYLES, 512, generator=rng), public / "smile.d_latent")
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(public))) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        text = MANIFEST
        for path in sorted(public.iterdir()):
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            address = f"http://127.0.0.1:{server.server_port}"
            text += FILE.format(name=path.name, bytes=path.stat().st_size, sha256=digest, address=address)
        (tmp_path / "manifest.toml").write_text(text)
        yield tmp_path / "manifest.toml"
        server.shutdown()
        thread.join()
    shutil.rmtree(tmp_path / "cache", ignore_errors=True)
    shutil.rmtree(public)


def run(cache: Path, *arguments: object) -> int:
    """Run the command, which must succeed, in a separate process; its peak of resident memory."""
    environment = os.environ | {
        "MICROMOTION_CACHE": str(cache),
        "PYTHONPATH": str(Path(micromotion.__file__).parent.parent),
        "OMP_NUM_THREADS": "2",
    }
    command = [sys.executable, "-m", "micromotion", *map(str, arguments)]
    with subprocess.Popen(command, env=environment) as process:
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    return usage.ru_maxrss * 1024


def test_a_published_checkpoint_becomes_a_video(manifest: Path, astronaut_file: Path, tmp_path: Path) -> None:
    cache, video = tmp_path / "cache", tmp_path / "smile.mp4"
    fetching = run(cache, "weights", "fetch", "ffhq", "--yes", "--manifest", manifest)
    assert not list(cache.rglob("*.pt")), "the pickle is removed once it is converted"
    options = ("--model", "ffhq", "--frames", 3, "--device", "cpu")
    animating = run(cache, "animate", astronaut_file, *options, "-o", video)
    assert max(fetching, animating) < MEMORY
    with av.open(str(video)) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert [frame.shape for frame in frames] == [(SIZE, SIZE, 3)] * 3
    assert frames[0].std() > 20
    still, full = frames[0].astype(np.float64), frames[-1].astype(np.float64)
    assert 1 < np.abs(full - still).mean() < 100, "the last frame is another than the first"
    run(cache, "weights", "verify", "ffhq", "--manifest", manifest)

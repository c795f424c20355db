"""`micromotion batch --engine ray`, in a process of its own: a cluster that it starts, and ends."""

from __future__ import annotations

import os
import subprocess
from importlib.util import find_spec
from pathlib import Path

import pytest
from batch_photos import OPTIONS, make_photos
from commands import COMMAND
from ray_nodes import ray_environment

if find_spec("ray") is None:  # which is not imported here: it ends the process that loses its cluster
    pytest.skip("Ray is not installed", allow_module_level=True)

from micromotion import Animator
from micromotion.batch import read_results

pytestmark = pytest.mark.slow

FLAGS = ("--frames", "3", "--aligned", "--view", "model", "--device", "cpu", "--no-credentials")
LIMIT = 600.0  # seconds, on a busy machine; alone it takes less than a tenth


def run_batch(*arguments: object) -> tuple[int, str]:
    """Its exit code, and all that it says."""
    started = subprocess.Popen(
        [*COMMAND, "batch", *map(str, arguments), *FLAGS],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        said, _ = started.communicate(timeout=LIMIT)
    finally:
        started.kill()
    return started.returncode, said


def test_a_batch_on_ray_is_that_on_this_machine(tmp_path: Path, random_bundle: Path) -> None:
    photos, dest = make_photos(tmp_path / "photos"), tmp_path / "out"
    (photos / "bad.jpg").write_bytes(b"no picture")
    arguments = (photos, "--out", dest, "--model", random_bundle, "--engine", "ray", "--workers", 1)
    with ray_environment():
        code, said = run_batch(*arguments)
        assert code == 1, said
        os.environ["RAY_ADDRESS"] = "127.0.0.1:1"  # nothing is left to do, so no cluster is asked for
        code, again = run_batch(*arguments)
        assert code == 1, again
    lines = [" ".join(line.split()) for line in said.splitlines()]
    assert {"done 4", "refused 1"} <= set(lines), said
    assert "done before 4" in [" ".join(line.split()) for line in again.splitlines()], again
    animator = Animator.load(random_bundle, "cpu")
    rows = read_results(str(dest))
    assert sorted(each.status for each in rows) == ["done"] * 4 + ["refused"]
    for row in rows:
        if row.status == "done":
            animator.animate(row.image, options=OPTIONS).save(tmp_path / "one.mp4", credentials=False)
            assert (dest / str(row.video)).read_bytes() == (tmp_path / "one.mp4").read_bytes()
    assert len(list((dest / "videos").iterdir())) == 4

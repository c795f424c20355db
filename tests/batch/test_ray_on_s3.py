"""Ray between two buckets whose store fails now and then, while a worker, a node and the driver are killed.

`RAY_PORTRAITS=200 make test-ray` has the embedded model animate as many real portraits.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
from commands import COMMAND
from PIL import Image, ImageEnhance
from ray_nodes import Node, actors, end, ray_environment, two_nodes

if not os.environ.get("RAY_TESTS"):
    pytest.skip("run by `make test-ray`", allow_module_level=True)
pytest.importorskip("ray", reason="Ray is not installed")
pytest.importorskip("s3fs", reason="s3fs is not installed")
pytest.importorskip("moto", reason="moto is not installed")

import s3fs
from local_s3 import FAULTS, Proxy, local_s3

from micromotion import Animator
from micromotion.batch import read_results
from micromotion.options import AnimateOptions

pytestmark = pytest.mark.slow

PORTRAITS = int(os.environ.get("RAY_PORTRAITS", 0))
COUNT = PORTRAITS or 40
BAD = COUNT // 20
FACES = Path(__file__).resolve().parents[2] / "docs/faces"
WAIT = 1200.0  # seconds for a step, on a busy machine
OPTIONS = (
    AnimateOptions(frames=6, size=320) if PORTRAITS else AnimateOptions(frames=3, aligned=True, view="model")
)
FLAGS = ["--frames", "6", "--size", "320"] if PORTRAITS else ["--frames", "3", "--aligned", "--view", "model"]


@pytest.fixture
def s3() -> Iterator[Proxy]:
    with local_s3() as running:
        yield running


@pytest.fixture
def nodes(s3: Proxy) -> Iterator[list[Node]]:
    with ray_environment(), two_nodes() as running:
        yield running


def encoded(picture: Image.Image) -> bytes:
    file = BytesIO()
    picture.save(file, "PNG")
    return file.getvalue()


def good(number: int) -> bytes:
    """A photo like no other: one of docs/faces in another light, or noise."""
    if not PORTRAITS:
        pixels = np.random.default_rng(number).integers(0, 256, (64, 64, 3), np.uint8)
        return encoded(Image.fromarray(pixels))
    faces = sorted(FACES.glob("*.jpg"))
    with Image.open(faces[number % len(faces)]) as face:
        face.thumbnail((480, 480))
        return encoded(ImageEnhance.Brightness(face.convert("RGB")).enhance(0.8 + 0.4 * number / COUNT))


def bad(number: int) -> bytes:
    """Something that is no photo: nothing, a text, a picture that is cut off, one that is too small."""
    whole = encoded(Image.new("RGB", (64, 64), "red"))
    tiny = encoded(Image.new("RGB", (8, 8)))
    return (b"", b"no picture", whole[:60], tiny)[number % 4]


def photos() -> dict[str, bytes]:
    """The path of each photo, and its content; every twentieth is bad."""
    found = {}
    for number in range(COUNT):
        is_bad = number % (COUNT // BAD) == 3
        name = f"{number:03d}-{'bad' if is_bad else 'good'}"
        found[f"shop/photos/{name}.png"] = bad(number // 20) if is_bad else good(number)
    return found


def stored(s3: Proxy) -> int:
    """How many videos were put into the bucket."""
    return len({path for method, path in list(s3.asked) if method == "PUT" and "/out/videos/" in path})


def wait_for(met: Callable[[], bool], driver: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + WAIT
    while not met():
        assert driver.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.01)


def decoded(video: bytes) -> int:
    """How many frames a video has; fails if it is damaged."""
    with av.open(BytesIO(video), "r") as file:
        return len(list(file.decode(video=0)))


def test_a_batch_outlives_a_worker_a_node_and_its_driver(
    s3: Proxy, nodes: list[Node], random_bundle: Path, tmp_path: Path
) -> None:
    sent, log = photos(), tmp_path / "driver.log"
    store: Any = s3fs.S3FileSystem(use_listings_cache=False)
    store.pipe(sent)
    model = "avatar" if PORTRAITS else str(random_bundle)
    arguments = ["batch", "s3://shop/photos", "--out", "s3://shop/out", "--model", model, *FLAGS]
    arguments += ["--device", "cpu", "--engine", "ray", "--no-credentials"]
    s3.faults = FAULTS

    with log.open("wb") as file:
        driver = subprocess.Popen(
            [*COMMAND, *arguments], stdout=file, stderr=subprocess.STDOUT, start_new_session=True
        )
    wait_for(lambda: stored(s3) >= COUNT // 10 and bool(actors(*nodes)), driver, log)
    os.kill(actors(*nodes)[0], signal.SIGKILL)
    wait_for(lambda: stored(s3) >= COUNT // 4 and bool(actors(nodes[1])), driver, log)
    end(nodes[1])
    wait_for(lambda: stored(s3) >= COUNT // 2, driver, log)
    os.killpg(driver.pid, signal.SIGKILL)
    driver.wait()
    assert s3.failed > 5
    before = {name for name in store.find("shop/out") if "/videos/" in name}
    assert COUNT // 2 <= len(before) < COUNT - BAD

    again = subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, timeout=WAIT)
    assert again.returncode == 1, again.stdout + again.stderr  # the bad ones have no video
    s3.faults = ()
    videos = [name for name in store.find("shop/out") if "/videos/" in name]
    assert before <= set(videos)
    assert {decoded(store.cat_file(name)) for name in videos} == {OPTIONS.frames}
    check_rows(sent, videos)
    check_frames(sent, store, model, tmp_path / "one.mp4")


def check_rows(sent: dict[str, bytes], videos: list[str]) -> None:
    """Every good photo has one video, no id is there twice, and every bad one has a row with its sentence."""
    rows = read_results("s3://shop/out")
    assert sorted(each.image.removeprefix("s3://") for each in rows) == sorted(sent)
    assert max(Counter(each.id for each in rows).values()) == 1
    done = [each for each in rows if "good" in each.image]
    assert {each.status for each in done} == {"done"}
    assert sorted(f"shop/out/{each.video}" for each in done) == videos
    assert len(videos) == COUNT - BAD
    refused = [each for each in rows if "bad" in each.image]
    assert len(refused) == BAD
    assert all(each.status == "refused" and each.sentence.endswith(".") for each in refused)


def check_frames(sent: dict[str, bytes], store: Any, model: str, path: Path) -> None:
    """Some of the videos are those that an Animator makes."""
    torch.set_num_threads(1)
    animator = Animator.load(model, "cpu")
    done = [each for each in read_results("s3://shop/out") if each.status == "done"]
    for row in random.Random(1).sample(done, 5):
        photo = sent[row.image.removeprefix("s3://")]
        animator.animate(photo, "smile", OPTIONS).save(path, credentials=False)
        assert store.cat_file(f"shop/out/{row.video}") == path.read_bytes()

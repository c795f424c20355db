"""Buckets, on an S3 that answers 500 and 503, or late, now and then: nothing lost, nothing half-written."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from batch_workers import never
from commands import COMMAND, run
from PIL import Image

pytest.importorskip("s3fs", reason="s3fs is not installed")
pytest.importorskip("moto", reason="moto is not installed")

import s3fs
from local_s3 import FAULTS, Proxy, local_s3

from micromotion import Animator
from micromotion.batch import read_results
from micromotion.batch import run as run_batch
from micromotion.batch import storage as storages
from micromotion.batch.sources import list_entries
from micromotion.batch.storage import Storage
from micromotion.errors import OutputError
from micromotion.options import AnimateOptions

pytestmark = pytest.mark.slow

OPTIONS = AnimateOptions(frames=2, aligned=True, view="model")


@pytest.fixture(scope="module")
def s3() -> Iterator[Proxy]:
    with local_s3() as running:
        yield running


@pytest.fixture
def store(s3: Proxy) -> Iterator[Any]:
    """The bucket's file system, without faults; the bucket is empty."""
    s3.faults = ()
    s3.asked.clear()
    found = s3fs.S3FileSystem(use_listings_cache=False)
    yield found
    s3.faults = ()
    if found.exists("shop"):
        found.rm("shop", recursive=True)
    found.mkdir("shop")


def picture(number: int) -> bytes:
    file = BytesIO()
    pixels = np.random.default_rng(number).integers(0, 256, (64, 64, 3), np.uint8)
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def test_a_batch_from_bucket_to_bucket(
    s3: Proxy, store: Any, random_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storages, "FIRST_WAIT", 0.01)
    photos = {f"shop/photos/{number}.png": picture(number) for number in range(6)}
    store.pipe({**photos, "shop/photos/bad.jpg": b"no picture", "shop/photos/empty.jpg": b""})
    bare: dict[str, Any] = {  # signatures differ each time
        "credentials": False,
        "options": OPTIONS,
        "device": "cpu",
    }
    start = partial(run_batch, "s3://shop/photos", "s3://shop/out", **bare)
    s3.faults = FAULTS
    report = start(model=str(random_bundle), workers=2)
    assert s3.failed > 5
    assert (report.done, report.refused, report.failed) == (6, 2, 0)
    s3.faults = ()
    names = store.find("shop/out")
    assert len([name for name in names if "/videos/" in name]) == 6
    animator = Animator.load(random_bundle, "cpu")
    for row in read_results("s3://shop/out"):
        if row.status == "done":
            path = tmp_path / "one.mp4"
            animator.animate(photos[row.image.removeprefix("s3://")], options=OPTIONS).save(
                path, credentials=False
            )
            assert store.cat_file(f"shop/out/{row.video}") == path.read_bytes()

    s3.asked.clear()
    again = start(model=str(random_bundle), make=never)
    assert (again.done, again.before, again.refused) == (0, 6, 2)
    assert not [path for method, path in s3.asked if "photos/" in path.partition("?")[0]]
    assert {method for method, _ in s3.asked} <= {"GET", "HEAD"}

    store.pipe_file("shop/photos/0.png", picture(100))  # another etag, so another row
    assert start(model=str(random_bundle), workers=1).done == 1


def test_a_batch_that_dies_is_gone_on_with_in_a_bucket(s3: Proxy, store: Any, random_bundle: Path) -> None:
    """SIGKILL to all of its processes, while the store fails now and then."""
    store.pipe({f"shop/photos/{number}.png": picture(number) for number in range(10)})
    arguments = ["batch", "s3://shop/photos", "--out", "s3://shop/out", "--model", str(random_bundle)]
    arguments += ["--frames", "2", "--aligned", "--view", "model", "--device", "cpu", "--workers", "1"]
    s3.faults = FAULTS
    killed = subprocess.Popen([*COMMAND, *arguments], start_new_session=True, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 240
    while sum(method == "PUT" and "/videos/" in path for method, path in s3.asked) < 4:
        assert killed.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    os.killpg(killed.pid, signal.SIGKILL)
    killed.wait()
    assert run(*arguments).returncode == 0
    s3.faults = ()
    videos = [name for name in store.find("shop/out") if "/videos/" in name]
    assert len(videos) == 10
    rows = read_results("s3://shop/out")
    assert sorted(f"shop/out/{each.video}" for each in rows) == videos
    for name in videos:
        with av.open(BytesIO(store.cat_file(name)), "r") as file:
            assert len(list(file.decode(video=0))) == 2


def test_a_bucket_that_cannot_be_written_to_is_said_at_once(
    s3: Proxy, store: Any, random_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storages, "FIRST_WAIT", 0.01)
    store.pipe({"shop/photos/0.png": picture(0)})
    with pytest.raises(OutputError, match="cannot be written to"):
        run_batch("s3://shop/photos", "s3://missing/out", model=str(random_bundle), make=never)


def test_an_object_is_written_once(s3: Proxy, store: Any) -> None:
    bucket = Storage("s3://shop/out")
    bucket.put(b"first", "videos/a.mp4")
    bucket.put(b"second", "videos/a.mp4")
    assert store.cat_file("shop/out/videos/a.mp4") == b"first"


def test_a_put_that_was_carried_out_but_not_confirmed_is_there(
    s3: Proxy, store: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storages, "FIRST_WAIT", 0.01)
    bucket = Storage("s3://shop/out")
    s3.faults = ("after", None)
    bucket.put(b"whole", "videos/a.mp4")
    s3.faults = ()
    assert store.cat_file("shop/out/videos/a.mp4") == b"whole"


def test_a_long_listing_is_read_in_pages(s3: Proxy, store: Any) -> None:
    store.pipe({f"shop/photos/{number:04d}.jpg": b"x" for number in range(1003)})
    store.pipe_file("shop/photosets/other.jpg", b"x")
    s3.asked.clear()
    entries = list(list_entries("s3://shop/photos"))
    assert [each.image for each in entries] == [
        f"s3://shop/photos/{number:04d}.jpg" for number in range(1003)
    ]
    assert len([path for _, path in s3.asked if "list-type=2" in path]) == 2


def test_a_listing_is_what_the_store_holds(s3: Proxy, store: Any) -> None:
    names = ("a b.jpg", "a&lt;b>.jpg", "ü/李.jpg", "100%25+x.jpg", 'q"uote.jpg', "empty.jpg")
    store.pipe({f"shop/photos/{name}": name.encode() * (name != "empty.jpg") for name in names})
    known = store.find("shop/photos", detail=True)
    wanted = [(name, str(about["ETag"]).strip('"')) for name, about in sorted(known.items())]
    assert len(wanted) == len(names)
    s3.faults = FAULTS
    assert sorted(Storage("s3://shop/photos").listing()) == wanted
    assert list(Storage("s3://shop/nothing").listing()) == []
    s3.faults = ()
    for glob in ("*.jpg", "a*", "**", "?/*", "[!a]*.jpg", "*/李.jpg", "x*"):
        found = [name for name, _ in Storage(f"s3://shop/photos/{glob}").matching()]
        assert sorted(found) == sorted(each for each in store.glob(f"shop/photos/{glob}") if each in known)


def test_a_store_that_is_not_there_is_one_row(
    s3: Proxy, store: Any, random_bundle: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A list whose photo's bucket does not answer: the others are done, and the next run tries again."""
    store.pipe({"shop/photos/0.png": picture(0)})
    (tmp_path / "list.jsonl").write_text(
        '{"image": "s3://shop/photos/0.png"}\n{"image": "s3://nobody/1.png", "etag": "1"}\n'
    )
    start = partial(run_batch, tmp_path / "list.jsonl", tmp_path / "out", options=OPTIONS, device="cpu")
    report = start(model=str(random_bundle), workers=1)
    assert (report.done, report.failed) == (1, 1)
    assert "s3://nobody/1.png" in next(iter(report.sentences))
    store.mkdir("nobody")
    store.pipe({"nobody/1.png": picture(1)})
    assert start(model=str(random_bundle), workers=1).done == 1

"""A batch: every good photo has one video, every bad one a row; run again, only what is missing is done."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from batch_photos import OPTIONS, make_photos
from batch_workers import Noting, Storing, never
from commands import COMMAND, run
from PIL import Image

from micromotion import Animator
from micromotion.batch import Report, read_results
from micromotion.batch import run as run_batch
from micromotion.batch.runner import ENGINES
from micromotion.errors import BundleError, MotionError, OptionError

pytestmark = pytest.mark.slow

GOOD = ("anna", "bert", "carl", "dora")
FLAGS = ("--frames", 3, "--aligned", "--view", "model", "--device", "cpu", "--workers", 1)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder of four good and two bad photos."""
    folder = make_photos(tmp_path / "photos")
    (folder / "bad.jpg").write_bytes(b"no picture")
    Image.new("RGB", (8, 8)).save(folder / "tiny.png")
    return folder


def videos(dest: Path) -> list[Path]:
    return sorted((dest / "videos").iterdir())


def frames(video: Path) -> list[np.ndarray]:
    with av.open(str(video)) as file:
        return [frame.to_ndarray(format="rgb24") for frame in file.decode(video=0)]


def test_every_photo_has_a_video_or_a_sentence(photos: Path, tmp_path: Path, random_bundle: Path) -> None:
    dest = tmp_path / "out"
    bare: dict[str, Any] = {  # signatures differ each time
        "credentials": False,
        "device": "cpu",
        "options": OPTIONS,
    }
    start = partial(run_batch, photos, dest, model=str(random_bundle), **bare)
    report = start(workers=2)
    assert (report.done, report.refused, report.failed, report.is_complete) == (4, 2, 0, False)
    assert sorted(count for count, _ in report.sentences.values()) == [1, 1]
    rows = {Path(each.image).stem: each for each in read_results(str(dest))}
    assert {name for name, each in rows.items() if each.status == "done"} == set(GOOD)
    assert "cannot be read as a picture" in rows["bad"].sentence
    assert "8×8" in rows["tiny"].sentence
    assert [str(each.relative_to(dest)) for each in videos(dest)] == sorted(
        str(each.video) for each in rows.values() if each.video
    )
    animator = Animator.load(random_bundle, "cpu")
    for name in GOOD:
        animator.animate(photos / f"{name}.png", options=OPTIONS).save(
            tmp_path / "one.mp4", credentials=False
        )
        assert (dest / str(rows[name].video)).read_bytes() == (tmp_path / "one.mp4").read_bytes()

    before = [(each, each.stat().st_mtime_ns) for each in videos(dest)]
    again = start(make=never)
    assert (again.done, again.before, again.refused) == (0, 4, 2)
    assert [(each, each.stat().st_mtime_ns) for each in videos(dest)] == before
    assert len(read_results(str(dest))) == 6

    videos(dest)[0].unlink()  # what is missing is done again, and nothing else
    again = start(workers=1)
    assert (again.done, again.before) == (1, 3)
    changed = start(workers=1, fps=12)
    assert (changed.done, changed.before, changed.refused) == (4, 0, 2)
    assert len(videos(dest)) == 8


def test_a_resumed_run_reads_no_photo(tmp_path: Path) -> None:
    """Of the same size and time they are not looked into: read, they would be other rows."""
    photos, dest = make_photos(tmp_path / "photos"), tmp_path / "out"
    begun = tmp_path / "begun"
    begun.mkdir()
    assert run_batch(photos, dest, workers=1, make=Storing(begun, dest=dest)).done == 4
    for photo in photos.iterdir():
        about = photo.stat()
        photo.write_bytes(bytes(about.st_size))
        os.utime(photo, ns=(about.st_atime_ns, about.st_mtime_ns))
    assert run_batch(photos, dest, make=never).before == 4
    os.utime(photos / "anna.png")
    assert run_batch(photos, dest, workers=1, make=Storing(begun, dest=dest)).done == 1


def test_a_list_says_what_differs(tmp_path: Path, random_bundle: Path) -> None:
    make_photos(tmp_path)
    source, dest = tmp_path / "list.csv", tmp_path / "out"
    source.write_text(
        "image,name,motion,frames,strength\n"
        "anna.png,Anna A.,smile,2,\n"
        "anna.png,../Anna,headsTurn=0.5,4,-1\n"
        "anna.png,Anna A.,smile,2,\n"
        "bert.png,,frown,2,\n"
        "bert.png,,smile,2,9\n"
        "gone.png,,smile,2,\n"
        "http://127.0.0.1:9/a.png,,smile,2,\n"
    )
    report = run_batch(source, dest, model=str(random_bundle), device="cpu", options=OPTIONS, workers=1)
    assert (report.done, report.repeated, report.refused, report.failed) == (2, 1, 3, 1)
    assert sorted(len(frames(each)) for each in videos(dest)) == [2, 4]
    assert {each.name.rpartition("-")[0] for each in videos(dest)} == {"Anna_A", "Anna"}
    sentences = " ".join(report.sentences)
    for part in (
        "no micromotion 'frown'",
        "strength must be a number",
        "There is no file",
        "private network",
    ):
        assert part in sentences


def test_a_photo_that_appears_later_is_done(tmp_path: Path, random_bundle: Path) -> None:
    source, dest = tmp_path / "list.jsonl", tmp_path / "out"
    source.write_text('{"image": "anna.png"}\n')
    start = partial(run_batch, source, dest, model=str(random_bundle), device="cpu", options=OPTIONS)
    assert start(workers=1).refused == 1
    make_photos(tmp_path)
    assert start(workers=1).done == 1


def test_the_shards_are_the_whole(tmp_path: Path, random_bundle: Path) -> None:
    photos, dest = make_photos(tmp_path / "photos", tuple("abcdefghij")), tmp_path / "out"
    for number in (1, 2, 3):
        report = run_batch(
            photos,
            dest,
            model=str(random_bundle),
            options=OPTIONS,
            device="cpu",
            shard=f"{number}/3",
            workers=1,
        )
        assert report.before == 0
    assert len(videos(dest)) == 10


def test_fail_fast_stops_at_the_first(photos: Path, tmp_path: Path, random_bundle: Path) -> None:
    start = partial(run_batch, photos, tmp_path / "out", model=str(random_bundle), device="cpu")
    report = start(options=OPTIONS, workers=1, fail_fast=True)
    assert report.refused == 1
    assert report.done < 4
    assert start(options=OPTIONS, workers=1).done + report.done == 4


def test_what_is_wrong_for_all_is_said_at_once(photos: Path, tmp_path: Path, random_bundle: Path) -> None:
    start = partial(run_batch, photos, tmp_path / "out", model=str(random_bundle), make=never)
    with pytest.raises(MotionError, match="no micromotion 'frown'"):
        start("frown")
    with pytest.raises(OptionError, match="The timeline is wrong"):
        start(timeline="smile")
    with pytest.raises(OptionError, match="600"):
        start(frames=400, loop="pingpong")
    with pytest.raises(OptionError, match="engine must be local or ray"):
        start(engine="slurm")  # type: ignore[arg-type]  # wrong on purpose
    with pytest.raises(BundleError, match="no model"):
        start(model="nothing")
    assert not (tmp_path / "out").exists()
    assert set(ENGINES) == {"local", "ray"}


def test_a_batch_that_dies_is_gone_on_with(tmp_path: Path, random_bundle: Path) -> None:
    """SIGKILL to all of its processes: nothing half-written, nothing lost, nothing done twice."""
    names = tuple(f"photo{number}" for number in range(12))
    photos, dest = make_photos(tmp_path / "photos", names), tmp_path / "out"
    arguments = ["batch", photos, "--out", dest, "--model", random_bundle, *FLAGS]
    killed = subprocess.Popen([*COMMAND, *map(str, arguments)], start_new_session=True)
    deadline = time.monotonic() + 120
    while not (dest / "videos").is_dir() or len(list((dest / "videos").glob("[!.]*"))) < 3:
        assert killed.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    os.killpg(killed.pid, signal.SIGKILL)
    killed.wait()
    before = {each: each.stat().st_mtime_ns for each in (dest / "videos").glob("[!.]*")}
    assert len(before) < 12
    done = run(*arguments)
    assert (done.returncode, "micromotion:" in done.stderr) == (0, False)
    finished = list((dest / "videos").glob("[!.]*"))
    assert len(finished) == 12
    assert all(len(frames(each)) == 3 for each in finished)
    assert {each: each.stat().st_mtime_ns for each in before} == before
    rows = read_results(str(dest))
    assert sorted(each.name for each in rows) == sorted(names)
    assert {each.status for each in rows} == {"done"}


def test_ctrl_c_stops_and_keeps_the_results(tmp_path: Path, random_bundle: Path) -> None:
    names = tuple(f"photo{number}" for number in range(40))
    photos, dest = make_photos(tmp_path / "photos", names), tmp_path / "out"
    arguments = ["batch", photos, "--out", dest, "--model", random_bundle, *FLAGS]
    stopped = subprocess.Popen(
        [*COMMAND, *map(str, arguments)], start_new_session=True, stderr=subprocess.PIPE, text=True
    )
    while not (dest / "videos").is_dir() or len(list((dest / "videos").glob("[!.]*"))) < 2:
        assert stopped.poll() is None
        time.sleep(0.01)
    os.killpg(stopped.pid, signal.SIGINT)
    _, said = stopped.communicate(timeout=60)
    assert stopped.returncode == 130
    assert "the same command goes on from here" in said
    assert "Traceback" not in said
    assert not list((dest / "videos").glob(".*"))
    assert 1 <= len(read_results(str(dest))) < 40


def test_two_runs_at_once_do_no_harm(tmp_path: Path, random_bundle: Path) -> None:
    names = tuple(f"photo{number}" for number in range(8))
    photos, dest = make_photos(tmp_path / "photos", names), tmp_path / "out"
    arguments = ["batch", photos, "--out", dest, "--model", random_bundle, *FLAGS]
    both = [subprocess.Popen([*COMMAND, *map(str, arguments)], stdout=subprocess.DEVNULL) for _ in range(2)]
    assert [each.wait(timeout=240) for each in both] == [0, 0]
    assert len(videos(dest)) == 8
    assert all(len(frames(each)) == 3 for each in videos(dest))
    assert sorted(each.name for each in read_results(str(dest))) == sorted(names)


def test_the_command_prints_counts_and_reasons(photos: Path, tmp_path: Path, random_bundle: Path) -> None:
    done = run("batch", photos, "--out", tmp_path / "out", "--model", random_bundle, *FLAGS)
    assert done.returncode == 1
    lines = [" ".join(line.split()) for line in done.stdout.splitlines()]
    assert lines[:3] == ["photos", "done 4", "refused 2"]
    assert any(line.startswith("1 The picture cannot be read") for line in lines)
    assert lines[-1] == f"Videos and results: {tmp_path / 'out'}"


def test_an_error_is_one_sentence_and_leaves_nothing(photos: Path, tmp_path: Path) -> None:
    for arguments, sentence in (
        (["--motion", "frown"], "There is no micromotion 'frown'"),
        (["--shard", "9/3"], "shard must be i/n"),
        (["--motion", "smile", "--timeline", "alive"], "not both"),
        (["--strength", "9"], "strength must be"),
    ):
        done = run("batch", photos, "--out", tmp_path / "out", *arguments)
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr.startswith("micromotion: ")
        assert sentence in done.stderr
    assert not (tmp_path / "out").exists()


def test_a_report_counts(tmp_path: Path) -> None:
    photos = make_photos(tmp_path / "photos")
    seen: list[tuple[int, int, int]] = []
    (tmp_path / "begun").mkdir()
    report = run_batch(
        photos,
        tmp_path / "out",
        workers=1,
        make=Noting(tmp_path / "begun"),
        on_row=lambda *counts: seen.append(counts),
    )
    assert report == Report(done=4)
    assert seen == [(1, 1, 4), (2, 2, 4), (3, 3, 4), (4, 4, 4)]


def test_help_imports_neither_torch_nor_ray() -> None:
    check = (
        "import sys, micromotion.cli.batch; sys.exit(bool({'torch', 'ray', 'pyarrow'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", check]).returncode == 0
    assert "--shard" in run("batch", "--help").stdout

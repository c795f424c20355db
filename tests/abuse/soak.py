"""Many good and bad predictions in a row, then many at once, then many cancelled at any moment.

python -m abuse.soak [--predictions N] [--cancellations N] [--figures FILE.json]
"""

from __future__ import annotations

import argparse
import base64
import io
import json
import os
import random
import sys
import tempfile
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import av
from learn_networks import SENTENCE
from misbehaving_server import Exchange, File
from PIL import Image
from shown import shown

from abuse.items import FAILED, SUCCEEDED, data_url
from abuse.tensors import anchors, safetensors
from abuse.world import MOTIONS, World, judge, open_files, resident, running

SETTLED = 50  # predictions after which memory is compared with the end
STEP = 25  # predictions between two samples


@dataclass
class Row:
    """The results of predictions in a row; problems is empty if all went well."""

    outcomes: Counter[str] = field(default_factory=Counter)
    memory: list[int] = field(default_factory=list)  # bytes, all processes of the server, per sample
    files: list[int] = field(default_factory=list)
    left: list[int] = field(default_factory=list)  # temporary files
    seconds: list[float] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m abuse.soak")
    parser.add_argument("--predictions", type=int, default=500)
    parser.add_argument("--cancellations", type=int, default=60)
    parser.add_argument("--figures", type=Path, help="where to write the figures, as JSON")
    given = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="micromotion-soak-") as name,
        running(Path(name), private=True) as world,
    ):
        row = in_a_row(world, given.predictions, seed=1, report=True)
        crowd = at_once(world, callers=16, each=4)
        cancelled = cancelled_anywhere(world, given.cancellations, seed=2)
    figures = summary(row, crowd, cancelled)
    print(json.dumps(figures, indent=1))
    if given.figures:
        given.figures.write_text(json.dumps(figures, indent=1))
    return int(bool(figures["problems"]))


def summary(row: Row, crowd: Counter[str], cancelled: list[float]) -> dict[str, Any]:
    left = [f"{row.left[-1]} temporary files are left"] if row.left[-1] else []
    settled = row.memory[min(SETTLED // STEP, len(row.memory) - 1)]
    return {
        "predictions": sum(row.outcomes.values()),
        "outcomes": dict(row.outcomes),
        "seconds each, median and longest": [
            round(sorted(row.seconds)[len(row.seconds) // 2], 2),
            round(max(row.seconds), 2),
        ],
        f"memory in MB after {SETTLED}, at most, at the end": [
            round(each / 1e6) for each in (settled, max(row.memory), row.memory[-1])
        ],
        "open files after the first look and at the end": [row.files[0], row.files[-1]],
        "temporary files left": row.left[-1],
        "at once": dict(crowd),
        "cancelled": len(cancelled),
        "seconds from a cancellation to ready, median and longest": [
            round(sorted(cancelled)[len(cancelled) // 2], 2),
            round(max(cancelled), 2),
        ],
        "problems": row.problems + left,
    }


# --- in a row -----------------------------------------------------------------------------------------------


def in_a_row(world: World, count: int, seed: int, *, report: bool = False) -> Row:
    """Random inputs and options in a row; a fifth of them are repeated and must give the same result."""
    rng, row = random.Random(seed), Row()
    pictures = _pictures(world)
    before: dict[str, tuple[str, str]] = {}
    for number in range(1, count + 1):
        again = bool(before) and rng.random() < 0.2
        text = rng.choice(sorted(before)) if again else json.dumps(_options(rng, sorted(pictures)))
        options = json.loads(text)
        expected, picture = pictures[options["image"]]
        start = time.monotonic()
        status, answer = world.ask(
            "POST", "/predictions", {"input": {**_sent(world, options), "image": picture}}
        )
        row.seconds.append(time.monotonic() - start)
        outcome, said = judge(status, answer)
        row.outcomes[outcome] += 1
        result = shown(_content(answer)) if outcome == SUCCEEDED else said
        if outcome != expected:
            row.problems.append(f"{number}: {outcome}, not {expected}: {said[:200]} {text}")
        elif outcome == SUCCEEDED and _count(_content(answer), options["output_format"]) != options["frames"]:
            row.problems.append(f"{number}: another number of frames: {text}")
        if before.setdefault(text, (outcome, result)) != (outcome, result):
            row.problems.append(f"{number}: another result than before: {text}")
        if number % STEP == 0 or number == count:
            _look(world, row)
            if report:
                print(
                    f"{number}: {row.memory[-1] / 1e6:.0f} MB, {row.files[-1]} files, {row.left[-1]} left",
                    flush=True,
                )
    return row


def _look(world: World, row: Row) -> None:
    """Sample memory, open files, and the files left once recent results have been collected."""
    end = time.monotonic() + 15
    while (left := _left(world)) and time.monotonic() < end:
        time.sleep(0.2)
    row.memory.append(resident(world.workers()))
    row.files.append(open_files(world.workers()))
    row.left.append(left)


def _left(world: World) -> int:
    """The files below the server's temporary folder, except those present at the start."""
    laid_out = {"predict.py", "python", "openapi_schema.json"}
    walk = os.walk(world.server.temporary)
    return sum(len(set(files) - laid_out) for folder, _, files in walk if Path(folder).name != "__pycache__")


def _pictures(world: World) -> dict[str, tuple[str, str]]:
    """By name, a picture's expected outcome and its URL."""
    file = io.BytesIO()
    world.picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(file, "PNG")
    flipped = file.getvalue()
    world.elsewhere.add("/flipped.png", File(flipped))
    return {
        "photo": (SUCCEEDED, world.photo),
        "flipped": (SUCCEEDED, data_url(flipped)),
        "fetched": (SUCCEEDED, world.elsewhere.url("/flipped.png")),
        "cut": (FAILED, data_url(flipped[: len(flipped) // 2])),
        "text": (FAILED, data_url(b"no picture")),
        "missing": (FAILED, world.elsewhere.url("/nothing.png")),
        "path": (FAILED, "/etc/passwd"),
    }


def _options(rng: random.Random, pictures: list[str]) -> dict[str, Any]:
    good = rng.random() < 0.8
    names = [name for name in pictures if (name in ("photo", "flipped", "fetched")) == good]
    return {
        "image": rng.choice(names),
        "motion": rng.choice([*MOTIONS, "uploaded"]),
        "strength": round(rng.uniform(-2, 2), 2),
        "frames": rng.randint(1, 4),
        "fps": rng.choice([1, 12, 30, 50]),  # a GIF cannot show more
        "seed": rng.choice([-1, 0, 7]),
        "refine": rng.choice([0, 0, 0, 2]),
        "view": rng.choice(["auto", "model"]),
        "output_format": rng.choice(["mp4", "gif", "webp"]),
    }


def _sent(world: World, options: dict[str, Any]) -> dict[str, Any]:
    if options["motion"] != "uploaded":
        return options
    content = safetensors(anchors(world.styles, world.style_dim))
    return {**options, "motion": "smile", "motion_file": data_url(content, "application/octet-stream")}


def _content(answer: dict[str, Any]) -> bytes:
    return base64.b64decode(answer["output"].partition(",")[2], validate=True)


def _count(content: bytes, kind: str) -> int:
    """The number of frames in a video."""
    if kind == "mp4":
        with av.open(io.BytesIO(content), "r") as video:
            return len(list(video.decode(video=0)))
    with Image.open(io.BytesIO(content)) as picture:
        return int(getattr(picture, "n_frames", 1))


# --- at once ------------------------------------------------------------------------------------------------


def at_once(world: World, callers: int, each: int) -> Counter[str]:
    """Concurrent callers: each gets the right result or is refused; none is lost."""
    outcomes: Counter[str] = Counter()
    lock = threading.Lock()

    def ask() -> None:
        for _ in range(each):
            inputs = {"image": world.photo, "motion": "smile", "frames": 2, "output_format": "gif", "fps": 12}
            body = {"input": inputs}
            status, answer = world.ask("POST", "/predictions", body)
            outcome = judge(status, answer)[0]
            if outcome == SUCCEEDED and shown(_content(answer)) != world.expected:
                outcome = "wrong"
            with lock:
                outcomes[outcome if status != 409 else "refused, busy"] += 1

    threads = [threading.Thread(target=ask) for _ in range(callers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(outcomes.values()) == callers * each
    return outcomes


# --- cancelled ----------------------------------------------------------------------------------------------


def cancelled_anywhere(world: World, count: int, seed: int) -> list[float]:
    """Long predictions, cancelled at random times in any stage; the seconds until the server is ready again.

    After every fifth a good prediction must give the usual result; at the end, each stage must still work.
    """
    rng = random.Random(seed)
    photo = base64.b64decode(world.photo.partition(",")[2])

    def late(exchange: Exchange) -> None:
        exchange.pause(0.5)
        File(photo)(exchange)

    world.elsewhere.add("/late.jpg", late)
    long = {"frames": 600, "fps": 12, "view": "model", "refine": 200}
    kinds: list[dict[str, Any]] = [
        {"image": world.elsewhere.url("/late.jpg"), **long},
        {"image": world.elsewhere.url("/slow"), **long},
        {"image": world.photo, **long},
        {"image": world.photo, **long, "refine": 0, "output_format": "webp"},
        {"image": world.photo, **long, "view": "photo", "refine": 0},
        {"image": world.photo, "motion": "custom", "template": SENTENCE},
        {"image": world.photo, **long, "refine": 0, "lock_identity": True},
    ]
    seconds = []
    for number in range(count):
        inputs = dict(kinds[number % len(kinds)])
        inputs["seed"] = 10_000 * seed + number  # never learned before
        world.ready()
        body = {"id": f"cancelled-{seed}-{number}", "input": inputs}
        status, answer = world.ask("POST", "/predictions", body, {"prefer": "respond-async"})
        assert status == 202, answer
        time.sleep(rng.choice([0, rng.uniform(0, 0.05), rng.uniform(0, 0.3), rng.uniform(0, 2)]))
        start = time.monotonic()
        for _ in range(rng.choice([1, 2])):
            world.ask("POST", f"/predictions/{body['id']}/cancel", {})
        try:
            world.ready()
        except AssertionError as error:
            log = world.server.log.read_text()[-2000:]
            raise AssertionError(
                f"cancellation {number} ({kinds[number % len(kinds)].keys()}): {log}"
            ) from error
        seconds.append(time.monotonic() - start)
        if number % 5 == 4:
            assert world.good() == world.expected
    for options in (
        {"view": "model", "refine": 2},
        {"motion": "custom", "template": SENTENCE},
        {"lock_identity": True},
    ):
        status, answer = world.server.predict(world.photo, **options)
        assert (status, answer["status"]) == (200, "succeeded"), f"{options} works no more: {answer}"
    return seconds


if __name__ == "__main__":
    sys.exit(main())

"""Measure on renders how well a video drives a photo; what was measured with the same code is reused."""

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from avatar.report.keeping import content_hash, write
from benchmarks.drive.clips import Clip, all_clips
from benchmarks.drive.reading import Row, read_clip
from benchmarks.drive.section import PICTURE, replace_section, section
from benchmarks.drive.transferring import transfer_clip
from micromotion.runtime.process import keep_memory

ROOT = Path(__file__).resolve().parents[2]
QUICK = ("lids", "greet")
SHOWN = ("lids", "greet", "all")
"""The clips of which the picture shows frames."""

_FRAMES, _TILE = 6, 160  # frames of each clip in the picture, and their side in pixels


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.drive",
        description="Measure how well videos are read and drive a photo; run again to resume.",
    )
    parser.add_argument("--quick", action="store_true", help="two clips only, which prove nothing")
    parser.add_argument("--cache", type=Path, default=ROOT / ".runs/drive", help="renders and results")
    parser.add_argument("--out", type=Path, help="where claims.md is (default: docs; with --quick: nowhere)")
    args = parser.parse_args()
    keep_memory()
    clips = all_clips()
    chosen = [clip for clip in clips if not args.quick or clip.name in QUICK]
    results = args.cache / f"results-{_code_hash()}"
    results.mkdir(parents=True, exist_ok=True)
    work: dict[str, Callable[[Clip], dict[str, Row]]] = {
        "reading": lambda clip: read_clip(clip, clips[(clips.index(clip) + 1) % len(clips)], args.cache),
        "transfer": lambda clip: transfer_clip(clip, args.cache, results),
    }
    figures = measured(work, chosen, results)
    text = section(figures["reading"], figures["transfer"])
    print(text)
    out = args.out or (None if args.quick else ROOT / "docs")
    if out:
        (out / PICTURE).parent.mkdir(parents=True, exist_ok=True)
        sheet(results).save(out / PICTURE, quality=85, optimize=True)
        replace_section(out / "claims.md", text)
        print(f"wrote the last section of {out / 'claims.md'}", flush=True)


def measured(
    work: dict[str, Callable[[Clip], dict[str, Row]]], clips: list[Clip], results: Path
) -> dict[str, dict[str, dict[str, Row]]]:
    """The rows of each kind of work and each clip; what has been done is read from `results`."""
    figures: dict[str, dict[str, dict[str, Row]]] = {kind: {} for kind in work}
    missing = [
        (kind, clip)
        for clip in clips
        for kind in work
        if not (results / f"{kind}-{clip.name}.json").is_file()
    ]
    began = time.monotonic()
    for done, (kind, clip) in enumerate(missing):
        spent = time.monotonic() - began
        left = f", about {spent / done * (len(missing) - done) / 60:.0f} min left" if done else ""
        print(f"{done + 1} of {len(missing)}: {kind} of {clip.name}{left}", flush=True)
        write(results / f"{kind}-{clip.name}.json", json.dumps(work[kind](clip), indent=1))
    for kind in work:
        for clip in clips:
            path = results / f"{kind}-{clip.name}.json"
            figures[kind][clip.name] = json.loads(path.read_text(encoding="utf-8"))
    return figures


def sheet(results: Path) -> Image.Image:
    """Frames of a few clips: the driver above the truth above the driven photo."""
    rows = []
    for name in SHOWN:
        for part in ("driver", "truth", "result"):
            with Image.open(results / f"{name}-{part}.png") as file:
                strip = file.convert("RGB")
            side, count = strip.height, strip.width // strip.height
            chosen = np.linspace(0, count - 1, _FRAMES).round().astype(int).tolist()
            tiles = [strip.crop((side * at, 0, side * (at + 1), side)) for at in chosen]
            rows.append(
                np.concatenate(
                    [np.asarray(tile.resize((_TILE, _TILE), Image.Resampling.LANCZOS)) for tile in tiles],
                    axis=1,
                )
            )
    return Image.fromarray(np.concatenate(rows, axis=0))


def _code_hash() -> str:
    """Hash of the code that reads, draws or measures."""
    folders = ("micromotion/drive", "micromotion/photo", "benchmarks/drive")
    files = [path for folder in folders for path in sorted((ROOT / folder).glob("*.py"))]
    files = [path for path in files if path.name not in ("section.py", "fit.py", "__main__.py")]
    return content_hash(files)[:16]


if __name__ == "__main__":
    main()

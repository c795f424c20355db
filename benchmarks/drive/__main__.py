"""Measure the reading of driving videos on renders; clips already measured with the same code are reused."""

import argparse
import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmarks.drive.clips import EFFECTS, all_clips
from benchmarks.drive.reading import Row, read_clip

ROOT = Path(__file__).resolve().parents[2]
QUICK = ("lids", "greet")


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.drive",
        description="Measure how well driving videos are read; run again to resume.",
    )
    parser.add_argument("--quick", action="store_true", help="two clips only")
    parser.add_argument("--cache", type=Path, default=ROOT / ".runs/drive", help="renders and results")
    args = parser.parse_args()
    results = args.cache / f"reading-{_code_hash()}"
    results.mkdir(parents=True, exist_ok=True)
    clips = all_clips()
    measured = {}
    for clip, other in zip(clips, clips[1:] + clips[:1], strict=True):
        if args.quick and clip.name not in QUICK:
            continue
        path = results / f"{clip.name}.json"
        if not path.is_file():
            path.write_text(json.dumps(read_clip(clip, other, args.cache / "renders")), encoding="utf-8")
        measured[clip.name] = json.loads(path.read_text(encoding="utf-8"))
        print(f"{len(measured)} of {len(QUICK) if args.quick else len(clips)}: {clip.name}", flush=True)
    print(table(measured))


def table(measured: dict[str, dict[str, Row]]) -> str:
    """Medians over the clips, a Markdown table with a row for each effect, and a sentence on the frames."""
    lines = [
        "| effect | correlation | gain | where it is still | spoiled | cleaned |",
        "|---|---|---|---|---|---|",
    ]
    for effect in EFFECTS:
        rows = [clip[effect] for clip in measured.values()]
        cells = [_median(rows, name) for name in ("r", "gain", "still", "spoiled", "cleaned")]
        lines.append(f"| {effect} | {' | '.join(cells)} |")
    counts = {name: sum(int(clip["frames"][name] or 0) for clip in measured.values()) for name in _COUNTS}
    lines.append("")
    lines.append(
        f"Of {counts['spoiled']} spoiled frames {counts['found']} were found, with {counts['false']} false "
        f"alarms; in the clean clips {counts['bridged when clean']} runs were bridged."
    )
    return "\n".join(lines)


_COUNTS = ("spoiled", "found", "false", "bridged when clean")


def _median(rows: list[Row], name: str, text: Callable[[float], str] = "{:.3f}".format) -> str:
    values = [value for row in rows if (value := row[name]) is not None]
    return text(float(np.median(values))) if values else "–"


def _code_hash() -> str:
    """Hash of the code that reads or measures."""
    digest = hashlib.sha256()
    for folder in (ROOT / "micromotion/drive", ROOT / "benchmarks/drive"):
        for path in sorted(folder.glob("*.py")):
            digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


if __name__ == "__main__":
    main()

"""Write docs/avatar.md and its pictures; steps already done for this model are skipped."""

import argparse
import json
import time
from pathlib import Path
from typing import Any

from avatar.report.document import FOLDER, document
from avatar.report.heads import COUNT
from avatar.report.keeping import content_hash, write
from avatar.report.steps import STEPS, ReportContext
from avatar.report.subject import load_subject
from micromotion.runtime.process import keep_memory

ROOT = Path(__file__).resolve().parent.parent.parent


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m avatar.report", description="Measure the avatar model; run again to resume."
    )
    parser.add_argument("--model", default="avatar", help="name or folder of the bundle (default: avatar)")
    parser.add_argument("--cache", type=Path, default=ROOT / ".runs/report", help="where renders are kept")
    parser.add_argument("--out", type=Path, default=ROOT / "docs", help="where avatar.md goes")
    parser.add_argument("--heads", type=int, default=COUNT, help=f"unseen heads (default {COUNT})")
    parser.add_argument("--device", default="auto")
    parser.add_argument(
        "--only", choices=STEPS, nargs="+", help="do these steps, if need be again, and no others"
    )
    args = parser.parse_args()
    keep_memory()
    subject = load_subject(args.model, args.device)
    files = [subject.folder / "bundle.json", *subject.animator.bundle.motions.values()]
    files += sorted(subject.folder.glob("*.safetensors"))
    context = ReportContext(subject, args.out / FOLDER, args.cache, args.heads)
    figures = run(context, f"{content_hash(files)} on {args.heads}", args.only)
    if set(figures) != set(STEPS):
        print(f"Still to do: {', '.join(set(STEPS) - set(figures))}; run again without --only.", flush=True)
        return
    text = document(subject.about, subject.size, sum(path.stat().st_size for path in files), figures)
    write(args.out / f"{FOLDER}.md", text)
    print(f"wrote {args.out / FOLDER}.md", flush=True)


def run(context: ReportContext, model: str, only: list[str] | None = None) -> dict[str, Any]:
    """Run the steps not yet done for this model, and return the figures of all that are done.

    They are stored in the cache's figures.json, for one model at a time.
    """
    path = context.cache / "figures.json"
    stored = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    figures = stored["figures"] if stored.get("model") == model else {}
    for number, (name, step) in enumerate(STEPS.items(), 1):
        if (name in figures and not (only and name in only)) or (only and name not in only):
            continue
        print(f"{number} of {len(STEPS)}: {name}", flush=True)
        start = time.monotonic()
        figures[name] = step(context)
        print(f"  {time.monotonic() - start:.0f} s", flush=True)
        write(path, json.dumps({"model": model, "figures": figures}, indent=2, ensure_ascii=False))
    return figures


if __name__ == "__main__":
    main()

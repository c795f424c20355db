"""Write docs/claims.md and its pictures; steps already done for this model are reused."""

import argparse
import hashlib
import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from avatar.renderer.factors import MOTIONS
from avatar.report.heads import renderer_sources
from avatar.report.keeping import Figures, content_hash, write
from avatar.report.subject import Subject, load_subject
from benchmarks.claims.document import FOLDER, document
from benchmarks.claims.pictures import draw
from benchmarks.claims.steps import QUICK, ClaimsContext, Form, steps
from benchmarks.drive.section import kept_section
from micromotion.runtime.process import keep_memory

ROOT = Path(__file__).resolve().parent.parent.parent
METHOD = (
    *(f"face/{module}" for module in ("alignment", "crop", "detection", "landmarks")),
    *(f"motion/{module}" for module in ("anchor_analysis", "anchors", "playable", "robust_pca")),
    *(f"learn/{module}" for module in ("losses", "ordering", "template", "text", "track", "video")),
)
MEASURED = ("domains", "methods", "movement", "sources", "steps")


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.claims",
        description="Measure what the method claims, in the avatar world; run again to resume.",
    )
    parser.add_argument("--model", default="avatar", help="name or folder of the bundle (default: avatar)")
    parser.add_argument("--out", type=Path, default=ROOT / "docs", help="where claims.md goes")
    parser.add_argument("--cache", type=Path, default=ROOT / ".runs/claims", help="where results are cached")
    parser.add_argument("--motions", nargs="+", choices=MOTIONS, default=MOTIONS, help="the renderer's names")
    parser.add_argument("--quick", action="store_true", help="a small form, to check that it runs")
    parser.add_argument("--device", default="auto")
    args = parser.parse_args()
    keep_memory()
    subject = load_subject(args.model, args.device)
    form = QUICK if args.quick else Form()
    key = key_of(subject, form)
    context = ClaimsContext(subject, args.cache / "renders", args.cache / key, form, tuple(args.motions))
    figures = run(steps(context), context.cache / "figures.json")
    draw(context, figures, args.out / FOLDER)
    page = args.out / f"{FOLDER}.md"
    write(page, document(subject, form, figures) + kept_section(page))
    print(f"wrote {page}", flush=True)


def run(work: Mapping[str, Callable[[], Figures]], path: Path) -> dict[str, Figures]:
    """Run the steps whose figures are not yet in the file, which is rewritten after each."""
    figures = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    missing = [name for name in work if name not in figures]
    began = time.monotonic()
    for done, name in enumerate(missing):
        spent = time.monotonic() - began
        left = f", about {spent / done * (len(missing) - done) / 60:.0f} min left" if done else ""
        print(f"{len(work) - len(missing) + done + 1} of {len(work)}: {name}{left}", flush=True)
        figures[name] = work[name]()
        write(path, json.dumps(figures, indent=1, ensure_ascii=False))
    return {name: figures[name] for name in work}


def key_of(subject: Subject, form: Form) -> str:
    """Hash of what the figures depend on: the model's files, the form, and the code that measures."""
    files = [subject.folder / "bundle.json", *sorted(subject.folder.glob("*.safetensors"))]
    files += [*renderer_sources(), ROOT / "avatar/training/collect.py", ROOT / "avatar/data/wordings.py"]
    files += [Path(__file__).with_name(f"{module}.py") for module in MEASURED]
    files += [ROOT / "micromotion" / f"{module}.py" for module in METHOD]
    return hashlib.sha256(f"{form} {content_hash(files)}".encode()).hexdigest()[:16]


if __name__ == "__main__":
    main()

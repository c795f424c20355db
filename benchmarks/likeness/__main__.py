"""Write docs/likeness.md and its pictures; faces already measured with the same code are reused."""

import argparse
import hashlib
import json
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.likeness.document import document
from benchmarks.likeness.measures import Seen
from benchmarks.likeness.trial import MOTIONS, Trial, try_face, with_seen
from micromotion import Animator
from micromotion.runtime.process import keep_memory
from micromotion.video.contact_sheet import contact_sheet

ROOT = Path(__file__).resolve().parents[2]
FACES = ROOT / "docs" / "faces"
TILE = 150  # pixels of a picture in a sheet
COLUMNS = 2  # faces side by side, three pictures each


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.likeness",
        description="Measure how well a photo's own face moves; run again to resume.",
    )
    parser.add_argument("--faces", nargs="+", help="names in docs/faces (default: all)")
    parser.add_argument("--out", type=Path, default=ROOT / "docs", help="where likeness.md goes")
    parser.add_argument(
        "--cache", type=Path, default=ROOT / ".runs/likeness", help="where results are cached"
    )
    args = parser.parse_args()
    keep_memory()
    animator = Animator.load("avatar", "cpu")
    cache = args.cache / drawing_hash()
    cache.mkdir(parents=True, exist_ok=True)
    names = args.faces or sorted(path.stem for path in FACES.glob("*.jpg"))
    trials = []
    for done, name in enumerate(names, start=1):
        print(f"{done} of {len(names)}: {name}", flush=True)
        trials.append(measured(animator, name, cache))
    (args.out / "likeness").mkdir(parents=True, exist_ok=True)
    for motion in MOTIONS:
        sheet(names, motion, cache).save(args.out / "likeness" / f"{motion}.jpg", quality=80, optimize=True)
    (args.out / "likeness.md").write_text(document(trials), encoding="utf-8")
    print(f"wrote {args.out / 'likeness.md'}", flush=True)


def measured(animator: Animator, name: str, cache: Path) -> Trial:
    """The trial of a face, from the cache if it is there."""
    path = cache / f"{name}.json"
    if not path.is_file():
        trial = try_face(animator, FACES / f"{name}.jpg", cache)
        path.write_text(json.dumps(trial.as_json()), encoding="utf-8")
    read = json.loads(path.read_text(encoding="utf-8"))
    rows = [with_seen(row) for row in read["rows"]]
    tremble = {motion: (rms, most) for motion, (rms, most) in read["tremble"].items()}
    return Trial(read["face"], Seen(**read["still"]), read["yaw"], rows, tremble)


def drawing_hash() -> str:
    """Hash of all files that draw or measure."""
    digest = hashlib.sha256()
    for folder in (ROOT / "micromotion/photo", ROOT / "benchmarks/likeness", ROOT / "anchors/avatar"):
        for path in sorted(folder.iterdir()):
            if path.is_file():
                digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def sheet(names: list[str], motion: str, cache: Path) -> Image.Image:
    """The photo, before and now of each face, side by side."""
    tiles, labels = [], []
    for name in names:
        for way in ("", f"-{motion}-before", f"-{motion}-now"):
            path = cache / f"{name}{way}.png"
            picture = Image.open(path) if path.is_file() else Image.new("RGB", (TILE, TILE), "white")
            tiles.append(np.asarray(picture.convert("RGB").resize((TILE, TILE), Image.Resampling.LANCZOS)))
            labels.append({"": name}.get(way, way.rpartition("-")[2] if path.is_file() else "refused"))
    return contact_sheet(tiles, labels=labels, columns=3 * COLUMNS, tile=TILE)


if __name__ == "__main__":
    main()

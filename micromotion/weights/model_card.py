"""The model card of a repository on the Hugging Face hub: README.md, with the hub's front matter.

It says what the bundle's record or the motion's file says, what it was made from and its licence, and the
limits that all models and motions here have.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

CARD = "README.md"
LICENCES = frozenset(
    (
        *("mit", "apache-2.0", "bsd-2-clause", "bsd-3-clause", "mpl-2.0", "gpl-3.0", "agpl-3.0", "unlicense"),
        *("cc0-1.0", "cc-by-4.0", "cc-by-sa-4.0", "cc-by-nc-4.0", "cc-by-nc-sa-4.0", "openrail"),
    )
)
"""Those of the hub's identifiers of licences that are written as here."""

MODEL = """# {name}

A model for [micromotion](https://arxiv.org/abs/2204.12696), which brings a still face to life: a StyleGAN2
generator, an inverter that maps a face into its latent space, and the motions {motions}.

```sh
pip install "micromotion[hub]"
micromotion animate photo.jpg --model hf://{repo}
```

```python
from micromotion import Animator

Animator.load("hf://{repo}").animate("photo.jpg").save("video.mp4")
```

## What it was trained on

{training}
{limits}
## Licence

{licence}
{sources}
Sizes, SHA-256 and figures: `bundle.json`.
"""

MOTION = """# {name}

A motion for [micromotion](https://arxiv.org/abs/2204.12696): the change of a latent that plays on any face.

```sh
pip install "micromotion[hub]"
micromotion animate photo.jpg --motion hf://{repo}/{path}
```

## What it was learned from

{training}
If that was a video or pictures, the file holds latents of the face in them, from which a likeness of that
face can be drawn.

{limits}
## Licence

{licence}
"""

LIMITS = """## Limits

Motions play on one face that looks roughly into the camera; hands, hats and hair before the face are not
understood. What a photo does not show (teeth, a closed lid, the far cheek) is made up. Faces unlike those
that the model was made from come out worse. Nothing here says anything about a real person's identity, age,
mood or health.

Every picture and video made with it is synthetic: say so where you show it, and ask the people in it first.
"""

UNKNOWN = "It does not say.\n"


def model_card(repo: str, name: str, about: Mapping[str, Any], motions: Iterable[str], licence: str) -> str:
    """The card of a model; repo is owner/name, about its bundle.json."""
    return _front_matter(licence) + MODEL.format(
        name=_line(name),
        repo=repo,
        motions=", ".join(f"`{each}`" for each in motions) or "of others",
        training=_listed(about.get("training")) or UNKNOWN,
        limits=LIMITS,
        licence=_line(licence),
        sources=_sources(about),
    )


def motion_card(repo: str, path: str, provenance: Mapping[str, Any], licence: str) -> str:
    """The card of a repository whose first file is this motion."""
    return _front_matter(licence) + MOTION.format(
        name=_line(Path(path).stem),
        repo=repo,
        path=path,
        training=_listed(provenance) or UNKNOWN,
        limits=LIMITS,
        licence=_line(licence),
    )


def licence_tag(licence: str) -> str:
    """The hub's identifier of the licence that a text begins with, such as "mit"; "other" if it is none."""
    words = re.sub(r"\s+", "-", licence.strip().lower())
    first = re.findall(r"^[a-z0-9.-]*", words)[0].rstrip(".-")
    tag = re.sub(r"-licen[cs]e$", "", first)
    return tag if tag in LICENCES else "other"


def _front_matter(licence: str) -> str:
    tag = licence_tag(licence)
    lines = ["---", f"license: {tag}"]
    if tag == "other":
        lines.append(f"license_name: licence-{re.sub(r'[^a-z0-9]+', '-', licence.lower())[:60]}".rstrip("-"))
    lines += ["library_name: micromotion", "pipeline_tag: image-to-video", "tags:", "- face-animation", "---"]
    return "\n".join([*lines, "", ""])


def _listed(value: object) -> str:
    """A record's entry as Markdown: a list for a mapping, a line for anything else, "" for nothing."""
    if isinstance(value, Mapping):
        return "".join(f"- {_line(key)}: {_line(each)}\n" for key, each in value.items())
    return f"{_line(value)}\n" if value else ""


def _sources(about: Mapping[str, Any]) -> str:
    """The public files that it was made from, with their licences."""
    sources = about.get("sources")
    entries = sources.items() if isinstance(sources, Mapping) else ()
    return _listed({name: entry["licence"] for name, entry in entries if entry.get("licence")})


def _line(value: object) -> str:
    """A value as one line of text, without Markdown's and HTML's own characters."""
    return re.sub(r"([\\`*_<>\[\]|#])", r"\\\1", " ".join(str(value).split()))

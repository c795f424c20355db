"""The report's text: docs/avatar.md from the figures of all steps, each beside its target."""

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from avatar.renderer.factors import MOTIONS
from avatar.report.keeping import Figures
from avatar.training.collect import PUBLISHED_NAMES

MS_SSIM, IDENTITY, MONOTONE, LEAK, AGE, DETECTED = 0.85, 0.8, 0.95, 0.15, 0.85, 0.97
REGRESSOR_SLOPE, REGRESSOR_CROSSTALK = 0.95, 0.03
MOST_BYTES = 30_000_000
WIDTH = 140  # of a line

FOLDER = "avatar"
"""The folder of the pictures, relative to the document."""


def document(about: Mapping[str, Any], size: int, total_bytes: int, figures: Figures) -> str:
    """The whole report as Markdown.

    Args:
        about: the contents of bundle.json.
        size: pixels a side of the model's pictures.
        total_bytes: the size of all files of the model.
        figures: the figures of each step, by its name (see ``steps.STEPS``).
    """
    parts = [
        introduction(size),
        samples(figures["samples"]),
        photos(),
        origin(about, size, total_bytes),
        reconstruction(figures["reconstruction"], size),
        regressor_section(about["figures"]["regressor"]),
        motions(figures["motions"]),
        detection(figures["detection"]),
        diversity(figures["diversity"]),
        cost(figures["cost"], size),
    ]
    return "\n\n".join(wrapped(part) for part in parts) + "\n"


def wrapped(part: str) -> str:
    """A part of the document with its paragraphs wrapped again, as figures change their length."""
    paragraphs = (paragraph.strip() for paragraph in part.split("\n\n"))
    return "\n\n".join(
        p if p[:1] in "#|!" else textwrap.fill(p, WIDTH, break_on_hyphens=False) for p in paragraphs if p
    )


def introduction(size: int) -> str:
    return f"""# The avatar model

What the embedded {size}×{size} model can do, measured on heads that were in no data set. `make
avatar-report` wrote this page and its pictures from the model in `weights/avatar` and the motions in
`anchors/avatar`. ✓ and ✗ say whether a figure meets its target."""


def samples(found: Figures) -> str:
    return f"""## Samples

{found["count"]} people drawn at random from the generator, none of them picked, truncation
{found["truncation"]}.

{image("samples", "Random samples")}"""


def photos() -> str:
    return """## Photos, as the model draws them

`--view model` shows a photo as the nearest character of the model's world, with the photo's head turn, light,
hair and skin, and something of its mood. It is a caricature, not a likeness; so by default the photo's own
pixels move ([likeness.md](likeness.md)), and the model determines how far.

![A character, and its growing smile](smile.png)

![The five motions](motions.jpg)

Real faces, what the model makes of each (with `--refine 30`), and its smile:

![Real faces, their characters, and their smiles](faces.jpg)"""


def origin(about: Mapping[str, Any], size: int, total_bytes: int) -> str:
    rows = [
        [part, about["architecture"].get(part, ""), about["training"].get(part, "")]
        for part in parts_of(about)
    ]
    data = about["training"].get("data")
    return f"""## What was trained on what

{table(["network", "what it is", "trained on"], rows)}

{f"The data: {data}." if data else ""} Everything together is {total_bytes / 1e6:.1f} MB (wanted: below
{MOST_BYTES / 1e6:.0f} MB) {tick(total_bytes < MOST_BYTES)}. `make avatar` trains it all again."""


def parts_of(about: Mapping[str, Any]) -> list[str]:
    """The networks described in bundle.json, in its order."""
    return [
        *about["architecture"],
        *(p for p in about["training"] if p not in about["architecture"] and p != "data"),
    ]


def reconstruction(found: Figures, size: int) -> str:
    scales = found["scales"]
    fewer = f", in {scales} scales, as {size}² is too small for all five" if scales < 5 else ""
    rows = [
        ["PSNR, dB", *spread(found["psnr"], 1), ""],
        ["MS-SSIM", *spread(found["ms_ssim"], 3), target(found["ms_ssim"]["mean"] > MS_SSIM, f"> {MS_SSIM}")],
    ]
    if "identity" in found:
        passed = found["identity"]["mean"] > IDENTITY
        rows.append(["identity cosine", *spread(found["identity"], 3), target(passed, f"> {IDENTITY}")])
        rows.append(["identity cosine of two different people", *spread(found["strangers"], 3), ""])
        words = (
            "The identity cosine is of a head and its reconstruction, by the bundle's own identity network."
        )
    else:
        words = (
            f"The identity cosine (wanted: > {IDENTITY}) is missing: the bundle has no identity network. ✗"
        )
    return f"""## Reconstruction

{found["heads"]} unseen heads, in any mood, age, light and pose, through e4e and back. MS-SSIM is that of
Wang et al. 2003, the mean over colours{fewer}. {words}

{table(["", "mean", "one in twenty is below", "target"], rows)}

Heads (above) and their reconstructions (below):

{image("reconstruction", "Heads and their reconstructions")}

The {min(found["heads"], 8)} worst by MS-SSIM:

{image("reconstruction-worst", "The worst reconstructions")}"""


def regressor_section(calibration: Figures) -> str:
    rows = [
        [
            name,
            f"{one['error']:.3f}",
            f"{one['slope']:.3f}" + mark(name, one["slope"] >= REGRESSOR_SLOPE),
            f"{one['crosstalk']:.3f} ({one['disturber']})"
            + mark(name, one["crosstalk"] <= REGRESSOR_CROSSTALK),
        ]
        for name, one in calibration.items()
    ]
    return f"""## The evaluation regressor

The figures below come from a regressor, a network trained on renders to read ten factors off a picture. It
reads age off the skin alone, from the lower lids to the chin, as hair and brows grey with the years. Its
accuracy on renders held out from its training: the mean error; the slope, how much a reading changes per unit
of the true factor (wanted: ≥ {REGRESSOR_SLOPE}); and the cross-talk, the most that it changes per unit of any
other factor (wanted: ≤ {REGRESSOR_CROSSTALK}), which is named. The free movements below the five motions have
no target: closed eyes hide the gaze, and a roll shows in the neck alone, as the crop is levelled.

{table(["factor", "mean error", "slope", "cross-talk"], rows)}"""


def mark(name: str, passed: bool) -> str:
    """A tick or a cross for a motion; the free movements have no target."""
    return f" {tick(passed)}" if name in MOTIONS else ""


def motions(found: Figures) -> str:
    factor_of = {name: factor for factor, name in PUBLISHED_NAMES.items()}
    rows = []
    for name, one in found["motions"].items():
        cells = []
        for factor in PUBLISHED_NAMES:
            if factor == factor_of[name]:
                cells.append(f"**{one['moved']:.2f}**")
            else:
                mean, size = one["others"][factor]
                cells.append(f"{mean:+.0%} / {size:.0%} {tick(size < LEAK)}")
        rows.append([name, f"{one['monotone']:.0%} {tick(one['monotone'] >= MONOTONE)}", *cells])
    age = found["motions"]["aging"]
    return f"""## Motions

Each motion at strengths 0, 0.1, …, 1 on {found["heads"]} unseen heads, inverted from renders of neutral
faces. *In step*: the share of heads on which the motion's own factor grows with the strength, with a Spearman
correlation above 0.97 (wanted: at least {MONOTONE:.0%} of the heads). The column of its own factor has **its
change per unit of strength**; the other columns have the change of the other factors as a share of that: the
mean with its sign, and the mean of absolute values over heads, which includes the regressor's noise (wanted:
below {LEAK:.0%}).

{table(["motion", "in step", *PUBLISHED_NAMES], rows)}

Age, read off the skin alone, changes by {age["moved"]:.2f} (wanted: above {AGE}) {tick(age["moved"] > AGE)};
on the {found["shaven"]} heads without beard and moustache, which grey as well, by {age["moved_shaven"]:.2f}
{tick(age["moved_shaven"] > AGE)}. An ageing face shares its folds beside the nose with a smiling one and
its frown lines with an angry one, in the renderer as in life.

{image("motions-1", "The five motions on one face")}

{image("motions-2", "The five motions on another face")}"""


def detection(found: Figures) -> str:
    rows = []
    for name in PUBLISHED_NAMES.values():
        strengths = found[name]
        looked, faces, good = (
            sum(one[key] for one in strengths.values()) for key in ("looked", "found", "sensible")
        )
        each = ", ".join(
            f"{strength}: {one['sensible'] / one['looked']:.1%}" for strength, one in strengths.items()
        )
        rows.append(
            [name, f"{faces / looked:.1%}", f"{good / looked:.1%} {tick(good / looked >= DETECTED)}", each]
        )
    renders = found["renders"]
    rows.append(
        [
            "(renders at rest)",
            *(f"{renders[key] / renders['looked']:.1%}" for key in ("found", "sensible")),
            "",
        ]
    )
    shown = (
        "\n\nSome that failed:\n\n" + image("not-found", "Faces that dlib missed")
        if found["failures"]
        else ""
    )
    return f"""## dlib

dlib's detector and its 68 landmarks on the model's pictures of heads that are turned by up to 25° to either
side; headsTurn itself starts from straight heads and goes that far. *Sensible*: all points but those of the
jaw are in the picture, the eyes are above the mouth, and each eye and the mouth are within 0.35 of the
distance between the eyes of the renderer's position (wanted: at least {DETECTED:.0%}).

{table(["motion", "found", "sensible", "sensible by strength"], rows)}{shown}"""


def diversity(found: Figures) -> str:
    rows = [
        ["samples against renders", f"{found['kid']:.4f}"],
        ["other renders against renders (the floor)", f"{found['floor']:.4f}"],
        ["the same renders, at half the resolution (for scale)", f"{found['blurred']:.4f}"],
    ]
    near = [
        ["from a sample to the nearest render", f"{found['to_render']:.2f}"],
        ["from a sample to the nearest other sample", f"{found['to_sample']:.2f}"],
        ["from a render to the nearest other render", f"{found['between_renders']:.2f}"],
    ]
    return f"""## Samples against renders

KID (Bińkowski et al. 2018, unbiased for any number of samples) of {found["count"]:,} samples, with codes
drawn as for the data set, against {found["renders"]:,} renders that the model was trained on. The features
are those of {found["net"]}, each scaled to the renders' spread: Inception's weights are not part of this
repository, so the figures cannot be compared with published ones. On this network: {found["meaning"]}.

{table(["", "KID"], rows)}

Mean distances in the same features, among {found["renders"]:,} of each. Samples of a generator that had
memorised its training pictures would be much nearer to renders than renders are to each other; those of one
with few faces would be nearer to each other.

{table(["", "distance"], near)}

{image("neighbours", "Samples, the nearest render and the nearest other sample")}"""


def cost(found: Figures, size: int) -> str:
    rows = [
        [
            threads,
            f"{one['frame']:.3f}",
            f"{one['invert']:.3f}",
            f"{one['load']:.1f}",
            f"{one['memory'] / 2**20:.0f}",
        ]
        for threads, one in found.items()
    ]
    return f"""## Cost

On the CPU of the machine that wrote this page, frames of {size}×{size}, each row in a separate process with
its peak memory.

{table(["threads", "seconds a frame", "to invert a face", "to load the model", "memory, MiB"], rows)}"""


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return "\n".join("| " + " | ".join(row) + " |" for row in (head, ["---"] * len(head), *rows))


def spread(values: Figures, digits: int) -> list[str]:
    return [f"{values['mean']:.{digits}f}", f"{values['5%']:.{digits}f}"]


def target(passed: bool, wanted: str) -> str:
    return f"{wanted} {tick(passed)}"


def tick(passed: bool) -> str:
    return "✓" if passed else "✗"


def image(name: str, words: str) -> str:
    return f"![{words}]({FOLDER}/{name}.jpg)"

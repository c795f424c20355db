"""The text of docs/claims.md, from the figures of all steps."""

from collections.abc import Mapping

from avatar.renderer.factors import MOTIONS
from avatar.report.document import table, tick, wrapped
from avatar.report.keeping import Figures
from avatar.report.subject import Subject
from avatar.training.collect import PUBLISHED_NAMES
from benchmarks.claims import verdicts
from benchmarks.claims.figures import LEVEL, by_condition, merit, of
from benchmarks.claims.methods import METHODS
from benchmarks.claims.sources import SOURCES, TEXT, sentence, sources
from benchmarks.claims.steps import QUICK, Form
from benchmarks.claims.verdicts import ALIKE, KEPT, RANK, RIGHT, WORDS
from micromotion.weights.bundle import IDENTITY

FOLDER = "claims"
"""The pictures' folder, relative to the document."""

NO_TEXT = (
    "Nothing here is learned from text: the bundle has no CLIP or no identity network, and both are needed."
    " With them in place `make claims` adds it."
)
NO_IDENTITY = "Identity is not measured, as the bundle has no identity network."

Table = Mapping[str, Figures]


def document(subject: Subject, form: Form, figures: Table) -> str:
    """The whole document as Markdown; figures: by step name (see `steps.steps`)."""
    available = sources(subject)
    shown = [source for source in SOURCES if of(figures, "people", source)]
    parts = [introduction(subject, form), in_short(figures, shown), regressor_section(subject, figures, form)]
    parts += [anchors(figures, form, available), people(subject, figures, form, shown)]
    parts += [errors(figures, form, shown), domains(figures, shown)]
    return "\n\n".join(wrapped(part) for part in parts) + "\n"


def introduction(subject: Subject, form: Form) -> str:
    small = (
        "\n\n**This is the small form, which shows that it runs and proves nothing.**"
        if form == QUICK
        else ""
    )
    missing = [] if TEXT in sources(subject) else [NO_TEXT]
    missing += [] if subject.has(IDENTITY) else [NO_IDENTITY]
    said = "".join(f"\n\n**{each}**" for each in missing)
    return f"""# The claims, measured

The paper (Wu et al. 2022, arXiv 2204.12696) claims that a micromotion is *low-rank*, that robust PCA finds
it even from *corrupted* anchors, and that it *transfers*: to anyone, and to paintings and sculptures. In the
avatar world the true factors of a head are known, so these claims can be measured. `make claims` wrote this
page but for its last section, its pictures and its verdicts; each verdict follows from the rule next to it.
The pictures are drawn by the embedded
{subject.size}×{subject.size} model.{small}{said}"""


def in_short(figures: Table, shown: list[str]) -> str:
    def each(say: verdicts.Say) -> str:
        return "; ".join(say(figures, source) for source in shown) + "."

    return f"""## In short

**Low rank**: {each(verdicts.low_rank)} A motion is low-rank if the rank estimated
from its anchors' singular values is at most {RANK}.

**Robust**: {each(verdicts.robust)} A comparison is one kind of corruption and one other method, and is won
by being {LEVEL:.0%} ahead in intended movement per leakage on average, and at least level in two thirds of
all motions and draws.

**Transferable, to people**: {each(verdicts.to_people)} It holds if the motion goes the right way on
at least {RIGHT:.0%} of the people and the identity cosine is above {ALIKE} at full strength.

**Transferable, to other domains**: {each(verdicts.to_domains)} A case is one motion in one domain; it
must meet the same conditions, with at least {KEPT:.0%} of its movement on renders."""


def regressor_section(subject: Subject, figures: Table, form: Form) -> str:
    read, alike = subject.about["figures"]["regressor"], of(figures, "same", "renders")
    rows = []
    for motion in MOTIONS:
        one = read[motion]
        row = [f"{one['error']:.3f}", f"{one['slope']:.3f}", f"{one['crosstalk']:.3f} ({one['disturber']})"]
        same = [f"{alike[motion]['alike']:.2f}"] if motion in alike else []
        rows.append([motion, *row, *same])
    head = ["factor", "mean error", "slope", "cross-talk"]
    who = ""
    if alike:
        head.append("identity")
        who = f""" *Identity*: the cosine that the bundle's identity network gives between renders of the
rest pose and of the full motion, for {form.judges} of the people. Both show the same person by construction:
a motion that reaches this value preserves identity as well as the renderer does."""
    return f"""## The evaluation regressor

The bundle's regressor, trained on renders, reads factors from pictures. On renders that it never saw: its
mean error, how much a reading changes per unit of the true factor, and the most that it changes per unit of
any other. Small leakages come from the regressor.{who}

{table(head, rows)}"""


def anchors(figures: Table, form: Form, available: tuple[str, ...]) -> str:
    rows, failed = [], []
    for source in available:
        for motion in MOTIONS:
            one = figures.get(f"anchors/{source}/{motion}")
            if one and "failed" in one:
                failed.append(f"{PUBLISHED_NAMES[motion]} {WORDS[source]} failed: {one['failed']}")
            elif one:
                rows.append(
                    [
                        f"{PUBLISHED_NAMES[motion]} {WORDS[source]}",
                        f"{one['rank']} of {one['count'] - 1}",
                        f"{one['first']:.0%}",
                        f"{one['straightness']:.0%}",
                        ", ".join(str(number + 1) for number in one["strays"]) or "none",
                    ]
                )
    text = (
        f"*From text*: `micromotion learn text` with the sentences {sentences()}, {form.steps} steps. "
        if TEXT in available
        else ""
    )
    return f"""## Anchors

One person performs all motions. {text}*From video*: `micromotion learn video` on videos of {form.frames}
frames (MP4, {form.side}² pixels) of a rendered head that goes from the rest pose to the full motion; dlib
finds the face, and it is cropped as usual. *From the renderer's factors*, the upper bound: renders of the
same head at even degrees, cropped as in the model's training; {form.anchors} of them, as from video. In the
table: the estimated rank (Gavish and Donoho 2014), the share of the movement in one dimension, the share of
its noise-free part that a straight line explains, and which anchors were left out as wrong.

{table(["motion", "rank", "one dimension", "straight line", "left out"], rows)}

{" ".join(failed)}"""


def sentences() -> str:
    return ", ".join(f'"{sentence(motion)}"' for motion in MOTIONS)


def people(subject: Subject, figures: Table, form: Form, shown: list[str]) -> str:
    head = ["motion", "moves", "5% quantile", "right way", "Spearman", "steps", *MOTIONS, "leakage"]
    head += ["per leakage"]
    head += ["identity"] if subject.has(IDENTITY) else []
    parts = []
    for source in shown:
        rows = [movement_row(motion, one, subject) for motion, one in of(figures, "people", source).items()]
        parts.append(
            f"### Motions {WORDS[source]}\n\n{table(head, rows)}\n\n"
            + image(f"{source}.jpg", f"The motions {WORDS[source]}, on one of the people")
        )
    return f"""## On unseen people

{form.people} rendered heads from no data set, in the rest pose, inverted by the bundle's inverter; motions
are played at strengths 0, 0.1, …, 1 along their straight lines. *Moves*: the intended factor's movement per
unit of strength, 1 being the renderer's full motion; then its 5% quantile over the people. *Right way*: on
how many people it grew by more than the regressor's error (✓ from {RIGHT:.0%}). *Spearman*: its mean
correlation with the strength, and on how many that is above 0.97. *Steps*: the smallest and the largest of
the ten mean steps, 1 being a tenth of the whole. Then how far each other factor moved, with its sign;
*leakage*, the mean absolute value of that over people and factors; and the intended movement per leakage.
*Identity*: the cosine of the bundle's identity network between full strength and the rest pose (✓ above
{ALIKE}), and its 5% quantile.

{chr(10).join(chr(10) + part for part in parts).strip()}"""


def movement_row(motion: str, one: Figures, subject: Subject) -> list[str]:
    others = ["" if name == motion else f"{one['others'][name]:+.2f}" for name in MOTIONS]
    low, high = one["steps"]
    row = [
        PUBLISHED_NAMES[motion],
        f"**{one['own']:.2f}**",
        f"{one['least']:.2f}",
        f"{one['right']} of {one['people']} {tick(one['right'] >= RIGHT * one['people'])}",
        f"{one['order']:.3f}, {one['steady']} of {one['people']}",
        f"{low:.1f} to {high:.1f}",
        *others,
        f"{one['leak']:.3f}",
        f"{merit(one):.1f}",
    ]
    if subject.has(IDENTITY):
        alike = one["alike"]
        row.append(f"{alike:.2f} {tick(alike > ALIKE)} ({one['alike_least']:.2f})")
    return row


def errors(figures: Table, form: Form, shown: list[str]) -> str:
    parts = []
    for source in shown:
        found = by_condition(figures, source)
        rows = [
            [name, *(cell(found[name][method], found[name], method) for method in METHODS)] for name in found
        ]
        why = verdicts.why_not(figures, source)
        parts.append(
            f"### Anchors {WORDS[source]}\n\n{table(['corrupted', *METHODS], rows)}\n\n"
            + image(f"{source}-errors.png", "Movement per leakage as more is corrupted")
            + f"\n\n{' '.join(verdicts.comparisons(figures, source))} {why}\n\n"
            + image(
                f"{source}-errors.jpg", "The first motion at full strength, learned from corrupted anchors"
            )
        )
    return f"""## With errors in the anchors

*Ours*: anchors that are wrong as a whole are left out, then principal component pursuit (Candès et al. 2011)
of the centred anchors and a line fitted through the low-rank part. *The original's*: robust PCA as in its
public code, rank 4, last anchor minus first. *Plain PCA*: centred, the rank chosen by the same rule as ours,
the same fitted line. *The difference*: last anchor minus first, so that errors in the other anchors do not
matter. Corrupted entries and anchors come from other people, {form.draws} draws each, played on {form.judges}
people. Figures are intended movement per leakage, the mean over motions and draws, and in brackets the
movement relative to ours with clean anchors, and the identity cosine if known; the best of a row is bold. A
method can have little leakage because it hardly moves: compare both.

{chr(10).join(chr(10) + part for part in parts).strip()}"""


def cell(one: Mapping[str, float], row: Mapping[str, Mapping[str, float]], method: str) -> str:
    best = max(row, key=lambda name: row[name]["merit"]) == method
    alike = f", {one['alike']:.2f}" if "alike" in one else ""
    text = f"{one['merit']:.1f} ({one['own']:.0%}{alike})"
    return f"**{text}**" if best else text


def domains(figures: Table, shown: list[str]) -> str:
    names = [name.split("/")[1] for name in figures if name.startswith("domain/")]
    parts = []
    for source in shown:
        on_renders = of(figures, "people", source)
        head = ["", *(PUBLISHED_NAMES[motion] for motion in on_renders), "leakage", "identity"]
        rows = [domain_row("(renders)", on_renders, on_renders)]
        rows += [domain_row(name, figures[f"domain/{name}"][source], on_renders) for name in names]
        parts.append(f"### Motions {WORDS[source]}\n\n{table(head, rows)}")
    return f"""## In other domains

The same people as oil paintings, pencil sketches, marble busts, cartoons with an outline, and old
photographs, made by filters that no network here was trained on. (The inverter's training augments its
renders too, but with other filters. Oil: strokes in three layers along the edges, with relief; training has
Kuwahara's flat dabs. Sketch: hatching in four directions, on paper; training has shaded differences of
Gaussians. Marble: hair, eyes and skin become one stone in front of a dark wall; training has its hue.
Cartoon: ten colours chosen for each picture, with a black outline; training has evenly rounded ones.
Photograph: an emulsion blind to red, a halo, creases, scratches, dust; training has sepia and grain.) Each
work is inverted as it is, which makes an avatar of it, and the motions are played at three strengths (0, ½
and 1). The table shows the movement of the intended factor per unit of strength, and on how many people it
went the right way; ✓ if at least {RIGHT:.0%} of them did and the movement is at least {KEPT:.0%} of that on
renders; then leakage and identity, averaged over the motions.

{image("domains.jpg", "Works, their inversions, and the motions at full strength on them")}

{chr(10).join(chr(10) + part for part in parts).strip()}"""


def domain_row(name: str, found: Table, on_renders: Table) -> list[str]:
    cells = []
    for motion, there in on_renders.items():
        one = found[motion]
        cells.append(
            f"{one['own']:.2f}, {one['right']} of {one['people']} {tick(verdicts.works(one, there))}"
        )
    alike = [one["alike"] for one in found.values()]
    known = [each for each in alike if each is not None]
    leak = sum(one["leak"] for one in found.values()) / len(found)
    return [name, *cells, f"{leak:.3f}", f"{sum(known) / len(known):.2f}" if known else "not measured"]


def image(file: str, words: str) -> str:
    return f"![{words}]({FOLDER}/{file})"

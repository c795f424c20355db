"""The verdict on each claim, as text derived from the figures."""

from collections.abc import Callable, Mapping, Sequence

from avatar.report.keeping import Figures
from benchmarks.claims.figures import compare, mean, merits, of
from benchmarks.claims.methods import CLEAN, METHODS

RANK, RIGHT, ALIKE, KEPT = 3, 0.9, 0.6, 0.5
"""The highest rank that counts as low; the share of people who must move the right way (45 of 50); the lowest
identity cosine at full strength; the least movement in another domain, as a share of that on renders."""

Say = Callable[[Mapping[str, Figures], str], str]
"""The verdict on a source."""

WORDS = {"text": "from text", "video": "from video", "factors": "from the renderer's factors"}


def how_many(count: int, total: int, what: str) -> str:
    """ "holds for all five motions", "holds for 3 of 5 motions", "holds for no motion"."""
    if total == 0:
        return "could not be measured"
    if count == total:
        return f"holds for all {total} {what}s" if total > 1 else f"holds for the one {what}"
    return f"holds for {count} of {total} {what}s" if count else f"holds for none of the {total} {what}s"


def low_rank(figures: Mapping[str, Figures], source: str) -> str:
    """Whether a source's anchors have low rank."""
    found = of(figures, "anchors", source).values()
    low = sum(each["rank"] <= RANK for each in found)
    text = f"{WORDS[source]} it {how_many(low, len(found), 'motion')}"
    if found:
        least, most = (end(each["rank"] for each in found) for end in (min, max))
        ranks = str(least) if least == most else f"{least} to {most}"
        text += (
            f" (rank {ranks} of {next(iter(found))['count'] - 1}; one dimension alone has"
            f" {mean(each['first'] for each in found):.0%} of the movement, a straight line"
            f" {mean(each['straightness'] for each in found):.0%} of its noise-free part)"
        )
    return text


def transfers(each: Figures) -> bool:
    """Whether a motion works on unseen people."""
    alike = each["alike"]
    return each["right"] >= RIGHT * each["people"] and (alike is None or alike > ALIKE)


def to_people(figures: Mapping[str, Figures], source: str) -> str:
    """Whether a source's motions work on unseen people."""
    found = of(figures, "people", source).values()
    return f"{WORDS[source]} it {how_many(sum(map(transfers, found)), len(found), 'motion')}"


def works(there: Figures, on_renders: Figures) -> bool:
    """Whether a motion works in a domain."""
    return transfers(there) and there["own"] >= KEPT * on_renders["own"]


def to_domains(figures: Mapping[str, Figures], source: str) -> str:
    """Whether a source's motions work in the domains, and which do not."""
    on_renders = of(figures, "people", source)
    cases = {
        (name.split("/")[1], motion): works(there, on_renders[motion])
        for name, each in figures.items()
        if name.startswith("domain/")
        for motion, there in each.get(source, {}).items()
    }
    text = f"{WORDS[source]} it {how_many(sum(cases.values()), len(cases), 'case')}"
    wrong: dict[str, list[str]] = {}
    for (domain, motion), good in cases.items():
        if not good:
            wrong.setdefault(domain, []).append(motion)
    if wrong:
        text += " (not: " + "; ".join(f"{domain}: {listed(names)}" for domain, names in wrong.items()) + ")"
    return text


def robust(figures: Mapping[str, Figures], source: str) -> str:
    """Whether robust PCA beats the other methods on corrupted anchors."""
    found = merits(figures, source)
    cases = [
        compare(methods["ours"], methods[other]) == "beats"
        for condition, methods in found.items()
        if condition != CLEAN
        for other in METHODS
        if other != "ours"
    ]
    return f"{WORDS[source]} it {how_many(sum(cases), len(cases), 'comparison')}"


def comparisons(figures: Mapping[str, Figures], source: str) -> list[str]:
    """A sentence for each condition."""
    sentences = []
    for condition, methods in merits(figures, source).items():
        said: dict[str, list[str]] = {}
        for other in METHODS:
            if other != "ours":
                said.setdefault(compare(methods["ours"], methods[other]), []).append(other)
        start = "On clean anchors" if condition == CLEAN else f"With {condition} corrupted"
        parts = [f"{how} {listed(whom)}" for how, whom in said.items()]
        sentences.append(f"{start}, robust PCA {listed(parts)}.")
    return sentences


def why_not(figures: Mapping[str, Figures], source: str) -> str:
    """Where robust PCA does not beat another method on corrupted anchors: the figures of both."""
    reasons = []
    spoilt = of(figures, "errors", source).values()
    for condition, methods in merits(figures, source).items():
        for other in METHODS:
            verdict = compare(methods["ours"], methods[other]) if other != "ours" else "beats"
            if condition == CLEAN or verdict == "beats":
                continue
            ours, theirs = (
                [
                    mean(draw[key] for motion in spoilt for draw in motion[condition][method])
                    for key in ("own", "leak")
                ]
                for method in ("ours", other)
            )
            reasons.append(
                f"With {condition} corrupted it {verdict} {other}: it moves the intended factor by"
                f" {ours[0]:.2f} against {theirs[0]:.2f}, others by {ours[1]:.3f} against {theirs[1]:.3f}."
            )
    return " ".join(reasons)


def listed(words: Sequence[str]) -> str:
    """ "a", "a and b", "a, b and c"."""
    return words[0] if len(words) == 1 else ", ".join(words[:-1]) + " and " + words[-1]

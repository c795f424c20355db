"""The tables' figures from those of the steps: means over motions and draws, comparisons, verdicts."""

from collections.abc import Iterable, Mapping

import numpy as np

from avatar.report.keeping import Figures
from benchmarks.claims.methods import CLEAN, METHODS

LEVEL, MOST = 0.05, 2 / 3
"""Methods are level if their merits differ by at most `LEVEL`; one beats another if it is ahead on average,
and at least level in the share `MOST` of the cases."""


def of(figures: Mapping[str, Figures], what: str, source: str) -> dict[str, Figures]:
    """A step's figures for a source, by motion, without those that failed."""
    found = {
        name.split("/")[2]: each for name, each in figures.items() if name.startswith(f"{what}/{source}/")
    }
    return {motion: each for motion, each in found.items() if each and "failed" not in each}


def merits(figures: Mapping[str, Figures], source: str) -> dict[str, dict[str, list[float]]]:
    """By condition and method, movement per leakage in every case: each motion and draw."""
    result: dict[str, dict[str, list[float]]] = {}
    for spoilt in of(figures, "errors", source).values():
        for condition, methods in spoilt.items():
            into = result.setdefault(condition, {method: [] for method in METHODS})
            for method, draws in methods.items():
                into[method] += [merit(each) for each in draws]
    return result


def merit(figures: Figures) -> float:
    """Intended movement per leakage; 0 without leakage."""
    return float(figures["own"] / figures["leak"]) if figures["leak"] > 0 else 0.0


def by_condition(figures: Mapping[str, Figures], source: str) -> dict[str, dict[str, dict[str, float]]]:
    """By condition and method, means over the motions and draws.

    merit: movement per leakage. own: the movement relative to ours with clean anchors. alike: the identity
    cosine, if known.
    """
    spoilt = of(figures, "errors", source).values()
    result: dict[str, dict[str, dict[str, float]]] = {}
    for condition, methods in merits(figures, source).items():
        result[condition] = {}
        for method, each in methods.items():
            shares = [
                draw["own"] / motion[CLEAN]["ours"][0]["own"]
                for motion in spoilt
                if motion[CLEAN]["ours"][0]["own"]
                for draw in motion[condition][method]
            ]
            found = {"merit": mean(each), "own": mean(shares)}
            alike = [draw["alike"] for motion in spoilt for draw in motion[condition][method]]
            result[condition][method] = found | ({"alike": mean(alike)} if None not in alike else {})
    return result


def compare(ours: list[float], theirs: list[float]) -> str:
    """ "beats", "is ahead only on average of", "is level with" or "loses to": of merits case by case."""
    ahead = lead(mean(ours), mean(theirs))
    if abs(ahead) <= LEVEL:
        return "is level with"
    if ahead < 0:
        return "loses to"
    level = mean(lead(a, b) >= -LEVEL for a, b in zip(ours, theirs, strict=True))
    return "beats" if level >= MOST else "is ahead only on average of"


def lead(ours: float, theirs: float) -> float:
    """How far one merit is ahead of another, as a share of the larger."""
    return (ours - theirs) / max(abs(ours), abs(theirs), 1e-9)


def mean(values: Iterable[float]) -> float:
    listed = list(values)
    return float(np.mean(listed)) if listed else 0.0

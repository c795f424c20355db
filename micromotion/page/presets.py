"""Preset timelines."""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass

from micromotion.motion.timeline_text import parse_timeline


@dataclass(frozen=True)
class Preset:
    """A timeline and its name, short enough for a button."""

    name: str
    text: str


PRESETS = (
    Preset("Smile and rest", "1s smile smooth\n1.6s hold\n2.6s smile=0 smooth"),
    Preset(
        "Blink twice",
        "0.2s eyesClose\n0.4s eyesClose=0\n0.7s hold\n0.9s eyesClose\n1.1s eyesClose=0\n2s hold",
    ),
    Preset(
        "Look around",
        "0.8s headsTurn=0.8 smooth\n1.2s hold\n2.6s headsTurn=-0.8 smooth\n3s hold\n3.8s headsTurn=0 smooth",
    ),
    Preset("From angry to glad", "1s angry smooth\n1.5s hold\n2.5s angry=0 smile=1 smooth\n3.5s hold"),
    Preset("Grow old, smiling", "1s smile=0.6 smooth\n4s aging smile=0.3 smooth\n5s hold"),
)


def playable(motions: Container[str]) -> list[Preset]:
    """The presets that use only these motions."""
    return [each for each in PRESETS if all(name in motions for name in parse_timeline(each.text).motions)]

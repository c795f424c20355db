"""Twelve clips of known motion: each effect alone, and mixed, with the timing of people."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from micromotion.types import Floats

FPS, FRAMES = 25, 48
EFFECTS = ("eyes_closed", "mouth_open", "smile", "anger", "yaw", "pitch", "gaze_x", "gaze_y")
"""The renderer's factors that a clip moves."""

CAMERA = ("right", "down", "roll", "size")
"""What moves the whole picture: translation in sides of the crop, degrees, logarithm of the size."""

CLIPS: dict[str, tuple[str, ...]] = {
    "lids": ("eyes_closed",),
    "mouth": ("mouth_open",),
    "smile": ("smile",),
    "anger": ("anger",),
    "yaw": ("yaw",),
    "pitch": ("pitch",),
    "talk": ("eyes_closed", "mouth_open"),
    "greet": ("smile", "yaw"),
    "scold": ("anger", "pitch", "eyes_closed"),
    "look": ("yaw", "pitch", "eyes_closed", "gaze_x"),
    "chat": ("mouth_open", "smile", "eyes_closed"),
    "all": EFFECTS,
}
"""Each clip's name, and what moves in it."""


@dataclass(frozen=True, eq=False)
class Clip:
    """A clip of one person: effects [FRAMES, len(EFFECTS)] in the renderer's units, camera [FRAMES, 4]."""

    name: str
    person: int
    effects: Floats
    camera: Floats

    def moves(self, effect: str) -> bool:
        return effect in CLIPS[self.name]

    def of(self, effect: str) -> Floats:
        """An effect's course, [FRAMES]."""
        course: Floats = self.effects[:, EFFECTS.index(effect)]
        return course


_STEP = 0.04
"""Effects are rounded to it, as each picture is rendered once."""


MEASURED, FITTED = 0, 200
"""The first person of the clips that are measured, and of those on which constants are fitted."""


def all_clips(first: int = MEASURED) -> list[Clip]:
    """The clips, each of another person, `first` and the next; the same at every call."""
    return [_clip(name, person) for person, name in enumerate(CLIPS, first)]


def _clip(name: str, person: int) -> Clip:
    rng = np.random.default_rng(100 + person)
    effects = np.zeros((FRAMES, len(EFFECTS)))
    for column, effect in enumerate(EFFECTS):
        if effect in CLIPS[name]:
            effects[:, column] = _COURSES[effect](rng)
    camera = np.stack([size * _sway(rng) for size in (0.02, 0.02, 2.0, 0.02)], axis=1)
    return Clip(name, person, (effects / _STEP).round() * _STEP, camera)


def _blinks(rng: np.random.Generator) -> Floats:
    """A blink of a fifth of a second, and a slow closing of the eyes."""
    course = np.zeros(FRAMES)
    start, slow = rng.integers(5, 12), rng.integers(24, 28)
    course[start : start + 6] = (0.52, 1, 1, 0.72, 0.32, 0.12)
    course[slow : slow + 16] = np.sin(np.linspace(0, np.pi, 16)).clip(0, 0.8) / 0.8
    return course


def _syllables(rng: np.random.Generator) -> Floats:
    """Speech: about four openings a second, of different widths, with pauses."""
    course, at = np.zeros(FRAMES), int(rng.integers(5, 9))
    while at < FRAMES - 8:
        long = int(rng.integers(5, 9))
        course[at : at + long] = (rng.uniform(0.3, 1.0) * np.sin(np.linspace(0, np.pi, long)) ** 2)[
            : FRAMES - at
        ]
        at += long + (6 if rng.random() < 0.3 else 0)
    return course


def _held(rng: np.random.Generator) -> Floats:
    """An expression that comes in half a second, stays and goes."""
    start = int(rng.integers(8, 12))
    rise = 0.5 - 0.5 * np.cos(np.linspace(0, np.pi, 11))
    course = np.concatenate([np.zeros(start), rise, np.ones(10), rise[::-1], np.zeros(FRAMES)])[:FRAMES]
    return rng.uniform(0.7, 0.95) * course


def _turns(rng: np.random.Generator) -> Floats:
    """From ahead to both sides and back, up to two thirds of the renderer's range."""
    way = rng.choice([-1, 1])
    places = way * np.array([0, 0, 0.6, 0.5, -0.4, -0.6, 0, 0])
    return np.interp(np.arange(FRAMES), np.linspace(0, FRAMES - 1, 8), places)


def _nods(rng: np.random.Generator) -> Floats:
    """Two nods, one deeper."""
    times = np.linspace(0, 1, FRAMES)
    waves = np.sin(4 * np.pi * times) * np.sin(np.pi * times)
    return rng.uniform(0.7, 0.9) * rng.choice([-1, 1]) * waves


def _glances(rng: np.random.Generator) -> Floats:
    """The eyes leap to one side, to the other and back."""
    course, way = np.zeros(FRAMES), rng.choice([-1, 1])
    course[8:18], course[26:38] = 0.72 * way, -0.72 * way
    return course


def _sway(rng: np.random.Generator) -> Floats:
    """A slow drift of about ±1 that begins at 0."""
    times = np.arange(FRAMES) / FPS
    wave = np.zeros(FRAMES)
    for _ in range(2):
        wave += np.sin(2 * np.pi * rng.uniform(0.2, 0.7) * times + rng.uniform(0, 6))
    return (wave - wave[0]) / 2


_COURSES = {
    "eyes_closed": _blinks,
    "mouth_open": _syllables,
    "smile": _held,
    "anger": _held,
    "yaw": _turns,
    "pitch": _nods,
    "gaze_x": _glances,
    "gaze_y": _glances,
}

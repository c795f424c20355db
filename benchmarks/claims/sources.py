"""Anchors of the five motions from text, from videos, and from the renderer's own factors."""

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from avatar.data.wordings import DEGREES
from avatar.renderer.render import render
from avatar.report.subject import Subject
from avatar.training.collect import clip, model_person
from micromotion.learn.text import Step, collect_from_text
from micromotion.learn.video import collect_from_video
from micromotion.motion.anchors import Anchors
from micromotion.video.pixels import to_uint8
from micromotion.video.writer import write_frames
from micromotion.weights.bundle import CLIP, IDENTITY

FACTORS, VIDEO, TEXT = "factors", "video", "text"
SOURCES = (TEXT, VIDEO, FACTORS)

ZOOM, FPS = 0.7, 25  # a video shows more than the face
REST = 3  # frames of the rest pose at a video's beginning, and of the full motion at its end
TEXT_SEED = 0


def sources(subject: Subject) -> tuple[str, ...]:
    """The sources for which the bundle has the networks."""
    words = subject.has(CLIP) and subject.has(IDENTITY)
    return SOURCES if words else (VIDEO, FACTORS)


def from_factors(subject: Subject, motion: str, count: int) -> Anchors:
    """The upper bound: one person's renders at even degrees, inverted by the bundle's inverter."""
    degrees = torch.linspace(0, 1, count)
    with torch.inference_mode():
        latents = subject.animator.bundle.inverter.invert(clip(model_person(), motion, degrees, subject.size))
    return Anchors(latents, degrees, {"source": "the renderer's factors", "motion": motion})


def from_video(subject: Subject, video: Path, count: int) -> Anchors:
    """As `micromotion learn video` collects them from the file of a video."""
    return collect_from_video(video, subject.animator.bundle, count=count).anchors


def shoot(motion: str, video: Path, frames: int, side: int) -> None:
    """Write a video (MP4) of `from_factors`'s person, from the rest pose to the full motion."""

    def shown() -> Iterator[NDArray[np.uint8]]:
        for degree in schedule(frames):
            head = model_person() | {motion: torch.full((1, 1), degree)}
            yield to_uint8(render(head, side, zoom=ZOOM)[0])

    write_frames(shown(), video, FPS)


def schedule(frames: int) -> list[float]:
    """The degree of each frame: the rest pose, a cosine ramp to the full motion, which is then held."""
    moving = frames - 2 * REST
    rise = [0.5 - 0.5 * math.cos(math.pi * (i + 1) / (moving + 1)) for i in range(moving)]
    return [0.0] * REST + rise + [1.0] * REST


def from_words(subject: Subject, motion: str, steps: int, resume: Path) -> Anchors:
    """As `micromotion learn text` collects them, from the motion's first sentence and the usual degrees."""

    def report(step: Step) -> None:
        if step.done % 10 == 0:
            print(f"  {step.done} of {step.total} steps, loss {float(step.loss.mean()):.3f}", flush=True)

    return collect_from_text(
        sentence(motion),
        subject.animator.bundle,
        seed=TEXT_SEED,
        steps=steps,
        resume=resume,
        on_step=report,
    )


def sentence(motion: str) -> str:
    """The template that a motion is learned from, with {degree} in it."""
    return DEGREES[motion].whole[0]

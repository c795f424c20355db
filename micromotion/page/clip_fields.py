"""The page's fields for a driving video, in the middle column."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import gradio as gr

from micromotion.drive.options import MAX_STRENGTH, PARTS, DriveOptions, Part
from micromotion.errors import OptionError
from micromotion.learn.track import MAX_FACES
from micromotion.page.handlers import FOLLOWS, OrError, PageHandlers

_QUIET = """
document.addEventListener('error', (event) => {
  if (event.target.closest?.('#mm-clip-upload')) event.stopImmediatePropagation();
}, true);
"""
"""The field plays what was uploaded, which is not served: without this, Gradio would complain of that."""

LABELS: dict[Part, str] = {"eyes": "Eyes", "mouth": "Mouth", "brows": "Brows", "pose": "Head"}


@dataclass(frozen=True)
class ClipFields:
    """The fields of which the values make up the options."""

    parts: gr.CheckboxGroup
    strength: gr.Slider
    mirror: gr.Checkbox
    audio: gr.Checkbox
    follows: gr.Slider

    @property
    def all(self) -> list[Any]:
        """The fields, in the order in which `drive_options` takes their values."""
        return [self.parts, self.strength, self.mirror, self.audio, self.follows]


def drive_options(values: Sequence[Any], view: Any, faces: str | None) -> OrError[DriveOptions]:
    """The options that these values of `ClipFields.all` say, or the error in them."""
    parts, strength, mirror, audio, follows = values
    if not parts:
        return OptionError("Nothing would move: choose a part of the face that follows the video.")
    try:
        return DriveOptions(
            parts=parts,
            strength=strength,
            mirror=mirror,
            audio=audio,
            clip_face=int(follows or 0) - 1,
            view="photo" if view == "model" else view,  # the model is no choice here, but may still be chosen
            faces=faces,
        )
    except OptionError as error:
        return error


def uploaded_path(payload: Any) -> str | None:
    """The path of an uploaded file. Gradio would decode or convert it itself; our readers do that safely."""
    return None if payload is None else payload.path


def clip_fields(handlers: PageHandlers) -> ClipFields:
    """Create the fields, and connect the upload."""
    shown = gr.HTML(js_on_load=_QUIET, elem_id="mm-clip")
    upload = gr.Video(
        sources=["upload"],
        include_audio=True,
        label="The video that the photo follows",
        show_label=False,
        height=170,
        elem_id="mm-clip-upload",
        interactive=True,
    )
    upload.preprocess = uploaded_path
    message = gr.HTML(elem_id="mm-clip-message")
    upload.input(
        handlers.take_clip,
        upload,
        [upload, shown, message],
        api_visibility="private",
        concurrency_id="read",
        show_progress_on=[shown],
    )
    parts = gr.CheckboxGroup(
        [(LABELS[part], part) for part in PARTS],
        value=list(PARTS),
        label="What follows it",
        interactive=True,
        elem_id="mm-parts",
    )
    strength = gr.Slider(
        0, MAX_STRENGTH, 1.0, step=0.05, label="How far", interactive=True, elem_id="mm-clip-strength"
    )
    mirror = gr.Checkbox(False, label="As in a mirror", interactive=True, elem_id="mm-mirror")
    audio = gr.Checkbox(True, label="Keep its sound", interactive=True, elem_id="mm-audio")
    follows = gr.Slider(
        1,
        MAX_FACES,
        1,
        step=1,
        label=FOLLOWS,
        info="If the video shows several: 1 is the clearest.",
        interactive=True,
        elem_id="mm-follows",
    )
    return ClipFields(parts, strength, mirror, audio, follows)

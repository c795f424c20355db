"""The page's three columns: what stands in each, and what it does by itself.

All fields are there from the beginning; what is not to be seen is hidden by look.css. Gradio makes a field
that it hides when it is shown, and a moment later, on a slow machine seconds, writes the first value into it
once more: over what was typed meanwhile.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import gradio as gr

from micromotion.options import MAX_FPS, MAX_FRAMES
from micromotion.page import markup
from micromotion.page.desk import Desk
from micromotion.page.presets import playable
from micromotion.page.studio import STANDARD

SLIDERS, TIMELINE = "Sliders", "Timeline"
FACTOR = 2.5  # of the strength of everything: with app.REACH it stays within what can be played

_WHOLE = "The film will be the whole photo: there its own pixels move as this face does."

_CHOOSE = """
const say = (index) => trigger('select', {index: Number(index)});
element.addEventListener('click', (event) => {
  const example = event.target.closest('[data-example]');
  if (example) say(example.dataset.example);
  const face = event.target.closest('[data-face]');
  if (face) element.querySelector(`input[value="${face.dataset.face}"]`).click();
});
element.addEventListener('change', (event) => {
  if (event.target.name === 'mm-face') say(event.target.value);
});
"""

_FOLD = """
element.addEventListener('click', (event) => {
  const button = event.target.closest('button');
  if (button) button.setAttribute('aria-expanded', button.getAttribute('aria-expanded') !== 'true');
});
"""


@dataclass(frozen=True)
class Photo:
    """The parts of the first column; seated changes when another face sits."""

    gallery: gr.HTML
    upload: gr.Image
    message: gr.HTML
    photo: gr.HTML
    seated: gr.State


@dataclass(frozen=True)
class Motion:
    """The parts of the column in the middle."""

    preview: gr.HTML
    mode: gr.Radio
    sliders: gr.Column
    text: gr.Textbox
    moment: gr.Slider
    message: gr.HTML


@dataclass(frozen=True)
class Film:
    """The parts of the last column."""

    strength: gr.Slider
    frames: gr.Slider
    fps: gr.Slider
    easing: gr.Radio
    loop: gr.Radio
    view: gr.Radio
    render: gr.Button
    cancel: gr.Button
    status: gr.HTML
    film: gr.Video
    download: gr.DownloadButton


def _as_it_came(payload: Any) -> str | None:
    """The path of a file that was sent. Gradio would decode the picture first; that is our own affair."""
    return None if payload is None else payload.path


def photo_column(desk: Desk) -> Photo:
    """Where a face comes from."""
    gr.HTML(markup.heading(1, "A face"))
    gallery = gr.HTML(markup.example_buttons(desk.examples), js_on_load=_CHOOSE, elem_id="mm-examples")
    upload = gr.Image(
        sources=["upload", "webcam", "clipboard"],
        type="filepath",
        image_mode=None,  # with this the copy that Gradio makes of a field hands the file over undecoded, too
        label="Your own photo",
        show_label=False,
        height=150,
        placeholder="Your own photo: drop it here, or click",
        elem_id="mm-upload",
        interactive=True,
    )
    upload.preprocess = _as_it_came
    message = gr.HTML(elem_id="mm-photo-message")
    photo = gr.HTML(js_on_load=_CHOOSE, elem_id="mm-photo")
    return Photo(gallery, upload, message, photo, gr.State(0.0))


def motion_column(desk: Desk) -> Motion:
    """The preview, and either sliders or a timeline."""
    gr.HTML(markup.heading(2, "Its motion"))
    preview = gr.HTML(markup.preview(None), elem_id="mm-preview")
    gr.HTML(markup.note(_WHOLE), elem_id="mm-whole")  # look.css shows it where the film is the whole photo
    mode = gr.Radio(
        [SLIDERS, TIMELINE],
        value=SLIDERS,
        show_label=False,
        interactive=True,
        elem_id="mm-mode",
        container=False,
    )
    with gr.Column(elem_id="mm-sliders") as sliders:  # look.css shows these, or the timeline, by the mode
        pass
    with gr.Column(elem_id="mm-timeline"):
        presets = playable(desk.studio.motions)
        text = gr.Textbox(
            presets[0].text if presets else "",
            label="Timeline",
            info="When, which motion, how strong, linear or smooth; hold; and at the end perhaps repeat 2.",
            lines=5,
            max_lines=12,
            interactive=True,
            elem_id="mm-text",
            render=False,
        )
        with gr.Row(elem_id="mm-presets"):
            for preset in presets:
                button = gr.Button(preset.name, size="sm", min_width=0, scale=0)
                button.click(
                    None, None, text, js=f"() => {json.dumps(preset.text)}", api_visibility="private"
                )
        text.render()
        moment = gr.Slider(
            0,
            1,
            0.4,
            step=0.01,
            label="Preview at this part of the film",
            interactive=True,
            elem_id="mm-moment",
        )
    message = gr.HTML(elem_id="mm-motion-message")
    return Motion(preview, mode, sliders, text, moment, message)


def film_column() -> Film:
    """How the film is made, and the film."""
    gr.HTML(markup.heading(3, "The film"))
    view = gr.Radio(
        [("The face", "model"), ("The whole photo", "photo")],
        value=STANDARD.view,
        label="Shows",
        interactive=True,
        elem_id="mm-view",
    )
    loop = gr.Radio(
        [("There and back", "pingpong"), ("Once", "once"), ("Stay at the end", "hold")],
        value=STANDARD.loop,
        label="Plays",
        interactive=True,
        elem_id="mm-loop",
    )
    strength, easing, frames, fps = _more()
    render = gr.Button("Make the film", variant="primary", size="lg", elem_id="mm-render")
    cancel = gr.Button("Cancel", variant="stop", size="lg", visible=False, elem_id="mm-cancel")
    status = gr.HTML(elem_id="mm-status")
    film = gr.Video(
        label="Film",
        autoplay=True,
        loop=True,
        interactive=False,
        buttons=[],
        visible=False,
        height=320,
        elem_id="mm-film",
    )
    download = gr.DownloadButton("Download the film", visible=False, elem_id="mm-download")
    return Film(strength, frames, fps, easing, loop, view, render, cancel, status, film, download)


def _more() -> tuple[gr.Slider, gr.Radio, gr.Slider, gr.Slider]:
    """What few change: strength, easing, frames, frames a second."""
    gr.HTML(
        markup.fold("More: strength, pace, length", "mm-more-fields"), js_on_load=_FOLD, elem_id="mm-more"
    )
    with gr.Column(elem_id="mm-more-fields"):
        strength = gr.Slider(
            -FACTOR,
            FACTOR,
            STANDARD.strength,
            step=0.05,
            label="Strength of everything",
            interactive=True,
            elem_id="mm-strength",
        )
        easing = gr.Radio(
            [("Gently", "smooth"), ("Evenly", "linear")],
            value=STANDARD.easing,
            label="Moves",
            interactive=True,
            elem_id="mm-easing",
        )
        frames = gr.Slider(
            1,
            MAX_FRAMES,
            STANDARD.frames,
            step=1,
            label="Frames of the way there",
            interactive=True,
            elem_id="mm-frames",
        )
        fps = gr.Slider(
            1, MAX_FPS, STANDARD.fps, step=1, label="Frames per second", interactive=True, elem_id="mm-fps"
        )
    return strength, easing, frames, fps

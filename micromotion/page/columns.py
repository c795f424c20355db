"""The page's three columns: their components, and the events that need no handler.

All fields exist from the start, and style.css hides some of them. Gradio itself creates a hidden field only
when it is shown, and then writes the initial value into it again, on a slow machine seconds later: this would
overwrite what was typed in the meantime.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

import gradio as gr

from micromotion.options import MAX_FPS, MAX_FRAMES, View
from micromotion.page import markup
from micromotion.page.clip_fields import ClipFields, clip_fields, uploaded_path
from micromotion.page.handlers import PageHandlers
from micromotion.page.presets import playable
from micromotion.page.studio import STANDARD

SLIDERS, TIMELINE, EACH, CLIP = "Sliders", "Timeline", "Each face", "A video"
"""What moves: the motions of sliders or of a timeline; each face by a motion of its own; as a video says."""
CHOSEN, ALL = "chosen", "all"  # which faces move
FACTOR = 2.5  # largest overall strength: times app.REACH, it stays within the limit of a strength

_WHOLE = "The video will show the whole photo."

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
class PhotoColumn:
    """The first column's components; face_changed gets a new value when another face is chosen."""

    gallery: gr.HTML
    upload: gr.Image
    message: gr.HTML
    photo: gr.HTML
    face_changed: gr.State


@dataclass(frozen=True)
class MotionColumn:
    """The middle column's components."""

    preview: gr.HTML
    mode: gr.Radio
    sliders: gr.Column
    text: gr.Textbox
    moment: gr.Slider
    clip: ClipFields
    message: gr.HTML


@dataclass(frozen=True)
class VideoColumn:
    """The last column's components."""

    strength: gr.Slider
    frames: gr.Slider
    fps: gr.Slider
    easing: gr.Radio
    loop: gr.Radio
    view: gr.Radio
    faces: gr.Radio
    render: gr.Button
    cancel: gr.Button
    status: gr.HTML
    video: gr.Video
    download: gr.DownloadButton


def photo_column(handlers: PageHandlers) -> PhotoColumn:
    """The column in which a face is chosen."""
    gr.HTML(markup.heading(1, "A face"))
    gallery = gr.HTML(markup.example_buttons(handlers.examples), js_on_load=_CHOOSE, elem_id="mm-examples")
    upload = gr.Image(
        sources=["upload", "webcam", "clipboard"],
        type="filepath",
        image_mode=None,  # so that Gradio's copy of the field passes the file on undecoded, too
        label="Your own photo",
        show_label=False,
        height=150,
        placeholder="Your own photo: drop it here, or click",
        elem_id="mm-upload",
        interactive=True,
    )
    upload.preprocess = uploaded_path
    message = gr.HTML(elem_id="mm-photo-message")
    photo = gr.HTML(js_on_load=_CHOOSE, elem_id="mm-photo")
    return PhotoColumn(gallery, upload, message, photo, gr.State(0.0))


def motion_column(handlers: PageHandlers) -> MotionColumn:
    """The column with the preview, and the fields that say what moves: those of one of the modes."""
    gr.HTML(markup.heading(2, "Its motion"))
    preview = gr.HTML(markup.preview(None), elem_id="mm-preview")
    gr.HTML(markup.note(_WHOLE), elem_id="mm-whole")  # shown by style.css for the view `photo`
    mode = gr.Radio(
        [SLIDERS, TIMELINE, EACH, CLIP],
        value=SLIDERS,
        show_label=False,
        interactive=True,
        elem_id="mm-mode",
        container=False,
    )
    with gr.Column(elem_id="mm-sliders") as sliders:  # style.css shows what belongs to the mode
        pass
    with gr.Column(elem_id="mm-timeline"):
        presets = playable(handlers.studio.motions)
        text = gr.Textbox(
            presets[0].text if presets else "",
            label="Timeline",
            info="A keyframe per line: time, motion=strength or hold, linear or smooth. Last: repeat 2.",
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
            label="Preview at this position in the video",
            interactive=True,
            elem_id="mm-moment",
        )
    with gr.Column(elem_id="mm-driving"):
        clip = clip_fields(handlers)
    message = gr.HTML(elem_id="mm-motion-message")
    return MotionColumn(preview, mode, sliders, text, moment, clip, message)


def video_column(view: View) -> VideoColumn:
    """The column with the render options, of which this view is chosen at first, and the video."""
    gr.HTML(markup.heading(3, "The video"))
    views = gr.Radio(
        [("The whole photo", "photo"), ("The face", "face"), ("As the model draws it", "model")],
        value=view,
        label="Shows",
        interactive=True,
        elem_id="mm-view",
    )
    faces = gr.Radio(  # shown by style.css for the whole photo of several people
        [("The chosen face", CHOSEN), ("All faces", ALL)],
        value=CHOSEN,
        label="Who moves",
        interactive=True,
        elem_id="mm-who",
    )
    loop = gr.Radio(
        [("There and back", "pingpong"), ("Once", "once"), ("Stay at the end", "hold")],
        value=STANDARD.loop,
        label="Plays",
        interactive=True,
        elem_id="mm-loop",
    )
    strength, easing, frames, fps = _more()
    render = gr.Button("Make the video", variant="primary", size="lg", elem_id="mm-render")
    cancel = gr.Button("Cancel", variant="stop", size="lg", visible=False, elem_id="mm-cancel")
    status = gr.HTML(elem_id="mm-status")
    video = gr.Video(
        label="Video",
        autoplay=True,
        loop=True,
        interactive=False,
        buttons=[],
        visible=False,
        height=320,
        elem_id="mm-video",
    )
    download = gr.DownloadButton("Download the video", visible=False, elem_id="mm-download")
    return VideoColumn(
        strength, frames, fps, easing, loop, views, faces, render, cancel, status, video, download
    )


def _more() -> tuple[gr.Slider, gr.Radio, gr.Slider, gr.Slider]:
    """The rarely used options: strength, easing, frames, frames per second."""
    gr.HTML(
        markup.fold("More: strength, pace, length", "mm-more-fields"), js_on_load=_FOLD, elem_id="mm-more"
    )
    with gr.Column(elem_id="mm-more-fields"):
        strength = gr.Slider(
            -FACTOR,
            FACTOR,
            STANDARD.strength,
            step=0.05,
            label="Overall strength",
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
            label="Frames to the full motion",
            interactive=True,
            elem_id="mm-frames",
        )
        fps = gr.Slider(
            1, MAX_FPS, STANDARD.fps, step=1, label="Frames per second", interactive=True, elem_id="mm-fps"
        )
    return strength, easing, frames, fps

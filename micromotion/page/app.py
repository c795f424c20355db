"""The page's layout, and which of its parts asks the desk for what."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from micromotion.errors import MicromotionError
from micromotion.options import MAX_FPS, MAX_FRAMES
from micromotion.page import markup
from micromotion.page.desk import Desk
from micromotion.page.presets import playable
from micromotion.page.studio import Played, Settings, Studio
from micromotion.page.visits import Visits

LOOK = Path(__file__).with_name("look.css")

SLIDERS, TIMELINE = "Sliders", "Timeline"
FIRST = "smile"  # plays when the page opens, where the model has it
REACH = 2.0  # of a motion's slider, to both sides
FACTOR = 2.5  # of the strength of everything: with REACH it stays within what can be played
MAX_WAITING = 64  # requests in the queue

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


def theme() -> gr.themes.Base:
    """Gradio's plainest theme with the system's own fonts: nothing is fetched for it."""
    system = ["system-ui", "-apple-system", "Segoe UI", "Roboto", "sans-serif"]
    mono = ["ui-monospace", "SFMono-Regular", "Menlo", "Consolas", "monospace"]
    plain = gr.themes.Default(
        primary_hue="rose", neutral_hue="stone", radius_size="lg", font=system, font_mono=mono
    )
    return plain.set(  # words that can be read by everyone: a contrast of 4.5 and more
        body_background_fill="*neutral_50",
        body_text_color_subdued="*neutral_600",
        body_text_color_subdued_dark="*neutral_300",
        block_info_text_color="*neutral_600",
        block_title_text_color="*neutral_800",
        button_primary_background_fill="*primary_600",
        button_primary_background_fill_hover="*primary_700",
    )


def build(studio: Studio, visits: Visits, *, local: bool) -> gr.Blocks:
    """The page, not yet served; local says that only this machine reaches it."""
    desk = Desk(studio, visits)
    where = (
        "All of it happens on this computer."
        if local
        else "All of it happens on the computer that serves this page."
    )
    with gr.Blocks(title="micromotion", analytics_enabled=False) as page:
        gr.HTML(markup.header(where), elem_id="mm-header")
        with gr.Row(elem_id="mm-columns"):
            with gr.Column(min_width=300, elem_classes="mm-card"):
                photo = _photo_column(desk)
            with gr.Column(min_width=300, elem_classes="mm-card"):
                motion = _motion_column(desk)
            with gr.Column(min_width=300, elem_classes="mm-card"):
                film = _film_column()
        with motion.sliders:

            @gr.render()
            def sliders() -> None:
                _sliders(desk, photo.seated, motion, film)

        _seat(desk, photo, motion)
        film.cancel.click(desk.cancel, None, film.status, queue=False, api_visibility="private")
        page.unload(desk.leave)
    return page.queue(max_size=MAX_WAITING, default_concurrency_limit=1)


@dataclass(frozen=True)
class _Photo:
    """The parts of the first column; seated changes when another face sits."""

    gallery: gr.HTML
    upload: gr.Image
    message: gr.HTML
    photo: gr.HTML
    seated: gr.State


@dataclass(frozen=True)
class _Motion:
    """The parts of the column in the middle."""

    preview: gr.HTML
    mode: gr.Radio
    sliders: gr.Column
    text: gr.Textbox
    moment: gr.Slider
    message: gr.HTML


@dataclass(frozen=True)
class _Film:
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


def _photo_column(desk: Desk) -> _Photo:
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
    return _Photo(gallery, upload, message, photo, gr.State(0.0))


def _motion_column(desk: Desk) -> _Motion:
    """The preview, and either sliders or a timeline."""
    gr.HTML(markup.heading(2, "Its motion"))
    preview = gr.HTML(markup.preview(None), elem_id="mm-preview")
    mode = gr.Radio(
        [SLIDERS, TIMELINE],
        value=SLIDERS,
        show_label=False,
        interactive=True,
        elem_id="mm-mode",
        container=False,
    )
    with gr.Column(elem_id="mm-sliders") as sliders:
        pass
    with gr.Column(visible=False, elem_id="mm-timeline") as timeline:
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
    mode.input(  # not change: what a render function listens to, it takes away from all others
        lambda chosen: (gr.Column(visible=chosen == SLIDERS), gr.Column(visible=chosen == TIMELINE)),
        mode,
        [sliders, timeline],
        queue=False,
        show_progress="hidden",
        api_visibility="private",
    )
    return _Motion(preview, mode, sliders, text, moment, message)


def _film_column() -> _Film:
    """How the film is made, and the film."""
    gr.HTML(markup.heading(3, "The film"))
    standard = Settings()
    view = gr.Radio(
        [("The face", "crop"), ("The whole photo", "photo")],
        value=standard.view,
        label="Shows",
        interactive=True,
        elem_id="mm-view",
    )
    loop = gr.Radio(
        [("There and back", "pingpong"), ("Once", "once"), ("Stay at the end", "hold")],
        value=standard.loop,
        label="Plays",
        interactive=True,
        elem_id="mm-loop",
    )
    with gr.Accordion("More: strength, pace, length", open=False, elem_id="mm-more"):
        strength = gr.Slider(
            -FACTOR,
            FACTOR,
            standard.strength,
            step=0.05,
            label="Strength of everything",
            interactive=True,
            elem_id="mm-strength",
        )
        easing = gr.Radio(
            [("Gently", "smooth"), ("Evenly", "linear")],
            value=standard.easing,
            label="Moves",
            interactive=True,
            elem_id="mm-easing",
        )
        frames = gr.Slider(
            1,
            MAX_FRAMES,
            standard.frames,
            step=1,
            label="Frames of the way there",
            interactive=True,
            elem_id="mm-frames",
        )
        fps = gr.Slider(
            1, MAX_FPS, standard.fps, step=1, label="Frames per second", interactive=True, elem_id="mm-fps"
        )
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
    return _Film(strength, frames, fps, easing, loop, view, render, cancel, status, film, download)


def _seat(desk: Desk, photo: _Photo, motion: _Motion) -> None:
    """The three ways to a face."""
    told = [photo.photo, photo.message, photo.seated]
    alike = {"api_visibility": "private", "concurrency_id": "read", "show_progress_on": [motion.preview]}
    photo.upload.input(desk.take_photo, photo.upload, [photo.upload, *told], **alike)
    photo.gallery.select(desk.take_example, None, told, **alike)
    photo.photo.select(desk.choose_face, None, told[1:], **alike)


def _sliders(desk: Desk, seated: gr.State, motion: _Motion, film: _Film) -> None:
    """One slider for each motion that there is now, and all that reads them."""
    names = sorted(desk.studio.motions, key=lambda name: name != FIRST)
    first = FIRST if FIRST in names else names[0] if names else None
    moved = [
        gr.Slider(
            -REACH,
            REACH,
            1.0 if name == first else 0.0,
            step=0.05,
            label=f"{name} (learned)" if desk.studio.is_learned(name) else name,
            interactive=True,
            elem_id=f"mm-motion-{name}",
        )
        for name in names
    ]
    common = [motion.mode, motion.text, film.strength, film.frames, film.fps, film.easing]

    def played(mode: str, text: str, strengths: Sequence[float]) -> Played | Exception:
        if mode == SLIDERS:
            return dict(zip(names, strengths, strict=True))
        try:
            return desk.studio.read_timeline(text)
        except MicromotionError as error:
            return error

    def follow(
        request: gr.Request, mode: str, text: str, strength: float, frames: int, fps: int, easing: Any,
        moment: float, *strengths: float,
    ) -> tuple[Any, ...]:  # fmt: skip
        settings = Settings(strength, frames, fps, easing=easing)
        return desk.follow(
            request, played(mode, text, strengths), settings, 1.0 if mode == SLIDERS else moment
        )

    def render(
        request: gr.Request, mode: str, text: str, strength: float, frames: int, fps: int, easing: Any,
        loop: Any, view: Any, *strengths: float,
    ) -> Iterator[tuple[Any, ...]]:  # fmt: skip
        settings = Settings(strength, frames, fps, loop, easing, view)
        yield from desk.render(request, played(mode, text, strengths), settings)

    changing = [*moved, *common, motion.moment, seated]
    gr.on(
        [each.change for each in changing],
        follow,
        [*common, motion.moment, *moved],
        [motion.preview, motion.message],
        trigger_mode="always_last",
        show_progress="hidden",
        concurrency_id="follow",
        api_visibility="private",
    )
    buttons = [film.render, film.cancel]
    gr.on(
        [film.render.click],
        desk.begin,
        None,
        [*buttons, film.status, film.film, film.download],
        queue=False,
        show_progress="hidden",
        api_visibility="private",
    ).then(
        render,
        [*common, film.loop, film.view, *moved],
        [film.status, film.film, film.download],
        concurrency_id="render",
        show_progress="minimal",
        show_progress_on=[film.status],
        api_visibility="private",
    ).then(
        lambda: (gr.Button(visible=True), gr.Button(visible=False)),
        None,
        buttons,
        queue=False,
        show_progress="hidden",
        api_visibility="private",
    )

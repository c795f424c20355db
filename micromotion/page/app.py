"""The page's layout, and the connection of its components to the event handlers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import gradio as gr

from micromotion.errors import MicromotionError, OptionError
from micromotion.motion.schedule import MotionChoice
from micromotion.options import AnimateOptions
from micromotion.page import markup
from micromotion.page.clip_fields import ClipFields, drive_options
from micromotion.page.columns import (
    ALL,
    CLIP,
    EACH,
    SLIDERS,
    TIMELINE,
    MotionColumn,
    PhotoColumn,
    VideoColumn,
    motion_column,
    photo_column,
    video_column,
)
from micromotion.page.faces import MAX_FACES
from micromotion.page.handlers import STILL, OrError, PageHandlers
from micromotion.page.sessions import Sessions
from micromotion.page.studio import STANDARD, Studio

STYLESHEET = Path(__file__).with_name("style.css")

FIRST = "smile"  # the motion that plays when the page opens, if the model has it
REACH = 2.0  # a motion's slider goes from -REACH to REACH
MAX_WAITING = 64  # requests in the queue

Reading = Callable[[gr.Request, str, str, Sequence[Any]], OrError[MotionChoice]]
"""Turns mode, timeline text, and the values of the sliders and of the faces' own motions into the motions of
the chosen face, or an error."""


def theme() -> gr.themes.Base:
    """Gradio's default theme with system fonts, so that no font is downloaded."""
    system = ["system-ui", "-apple-system", "Segoe UI", "Roboto", "sans-serif"]
    mono = ["ui-monospace", "SFMono-Regular", "Menlo", "Consolas", "monospace"]
    plain = gr.themes.Default(
        primary_hue="rose", neutral_hue="stone", radius_size="lg", font=system, font_mono=mono
    )
    return plain.set(  # a text contrast of 4.5 or more, for accessibility
        body_background_fill="*neutral_50",
        body_text_color_subdued="*neutral_600",
        body_text_color_subdued_dark="*neutral_300",
        block_info_text_color="*neutral_600",
        block_title_text_color="*neutral_800",
        button_primary_background_fill="*primary_600",
        button_primary_background_fill_hover="*primary_700",
    )


def build(studio: Studio, sessions: Sessions, *, local: bool) -> gr.Blocks:
    """Build the page without serving it; local: only this machine can reach it."""
    handlers = PageHandlers(studio, sessions)
    where = (
        "All of it happens on this computer."
        if local
        else "All of it happens on the computer that serves this page."
    )
    with gr.Blocks(title="micromotion", analytics_enabled=False) as page:
        gr.HTML(markup.header(where), elem_id="mm-header")
        with gr.Row(elem_id="mm-columns"):
            with gr.Column(min_width=300, elem_classes="mm-card"):
                photo = photo_column(handlers)
            with gr.Column(min_width=300, elem_classes="mm-card"):
                motion = motion_column(handlers)
            with gr.Column(min_width=300, elem_classes="mm-card"):
                video = video_column(handlers.studio.view_of(STANDARD))
        with motion.sliders:

            @gr.render()
            def sliders() -> None:
                _sliders(handlers, photo.face_changed, motion, video)

        _connect_face_inputs(handlers, photo, motion)
        video.cancel.click(handlers.cancel, None, video.cancel, queue=False, api_visibility="private")
        page.unload(handlers.leave)
    return page.queue(max_size=MAX_WAITING, default_concurrency_limit=1)


def _connect_face_inputs(handlers: PageHandlers, photo: PhotoColumn, motion: MotionColumn) -> None:
    """Connect the three ways to choose a face: upload, example, another face of the same photo."""
    outputs = [photo.photo, photo.message, photo.face_changed]
    alike = {"api_visibility": "private", "concurrency_id": "read", "show_progress_on": [motion.preview]}
    photo.upload.input(handlers.take_photo, photo.upload, [photo.upload, *outputs], **alike)
    photo.gallery.select(handlers.take_example, None, outputs, **alike)
    photo.photo.select(handlers.choose_face, None, outputs[1:], **alike)


def _sliders(
    handlers: PageHandlers, face_changed: gr.State, motion: MotionColumn, video: VideoColumn
) -> None:
    """Create a slider for each available motion and a choice for each face; connect what reads them."""
    names = sorted(handlers.studio.motions, key=lambda name: name != FIRST)
    first = FIRST if FIRST in names else names[0] if names else STILL
    shown = {name: f"{name} (learned)" if handlers.studio.is_learned(name) else name for name in names}
    with gr.Column(elem_id="mm-strengths"):
        moved = [
            gr.Slider(
                -REACH,
                REACH,
                1.0 if name == first else 0.0,
                step=0.05,
                label=shown[name],
                interactive=True,
                elem_id=f"mm-motion-{name}",
            )
            for name in names
        ]
    with gr.Column(elem_id="mm-own"):  # style.css shows as many as there are faces
        own = [
            gr.Dropdown(
                [*((shown[name], name) for name in names), ("stays still", STILL)],
                value=first,
                label=f"Face {number + 1}",
                filterable=False,
                interactive=True,
                elem_id=f"mm-own-{number}",
            )
            for number in range(MAX_FACES)
        ]

    def played(request: gr.Request, mode: str, text: str, values: Sequence[Any]) -> OrError[MotionChoice]:
        if mode == SLIDERS:
            return dict(zip(names, values[: len(names)], strict=True))
        if mode == CLIP:
            return {}
        if mode == EACH:
            name = handlers.own_motions(request, values[-MAX_FACES:]).get(handlers.chosen_number(request))
            return {name: 1.0} if name else {}
        try:
            return handlers.studio.read_timeline(text)
        except MicromotionError as error:
            return error

    common = [motion.mode, motion.text, video.strength, video.frames, video.fps, video.easing, video.view]
    _follow(handlers, played, common, [*moved, *own], face_changed, motion)
    _render(handlers, played, common, [*moved, *own], motion.clip, video)


def _options(**chosen: Any) -> OrError[AnimateOptions]:
    """The standard options with the visitor's choices, or the error in them."""
    try:
        return replace(STANDARD, **chosen)
    except OptionError as error:
        return error


def _follow(
    handlers: PageHandlers,
    played: Reading,
    common: list[Any],
    moved: list[Any],
    face_changed: gr.State,
    motion: MotionColumn,
) -> None:
    """Redraw the preview whenever one of its inputs changes."""

    def follow(
        request: gr.Request, mode: str, text: str, strength: float, frames: int, fps: int, easing: Any,
        view: Any, moment: float, *values: Any,
    ) -> tuple[Any, ...]:  # fmt: skip
        view = "photo" if mode in (EACH, CLIP) else view
        options = _options(strength=strength, frames=frames, fps=fps, easing=easing, view=view)
        return handlers.follow(
            request, played(request, mode, text, values), options, moment if mode == TIMELINE else 1.0
        )

    gr.on(
        [each.change for each in (*moved, *common, motion.moment, face_changed)],
        follow,
        [*common, motion.moment, *moved],
        [motion.preview, motion.message],
        trigger_mode="always_last",
        show_progress="hidden",
        concurrency_id="follow",
        api_visibility="private",
    )


def _render(
    handlers: PageHandlers,
    played: Reading,
    common: list[Any],
    moved: list[Any],
    clip: ClipFields,
    video: VideoColumn,
) -> None:
    """Connect the render button; a cancel button replaces it while a video is rendered."""

    def render(
        request: gr.Request, mode: str, text: str, strength: float, frames: int, fps: int, easing: Any,
        view: Any, loop: Any, who: Any, *values: Any,
    ) -> Iterator[tuple[Any, ...]]:  # fmt: skip
        driving, values = values[: len(clip.all)], values[len(clip.all) :]
        faces: Any = "all" if who == ALL and view == "photo" else None  # else the choice is not shown
        if mode == CLIP:
            yield from handlers.drive(request, drive_options(driving, view, faces))
            return
        motions = played(request, mode, text, values)
        if mode == EACH:
            own = handlers.own_motions(request, values[-MAX_FACES:])
            view, faces, motions = "photo", own or None, dict.fromkeys(own.values(), 1.0)
        options = _options(
            strength=strength, frames=frames, fps=fps, loop=loop, easing=easing, view=view, faces=faces
        )
        yield from handlers.render(request, motions, options)

    buttons = [video.render, video.cancel]
    gr.on(
        [video.render.click],
        handlers.begin,
        None,
        [*buttons, video.status, video.video, video.download],
        queue=False,
        show_progress="hidden",
        api_visibility="private",
    ).then(
        render,
        [*common, video.loop, video.faces, *clip.all, *moved],
        [video.status, video.video, video.download],
        concurrency_id="render",
        show_progress="minimal",
        show_progress_on=[video.status],
        api_visibility="private",
    ).then(
        lambda: (gr.Button(visible=True), gr.Button(visible=False)),
        None,
        buttons,
        queue=False,
        show_progress="hidden",
        api_visibility="private",
    )

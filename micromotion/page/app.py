"""The page's layout, and which of its parts asks the desk for what."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import gradio as gr

from micromotion.errors import MicromotionError, OptionError
from micromotion.options import AnimateOptions
from micromotion.page import markup
from micromotion.page.columns import SLIDERS, Film, Motion, Photo, film_column, motion_column, photo_column
from micromotion.page.desk import Asked, Desk
from micromotion.page.studio import STANDARD, Played, Studio
from micromotion.page.visits import Visits

LOOK = Path(__file__).with_name("look.css")

FIRST = "smile"  # plays when the page opens, where the model has it
REACH = 2.0  # of a motion's slider, to both sides
MAX_WAITING = 64  # requests in the queue

Reading = Callable[[str, str, Sequence[float]], Asked[Played]]
"""Of mode, timeline and sliders: what is played, or what is wrong."""


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
                photo = photo_column(desk)
            with gr.Column(min_width=300, elem_classes="mm-card"):
                motion = motion_column(desk)
            with gr.Column(min_width=300, elem_classes="mm-card"):
                film = film_column()
        with motion.sliders:

            @gr.render()
            def sliders() -> None:
                _sliders(desk, photo.seated, motion, film)

        _seat(desk, photo, motion)
        film.cancel.click(desk.cancel, None, film.cancel, queue=False, api_visibility="private")
        page.unload(desk.leave)
    return page.queue(max_size=MAX_WAITING, default_concurrency_limit=1)


def _seat(desk: Desk, photo: Photo, motion: Motion) -> None:
    """The three ways to a face."""
    told = [photo.photo, photo.message, photo.seated]
    alike = {"api_visibility": "private", "concurrency_id": "read", "show_progress_on": [motion.preview]}
    photo.upload.input(desk.take_photo, photo.upload, [photo.upload, *told], **alike)
    photo.gallery.select(desk.take_example, None, told, **alike)
    photo.photo.select(desk.choose_face, None, told[1:], **alike)


def _sliders(desk: Desk, seated: gr.State, motion: Motion, film: Film) -> None:
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

    def played(mode: str, text: str, strengths: Sequence[float]) -> Asked[Played]:
        if mode == SLIDERS:
            return dict(zip(names, strengths, strict=True))
        try:
            return desk.studio.read_timeline(text)
        except MicromotionError as error:
            return error

    common = [motion.mode, motion.text, film.strength, film.frames, film.fps, film.easing]
    _follow(desk, played, common, moved, seated, motion)
    _render(desk, played, common, moved, film)


def _options(**chosen: Any) -> Asked[AnimateOptions]:
    """The standard options with what the visitor chose, or what is wrong with that."""
    try:
        return replace(STANDARD, **chosen)
    except OptionError as error:
        return error


def _follow(
    desk: Desk, played: Reading, common: list[Any], moved: list[gr.Slider], seated: gr.State, motion: Motion
) -> None:
    """The preview is drawn anew whenever something that it shows has changed."""

    def follow(
        request: gr.Request, mode: str, text: str, strength: float, frames: int, fps: int, easing: Any,
        moment: float, *strengths: float,
    ) -> tuple[Any, ...]:  # fmt: skip
        options = _options(strength=strength, frames=frames, fps=fps, easing=easing)
        return desk.follow(
            request, played(mode, text, strengths), options, 1.0 if mode == SLIDERS else moment
        )

    gr.on(
        [each.change for each in (*moved, *common, motion.moment, seated)],
        follow,
        [*common, motion.moment, *moved],
        [motion.preview, motion.message],
        trigger_mode="always_last",
        show_progress="hidden",
        concurrency_id="follow",
        api_visibility="private",
    )


def _render(desk: Desk, played: Reading, common: list[Any], moved: list[gr.Slider], film: Film) -> None:
    """The button makes the film; meanwhile another one, which cancels, is in its place."""

    def render(
        request: gr.Request, mode: str, text: str, strength: float, frames: int, fps: int, easing: Any,
        loop: Any, view: Any, *strengths: float,
    ) -> Iterator[tuple[Any, ...]]:  # fmt: skip
        options = _options(strength=strength, frames=frames, fps=fps, loop=loop, easing=easing, view=view)
        yield from desk.render(request, played(mode, text, strengths), options)

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

"""The page's event handlers. Each acts for the session of its request; `studio` does the work.

An error is shown next to the component that caused it. Our own errors are shown verbatim.
"""

from __future__ import annotations

import queue
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

import gradio as gr
from PIL import Image

from micromotion.errors import MicromotionError, OptionError
from micromotion.motion.schedule import MotionChoice
from micromotion.options import AnimateOptions
from micromotion.page import markup
from micromotion.page.faces import examples
from micromotion.page.sessions import ChosenFace, Sessions, take_upload
from micromotion.page.studio import Stopped, Studio

Wanted = TypeVar("Wanted")
OrError: TypeAlias = Wanted | Exception
"""A parsed input, or the error in it, which is shown when the input is used."""


class PageHandlers:
    """The event handlers; the request's session identifies the visitor."""

    def __init__(self, studio: Studio, sessions: Sessions) -> None:
        self.studio = studio
        self.sessions = sessions
        self.examples = examples()

    def take_photo(self, upload: str | None, request: gr.Request) -> tuple[Any, ...]:
        """Read an uploaded photo, delete its file, and empty the field for the next one."""
        if upload is None:
            return gr.skip(), gr.skip(), "", gr.skip()

        def choose() -> ChosenFace:
            return self.studio.open_photo(BytesIO(take_upload(Path(upload), self.sessions.folder)))

        return None, *self._show_choice(request, choose)

    def take_example(self, event: gr.EventData, request: gr.Request) -> tuple[Any, ...]:
        """Open the example that was clicked."""

        def choose() -> ChosenFace:
            index = event.index
            if not (isinstance(index, int) and 0 <= index < len(self.examples)):
                raise OptionError("There is no such example.")
            with self.examples[index].path.open("rb") as file:
                return self.studio.open_photo(file)

        return self._show_choice(request, choose)

    def choose_face(self, event: gr.EventData, request: gr.Request) -> tuple[Any, ...]:
        """Choose another face of the same photo."""
        session = self.sessions[str(request.session_hash)]

        def choose() -> ChosenFace:
            if not isinstance(event.index, int):
                raise OptionError("There is no such face.")
            return self.studio.choose_face(session.require_face(), event.index)

        _, *rest = self._show_choice(request, choose)
        return tuple(rest)  # without the photo: redrawing it would lose the keyboard's focus

    def _show_choice(self, request: gr.Request, choose: Callable[[], ChosenFace]) -> tuple[Any, ...]:
        """The photo with its faces, a message, and, if a face was chosen, a new value for `face_changed`."""
        try:
            chosen = choose()
        except Exception as error:
            return gr.skip(), markup.alert(user_facing(error)), gr.skip()
        self.sessions[str(request.session_hash)].chosen_face = chosen
        return markup.photo_with_faces(chosen.photo, chosen.faces, chosen.index), "", time.monotonic()

    def follow(
        self,
        request: gr.Request,
        played: OrError[MotionChoice],
        options: OrError[AnimateOptions],
        moment: float,
    ) -> tuple[Any, ...]:
        """The preview's picture, and the error in the timeline or an option, if any."""
        if isinstance(played, Exception):
            return gr.skip(), markup.alert(user_facing(played))
        if isinstance(options, Exception):
            return gr.skip(), markup.alert(user_facing(options))
        chosen = self.sessions[str(request.session_hash)].chosen_face
        if chosen is None:
            return gr.skip(), ""
        try:
            frame = self.studio.still(chosen, played, options, moment)
        except Exception as error:
            return gr.skip(), markup.alert(user_facing(error))
        return markup.preview(Image.fromarray(frame)), ""

    def begin(self, request: gr.Request) -> tuple[Any, ...]:
        """Prepare to render: show the cancel button instead of the render button, stop an earlier render."""
        session = self.sessions[str(request.session_hash)]
        session.stop.set()
        session.stop = threading.Event()
        return (
            gr.Button(visible=False),
            gr.Button("Cancel", visible=True, interactive=True),
            markup.progress(0, 0, None),
            gr.Video(value=None, visible=False),
            gr.DownloadButton(visible=False),
        )

    def cancel(self, request: gr.Request) -> gr.Button:
        """Stop rendering at the next frame; if the render is still queued, at its first frame.

        Changes the button only, not the status: this answer may arrive after the render's last status, which
        must not be overwritten.
        """
        self.sessions[str(request.session_hash)].stop.set()
        return gr.Button("Stopping…", interactive=False)

    def render(
        self, request: gr.Request, played: OrError[MotionChoice], options: OrError[AnimateOptions]
    ) -> Iterator[tuple[Any, ...]]:
        """Render a video; yields the progress, then the player and the download button."""
        session = self.sessions[str(request.session_hash)]
        stop, start = session.stop, time.monotonic()
        scaled: list[str] = []
        try:
            if isinstance(played, Exception):
                raise played
            if isinstance(options, Exception):
                raise options
            chosen = session.require_face()
            path = session.new_video_path("micromotion.mp4")

            def work(on_frame: Callable[[int, int], None]) -> None:
                self.studio.render(
                    chosen, played, options, path, stop=stop, on_frame=on_frame, on_scaled=scaled.append
                )

            total = 0
            for done, total in run_with_progress(work, stop):
                left = (time.monotonic() - start) / done * (total - done)
                yield markup.progress(done, total, left), gr.skip(), gr.skip()
        except Stopped as stopped:
            yield markup.note(str(stopped)), gr.skip(), gr.skip()
        except Exception as error:
            yield markup.alert(user_facing(error)), gr.skip(), gr.skip()
        else:
            seconds = time.monotonic() - start
            yield (
                markup.note(" ".join([f"Done: {total} frames in {seconds:.0f} s.", *scaled])),
                gr.Video(value=str(path), visible=True),
                gr.DownloadButton(value=str(path), visible=True),
            )

    def leave(self, request: gr.Request) -> None:
        """Close the session when its visitor closes the page."""
        self.sessions.close(str(request.session_hash))


def run_with_progress(
    work: Callable[[Callable[[int, int], None]], None], stop: threading.Event
) -> Iterator[tuple[int, int]]:
    """Run work in a thread; yields the newest (done, total) frame counts that it reports.

    Raises what work raises. Closing this generator sets stop, and waits for the thread.
    """
    reports: queue.SimpleQueue[tuple[int, int] | BaseException | None] = queue.SimpleQueue()

    def run() -> None:
        try:
            work(lambda done, total: reports.put((done, total)))
        except BaseException as error:
            reports.put(error)
        else:
            reports.put(None)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        while (item := reports.get()) is not None:
            while isinstance(item, tuple) and not reports.empty():
                item = reports.get()
            if item is None:
                return
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        stop.set()
        thread.join()


def user_facing(error: Exception) -> Exception:
    """The error to show to the visitor: ours unchanged; any other summarised, and printed on the terminal."""
    if isinstance(error, MicromotionError):
        return error
    traceback.print_exception(error)
    return MicromotionError(
        f"An unexpected error occurred ({type(error).__name__}); the terminal shows its traceback."
    )

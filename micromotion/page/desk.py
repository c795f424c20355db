"""What the page's parts ask for, on behalf of the visitor whose session it is; the studio does the work.

Whatever goes wrong is told in the place that it is about. Errors of ours are shown in their own words.
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
from micromotion.options import AnimateOptions
from micromotion.page import markup
from micromotion.page.faces import examples
from micromotion.page.studio import Played, Stopped, Studio
from micromotion.page.visits import Sitter, Visits, take_upload

Wanted = TypeVar("Wanted")
Asked: TypeAlias = Wanted | Exception
"""What a visitor asks for, or what is wrong with it, which is told when its turn comes."""


class Desk:
    """What the page's parts ask for; each visitor is known by the session of the request."""

    def __init__(self, studio: Studio, visits: Visits) -> None:
        self.studio = studio
        self.visits = visits
        self.examples = examples()

    def take_photo(self, upload: str | None, request: gr.Request) -> tuple[Any, ...]:
        """Read a photo that was sent, and forget the file; then the field is empty for the next one."""
        if upload is None:
            return gr.skip(), gr.skip(), "", gr.skip()

        def seat() -> Sitter:
            return self.studio.seat(BytesIO(take_upload(Path(upload), self.visits.folder)))

        return None, *self._seated(request, seat)

    def take_example(self, event: gr.EventData, request: gr.Request) -> tuple[Any, ...]:
        """Take the example of this number."""

        def seat() -> Sitter:
            index = event.index
            if not (isinstance(index, int) and 0 <= index < len(self.examples)):
                raise OptionError("There is no such example.")
            with self.examples[index].path.open("rb") as file:
                return self.studio.seat(file)

        return self._seated(request, seat)

    def choose_face(self, event: gr.EventData, request: gr.Request) -> tuple[Any, ...]:
        """Take another face of the same photo."""
        visit = self.visits[str(request.session_hash)]

        def seat() -> Sitter:
            if not isinstance(event.index, int):
                raise OptionError("There is no such face.")
            return self.studio.choose(visit.require_sitter(), event.index)

        _, *rest = self._seated(request, seat)
        return tuple(rest)  # the photo stays as it is, and the keyboard's focus in it

    def _seated(self, request: gr.Request, seat: Callable[[], Sitter]) -> tuple[Any, ...]:
        """The photo with its faces, a message, and a number that has not been there, if someone sits anew."""
        try:
            sitter = seat()
        except Exception as error:
            return gr.skip(), markup.alert(for_people(error)), gr.skip()
        self.visits[str(request.session_hash)].sitter = sitter
        return markup.photo_with_faces(sitter.photo, sitter.faces, sitter.chosen), "", time.monotonic()

    def follow(
        self, request: gr.Request, played: Asked[Played], options: Asked[AnimateOptions], moment: float
    ) -> tuple[Any, ...]:
        """The preview's picture, and what is wrong with the timeline or an option."""
        if isinstance(played, Exception):
            return gr.skip(), markup.alert(for_people(played))
        if isinstance(options, Exception):
            return gr.skip(), markup.alert(for_people(options))
        sitter = self.visits[str(request.session_hash)].sitter
        if sitter is None:
            return gr.skip(), ""
        try:
            frame = self.studio.still(sitter, played, options, moment)
        except Exception as error:
            return gr.skip(), markup.alert(for_people(error))
        return markup.preview(Image.fromarray(frame)), ""

    def begin(self, request: gr.Request) -> tuple[Any, ...]:
        """Before a film: the button to cancel takes the place of the one to render; an earlier film ends."""
        visit = self.visits[str(request.session_hash)]
        visit.stop.set()
        visit.stop = threading.Event()
        return (
            gr.Button(visible=False),
            gr.Button("Cancel", visible=True, interactive=True),
            markup.progress(0, 0, None),
            gr.Video(value=None, visible=False),
            gr.DownloadButton(visible=False),
        )

    def cancel(self, request: gr.Request) -> gr.Button:
        """Ask the film to stop; it does so at its next frame, or at its first, when its turn comes.

        Only the button says so: this answer may come after the film's, whose word must be the last.
        """
        self.visits[str(request.session_hash)].stop.set()
        return gr.Button("Stopping…", interactive=False)

    def render(
        self, request: gr.Request, played: Asked[Played], options: Asked[AnimateOptions]
    ) -> Iterator[tuple[Any, ...]]:
        """The film: how far it is, then itself, to be watched and to be kept."""
        visit = self.visits[str(request.session_hash)]
        stop, start = visit.stop, time.monotonic()
        scaled: list[str] = []
        try:
            if isinstance(played, Exception):
                raise played
            if isinstance(options, Exception):
                raise options
            sitter = visit.require_sitter()
            path = visit.new_film("micromotion.mp4")

            def work(told: Callable[[int, int], None]) -> None:
                self.studio.film(
                    sitter, played, options, path, stop=stop, on_frame=told, on_scaled=scaled.append
                )

            total = 0
            for done, total in watched(work, stop):
                left = (time.monotonic() - start) / done * (total - done)
                yield markup.progress(done, total, left), gr.skip(), gr.skip()
        except Stopped as stopped:
            yield markup.note(str(stopped)), gr.skip(), gr.skip()
        except Exception as error:
            yield markup.alert(for_people(error)), gr.skip(), gr.skip()
        else:
            seconds = time.monotonic() - start
            yield (
                markup.note(" ".join([f"Done: {total} frames in {seconds:.0f} s.", *scaled])),
                gr.Video(value=str(path), visible=True),
                gr.DownloadButton(value=str(path), visible=True),
            )

    def leave(self, request: gr.Request) -> None:
        """The visitor has closed the page."""
        self.visits.close(str(request.session_hash))


def watched(
    work: Callable[[Callable[[int, int], None]], None], stop: threading.Event
) -> Iterator[tuple[int, int]]:
    """What work, in a thread of its own, tells of its frames: done and total, the latest of them.

    Raises what work does. Whoever does not want the rest any more stops it by that.
    """
    told: queue.SimpleQueue[tuple[int, int] | BaseException | None] = queue.SimpleQueue()

    def run() -> None:
        try:
            work(lambda done, total: told.put((done, total)))
        except BaseException as error:
            told.put(error)
        else:
            told.put(None)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        while (item := told.get()) is not None:
            while isinstance(item, tuple) and not told.empty():
                item = told.get()
            if item is None:
                return
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        stop.set()
        thread.join()


def for_people(error: Exception) -> Exception:
    """An error in words for the visitor: ours as it is; another is told to whoever runs the page."""
    if isinstance(error, MicromotionError):
        return error
    traceback.print_exception(error)
    return MicromotionError(
        f"Something went wrong that should not have ({type(error).__name__}); the terminal says where."
    )

"""The page's event handlers. Each acts for the session of its request; `studio` does the work.

An error is shown next to the component that caused it. Our own errors are shown verbatim.
"""

from __future__ import annotations

import queue
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any, TypeAlias, TypeVar, cast

import gradio as gr
from PIL import Image

from micromotion.drive.options import DriveOptions
from micromotion.errors import MicromotionError, OptionError
from micromotion.motion.schedule import MotionChoice
from micromotion.options import AnimateOptions
from micromotion.page import markup
from micromotion.page.clips import open_clip
from micromotion.page.faces import examples
from micromotion.page.sessions import ChosenFace, Sessions, move_upload, take_upload
from micromotion.page.studio import Stopped, Studio

Wanted = TypeVar("Wanted")
OrError: TypeAlias = Wanted | Exception
"""A parsed input, or the error in it, which is shown when the input is used."""
Report = Callable[[str, int, int], None]
"""Called with what is done with frames (READING, RENDERING), the number done, and the number in all."""

READING, RENDERING = "Reading frame", "Frame"
FOLLOWS = "Follows person"
"""The label of the field that says which of several people in a driving video is followed."""
STILL = "(still)"
"""What a face plays that stays still; no motion can have this name."""


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

    def take_clip(self, upload: str | None, request: gr.Request) -> tuple[Any, ...]:
        """Keep an uploaded driving video, show its first frame, and empty the field for the next one."""
        if upload is None:
            return gr.skip(), gr.skip(), ""
        session = self.sessions[str(request.session_hash)]
        path = session.new_clip_path()
        try:
            move_upload(Path(upload), self.sessions.folder, path)
            clip = open_clip(path)
        except Exception as error:
            path.unlink(missing_ok=True)
            return None, gr.skip(), markup.alert(user_facing(error))
        session.keep_clip(clip)
        return None, markup.clip(clip.first, clip.frames, sound=clip.sound), ""

    def own_motions(self, request: gr.Request, names: Sequence[str]) -> dict[int, str]:
        """The motion of each face of the visitor's photo, by number, but for those that stay still."""
        chosen = self.sessions[str(request.session_hash)].chosen_face
        count = len(chosen.faces) if chosen else 0
        return {number: name for number, name in enumerate(names[:count]) if name != STILL}

    def chosen_number(self, request: gr.Request) -> int:
        """The number of the chosen face; 0 if there is none."""
        chosen = self.sessions[str(request.session_hash)].chosen_face
        return chosen.index if chosen else 0

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

        def work(chosen: ChosenFace, path: Path, stop: threading.Event, report: Report) -> list[str]:
            scaled: list[str] = []
            motions = cast("MotionChoice", _valid(played))
            self.studio.render(
                chosen,
                motions,
                _valid(options),
                path,
                stop=stop,
                on_frame=partial(report, RENDERING),
                on_scaled=scaled.append,
            )
            return scaled

        yield from self._written(request, work)

    def drive(self, request: gr.Request, options: OrError[DriveOptions]) -> Iterator[tuple[Any, ...]]:
        """The same for a video that the visitor's driving video drives."""
        session = self.sessions[str(request.session_hash)]

        def work(chosen: ChosenFace, path: Path, stop: threading.Event, report: Report) -> list[str]:
            scaled: list[str] = []
            notes = self.studio.drive(
                chosen,
                session.require_clip(),
                _valid(options),
                path,
                stop=stop,
                on_read=partial(report, READING),
                on_frame=partial(report, RENDERING),
                on_scaled=scaled.append,
            )
            return [*scaled, *(note.replace("clip_face", f"“{FOLLOWS}”") for note in notes)]

        yield from self._written(request, work)

    def _written(
        self,
        request: gr.Request,
        work: Callable[[ChosenFace, Path, threading.Event, Report], list[str]],
    ) -> Iterator[tuple[Any, ...]]:
        """The progress of work that writes a video, then the player and what the work has to say."""
        session = self.sessions[str(request.session_hash)]
        stop, start = session.stop, time.monotonic()
        told: list[str] = []
        try:
            chosen = session.require_face()
            path = session.new_video_path("micromotion.mp4")
            stage, since, total = "", start, 0
            for doing, done, total in run_with_progress(
                lambda report: told.extend(work(chosen, path, stop, report)), stop
            ):
                if doing != stage:
                    stage, since = doing, start if not stage else time.monotonic()
                left = (time.monotonic() - since) / done * (total - done) if done else None
                yield markup.progress(done, total, left, doing), gr.skip(), gr.skip()
        except Stopped as stopped:
            yield markup.note(str(stopped)), gr.skip(), gr.skip()
        except Exception as error:
            yield markup.alert(user_facing(error)), gr.skip(), gr.skip()
        else:
            seconds = time.monotonic() - start
            yield (
                markup.note(" ".join([f"Done: {total} frames in {seconds:.0f} s.", *told])),
                gr.Video(value=str(path), visible=True),
                gr.DownloadButton(value=str(path), visible=True),
            )

    def leave(self, request: gr.Request) -> None:
        """Close the session when its visitor closes the page."""
        self.sessions.close(str(request.session_hash))


def run_with_progress(
    work: Callable[[Report], None], stop: threading.Event
) -> Iterator[tuple[str, int, int]]:
    """Run work in a thread; yields the newest (doing, done, total) that it reports.

    Raises what work raises. Closing this generator sets stop, and waits for the thread.
    """
    reports: queue.SimpleQueue[tuple[str, int, int] | BaseException | None] = queue.SimpleQueue()

    def run() -> None:
        try:
            work(lambda doing, done, total: reports.put((doing, done, total)))
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


def _valid(given: OrError[Wanted]) -> Wanted:
    """What was chosen; raises the error in it."""
    if isinstance(given, Exception):
        raise given
    return given


def user_facing(error: Exception) -> Exception:
    """The error to show to the visitor: ours unchanged; any other summarised, and printed on the terminal."""
    if isinstance(error, MicromotionError):
        return error
    traceback.print_exception(error)
    return MicromotionError(
        f"An unexpected error occurred ({type(error).__name__}); the terminal shows its traceback."
    )

"""The page's sessions: each visitor's photo and video, bounded in memory, deleted when the visitor leaves.

A photo never stays on the disk: the upload is deleted as soon as it has been read. A video is a file, because
a browser plays and downloads files; it is stored in a folder per session whose name cannot be guessed. A
driving video is a file, too, as it may be large; it is in another folder, from which nothing is served.
"""

from __future__ import annotations

import shutil
import threading
import time
from collections import OrderedDict
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from secrets import token_urlsafe
from typing import TYPE_CHECKING

from PIL import Image

from micromotion.errors import ImageError, OptionError
from micromotion.video.driving_video import DrivingVideoError

if TYPE_CHECKING:
    from torch import Tensor

    from micromotion.face.crop import AlignedFace
    from micromotion.page.clips import Clip
    from micromotion.photo.views import Stage

MAX_SESSIONS = 32
MAX_PIXELS = 200_000_000
"""Of all sessions' photos together, 600 MB; beyond, the least recently used session is evicted."""

PREVIEW_SIDE = 512
"""Pixels of the side of a preview in the photo's own pixels, at most."""

VIDEO_FOLDER_PREFIX = "videos-"
"""Prefix of a session's folder of videos, below the folder of all uploads and videos."""

STALE_SECONDS = 3600.0
"""Age at which an upload that was never read is deleted."""


@dataclass(frozen=True, eq=False)
class ChosenFace:
    """The chosen face: the RGB photo, the faces in it, this one's index, and its latent [1, styles, dim]."""

    photo: Image.Image
    faces: Sequence[AlignedFace]
    index: int
    latent: Tensor

    @cached_property
    def stage(self) -> Stage:
        """The face in the photo's own pixels, on which previews are drawn."""
        from micromotion.photo.views import Stage, face_square

        return Stage(face_square(self.photo, self.faces[self.index], PREVIEW_SIDE))


@dataclass(eq=False)
class Session:
    """One visitor's state: the folders of videos and driving videos, the chosen face, the driving video, and
    the event that stops rendering."""

    folder: Path
    clips: Path
    chosen_face: ChosenFace | None = None
    clip: Clip | None = None
    stop: threading.Event = field(default_factory=threading.Event)

    @property
    def pixels(self) -> int:
        return self.chosen_face.photo.width * self.chosen_face.photo.height if self.chosen_face else 0

    def require_face(self) -> ChosenFace:
        """The chosen face; raises OptionError if there is none yet, or if it was evicted."""
        if self.chosen_face is None:
            raise OptionError("There is no face yet: choose an example or a photo first.")
        return self.chosen_face

    def require_clip(self) -> Clip:
        """The driving video; raises OptionError if there is none yet, or if it was evicted."""
        if self.clip is None:
            raise OptionError("There is no video to follow yet: upload one.")
        return self.clip

    def keep_clip(self, clip: Clip) -> None:
        """Replace the driving video, whose file is deleted."""
        old, self.clip = self.clip, clip
        if old is not None:
            old.path.unlink(missing_ok=True)

    def new_clip_path(self) -> Path:
        """A path for the next driving video."""
        self.clips.mkdir(exist_ok=True)
        return self.clips / token_urlsafe(12)

    def new_video_path(self, name: str) -> Path:
        """A path for the next video in a new folder; deletes the previous video."""
        shutil.rmtree(self.folder, ignore_errors=True)
        folder = self.folder / token_urlsafe(12)
        folder.mkdir(parents=True)
        return folder / name

    def close(self) -> None:
        """Stop rendering, drop the face, delete the videos."""
        self.stop.set()
        self.chosen_face = self.clip = None
        for folder in (self.folder, self.clips):
            shutil.rmtree(folder, ignore_errors=True)


class Sessions:
    """Sessions by their id: at most MAX_SESSIONS and MAX_PIXELS, least recently used evicted; thread-safe."""

    def __init__(self, folder: Path) -> None:
        """folder: an empty folder for uploads and videos, used by nothing else."""
        self.folder = folder
        self._sessions: OrderedDict[str, Session] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._sessions)

    def __getitem__(self, session_id: str) -> Session:
        """The session of this id; a new one if there is none."""
        with self._lock:
            session = self._sessions.get(session_id)
            if session is None:
                videos, clips = (
                    self.folder / f"{kind}{token_urlsafe(12)}" for kind in (VIDEO_FOLDER_PREFIX, "clips-")
                )
                session = Session(videos, clips)
                self._sessions[session_id] = session
            self._sessions.move_to_end(session_id)
            self._evict()
            return session

    def close(self, session_id: str) -> None:
        """Close the session of this id, and delete stale uploads."""
        with self._lock:
            session = self._sessions.pop(session_id, None)
        if session is not None:
            session.close()
        self.sweep()

    def close_all(self) -> None:
        """Close all sessions."""
        with self._lock:
            sessions, self._sessions = self._sessions, OrderedDict()
        for session in sessions.values():
            session.close()

    def sweep(self, age: float = STALE_SECONDS) -> None:
        """Delete uploads older than `age` seconds."""
        with self._lock:
            ours = {each for session in self._sessions.values() for each in (session.folder, session.clips)}
        for path in self.folder.iterdir():
            if path not in ours and _modified(path) < time.time() - age:
                shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)

    def _evict(self) -> None:
        """Close the least recently used sessions until the limits hold, but never the current one."""
        while len(self._sessions) > 1 and (
            len(self._sessions) > MAX_SESSIONS
            or sum(each.pixels for each in self._sessions.values()) > MAX_PIXELS
        ):
            self._sessions.popitem(last=False)[1].close()


def take_upload(upload: Path, folder: Path) -> bytes:
    """Read an uploaded picture below `folder`, then delete it and its own subfolder.

    Raises ImageError if it does not exist, or is not inside `folder`; such a file is not touched.
    """
    try:
        path = _inside(upload, folder)
        content = path.read_bytes()
        path.unlink(missing_ok=True)
    except OSError as error:
        raise ImageError("The picture did not arrive: send it again.") from error
    _remove_empty(path.parent, folder)
    return content


def move_upload(upload: Path, folder: Path, target: Path) -> None:
    """Move an uploaded video below `folder`, and delete its own subfolder; raises as `take_upload` does, but
    DrivingVideoError."""
    try:
        path = _inside(upload, folder)
        path.rename(target)
    except OSError as error:
        raise DrivingVideoError("The video did not arrive: send it again.") from error
    _remove_empty(path.parent, folder)


def _inside(upload: Path, folder: Path) -> Path:
    """The resolved path of a file; raises PermissionError if it is not inside `folder`."""
    path = upload.resolve()
    if not path.is_relative_to(folder):
        raise PermissionError
    return path


def _remove_empty(subfolder: Path, folder: Path) -> None:
    if subfolder != folder:
        with suppress(OSError):  # not empty if another visitor has uploaded the same file
            subfolder.rmdir()


def _modified(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:  # already deleted
        return time.time()

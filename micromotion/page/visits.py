"""What each visitor of the page has brought: kept in memory, bounded, and gone when the visitor is.

A photo is never left on the disk: the upload is removed as soon as it was read. A film is a file, because a
browser plays and downloads files; it lies in a folder of its visitor's own, whose name nobody can guess.
"""

from __future__ import annotations

import shutil
import threading
import time
from collections import OrderedDict
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from secrets import token_urlsafe
from typing import TYPE_CHECKING

from PIL import Image

from micromotion.errors import ImageError, OptionError

if TYPE_CHECKING:
    from torch import Tensor

    from micromotion.face.crop import AlignedFace

MAX_VISITS = 32
MAX_PIXELS = 200_000_000
"""Of the photos of all visitors together, 600 MB; beyond, who was away longest must bring theirs again."""

FILMS = "films-"
"""How the folders of films begin, in the folder of all."""

STALE = 3600.0
"""After so many seconds an upload that nobody asked to be read is removed."""


@dataclass(frozen=True, eq=False)
class Sitter:
    """A face that was chosen: the photo, RGB, the faces in it, which one, and its code [1, styles, dim]."""

    photo: Image.Image
    faces: Sequence[AlignedFace]
    chosen: int
    code: Tensor


@dataclass(eq=False)
class Visit:
    """One visitor: who sits, the folder of the films, and the word to stop what is being rendered."""

    folder: Path
    sitter: Sitter | None = None
    stop: threading.Event = field(default_factory=threading.Event)

    @property
    def pixels(self) -> int:
        return self.sitter.photo.width * self.sitter.photo.height if self.sitter else 0

    def require_sitter(self) -> Sitter:
        """Who sits; raises OptionError where no face was chosen yet, or none any more."""
        if self.sitter is None:
            raise OptionError("There is no face yet: choose an example or a photo first.")
        return self.sitter

    def new_film(self, name: str) -> Path:
        """Where the next film goes; the one before is removed."""
        shutil.rmtree(self.folder, ignore_errors=True)
        place = self.folder / token_urlsafe(12)
        place.mkdir(parents=True)
        return place / name

    def close(self) -> None:
        """Stop what goes on, forget the face, remove the films."""
        self.stop.set()
        self.sitter = None
        shutil.rmtree(self.folder, ignore_errors=True)


class Visits:
    """The visitors by their session, at most MAX_VISITS, within MAX_PIXELS; may be asked from any thread."""

    def __init__(self, folder: Path) -> None:
        """folder: an empty one of our own, for uploads and films."""
        self.folder = folder
        self._visits: OrderedDict[str, Visit] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._visits)

    def __getitem__(self, session: str) -> Visit:
        """The visit of this session, a new one where there is none."""
        with self._lock:
            visit = self._visits.get(session)
            if visit is None:
                visit = self._visits[session] = Visit(self.folder / f"{FILMS}{token_urlsafe(12)}")
            self._visits.move_to_end(session)
            self._make_room()
            return visit

    def close(self, session: str) -> None:
        """The visitor has gone."""
        with self._lock:
            visit = self._visits.pop(session, None)
        if visit is not None:
            visit.close()
        self.sweep()

    def close_all(self) -> None:
        """Everyone has to go."""
        with self._lock:
            visits, self._visits = self._visits, OrderedDict()
        for visit in visits.values():
            visit.close()

    def sweep(self, age: float = STALE) -> None:
        """Remove uploads that are older than so many seconds."""
        with self._lock:
            ours = {visit.folder for visit in self._visits.values()}
        for path in self.folder.iterdir():
            if path not in ours and _modified(path) < time.time() - age:
                shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)

    def _make_room(self) -> None:
        """Let go whoever was away longest, but never who is here now."""
        while len(self._visits) > 1 and (
            len(self._visits) > MAX_VISITS or sum(each.pixels for each in self._visits.values()) > MAX_PIXELS
        ):
            self._visits.popitem(last=False)[1].close()


def take_upload(upload: Path, folder: Path) -> bytes:
    """The content of a file that was sent into a folder of uploads; file and folder of its own are removed.

    Raises ImageError where it is not there, or is no file of that folder: that one is left alone.
    """
    place = upload.resolve()
    try:
        if not place.is_relative_to(folder):
            raise PermissionError
        sent = place.read_bytes()
        place.unlink(missing_ok=True)
    except OSError as error:
        raise ImageError("The picture did not arrive: send it again.") from error
    if place.parent != folder:
        with suppress(OSError):  # the same picture, sent by another visitor, lies there too
            place.parent.rmdir()
    return sent


def _modified(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:  # it is gone already
        return time.time()

"""What a worker does with a row: read its photo, animate it, store the video. It loads the model once."""

from __future__ import annotations

import hashlib
import tempfile
import time
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from micromotion.batch.outcome import Outcome
from micromotion.batch.request import Request
from micromotion.batch.rows import Row
from micromotion.batch.sources import is_url
from micromotion.batch.storage import Storage, is_web, storage_errors
from micromotion.errors import DownloadError, OutputError
from micromotion.face.images import MAX_BYTES, ImageSource
from micromotion.runtime.main_memory import import_torch
from micromotion.runtime.notices import notices_to
from micromotion.runtime.url_files import open_url

_CANNOT_STORE = "The video cannot be stored"


@dataclass(frozen=True)
class Setup:
    """What all workers of a batch share; it is sent to each of them.

    model, device: as `Animator.load` takes them. dest: the path or URL where videos go.
    """

    request: Request
    model: str
    device: str
    dest: str


class Worker:
    """A loaded model; called with a row, it gives what became of it and raises nothing."""

    def __init__(self, setup: Setup, index: int = 0) -> None:
        """index: which worker of its machine this is, which decides the GPU if there are several.

        Raises as `Animator.load` does.
        """
        import_torch()
        from micromotion.animator import Animator

        self._setup = setup
        self._animator = Animator.load(setup.model, _device(setup.device, index))
        self._store = Storage(setup.dest)

    def __call__(self, row: Row) -> Outcome:
        """Make a row's video, unless it is there; an error becomes the outcome."""
        began = time.monotonic()
        try:
            return self._do(row, began)
        except Exception as error:
            return Outcome.of_error(row, error, time.monotonic() - began)

    def _do(self, row: Row, began: float) -> Outcome:
        with storage_errors(_CANNOT_STORE, OutputError):
            if self._store.exists(row.video):
                return Outcome.done(row)
        model, said = self._animator.bundle, list[str]()
        request = self._setup.request.overridden(row.overrides, model)
        photo, played = read_photo(row), request.choice(model)
        with notices_to(said.append), tempfile.TemporaryDirectory(prefix="micromotion-") as folder:
            warnings.simplefilter("ignore", DeprecationWarning)
            video = self._animator.animate(photo, played, request.options)
            path = Path(folder) / "video.mp4"
            video.save(
                path,
                full_size=request.full_size,
                on_scaled=said.append,
                credentials=request.credentials,
            )
            with storage_errors(_CANNOT_STORE, OutputError):
                self._store.put(path.read_bytes(), row.video)
        box: Any = video.face.box if video.face is not None else None
        face = None if box is None else (float(box[0]), float(box[1]), float(box[2]), float(box[3]))
        return Outcome.done(row, seconds=time.monotonic() - began, face=face, sentence=" ".join(said))


def _device(device: str, index: int) -> str:
    """The device of the worker of that number on its machine: one of several GPUs."""
    import torch

    count = torch.cuda.device_count() if device in ("auto", "cuda") else 0
    return f"cuda:{index % count}" if count > 1 else device


def read_photo(row: Row) -> ImageSource:
    """A row's photo, as `load_image` takes it.

    http and https go through the policy for addresses that others chose, as a list's are. Raises
    DownloadError if it cannot be fetched, or a local file is no longer what its id was made from.
    """
    if is_web(row.image):
        with open_url(row.image, MAX_BYTES) as file:
            return bytes(file.read())
    if is_url(row.image):
        with storage_errors(f"{row.image!r:.200} cannot be read"):
            return Storage(row.image).read()
    if not row.digest:  # it cannot be read: `load_image` says why
        return Path(row.image)
    content = Path(row.image).read_bytes()
    if hashlib.sha256(content).hexdigest() != row.digest:
        raise DownloadError("The photo was changed while the batch ran: run it again.")
    return content

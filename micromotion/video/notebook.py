"""Plays a video in a notebook: an MP4 within the page, as small as a preview needs."""

from __future__ import annotations

import sys
from base64 import b64encode
from collections.abc import Container
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from micromotion.errors import OptionError
from micromotion.types import Frame
from micromotion.video.writer import write_frames

if TYPE_CHECKING:
    from micromotion.video.frame_sequence import FrameSequence

INLINE_SIDE = 720
"""Longest side of what a notebook shows, in pixels; `save` writes the full size."""

INLINE_BYTES = 4 * 2**20
"""Largest MP4, in bytes, that becomes part of a notebook; its text there is a third larger."""


def mime_bundle(
    video: FrameSequence, include: Container[str] | None = None, exclude: Container[str] | None = None
) -> dict[str, str]:
    """What a notebook shows for a video, by MIME type: its description and, as HTML, a player.

    The MP4 is at most INLINE_SIDE pixels a side, with sound and content credentials. Of one larger than
    INLINE_BYTES the last frame is shown, and a sentence. In a terminal, or where HTML is not wanted (include,
    exclude: MIME types), nothing is rendered. Raises what rendering and `write_frames` raise.
    """
    bundle = {"text/plain": repr(video)}
    wants_html = (include is None or "text/html" in include) and not (exclude and "text/html" in exclude)
    if wants_html and not _is_terminal(_shell()):
        bundle["text/html"] = _player(video)
    return bundle


def show(video: FrameSequence) -> None:
    """Display a video in the notebook whose cell runs; raises OptionError where there is none."""
    shell = _shell()
    if shell is None or _is_terminal(shell):
        raise OptionError("show() plays a video in a notebook: elsewhere, save() it and open the file.")
    from IPython.display import display

    display(video)


def _player(video: FrameSequence) -> str:
    """HTML that plays a video, or shows its last frame if the video is too large."""
    size = _inline_size(video.size)
    last: list[Image.Image] = []

    def resized(frame: Frame) -> Frame:
        last[:] = [Image.fromarray(frame).resize(size, Image.Resampling.LANCZOS)]
        return np.asarray(last[0])

    with TemporaryDirectory(prefix="micromotion-") as folder:
        path = Path(folder) / "inline.mp4"
        write_frames(
            map(resized, video),
            path,
            video.fps,
            total=len(video),
            on_scaled=lambda _: None,
            claim=video.claim,
            sound=video.sound,
        )
        if path.stat().st_size <= INLINE_BYTES:
            source = f"data:video/mp4;base64,{b64encode(path.read_bytes()).decode()}"
            return (
                f'<video controls autoplay muted loop playsinline width="{size[0]}" src="{source}"></video>'
            )
        return _still(last[0], Path(folder) / "inline.png", video)


def _still(picture: Image.Image, path: Path, video: FrameSequence) -> str:
    """HTML of a picture, and a sentence why it is no video."""
    from micromotion.video.picture import write_picture

    write_picture(picture, path, video.claim)
    source = f"data:image/png;base64,{b64encode(path.read_bytes()).decode()}"
    return (
        f'<img width="{picture.width}" src="{source}"><p>The last of {len(video)} frames: as an MP4 they are '
        f"larger than the {INLINE_BYTES // 2**20} MB that a notebook holds; save() writes them to a file.</p>"
    )


def _inline_size(size: tuple[int, int]) -> tuple[int, int]:
    """A size, in its proportions, of at most INLINE_SIDE pixels a side."""
    scale = min(1.0, INLINE_SIDE / max(size))
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def _shell() -> Any:
    """IPython's shell in which this runs; None in plain Python, where IPython is not even imported."""
    loaded = sys.modules.get("IPython")
    return loaded.get_ipython() if loaded is not None else None


def _is_terminal(shell: Any) -> bool:
    """Whether a shell shows text alone."""
    return shell is not None and list(shell.display_formatter.active_types) == ["text/plain"]

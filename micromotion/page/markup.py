"""HTML for everything but form fields: the photo with its faces, pictures, messages.

Pictures are embedded as data URLs, so that no file of a visitor's photo remains. All text from outside is
escaped.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from html import escape
from io import BytesIO

from PIL import Image, ImageOps

from micromotion.face.crop import AlignedFace
from micromotion.page.faces import Example

PHOTO_SIDE = 1200
CLIP_SIDE = 480
THUMB = 112
"""Side of a thumbnail in pixels; it is displayed at half this size."""

_STILL = "The preview appears here"


def header(where: str) -> str:
    """The title and introduction; where: a sentence that says which computer does the work."""
    return (
        '<header class="mm-header"><h1>Bring a still face to life</h1>'
        f"<p>Choose a face, move the sliders, make the video. {escape(where)} Your photo is kept in memory "
        "only, until you close this page.</p></header>"
    )


def heading(number: int, text: str) -> str:
    """The heading of one of the page's steps."""
    return f'<h2 class="mm-heading"><span aria-hidden="true">{number}</span>{escape(text)}</h2>'


def fold(text: str, controls: str) -> str:
    """A button that shows and hides the element with the id `controls`, by means of style.css."""
    return f'<button type="button" aria-expanded="false" aria-controls="{controls}">{escape(text)}</button>'


def data_url(picture: Image.Image, quality: int = 88) -> str:
    """An RGB picture as the source of an `img` element."""
    encoded = BytesIO()
    picture.save(encoded, "JPEG", quality=quality)
    return f"data:image/jpeg;base64,{base64.b64encode(encoded.getvalue()).decode()}"


def example_buttons(examples: Iterable[Example]) -> str:
    """A row of buttons with a face each; a click sends the example's number."""
    buttons = []
    for number, example in enumerate(examples):
        with Image.open(example.path) as image:
            small = ImageOps.fit(image.convert("RGB"), (THUMB, THUMB), centering=(0.5, 0.3))
        title = escape(example.title)
        buttons.append(
            f'<button type="button" class="mm-thumb" data-example="{number}" title="{title}">'
            f'<img src="{data_url(small)}" alt="{title}" width="56" height="56"></button>'
        )
    if not buttons:
        return ""
    return f'<div class="mm-row" role="group" aria-label="Examples">{"".join(buttons)}</div>'


def photo_with_faces(photo: Image.Image, faces: Sequence[AlignedFace], chosen: int) -> str:
    """The photo with a numbered box per face, and thumbnails if there are several; both choose a face."""
    small = photo.copy()
    small.thumbnail((PHOTO_SIDE, PHOTO_SIDE), Image.Resampling.LANCZOS)
    several = len(faces) > 1
    boxes, thumbs = [], []
    for number, face in enumerate(faces):
        left, top, right, bottom = face.box
        position = (
            f"left:{100 * left / photo.width:.2f}%;top:{100 * top / photo.height:.2f}%;"
            f"width:{100 * (right - left) / photo.width:.2f}%;"
            f"height:{100 * (bottom - top) / photo.height:.2f}%"
        )
        checked = " checked" if number == chosen else ""
        boxes.append(
            f'<label class="mm-box" style="{position}"><input type="radio" name="mm-face" value="{number}" '
            f'aria-label="Face {number + 1} of {len(faces)}"{checked}><span>{number + 1}</span></label>'
            if several
            else f'<span class="mm-box mm-only" style="{position}"></span>'
        )
        thumbs.append(
            f'<button type="button" tabindex="-1" class="mm-thumb" data-face="{number}" aria-hidden="true">'
            f'<img src="{data_url(face.image.resize((THUMB, THUMB)))}" alt="" width="56" height="56">'
            f"<span>{number + 1}</span></button>"
        )
    count = f"{len(faces)} faces: choose one." if several else "One face."
    row = f'<div class="mm-row mm-faces">{"".join(thumbs)}</div>' if several else ""
    return (
        f'<div class="mm-photo" role="radiogroup" aria-label="Faces found"><img src="{data_url(small)}" '
        f'alt="Your photo">{"".join(boxes)}</div><p class="mm-note" role="status">{count}</p>{row}'
    )


def preview(frame: Image.Image | None) -> str:
    """The preview's picture, or a placeholder."""
    if frame is None:
        return f'<div class="mm-stage mm-empty"><span>{_STILL}</span></div>'
    return f'<div class="mm-stage"><img src="{data_url(frame, 92)}" alt="Preview of the face"></div>'


def clip(first: Image.Image, frames: int, *, sound: bool) -> str:
    """The first frame of a driving video, and what else is known of it."""
    small = first.copy()
    small.thumbnail((CLIP_SIDE, CLIP_SIDE), Image.Resampling.LANCZOS)
    known = f"{frames} frames, {'with' if sound else 'without'} sound."
    shown = f'<div class="mm-clip"><img src="{data_url(small)}" alt="Your video"></div>'
    return shown + note(f"{known} It is deleted when you close this page.")


def note(text: str) -> str:
    """A status line; empty for an empty text."""
    return f'<p class="mm-note" role="status">{escape(text)}</p>' if text else ""


def alert(error: Exception) -> str:
    """An error message, with its notes, such as the position of the error in a timeline."""
    notes = "".join(f"<pre>{escape(each)}</pre>" for each in getattr(error, "__notes__", []))
    return f'<div class="mm-alert" role="alert"><p>{escape(str(error))}</p>{notes}</div>'


def progress(done: int, total: int, seconds: float | None, doing: str = "Frame") -> str:
    """A progress bar with the number of frames done, and the estimated time left; doing: what with them."""
    left = "" if seconds is None else f", about {max(1, round(seconds))} s left"
    words = f"{doing} {done} of {total}{left}" if total else "Getting ready…"
    state = f'value="{done}" max="{total}"' if total else ""
    return (
        f'<div class="mm-progress"><progress {state} aria-label="Rendering"></progress><p>{words}</p></div>'
    )

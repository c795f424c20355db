"""How well a clip moves a photo: against the photo's person, rendered with the clip's factors."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.drive.clips import EFFECTS, FRAMES, Clip
from benchmarks.drive.reading import Row
from benchmarks.drive.renders import filmed
from benchmarks.drive.signs import signs
from benchmarks.drive.tracks import followed, tracked
from micromotion.drive.driven_photo import DrivenPhoto, places
from micromotion.drive.read import read_track
from micromotion.face.alignment import align
from micromotion.photo.views import Stage, whole_photo
from micromotion.types import Frame

PHOTOS = 100
"""From the number of a clip's person to that of its photo's."""

EVERY = 2
"""Every so many frames are rendered, drawn and measured."""


def transfer_clip(clip: Clip, cache: Path, shown: Path) -> dict[str, Row]:
    """For each effect: correlation ("r") and gain of the driven photo's sign on the truth's where it moves,
    and the truth's deviation ("moved"); where it does not move, the deviation of their difference ("astray").

    The frames of the driver, the truth and the result are written to `shown`, as NAME-PART.png.
    """
    truth = true_frames(clip, cache)
    driver = filmed(clip, cache)
    trajectory, _ = read_track(tracked(driver, clip.name, cache))
    photo = Image.fromarray(truth[0])
    draw = DrivenPhoto(Stage(whole_photo(photo, align(photo))), trajectory)
    result = [draw(place) for place in places(FRAMES)[::EVERY]]
    true = signs(tracked(truth, f"{clip.name}-truth", cache))
    driven = signs(followed(result, shown / f"{clip.name}.mp4"))
    for part, frames in (("driver", driver[::EVERY]), ("truth", truth), ("result", result)):
        Image.fromarray(np.concatenate(frames, axis=1)).save(shown / f"{clip.name}-{part}.png")
    rows: dict[str, Row] = {}
    for effect in EFFECTS:
        both = np.isfinite(true[effect]) & np.isfinite(driven[effect])
        there, here = true[effect][both], driven[effect][both]
        moves = clip.moves(effect)
        rows[effect] = {
            "r": float(np.corrcoef(there, here)[0, 1]) if moves else None,
            "gain": float(np.polyfit(there, here, 1)[0]) if moves else None,
            "moved": float(there.std()) if moves else None,
            "astray": None if moves else float((here - there).std()),
        }
    return rows


def true_frames(clip: Clip, cache: Path) -> list[Frame]:
    """The photo's person doing what the clip does, before the same camera; the first frame is the photo."""
    thinned = replace(
        clip, person=clip.person + PHOTOS, effects=clip.effects[::EVERY], camera=clip.camera[::EVERY]
    )
    return filmed(thinned, cache)

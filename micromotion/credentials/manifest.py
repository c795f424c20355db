"""A claim as a C2PA manifest: the definition that c2pa's builder takes (C2PA 2.2: actions, ingredients)."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from micromotion.credentials.claim import PROGRAM, VERSION, Claim, Played, plain

_SOFTWARE = {"name": PROGRAM, "version": VERSION}
_PHOTO = "photo"


def definition(claim: Claim) -> dict[str, Any]:
    """The manifest's definition, JSON-serialisable.

    A photo that was edited is an ingredient without a name, format, hash or thumbnail: it was opened, and
    nothing else is said of it. What a model draws was created.
    """
    motions = [
        {"name": motion.name, "lowest": motion.lowest, "highest": motion.highest} for motion in claim.motions
    ]
    made = {
        "action": "c2pa.edited" if claim.shows_photo else "c2pa.created",
        "digitalSourceType": claim.source_type,
        "softwareAgent": _SOFTWARE,
        "description": claim.sentence,
        "parameters": {PROGRAM: {"model": claim.model, "motions": motions}},
    }
    opened = {"action": "c2pa.opened", "parameters": {"ingredientIds": [_PHOTO]}}
    actions = [opened, made] if claim.shows_photo else [made]
    photo = {"title": _PHOTO, "label": _PHOTO, "relationship": "parentOf"}
    return {
        "claim_generator_info": [_SOFTWARE],
        "ingredients": [photo] if claim.shows_photo else [],
        "assertions": [{"label": "c2pa.actions.v2", "data": {"actions": actions}}],
    }


def read_parameters(parameters: Any) -> tuple[str | None, tuple[Played, ...]]:
    """The model and the motions in an action's parameters; (None, ()) if they are another program's.

    parameters: untrusted JSON.
    """
    with suppress(TypeError, KeyError, ValueError):
        ours = parameters[PROGRAM]
        motions = [
            Played.of(motion["name"], motion["lowest"], motion["highest"]) for motion in ours["motions"]
        ]
        return plain(ours["model"]), tuple(motions)
    return None, ()

"""What a learned micromotion's file says of itself, and that it moves anything at all.

Importing this module does not import torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from micromotion import __version__
from micromotion.errors import MotionError
from micromotion.motion.library import MODEL, MODEL_HASH
from micromotion.weights.bundle import Bundle, BundleFiles

if TYPE_CHECKING:
    from micromotion.motion.files import Provenance
    from micromotion.motion.micromotion import Anchors, PathKind

LEAST_MOVEMENT = 1e-3
"""Of a number of W+, in the spread of the model's latents: below it no pixel of 8 bits changes by one."""


def with_recipe(anchors: Anchors, name: str, bundle: Bundle | BundleFiles, path: PathKind) -> Anchors:
    """Anchors calibrated so that strength 1 is the last one, and all that a learned file says of itself.

    Raises MotionError where all of them show the same, so that there is nothing to play.
    """
    from micromotion.motion.micromotion import PATH, Anchors

    if isinstance(bundle, Bundle):
        _require_movement(anchors, name, bundle)
    calibrated = anchors.calibrated()
    about: Provenance = {
        "motion": name,
        MODEL: bundle.name,
        PATH: path,
        "written by": f"micromotion {__version__}",
    }
    if model_hash := bundle.generator_hash():
        about[MODEL_HASH] = model_hash
    return Anchors(calibrated.w_plus, calibrated.degrees, calibrated.provenance | about)


def _require_movement(anchors: Anchors, name: str, bundle: Bundle) -> None:
    """Raise MotionError unless some anchor differs from the first by what a picture of 8 bits can show."""
    from micromotion.learn.text import latent_spread

    moved = (anchors.w_plus - anchors.w_plus[0]).double().square().mean(dim=(1, 2)).sqrt().max()
    if float(moved) > LEAST_MOVEMENT * latent_spread(bundle.generator):
        return
    source = str(anchors.provenance.get("source", ""))
    advice = {
        "a sentence": "take more steps, or other words",
        "video": "film a larger motion",
        "images": "give pictures in which the face moves more",
    }
    raise MotionError(
        f"Nothing was learned for {name!r}: its {len(anchors.degrees)} anchors show the same face without a "
        f"motion, so there is nothing to play; {advice.get(source, 'collect others')}."
    )

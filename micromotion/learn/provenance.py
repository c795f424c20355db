"""The provenance of a learned micromotion, and a check that its anchors differ.

Importing this module does not import torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from micromotion import __version__
from micromotion.errors import MotionError
from micromotion.motion.library import MODEL, MODEL_HASH
from micromotion.weights.bundle import Bundle, BundleFiles

if TYPE_CHECKING:
    from micromotion.motion.anchors import Anchors
    from micromotion.motion.files import Provenance
    from micromotion.motion.playable import PathKind

LEAST_MOTION = 1e-3
"""Least root mean square change of W+, in units of the spread of w: below it no 8-bit pixel changes."""


def with_provenance(anchors: Anchors, name: str, bundle: Bundle | BundleFiles, path: PathKind) -> Anchors:
    """Anchors calibrated so that strength 1 is the last one, with the provenance of a learned file.

    Raises MotionError if all anchors show the same face without a motion.
    """
    from micromotion.motion.anchors import Anchors
    from micromotion.motion.playable import PATH

    if isinstance(bundle, Bundle):
        _require_motion(anchors, name, bundle)
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


def _require_motion(anchors: Anchors, name: str, bundle: Bundle) -> None:
    """Raise MotionError unless some anchor differs visibly from the first."""
    from micromotion.learn.text import latent_spread

    moved = (anchors.w_plus - anchors.w_plus[0]).double().square().mean(dim=(1, 2)).sqrt().max()
    if float(moved) > LEAST_MOTION * latent_spread(bundle.generator):
        return
    source = str(anchors.provenance.get("source", ""))
    advice = {
        "a sentence": "use more steps, or other words",
        "video": "record a larger motion",
        "images": "use pictures in which the face moves more",
    }
    raise MotionError(
        f"No motion was learned for {name!r}: its {len(anchors.degrees)} anchors all show the same face; "
        f"{advice.get(source, 'collect others')}."
    )

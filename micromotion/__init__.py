"""Bring a still face to life: micromotions in the latent space of StyleGAN2.

Modules that need torch load on first use, so that importing the package and `micromotion --help` stay fast.
"""

import warnings
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from micromotion.animation import Video
    from micromotion.animator import Animator
    from micromotion.face.alignment import align
    from micromotion.face.crop import AlignedFace
    from micromotion.motion.robust_pca import robust_pca
    from micromotion.motion.timeline import Timeline
    from micromotion.motion.timeline_text import parse_timeline
    from micromotion.options import AnimateOptions

__version__ = "0.1.0"
__all__ = [
    "AlignedFace",
    "AnimateOptions",
    "Animator",
    "Timeline",
    "Video",
    "align",
    "parse_timeline",
    "robust_pca",
]

_LAZY = {
    "AlignedFace": "micromotion.face.crop",
    "align": "micromotion.face.alignment",
    "Animator": "micromotion.animator",
    "AnimateOptions": "micromotion.options",
    "Timeline": "micromotion.motion.timeline",
    "Video": "micromotion.animation",
    "parse_timeline": "micromotion.motion.timeline_text",
    "robust_pca": "micromotion.motion.robust_pca",
}


_RENAMED = {"Clip": "Video"}
"""Deprecated names."""


def __getattr__(name: str) -> Any:
    """Import a public name from its module on first use (PEP 562)."""
    if name in _RENAMED:
        warnings.warn(f"micromotion.{name} is now {_RENAMED[name]}", DeprecationWarning, stacklevel=2)
        name = _RENAMED[name]
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_LAZY[name]), name)

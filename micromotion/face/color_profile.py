"""Converts a picture from its embedded ICC profile to sRGB, with littleCMS.

Relative colorimetric with black point compensation: colours within sRGB are preserved, and black stays black.
A profile that is damaged, too large, or for another colour space than the picture's is ignored. Profiles are
untrusted.
"""

from __future__ import annotations

import struct
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms

Profile = ImageCms.ImageCmsProfile

MAX_PROFILE = 8 * 2**20
"""Largest profile, in bytes; those for printing presses have 0.5 to 3 MB."""

_INTENT = ImageCms.Intent.RELATIVE_COLORIMETRIC
_FLAGS = ImageCms.Flags.BLACKPOINTCOMPENSATION
_CLASSES = ("mntr", "scnr", "prtr", "spac")  # monitor, input, printer, colour space; not links and named
_MODES = {"RGB ": "RGB", "GRAY": "L", "CMYK": "CMYK"}
_PROBES = 16  # steps of each channel at which a profile is compared with sRGB


def read_profile(data: object) -> Profile | None:
    """The profile in a picture's `info["icc_profile"]`; None if there is no usable one."""
    if not isinstance(data, bytes) or not 128 < len(data) <= MAX_PROFILE or _is_program(data):
        return None
    try:
        profile = Profile(BytesIO(data))
        about = profile.profile
        return profile if about.device_class in _CLASSES and about.xcolor_space in _MODES else None
    except Exception:  # littleCMS, given hostile bytes, or not available
        return None


def to_srgb(image: Image.Image, profile: Profile) -> Image.Image:
    """A picture of mode RGB or CMYK as sRGB, mode RGB, of the same size; an RGB one is changed in place.

    Unchanged if the profile is sRGB itself, to within one level, or is not for the picture's mode.
    """
    if _MODES[profile.profile.xcolor_space] != image.mode:
        return image
    try:
        transform = _transform(profile, image.mode)
        if image.mode == "RGB":
            if not _is_identity(transform):
                ImageCms.applyTransform(image, transform, inPlace=True)
            return image
        return ImageCms.applyTransform(image, transform) or image
    except Exception:  # as in read_profile
        return image


def gray_curve(profile: Profile) -> NDArray[np.uint8] | None:
    """The sRGB level of each 16-bit gray value, uint8 [65536]; None if the profile is not for gray.

    A gray picture may have an RGB profile; its neutral axis is used then.
    """
    mode = _MODES[profile.profile.xcolor_space]
    try:
        if mode == "L":
            ramp = Image.fromarray(np.arange(65536, dtype=np.uint16)[None])
            converted = ImageCms.applyTransform(ramp, _transform(profile, "I;16"))
        elif mode == "RGB":
            transform = _transform(profile, mode)
            converted = Image.merge("RGB", [Image.fromarray(np.arange(256, dtype=np.uint8)[None])] * 3)
            if not _is_identity(transform):
                ImageCms.applyTransform(converted, transform, inPlace=True)
        else:
            return None
        if converted is None:
            return None
        curve = np.asarray(converted.convert("L"))[0]  # gray stays gray, whatever the profile's white
    except Exception:  # as in read_profile
        return None
    if len(curve) == 256:
        levels = np.interp(np.arange(65536) / 257, np.arange(256), curve)
        return np.rint(levels).astype(np.uint8)
    return curve


def _transform(profile: Profile, mode: str) -> ImageCms.ImageCmsTransform:
    return ImageCms.buildTransform(
        profile, ImageCms.createProfile("sRGB"), mode, "RGB", renderingIntent=_INTENT, flags=_FLAGS
    )


def _is_identity(transform: ImageCms.ImageCmsTransform) -> bool:
    steps = np.linspace(0, 255, _PROBES).astype(np.uint8)
    colours = np.stack(np.meshgrid(steps, steps, steps), axis=-1).reshape(_PROBES, -1, 3)
    converted = ImageCms.applyTransform(Image.fromarray(colours), transform)
    return converted is not None and int(np.abs(np.asarray(converted, np.int16) - colours).max()) <= 1


def _is_program(data: bytes) -> bool:
    """Whether a profile has a multiProcessElement, which may need any number of steps for each colour."""
    (count,) = struct.unpack_from(">I", data, 128) if len(data) >= 132 else (0,)
    if 132 + 12 * count > len(data):
        return True
    offsets = (struct.unpack_from(">I", data, 136 + 12 * each)[0] for each in range(count))
    return any(data[offset : offset + 4] == b"mpet" for offset in offsets)

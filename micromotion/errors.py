"""All errors shown to users, each one sentence: what is wrong, with which input, and what to do."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager


class MicromotionError(Exception):
    """Base of all errors meant for the user who caused them or can fix them."""


class ImageError(MicromotionError):
    """The picture cannot be read, is too large, too small, or is not a still picture."""


class NoFaceError(ImageError):
    """The picture was read, but has no face, or not the requested one."""


class OptionError(MicromotionError):
    """A value such as strength, frames or fps is outside its limits."""


class MotionError(MicromotionError):
    """A micromotion is unknown, or its file cannot be used."""


class BundleError(MicromotionError):
    """A model bundle is unknown, incomplete, or does not fit together."""


class ManifestError(MicromotionError):
    """A manifest of public files cannot be read, or an entry of it is wrong."""


class DownloadError(MicromotionError):
    """A file cannot be fetched from any of its sources, or is not the requested one."""


class OutputError(MicromotionError):
    """The result cannot be written to the requested destination."""


class CredentialsError(MicromotionError):
    """Content credentials cannot be signed or read, or the certificate for them cannot be used."""


class ScaledWarning(UserWarning):
    """The video was made smaller than its frames, so that phones play it."""


class NoEffectWarning(UserWarning):
    """An option was given that changes nothing here."""


class DeviceMemoryError(MicromotionError):
    """The GPU has too little memory, even after memory was freed on it."""


class MainMemoryError(MicromotionError):
    """The machine, or the limit of this process, has too little main memory."""


class RenderError(MicromotionError):
    """The model's output is not finite."""


class TimeLimitError(MicromotionError):
    """A time limit was exceeded."""


@contextmanager
def reworded(words: Mapping[str, str]) -> Iterator[None]:
    """Within the block, replace texts in errors for users, one after the other.

    Such as paths that others must not see, by words that they know.
    """
    try:
        yield
    except MicromotionError as error:
        message = str(error)
        for text, word in words.items():
            message = message.replace(text, word)
        raise type(error)(message) from None

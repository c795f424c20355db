"""Everything that can go wrong for a person, each as one sentence: what, which, and what to do."""


class MicromotionError(Exception):
    """Base of all errors that are meant to be read by the person who caused or can mend them."""


class ImageError(MicromotionError):
    """The picture cannot be read, is too large, too small, or is not a still picture."""


class NoFaceError(ImageError):
    """The picture was read, but holds no face, or not the one asked for."""


class OptionError(MicromotionError):
    """A value such as strength, frames or fps is outside its limits."""


class MotionError(MicromotionError):
    """A micromotion is unknown, or its file cannot be used."""


class BundleError(MicromotionError):
    """A model bundle is unknown, incomplete, or does not fit together."""


class ManifestError(MicromotionError):
    """A manifest of public files cannot be read, or an entry of it is wrong."""


class DownloadError(MicromotionError):
    """A file cannot be fetched from any of its sources, or is not the one that was asked for."""


class OutputError(MicromotionError):
    """The result cannot be written where it was asked for."""


class ScaledWarning(UserWarning):
    """The video was made smaller than its frames, so that phones play it."""


class NoEffectWarning(UserWarning):
    """An option was given that changes nothing here."""


class DeviceMemoryError(MicromotionError):
    """The GPU has too little memory, also after room was made on it."""


class MainMemoryError(MicromotionError):
    """The machine, or the limit of this process, has too little main memory."""


class RenderError(MicromotionError):
    """The model gave numbers that are no picture."""


class TimeLimitError(MicromotionError):
    """The time that something may take is over before it is done."""

"""The errors that a user can cause. Each message is one line: what came, what was expected, what to do.

All of them derive from `AnatomarkError`; the command line prints the message and exits with code 2, without a
traceback.
"""


class AnatomarkError(Exception):
    """Base class of all errors whose message is meant for the user."""


class ImageError(AnatomarkError):
    """An image that cannot be read or used: truncated, empty, constant, not finite, of a wrong dimension."""


class LandmarkFileError(AnatomarkError):
    """A landmark file or table that cannot be read or written."""


class FrameError(AnatomarkError):
    """Coordinates whose frame or unit is not stated, or is not the expected one."""


class SpacingError(AnatomarkError):
    """An unknown spacing where millimetres are needed, or spacings that disagree."""


class UnknownNameError(AnatomarkError):
    """An unknown landmark, case, split, format or method."""


class DescriptionError(AnatomarkError):
    """An inconsistent `dataset.yaml`; the message lists all faults at once."""


class SettingsError(AnatomarkError):
    """A setting that is unknown or out of range; the message lists all faults at once."""


class ModelError(AnatomarkError):
    """A run folder or model with missing, damaged or unrelated parts."""


class RegistrationError(AnatomarkError):
    """Two images that could not be registered."""


class MissingExtraError(AnatomarkError):
    """A missing package that only some methods or commands need; the message names the extra."""


class AccessError(AnatomarkError):
    """An unprotected or invalid address of a server, or a path that it may not read."""


class OutputError(AnatomarkError):
    """Results that cannot be written: full disk, no permission, an existing file."""


class ReviewError(AnatomarkError):
    """A review that cannot be opened or changed: already open, damaged, of another data set."""

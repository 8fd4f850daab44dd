"""The errors a user can cause. Each message is one line: what came, what was wanted, what to do.

Everything here derives from `AnatomarkError`, so a caller can catch the lot; the command line prints
the message and leaves with exit code 2, without a traceback.
"""


class AnatomarkError(Exception):
    """Base of all errors with a message meant for the user."""


class ImageError(AnatomarkError):
    """An image that cannot be read or used: truncated, empty, constant, not finite, of a wrong dimension."""


class LandmarkFileError(AnatomarkError):
    """A landmark file or table that cannot be read or written."""


class FrameError(AnatomarkError):
    """Coordinates whose frame or unit is not stated, or not the one that was wanted."""


class SpacingError(AnatomarkError):
    """Millimetres are wanted where the spacing of an image is unknown, or spacings disagree."""


class UnknownNameError(AnatomarkError):
    """A landmark, case, split, setting or method that nobody has declared."""


class DescriptionError(AnatomarkError):
    """A `dataset.yaml` that does not hold together; the message lists every fault at once."""


class SettingsError(AnatomarkError):
    """A training setting that is unknown or out of range; the message lists every fault at once."""


class ModelError(AnatomarkError):
    """A run folder or checkpoint with missing, foreign or damaged parts."""


class RegistrationError(AnatomarkError):
    """Two images that could not be brought into agreement."""


class MissingExtraError(AnatomarkError):
    """A package that only some methods or commands need and that is not installed; the message names the extra."""


class AccessError(AnatomarkError):
    """A way of starting a server that would let anybody in, or a path that it may not read."""


class OutputError(AnatomarkError):
    """Results that cannot be written: full disk, no permission, a file in the way."""


class ReviewError(AnatomarkError):
    """A review that cannot be opened or changed: in use elsewhere, damaged, of another data set."""

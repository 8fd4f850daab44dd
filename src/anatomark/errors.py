"""The errors that a user can cause. Each message is one line: what came, what was expected, what to do.

All of them derive from `AnatomarkError`; the command line prints the message and exits with code 2, without a
traceback. Messages quote what came, which may be of any length and hold any character: they are made one line here.
"""

import re
from collections.abc import Sequence
from importlib.util import find_spec

_LONGEST, _LONGEST_WORD = 4000, 400  # characters of a message, and of a word in it


def one_line(message: str) -> str:
    """`message` without line breaks and other control characters, and without the middle of what is far too long.

    Bytes of file names that are no text are written as \\udce9, so that a message can be written to any file.
    """
    message = message.encode("utf-8", "backslashreplace").decode("utf-8")
    joined = re.sub(r"[\t-\r\x1c-\x1e\x85\u2028\u2029]+ *", " ", message)
    shown = re.sub(r"[\x00-\x1f\x7f]", lambda found: repr(found.group())[1:-1], joined)
    words = re.sub(rf"\S{{{_LONGEST_WORD + 1},}}", lambda found: _shortened(found.group(), _LONGEST_WORD), shown)
    return _shortened(words, _LONGEST)


def _shortened(text: str, longest: int) -> str:
    return text if len(text) <= longest else f"{text[: longest // 2]}...{text[-longest // 4 :]}"


class AnatomarkError(Exception):
    """Base class of all errors whose message is meant for the user: one line that says what to do.

    Examples:
        >>> try:
        ...     anatomark.load("runs/none")
        ... except anatomark.AnatomarkError as error:
        ...     print(error)
    """

    def __init__(self, message: str = "") -> None:
        super().__init__(one_line(message))


class ImageError(AnatomarkError):
    """An image that cannot be read or used: truncated, empty, constant, not finite, of a wrong dimension."""


class NativeReaderError(ImageError):
    """An image at which a library crashed, hung or took too much memory; the process that read it was ended."""


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


class LostProcessError(AnatomarkError):
    """Another process of the same training has ended."""


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


def missing_packages(packages: Sequence[str]) -> list[str]:
    """Those that are not installed; none is loaded."""
    return [name for name in packages if find_spec(name) is None]


def require_extra(needs: str, packages: Sequence[str], extra: str) -> None:
    """MissingExtraError where one of `packages` of an `extra` is not installed; `needs` are the words before them."""
    if missing := missing_packages(packages):
        raise MissingExtraError(
            f"{needs} {' and '.join(missing)}, which {'are' if len(missing) > 1 else 'is'} not installed; "
            f"install the extra: pip install 'anatomark[{extra}]'"
        )


_NETWORKS = {  # {module: package} of what only training and prediction need, so that an installation may lack it
    "torch": "torch",
    "lightning_fabric": "lightning-fabric",
    "safetensors": "safetensors",
    "tensorboardX": "tensorboardX",
}


def not_installed(error: ModuleNotFoundError) -> MissingExtraError | None:
    """The line for a package that training and prediction need; None where something else is missing."""
    module = (error.name or "").partition(".")[0]
    if module not in _NETWORKS:
        return None
    return MissingExtraError(
        f"training and prediction need {_NETWORKS[module]}, which is not installed; install what they need with: "
        f"pip install {' '.join(_NETWORKS.values())}"
    )

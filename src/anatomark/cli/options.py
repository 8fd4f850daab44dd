"""Options that several verbs share: their choices, and how their values are read."""

from __future__ import annotations

from enum import StrEnum
from typing import Literal

from anatomark.errors import SettingsError, SpacingError


class Device(StrEnum):
    """Device to compute on; auto takes a CUDA device if there is one."""

    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"


class Frame(StrEnum):
    """Frames of coordinates."""

    LPS = "LPS"
    RAS = "RAS"
    pixel = "pixel"


def parse_spacing(text: str | None) -> tuple[float, ...] | None:
    """(x, y[, z]) in mm of "x,y[,z]"; SpacingError for anything else."""
    from anatomark.formats.text import number

    if text is None:
        return None
    try:
        values = tuple(number(part) for part in text.split(","))
    except ValueError:
        values = ()
    if len(values) not in (2, 3) or not all(0 < value < float("inf") for value in values):
        raise SpacingError(f"--spacing is {text!r}; give two or three lengths in mm, such as 0.25,0.25")
    return values


def parse_batch(text: str) -> int | Literal["auto"]:
    """The number of images in "8", or "auto"; SettingsError for anything else."""
    if text == "auto":
        return "auto"
    if not (text.isascii() and text.isdecimal()) or int(text) < 1:
        raise SettingsError(f"--batch is {text!r}; give a number of images, such as 8, or auto")
    return int(text)


def parse_radii(text: str) -> tuple[float, ...]:
    """The lengths of "2,2.5,3,4"."""
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise SettingsError(f"--radii is {text!r}; give lengths such as 2,2.5,3,4") from None

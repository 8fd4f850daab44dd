"""What an image file says of itself, and how a reader tells a person something without refusing the file."""

from __future__ import annotations

import logging
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import Literal

from anatomark.core.grid import Grid

Orientation = Literal["shown", "stored"]
"""A picture as people see it (turned as its file asks viewers to), or as its pixels are stored."""
LOGGER = logging.getLogger("anatomark")


@dataclass(frozen=True)
class Header:
    """The Grid of an image and what a person should know of how the file was understood.

    `remarks` are whole lines that name the file: a rule that was followed where the file is ambiguous, such as a NIfTI
    file whose two placements differ. `stored` is the orientation (1 to 8, as EXIF and TIFF count them) in which a
    picture is stored; 1 is upright. `pages` is the number of images in the file.
    """

    grid: Grid
    remarks: tuple[str, ...] = ()
    stored: int = 1
    pages: int = 1

    def on(self, grid: Grid) -> Header:
        """The same Header with another Grid."""
        return replace(self, grid=grid)


_gathered: ContextVar[list[str] | None] = ContextVar("gathered", default=None)


def tell(remarks: Iterable[str]) -> None:
    """Each remark goes to the log `anatomark` as a warning; the command line shows it as one line."""
    gathered = _gathered.get()
    for remark in remarks:
        if gathered is None:
            LOGGER.warning(remark)
        else:
            gathered.append(remark)


@contextmanager
def gathering() -> Generator[list[str]]:
    """The remarks that would be told in this thread while it lasts; the caller tells what is left of them."""
    gathered: list[str] = []
    token = _gathered.set(gathered)
    try:
        yield gathered
    finally:
        _gathered.reset(token)

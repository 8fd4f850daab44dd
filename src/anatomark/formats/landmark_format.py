"""What a format of landmark files is: how it is known, read and written, and what its words mean.

A format is a value in `formats.known.FORMATS`, not a class to derive from; the table of formats in the documentation is
made from these values.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Protocol

from anatomark.core.grid import Grid
from anatomark.formats.landmark_files.json_file import json_paths
from anatomark.formats.landmark_table import LandmarkTable

GridOf = Callable[[str], Grid | None]
"""The Grid of an image, by its name as the file writes it; None where the image is not at hand."""


@dataclass(frozen=True)
class Head:
    """The name and the first 64 KiB of a file, as text; undecodable bytes are replacement signs."""

    path: Path
    text: str

    @cached_property
    def lines(self) -> list[str]:
        return self.text.splitlines()

    @cached_property
    def json(self) -> frozenset[str]:
        """The places of the keys of a JSON file, such as "images[].file_name"; empty for other files."""
        return json_paths(self.text)

    @property
    def name(self) -> str:
        """The file's name in lower case."""
        return self.path.name.lower()


class Reader(Protocol):
    """Reads a file of the format; the `image` of rows is "" where the file does not name it.

    `frame` is what the user says of a file that does not state it, None where nobody said; a reader settles it with
    `frames.settle_frame`. Coordinates come as the file has them, in the table's `frame` and `unit`, but for formats
    whose y counts from below, which need `grid_of`. Raises `LandmarkFileError` and `FrameError`.
    """

    def __call__(self, path: Path, *, frame: str | None, grid_of: GridOf) -> LandmarkTable: ...


class Writer(Protocol):
    """Writes a table that is in the format's frame, whole or not at all; raises `LandmarkFileError` for what it cannot
    hold. `grid_of` is as in `Reader`."""

    def __call__(self, table: LandmarkTable, path: Path, *, grid_of: GridOf) -> None: ...


@dataclass(frozen=True)
class LandmarkFormat:
    """A format: `name` is what `--format` takes, `title` what people call it.

    `endings` are those its files have; several formats may share one, so `recognises` looks into the file.
    `frame` and `missing` are sentences for the documentation: the frame of its coordinates, and what it says of
    landmarks without a place. `written_frame` is the frame that `write` wants (pixel, LPS, or None for the one asked).
    `unnamed` formats have no names of landmarks, only an order: their rows come as "1", "2", ...
    `image_files` formats call an image by its file name, ending included, where that is known.
    """

    name: str
    title: str
    endings: tuple[str, ...]
    recognises: Callable[[Head], bool]
    read: Reader
    frame: str
    missing: str
    write: Writer | None = None
    written_frame: str | None = None
    many_images: bool = False
    unnamed: bool = False
    image_files: bool = False

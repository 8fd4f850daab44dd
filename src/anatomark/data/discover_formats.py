"""Landmark files of other programs that hold many images: COCO, CVAT, Label Studio, TPS, DeepLabCut, wide tables."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from anatomark.core.grid import Grid
from anatomark.errors import AnatomarkError, FrameError
from anatomark.formats.header import tell
from anatomark.formats.image_names import ImageNames
from anatomark.formats.images import read_grid
from anatomark.formats.landmark_files.cephalometric import CEPHALOMETRIC
from anatomark.formats.landmark_files.long_table import LONG_TABLE
from anatomark.formats.landmark_format import LandmarkFormat
from anatomark.formats.landmarks import SUFFIXES, read_placements
from anatomark.formats.recognise import format_of


@dataclass(frozen=True)
class FoundExport:
    """A file of a known format with landmarks of many images, most of which are cases; `path` is seen from the root.

    `frame_asked` is true where the file does not state the frame of its coordinates.
    """

    path: str
    format: LandmarkFormat
    names: tuple[str, ...]
    images: frozenset[int]
    frame_asked: bool


def find_exports(root: Path, folders: Iterable[Path], cases: Mapping[str, Path]) -> list[FoundExport]:
    """The exports in `folders`; what is of no known format or of other images is passed over. A line says what is of a
    known format and cannot be read."""
    known = ImageNames(list(cases), list(cases.values()))
    paths = list(cases.values())

    def grid_of(name: str) -> Grid | None:
        found = known.candidates(name)
        return read_grid(paths[found[0]]) if len(found) == 1 else None

    exports: list[FoundExport] = []
    for folder in folders:
        for path in sorted(folder.iterdir()):
            if not path.is_file() or path.name.startswith((".", "~$")) or not path.name.lower().endswith(SUFFIXES):
                continue
            recognised = False
            try:
                found = format_of(path)
                if not found.many_images or found is LONG_TABLE:
                    continue
                recognised = True
                asked = False
                try:
                    table = read_placements(path, grid_of=grid_of)
                except FrameError:
                    table, asked = read_placements(path, frame="pixel", grid_of=grid_of), True
            except AnatomarkError as error:
                tell([f"not taken: {error}"] * recognised)
                continue
            images = list(dict.fromkeys(table.image.tolist()))
            hits = [number for number in known.match(images).images if number >= 0]
            if hits and len(hits) >= len(images) / 2:
                names = tuple(dict.fromkeys(table.landmark.tolist()))
                exports.append(FoundExport(path.relative_to(root).as_posix(), found, names, frozenset(hits), asked))
    return exports


def is_one_image(path: Path) -> bool:
    """Whether a file is of a known format for the landmarks of one image."""
    try:
        return not format_of(path).many_images
    except AnatomarkError:
        return False


def is_challenge(path: Path) -> bool:
    """Whether a file is of the cephalometric challenge's layout."""
    try:
        return format_of(path) is CEPHALOMETRIC
    except AnatomarkError:
        return False


def frame_asked(path: Path) -> bool:
    """Whether a landmark file does not state the frame of its coordinates."""
    try:
        read_placements(path)
    except FrameError:
        return True
    except AnatomarkError:
        return False
    return False

"""Points of the IDAV Landmark Editor and of Stratovan Checkpoint (.pts).

The line `Version 1.0`, the number of points, then a label and x, y, z a line. They are those of the mesh or volume
that was open, whose frame the file does not state. Three times 9999, or -9999, is a missing point. The Landmark Editor
writes the points of curves and patches (C000, P000) under the one label of their curve or patch: these are
semilandmarks, which are not taken; a label that comes once is a landmark, whatever its letter.
"""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import numpy as np

from anatomark.errors import LandmarkFileError
from anatomark.formats.frames import settle_frame
from anatomark.formats.header import tell
from anatomark.formats.landmark_files.point_lines import NOT_A_NUMBER, coordinates, numbered_lines, ordered_table
from anatomark.formats.landmark_format import GridOf, Head, LandmarkFormat
from anatomark.formats.landmark_table import LandmarkTable

_EXPECTED = "a .pts file of the Landmark Editor or Checkpoint"
_VERSION = re.compile(r"Version\s+([0-9]+(?:\.[0-9]+)*)", re.IGNORECASE)
_CURVE_OR_PATCH = re.compile(r"[CP][0-9]+")
_MISSING = ([9999.0] * 3, [-9999.0] * 3)


def _recognises(head: Head) -> bool:
    lines = [line.strip() for line in head.lines[:20] if line.strip()]
    return len(lines) > 1 and bool(_VERSION.fullmatch(lines[0])) and re.fullmatch(r"[0-9]+", lines[1]) is not None


def read_landmark_editor(path: Path, *, frame: str | None, grid_of: GridOf) -> LandmarkTable:
    """The landmarks of a .pts file, in the frame that the caller gives."""
    lines = numbered_lines(path, _EXPECTED)
    version = _VERSION.fullmatch(lines[0][1]) if lines else None
    if version is None or len(lines) < 2 or not re.fullmatch(r"[0-9]{1,9}", lines[1][1]):
        raise LandmarkFileError(f"{path} does not begin with Version 1.0 and a number of points; give {_EXPECTED}")
    if int(version[1].split(".")[0]) != 1:
        raise LandmarkFileError(f"{path} is a .pts of version {version[1]}, expected 1.0; export it again, or as CSV")
    settled = settle_frame(None, frame, f"{path} (Landmark Editor or Checkpoint)")
    if int(lines[1][1]) != len(lines) - 2:
        raise LandmarkFileError(
            f"{path}, line {lines[1][0]}, says {lines[1][1]} points and {len(lines) - 2} follow; it may be cut short"
        )
    labelled = [_point(text, f"{path}, line {line}") for line, text in lines[2:]]
    counts = Counter(label for label, _ in labelled)
    semi = {label for label, count in counts.items() if count > 1 and _CURVE_OR_PATCH.fullmatch(label)}
    twice = [label for label, count in counts.items() if count > 1 and label not in semi]
    if twice:
        raise LandmarkFileError(f"{path} has {twice[0]} {counts[twice[0]]} times; keep one, or give each its own label")
    if semi:
        tell([f"{path}: the {sum(counts[s] for s in semi)} points of {len(semi)} curves or patches were not taken"])
    kept = [(label, point) for label, point in labelled if label not in semi]
    points = np.array([point for _, point in kept], dtype=float).reshape(len(kept), 3)
    return ordered_table(points, settled, [label for label, _ in kept])


def _point(text: str, place: str) -> tuple[str, list[float]]:
    cells = text.rsplit(maxsplit=3)
    if len(cells) < 4:
        raise LandmarkFileError(f"{place}: {text[:60]!r} is not a label and x y z; correct it")
    label, *xyz = cells
    if all(cell.lower() in NOT_A_NUMBER for cell in xyz):
        return label, [np.nan] * 3
    point = coordinates(xyz, f"{place} ({label})")
    return label, [np.nan] * 3 if point in _MISSING else point


LANDMARK_EDITOR = LandmarkFormat(
    name="pts",
    title="Landmark Editor (IDAV) and Stratovan Checkpoint (.pts)",
    endings=(".pts",),
    recognises=_recognises,
    read=read_landmark_editor,
    frame="not stated: the frame of the mesh or volume, to be given",
    missing="9999 9999 9999, -9999 -9999 -9999 and NaN are not annotated",
)

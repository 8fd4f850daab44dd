"""Placements: what several observers, some of them in several sessions, marked in the same cases."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from anatomark.core.grid import Floats, Unit
from anatomark.core.landmarks import Landmarks
from anatomark.data.image_files import natural
from anatomark.errors import FrameError, LandmarkFileError, SettingsError
from anatomark.evaluation.consensus import consensus_of
from anatomark.formats.images import image_name
from anatomark.formats.landmark_table import LandmarkTable
from anatomark.formats.landmarks import read_placements, table_landmarks


@dataclass(frozen=True, eq=False)
class Placements:
    """C cases, each of one of `subjects` (C,), N landmark `names`, and O columns of placements.

    `points` (C, O, N, d) are world LPS in `unit`, NaN unless the landmark was marked as present. Column o is one
    session of the observer `observers[o]`; `columns[o]` is what the data call it.
    """

    cases: tuple[str, ...]
    subjects: tuple[str, ...]
    names: tuple[str, ...]
    columns: tuple[str, ...]
    observers: tuple[str, ...]
    points: Floats
    unit: Unit = "mm"

    @cached_property
    def persons(self) -> tuple[str, ...]:
        """The distinct observers, in order of their first column."""
        return tuple(dict.fromkeys(self.observers))

    def sessions(self, person: str) -> list[int]:
        """The columns of an observer."""
        return [o for o, name in enumerate(self.observers) if name == person]

    @cached_property
    def single(self) -> Floats:
        """(C, P, N, d) each observer's first session in a case: a single reading."""
        return self._stacked([self._first(person) for person in self.persons])

    @cached_property
    def average(self) -> Floats:
        """(C, P, N, d) the mean of each observer's sessions in a case: the observer's best estimate."""
        return self._stacked([consensus_of(self.points[:, self.sessions(person)]) for person in self.persons])

    def _stacked(self, points: Sequence[Floats]) -> Floats:
        c, _, n, d = self.points.shape
        return np.stack(points, axis=1) if points else np.empty((c, 0, n, d))

    def _first(self, person: str) -> Floats:
        sessions = self.points[:, self.sessions(person)]
        used = np.isfinite(sessions).any(axis=(2, 3))
        return sessions[np.arange(len(sessions)), used.argmax(axis=1)]


def placements_in_files(
    paths: Sequence[Path],
    *,
    frame: str | None = None,
    spacing: Sequence[float] | None = None,
    session: str | None = None,
) -> Placements:
    """The placements in tables or other landmark files, by their observers (column `observer` or `rater`), or one
    observer a file, called as the file is.

    `frame` is for tables that do not state theirs; `spacing` (mm along x, y[, z]) makes pixel coordinates mm. `session`
    is a regular expression whose first group in a name is the person (see `observers` in docs/dataset.md). A case
    is an image by its name without folder and ending, and its own subject.
    """
    marks: dict[str, dict[str, Landmarks]] = {}
    kinds: set[tuple[int, Unit]] = set()
    for path in paths:
        table = _read(path, frame)
        kinds.add((table.ndim, "mm" if table.frame == "pixel" and spacing is not None else table.unit))
        for (image, observer), landmarks in _in_world(table, spacing, path).items():
            case = marks.setdefault(image_name(Path(image.replace("\\", "/"))) if image else "", {})
            name = observer or path.name.split(".")[0]
            if name in case:
                raise LandmarkFileError(
                    f"{path}: duplicate annotations of {image!r} by observer {name!r}; name each observer differently"
                )
            case[name] = landmarks
    if len(kinds) > 1:
        listed = " and ".join(sorted(f"{d}D in {unit}" for d, unit in kinds))
        raise FrameError(f"the tables are {listed}; give tables of one kind")
    if not marks:
        raise LandmarkFileError(f"{paths[0]} has no annotations; give a row for each image, landmark and observer")
    ndim, unit = kinds.pop()
    names = tuple(dict.fromkeys(n for case in marks.values() for landmarks in case.values() for n in landmarks.names))
    pattern = None if session is None else session_pattern(session)
    return _placements(list(marks), list(marks), list(marks.values()), names, ndim, unit, pattern)


def _read(path: Path, frame: str | None) -> LandmarkTable:
    """The placements in a file, with `frame` where it does not state its own."""
    try:
        return read_placements(path)
    except FrameError:
        if frame is None:
            raise
        return read_placements(path, frame=frame)


def session_pattern(text: str) -> re.Pattern[str]:
    """The compiled pattern; SettingsError unless it is a regular expression with a group."""
    try:
        pattern = re.compile(text)
    except re.error as error:
        raise SettingsError(f"the session pattern {text!r} is not a regular expression: {error}") from None
    if pattern.groups < 1:
        raise SettingsError(f"the session pattern {text!r} needs a group ( ) around the observer")
    return pattern


def person_of(name: str, pattern: re.Pattern[str] | None) -> str:
    """Whose session `name` is; a name that the pattern does not fit stands for itself."""
    match = pattern.search(name) if pattern is not None else None
    return match[1] if match and match[1] else name


def _in_world(table: LandmarkTable, spacing: Sequence[float] | None, path: Path) -> dict[tuple[str, str], Landmarks]:
    if table.frame == "pixel" and spacing is not None:
        if len(spacing) != table.ndim:
            raise SettingsError(f"the spacing has {len(spacing)} values, {path} is {table.ndim}D")
        scaled = table.coordinates * np.asarray(spacing, dtype=float)
        table = replace(table, coordinates=scaled, frame="LPS", unit="mm")
    return table_landmarks(table, source=path)


def _placements(
    cases: Sequence[str],
    subjects: Sequence[str],
    marks: Sequence[Mapping[str, Landmarks]],
    names: Sequence[str],
    ndim: int,
    unit: Unit,
    pattern: re.Pattern[str] | None,
) -> Placements:
    """The block of every case's `marks`, by observer."""
    columns: dict[str, Floats] = {}
    for c, case in enumerate(marks):
        for name, landmarks in case.items():
            selected = landmarks if landmarks.names == tuple(names) else landmarks.select(names)
            if name not in columns:
                columns[name] = np.full((len(cases), len(names), ndim), np.nan)
            columns[name][c] = selected.points
    return placed(cases, subjects, columns, names, ndim, unit, pattern)


def placed(
    cases: Sequence[str],
    subjects: Sequence[str],
    columns: Mapping[str, Floats],
    names: Sequence[str],
    ndim: int,
    unit: Unit,
    pattern: re.Pattern[str] | None,
) -> Placements:
    """The Placements of what is in `columns` {what the data call it: points (C, N, d)}."""
    called = list(columns) if pattern is None else sorted(columns, key=natural)
    blocks = [columns[name] for name in called]
    points = np.stack(blocks, axis=1) if len(blocks) > 1 else np.empty((len(cases), 0, len(names), ndim))
    if len(blocks) == 1:
        points = blocks[0][:, None]  # no copy
    persons = tuple(person_of(name, pattern) for name in called)
    return Placements(tuple(cases), tuple(subjects), tuple(names), tuple(called), persons, points, unit)

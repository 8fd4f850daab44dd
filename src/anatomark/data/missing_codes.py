"""Points that look like a code for "missing": -1,-1 or 0,0 or -9999, there again and again, as no anatomy is.

A code that is taken for a place is learned as one, and no error tells. So training refuses what can be nothing else,
and `check` also asks about what may be a code. The description has the last word (`missing_values`, see
docs/dataset.md); an empty list there says that no point is one, as in a set aligned to a landmark at 0,0,0.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from anatomark.core.grid import Floats
from anatomark.core.landmarks import State
from anatomark.data.annotations import FileSource, Source, TableSource, names_of, numbers_of
from anatomark.data.findings import Finding
from anatomark.errors import AnatomarkError, DescriptionError
from anatomark.formats.frames import to_world
from anatomark.formats.header import tell
from anatomark.formats.images import read_header
from anatomark.formats.landmark_table import LandmarkTable, codes_of

if TYPE_CHECKING:
    from anatomark.data.description import Dataset

CODES = frozenset(-float(v) for v in (1, 9, 99, 999, 9999, 99999, 999999, 1000, 2000, 10000, 100000, 32768)) | {0.0}
LARGE = frozenset(float(v) for v in (999, 9999, 99999, 999999, 32767, 32768, 65535, 2147483647))
TEMPLATE = 0.9  # of a landmark's placements at the origin: then the set may be aligned there
AROUND = 5.0  # mm or px: so far do placements lie from a point that the set is aligned to
SHARE, FEWEST = 0.2, 4  # of a landmark's cases with the very same point: then `check` asks
MOST_ASKED = 5


@dataclass(frozen=True)
class Suspect:
    """A point that looks like a code, in the numbers of its source: how often, and whether it can be nothing else."""

    point: tuple[float, ...]
    points: int
    landmarks: tuple[str, ...]
    cases: int
    file: str
    certain: bool

    @property
    def text(self) -> str:
        return ", ".join(f"{value:g}" for value in self.point)

    @property
    def summary(self) -> str:
        """How often the point is there, without what to do."""
        which = self.landmarks[0] if len(self.landmarks) == 1 else f"{len(self.landmarks)} landmarks"
        cases = f"{self.cases} case{'s' * (self.cases != 1)}"
        count = f"{self.points} point{'s' * (self.points != 1)}"
        return f"{count} ({which} in {cases}) {'is' if self.points == 1 else 'are'} at exactly {self.text}"


@dataclass(frozen=True, eq=False)
class _Placed:
    """The present points of a source as its files have them: (R, d), and (R,) numbers of their case and landmark."""

    coordinates: Floats
    case: NDArray[np.integer]
    landmark: NDArray[np.integer]
    frame: str
    unit: str
    file: str


def require_no_codes(dataset: Dataset) -> None:
    """DescriptionError where points that can only be a code for "missing" would be taken for places."""
    found = [suspect for suspect in suspects(dataset) if suspect.certain]
    if found:
        more = f" (and {len(found) - 1} more such points)" if len(found) > 1 else ""
        raise DescriptionError(
            f"{dataset.path}: {found[0].summary}{more} in {found[0].file}, which looks like a code for a missing point "
            f"and would be taken for a position; {advice(dataset, found)}"
        )


def code_findings(dataset: Dataset) -> list[Finding]:
    """What looks like a code for "missing": an error where it can be nothing else, else a warning."""
    found = suspects(dataset)
    certain = [suspect for suspect in found if suspect.certain]
    asked = [suspect for suspect in found if not suspect.certain]
    findings = [
        Finding(
            "error" if suspect.certain else "warning",
            "missing-code",
            f"{suspect.summary}, which looks like a code for a missing point",
            advice(dataset, certain if suspect.certain else [*certain, suspect]),
            file=suspect.file,
            landmark=suspect.landmarks[0] if len(suspect.landmarks) == 1 else "",
        )
        for suspect in [*certain, *asked[:MOST_ASKED]]
    ]
    if len(asked) > MOST_ASKED:
        message = f"{len(asked) - MOST_ASKED} more points repeat exactly over cases"
        todo = "if they are codes for missing points, list them in `missing_values`; if positions, `missing_values: []`"
        findings.append(Finding("warning", "missing-code", message, todo, file=asked[0].file))
    return findings


def advice(dataset: Dataset, found: Sequence[Suspect]) -> str:
    """What to write in the description, whole: what it has already, too."""
    described = [] if dataset.missing_values is None else dataset.missing_values.listed()
    new = [f"[{suspect.text}]" for suspect in found]
    return (
        f"if so, write `missing_values: [{', '.join(dict.fromkeys([*described, *new]))}]` in the description; "
        "if these are positions, `missing_values: []`"
    )


def suspects(dataset: Dataset) -> list[Suspect]:
    """All points that look like a code, the certain ones first; none where the description says that there is none."""
    if dataset.missing_values is not None and not dataset.missing_values:
        return []
    sources = dataset.cases[0].annotation.sources if dataset.cases else ()
    found: list[Suspect] = []
    for source in sources:
        if isinstance(source, TableSource | FileSource):
            found += _of_source(dataset, source)
    return sorted(found, key=lambda suspect: (not suspect.certain, -suspect.points))


def tell_predicted(dataset: Dataset, table: LandmarkTable, source: str) -> None:
    """A line where predictions hold points that can only be a code, for they count as places far off."""
    if dataset.missing_values is not None and not dataset.missing_values:
        return
    images, image = codes_of(table.image)
    labels, label = codes_of(table.landmark)
    case = np.array(names_of(dataset.cases).match(images).images, dtype=np.int32)[image]
    landmark = numbers_of(labels, dataset.names)[label]
    own = (table.states == State.PRESENT) & (case >= 0) & (landmark >= 0)
    placed = _Placed(table.coordinates[own], case[own], landmark[own], table.frame, table.unit, source)
    found = [suspect for suspect in _of_placed(dataset, placed) if suspect.certain]
    if found:
        tell(
            [
                f"{source}: {found[0].summary}, which looks like a code for a missing point and counts as a position; "
                f"{advice(dataset, found)}"
            ]
        )


def _of_source(dataset: Dataset, source: Source) -> Iterator[Suspect]:
    return _of_placed(dataset, _placed(dataset, source))


def _of_placed(dataset: Dataset, placed: _Placed) -> Iterator[Suspect]:
    if not len(placed.coordinates):
        return
    groups = _equal(placed.coordinates)
    totals = np.bincount(placed.landmark, minlength=len(dataset.names))
    for rows in groups:
        point = tuple(placed.coordinates[rows[0]].tolist())
        marks, cases = np.unique(placed.landmark[rows]), np.unique(placed.case[rows])
        certain = _certain(dataset, placed, rows, point, marks, totals)
        if certain or _odd(placed, rows, point, totals):
            yield Suspect(
                tuple(value + 0.0 for value in point),
                len(rows),
                tuple(dataset.names[int(k)] for k in marks),
                len(cases),
                placed.file,
                certain,
            )


def _certain(
    dataset: Dataset,
    placed: _Placed,
    rows: NDArray[np.int64],
    point: tuple[float, ...],
    marks: NDArray[np.integer],
    totals: NDArray[np.int64],
) -> bool:
    """Whether the point of `rows` can only be a code."""
    if len(rows) < 2:
        return False
    same, large = len(set(point)) == 1, bool({abs(value) for value in point} & LARGE)
    pixel = placed.frame == "pixel"
    if pixel and min(point) < -0.5 and (same or large or (len(rows) > 2 and len(marks) > 1)):
        return True
    if same and point[0] in CODES:
        aligned = len(marks) == 1 and (len(rows) >= TEMPLATE * totals[marks[0]] or _near(placed, marks[0], rows))
        if len(marks) > 1 or not aligned or (pixel and point[0] == 0):
            return True
    return (same or large) and _outside(dataset, placed, rows, point)


def _near(placed: _Placed, mark: int, rows: NDArray[np.int64]) -> bool:
    """Whether the other placements of the landmark mostly lie around the point of `rows`, as where it is a place."""
    others = (placed.landmark == mark) & (placed.coordinates != placed.coordinates[rows[0]]).any(axis=1)
    away = np.linalg.norm(placed.coordinates[others] - placed.coordinates[rows[0]], axis=1)
    return bool(len(away) and np.median(away) <= AROUND)


def _odd(placed: _Placed, rows: NDArray[np.int64], point: tuple[float, ...], totals: NDArray[np.int64]) -> bool:
    """Whether the point of `rows` is one to ask about."""
    if len(rows) == 1:
        return placed.frame == "pixel" and len(set(point)) == 1 and point[0] in CODES and point[0] < 0
    marks, cases = placed.landmark[rows], placed.case[rows]
    several = [case for case in np.unique(cases) if len(np.unique(marks[cases == case])) > 1]
    if len(several) > 1:
        return True
    for mark in np.unique(marks):
        own = len(np.unique(cases[marks == mark]))
        if own >= max(FEWEST, SHARE * len(np.unique(placed.case[placed.landmark == mark]))):
            return True
    return False


def _outside(dataset: Dataset, placed: _Placed, rows: NDArray[np.int64], point: tuple[float, ...]) -> bool:
    """Whether the point lies outside each of the first few images it is given for."""
    outside: list[bool] = []
    for number in np.unique(placed.case[rows])[:3]:
        case = dataset.cases[int(number)]
        try:
            grid = read_header(case.image_path, spacing=case.spacing).grid
            world, _ = to_world(np.array([point]), placed.frame, placed.unit, grid, "")  # type: ignore[arg-type]
            index = grid.world_to_index(world)[0]
        except (AnatomarkError, ValueError):
            return False
        outside.append(bool((index < -0.5).any() or (index > np.array(grid.shape) - 0.5).any()))
    return all(outside)


def _equal(coordinates: Floats) -> Iterator[NDArray[np.int64]]:
    """The rows of each point that is there more than once or is of equal coordinates, by exact equality."""
    order = np.lexsort((coordinates + 0.0).T[::-1])
    ordered = coordinates[order]
    starts = np.flatnonzero(np.r_[True, (ordered[1:] != ordered[:-1]).any(axis=1)])
    ends = np.r_[starts[1:], len(ordered)]
    several = (ends - starts > 1) | (ordered[starts] == ordered[starts][:, :1]).all(axis=1)
    for start, end in zip(starts[several].tolist(), ends[several].tolist(), strict=True):
        yield np.sort(order[start:end])


def _placed(dataset: Dataset, source: Source) -> _Placed:
    if isinstance(source, TableSource):
        present = source.states == State.PRESENT
        case = np.repeat(np.arange(len(source.starts) - 1, dtype=np.int32), np.diff(source.starts))
        return _Placed(
            source.coordinates[present],
            case[present],
            source.landmark[present],
            source.frame,
            source.unit,
            str(source.path),
        )
    return _of_files(dataset, source)


def _of_files(dataset: Dataset, source: FileSource) -> _Placed:
    """The points of all files of a source; those that cannot be read are left to others."""
    known = {name: k for k, name in enumerate(dataset.names)}
    coordinates: list[Floats] = []
    cases: list[int] = []
    landmarks: list[int] = []
    frame, unit = "LPS", str(dataset.unit)
    for number, case in enumerate(dataset.cases):
        try:
            points = source.points(case)
        except AnatomarkError:
            continue
        if points is None:
            continue
        for name, point, state in zip(points.names, points.coordinates, points.states, strict=True):
            if state == State.PRESENT and name in known and len(point) == dataset.ndim:
                coordinates.append(point)
                cases.append(number)
                landmarks.append(known[name])
        frame, unit = points.frame, points.unit
    shaped = np.array(coordinates, dtype=float).reshape(len(coordinates), dataset.ndim)
    return _Placed(shaped, np.array(cases, int), np.array(landmarks, int), frame, unit, Path(source.pattern).as_posix())

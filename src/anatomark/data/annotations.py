"""The two kinds of annotation source: a long table, and one landmark file for each case."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from anatomark.core.grid import Floats, Grid, Unit
from anatomark.core.landmarks import Landmarks, State
from anatomark.data.cases import Case
from anatomark.data.did_you_mean import did_you_mean
from anatomark.data.findings import Finding
from anatomark.data.schema import Annotations
from anatomark.errors import AnatomarkError, DescriptionError, SpacingError, UnknownNameError
from anatomark.formats.frames import FilePoints, swap_ras
from anatomark.formats.image_names import ImageNames, Matches, existing
from anatomark.formats.landmark_table import codes_of
from anatomark.formats.landmarks import read_placements
from anatomark.formats.missing import NOTHING, MissingValues
from anatomark.formats.on_disk import is_file
from anatomark.formats.placements import one_image
from anatomark.formats.text import composed


class UnknownLandmarkError(UnknownNameError):
    """A landmark in an annotation file that the description does not list."""

    def __init__(self, path: Path, landmark: str, known: Sequence[str]) -> None:
        self.landmark = landmark
        super().__init__(
            f"{path}: unknown landmark {landmark!r}{did_you_mean(landmark, known)}; rename it there, or add it to "
            "`landmarks` of the description"
        )


@dataclass(frozen=True, eq=False)
class TableSource:
    """A long table, its rows sorted by case: row k of case c lies between `starts[c]` and `starts[c + 1]`.

    `coordinates` (R, d) are as in the file, in `frame`; `landmark` and `observer` (R,) are numbers into
    `names` and `observers`; `changed` (R,) are times as text, None where the table has none.
    """

    path: Path
    frame: str
    unit: Unit
    names: tuple[str, ...]
    observers: tuple[str, ...]
    at: Mapping[str, int] = field(repr=False)
    starts: NDArray[np.int64] = field(repr=False)
    coordinates: Floats = field(repr=False)
    states: NDArray[np.uint8] = field(repr=False)
    landmark: NDArray[np.int32] = field(repr=False)
    observer: NDArray[np.int32] = field(repr=False)
    changed: NDArray[np.str_] | None = field(default=None, repr=False)

    def rows(self, case: Case) -> slice:
        """The rows of a case; an empty slice where there are none."""
        number = self.at.get(case.id)
        return slice(0, 0) if number is None else slice(int(self.starts[number]), int(self.starts[number + 1]))

    def file(self, case: Case, observer: str) -> Path | None:
        return self.path if observer in self.observers else None

    def read(self, case: Case) -> dict[str, Landmarks]:
        rows = self.rows(case)
        if rows.start == rows.stop:
            return {}
        if self.frame != "pixel" and self.unit != case.unit:
            raise _unit_error(self.path, self.unit, case)
        points = to_world(self.coordinates[rows], self.frame, case, self.path)
        found = {}
        for code in np.unique(self.observer[rows]):
            chosen = self.observer[rows] == code
            names = self.landmark[rows][chosen]
            states = np.full(len(self.names), State.NOT_ANNOTATED, dtype=np.uint8)
            all_points = np.full((len(self.names), points.shape[1]), np.nan)
            states[names], all_points[names] = self.states[rows][chosen], points[chosen]
            found[self.observers[code]] = Landmarks(self.names, all_points, states, case.unit)
        return found


@dataclass(frozen=True)
class FileSource:
    """One landmark file for each case; `pattern` is a full path with {case} in it."""

    pattern: str
    frame: str | None
    observer: str
    names: tuple[str, ...]
    missing: MissingValues = NOTHING

    def file(self, case: Case, observer: str) -> Path | None:
        return self._path(case) if observer == self.observer else None

    def _path(self, case: Case) -> Path:
        return existing(Path(self.pattern.replace("{case}", case.id)))

    def points(self, case: Case) -> FilePoints | None:
        """What the case's file holds, in its own numbers; None where there is no file."""
        path = self._path(case)
        if not is_file(path):
            return None
        table = read_placements(
            path, frame=self.frame, grid_of=lambda _: case.read_grid(), names=self.names, missing=self.missing
        )
        return one_image(table, path)

    def read(self, case: Case) -> dict[str, Landmarks]:
        points, path = self.points(case), self._path(case)
        if points is None:
            return {}
        # Slicer's files speak of the world, whatever the image; others of its pixels, or may do so
        in_image = points.frame == "pixel" or points.unit == "px" or path.suffix.lower() in (".csv", ".tsv")
        landmarks = points.to_landmarks(case.read_grid() if in_image else None, path)
        known = {composed(name): name for name in self.names}
        unknown = [name for name in landmarks.names if composed(name) not in known]
        if unknown:
            raise UnknownLandmarkError(path, unknown[0], self.names)
        if landmarks.unit != case.unit:
            raise _unit_error(path, landmarks.unit, case)
        if landmarks.ndim != case.annotation.ndim:
            raise DescriptionError(
                f"{path}: {landmarks.ndim}D points in a {case.annotation.ndim}D data set; correct `dimension`"
            )
        own = tuple(known[composed(name)] for name in landmarks.names)
        landmarks = Landmarks(own, landmarks.points, landmarks.states, landmarks.unit)
        return {self.observer: landmarks.select(self.names)}


Source = TableSource | FileSource


def open_sources(
    parts: Sequence[Annotations],
    root: Path,
    cases: Sequence[Case],
    names: tuple[str, ...],
    ndim: int,
    *,
    strict: bool,
    missing: MissingValues = NOTHING,
) -> tuple[tuple[Source, ...], list[Finding]]:
    """The sources of a description, and what is wrong with their names; `missing` are points that are none.

    Tables are read here, files a case later. Raises DescriptionError for a missing table or folder. A table
    that cannot be read is an error if `strict`, else a finding.
    """
    images = names_of(cases if any(part.table for part in parts) else ())
    at = {case.id: k for k, case in enumerate(cases)}
    sources: list[Source] = []
    findings: list[Finding] = []
    for part in parts:
        if part.table is not None:
            path = existing(root / part.table)
            if not path.is_file():
                raise DescriptionError(
                    f"the landmark table {path} does not exist; correct `annotations.table`, or the root"
                )
            try:
                sources.append(open_table(part, path, images, at, names, ndim, findings, missing, cases))
            except AnatomarkError as error:
                if strict:
                    raise
                advice = "correct the table, or its columns and frame in the description"
                findings.append(Finding("error", "annotation", str(error), advice, file=str(path)))
        else:
            pattern = (root / (part.files or "")).as_posix()
            before = existing(Path(pattern.split("{case}")[0] + "x").parent)
            if not before.is_dir():
                raise DescriptionError(
                    f"the annotation folder {before} does not exist; correct `annotations.files`, or the root"
                )
            sources.append(FileSource(pattern, part.frame, part.observer or "", names, missing))
    return tuple(sources), findings


def open_table(
    part: Annotations,
    path: Path,
    images: ImageNames,
    at: Mapping[str, int],
    names: tuple[str, ...],
    ndim: int,
    findings: list[Finding],
    missing: MissingValues = NOTHING,
    cases: Sequence[Case] = (),
) -> TableSource:
    """The source in the table at `path`, or another file of many images; faults within it go to `findings`, their rows
    are left out. `cases` are those that `images` number, for formats that need the images."""

    def grid_of(name: str) -> Grid | None:
        found = images.candidates(name) if cases else ()
        return cases[found[0]].read_grid() if len(found) == 1 else None

    columns = {ours: theirs for ours, theirs in part.columns if theirs is not None}
    table = read_placements(
        path, frame=part.frame, grid_of=grid_of, columns=columns or None, names=names, missing=missing
    )
    if table.coordinates.shape[1] != ndim:
        raise DescriptionError(
            f"{path}: {table.coordinates.shape[1]} coordinates per row in a {ndim}D data set; "
            "correct `dimension`, or the columns of `annotations`"
        )
    named, image = codes_of(table.image)
    matches = images.match(named, path)
    case_of = np.array(matches.images, dtype=np.int64)
    labels, label = codes_of(table.landmark)
    landmark_of = numbers_of(labels, names)
    observers, observer = codes_of(table.observer)
    if part.observer is not None:
        observers, observer = [part.observer], np.zeros(len(observer), dtype=np.int32)
    case, landmark = case_of[image], landmark_of[label]

    findings += _strangers(path, named, matches, list(at))
    for code in np.flatnonzero(landmark_of < 0):
        rows = np.flatnonzero(label == code)
        findings.append(
            Finding(
                "error",
                "unknown-landmark",
                f"unknown landmark {labels[code]!r}{did_you_mean(labels[code], names)} "
                f"({'' if table.line is None else f'line {table.line[rows[0]]}, '}{len(rows)} in all)",
                "rename it in the table, or add it to `landmarks` of the description",
                case=str(table.image[rows[0]]),
                file=str(path),
                landmark=labels[code],
            )
        )
    good = np.flatnonzero((case >= 0) & (landmark >= 0))
    place = (case[good] * len(observers) + observer[good]) * len(names) + landmark[good]
    order = good[np.argsort(place, kind="stable")]
    place = np.sort(place, kind="stable")
    for k in np.flatnonzero(place[1:] == place[:-1]):
        first, second = order[k], order[k + 1]
        findings.append(
            Finding(
                "error",
                "duplicate-landmark",
                f"duplicate landmark {str(table.landmark[second])!r}"
                + ("" if table.line is None else f" (lines {table.line[first]} and {table.line[second]})"),
                "keep one row, or distinguish the observers with an `observer` column",
                case=str(table.image[second]),
                file=str(path),
                landmark=str(table.landmark[second]),
            )
        )
    return TableSource(
        path=path,
        frame=table.frame,
        unit=table.unit,
        names=names,
        observers=tuple(observers),
        at=at,
        starts=np.searchsorted(case[order], np.arange(len(at) + 1)),
        coordinates=table.coordinates[order],
        states=table.states[order],
        landmark=landmark[order].astype(np.int32),
        observer=observer[order],
        changed=None if table.changed is None else table.changed[order],
    )


def _strangers(path: Path, images: Sequence[str], matches: Matches, ids: Sequence[str]) -> list[Finding]:
    """Images of a table that are no cases, or may be several; DescriptionError where none is one."""
    strangers = [image for image, case in zip(images, matches.images, strict=True) if case < 0]
    if strangers == [""]:
        raise DescriptionError(
            f"{path} names no image; give one file a case, as `files: folder/{{case}}{path.suffix}`, or name the images"
        )
    if strangers and len(strangers) == len(images):
        raise DescriptionError(
            f"{path}: none of its {len(images)} images (such as {strangers[0]!r}) is a case; "
            "correct `images`, or the column `image` of `annotations`"
        )
    findings = []
    for name in strangers:
        message, advice = "annotated, but no image", "bring the image, or delete its rows"
        if name in matches.several:
            which = ", ".join(ids[number] for number in matches.several[name][:3])
            message = f"annotated, but its name may be any of the cases {which}"
            advice = "write the case's name, or the file's with its folder, in the column `image`"
        findings.append(Finding("warning", "annotation-without-image", message, advice, name, str(path)))
    return findings


def names_of(cases: Sequence[Case]) -> ImageNames:
    """What a table may call the cases: their names, their files, these with their folders."""
    stacks = {case.image_path for case in cases if case.page is not None}
    # of a stack the page's number stands for the file, where there is no other stack that it could be of
    paths = [
        case.image_path
        if case.page is None
        else case.image_path.with_name(str(case.page) if len(stacks) == 1 else case.id)
        for case in cases
    ]
    return ImageNames([case.id for case in cases], paths)


def numbers_of(names: Sequence[str], known: Sequence[str]) -> NDArray[np.int64]:
    """The number of each name among the `known` ones, -1 for others; composed and decomposed Unicode are alike."""
    at = {composed(name): k for k, name in enumerate(known)}
    return np.array([at.get(composed(name), -1) for name in names], dtype=np.int64)


def to_world(coordinates: Floats, frame: str, case: Case, source: str | Path) -> Floats:
    """World LPS points (R, d) of a table's coordinates (R, d) in a case; SpacingError where its image has another unit.

    `source` names the table in messages.
    """
    if frame == "LPS":
        return coordinates
    if frame == "RAS":
        return swap_ras(coordinates)
    if case.is_photo:  # such a file has no origin or direction, so it need not be opened
        return coordinates * np.asarray(case.spacing if case.spacing else 1.0)
    grid = case.read_grid()
    if grid.unit != case.unit:
        raise _unit_error(source, grid.unit, case)
    return grid.index_to_world(coordinates[:, ::-1])


def _unit_error(path: str | Path, unit: str, case: Case) -> SpacingError:
    if case.unit == "px":
        return SpacingError(
            f"{path} is in {unit}, but the spacing of case {case.id!r} is unknown; give `images.spacing`, "
            "or correct `frame`"
        )
    return SpacingError(f"{path} is in {unit} for case {case.id!r}, but the data set is in mm; give `images.spacing`")

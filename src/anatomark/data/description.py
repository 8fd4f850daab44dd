"""The Dataset: what a `dataset.yaml` (see docs/dataset.md) stands for on this machine."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from errno import ENAMETOOLONG
from functools import cached_property
from pathlib import Path

from anatomark.core.grid import Unit
from anatomark.core.landmarks import State
from anatomark.data.annotations import open_sources
from anatomark.data.case_list import list_cases, named_pages
from anatomark.data.cases import AnnotationConfig, Case
from anatomark.data.did_you_mean import did_you_mean
from anatomark.data.findings import Finding
from anatomark.data.image_files import distinct_names
from anatomark.data.measurements import Measurement
from anatomark.data.parse import parse
from anatomark.data.reviews import find_reviews, open_reviews
from anatomark.data.schema import Description
from anatomark.data.yaml_file import read_yaml
from anatomark.errors import (
    AnatomarkError,
    DescriptionError,
    LandmarkFileError,
    SpacingError,
    UnknownNameError,
)
from anatomark.formats.header import Orientation
from anatomark.formats.missing import MissingValues

__all__ = ["Case", "Dataset", "load_dataset", "read_dataset"]


@dataclass(frozen=True, eq=False)
class Dataset:
    """Cases with the names, pairs and splits that hold for all of them; `load_dataset` makes one.

    Attributes:
        path: the description; None for a set made from images alone.
        name: of the data set.
        root: folder that paths are relative to.
        ndim: dimension of the images, 2 or 3.
        unit: "mm", or "px" where the spacing is unknown; lengths are then never called mm.
        names: of the landmarks, in their order.
        pairs: of names that are left and right of each other.
        cases: an image with its annotations each; `case.read_image()`, `case.reference`, `case.observers`.
        reference_rule: "mean" or the name of an observer.
        measurements: angles and lengths by landmark names.
        combined: observers that are no persons.
        session_pattern: its first group in an observer's name is the person.
        missing_values: points that the description takes for missing; None where it says nothing of them.

    Examples:
        >>> dataset = anatomark.load_dataset("my_xrays/dataset.yaml")
        >>> dataset.case("p001_a").reference["sella"]
        array([61.2, 54. ])
    """

    path: Path | None
    name: str
    root: Path
    ndim: int
    unit: Unit
    names: tuple[str, ...]
    pairs: tuple[tuple[str, str], ...]
    cases: tuple[Case, ...] = field(repr=False)
    reference_rule: str = "mean"
    measurements: tuple[Measurement, ...] = ()
    combined: tuple[str, ...] = ()
    session_pattern: re.Pattern[str] | None = None
    missing_values: MissingValues | None = None

    @classmethod
    def from_images(
        cls,
        paths: Sequence[str | Path],
        *,
        ndim: int,
        spacing: Sequence[float] | None = None,
        names: Sequence[str] = (),
        name: str = "images",
        orientation: Orientation = "shown",
        stack: bool = False,
    ) -> Dataset:
        """A data set of images alone, without annotations; `spacing` is mm along x, y[, z] for all of them.

        `orientation` "stored" takes pictures as their pixels lie, not as people see them. With `stack`, every page of
        each file is a case, NAME_1, NAME_2 ...

        Images of the same name get as many of their folders put before it as tell them apart. Raises SpacingError where
        some are in mm and others in px, DescriptionError where names cannot be told apart.
        """
        files = [Path(p) for p in paths]
        ids = distinct_names(files)
        given = tuple(float(s) for s in spacing) if spacing is not None else None
        cases = [Case(i, p, i, None, given, orientation=orientation) for i, p in zip(ids, files, strict=True)]
        if stack:
            cases = [replace(c, id=n, subject=n, page=k) for c in cases for n, k in named_pages(c.image_path, c.id)]
        annotation = AnnotationConfig(tuple(names), ndim, _unit(cases))
        root = Path(os.path.commonpath([p.absolute().parent for p in files])) if files else Path()
        return cls(
            None, name, root, ndim, annotation.unit, annotation.names, (),
            tuple(replace(c, annotation=annotation) for c in cases),
        )  # fmt: skip

    @cached_property
    def splits(self) -> tuple[str, ...]:
        """Names of the splits that have cases, in order of their first case."""
        return tuple(dict.fromkeys(case.split for case in self.cases if case.split is not None))

    def split(self, name: str) -> tuple[Case, ...]:
        """The cases of a split; UnknownNameError where there is none of that name."""
        if name not in self.splits:
            there = ", ".join(self.splits) or "none"
            raise UnknownNameError(
                f"data set {self.name!r} has no split {name!r}{did_you_mean(name, self.splits)}; its splits: {there}"
            )
        return tuple(case for case in self.cases if case.split == name)

    @cached_property
    def _by_id(self) -> dict[str, Case]:
        return {case.id: case for case in self.cases}

    def case(self, id: str) -> Case:
        """The case of that name; UnknownNameError where there is none."""
        if id not in self._by_id:
            raise UnknownNameError(f"data set {self.name!r} has no case {id!r}{did_you_mean(id, self._by_id)}")
        return self._by_id[id]


def load_dataset(path: str | Path, root: str | Path | None = None) -> Dataset:
    """The Dataset that a `dataset.yaml` describes; no image is opened, tables are read.

    A subject in two splits is left to `check`: evaluation of such a set may still be wanted.

    Args:
        path: the description, or a folder that has a dataset.yaml.
        root: where a relative `root:` of the description is looked up (see docs/dataset.md).

    Returns:
        Its cases with their images, annotations and splits.

    Raises:
        DescriptionError: the description does not hold together, or a folder or table is missing.
        UnknownNameError: a table has unknown landmarks.
        LandmarkFileError: a landmark occurs twice.

    Examples:
        >>> dataset = anatomark.load_dataset("my_xrays/dataset.yaml")
        >>> dataset.splits, len(dataset.split("test"))
        (('train', 'test'), 12)
    """
    dataset, findings = read_dataset(path, root, strict=True)
    for code, error in (("unknown-landmark", UnknownNameError), ("duplicate-landmark", LandmarkFileError)):
        bad = [f for f in findings if f.code == code]
        if bad:
            more = f" (and {len(bad) - 1} more; `anatomark check` lists all)" if len(bad) > 1 else ""
            raise error(f"{bad[0].file}: {bad[0].message}{more}; {bad[0].advice}")
    return dataset


def read_dataset(
    path: str | Path, root: str | Path | None = None, *, strict: bool = False
) -> tuple[Dataset, list[Finding]]:
    """As `load_dataset`, but faults within landmark tables are returned and their rows left out."""
    try:
        return _read_dataset(Path(path), root, strict)
    except OSError as error:
        if error.errno != ENAMETOOLONG:
            raise
        end = str(error.filename)[-60:]
        raise DescriptionError(f"{path} names a file ...{end}, and no disk has names that long; correct it") from None


def _read_dataset(path: Path, root: str | Path | None, strict: bool) -> tuple[Dataset, list[Finding]]:
    if path.is_dir() and (path / "dataset.yaml").is_file():
        path = path / "dataset.yaml"
    description = parse(read_yaml(path), str(path))
    folder = data_root(description, path, root)
    names = tuple(description.landmarks)
    try:
        cases = list_cases(description, folder)
        unit = _unit(cases)
        sources, findings = open_sources(
            description.annotations,
            folder,
            cases,
            names,
            description.dimension,
            strict=strict,
            missing=MissingValues.of(description.missing_values or ()),
        )
        tables = [folder / part.table for part in description.annotations if part.table is not None]
        found = find_reviews(description.reviews, path, tables)
        reviews, more = open_reviews(found, cases, names, description.dimension, strict=strict)
    except AnatomarkError as error:
        raise type(error)(f"{path}: {error}") from None
    findings += more
    annotation = AnnotationConfig(
        names=names,
        ndim=description.dimension,
        unit=unit,
        rule=description.reference,
        missing=State.ABSENT if description.missing == "absent" else State.NOT_ANNOTATED,
        sources=sources,
        combined=tuple(description.observers.combined),
        reviews=reviews,
    )
    observers = {o for s in sources for o in getattr(s, "observers", None) or [getattr(s, "observer", "")]}
    if sources and description.reference not in {"mean", *observers}:
        raise DescriptionError(
            f"{path}: `reference` {description.reference!r} is not an observer"
            f"{did_you_mean(description.reference, observers)}; there are: {', '.join(sorted(observers))}"
        )
    session = description.observers.session
    dataset = Dataset(
        path=path,
        name=description.name,
        root=folder,
        ndim=description.dimension,
        unit=unit,
        names=names,
        pairs=tuple(description.pairs),
        cases=tuple(replace(case, annotation=annotation) for case in cases),
        reference_rule=description.reference,
        measurements=tuple(description.measurements),
        combined=tuple(description.observers.combined),
        session_pattern=re.compile(session) if session is not None else None,
        missing_values=None if description.missing_values is None else MissingValues.of(description.missing_values),
    )
    return dataset, findings


def data_root(description: Description, path: Path, root: str | Path | None) -> Path:
    """The folder from which the description's paths start."""
    own = path.absolute().parent
    if description.root is None:
        return Path(root) if root is not None else own
    if Path(description.root).is_absolute():
        return Path(description.root)
    base = Path(root) if root is not None else Path(os.environ.get("ANATOMARK_DATA") or own)
    folder = base / description.root
    if not folder.is_dir():
        said = "--root" if root is not None else "ANATOMARK_DATA" if os.environ.get("ANATOMARK_DATA") else "the yaml"
        raise DescriptionError(
            f"{path}: the data folder {folder} (`root` under {said}) does not exist; set --root or "
            f"ANATOMARK_DATA to the folder that holds {description.root!r}"
        )
    return folder


def _unit(cases: Sequence[Case]) -> Unit:
    """mm, or px where the spacing is unknown; SpacingError where cases differ in that.

    Files that know their geometry are taken to be alike: the header of the first one tells.
    """
    open_cases = [case for case in cases if case.spacing is None]
    if not open_cases:
        return "mm"
    photos = [case for case in open_cases if case.is_photo]
    others = [case for case in open_cases if not case.is_photo]
    with_mm = next((case for case in cases if case.spacing is not None), None)
    if others:
        try:
            unit = others[0].read_grid().unit
        except AnatomarkError:
            unit = "mm"  # a broken file is reported where it is read
        if unit == "px":
            photos = photos or others
        else:
            with_mm = with_mm or others[0]
    if photos and with_mm:
        raise SpacingError(
            f"the spacing of {photos[0].id!r} is unknown while {with_mm.id!r} is in mm; "
            "give the spacing for all images, or for none"
        )
    return "px" if photos else "mm"

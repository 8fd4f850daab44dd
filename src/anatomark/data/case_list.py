"""The list of cases that a description stands for; no image is opened to make it, but a stack for its pages."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from pathlib import Path

from anatomark.data.cases import Case
from anatomark.data.did_you_mean import did_you_mean
from anatomark.data.image_files import match_case_pattern, match_pattern
from anatomark.data.schema import Description
from anatomark.data.splits import assign_splits
from anatomark.errors import DescriptionError, LandmarkFileError, UnknownNameError
from anatomark.formats.image_names import existing, file_named, listing, stem
from anatomark.formats.images import image_name, read_header
from anatomark.formats.landmark_files.long_table import LONG_TABLE
from anatomark.formats.landmarks import read_placements
from anatomark.formats.recognise import format_of
from anatomark.formats.text import Sheet, composed, number, read_sheet


def list_cases(description: Description, root: Path) -> tuple[Case, ...]:
    """All cases under `root`, still without annotations, in the order of the table or of the file names.

    Raises DescriptionError for a missing folder, table or column, no image, or a case that comes twice.
    """
    images = description.images
    folder = existing(root / images.folder)
    if images.cases == "files" and not folder.is_dir():
        raise DescriptionError(
            f"the image folder {folder} does not exist; set --root or ANATOMARK_DATA, or correct `images.folder`"
        )
    columns: dict[str, list[str]] = {}
    pages: Sequence[int | None] | None = None
    if images.table is not None:
        table = existing(root / images.table)
        columns = read_columns(table)
        files = _column(columns, images.columns.image, table, "images.columns.image")
        listed = cache(listing)
        paths = [file_named(folder, name, listed) for name in files]
        if images.columns.case is not None:
            names = _column(columns, images.columns.case, table, "images.columns.case")
        else:
            names = _names(paths)
        if images.columns.page is not None:
            pages = _page_numbers(_column(columns, images.columns.page, table, "images.columns.page"), table)
            if images.columns.case is None:
                names = [f"{name}_{page}" for name, page in zip(names, pages, strict=True)]
    elif images.cases == "annotations":
        names = _annotated_images(description, root)
        paths = [folder / (images.pattern.replace("{case}", n) if "{case}" in images.pattern else n) for n in names]
    elif "{case}" in images.pattern:
        paths, names = match_case_pattern(folder, images.pattern, images.exclude)
    else:
        paths = match_pattern(folder, images.pattern, images.exclude)
        names = _names(paths)
    if not paths:
        where = root / images.table if images.table else folder / images.pattern
        raise DescriptionError(f"no image found by {where}; correct `images` in the description")
    if images.stack and pages is None:
        paths, names, pages = _each_page(paths, names)
    names = [composed(name) for name in names]
    _refuse_paths(names)
    _refuse_twice(names, paths)
    subjects = _subjects(description, names, columns, root)
    splits = _splits(description, names, subjects, columns, root)
    spacings = _spacings(description, columns, root, len(paths))
    rows = zip(names, paths, subjects, splits, spacings, strict=True)
    cases = [Case(*row, orientation=images.orientation) for row in rows]
    return tuple(replace(case, page=page) for case, page in zip(cases, pages or [None] * len(cases), strict=True))


def named_pages(path: Path, name: str) -> list[tuple[str, int]]:
    """(case name, page) of each image in a file: NAME_1, NAME_2 ... where there are several, else NAME."""
    count = read_header(path, page=1).pages
    return [(name, 1)] if count == 1 else [(f"{name}_{page}", page) for page in range(1, count + 1)]


def _each_page(paths: Sequence[Path], names: Sequence[str]) -> tuple[list[Path], list[str], list[int]]:
    """Paths, case names and pages, one of each for every page of the files."""
    rows = [(path, *named) for path, name in zip(paths, names, strict=True) for named in named_pages(path, name)]
    return [path for path, _, _ in rows], [name for _, name, _ in rows], [page for _, _, page in rows]


def _page_numbers(texts: Sequence[str], table: Path) -> list[int]:
    for row, text in enumerate(texts, 2):
        if not (text.isascii() and text.isdecimal() and int(text) > 0):
            raise DescriptionError(f"the table {table}, row {row}: the page {text!r} is not a whole number from 1 on")
    return [int(text) for text in texts]


def read_columns(path: Path) -> dict[str, list[str]]:
    """{column: values} of a CSV or TSV table with a header; DescriptionError where it cannot be read.

    Columns without a name are left out.
    """
    with _table_errors():
        sheet = read_sheet(path)
        rows = [[cell.strip() for cell in cells] for _, cells in sheet.rows]
    _refuse_column_twice(sheet, path)
    return {name: [cells[k] for cells in rows] for k, name in enumerate(sheet.header) if name}


def _read_distinct(table: Path, name: str, key: str) -> dict[str, None]:
    """What stands in a column of a table of any length, each once in order; raises as `read_columns` and `_column`."""
    with _table_errors():
        sheet = read_sheet(table)
        _refuse_column_twice(sheet, table)
        k = sheet.header.index(_known_column(sheet.header, name, table, key))
        return dict.fromkeys(cells[k].strip() for _, cells in sheet.rows)


@contextmanager
def _table_errors() -> Iterator[None]:
    try:
        yield
    except LandmarkFileError as error:
        raise DescriptionError(f"the table {error}") from None


def _refuse_column_twice(sheet: Sheet, path: Path) -> None:
    twice = next((name for name in sheet.header if name and sheet.header.count(name) > 1), None)
    if twice is not None:
        raise DescriptionError(f"the table {path} has a duplicate column {twice!r}; rename one")


def _column(columns: dict[str, list[str]], name: str, table: Path, key: str) -> list[str]:
    return columns[_known_column(columns, name, table, key)]


def _known_column(columns: Collection[str], name: str, table: Path, key: str) -> str:
    if name not in columns:
        known = [*filter(None, columns)]
        raise DescriptionError(
            f"the table {table} has no column {name!r}{did_you_mean(name, known)} "
            f"(there are: {', '.join(known)}); correct `{key}`"
        )
    return name


def _names(paths: Sequence[Path]) -> list[str]:
    return [image_name(path) for path in paths]


def _annotated_images(description: Description, root: Path) -> list[str]:
    """The images that the landmark tables name, each once, without folder and ending."""
    images: dict[str, None] = {}
    for part in description.annotations:
        if part.table is not None:
            table = root / part.table
            if table.is_file() and format_of(table) is not LONG_TABLE:
                images |= dict.fromkeys(read_placements(table, frame=part.frame).image.tolist())
                continue
            images |= _read_distinct(table, part.columns.image or "image", "columns.image")
    return list(dict.fromkeys(stem(image) for image in images))


def _refuse_paths(names: Sequence[str]) -> None:
    """A case's name becomes the name of files, which must not land in other folders."""
    bad = next((name for name in names if name in ("", ".", "..") or "/" in name or "\\" in name), None)
    if bad is not None:
        raise DescriptionError(f"the case name {bad!r} cannot name a file; rename it in `images.columns.case`'s column")


def _refuse_twice(names: Sequence[str], paths: Sequence[Path]) -> None:
    if len(set(names)) == len(names):
        return
    first: dict[str, Path] = {}
    twice: list[str] = []
    for name, path in zip(names, paths, strict=True):
        if name in first:
            twice.append(f"{name!r} ({first[name]} and {path})")
        else:
            first[name] = path
    more = f" and {len(twice) - 3} more" if len(twice) > 3 else ""
    raise DescriptionError(
        f"duplicate cases: {', '.join(twice[:3])}{more}; narrow `images.pattern`, or "
        "name the case by its folder with a pattern like '{case}/image.nii.gz'"
    )


def _subjects(
    description: Description, names: Sequence[str], columns: dict[str, list[str]], root: Path
) -> Sequence[str]:
    rule = description.subjects
    if rule is None:
        return names
    if rule.column is not None:
        table = root / (description.images.table or "")
        values = _column(columns, rule.column, table, "subjects.column")
        # an empty cell is nobody's subject in common: such a case stands for itself
        return [value or name for value, name in zip(values, names, strict=True)]
    pattern = re.compile(rule.pattern or "")
    subjects: list[str] = []
    unmatched: list[str] = []
    for name in names:
        match = pattern.search(name)
        subjects.append(match[1] if match and match[1] else name)
        if not match:
            unmatched.append(name)
    if unmatched:
        raise DescriptionError(
            f"`subjects.pattern` {rule.pattern!r} does not fit {len(unmatched)} of {len(names)} cases, "
            f"such as {unmatched[0]!r}; correct the pattern"
        )
    return subjects


def _splits(
    description: Description,
    names: Sequence[str],
    subjects: Sequence[str],
    columns: dict[str, list[str]],
    root: Path,
) -> Sequence[str | None]:
    if description.split_column is not None:
        table = root / (description.images.table or "")
        values = _column(columns, description.split_column, table, "splits.column")
        return _named_splits(values, description.split_words, table, description.split_column)
    try:
        return assign_splits(names, subjects, description.splits)
    except UnknownNameError as error:
        raise UnknownNameError(f"`splits`: {error}") from None


def _named_splits(values: Sequence[str], words: Mapping[str, str], table: Path, column: str) -> list[str | None]:
    """The split of each case by its word in the column, called as the description calls it; None where it is empty."""
    strange = next((word for word in words if word not in values), None)
    if strange is not None:
        present = list(dict.fromkeys(value for value in values if value))
        raise DescriptionError(
            f"`splits.{words[strange]}`: the column {column!r} of {table} has no {strange!r}"
            f"{did_you_mean(strange, present)} (there are: {', '.join(present)}); correct it"
        )
    return [words.get(value, value) or None for value in values]


def _spacings(
    description: Description, columns: dict[str, list[str]], root: Path, count: int
) -> Sequence[tuple[float, ...] | None]:
    images = description.images
    if images.columns.spacing is None:
        return [tuple(images.spacing) if images.spacing else None] * count
    table = root / (images.table or "")
    texts = zip(*(_column(columns, c, table, "images.columns.spacing") for c in images.columns.spacing), strict=True)
    spacings: list[tuple[float, ...] | None] = []
    for row, cells in enumerate(texts, 2):
        if not any(cells):
            spacings.append(None)
            continue
        try:
            spacing = tuple(number(cell) for cell in cells)
        except ValueError:
            spacing = (0.0,)
        if not all(0 < s < float("inf") for s in spacing):
            raise DescriptionError(
                f"the table {table}, row {row}: the spacing {', '.join(cells)!r} is not a list of positive lengths "
                "in mm"
            )
        spacings.append(spacing)
    return spacings

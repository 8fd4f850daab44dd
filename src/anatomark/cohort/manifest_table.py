"""Manifests in tables, a row at a time: CSV with any of our separators, and Parquet."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Sequence
from typing import IO, Any

from anatomark.cohort.places import file_system, is_uri, local
from anatomark.errors import DescriptionError
from anatomark.formats.text import SEPARATORS, number

_NAMES = {"path": ("path", "uri", "file"), "id": ("id",), "spacing": ("spacing",), "page": ("page",)}
_AXES = ("spacing_x", "spacing_y", "spacing_z")
_BATCH = 1024


def read_csv_rows(name: str) -> Iterator[dict[str, object]]:
    """{path, id, spacing, page} of each row, as far as there are such columns; DescriptionError, with the line."""
    line = 0
    try:
        with _opened(name, text=True) as file:
            head = file.readline()
            separator = max(SEPARATORS, key=head.count)
            header = [cell.strip() for cell in next(csv.reader([head], delimiter=separator), [])]
            places = _places(header, name)
            reader = csv.reader(file, delimiter=separator)
            for cells in reader:
                line = reader.line_num + 1
                if not any(cell.strip() for cell in cells):
                    continue
                if len(cells) < len(header) or any(cell.strip() for cell in cells[len(header) :]):
                    raise DescriptionError(
                        f"{name}, line {line}: {len(cells)} fields, expected {len(header)}; correct it"
                    )
                yield _row({ours: cells[at] for ours, at in places.items()}, f"{name}, line {line}")
    except UnicodeDecodeError:
        raise DescriptionError(f"{name} is not UTF-8 text; save it as 'CSV UTF-8'") from None
    except csv.Error as error:
        raise DescriptionError(f"{name}, line {line + 1}, is not a row of a table ({error}); correct it") from None


def read_parquet_rows(name: str) -> Iterator[dict[str, object]]:
    """As `read_csv_rows`; spacing may be a list."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with _opened(name, text=False) as file:
            table = pq.ParquetFile(file)
            header = table.schema_arrow.names
            places = _places(header, name)
            row = 0
            for batch in table.iter_batches(_BATCH, columns=[header[at] for at in places.values()]):
                columns = [batch.column(header[at]).to_pylist() for at in places.values()]
                for values in zip(*columns, strict=True):
                    row += 1
                    yield _row(dict(zip(places, values, strict=True)), f"{name}, row {row}")
    except pa.ArrowException as error:
        raise DescriptionError(f"{name} is not a Parquet table ({error}); write it again") from None


def _opened(name: str, *, text: bool) -> IO[Any]:
    try:
        if is_uri(name):
            fs, path = file_system(name)
            file = fs.open(path, "rb")
        else:
            file = open(local(name), "rb")  # noqa: SIM115 - the caller closes it
    except OSError as error:
        raise DescriptionError(f"{name} cannot be read: {error.strerror or error}; give a manifest") from error
    return io.TextIOWrapper(file, encoding="utf-8-sig", newline="") if text else file


def _places(header: Sequence[str], name: str) -> dict[str, int]:
    """{our column: its place}."""
    at = {column.lower(): place for place, column in reversed(list(enumerate(header)))}
    if len(at) < len(header):
        twice = next(c for c in header if [other.lower() for other in header].count(c.lower()) > 1)
        if twice:
            raise DescriptionError(f"{name} has a duplicate column {twice!r}; rename one")
    places = {ours: next((at[n] for n in names if n in at), -1) for ours, names in _NAMES.items()}
    places |= {axis: at.get(axis, -1) for axis in _AXES}
    if places["path"] < 0:
        found = ", ".join(filter(None, header)) or "nothing"
        raise DescriptionError(f"{name} has no column path (or uri), only {found}; name the column of images so")
    return {ours: place for ours, place in places.items() if place >= 0}


def _row(cells: dict[str, Any], where: str) -> dict[str, object]:
    path = _text(cells["path"])
    if not path:
        raise DescriptionError(f"{where}: the path is empty; give the image, or leave the row out")
    row: dict[str, object] = {"path": path, "id": _text(cells.get("id"))}
    axes = [cells[axis] for axis in _AXES if axis in cells and _text(cells[axis])]
    spacing = axes or cells.get("spacing")
    if spacing is not None and spacing != "":
        row["spacing"] = _lengths(spacing, where)
    page = _text(cells.get("page"))
    if page:
        if not (page.isascii() and page.isdecimal() and int(page) > 0):
            raise DescriptionError(f"{where}: the page {page!r} is not a whole number from 1 on")
        row["page"] = int(page)
    return row


def _text(value: Any) -> str:
    return "" if value is None else str(value).strip()


def _lengths(value: Any, where: str) -> tuple[float, ...] | None:
    """(x, y[, z]) of a list, or of a text with commas, spaces, semicolons or x between the lengths."""
    texts = re.split(r"\s*[,;x]\s*|\s+", value.strip()) if isinstance(value, str) else [str(v) for v in value]
    if texts == [""]:
        return None
    try:
        lengths = tuple(number(text) for text in texts)
    except ValueError:
        lengths = ()
    if len(lengths) not in (2, 3) or not all(length > 0 for length in lengths):
        raise DescriptionError(
            f"{where}: the spacing {' '.join(texts)!r} is not two or three positive lengths in mm, such as 0.1,0.1"
        )
    return lengths

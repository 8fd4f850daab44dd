"""Text files as people's programs write them: their encoding, the separators of their tables, and their numbers.

Every text file that a person gives comes through `read_text`, every table with a header through `read_sheet`, and every
number through `number`, so that a spreadsheet is read, or refused, in one way wherever it is given.
"""

from __future__ import annotations

import codecs
import csv
import io
import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from anatomark.core.grid import Floats
from anatomark.errors import LandmarkFileError

LARGE = 1 << 22  # bytes of a table from which on it is read line by line, and never held whole
HEAD = 1 << 16  # bytes of a file's beginning, where only that is looked at
SEPARATORS = ",\t;"
_START = 1 << 20  # of a table, where its separator is looked for
_BOMS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),  # begins like UTF-16's
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_OTHER_FILES = (
    (b"PK\x03\x04", "is not text but an archive, as Excel's .xlsx is; in Excel, save the table as 'CSV UTF-8'"),
    (b"\xd0\xcf\x11\xe0", "is not text but an old Office file, as Excel's .xls is; in Excel, save it as 'CSV UTF-8'"),
    (b"\x1f\x8b", "is not text but gzipped; unpack it first"),
    (b"%PDF", "is not text but a PDF; give the table itself, as CSV in UTF-8"),
)
_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_NUMBER_SIGNS = frozenset("0123456789+-.eE \t")
_SEP_LINE = re.compile(r'"?sep=(?P<separator>[^"\r\n])"?[,;\t]*', re.IGNORECASE)


def read_text(path: str | Path, expected: str = "a file of text in UTF-8") -> str:
    """The text of a file: UTF-8, or what its byte order mark says (Excel's "Unicode text" is UTF-16).

    Line ends are as in the file. Raises `LandmarkFileError`; `wanted` ends the line on a file that cannot be opened.
    """
    path = Path(path)
    try:
        return decode(path.read_bytes(), path)
    except OSError as error:
        raise LandmarkFileError(f"{path} cannot be read: {error.strerror}; give {expected}") from error


def read_head(path: str | Path, size: int = HEAD) -> str:
    """The beginning of a file as text, to see what it is; what is no text becomes replacement signs.

    Raises OSError where the file cannot be opened.
    """
    with open(path, "rb") as file:
        content = file.read(size)
    mark, encoding = _encoding(content)
    return content[len(mark) :].decode(encoding, errors="replace")


def decode(content: bytes, source: str | Path) -> str:
    """`content` as text, by its byte order mark or as UTF-8; else `LandmarkFileError` with the true reason."""
    _refuse_other_files(content, source)
    mark, encoding = _encoding(content)
    body = content[len(mark) :]
    try:
        text = body.decode(encoding)
    except UnicodeDecodeError as error:
        raise LandmarkFileError(f"{source} {_no_text(body, encoding, error)}") from None
    if "\0" in text:
        utf16 = _every_other_zero(body)
        what = "looks like UTF-16 without a byte order mark" if utf16 else "holds zero bytes, which text never does"
        raise LandmarkFileError(f"{source} is not UTF-8: it {what}; save it as text, a table as 'CSV UTF-8'")
    return text


def _refuse_other_files(content: bytes, source: str | Path) -> None:
    for start, reason in _OTHER_FILES:
        if content.startswith(start):
            raise LandmarkFileError(f"{source} {reason}")


_UNDECODED = re.compile("[\ud800-\udfff]")  # bytes of file names as Python keeps them, and halves of characters


def composed(text: str) -> str:
    """A name in the one form of Unicode by which names are compared: file names of a Mac come decomposed.

    Bytes of a file name that are no UTF-8, which no text file could hold, are written as \\xe9.
    """
    if text.isascii():
        return text
    return unicodedata.normalize("NFC", _UNDECODED.sub(_written_out, text))


def _written_out(found: re.Match[str]) -> str:
    number = ord(found.group())
    return f"\\x{number - 0xDC00:02x}" if 0xDC80 <= number <= 0xDCFF else f"\\u{number:04x}"


def number(text: str) -> float:
    """The number that `text` is, as a person would write it: 12, -0.5, +3.25e-2.

    Raises ValueError, with the reason, for what Python takes besides (1_0, infinity, nan, digits of other scripts), for
    decimal commas, for nothing, and for numbers too large to be one.
    """
    stripped = text.strip()
    value = float(stripped) if _NUMBER.fullmatch(stripped) else float("nan")
    if not np.isfinite(value):
        decimal = re.fullmatch(r"[+-]?[0-9.]*,[0-9.,]*(?:[eE][+-]?[0-9]+)?", stripped)
        raise ValueError("decimal commas are not read, write a point" if decimal else "expected a number")
    return value


def numbers(texts: Sequence[str]) -> Floats:
    """(n,) numbers, NaN where a text is empty; ValueError as `number`, which says of a single one what is wrong."""
    try:
        if _NUMBER_SIGNS.issuperset("".join(texts)):  # then float() takes nothing but what `number` takes
            values = np.array([float(t) if t and not t.isspace() else np.nan for t in texts], dtype=float)
            if not np.isinf(values).any():
                return values
    except ValueError:
        pass
    return np.array([number(t) if t.strip() else np.nan for t in texts], dtype=float)


@dataclass(frozen=True, eq=False)
class Sheet:
    """A table as text. `rows` gives (line in the file, cells), once; each row has as many cells as the `header`.

    Cells are as in the file. A column without a name whose cells are all empty, as Excel leaves behind, may be there.
    """

    header: list[str]
    rows: Iterator[tuple[int, list[str]]]
    separator: str


def read_sheet(path: str | Path, expected: str = "a .csv or .tsv") -> Sheet:
    """The table in a CSV or TSV; comma, tab or semicolon, by Excel's line `sep=;` or by what parts the header.

    Raises `LandmarkFileError` for what is no text, empty, or, as the rows are taken, has rows of another length.
    """
    path = Path(path)
    try:
        start = read_head(path, _START) if path.stat().st_size >= LARGE else None
    except OSError:
        start = None  # read_text says why
    if start is None:
        return as_sheet(read_text(path, expected), path)
    return _sheet(start, _lines_of_file(path), path)


def as_sheet(text: str, source: str | Path) -> Sheet:
    """As `read_sheet`, of a text; `source` names it in messages."""
    return _sheet(text, _lines(text), source)


def _sheet(start: str, lines: Iterator[str], source: str | Path) -> Sheet:
    """The sheet of `lines`, whose text begins with `start`."""
    first = next(_lines(start), "").strip()
    separator, skipped = None, 0
    if stated := _SEP_LINE.fullmatch(first):
        separator, skipped = stated["separator"], 1
    elif first.lower() == "sep=":  # a tab, stripped away
        separator, skipped = "\t", 1
    separator = separator or max(SEPARATORS, key=_outside_quotes(start).count)
    records = _records(islice(lines, skipped, None), separator, skipped, source)
    first_record = next(records, None)
    header = first_record[1] if first_record is not None else []
    if not header:
        raise LandmarkFileError(f"{source} is empty; expected a header and a row a line")
    return Sheet([name.strip() for name in header], _of_width(records, header, source), separator)


def _records(lines: Iterator[str], separator: str, skipped: int, source: str | Path) -> Iterator[tuple[int, list[str]]]:
    """(line at which it begins, cells) of each row in which anything stands."""
    reader = csv.reader(lines, delimiter=separator)
    begins = skipped + 1
    try:
        for cells in reader:
            if any(cell.strip() for cell in cells):
                yield begins, cells
            begins = skipped + reader.line_num + 1
    except csv.Error as error:
        raise LandmarkFileError(f"{source}, line {begins}, is not a row of a table ({error}); correct it") from None


def _of_width(
    records: Iterator[tuple[int, list[str]]], header: Sequence[str], source: str | Path
) -> Iterator[tuple[int, list[str]]]:
    width = len(header)
    for line, cells in records:
        if len(cells) > width and not any(cell.strip() for cell in cells[width:]):
            cells = cells[:width]  # separators at the end, of columns that are empty and have no name
        if len(cells) != width:
            raise LandmarkFileError(f"{source}, line {line}: {len(cells)} fields, expected {width}; correct it")
        yield line, cells


def _lines(text: str) -> Iterator[str]:
    """The lines with their ends, for a csv.reader; only \\n, \\r\\n and \\r end one."""
    start = 0
    for end in re.finditer(r"\r\n|\n|\r", text):
        yield text[start : end.end()]
        start = end.end()
    if start < len(text):
        yield text[start:]


def _lines_of_file(path: Path) -> Iterator[str]:
    """As `_lines`, of the text in a file, of which little is held at a time."""
    try:
        with open(path, "rb") as file:
            begins = file.read(8)
            _refuse_other_files(begins, path)
            mark, encoding = _encoding(begins)
            file.seek(len(mark))
            with io.TextIOWrapper(file, encoding, newline="") as text:
                for line in text:
                    if "\0" in line:
                        break
                    yield line
                else:
                    return
    except UnicodeDecodeError:
        pass
    except OSError as error:
        raise LandmarkFileError(f"{path} cannot be read: {error.strerror}; try again") from error
    read_text(path)  # says what is wrong with it


def _outside_quotes(text: str) -> str:
    """The first row in which anything stands, without what is quoted: a quoted name may hold any separator."""
    quoted = False
    unquoted: list[str] = []
    for sign in text[:_START]:
        if sign == '"':
            quoted = not quoted
        elif not quoted:
            if sign in "\r\n" and "".join(unquoted).strip():
                break
            unquoted.append(sign)
    return "".join(unquoted)


def _encoding(content: bytes) -> tuple[bytes, str]:
    return next(((mark, name) for mark, name in _BOMS if content.startswith(mark)), (b"", "utf-8"))


def _no_text(body: bytes, encoding: str, error: UnicodeDecodeError) -> str:
    if encoding != "utf-8":
        return f"says that it is {encoding[:6].upper()} and is not ({error.reason}); save it as text again, in UTF-8"
    if b"\0" in body[:HEAD]:
        if _every_other_zero(body):
            return "is not UTF-8: it looks like UTF-16 without a byte order mark; save it as 'CSV UTF-8'"
        return "is not UTF-8 text but binary data; give a text file"
    line = len(re.findall(rb"\r\n|\n|\r", body[: error.start])) + 1
    return f"is not UTF-8 (line {line}; it looks like Windows ANSI); save it as UTF-8, a table as 'CSV UTF-8'"


def _every_other_zero(body: bytes) -> bool:
    """Whether every other byte is mostly zero, as in UTF-16 of a Latin script."""
    sample = body[:4096]
    fewer, more = sorted((sample[0::2].count(0), sample[1::2].count(0)))
    return more > len(sample) / 4 and fewer < len(sample) / 64

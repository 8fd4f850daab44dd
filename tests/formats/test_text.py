"""Text as people's programs write it: encodings, Excel's tables, numbers."""

from __future__ import annotations

import csv
import io
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from anatomark.errors import LandmarkFileError
from anatomark.formats.landmark_files.fcsv import read_fcsv
from anatomark.formats.table import read_table
from anatomark.formats.text import number, numbers, read_head, read_sheet, read_text

ROWS = [["image", "landmark", "x", "y"], ["Müller.png", "größe, oben", "1.5", "-2"], ["b.png", 'sagt "ja"', "3", "4e1"]]
ENCODINGS = ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"]


def table(separator: str, *, quoted: bool, line: str = "\r\n") -> str:
    text = io.StringIO()
    csv.writer(
        text, delimiter=separator, lineterminator=line, quoting=csv.QUOTE_ALL if quoted else csv.QUOTE_MINIMAL
    ).writerows(ROWS)
    return text.getvalue()


def save(folder: Path, content: bytes | str, name: str = "t.csv") -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


@pytest.fixture(autouse=True, params=["at once", "line by line"])
def reading(request, monkeypatch):
    """Every table here is read as small ones are, and as large ones are."""
    if request.param == "line by line":
        monkeypatch.setattr("anatomark.formats.text.LARGE", 0)


def with_mark(text: str, encoding: str) -> bytes:
    """As a program writes it: with a byte order mark where the encoding needs one."""
    mark = {"utf-16-le": b"\xff\xfe", "utf-16-be": b"\xfe\xff"}.get(encoding, b"")
    return mark + text.encode(encoding)


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("quoted", [False, True])
@pytest.mark.parametrize("sep_line", [False, True])
def test_every_encoding_and_separator_gives_the_same_table(tmp_path, encoding, separator, quoted, sep_line):
    text = table(separator, quoted=quoted)
    path = save(tmp_path, with_mark(f"sep={separator}\r\n{text}" if sep_line else text, encoding))
    sheet = read_sheet(path)
    assert sheet.header == ROWS[0]
    assert [cells for _, cells in sheet.rows] == ROWS[1:]
    held = read_table(path, frame="pixel")
    assert held.landmark.tolist() == ["größe, oben", 'sagt "ja"']
    np.testing.assert_array_equal(held.coordinates, [[1.5, -2], [3, 40]])


@pytest.mark.parametrize("line", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("first", ["", "sep=;", '"sep=;"', "SEP=;;;;", "\n"])
def test_lines_are_counted_as_in_the_file(tmp_path, line, first):
    rows = ["landmark;x;y", "a;1;2", "", '"two', 'lines";1;2', "b;1;?"]
    lines = [first, *rows] if first else rows
    content = "\n".join(lines).replace("\n", line)
    wanted = content.split(line).index("b;1;?") + 1
    with pytest.raises(LandmarkFileError, match=rf"line {wanted}: y is '\?'"):
        read_table(save(tmp_path, content), frame="pixel")


def test_a_separator_within_a_quoted_header_is_none(tmp_path):
    sheet = read_sheet(save(tmp_path, '"x, mm; of the, image";"y, mm"\n1;2\n'))
    assert (sheet.header, sheet.separator) == (["x, mm; of the, image", "y, mm"], ";")


def test_sep_is_obeyed_where_the_header_would_be_read_otherwise(tmp_path):
    sheet = read_sheet(save(tmp_path, "sep=|\na,b|c\n1,2|3\n"))
    assert sheet.header == ["a,b", "c"]
    assert list(sheet.rows) == [(3, ["1,2", "3"])]


def test_empty_columns_at_the_end_are_passed_over(tmp_path):
    path = save(tmp_path, "landmark,x,y,,\na,1,2,,\nb,3,4,,\n")
    assert read_table(path, frame="pixel").coordinates.tolist() == [[1, 2], [3, 4]]
    path = save(tmp_path, "landmark,x,y\na,1,2,,\nb,3,4\n")
    assert read_table(path, frame="pixel").landmark.tolist() == ["a", "b"]
    with pytest.raises(LandmarkFileError, match="line 2: 4 fields, expected 3"):
        read_table(save(tmp_path, "landmark,x,y\na,1,2,7\n"), frame="pixel")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("landmark,x,y\nà,1,2\n".encode("latin-1"), r"is not UTF-8 \(line 2; it looks like Windows ANSI\)"),
        ("landmark,x,y\nMüller,1,2\n".encode("cp1252"), "'CSV UTF-8'"),
        ("landmark,x,y\na,1,2\n".encode("utf-16-le"), "UTF-16 without a byte order mark"),
        (b"\xff\xfea", "UTF-16 and is not"),
        (b"PK\x03\x04rest", r"an archive, as Excel's .xlsx is; in Excel, save the table as 'CSV UTF-8'"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", r"Excel's .xls"),
        (b"\x1f\x8b\x08\x00", "gzipped; unpack it"),
        (bytes(range(256)), "binary data|zero bytes|not UTF-8"),
        (b"landmark,x,y\na\0,1,2\n", "zero bytes"),
        (b"sep=;\n\n", "is empty"),
    ],
)
def test_what_is_no_table_is_refused_with_the_true_reason(tmp_path, content, says):
    with pytest.raises(LandmarkFileError, match=says) as caught:
        read_table(save(tmp_path, content), frame="pixel")
    assert "\n" not in str(caught.value)
    assert "t.csv" in str(caught.value)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(LandmarkFileError, match=r"cannot be read: No such file or directory; give a \.csv or \.tsv"):
        read_sheet(tmp_path / "none.csv")
    with pytest.raises(LandmarkFileError, match="give an atlas"):
        read_text(tmp_path / "none.txt", "an atlas")


@pytest.mark.parametrize("text", ["1", "-1", "+2.5", ".5", "3.", "1e-3", "-1.5E+10", " 7 ", "007"])
def test_numbers(text):
    assert number(text) == float(text)
    assert numbers([text, "", "  "])[0] == float(text)
    assert np.isnan(numbers([text, "", "  "])[1:]).all()


@pytest.mark.parametrize(
    "text",
    [
        "1_0",
        "1__2",
        "infinity",
        "inf",
        "-inf",
        "nan",
        "1e999",
        "٣",
        "１２",
        "0x10",
        "1 2",
        "--1",
        "1e",
        "",
        " ",
        "1.2.3",
        "−5",
    ],
)
def test_what_python_takes_and_people_do_not_mean_is_no_number(tmp_path, text):
    with pytest.raises(ValueError, match="expected a number"):
        number(text)
    if text.strip():
        with pytest.raises(ValueError, match="expected a number"):
            numbers(["1", text])
        with pytest.raises(LandmarkFileError, match=r"line 2: x is .*; expected a number"):
            read_table(save(tmp_path, f"landmark,x,y\na,{text},2\n"), frame="pixel")


@pytest.mark.parametrize("text", ["1,5", "-0,25", "1.234,5", "1,234.5", "3,1e2"])
def test_decimal_commas_are_told(text):
    with pytest.raises(ValueError, match="decimal commas are not read, write a point"):
        number(text)


def test_an_underscore_is_no_number_in_slicers_points_either(tmp_path):
    header = "# Markups fiducial file version = 4.11\n# CoordinateSystem = LPS\n# columns = id,x,y,z\n"
    path = save(tmp_path, header + "1,1_0,2,3,0,0,0,1,1,1,0,a,,\n", "a.fcsv")
    with pytest.raises(LandmarkFileError, match="a is at 1_0, 2, 3; expected three numbers"):
        read_fcsv(path)


def test_a_head_is_text_whatever_the_file(tmp_path):
    assert read_head(save(tmp_path, "Grün".encode("utf-16"))) == "Grün"
    assert read_head(save(tmp_path, b"\xff\xd8abc"))[-3:] == "abc"
    assert len(read_head(save(tmp_path, "a" * 100), size=10)) == 10


def test_a_large_table_is_never_held_whole(tmp_path, monkeypatch):
    monkeypatch.setattr("anatomark.formats.text.LARGE", 0)
    monkeypatch.setattr("anatomark.formats.text._START", 1000)
    path = save(tmp_path, "image,landmark,x,y\n" + "case,sella,1.5,2.5\n" * 20_000)
    tracemalloc.start()
    try:
        assert sum(1 for _ in read_sheet(path).rows) == 20_000
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < path.stat().st_size / 2

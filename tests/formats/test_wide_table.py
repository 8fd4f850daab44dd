"""Wide tables: every usual spelling of columns, round trips with odd names, and lines for what is ambiguous."""

import csv
import logging
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anatomark.core.grid import Unit
from anatomark.core.landmarks import State
from anatomark.errors import FrameError, LandmarkFileError
from anatomark.formats.frames import Frame
from anatomark.formats.landmark_files.wide_table import WIDE_TABLE, read_wide_table, write_wide_table
from anatomark.formats.landmark_format import Head
from anatomark.formats.landmark_table import LandmarkTable
from anatomark.formats.text import read_head

LETTERS = st.characters(exclude_categories=("Cs",), exclude_characters="\0") | st.sampled_from(
    list(',;"\t\n\r_.-() xyzX')
)
PIECES = st.sampled_from(["_x", "_y", "x_", " (x)", "_state", "_px", "image", "frame"])
NAMES = st.lists(LETTERS | PIECES, min_size=1, max_size=10).map("".join).map(str.strip).filter(bool)
RESERVED = ("spacing", "pixel_spacing", "voxel_spacing", "size", "image_size", "origin", "offset")


def read(tmp_path, text, frame=None, name="t.csv"):
    path = tmp_path / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return read_wide_table(path, frame=frame, grid_of=lambda _: None)


def recognised(tmp_path, text):
    path = tmp_path / "t.csv"
    path.write_text(text, encoding="utf-8", newline="")
    return WIDE_TABLE.recognises(Head(path, read_head(path)))


def as_dict(table):
    keys = zip(table.image.tolist(), table.landmark.tolist(), strict=True)
    return dict(zip(keys, table.coordinates.tolist(), strict=True))


def table_of(rows, frame: Frame = "pixel", unit: Unit = "px", d=2):
    """rows: (image, observer, landmark, state, point)"""
    states = np.array([row[3] for row in rows], dtype=np.uint8)
    points = np.array([row[4] for row in rows], dtype=float).reshape(len(rows), d)
    points[states != State.PRESENT] = np.nan
    none = np.full(len(rows), np.nan)
    image, observer, landmark = (np.array([row[k] for row in rows], dtype=str) for k in range(3))
    return LandmarkTable(image, landmark, points, states, observer, frame, unit, none, none.copy())


SPELLINGS = [
    "{n}_{a}",
    "{n}.{a}",
    "{n}-{a}",
    "{n} {a}",
    "{a}_{n}",
    "{a}.{n}",
    "{n} ({a})",
    "{n}({a})",
    "{n}[{a}]",
    "{n}_{a}_px",
    "{n}_{a} (px)",
    "{n}.{a}.pixel",
]


@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.parametrize("upper", [False, True])
@pytest.mark.parametrize("image", ["image", "File_Name", "case", "id", ""])
def test_spellings_of_columns(tmp_path, spelling, upper, image):
    axes = "XY" if upper else "xy"
    columns = [spelling.format(n=n, a=a) for n in ("sella", "A point") for a in axes]
    text = ",".join([image, "age", *columns]) + "\n" + "p1.png,70,1,2,3,4\np2.png,71,5,6,7,8.5\n"
    assert recognised(tmp_path, text)
    table = read(tmp_path, text, "pixel")
    assert as_dict(table) == {
        ("p1.png", "sella"): [1, 2],
        ("p1.png", "A point"): [3, 4],
        ("p2.png", "sella"): [5, 6],
        ("p2.png", "A point"): [7, 8.5],
    }
    assert (table.frame, table.unit) == ("pixel", "px")


@pytest.mark.parametrize("header", ["sellaX,sellaY,sellaZ", "x7,y7,z7", "Z7,Y7,X7"])
@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_spellings_without_a_sign_between_and_three_axes(tmp_path, header, separator):
    text = f"sep={separator}\n" if separator == ";" else ""
    text += f"image,{header}\np1,1,2,3\n".replace(",", separator)
    table = read(tmp_path, text, "RAS")
    expected = [3, 2, 1] if header.startswith("Z") else [1, 2, 3]
    assert table.coordinates.tolist() == [expected]
    assert table.landmark.tolist() == ["sella" if "sella" in header else "7"]
    assert (table.frame, table.unit) == ("RAS", "mm")


def test_the_frame_is_asked_for_unless_the_columns_say(tmp_path):
    plain = "image,a_x,a_y\np,1,2\n"
    with pytest.raises(FrameError, match="does not state its coordinate frame"):
        read(tmp_path, plain)
    assert read(tmp_path, plain.replace("a_x,a_y", "a_x_px,a_y_px")).frame == "pixel"
    stated = "image,frame,unit,a_x,a_y\np,RAS,mm,1,2\n"
    assert (read(tmp_path, stated).frame, read(tmp_path, stated).unit) == ("RAS", "mm")
    with pytest.raises(FrameError, match="states the frame RAS"):
        read(tmp_path, stated, "LPS")
    video = "image,frame,a_x,a_y\np,17,1,2\nq,18,3,4\n"
    assert read(tmp_path, video, "pixel").coordinates.tolist() == [[1, 2], [3, 4]]


@pytest.mark.parametrize(
    ("text", "frame", "said"),
    [
        ("image,a_x_mm,a_y_mm\np,1,2\n", "pixel", "states pixel coordinates in mm"),
        ("image,a_x_mm,a_y_px\np,1,2\n", None, "columns in mm and px"),
        ("image,a_x_mm,a_y_mm,a_x_px,a_y_px\np,1,2,3,4\n", "LPS", "has both 'a_x_mm' and 'a_x_px'"),
        ("image,unit,a_x,a_y\np,um,1,2\n", "LPS", "in the unit 'um'"),
        ("image,unit,a_x,a_y\np,mm,1,2\nq,px,1,2\n", "LPS", "mixes the units"),
        ("image,frame,a_x,a_y\np,LPS,1,2\nq,RAS,1,2\n", None, "mixes the frames lps, ras"),
    ],
)
def test_units_and_frames_that_do_not_agree(tmp_path, text, frame, said):
    with pytest.raises((FrameError, LandmarkFileError), match=said):
        read(tmp_path, text, frame)


def test_columns_that_go_with_landmarks_are_said(tmp_path, caplog):
    with caplog.at_level(logging.WARNING, logger="anatomark"):
        read(tmp_path, "Unnamed: 0,a_x,a_y,a_visible,age_x2,note\np,1,2,0,5,a_b\n", "pixel")
    assert "the columns a_visible go with landmarks" in caplog.text


@pytest.mark.parametrize("empty", [",", " , ", "NA,NA", "nan,NaN", "#N/A,n/a"])
def test_cells_without_numbers_are_not_annotated(tmp_path, empty):
    table = read(tmp_path, f"image,a_x,a_y,b_x,b_y\np,1,2,{empty}\n", "pixel")
    assert table.states.tolist() == [State.PRESENT, State.NOT_ANNOTATED]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("image,a_x,a_y,b_x\np,1,2,3\n", "has the column 'b_x' and none for the y of b"),
        ("image,a_x,a_y,a_z,b_x,b_y\np,1,2,3,4,5\n", "for the z of a and none for that of b"),
        ("image,a_x,a_y,b.x,b.y\np,1,2,3,4\n", "spells the columns of b otherwise than 'a_x'"),
        ("image,a_x,a_y,a_x\np,1,2,3\n", "a duplicate column 'a_x'"),
        ("image,a_x,a_y\np,1,\n", "line 2: a coordinate of a is missing"),
        ("image,a_x,a_y\np,1,2\nq,1_0,2\n", "line 3: the x of a is '1_0'; expected a number"),
        ("image;a_x;a_y\np;1,5;2\n", "line 2: the x of a is '1,5'; decimal commas"),
        ("image,a_x,a_y\np,inf,2\n", "line 2: the x of a is 'inf'"),
        ("image,a_x,a_y\np,1,2\np,3,4\n", "line 3: p was there at line 2"),
        ("image,a_x,a_y\np,1,2\n,3,4\n", "line 3: the row names no image"),
        ("a_x,a_y\n1,2\n3,4\n", "2 rows and no column that names the image"),
        ("image,a_x,a_y\np,1,2,3\n", "line 2: 4 fields, expected 3"),
        ("image,frame,unit,a_x,a_y,a_state\np,LPS,mm,1,2,maybe\n", "line 2: the state of a is 'maybe'"),
        ("image,frame,unit,a_x,a_y,a_state\np,LPS,mm,,,present\n", "line 2: a is present without coordinates"),
    ],
)
def test_what_is_ambiguous_or_not_whole_is_one_line(tmp_path, text, said):
    with pytest.raises(LandmarkFileError, match=said) as caught:
        read(tmp_path, text, None if "frame" in text else "pixel")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "image,landmark,x,y,error_x,error_y\np,a,1,2,3,4\n",
        "image,landmark,x_mm,y_mm,x_px,y_px\np,a,1,2,3,4\n",
        "label,l,p,s,defined,a_x,a_y,b_x,b_y\na,1,2,3,1,1,1,1,1\n",
        "case,split,spacing_x,spacing_y\np,train,0.1,0.1\n",
        "case,sella\np,1\n",
        '{"image_x": 1, "image_y": 2}',
        "",
    ],
)
def test_other_tables_are_not_taken_for_wide_ones(tmp_path, text):
    assert not recognised(tmp_path, text)


@st.composite
def tables(draw):
    d = draw(st.sampled_from([2, 3]))
    frame, unit = draw(st.sampled_from([("pixel", "px"), ("LPS", "mm"), ("RAS", "mm"), ("LPS", "px")]))
    number = st.floats(allow_nan=False, allow_infinity=False, width=64)
    names = draw(st.lists(NAMES.filter(lambda n: n.lower() not in RESERVED), unique=True, min_size=1, max_size=6))
    keys = draw(st.lists(st.tuples(NAMES, NAMES | st.just("")), unique=True, min_size=1, max_size=3))
    rows = [
        (*key, name, draw(st.sampled_from(State)), draw(st.lists(number, min_size=d, max_size=d)))
        for key in keys
        for name in names
    ]
    return table_of(rows, frame, unit, d)


@settings(max_examples=60, deadline=None)
@given(tables(), st.sampled_from([".csv", ".tsv"]))
def test_what_is_written_is_read_to_the_last_bit(tmp_path_factory, table, suffix):
    path = tmp_path_factory.mktemp("wide") / f"t{suffix}"
    write_wide_table(table, path, grid_of=lambda _: None)
    assert WIDE_TABLE.recognises(Head(path, read_head(path)))
    back = read_wide_table(path, frame=None, grid_of=lambda _: None)
    for column in ("image", "landmark", "observer", "states"):
        assert getattr(back, column).tolist() == getattr(table, column).tolist()
    assert np.array_equal(back.coordinates, table.coordinates, equal_nan=True)
    assert (back.frame, back.unit) == (table.frame, table.unit)


def test_others_read_what_is_written(tmp_path):
    rows = [("p1", "", "a;b", State.PRESENT, [1.5, 2]), ("p2", "", "c", State.ABSENT, [0, 0])]
    write_wide_table(table_of(rows), tmp_path / "t.csv", grid_of=lambda _: None)
    with open(tmp_path / "t.csv", newline="", encoding="utf-8") as file:
        first, second = csv.DictReader(file)
    common = {"frame": "pixel", "unit": "px"}
    assert first == {
        "image": "p1",
        **common,
        "a;b_x": "1.5",
        "a;b_y": "2.0",
        "c_x": "",
        "c_y": "",
        "c_state": "not annotated",
    }
    assert second == {"image": "p2", **common, "a;b_x": "", "a;b_y": "", "c_x": "", "c_y": "", "c_state": "absent"}


@pytest.mark.parametrize("name", [" a", "a\u3000", "", "spacing", "a\0b"])
def test_names_that_cannot_head_a_column_are_refused(tmp_path, name):
    with pytest.raises(LandmarkFileError, match="cannot head columns"):
        write_wide_table(table_of([("p", "", name, State.PRESENT, [1, 2])]), tmp_path / "t.csv", grid_of=lambda _: None)
    assert list(tmp_path.iterdir()) == []


def test_five_thousand_landmarks_are_quick(tmp_path):
    rng = np.random.default_rng(0)
    rows = [
        ("p", "", f"point {k}", State.PRESENT if k % 7 else State.ABSENT, rng.uniform(0, 4000, 3)) for k in range(5000)
    ]
    table = table_of(rows, "LPS", "mm", 3)
    path = tmp_path / "t.csv"
    start = time.perf_counter()
    write_wide_table(table, path, grid_of=lambda _: None)
    assert WIDE_TABLE.recognises(Head(path, read_head(path)))  # the header is longer than what is looked at
    back = read_wide_table(path, frame=None, grid_of=lambda _: None)
    assert time.perf_counter() - start < 5
    assert np.array_equal(back.coordinates, table.coordinates, equal_nan=True)
    assert back.states.tolist() == table.states.tolist()


def test_names_with_line_ends_stay_in_one_line(tmp_path):
    with pytest.raises(LandmarkFileError, match=r"line 4: a coordinate of a b is missing") as caught:
        read(tmp_path, 'image,"a\nb_x","a\nb_y"\np,1,\n', "pixel")
    assert "\n" not in str(caught.value)

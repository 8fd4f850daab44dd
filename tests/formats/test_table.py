"""Long tables: exact round trips, columns, frames, and errors with their line."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anatomark.core.landmarks import State
from anatomark.errors import FrameError, LandmarkFileError
from anatomark.formats.landmark_table import LandmarkTable, join_tables
from anatomark.formats.landmarks import table_landmarks
from anatomark.formats.table import read_table, write_table

HEADER = "image,landmark,x,y,z,frame,unit,presence,spread"


def save(tmp_path, text, name="a.csv"):
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def same(a, b):
    assert (a.frame, a.unit) == (b.frame, b.unit)
    for field in ("image", "landmark", "observer", "states"):
        np.testing.assert_array_equal(getattr(a, field), getattr(b, field))
    for field in ("coordinates", "presence", "spread"):
        np.testing.assert_array_equal(getattr(a, field), getattr(b, field))


word = st.text(st.characters(blacklist_categories=("Cs", "Cc")), max_size=6).map(str.strip)
number = st.floats(allow_nan=False, allow_infinity=False)
maybe = st.one_of(st.just(np.nan), number)


@st.composite
def tables(draw):
    d = draw(st.sampled_from([2, 3]))
    keys = draw(st.lists(st.tuples(word, word.filter(bool), word), unique=True, max_size=10))
    states = np.array([draw(st.sampled_from(State)) for _ in keys], dtype=np.uint8)
    points = np.array([draw(st.lists(number, min_size=d, max_size=d)) for _ in keys]).reshape(-1, d)
    points[(states != State.PRESENT) & np.array([draw(st.booleans()) for _ in keys], dtype=bool)] = np.nan
    frame = draw(st.sampled_from(["LPS", "RAS", "pixel"]))
    column = [np.array([draw(maybe) for _ in keys]) for _ in range(2)]
    text = [np.array([key[k] for key in keys], dtype=str) for k in range(3)]
    unit = "px" if frame == "pixel" else draw(st.sampled_from(["mm", "px"]))
    return LandmarkTable(text[0], text[1], points, states, text[2], frame, unit, *column)


@settings(max_examples=80, deadline=None)
@given(tables(), st.sampled_from(["a.csv", "a.tsv"]))
def test_what_is_written_is_read_to_the_last_bit(tmp_path_factory, table, name):
    path = tmp_path_factory.mktemp("t") / name
    write_table(table, path)
    again = read_table(path, frame=None if len(table) else table.frame)
    if len(table):
        same(again, table)
    else:
        assert len(again) == 0


def test_the_columns_are_those_of_the_interface(tmp_path):
    table = LandmarkTable.from_rows([("001", "sella", (1.5, 2))], ndim=2)
    write_table(table, tmp_path / "a.csv")
    assert (tmp_path / "a.csv").read_text() == (
        "image,landmark,x,y,frame,unit,presence,spread\n001,sella,1.5,2.0,LPS,mm,,\n"
    )


def test_foreign_tables(tmp_path):
    rater = read_table(save(tmp_path, "image,landmark,x,y,z,rater,extra\nA,N,1,2,3,XY,?\n"), frame="RAS")
    assert (rater.observer[0], rater.frame, rater.unit) == ("XY", "RAS", "mm")
    slicer = read_table(save(tmp_path, "label,r,a,s,defined,selected\nF-1,1,2,3,1,1\n"))
    assert (slicer.frame, slicer.landmark[0], slicer.coordinates[0].tolist()) == ("RAS", "F-1", [1, 2, 3])
    assert read_table(save(tmp_path, "label,l,p,s\nF-1,1,2,3\n")).frame == "LPS"
    mapped = read_table(
        save(tmp_path, "File;Point;X mm;Y mm\nA;N;1;2\n"),
        frame="pixel",
        columns={"image": "file", "landmark": "Point", "x": "X mm", "y": "Y mm"},
    )
    assert (mapped.image[0], mapped.unit, mapped.coordinates.tolist()) == ("A", "px", [[1, 2]])
    bom = read_table(save(tmp_path, "\ufeffimage , Landmark,X,Y\r\n A , N ,1,2\r\n\r\n,,,\r\n"), frame="LPS")
    assert (bom.image.tolist(), bom.landmark.tolist()) == (["A"], ["N"])


def test_rows_without_coordinates_say_what_is_known(tmp_path):
    text = "image,landmark,x,y,state\nA,a,1,2,\nA,b,,,absent\nA,c,,,not annotated\nA,d,,,\nA,e,3,4,Present\n"
    table = read_table(save(tmp_path, text), frame="LPS")
    expected = [State.PRESENT, State.ABSENT, State.NOT_ANNOTATED, State.NOT_ANNOTATED, State.PRESENT]
    assert table.states.tolist() == expected
    marks = table_landmarks(table)["A", ""]
    assert marks.states.tolist() == expected


def test_a_frame_that_nobody_states_is_refused(tmp_path):
    plain = save(tmp_path, "image,landmark,x,y\nA,a,1,2\n")
    with pytest.raises(FrameError, match="state it: LPS, RAS or pixel") as error:
        read_table(plain)
    assert "\n" not in str(error.value)
    assert read_table(plain, frame="lps").frame == "LPS"
    stated = save(tmp_path, "image,landmark,x,y,frame\nA,a,1,2,ras\n", "b.csv")
    assert read_table(stated).frame == "RAS"
    with pytest.raises(FrameError, match="states the frame RAS, but LPS"):
        read_table(stated, frame="LPS")


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("A,a,1,2,3,LPS,mm,,\nA,b,1,2,3,RAS,mm,,", "mixes the frames"),
        ("A,a,1,2,3,LPS,mm,,\nA,b,1,2,3,,mm,,", "mixes the frames"),
        ("A,a,1,2,3,LPS,mm,,\nA,b,1,2,3,LPS,px,,", "mixes the units"),
        ("A,a,1,2,3,LPS,cm,,", "unit 'cm'"),
        ("A,a,1,2,3,pixel,mm,,", "pixel coordinates in mm"),
        ("A,a,1,2,3,MNI,mm,,", "'MNI' is unknown"),
    ],
)
def test_unclear_frames_and_units_are_refused(tmp_path, rows, message):
    with pytest.raises(FrameError, match=message):
        read_table(save(tmp_path, f"{HEADER}\n{rows}\n"))


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("A,a,1,2,3,LPS,mm,,\n\nA,b,1,x,3,LPS,mm,,", r"line 4: y is 'x'; expected a number"),
        ("A,a,1,nan,3,LPS,mm,,", r"line 2: y is 'nan'"),
        ("A,a,1,inf,3,LPS,mm,,", r"line 2: y is 'inf'"),
        ("A,a,1,2,3,LPS,mm,nan,", r"line 2: presence is 'nan'"),
        ("A,a,1,,3,LPS,mm,,", "line 2: a coordinate is missing"),
        ("A,a,1,2,3,LPS,mm,", r"line 2: 8 fields, expected 9"),
        ('A,"a\nb",1,2,3,LPS,mm,,\nA,c,?,2,3,LPS,mm,,', r"line 4: x is '\?'"),
        ("A,,1,2,3,LPS,mm,,", "line 2: the landmark has no name"),
        ("A,a,1,2,3,LPS,mm,,\nB,a,1,2,3,LPS,mm,,\nA,a,1,2,4,LPS,mm,,", "line 4: duplicate row for landmark a, image A"),
    ],
)
def test_errors_name_the_line(tmp_path, rows, message):
    with pytest.raises(LandmarkFileError, match=message) as error:
        read_table(save(tmp_path, f"{HEADER}\n{rows}\n"))
    assert "\n" not in str(error.value)


def test_decimal_commas_are_told_not_guessed(tmp_path):
    with pytest.raises(LandmarkFileError, match="line 2: x is '1,5'; decimal commas are not read"):
        read_table(save(tmp_path, "landmark;x;y\na;1,5;2\n"), frame="LPS")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", "empty"),
        (b"\n\n", "empty"),
        (b"image,x,y\n", "no column landmark, only image, x, y"),
        (b"landmark,x,y,x\n", "duplicate column 'x'"),
        (b"landmark,x,y,state\na,1,2,maybe\n", "line 2: the state is 'maybe'"),
        (b"landmark,x,y,state\na,,,present\n", "line 2: present without coordinates"),
        (b"landmark,x,y\n\xff\xfe,1,2\n", "UTF-8"),
    ],
)
def test_what_is_no_table_is_refused(tmp_path, text, message):
    with pytest.raises(LandmarkFileError, match=message):
        read_table(save(tmp_path, text), frame="LPS")


def test_wrong_maps_are_told(tmp_path):
    path = save(tmp_path, "landmark,x,y\na,1,2\n")
    with pytest.raises(LandmarkFileError, match="no column is called point; ours are image"):
        read_table(path, frame="LPS", columns={"point": "landmark"})
    with pytest.raises(LandmarkFileError, match="no column 'X'; it has landmark, a, b"):
        read_table(save(tmp_path, "landmark,a,b\n"), frame="LPS", columns={"x": "X"})


def test_a_table_of_many_rows_is_quick(tmp_path):
    rows = 100_000
    table = LandmarkTable(
        np.repeat([f"case_{k}" for k in range(rows // 100)], 100),
        np.tile([f"L{k}" for k in range(100)], rows // 100),
        np.random.default_rng(0).normal(size=(rows, 3)),
        np.full(rows, State.PRESENT, dtype=np.uint8),
        np.full(rows, ""),
        "LPS",
        "mm",
        np.full(rows, 0.5),
        np.full(rows, np.nan),
    )
    write_table(table, tmp_path / "a.csv")
    same(read_table(tmp_path / "a.csv"), table)


def test_a_table_cannot_be_changed_or_uneven():
    table = LandmarkTable.from_rows([("A", "a", (1, 2)), ("A", "b", (np.nan, np.nan))], ndim=2)
    assert table.states.tolist() == [State.PRESENT, State.NOT_ANNOTATED]
    assert table.rows(np.array([1])).landmark.tolist() == ["b"]
    with pytest.raises(ValueError, match="read-only"):
        table.coordinates[0] = 3
    with pytest.raises(ValueError, match="must agree"):
        LandmarkTable(*[getattr(table, f) for f in ("image", "landmark")], table.coordinates[:1], *[None] * 6)


def test_bounds_are_in_the_unit_that_their_column_says(tmp_path):
    rows = [("a", "tip", (1.0, 2.0)), ("b", "tip", (3.0, 4.0))]
    for unit, other in (("mm", "px"), ("px", "mm")):
        table = LandmarkTable.from_rows(rows, ndim=2, unit=unit)
        assert table.bound is None
        write_table(table, tmp_path / "without.csv")
        assert "error_bound" not in (tmp_path / "without.csv").read_text()
        assert read_table(tmp_path / "without.csv").bound is None

        path = tmp_path / f"{unit}.csv"
        write_table(replace(table, bound=np.array([1.5, np.nan])), path)
        header, first, second = path.read_text().splitlines()
        assert header.endswith(f",error_bound_{unit}")
        assert first.endswith(",1.5")
        assert second.endswith(",")
        read = read_table(path)
        np.testing.assert_array_equal(read.bound, [1.5, np.nan])
        np.testing.assert_array_equal(read.rows(np.array([1, 0])).bound, [np.nan, 1.5])
        np.testing.assert_array_equal(join_tables([read, read]).bound, [1.5, np.nan] * 2)
        path.write_text(path.read_text().replace(f"error_bound_{unit}", f"error_bound_{other}"))
        with pytest.raises(FrameError, match=f"name their column error_bound_{unit}"):
            read_table(path)


def test_tables_of_several_kinds_are_not_joined():
    rows = [("a", "tip", (1.0, 2.0))]
    mm, px = (LandmarkTable.from_rows(rows, ndim=2, unit=unit) for unit in ("mm", "px"))
    with pytest.raises(ValueError, match="several kinds"):
        join_tables([mm, px])

"""Points with an order: Landmark Editor and Checkpoint, elastix and transformix, MITK, Amira and Avizo."""

import logging
import time
from xml.sax.saxutils import quoteattr

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anatomark.core.grid import Unit
from anatomark.core.landmarks import State
from anatomark.errors import FrameError, LandmarkFileError
from anatomark.formats.frames import Frame
from anatomark.formats.landmark_files.amira import AMIRA, read_amira
from anatomark.formats.landmark_files.elastix_points import ELASTIX, read_elastix, write_elastix
from anatomark.formats.landmark_files.landmark_editor import LANDMARK_EDITOR, read_landmark_editor
from anatomark.formats.landmark_files.mitk import MITK, read_mitk
from anatomark.formats.landmark_format import Head
from anatomark.formats.landmark_table import LandmarkTable

ENDS = ("\n", "\r\n", "\r")


def reading(read, tmp_path, text, frame=None, name="x.txt"):
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read(path, frame=frame, grid_of=lambda _: None)


def known(tmp_path, text, name):
    head = Head(tmp_path / name, text)
    return [f.name for f in (LANDMARK_EDITOR, ELASTIX, MITK, AMIRA) if f.recognises(head)]


# Landmark Editor and Checkpoint

PTS = "Version 1.0\n3\nS000 1.0 2.0 3.0\nleft condyle 4 5 6\nS002 9999.000000 9999.0 9999\n"


@pytest.mark.parametrize("end", ENDS)
def test_landmark_editor(tmp_path, end):
    assert known(tmp_path, PTS, "x.pts") == ["pts"]
    table = reading(read_landmark_editor, tmp_path, PTS.replace("\n", end), "RAS")
    assert table.landmark.tolist() == ["S000", "left condyle", "S002"]
    assert table.coordinates[:2].tolist() == [[1, 2, 3], [4, 5, 6]]
    assert table.states.tolist() == [State.PRESENT, State.PRESENT, State.NOT_ANNOTATED]
    assert (table.frame, table.unit) == ("RAS", "mm")


@pytest.mark.parametrize("code", ["-9999 -9999 -9999", "NaN NaN NaN", "9999 9999.0 9.999e3"])
def test_missing_points_of_checkpoint(tmp_path, code):
    table = reading(read_landmark_editor, tmp_path, f"Version 1.0\n1\na {code}\n", "LPS")
    assert table.states.tolist() == [State.NOT_ANNOTATED]


def test_a_single_9999_is_a_coordinate(tmp_path):
    table = reading(read_landmark_editor, tmp_path, "Version 1.0\n1\na 9999 1 2\n", "LPS")
    assert table.coordinates.tolist() == [[9999, 1, 2]]


def test_semilandmarks_of_curves_and_patches_are_left_out_and_said(tmp_path, caplog):
    text = "Version 1.0\n6\nS000 1 2 3\nC000 1 1 1\nC000 2 2 2\nP000 3 3 3\nP000 4 4 4\nC001 5 5 5\n"
    with caplog.at_level(logging.WARNING, logger="anatomark"):
        table = reading(read_landmark_editor, tmp_path, text, "LPS")
    assert table.landmark.tolist() == ["S000", "C001"]
    assert "the 4 points of 2 curves or patches were not taken" in caplog.text


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (PTS.replace("\n3\n", "\n4\n"), "line 2, says 4 points and 3 follow"),
        (PTS.replace("4 5 6", "4 5"), r"line 4 \(left\): 'condyle' is not a coordinate"),
        (PTS.replace("1.0 2.0 3.0", "1,0 2.0 3.0"), "line 3 .S000.: '1,0' is not a coordinate .decimal commas"),
        (PTS.replace("1.0 2.0 3.0", "1_0 2.0 3.0"), "'1_0' is not a coordinate"),
        (PTS.replace("left condyle", "S000"), "has S000 2 times"),
        (PTS.replace("1.0\n3", "2.0\n3"), "version 2.0, expected 1.0"),
        ("Version 1.0\n", "does not begin with Version"),
    ],
)
def test_odd_files_of_the_landmark_editor_are_one_line(tmp_path, text, said):
    with pytest.raises(LandmarkFileError, match=said) as caught:
        reading(read_landmark_editor, tmp_path, text, "LPS")
    assert "\n" not in str(caught.value)


def test_the_landmark_editor_states_no_frame(tmp_path):
    with pytest.raises(FrameError, match=r"Landmark Editor or Checkpoint.*does not state its coordinate frame"):
        reading(read_landmark_editor, tmp_path, PTS)


# elastix and transformix


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("points", ["1.5 2 3\n4 5 6e1\n", "1.5 2\n4 5\n", "1.5 2 3 4 5 6e1\n", "1.5 2 3 4\n5 6e1\n"])
@pytest.mark.parametrize("word", ["point", "index"])
def test_elastix_points(tmp_path, end, points, word):
    text = f"{word}\n2\n{points}"
    assert known(tmp_path, text, "x.txt") == ["elastix"]
    table = reading(read_elastix, tmp_path, text.replace("\n", end))
    values = [float(cell) for cell in points.split()]
    assert table.coordinates.ravel().tolist() == values
    assert table.landmark.tolist() == ["1", "2"]
    assert (table.frame, table.unit) == (("LPS", "mm") if word == "point" else ("pixel", "px"))


def test_without_the_first_word_elastix_takes_indices(tmp_path, caplog):
    text = "2\n1 2 3\n4 5 6\n"
    assert known(tmp_path, text, "x.txt") == ["elastix"]
    with caplog.at_level(logging.WARNING, logger="anatomark"):
        assert reading(read_elastix, tmp_path, text).frame == "pixel"
    assert "its numbers were taken as voxel indices" in caplog.text


def test_of_transformix_the_points_after_the_transform_are_taken(tmp_path, caplog):
    line = (
        "Point\t{k}\t; InputIndex = [ 1 2 3 ]\t; InputPoint = [ 1.5 2.5 3.5 ]\t; OutputIndexFixed = [ 7 8 9 ]\t"
        "; OutputPoint = [ {x} -2e-1 3.25 ]\t; Deformation = [ 0.1 0.1 0.1 ]\t; OutputIndexMoving = [ 4 5 6 ]\n"
    )
    text = line.format(k=0, x=1.25) + line.format(k=1, x=8)
    assert known(tmp_path, text, "outputpoints.txt") == ["elastix"]
    with caplog.at_level(logging.WARNING, logger="anatomark"):
        table = reading(read_elastix, tmp_path, text)
    assert table.coordinates.tolist() == [[1.25, -0.2, 3.25], [8, -0.2, 3.25]]
    assert (table.frame, table.unit, table.landmark.tolist()) == ("LPS", "mm", ["1", "2"])
    assert "OutputPoint, in the moving image's space" in caplog.text


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("point\n3\n1 2 3\n4 5 6\n", "states 3 points, but has 2"),
        ("point\n1\n1 2 3\n4 5 6\n", "states 1 points, but has 2"),
        ("point\n2\n1 2 3\n4 5\n", "line 4: 5 numbers in total are not 2 points"),
        ("point\n2\n1 2 3\n4 5 6,5\n", "line 4: '6,5' is not a coordinate .decimal commas"),
        ("point\n2\n1 2 3\n4 5 nan\n", "line 4: 'nan' is not a coordinate"),
        ("point\n1_0\n1 2 3\n", "line 2: 1_0 where the number of points"),
        ("point\n", "nothing where the number of points"),
        ("", "is empty"),
        ("Point 0 ; InputPoint = [ 1 2 3 ]\n", "line 1: no OutputPoint"),
        ('point\n1\n1 2 3\nanatomark {"landmarks": ["a", "b"]}\n', "has 2 names for 1 points"),
        ("point\n1\n1 2 3\nanatomark nothing\n", "line 4: no names of landmarks"),
    ],
)
def test_odd_points_files_are_one_line(tmp_path, text, said):
    with pytest.raises(LandmarkFileError, match=said) as caught:
        reading(read_elastix, tmp_path, text)
    assert "\n" not in str(caught.value)


def test_files_of_the_challenge_are_not_for_elastix(tmp_path):
    assert known(tmp_path, "835,996\n" * 19, "001.txt") == []
    assert known(tmp_path, "835.0 996.0\n" * 19, "001.txt") == []
    assert known(tmp_path, "3\nXYZ file\nC 1 2 3\n", "x.txt") == []
    assert known(tmp_path, "point,x,y\na,1,2\n", "x.txt") == []


def table_of(names, points, frame: Frame = "LPS", unit: Unit = "mm", states=None):
    rows, none = len(names), np.full(len(names), np.nan)
    states = [State.PRESENT] * rows if states is None else states
    empty = np.full(rows, "", dtype=str)
    points = np.array(points, dtype=float)
    return LandmarkTable(
        empty, np.array(names, dtype=str), points, np.array(states, dtype=np.uint8), empty, frame, unit, none, none
    )


letter = st.characters(exclude_categories=("Cs",), exclude_characters="\0") | st.sampled_from('"\n\\[]')


@st.composite
def tables(draw):
    d = draw(st.sampled_from([2, 3]))
    names = draw(st.lists(st.text(letter, min_size=1).filter(str.strip), unique=True, min_size=1, max_size=6))
    number = st.floats(allow_nan=False, allow_infinity=False)
    points = [draw(st.lists(number, min_size=d, max_size=d)) for _ in names]
    return table_of(names, points, *draw(st.sampled_from([("LPS", "mm"), ("pixel", "px")])))


@settings(max_examples=60, deadline=None)
@given(tables())
def test_elastix_points_are_read_to_the_last_bit(tmp_path_factory, table):
    path = tmp_path_factory.mktemp("elastix") / "x.txt"
    write_elastix(table, path, grid_of=lambda _: None)
    back = read_elastix(path, frame=None, grid_of=lambda _: None)
    assert back.landmark.tolist() == table.landmark.tolist()
    assert np.array_equal(back.coordinates, table.coordinates)
    assert (back.frame, back.unit) == (table.frame, table.unit)
    word, count, *rest = path.read_text(encoding="utf-8").split()  # as elastix reads: no further than the last point
    assert word == ("point" if table.unit == "mm" else "index")
    found = [float(cell) for cell in rest[: int(count) * table.ndim]]
    assert found == table.coordinates.ravel().tolist()


def test_elastix_points_cannot_hold_landmarks_without_a_place(tmp_path):
    table = table_of(["a", "b"], [[1, 2], [np.nan, np.nan]], states=[State.PRESENT, State.ABSENT])
    with pytest.raises(LandmarkFileError, match=r"hold positions only, and b \(1 of 2\) have none"):
        write_elastix(table, tmp_path / "x.txt", grid_of=lambda _: None)
    with pytest.raises(LandmarkFileError, match="write LPS"):
        write_elastix(table_of(["a"], [[1, 2]], "RAS"), tmp_path / "x.txt", grid_of=lambda _: None)
    assert list(tmp_path.iterdir()) == []


def test_five_thousand_elastix_points_are_quick(tmp_path):
    points = np.random.default_rng(0).uniform(-300, 300, (5000, 3))
    table = table_of([f"point {k}" for k in range(5000)], points)
    start = time.perf_counter()
    write_elastix(table, tmp_path / "x.txt", grid_of=lambda _: None)
    back = read_elastix(tmp_path / "x.txt", frame=None, grid_of=lambda _: None)
    assert time.perf_counter() - start < 5
    assert np.array_equal(back.coordinates, points)


# MITK


def mps(points, geometry="", *, id_of=lambda k: k):
    inner = "".join(
        f"<point><id>{id_of(k)}</id><specification>0</specification><x>{x}</x><y>{y}</y><z>{z}</z></point>\n"
        for k, (x, y, z) in enumerate(points)
    )
    return f"<time_series><time_series_id>0</time_series_id>{geometry}{inner}</time_series>"


def mitk_file(*sets):
    body = "".join(f"<point_set>{steps}</point_set>" for steps in sets)
    head = '<?xml version="1.0" encoding="UTF-8" ?>\n<point_set_file>\n<file_version>0.1</file_version>\n'
    return f"{head}{body}</point_set_file>\n"


def geometry_of(matrix, offset):
    cells = " ".join(f"m_{r}_{c}={quoteattr(repr(float(matrix[r, c])))}" for r in range(3) for c in range(3))
    where = " ".join(f"{axis}={quoteattr(repr(float(v)))}" for axis, v in zip("xyz", offset, strict=True))
    return (
        f'<Geometry3D ImageGeometry="false" FrameOfReferenceID="0"><IndexToWorld type="Matrix3x3" {cells}/>'
        f'<Offset type="Vector3D" {where}/></Geometry3D>'
    )


POINTS = [[1.5, -2, 3], [4, 5, 6e1]]


@pytest.mark.parametrize("geometry", ["", geometry_of(np.eye(3), [0, 0, 0])])
def test_mitk_point_set(tmp_path, geometry):
    text = mitk_file(mps(POINTS, geometry))
    assert known(tmp_path, text, "x.mps") == ["mitk"]
    table = reading(read_mitk, tmp_path, text, name="x.mps")
    assert table.coordinates.tolist() == POINTS
    assert (table.frame, table.unit, table.landmark.tolist()) == ("LPS", "mm", ["1", "2"])
    bare = mitk_file(mps(POINTS).replace("<time_series>", "").replace("</time_series>", ""))
    assert reading(read_mitk, tmp_path, bare).coordinates.tolist() == POINTS
    empty = reading(read_mitk, tmp_path, mitk_file(mps([])))
    assert empty.coordinates.shape == (0, 3)


def test_mitk_points_are_placed_by_their_geometry(tmp_path):
    rng = np.random.default_rng(3)
    matrix, offset = rng.normal(size=(3, 3)), rng.normal(size=3)
    table = reading(read_mitk, tmp_path, mitk_file(mps(POINTS, geometry_of(matrix, offset))))
    expected = [[sum(matrix[r, c] * p[c] for c in range(3)) + offset[r] for r in range(3)] for p in POINTS]
    np.testing.assert_allclose(table.coordinates, expected, rtol=1e-12)


def test_mitk_numbers_with_gaps_are_said(tmp_path, caplog):
    with caplog.at_level(logging.WARNING, logger="anatomark"):
        table = reading(read_mitk, tmp_path, mitk_file(mps(POINTS, id_of=lambda k: 5 - 3 * k)))
    assert table.coordinates.tolist() == POINTS[::-1]
    assert "have gaps" in caplog.text


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (mitk_file(mps(POINTS) + mps(POINTS)), "holds 2 point sets or time steps with points .lines 4, 6"),
        (mitk_file(mps(POINTS), mps(POINTS)), "holds 2 point sets or time steps"),
        (mitk_file(mps(POINTS))[:-30], "is not valid XML .no element found|is not valid XML"),
        (mitk_file(mps(POINTS)).replace("<z>3</z>", ""), "line 4: the point has no <z>"),
        (mitk_file(mps(POINTS)).replace("1.5", "1,5"), "line 4: '1,5' is not a coordinate"),
        (mitk_file(mps(POINTS)).replace("1.5", "nan"), "'nan' is not a coordinate"),
        (mitk_file(mps(POINTS, id_of=lambda _: 0)), "line 5: duplicate point 0"),
        (mitk_file(mps(POINTS, id_of=lambda _: "x")), "the point's id is 'x'"),
        (mitk_file(mps(POINTS, geometry_of(np.zeros((3, 3)), [0, 0, 0]))), "Geometry3D places no points"),
        (mitk_file(mps(POINTS, "<Geometry3D/>")), "no whole IndexToWorld and Offset"),
        ("<other/>", "is XML of another kind .<other>"),
        ('<!DOCTYPE a [<!ENTITY b "c">]>' + mitk_file(mps(POINTS)).split("?>")[1], "declares a document type"),
        (
            '<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><point_set_file>&b;</point_set_file>',
            "declares a document type",
        ),
        (mitk_file(mps(POINTS)).replace("UTF-8", "KLINGON").encode(), "is not valid XML|is not readable XML"),
        (b"\xff\xfe\x00", "XML"),
        ("", "is not valid XML"),
    ],
)
def test_odd_point_sets_are_one_line(tmp_path, text, said):
    with pytest.raises(LandmarkFileError, match=said) as caught:
        reading(read_mitk, tmp_path, text)
    assert "\n" not in str(caught.value)


# Amira and Avizo


def amira(first="# Avizo 3D ASCII 2.0", unit="", sets=1, count=2, kind="float"):
    unit = f'Units {{ Coordinates "{unit}" }}' if unit else ""
    head = f"{first}\n\n\ndefine Markers {count}\n\nParameters {{\n {unit}\n NumSets {sets},\n"
    head += ' ContentType "LandmarkSet"\n}\n'
    head += f"\nMarkers {{ {kind}[3] Coordinates }} @1\n"
    head += "Markers { float[3] Coordinates2 } @2\n" * (sets - 1) + "Markers { int MarkerType } @3\n"
    data = "1.5 -2.000000000000000e+00 3\n4 5 60 \n"
    return head + f"\n# Data section follows\n@1\n{data}" + "\n@2\n7 7 7\n8 8 8\n" * (sets - 1) + "\n@3\n1\n1\n"


@pytest.mark.parametrize("first", ["# Avizo 3D ASCII 2.0", "# AmiraMesh 3D ASCII 2.0", "# HyperMesh 3D ASCII 1.0"])
@pytest.mark.parametrize("end", ENDS)
def test_amira_landmark_set(tmp_path, first, end):
    assert known(tmp_path, amira(first), "x.landmarkAscii") == ["amira"]
    table = reading(read_amira, tmp_path, amira(first).replace("\n", end), "LPS")
    assert table.coordinates.tolist() == POINTS
    assert (table.frame, table.unit, table.landmark.tolist()) == ("LPS", "mm", ["1", "2"])
    with pytest.raises(FrameError, match="does not state its coordinate frame"):
        reading(read_amira, tmp_path, amira(first))


def test_of_a_paired_set_the_first_is_taken(tmp_path, caplog):
    with caplog.at_level(logging.WARNING, logger="anatomark"):
        assert reading(read_amira, tmp_path, amira(sets=2), "LPS").coordinates.tolist() == POINTS
    assert "its first set was taken, its second was not" in caplog.text


@pytest.mark.parametrize(("unit", "scale"), [("mm", 1), ("um", 1e-3), ("\u00b5m", 1e-3), ("m", 1e3)])
def test_the_unit_of_amira_is_turned_into_mm(tmp_path, unit, scale):
    table = reading(read_amira, tmp_path, amira(unit=unit), "RAS")
    np.testing.assert_allclose(table.coordinates, np.array(POINTS) * scale, rtol=1e-15)
    with pytest.raises(FrameError, match="states a unit of length"):
        reading(read_amira, tmp_path, amira(unit=unit), "pixel")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (amira(count=3), "defines 3 markers and has 2"),
        (amira()[:-40], "defines 2 markers and has|is not a coordinate|coordinates, expected 3"),
        (amira().replace("\n@1\n", "\n"), "ends before its Coordinates .@1. begin"),
        (amira().replace("define", "refine"), "has no 'define Markers'"),
        (amira(kind="int"), r"its Coordinates are int\[3\]"),
        (amira().replace("1.5 -2", "1,5 -2"), "line 17: '1,5' is not a coordinate"),
        (amira().replace("4 5 60", "4 5"), "line 18: 2 coordinates, expected 3"),
        (amira(unit="furlong"), "in the unit 'furlong'"),
        (
            b"# AmiraMesh BINARY-LITTLE-ENDIAN 2.1\n\ndefine Markers 2\n@1\n\xff\xff\x00\x01",
            "save it there as LandmarkSet",
        ),
        ("something else\n", "does not begin as a file of Amira"),
    ],
)
def test_odd_landmark_sets_are_one_line(tmp_path, text, said):
    with pytest.raises((LandmarkFileError, FrameError), match=said) as caught:
        reading(read_amira, tmp_path, text, "LPS")
    assert "\n" not in str(caught.value)

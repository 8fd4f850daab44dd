"""Landmark files: exact round trips, the frames of Slicer's vintages, and refusals."""

import json
import os
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anatomark.core.grid import Grid
from anatomark.core.landmarks import Landmarks, State
from anatomark.errors import AnatomarkError, FrameError, LandmarkFileError, OutputError, UnknownNameError
from anatomark.formats.landmark_files.cephalometric import NAMES
from anatomark.formats.landmarks import read_landmarks, write_landmarks

SLICER = (".mrk.json", ".fcsv")
TABLES = (".csv", ".tsv")
GRID_2D = Grid.from_geometry((200, 150), spacing=(0.25, 0.5), origin=(-7, 3))
GRID_3D = Grid.from_geometry(
    (20, 30, 40),
    spacing=(0.5, 0.7, 2),
    origin=(1, -2, 3),
    direction=[[0.8, -0.6, 0], [0.6, 0.8, 0], [0, 0, -1]],
)

label = st.text(
    st.characters(blacklist_categories=("Cs", "Cc")) | st.sampled_from(',";#=\'"\t'), min_size=1, max_size=12
).filter(lambda text: text.strip() == text and text)


@st.composite
def landmarks(draw, units=("mm", "px")):
    d = draw(st.sampled_from([2, 3]))
    names = draw(st.lists(label, unique=True, min_size=1, max_size=8))
    states = draw(st.lists(st.sampled_from(State), min_size=len(names), max_size=len(names)))
    number = st.floats(allow_nan=False, allow_infinity=False, width=64)
    points = [draw(st.lists(number, min_size=d, max_size=d)) for _ in names]
    return Landmarks(tuple(names), np.array(points), np.array(states), draw(st.sampled_from(units)))


@settings(max_examples=60, deadline=None)
@given(landmarks(), st.sampled_from(SLICER + TABLES), st.sampled_from(["LPS", "RAS"]))
def test_what_is_written_is_read_to_the_last_bit(marks, suffix, frame):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"case{suffix}"
        write_landmarks(marks, path, frame=frame)
        assert read_landmarks(path) == marks
        assert [p.name for p in Path(folder).iterdir()] == [path.name]


@settings(max_examples=30, deadline=None)
@given(landmarks(units=("px",)), st.sampled_from(TABLES))
def test_pixel_coordinates_of_px_landmarks_are_exact(marks, suffix):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"case{suffix}"
        write_landmarks(marks, path, frame="pixel")
        assert read_landmarks(path) == marks


@pytest.mark.parametrize("grid", [GRID_2D, GRID_3D])
def test_pixel_coordinates_of_a_grid_are_column_row_slice(tmp_path, grid):
    index = np.array([[3.25, 7, 11], [0, 0, 0]])[:, -grid.ndim :]
    marks = Landmarks.from_points(["a", "b"], grid.index_to_world(index))
    write_landmarks(marks, tmp_path / "a.csv", frame="pixel", grid=grid)
    text = (tmp_path / "a.csv").read_text().splitlines()
    numbers = [float(cell) for cell in text[1].split(",")[2 : 2 + grid.ndim]]
    np.testing.assert_allclose(numbers, index[0, ::-1], atol=1e-9)
    assert text[1].split(",")[2 + grid.ndim : 4 + grid.ndim] == ["pixel", "px"]
    again = read_landmarks(tmp_path / "a.csv", grid=grid)
    assert again.unit == "mm"
    np.testing.assert_allclose(again.points, marks.points, atol=1e-9)


def node(**changes):
    points = [
        {"id": "1", "label": "N", "position": [1.5, -2.0, 3]},
        {"id": "2", "label": "S", "position": [4.0, 5.0, 6.0], "positionStatus": "defined"},
        {"id": "3", "label": "gone", "position": [0.0, 0.0, 0.0], "positionStatus": "missing"},
        {"id": "4", "label": "skipped", "position": "", "positionStatus": "undefined"},
        {"id": "5", "label": "hovering", "position": [9.0, 9.0, 9.0], "positionStatus": "preview"},
        {"id": "6", "label": "bare"},
        {"id": "7", "label": "R", "position": ["NA", "NA", "NA"], "positionStatus": "missing"},
    ]
    return {
        "type": "Fiducial",
        "coordinateSystem": "LPS",
        "coordinateUnits": "mm",
        "controlPoints": points,
    } | changes


def save(path, *nodes):
    path.write_text(json.dumps({"@schema": "...", "markups": list(nodes)}))
    return path


def test_slicer_tells_missing_undefined_and_defined_apart(tmp_path):
    marks = read_landmarks(save(tmp_path / "a.mrk.json", node()))
    assert dict(zip(marks.names, marks.states.tolist(), strict=True)) == {
        "N": State.PRESENT,
        "S": State.PRESENT,
        "gone": State.ABSENT,
        "skipped": State.NOT_ANNOTATED,
        "hovering": State.NOT_ANNOTATED,
        "bare": State.NOT_ANNOTATED,
        "R": State.ABSENT,
    }
    assert marks["N"].tolist() == [1.5, -2, 3]


@pytest.mark.parametrize(("system", "sign"), [("LPS", 1), ("RAS", -1), ("1", 1), ("0", -1), (1, 1), (0, -1)])
@pytest.mark.parametrize(
    ("units", "scale"),
    [
        ("mm", 1),
        (["mm", "UCUM", "millimeter"], 1),
        ('(mm, UCUM, "millimeter")', 1),
        (None, 1),
        ([], 1),
        ("um", 1e-3),
        (["um", "UCUM", "micrometer"], 1e-3),
    ],
)
def test_slicer_states_its_frame_and_unit(tmp_path, system, sign, units, scale):
    path = save(tmp_path / "a.mrk.json", node(coordinateSystem=system, coordinateUnits=units))
    np.testing.assert_allclose(read_landmarks(path)["N"], np.array([1.5 * sign, -2 * sign, 3]) * scale)


def test_units_that_are_left_out_are_mm(tmp_path):
    bare = node()
    del bare["coordinateUnits"]
    assert read_landmarks(save(tmp_path / "a.mrk.json", bare)).unit == "mm"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"coordinateSystem": None}, "does not state its coordinate frame"),
        ({"coordinateSystem": "IJK"}, "coordinate system 'IJK'"),
        ({"coordinateSystem": "2"}, "coordinate system '2'"),
        ({"coordinateUnits": "inch"}, "unit 'inch'"),
        ({"coordinateUnits": ["mm", "SI", "x"]}, "code 'SI'"),
    ],
)
def test_unknown_frames_and_units_of_slicer_are_refused(tmp_path, changes, message):
    with pytest.raises(FrameError, match=message) as error:
        read_landmarks(save(tmp_path / "a.mrk.json", node(**changes)))
    assert "\n" not in str(error.value)


def test_a_frame_that_is_not_stated_may_be_given_and_one_that_is_may_not_be_changed(tmp_path):
    path = save(tmp_path / "a.mrk.json", node(coordinateSystem=""))
    assert read_landmarks(path, frame="ras")["N"].tolist() == [-1.5, 2, 3]
    with pytest.raises(FrameError, match="states the frame LPS, but RAS was given"):
        read_landmarks(save(path, node()), frame="RAS")
    with pytest.raises(FrameError, match="'MNI' is unknown"):
        read_landmarks(path, frame="MNI")


def test_several_point_lists_come_together_each_in_its_frame(tmp_path):
    left = node(controlPoints=[{"label": "a", "position": [1, 2, 3]}])
    right = node(controlPoints=[{"label": "b", "position": [1, 2, 3]}], coordinateSystem="RAS", type="PointList")
    box = {"type": "ROI", "controlPoints": [{"label": "R-1", "position": [0, 0, 0]}]}
    marks = read_landmarks(save(tmp_path / "a.mrk.json", left, box, right))
    assert marks == Landmarks.from_points(["a", "b"], [[1, 2, 3], [-1, -2, 3]])
    with pytest.raises(LandmarkFileError, match="no point list, only ROI"):
        read_landmarks(save(tmp_path / "a.mrk.json", box))
    with pytest.raises(LandmarkFileError, match="duplicate landmarks: a"):
        read_landmarks(save(tmp_path / "a.mrk.json", left, left))


def test_a_point_without_a_label_takes_its_description_or_its_id(tmp_path):
    points = [
        {"id": "7", "label": "", "description": "nasion", "position": [0, 0, 0]},
        {"id": "8", "label": " ", "description": "", "position": [0, 0, 1]},
        {"position": [0, 0, 2]},
    ]
    path = save(tmp_path / "a.mrk.json", node(controlPoints=points))
    assert read_landmarks(path).names == ("nasion", "8", "3")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not valid JSON"),
        ('{"markups": [{"type": "Fiducial", "contr', "not valid JSON"),
        ("[1, 2]", "no Slicer markups"),
        ('{"markups": [3]}', "no Slicer markups"),
        ('{"markups": [{"coordinateSystem": "LPS", "controlPoints": [1]}]}', "not a list of points"),
    ],
)
def test_damaged_json_is_one_line(tmp_path, text, message):
    path = tmp_path / "a.mrk.json"
    path.write_text(text)
    with pytest.raises(LandmarkFileError, match=message) as error:
        read_landmarks(path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "point",
    [
        {"label": "N", "position": [1, 2]},
        {"label": "N", "position": [1, 2, float("nan")]},
        {"label": "N", "position": ["1", "2", "3"]},
        {"label": "N", "position": [True, 2, 3]},
        {"label": "N", "position": [10**400, 2, 3]},
        {"label": "N", "position": {"x": 1}},
        {"label": "N", "position": [], "positionStatus": "defined"},
        {"label": "N", "position": [1, 2, 3], "positionStatus": "sure"},
    ],
)
def test_a_defined_point_needs_three_numbers(tmp_path, point):
    with pytest.raises(LandmarkFileError, match=r"N (is defined|has the status)"):
        read_landmarks(save(tmp_path / "a.mrk.json", node(controlPoints=[point])))


def test_slicer_opens_what_we_write(tmp_path):
    """What its readers since 4.11 demand: whole numbers with a point, an empty position where there is none."""
    marks = Landmarks.from_dict({"a": [1, 2, 3], "b": State.ABSENT, "c": State.NOT_ANNOTATED}, ndim=3)
    write_landmarks(marks, tmp_path / "a.mrk.json")
    data = json.loads((tmp_path / "a.mrk.json").read_text())
    assert data["@schema"].endswith("markups-schema-v1.0.3.json#")
    (written,) = data["markups"]
    assert written["type"] == "Fiducial"
    assert (written["coordinateSystem"], written["coordinateUnits"]) == ("LPS", "mm")
    a, b, c = written["controlPoints"]
    assert all(type(value) is float for value in a["position"] + a["orientation"])
    assert (b["position"], b["positionStatus"]) == ([], "missing")
    assert (c["position"], c["positionStatus"]) == ([], "undefined")


def test_px_is_never_called_mm_in_a_slicer_file(tmp_path):
    marks = Landmarks.from_points(["a"], [[1, 2]], unit="px")
    write_landmarks(marks, tmp_path / "a.mrk.json")
    assert '"mm"' not in (tmp_path / "a.mrk.json").read_text()


HEADER = "# Markups fiducial file version = {}\n# CoordinateSystem = {}\n# columns = id,x,y,z,...\n"


@pytest.mark.parametrize(
    ("version", "system", "sign"),
    [("4.6", "0", -1), ("4.10", "0", -1), ("4.10", "1", 1), ("4.11", "LPS", 1), ("5.6", "RAS", -1), ("5.6", "LPS", 1)],
)
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_fcsv_of_all_vintages(tmp_path, version, system, sign, newline):
    path = tmp_path / "a.fcsv"
    rows = "vtkMRMLMarkupsFiducialNode_0,1.5,-2,3,0,0,0,1,1,1,0,N,,vtkMRMLScalarVolumeNode1\n"
    if version.startswith("5"):
        rows = "1,1.5,-2,3,0,0,0,1,1,1,0,N,,vtkMRMLScalarVolumeNode1,2,0\n"
        rows += "2,0,0,0,0,0,0,1,1,1,0,gone,,,3,0\n3,0,0,0,0,0,0,1,1,1,0,skipped,,,0,0\n4,7,7,7,0,0,0,1,1,1,0,h,,,1,0\n"
    path.write_bytes((HEADER.format(version, system) + rows).replace("\n", newline).encode())
    marks = read_landmarks(path)
    assert marks["N"].tolist() == [1.5 * sign, -2 * sign, 3]
    if version.startswith("5"):
        assert marks.states.tolist() == [State.PRESENT, State.ABSENT, State.NOT_ANNOTATED, State.NOT_ANNOTATED]


def test_fcsv_labels_with_commas_and_quotes_and_without_a_label(tmp_path):
    path = tmp_path / "a.fcsv"
    rows = (
        '1,0,0,0,0,0,0,1,1,1,0,"left, ""upper""",,\n'
        '2,0,0,1,0,0,0,1,1,1,0,5" wide,,\n'
        "3,0,0,2,0,0,0,1,1,1,0,,AC,\n"
        "4,0,0,3,0,0,0,1,1,1,0,,,\n"
        "5,0,0,4\n"
    )
    path.write_text(HEADER.format("4.11", "LPS") + "\n" + rows)
    assert read_landmarks(path).names == ('left, "upper"', '5" wide', "AC", "4", "5")


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("", LandmarkFileError, "empty"),
        ("1,2,3,4\n", LandmarkFileError, "no header"),
        ("# Markups fiducial file version = 4.6\n1,2,3,4\n", FrameError, "does not state"),
        (HEADER.format("4.6", "2") + "1,2,3,4\n", FrameError, "system '2'"),
        (HEADER.format("4.6", "0") + "1,2,3\n", LandmarkFileError, "line 4 has 3 fields"),
        (HEADER.format("4.6", "0") + "1,2,x,4\n", LandmarkFileError, "line 4: 1 is at 2, x, 4"),
        (HEADER.format("4.6", "0") + "1,2,nan,4\n", LandmarkFileError, "line 4"),
        (HEADER.format("5.6", "LPS") + "1,2,3,4,0,0,0,1,1,1,0,N,,,9,0\n", LandmarkFileError, "status of N"),
        (HEADER.format("5.6", "LPS") + "1,2,3,4,0,0,0,1,1,1,0,N\n" * 2, LandmarkFileError, "duplicate landmarks: N"),
    ],
)
def test_fcsv_that_cannot_be_read(tmp_path, text, error, message):
    path = tmp_path / "a.fcsv"
    path.write_text(text)
    with pytest.raises(error, match=message) as told:
        read_landmarks(path)
    assert "\n" not in str(told.value)


def test_an_absent_point_in_fcsv_is_nobodys_point_at_the_origin(tmp_path):
    marks = Landmarks.from_dict({"a": [1, 2, 3], "b": State.ABSENT}, ndim=3)
    write_landmarks(marks, tmp_path / "a.fcsv")
    row = (tmp_path / "a.fcsv").read_text().splitlines()[-1].split(",")
    assert row[1:4] == ["nan"] * 3
    assert row[14] == "3"


def test_a_2d_image_takes_slicer_points_without_their_z(tmp_path):
    flat = Landmarks.from_points(["a", "b"], [[1, 2, 0], [3, 4, 1e-6]])
    write_landmarks(flat, tmp_path / "a.fcsv")
    marks = read_landmarks(tmp_path / "a.fcsv", grid=GRID_2D)
    assert marks.points.tolist() == [[1, 2], [3, 4]]
    write_landmarks(Landmarks.from_points(["a", "b"], [[1, 2, 0], [3, 4, 20]]), tmp_path / "b.mrk.json")
    with pytest.raises(LandmarkFileError, match="between z = 0 and 20, its image is 2D"):
        read_landmarks(tmp_path / "b.mrk.json", grid=GRID_2D)
    write_landmarks(Landmarks.from_points(["a"], [[1, 2]]), tmp_path / "c.mrk.json")
    with pytest.raises(LandmarkFileError, match="2D points, its image is 3D"):
        read_landmarks(tmp_path / "c.mrk.json", grid=GRID_3D)


def test_mm_of_an_image_without_a_spacing_are_refused_unless_called_pixels(tmp_path):
    """A picture opened in Slicer without its spacing: Slicer's mm are the picture's pixels."""
    px = Grid.from_geometry((200, 150), spacing=(1, 1), unit="px")
    write_landmarks(Landmarks.from_points(["a"], [[10, 20, 0]]), tmp_path / "a.mrk.json", frame="RAS")
    with pytest.raises(FrameError, match="its image has no spacing"):
        read_landmarks(tmp_path / "a.mrk.json", grid=px)
    marks = read_landmarks(tmp_path / "a.mrk.json", grid=px, frame="pixel")
    assert marks == Landmarks.from_points(["a"], [[10, 20]], unit="px")
    spaced = Grid.from_geometry((200, 150), spacing=(0.25, 0.5))
    marks = read_landmarks(tmp_path / "a.mrk.json", grid=spaced, frame="pixel")
    assert marks == Landmarks.from_points(["a"], [[2.5, 10]])


def test_slicer_files_hold_no_pixel_frame(tmp_path):
    marks = Landmarks.from_points(["a"], [[1, 2]], unit="px")
    for suffix in SLICER:
        with pytest.raises(FrameError, match="no pixel coordinates"):
            write_landmarks(marks, tmp_path / f"a{suffix}", frame="pixel")
    with pytest.raises(FrameError, match="need their image"):
        write_landmarks(Landmarks.from_points(["a"], [[1, 2]]), tmp_path / "a.csv", frame="pixel")
    assert list(tmp_path.iterdir()) == []


def test_names_give_order_and_refuse_others(tmp_path):
    write_landmarks(Landmarks.from_points(["a", "b"], [[1, 2, 3], [4, 5, 6]]), tmp_path / "a.fcsv")
    marks = read_landmarks(tmp_path / "a.fcsv", names=["c", "b", "a"])
    assert marks.names == ("c", "b", "a")
    assert marks.states.tolist() == [State.NOT_ANNOTATED, State.PRESENT, State.PRESENT]
    with pytest.raises(UnknownNameError, match="undeclared landmarks: a;"):
        read_landmarks(tmp_path / "a.fcsv", names=["b", "c"])


def challenge(path, lines):
    path.write_text("\n".join(lines) + "\n")
    return path


POINTS = [f"{800 + k},{1000 + 2 * k}" for k in range(19)]


def test_the_challenge_layout(tmp_path):
    path = challenge(tmp_path / "001.txt", [*POINTS, *"12312112"])
    marks = read_landmarks(path)
    assert marks.names == NAMES
    assert marks.unit == "px"
    assert marks["nasion"].tolist() == [801, 1002]
    grid = Grid.from_geometry((2400, 1935), spacing=(0.1, 0.1))
    np.testing.assert_allclose(read_landmarks(path, grid=grid)["nasion"], [80.1, 100.2])
    assert read_landmarks(path, names=NAMES[::-1]).names == NAMES[::-1]
    own = [f"L{k}" for k in range(19)]
    assert read_landmarks(path, names=own)["L1"].tolist() == [801, 1002]
    with pytest.raises(FrameError, match="states the frame pixel, but RAS"):
        read_landmarks(path, frame="RAS")


@pytest.mark.parametrize(
    "lines", [POINTS[:18], [*POINTS, "3,4"], [*POINTS[:5], "x,4", *POINTS[6:]], [""], [*POINTS[:18], "nan,1"]]
)
def test_what_is_no_challenge_file_is_refused(tmp_path, lines):
    with pytest.raises(LandmarkFileError) as error:
        read_landmarks(challenge(tmp_path / "001.txt", lines))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["missing.fcsv", "missing.mrk.json", "missing.csv", "missing.txt", "odd.xyz"])
def test_missing_and_foreign_files_are_one_line(tmp_path, name):
    with pytest.raises(LandmarkFileError) as error:
        read_landmarks(tmp_path / name)
    assert name in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["a.fcsv", "a.mrk.json", "a.csv", "a.txt"])
@pytest.mark.parametrize("data", [b"\xff\xfe\x00\x01\x80", b"\0" * 40, b"\x89PNG\r\n\x1a\n\0\0"])
def test_binary_files_are_one_line(tmp_path, name, data):
    (tmp_path / name).write_bytes(data)
    with pytest.raises(AnatomarkError) as error:
        read_landmarks(tmp_path / name)
    assert "\n" not in str(error.value)


def test_what_cannot_be_written_leaves_the_old_file(tmp_path):
    path = tmp_path / "a.fcsv"
    write_landmarks(Landmarks.from_points(["a"], [[1, 2, 3]]), path)
    before = path.read_bytes()
    with pytest.raises(LandmarkFileError, match=r"cannot stand in an \.fcsv"):
        write_landmarks(Landmarks.from_points(["a\nb"], [[1, 2, 3]]), path)
    assert path.read_bytes() == before
    with pytest.raises(OutputError, match="cannot be written"):
        write_landmarks(Landmarks.from_points(["a"], [[1, 2, 3]]), path / "b.fcsv")
    with pytest.raises(LandmarkFileError, match=r"not written as \.txt"):
        write_landmarks(Landmarks.from_points(["a"], [[1, 2, 3]]), tmp_path / "a.txt")
    assert [p.name for p in tmp_path.iterdir()] == ["a.fcsv"]


@pytest.mark.data
def test_real_slicer_files_agree_with_their_tables():
    from anatomark.formats.landmarks import table_landmarks
    from anatomark.formats.table import read_table

    root = Path(os.environ.get("ANATOMARK_DATA", Path(__file__).parents[2] / "../shared/data"))
    if not root.is_dir():
        pytest.skip("the real data are not here: set ANATOMARK_DATA")
    brains = sorted((root / "afids_multirater/fcsv").glob("*.fcsv"))
    tables = table_landmarks(read_table(root / "afids_multirater/landmarks.csv", frame="RAS"))
    assert len(brains) == 33
    for path in brains:
        rater = path.stem.split("desc-")[1].removesuffix("_afids")
        marks, expected = read_landmarks(path), tables["Colin27", rater]
        by_number = {
            int(name.split("_")[0]): point for name, point in zip(expected.names, expected.points, strict=True)
        }
        assert len(marks) == 32
        for point, number in zip(marks.points, range(1, 33), strict=True):
            np.testing.assert_allclose(point, by_number[number], atol=2e-3)
    faces = table_landmarks(read_table(root / "cmf_ct/landmarks.csv", frame="RAS"))
    for path in sorted((root / "cmf_ct/fcsv").glob("*.fcsv")):
        assert read_landmarks(path) == faces[path.stem, "expert"]

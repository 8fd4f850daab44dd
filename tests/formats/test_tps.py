"""TPS: rows counted from the top, missing landmarks, names that survive, and lines for what does not hold together."""

import json
import logging
import re
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from anatomark.core.grid import Grid
from anatomark.core.landmarks import State
from anatomark.errors import FrameError, LandmarkFileError
from anatomark.formats.convert import convert
from anatomark.formats.frames import Frame
from anatomark.formats.landmark_files.tps import TPS, read_tps, write_tps
from anatomark.formats.landmark_format import Head
from anatomark.formats.landmark_table import LandmarkTable
from anatomark.formats.table import read_table

GRID = Grid.from_geometry((80, 120), spacing=(0.1, 0.1), origin=(-7, 3))
ONE = "LM=3\n10.00 68.00\n20.00 40.00\n30.00 30.00\nIMAGE=p1.jpg\nID=0\nSCALE=0.1\n"


def read(tmp_path, text, *, frame=None, grid_of=lambda _: GRID, name="x.tps"):
    path = tmp_path / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return read_tps(path, frame=frame, grid_of=grid_of)


def marked(names, points, states, images=None, frame: Frame = "pixel", observer=""):
    points = np.array(points, dtype=float)
    points[np.array(states) != State.PRESENT] = np.nan
    rows, none = len(names), np.full(len(names), np.nan)
    image = np.array(["p1.jpg"] * rows if images is None else images, dtype=str)
    return LandmarkTable(
        image,
        np.array(names, dtype=str),
        points,
        np.array(states, dtype=np.uint8),
        np.full(rows, observer, dtype=f"<U{max(len(observer), 1)}"),
        frame,
        "px" if frame == "pixel" else "mm",
        none,
        none.copy(),
    )


def same(a, b):
    return (
        a.image.tolist() == b.image.tolist()
        and a.landmark.tolist() == b.landmark.tolist()
        and a.observer.tolist() == b.observer.tolist()
        and np.array_equal(a.states, b.states)
        and np.array_equal(a.coordinates, b.coordinates, equal_nan=True)
        and (a.frame, a.unit) == (b.frame, b.unit)
    )


def geomorph(text):
    """[(landmarks, image)] as R's geomorph takes them: comments go, then keys by name, then numbers; y from below."""
    lines = [line for line in text.split("\r\n") if line and not re.match("COMMENT=", line, re.IGNORECASE)]
    found = []
    for line in lines:
        if re.search("LM3?=", line):
            found.append(([], {}))
        elif "=" in line:
            key, value = line.split("=", 1)
            found[-1][1][key] = value
        else:
            found[-1][0].append([float("nan") if cell == "NA" else float(cell) for cell in line.split()])
    return [(np.array(points), keys) for points, keys in found]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("gap", [" ", "\t", "   "])
def test_y_counts_from_the_bottom_of_the_image(tmp_path, end, gap):
    table = read(tmp_path, ONE.replace("\n", end).replace(" ", gap))
    assert table.image.tolist() == ["p1.jpg"] * 3
    assert table.landmark.tolist() == ["1", "2", "3"]
    assert table.coordinates.tolist() == [[10, 12], [20, 40], [30, 50]]
    assert (table.frame, table.unit) == ("pixel", "px")


def test_each_image_has_its_own_height(tmp_path):
    text = "lm=1\n5 5\nIMAGE=C:\\scans\\a.png\nID=0\n\nLM=1\n5 5\nIMAGE=b.png\nID=1\n"
    heights = {"C:\\scans\\a.png": 50, "b.png": 60}
    table = read(tmp_path, text, grid_of=lambda name: Grid.without_spacing((heights[name], 9)))
    assert table.coordinates[:, 1].tolist() == [45, 55]
    assert table.image.tolist() == list(heights)


def test_without_the_image_the_line_says_why_and_how(tmp_path):
    with pytest.raises(FrameError, match=r"from the bottom of the image.*give the image p1\.jpg \(--image"):
        read(tmp_path, ONE, grid_of=lambda _: None)
    with pytest.raises(FrameError, match="3D"):
        read(tmp_path, ONE, grid_of=lambda _: Grid.without_spacing((4, 5, 6)))
    with pytest.raises(FrameError, match="pixel"):
        read(tmp_path, ONE, frame="LPS")


@pytest.mark.parametrize("code", ["NA NA", "-1 -1", "-1.0 -1.00000", "nan NaN"])
def test_missing_landmarks_are_not_annotated(tmp_path, code):
    table = read(tmp_path, f"LM=3\n1 2\n{code}\n3 4\nID=7\n")
    assert table.states.tolist() == [State.PRESENT, State.NOT_ANNOTATED, State.PRESENT]
    assert table.image.tolist() == ["7"] * 3
    assert np.isnan(table.coordinates[1]).all()


def test_curves_and_empty_specimens_are_passed_over_and_said(tmp_path, caplog):
    text = (
        ONE
        + "CURVES=2\nPOINTS=2\n1 2\n3 4\nPOINTS=1\n5 6\nOUTLINES=1\nPOINTS=1\n9 9\nVARIABLES=a 1\n"
        + "COMMENT=x y\nLM=0\nIMAGE=b.jpg\n"
    )
    with caplog.at_level(logging.WARNING, logger="anatomark"):
        assert len(read(tmp_path, text)) == 3
    said = " ".join(caplog.messages)
    assert "the 4 points of its curves" in said
    assert "1 of 2 specimens have no landmarks" in said


@pytest.mark.parametrize(
    ("scale", "spacing", "said"),
    [
        ("0.1", 0.1, None),
        ("0.1005", 0.1, None),
        ("0.01", 0.1, None),  # cm
        ("0.102", 0.1, "is not the spacing of its image, 0.1 x 0.1 mm"),
        ("0,1", 0.1, "is not a number"),
        ("0.1", None, "which is not used"),
    ],
)
def test_a_scale_that_contradicts_the_spacing_is_said_and_not_used(tmp_path, caplog, scale, spacing, said):
    grid = Grid.without_spacing((80, 120)) if spacing is None else GRID
    with caplog.at_level(logging.WARNING, logger="anatomark"):
        table = read(tmp_path, ONE.replace("SCALE=0.1", f"SCALE={scale}"), grid_of=lambda _: grid)
    assert table.coordinates[0].tolist() == [10, 12]
    assert [said in message for message in caplog.messages] == ([] if said is None else [True])


def test_points_in_space_need_a_frame_and_are_not_turned(tmp_path):
    text = "LM3=2\n1 2 3\nNA NA NA\nID=a\n"
    with pytest.raises(FrameError, match="does not state its coordinate frame"):
        read(tmp_path, text)
    table = read(tmp_path, text, frame="RAS", grid_of=lambda _: None)
    assert (table.frame, table.unit, table.coordinates[0].tolist()) == ("RAS", "mm", [1, 2, 3])
    assert table.states.tolist() == [State.PRESENT, State.NOT_ANNOTATED]
    minus = read(tmp_path, text.replace("1 2 3", "-1 -1 -1"), frame="LPS")
    assert minus.states[0] == State.PRESENT
    with pytest.raises(FrameError, match="SCALE=10, whose unit"):
        read(tmp_path, text + "SCALE=10\n", frame="LPS")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (ONE.replace("LM=3", "LM=4"), r"line 5: 1 of the landmarks that LM= counts are missing"),
        (ONE.replace("LM=3", "LM=2"), r"line 4: '30.00 30.00' where a key"),
        (ONE[:20], "1 points still to come; it is cut short"),
        (ONE.replace("68.00", "68,00"), r"line 2: '68,00' is not a coordinate \(decimal commas"),
        (ONE.replace("68.00", "6_8"), r"line 2: '6_8' is not a coordinate"),
        (ONE.replace("68.00", "NA"), r"line 2: 'NA' is not a coordinate"),
        (ONE.replace("68.00", "1e999"), r"line 2: '1e999' is not a coordinate"),
        (ONE.replace("68.00", "68.00 1"), r"line 2: 3 coordinates, expected 2"),
        (ONE + ONE, r"line 8: p1.jpg was there before, at line 1"),
        (ONE + ONE.replace("LM=3\n10.00 68.00", "LM=2").replace("p1", "p2"), r"line 8: 2 landmarks, in the first"),
        (ONE + "LM3=1\n1 2 3\nID=4\n", "both LM= and LM3="),
        ("LM=1\n1 2\nLM=1\n3 4\n", "has no IMAGE= and no ID="),
        ("LM=0\nIMAGE=a.png\n", "has no landmarks"),
        ("LM=x\n1 2\n", "does not begin with LM="),
        ("", "does not begin with LM="),
        (ONE + 'COMMENT=anatomark {"landmarks": ["a"]}\n', "no longer fits"),
        (ONE + "COMMENT=anatomark [" + "[" * 5000 + "\n", "no longer fits"),
    ],
)
def test_what_does_not_hold_together_is_one_line(tmp_path, text, said):
    with pytest.raises(LandmarkFileError, match=said) as caught:
        read(tmp_path, text)
    assert "\n" not in str(caught.value)


letter = st.characters(exclude_categories=("Cs",), exclude_characters="\0") | st.sampled_from('"=\n\\\x85')
name = st.lists(letter | st.sampled_from(["LM=2", "ID="]), min_size=1, max_size=12).map("".join).filter(str.strip)
number = st.floats(allow_nan=False, allow_infinity=False) | st.floats(-10, 3000)


@st.composite
def tables(draw):
    d = draw(st.sampled_from([2, 3]))
    images = draw(st.lists(st.sampled_from(["a.png", "b c.jpg", "ü=.png", "C:\\x\\1.tif"]), unique=True, min_size=1))
    names = st.lists(name, unique=True, min_size=1, max_size=6)
    rows = [
        (image, called, draw(st.lists(number, min_size=d, max_size=d)), draw(st.sampled_from(State)))
        for image in images
        for called in draw(names)
    ]
    return marked([r[1] for r in rows], [r[2] for r in rows], [r[3] for r in rows], [r[0] for r in rows])


@settings(max_examples=50, deadline=None)
@given(tables(), st.integers(1, 5000), st.sampled_from(["", "Dr. Ü"]))
def test_what_is_written_is_read_to_the_last_bit(tmp_path_factory, table, height, observer):
    path = tmp_path_factory.mktemp("tps") / "x.tps"
    table = marked(table.landmark, table.coordinates, table.states, table.image, observer=observer)
    grid = Grid.without_spacing((height, 7))
    write_tps(table, path, grid_of=lambda _: grid)
    assert same(read_tps(path, frame=None, grid_of=lambda _: grid), table)


def test_others_read_what_is_written(tmp_path):
    names = ["LM=1", "ID=3 SCALE=2", "c"]
    table = marked(names, [[10.25, 12.5], [1, 2], [30, 50]], [State.PRESENT, State.ABSENT, State.PRESENT])
    write_tps(table, tmp_path / "x.tps", grid_of=lambda _: GRID)
    text = (tmp_path / "x.tps").read_bytes().decode()
    ((points, keys),) = geomorph(text)
    assert np.array_equal(points, [[10.25, 67.5], [np.nan, np.nan], [30, 30]], equal_nan=True)
    assert keys == {"IMAGE": "p1.jpg", "ID": "0", "SCALE": "0.1"}
    comment = next(line for line in text.split("\r\n") if line.startswith("COMMENT="))
    assert comment.count("=") == 1
    assert json.loads(comment.split(" ", 1)[1])["landmarks"] == names


def test_a_place_that_another_program_has_set_counts_more_than_our_comment(tmp_path):
    table = marked(["a", "b"], [[1, 2], [3, 4]], [State.ABSENT, State.PRESENT])
    path = tmp_path / "x.tps"
    write_tps(table, path, grid_of=lambda _: GRID)
    path.write_bytes(path.read_bytes().replace(b"NA NA", b"5 70").replace(b"3.0 76.0", b"-1 -1"))
    assert read_tps(path, frame=None, grid_of=lambda _: GRID).states.tolist() == [State.PRESENT, State.NOT_ANNOTATED]


@pytest.mark.parametrize(
    ("images", "said"), [(["a\nLM=1", "b"], "cannot stand"), ([" a", "b"], "cannot stand"), (["", "b"], "has no name")]
)
def test_what_cannot_be_written_leaves_no_file(tmp_path, images, said):
    table = marked(["a", "a"], [[1, 2], [3, 4]], [State.PRESENT] * 2, images)
    with pytest.raises(LandmarkFileError, match=said):
        write_tps(table, tmp_path / "x.tps", grid_of=lambda _: GRID)
    with pytest.raises(FrameError, match="height is needed"):
        write_tps(marked(["a"], [[1, 2]], [State.PRESENT]), tmp_path / "x.tps", grid_of=lambda _: None)
    assert list(tmp_path.iterdir()) == []


def test_only_tps_is_taken_for_tps(tmp_path):
    assert TPS.recognises(Head(tmp_path / "x.txt", "\n LM = 3 \n1 2\n"))
    assert not TPS.recognises(Head(tmp_path / "x.tps", "image,LM=3\n"))


def test_five_thousand_landmarks_are_quick(tmp_path):
    points = np.random.default_rng(0).uniform(0, 4000, (5000, 2))
    table = marked([f"point {k}" for k in range(5000)], points, [State.PRESENT] * 5000)
    start = time.perf_counter()
    write_tps(table, tmp_path / "x.tps", grid_of=lambda _: GRID)
    assert same(read_tps(tmp_path / "x.tps", frame=None, grid_of=lambda _: GRID), table)
    assert time.perf_counter() - start < 5


def test_one_image_does_not_stand_for_several(tmp_path):

    for called, height in (("p1.png", 80), ("p2.png", 100)):
        Image.new("L", (120, height)).save(tmp_path / called)
    source = tmp_path / "x.tps"
    source.write_text("LM=1\n10 68\nIMAGE=p1.png\nLM=1\n10 68\nIMAGE=p2.png\n")
    with pytest.raises(FrameError, match=r"names 2 images \(p1, p2\) and one was given"):
        convert(source, tmp_path / "o.csv", image=tmp_path / "p1.png")
    assert not (tmp_path / "o.csv").exists()
    convert(source, tmp_path / "o.csv", image=tmp_path)
    assert read_table(tmp_path / "o.csv").coordinates.tolist() == [[10, 12], [10, 32]]

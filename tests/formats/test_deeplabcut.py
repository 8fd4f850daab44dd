"""DeepLabCut and Lightning Pose: headers of three and four lines, kinds of index, likelihoods, individuals."""

import csv
import io
import logging

import numpy as np
import pytest

from anatomark.core.landmarks import State
from anatomark.errors import FrameError, LandmarkFileError
from anatomark.formats.landmark_files.deeplabcut import DEEPLABCUT, read_deeplabcut
from anatomark.formats.landmark_format import Head

PARTS = ("sella", "A point")


def table_text(rows, *, columns=None, individuals=None, index=1, end="\n", separator=","):
    """A CSV as pandas writes it; `columns` are (scorer, individual, body part, coord), `rows` (index parts, cells)."""
    columns = columns or [("me", "", part, coord) for part in PARTS for coord in "xy"]
    text = io.StringIO()
    writer = csv.writer(text, delimiter=separator, lineterminator=end)
    for k, level in enumerate(("scorer", "individuals", "bodyparts", "coords")):
        if level != "individuals" or individuals:
            writer.writerow([level, *[""] * (index - 1), *(column[k] for column in columns)])
    for parts, cells in rows:
        writer.writerow([*parts, *cells])
    return text.getvalue()


def read(tmp_path, text, frame=None):
    path = tmp_path / "CollectedData_me.csv"
    path.write_bytes(text.encode())
    return read_deeplabcut(path, frame=frame, grid_of=lambda _: None)


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("separator", [",", ";"])
@pytest.mark.parametrize(
    ("first", "second", "images"),
    [
        (
            ["labeled-data/v/img1.png"],
            ["labeled-data/v/img2.png"],
            ["labeled-data/v/img1.png", "labeled-data/v/img2.png"],
        ),
        (
            ["labeled-data", "v", "1.png"],
            ["labeled-data", "v", "2.png"],
            ["labeled-data/v/1.png", "labeled-data/v/2.png"],
        ),
        (["labeled-data\\v\\1.png"], ["labeled-data\\v\\2.png"], ["labeled-data\\v\\1.png", "labeled-data\\v\\2.png"]),
        (["0"], ["1"], ["0", "1"]),
    ],
)
def test_rows_are_images(tmp_path, first, second, images, end, separator):
    rows = [(first, ["10", "12.5", "", ""]), (second, ["nan", "NaN", "1e1", "-2"])]
    text = table_text(rows, index=len(first), end=end, separator=separator)
    assert DEEPLABCUT.recognises(Head(tmp_path / "x.csv", text))
    table = read(tmp_path, text)
    assert table.image.tolist() == [images[0]] * 2 + [images[1]] * 2
    assert table.landmark.tolist() == list(PARTS) * 2
    expected = [[10, 12.5], [np.nan] * 2, [np.nan] * 2, [10, -2]]
    assert np.array_equal(table.coordinates, expected, equal_nan=True)
    absent = State.NOT_ANNOTATED
    assert table.states.tolist() == [State.PRESENT, absent, absent, State.PRESENT]
    assert (table.frame, table.unit) == ("pixel", "px")
    assert np.isnan(table.presence).all()


def test_the_likelihood_of_predictions_is_the_presence_and_other_columns_are_passed_over(tmp_path):
    columns = [("net", "", part, coord) for part in PARTS for coord in ("x", "y", "likelihood", "x_posterior_var")]
    columns.append(("set", "", "", ""))
    rows = [(["0"], ["1", "2", "0.25", "9", "3", "4", "1", "9", "train"])]
    table = read(tmp_path, table_text(rows, columns=columns))
    assert table.coordinates.tolist() == [[1, 2], [3, 4]]
    assert table.presence.tolist() == [0.25, 1]
    with pytest.raises(FrameError, match="states the frame pixel"):
        read(tmp_path, table_text(rows, columns=columns), "LPS")


ANIMALS = [("me", who, part, coord) for who in ("m1", "m2") for part in PARTS for coord in "xy"]
ANIMALS += [("me", "single", "ruler", coord) for coord in "xy"]


def test_of_several_individuals_one_with_places_is_read(tmp_path, caplog):
    rows = [(["a.png"], ["1", "2", "3", "4", "", "", "", "", "5", "6"])]
    with caplog.at_level(logging.WARNING, logger="anatomark"):
        table = read(tmp_path, table_text(rows, columns=ANIMALS, individuals=True))
    assert table.landmark.tolist() == [*PARTS, "ruler"]
    assert table.coordinates.tolist() == [[1, 2], [3, 4], [5, 6]]
    assert "the individuals m2 have no places" in caplog.text
    both = [(["a.png"], ["1", "2", "3", "4", "5", "6", "7", "8", "", ""])]
    with pytest.raises(LandmarkFileError, match=r"several individuals \(m1, m2\)"):
        read(tmp_path, table_text(both, columns=ANIMALS, individuals=True))


def test_several_scorers_are_observers(tmp_path):
    columns = [(who, "", "sella", coord) for who in ("ann", "bob") for coord in "xy"]
    table = read(tmp_path, table_text([(["a.png"], ["1", "2", "3", "4"])], columns=columns))
    assert table.observer.tolist() == ["ann", "bob"]
    assert table.coordinates.tolist() == [[1, 2], [3, 4]]


def test_points_in_space_need_a_frame(tmp_path):
    text = table_text([(["0"], ["1", "2", "3"])], columns=[("me", "", "sella", coord) for coord in "xyz"])
    with pytest.raises(FrameError, match="does not state its coordinate frame"):
        read(tmp_path, text)
    table = read(tmp_path, text, "LPS")
    assert (table.coordinates.tolist(), table.frame, table.unit) == ([[1, 2, 3]], "LPS", "mm")


def test_columns_that_pandas_has_called_unnamed_have_no_name(tmp_path):
    columns = [("me", "", "sella", coord) for coord in "xy"]
    text = table_text([(["labeled-data", "v", "1.png"], ["1", "2"])], columns=columns, index=3)
    text = text.replace("scorer,,,", "scorer,Unnamed: 1_level_0,Unnamed: 2_level_0,")
    assert read(tmp_path, text).image.tolist() == ["labeled-data/v/1.png"]


def test_a_table_without_rows_is_empty(tmp_path):
    assert len(read(tmp_path, table_text([]))) == 0


GOOD = table_text([(["a.png"], ["1", "2", "3", "4"]), (["b.png"], ["5", "6", "7", "8"])])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (GOOD.replace("b.png", "a.png"), "line 4: the image a.png is there 2 times"),
        (GOOD.replace("b.png", ""), "line 5: the row names no image"),
        (GOOD.replace("5,6", "5,"), "line 5: a coordinate of sella is missing"),
        (GOOD.replace("5,6", "5_0,6"), "line 5: sella x is '5_0'; expected a number"),
        (GOOD.replace("5,6", '"5,5",6'), "line 5: sella x is '5,5'; decimal commas"),
        (GOOD.replace("5,6", "5,inf"), "line 5: sella y is 'inf'"),
        (GOOD.replace("5,6", "5,6,6"), "line 5: 6 fields, expected 5"),
        (GOOD.replace("coords,x,y,x,y", "coords,x,x,x,y"), "duplicate column sella x"),
        (GOOD.replace("coords,x,y,x,y", "coords,x,likelihood,x,y"), "sella without x or y"),
        (GOOD.replace("sella,sella", ","), "no body part"),
        (GOOD.split("coords")[0], "no lines scorer, bodyparts and coords"),
        (GOOD.replace("coords", "a.png"), "line 3, is 'a.png' where coords was expected"),
        (GOOD.replace("coords,x,y,x,y", "coords,u,v,u,v"), "no body part with x and y"),
    ],
)
def test_odd_files_are_one_line(tmp_path, text, said):
    with pytest.raises(LandmarkFileError, match=said) as caught:
        read(tmp_path, text)
    assert "\n" not in str(caught.value)


def test_only_its_own_header_is_taken(tmp_path):
    assert not DEEPLABCUT.recognises(Head(tmp_path / "x.csv", "scorer,landmark,x,y\nme,a,1,2\n"))
    assert not DEEPLABCUT.recognises(Head(tmp_path / "x.csv", ""))
    assert DEEPLABCUT.recognises(Head(tmp_path / "x.csv", '"scorer","me"\n"individuals","i"\n"bodyparts","a"\n'))

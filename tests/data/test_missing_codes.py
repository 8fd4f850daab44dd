"""Codes for missing points: said in the description, told by `check`, refused by `train`."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from anatomark import load_dataset, train
from anatomark.cli.main import run as command_line
from anatomark.core.grid import Grid
from anatomark.core.image import Image
from anatomark.core.landmarks import Landmarks, State
from anatomark.data.check import check
from anatomark.data.missing_codes import code_findings, require_no_codes, suspects
from anatomark.errors import AnatomarkError, DescriptionError, LandmarkFileError, SettingsError
from anatomark.formats.convert import convert
from anatomark.formats.images import write_image
from anatomark.formats.landmarks import write_landmarks
from anatomark.formats.missing import MissingValues
from anatomark.formats.table import read_table

NAMES = ("nasion", "sella", "menton", "pogonion")
CASES = 7  # with 8, the shape is judged, too, which takes its time
Point = Sequence[object]
Change = dict[tuple[int, str], Point]  # (case, landmark): what stands in place of the point


def cells(values: Point) -> str:
    return ",".join(map(str, values))


@pytest.fixture
def pictures(tmp_path: Path) -> Callable[..., Path]:
    """Pictures of 80 x 60 with a pixel table of places that differ from case to case, some replaced."""
    rng = np.random.default_rng(3)
    places = {(k, n): (round(rng.uniform(5, 75), 2), round(rng.uniform(5, 55), 2)) for k in range(CASES) for n in NAMES}

    def make(changes: Change, *, more: str = "") -> Path:
        for k in range(0 if (tmp_path / "c0.png").exists() else CASES):
            array = np.random.default_rng(k).integers(0, 255, (60, 80)).astype(np.uint8)
            write_image(Image(array, Grid.from_geometry((60, 80), spacing=(1, 1), unit="px")), tmp_path / f"c{k}.png")
        rows = [f"c{k}.png,{n},{cells(changes.get((k, n), places[k, n]))}" for k in range(CASES) for n in NAMES]
        (tmp_path / "points.csv").write_text("\n".join(["image,landmark,x,y", *rows]) + "\n")
        path = tmp_path / "dataset.yaml"
        path.write_text(
            f"name: coded\ndimension: 2\nlandmarks: [{', '.join(NAMES)}]\nimages: {{pattern: '*.png'}}\n"
            f"splits: {{train: '*'}}\nannotations: {{table: points.csv, frame: pixel}}\n{more}"
        )
        return path

    return make


@pytest.fixture
def volumes(tmp_path: Path) -> Callable[..., Path]:
    """Volumes that hold the origin of the world, with a file of LPS points each, some replaced."""

    def make(changes: Change, *, more: str = "", suffix: str = ".mrk.json", frame: str = "LPS") -> Path:
        for k in range(CASES):
            rng = np.random.default_rng(k)
            grid = Grid.from_geometry((12, 14, 16), spacing=(4, 5, 6), origin=(-30, -30, -30))
            write_image(Image(rng.integers(0, 255, grid.shape).astype(np.uint8), grid), tmp_path / f"c{k}.nrrd")
            points = rng.uniform(-20, 20, (len(NAMES), 3))
            for (case, name), place in changes.items():
                if case == k:
                    points[NAMES.index(name)] = place
            write_landmarks(Landmarks.from_points(NAMES, points), tmp_path / f"c{k}{suffix}", frame=frame)
        path = tmp_path / "dataset.yaml"
        path.write_text(
            f"name: coded\ndimension: 3\nlandmarks: [{', '.join(NAMES)}]\nimages: {{pattern: '*.nrrd'}}\n"
            f"splits: {{train: '*'}}\nannotations: {{files: '{{case}}{suffix}'}}\n{more}"
        )
        return path

    return make


def found(path: Path) -> list[tuple[str, str, str]]:
    findings = code_findings(load_dataset(path))
    assert {f.code for f in findings} <= {"missing-code"}
    return [(f.level, f.message, f.advice) for f in findings]


def same(point: Point, count: int = 3, name: str = "sella") -> Change:
    return {(k, name): point for k in range(count)}


CODES = {
    "-1,-1": (same((-1, -1)), "[-1, -1]"),
    "0,0": (same((0, 0)), "[0, 0]"),
    "0.0,0.000": (same(("0.0", "0.000")), "[0, 0]"),
    "-9999": (same((-9999, -9999)), "[-9999, -9999]"),
    "9999": (same((9999, 9999), 2), "[9999, 9999]"),
    "-1000": (same((-1000, -1000), 2), "[-1000, -1000]"),
    "0,0 of two landmarks": ({(4, "sella"): (0, 0), (6, "menton"): (0, 0)}, "[0, 0]"),
    "-999,10": (same((-999, 10), 2), "[-999, 10]"),
}


@pytest.mark.parametrize("kind", CODES)
def test_a_code_is_found_refused_and_taken_as_said(pictures, tmp_path, kind):
    changes, key = CODES[kind]
    path = pictures(changes)
    ((level, message, advice),) = found(path)
    assert level == "error"
    assert f"{len(changes)} points" in message
    assert f"`missing_values: [{key}]`" in advice
    with pytest.raises(DescriptionError) as caught:
        train(path, out=tmp_path / "run", device="cpu")
    assert f"`missing_values: [{key}]`" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()

    path = pictures(changes, more=f"missing_values: [{key}]\n")
    assert found(path) == []
    dataset = load_dataset(path)
    require_no_codes(dataset)
    for k in range(CASES):
        for name in NAMES:
            state = dataset.case(f"c{k}").reference.select([name]).states[0]
            assert state == (State.NOT_ANNOTATED if (k, name) in changes else State.PRESENT)
    absent = load_dataset(pictures(changes, more=f"missing_values: [{key}]\nmissing: absent\n"))
    (case, name), *_ = changes
    assert absent.case(f"c{case}").reference.select([name]).states[0] == State.ABSENT


@pytest.mark.parametrize("changes", [{}, same((12.5, 30), 1), same((-3.5, 20), 1), same((40, 40), 2)])
def test_places_are_no_codes(pictures, changes):
    path = pictures(changes)
    assert suspects(load_dataset(path)) == []


def test_check_asks_of_a_point_that_many_cases_share(pictures):
    path = pictures(same((40.5, 33), 6))
    ((level, message, advice),) = found(path)
    assert (level, "6 points (sella in 6 cases) are at exactly 40.5, 33" in message) == ("warning", True)
    assert "`missing_values: []`" in advice
    require_no_codes(load_dataset(path))
    assert found(pictures(same((40.5, 33), 6), more="missing_values: []\n")) == []


def test_check_asks_of_a_point_that_several_landmarks_share(pictures):
    path = pictures({(k, n): (33, 21) for k in (1, 5) for n in NAMES[:3]})
    ((level, message, _),) = found(path)
    assert level == "warning"
    assert "6 points (3 landmarks in 2 cases)" in message


def test_several_codes_are_one_key(pictures):
    path = pictures(same((-1, -1)) | same((0, 0), 2, "menton"))
    told = found(path)
    assert len(told) == 2
    assert {advice for _, _, advice in told} == {told[0][2]}
    assert "`missing_values: [[-1, -1], [0, 0]]`" in told[0][2]
    half = found(pictures(same((-1, -1)) | same((0, 0), 2, "menton"), more="missing_values: [[-1, -1]]\n"))
    assert "`missing_values: [[-1, -1], [0, 0]]`" in half[0][2]
    assert found(pictures(same((-1, -1)) | same((0, 0), 2, "menton"), more="missing_values: [-1, 0]\n")) == []


def test_check_tells_all_of_it(pictures):
    levels = {finding.level for finding in check(pictures(same((-1, -1)))) if finding.code == "missing-code"}
    assert levels == {"error"}


def test_an_empty_list_says_that_none_is_a_code(pictures):
    path = pictures(same((0, 0)), more="missing_values: []\n")
    assert found(path) == []
    require_no_codes(load_dataset(path))
    assert load_dataset(path).case("c0").reference["sella"].tolist() == [0, 0]


@pytest.mark.parametrize("suffix", [".mrk.json", ".fcsv", ".csv"])
@pytest.mark.parametrize("frame", ["LPS", "RAS"])
def test_files_of_each_case_and_the_world(volumes, suffix, frame):
    zeros = {(k, n): (0, 0, 0) for k in (2, 3) for n in NAMES[:2]}
    path = volumes(zeros, suffix=suffix, frame=frame)
    ((level, message, _),) = found(path)
    assert level == "error"
    assert "4 points (2 landmarks in 2 cases) are at exactly 0, 0, 0" in message
    with pytest.raises(DescriptionError, match="0, 0, 0"):
        require_no_codes(load_dataset(path))
    dataset = load_dataset(volumes(zeros, more="missing_values: [[0, 0, 0]]\n", suffix=suffix, frame=frame))
    assert dataset.case("c2").reference.annotated.tolist() == [False, False, True, True]
    assert dataset.case("c1").reference.annotated.all()


def test_codes_are_in_the_numbers_of_the_file_before_any_change_of_frame(volumes):
    # written in RAS, a point of LPS 1, 1, -1 stands in the file as -1, -1, -1
    changes = {(k, n): (1, 1, -1) for k in range(3) for n in NAMES[:2]}
    path = volumes(changes, suffix=".csv", frame="RAS")
    ((level, message, _),) = found(path)
    assert (level, "-1, -1, -1" in message) == ("error", True)
    dataset = load_dataset(volumes(changes, suffix=".csv", frame="RAS", more="missing_values: [[-1, -1, -1]]\n"))
    assert not dataset.case("c0").reference.annotated[0]


def test_a_set_aligned_to_a_landmark_at_the_origin_may_be_trained(volumes):
    aligned = {(k, "sella"): (0, 0, 0) for k in range(CASES)}
    path = volumes(aligned)
    ((level, *_),) = found(path)
    assert level == "warning"
    require_no_codes(load_dataset(path))
    assert found(volumes(aligned, more="missing_values: []\n")) == []
    around = {(k, "sella"): (0, 0, 0) if k < 3 else (0.4, -1.1 * k / 3, 0.2) for k in range(CASES)}
    require_no_codes(load_dataset(volumes(around)))
    some = {(k, "sella"): (0, 0, 0) for k in range(4)}
    with pytest.raises(DescriptionError, match="sella in 4 cases"):
        require_no_codes(load_dataset(volumes(some)))


@pytest.mark.parametrize("word", ["NA", "N/A", "nan", "NaN", "null", "None", "-", "#N/A", "."])
def test_words(pictures, tmp_path, word):
    changes = {(0, "sella"): (word, word), (3, "menton"): (word, word)}
    path = pictures(changes)
    told = [f for f in check(path) if f.code == "annotation"]
    assert "line 3" in told[0].message
    assert "`missing_values: [" in told[0].message
    with pytest.raises(LandmarkFileError, match="missing_values"):
        load_dataset(path)
    quoted = f"'{word}'"
    dataset = load_dataset(pictures(changes, more=f"missing_values: [{quoted}]\n"))
    assert dataset.case("c0").reference.annotated.tolist() == [True, False, True, True]
    if word not in ("-", "."):
        dataset = load_dataset(
            pictures(
                changes, more=f"missing_values: [{word}]\n" if "#" not in word else f"missing_values: [{quoted}]\n"
            )
        )
        assert dataset.case("c3").reference.annotated.tolist() == [True, True, False, True]
    # what the line says to write is what reads it
    said = told[0].message.split("`")[1]
    assert load_dataset(pictures(changes, more=said + "\n")).case("c0").reference.annotated.sum() == 3


def test_empty_cells_need_no_word(pictures):
    dataset = load_dataset(pictures({(0, "sella"): ("", "")}))
    assert dataset.case("c0").reference.annotated.tolist() == [True, False, True, True]
    with pytest.raises(LandmarkFileError, match="line 3: a coordinate is missing"):
        load_dataset(pictures({(0, "sella"): ("NA", 5)}, more="missing_values: [NA]\n"))


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ("[[-1, -1, -1]]", "a 2D set needs 2 coordinates"),
        ("[[a, b]]", "expected points, numbers or words"),
        ("[[]]", "expected points, numbers or words"),
        ("{x: 1}", "expected points, numbers or words"),
        ("[true]", "expected points, numbers or words"),
    ],
)
def test_the_key_is_checked(pictures, value, says):
    with pytest.raises(DescriptionError, match=says) as caught:
        load_dataset(pictures({}, more=f"missing_values: {value}\n"))
    assert "missing_values" in str(caught.value)


def test_convert_takes_codes_too(pictures, tmp_path, capfd):
    pictures({(0, "sella"): ("NA", "NA"), (1, "sella"): (-1, -1), (2, "sella"): (-9999, -9999)})
    out = tmp_path / "out.csv"
    asked = ["convert", str(tmp_path / "points.csv"), str(out), "--from-frame", "pixel", "--to-frame", "pixel"]
    assert command_line(asked) == 2
    assert "--missing-values" in capfd.readouterr().err
    assert not out.exists()
    assert (
        command_line(
            [*asked, *("--missing-values", "-1,-1"), *("--missing-values", "NA"), *("--missing-values", "-9999")]
        )
        == 0
    )
    table = read_table(out)
    missing = ~np.isfinite(table.coordinates).all(axis=1)
    assert table.image[missing].tolist() == ["c0.png", "c1.png", "c2.png"]
    assert set(table.states[missing].tolist()) == {State.NOT_ANNOTATED}
    with pytest.raises(SettingsError, match="--missing-values is '-1,b'"):
        MissingValues.parse(["-1,b"])
    assert len(convert(tmp_path / "points.csv", out, from_frame="pixel", missing=MissingValues.of(["na", -1]))) == 1


def test_evaluate_refuses_a_reference_of_codes(pictures, tmp_path, capfd):
    path = pictures(same((-1, -1)))
    table = tmp_path / "points.csv"
    assert (
        command_line(
            ["evaluate", str(path), "--predictions", str(table), "--frame", "pixel", "--out", str(tmp_path / "e")]
        )
        == 2
    )
    assert capfd.readouterr().err.count("\n") == 1


def test_codes_in_predictions_are_told_and_taken_as_said(pictures, tmp_path, capfd):
    path = pictures({})
    table = tmp_path / "theirs.csv"
    rows = (tmp_path / "points.csv").read_text().splitlines()
    coded = [re.sub("(?<=^c[135].png,sella,).*", "-1,-1", row) for row in rows]
    table.write_text("\n".join(coded))
    count = sum(row.endswith(",-1,-1") for row in coded)
    assert count == 3
    arguments = ["evaluate", str(path), "--predictions", str(table), "--frame", "pixel", "--samples", "0", "--out"]
    assert command_line([*arguments, str(tmp_path / "e")]) == 0
    told = " ".join(capfd.readouterr().err.split())
    assert f"{count} points (sella in {count} cases) are at exactly -1, -1" in told
    assert "counts as a position" in told
    assert "`missing_values: [[-1, -1]]`" in told
    path = pictures({}, more="missing_values: [[-1, -1]]\n")
    assert command_line([*arguments, str(tmp_path / "f")]) == 0
    assert "-1" not in capfd.readouterr().err
    overall = json.loads((tmp_path / "f" / "metrics.json").read_text())["overall"]
    assert (overall["n_missing"], overall["mre"]) == (count, 0)
    pictures({}, more="missing_values: []\n")  # places, it says
    assert command_line([*arguments, str(tmp_path / "g")]) == 0
    assert "-1" not in capfd.readouterr().err


def test_every_line_is_one(pictures):
    with pytest.raises(AnatomarkError) as caught:
        require_no_codes(load_dataset(pictures(same((-1, -1)) | same((0, 0), 2, "menton"))))
    assert "and 1 more" in str(caught.value)
    assert "\n" not in str(caught.value)

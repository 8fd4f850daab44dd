"""Sections of benchmarks/README.md from results, made up and committed."""

from typing import Any
from xml.etree import ElementTree

import pytest

from benchmarks.report import document
from benchmarks.report.ablation import ablation
from benchmarks.report.accuracy import accuracy
from benchmarks.report.brain import brain
from benchmarks.report.growth import growth, pictures
from benchmarks.report.limited import limited, picture
from benchmarks.report.plot import nice, spread_out
from benchmarks.report.precision import precision
from benchmarks.report.prediction import prediction
from benchmarks.report.service import service
from benchmarks.report.startup import startup
from benchmarks.report.training import training
from benchmarks.report.transfer import transfer
from benchmarks.results import read_all

ABOUT = {
    "command": "python -m benchmarks x",
    "commit": "abc1234",
    "hardware": "2 cores of A",
    "python": "3.11",
    "torch": "2.13",
}


def told(mre: float, missing: int = 0) -> dict[str, Any]:
    sdr = {"1": 20.0, "2": 50.0, "2.5": 60.0, "3": 70.0, "4": 80.0}
    return {"n": 10, "n_missing": missing, "mre": mre, "median": mre / 2, "sd": 1.0, "sdr": sdr}


def tables(text: str) -> list[list[str]]:
    """The cells of all rows of all tables, one after another; every row is as long as the head of its table."""
    rows: list[list[str]] = []
    length = 0
    for line in text.splitlines():
        if not line.startswith("|"):
            length = 0
            continue
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        length = length or len(cells)
        assert len(cells) == length, line
        rows.append(cells)
    return rows


def accuracy_result(method: str, answers: dict[str, Any]) -> dict[str, Any]:
    split = {
        "cases": 5,
        "answers": answers,
        "landmarks": {"nasion": told(1.5)},
        "presence": {state: {"present": 1, "absent": 2, "missing": 0} for state in ("present", "absent")},
        "mean shape": told(9.0),
        "observers": None,
        "seconds_per_image": 0.5,
        "peak_bytes": 2**30,
    }
    train = {"command": "anatomark train", "commit": "abc", "hardware": "2 cores of A", "precision": "32-true",
             "seed": 0, "steps": {"s": 5}, "seconds": {"s": 120.0}, "validation": {"s": 3.25}}  # fmt: skip
    return {"kind": "accuracy", "dataset": "d", "unit": "mm", "method": method, **ABOUT, "train": train,
            "splits": {"test": split}}  # fmt: skip


def test_methods_stand_side_by_side() -> None:
    two = accuracy_result("two-stage", {"stage1, near vote": told(3.0), "stage2": told(2.0, missing=1)})
    atlas = accuracy_result("atlas", {"atlas": told(4.0)})
    atlas["train"] |= {"steps": {}, "seconds": {}, "validation": {}}
    text = accuracy([two, atlas])
    cells = [row[1:6] for row in tables(text) if row[0] == "test (5)"]
    assert cells == [
        ["two-stage", "stage1, near vote", "10", "0", "3.00"],
        ["two-stage", "**stage2**", "10", "1", "2.00"],
        ["atlas", "**atlas**", "10", "0", "4.00"],
        ["", "mean shape", "10", "0", "9.00"],
    ]
    assert "s 2 min, 2 min together" in text
    assert "best validation MRE s 3.25 mm" in text
    assert "| landmark | two-stage, test MRE | two-stage, test ≤ 2 | atlas, test MRE | atlas, test ≤ 2 |" in text


def test_an_ablation_gives_a_row_a_switch_with_its_difference() -> None:
    rows = [
        {"switch": "as it is", **told(2.0), "core_minutes": 3.0, "farther": None},
        {"switch": "a=1;b=2", **told(2.5), "core_minutes": 4.0, "farther": [0.5, -0.125, 1.0]},
    ]
    result = {"method": "two-stage", "dataset": "d", "unit": "mm", "count": 25, "spacing": 1.0, "seed": 0, **ABOUT}
    text = ablation([{**result, "rows": rows}])
    assert "### two-stage, 25 images of d, at 1 mm" in text
    assert tables(text)[2:] == [
        ["as it is", "2.00", "1.00", "50.0", "–", "3.0"],
        ["a=1, b=2", "2.50", "1.25", "50.0", "+0.50 (-0.12 to +1.00)", "4.0"],
    ]


def limited_result() -> dict[str, Any]:
    rows = [
        {"method": method, "count": count, "seed": seed, **told(mre + seed), "core_minutes": 3.0}
        for method, mre in (("two-stage", 2.0), ("heatmap & more", 2.5))
        for count in (10, 100)
        for seed in (0, 1)
    ]
    rows += [{"method": "mean shape", "count": 10, "seed": 0, **told(1.0)}]
    return {"kind": "limited", "dataset": "d", "unit": "mm", "spacing": 1.0, "score": "test1", **ABOUT, "rows": rows}


def test_few_images_give_a_table_and_a_plot() -> None:
    rows = tables(limited(limited_result()))[2:]
    assert [row[:3] for row in rows] == [
        ["10", "two-stage", "**2.50**"],
        ["10", "heatmap & more", "3.00"],
        ["10", "mean shape", "1.00"],
        ["100", "two-stage", "**2.50**"],
        ["100", "heatmap & more", "3.00"],
    ]
    result = limited_result()
    result["rows"][4] |= {"farther": {"two-stage": [0.5, -0.125, 1.0]}}
    assert tables(limited(result))[-1] == ["10", "0", "heatmap & more − two-stage", "+0.50", "-0.12 to +1.00"]
    result["rows"][6]["measured"] = {**ABOUT, "commit": "def5678"}
    text = limited(result)
    assert "- *: measured by `python -m benchmarks x` at def5678" in text
    assert [cells[1] for cells in tables(text)[2:7]].count("heatmap & more *") == 1
    drawing = ElementTree.fromstring(picture(limited_result()))
    of_kind = [element.tag.rsplit("}")[-1] for element in drawing.iter()]
    assert of_kind.count("polyline") == 2
    assert of_kind.count("circle") == 4
    once = {"method": "once", "count": 100, "seed": 0, **told(9.0), "core_minutes": 3.0}
    assert picture({**limited_result(), "rows": [*limited_result()["rows"], once]}) == picture(limited_result())
    lines = [e.attrib["points"].split() for e in drawing.iter() if e.tag.endswith("polyline")]
    heights = [float(line[0].split(",")[1]) for line in lines]
    assert heights[0] > heights[1], "the smaller error lies lower"


def test_brains_and_passes() -> None:
    result = {
        "kind": "brain", "method": "two-stage", "device": "cpu", "landmarks": 200, "spacing": 2.0,
        "shape": [76, 93, 72], **ABOUT,
        "train": {"subjects": 34, "validation_subjects": 6, "seed": 0, "steps": {}, "seconds": {}, "validation": {}},
        "test": {"subjects": 40, "landmarks_outside": 3},
        "answers": {"stage1, mean vote": told(8.0), "stage1, near vote": told(4.0), "stage2": told(3.0)},
        "prediction": {"seconds": 0.51234, "peak_bytes": 2**29},
    }  # fmt: skip
    text = brain([result])
    assert "stage2 is 25 % better than stage1, near vote" in text
    assert "0.512 s, 0.50 GiB at most" in text
    assert [row[0] for row in tables(text)][-1] == "**stage2**"


@pytest.mark.parametrize(("value", "expected"), [(0.9, 1), (1.0, 1), (1.2, 2), (3.3, 5), (7, 10), (0.021, 0.05)])
def test_steps_of_an_axis(value: float, expected: float) -> None:
    assert nice(value) == pytest.approx(expected)


def test_labels_keep_their_distance() -> None:
    assert spread_out([50.0, 40.0, 45.0], least=10) == [60.0, 40.0, 50.0]


def test_what_is_committed_can_be_written_up() -> None:
    text = document("## Notes\n")
    assert all(f"## Accuracy: {result['dataset']}" in text for result in read_all("accuracy"))
    assert text.endswith("## Notes\n")


def test_the_service_under_load_is_told():
    result = {"kind": "service", "clients": 8, "seconds": 60.0, "queue": 4, "model": "small", **ABOUT,
              "answers": {"200": 90, "503": 12}, "seconds_p50": 1.0, "seconds_p95": 2.345, "seconds_max": 3.0,
              "a_second": 1.5, "bytes_service": [2**26, 2**26], "bytes_worker": [2**29, 2**29 + 2**20],
              "load": [0.5, 2.25]}  # fmt: skip
    _, cells = tables(service([result]))[0::2]
    assert cells[3] == "200: 90, 503: 12"
    assert cells[5] == "2.35"
    assert cells[8:11] == ["64 then 64", "512 then 513", "0.5 then 2.2"]


def test_starting_times_stand_beside_their_goals() -> None:
    told = {"what": "help", "goal": 0.3, "seconds": 0.25, "least_seconds": 0.2, "core_seconds": 0.125}
    text = startup([{"kind": "startup", "repeats": 5, **ABOUT, "rows": [told]}])
    assert tables(text)[-1] == ["help", "0.25", "0.20", "0.12", "0.3"]


def test_predictions_stand_beside_the_full_u_net_and_the_limit() -> None:
    about = {"input": "X-ray", "shape": [774, 960], "landmarks": 19, "precision": "32-true"}
    measured = {"peak_bytes": 2**30, "operations": 4e9}
    rows = [
        {**about, "method": "two-stage", **measured, "seconds": 0.5,
         "whole": {"read": 0.05, "prepare": 0.05, "network": 0.3, "write": 0.1}},
        {**about, "method": "heatmap, full resolution", **measured, "seconds": 2.0},
        {**about, "method": "landmarker", "failed": "more than 16 GiB"},
    ]  # fmt: skip
    result = {
        "kind": "prediction",
        "device": "cpu",
        "repeats": 3,
        **ABOUT,
        "rates": {"2D, 32-true": 2e10},
        "rows": rows,
    }
    found = tables(prediction([result]))
    where = ["X-ray, 774 x 960", "19"]
    assert found[2] == [*where, "two-stage", "32-true", "0.5", "4.00", "1.00", "4", "2.5"]
    assert found[4] == [*where, "landmarker", "32-true", "more than 16 GiB", "–", "–", "–", "–"]
    assert found[-1] == ["X-ray", "19", "two-stage", "0.05", "0.05", "0.3", "0.1", "60"]


def test_precisions_are_told_apart() -> None:
    told = {"method": "two-stage", "cases": 3, "mean": 0.02, "median": 0.01, "p95": 0.04, "largest": 0.125,
            "within_goal": 97.5, "seconds": {"32-true": 1.0, "bf16-mixed": 0.5}}  # fmt: skip
    result = {"kind": "precision", "dataset": "d", "unit": "mm", "split": "validation", "goal": 0.05, **ABOUT}
    cells = tables(precision([{**result, "rows": [told]}]))[-1]
    assert cells[3:] == ["0.020 mm", "0.010 mm", "0.040 mm", "0.125 mm", "97.5 (0.05 mm)", "2.0 times"]


def test_training_speeds_stand_beside_ours() -> None:
    about = {"ndim": 2, "method": "two-stage", "stage": "stage1", "network_share": 94.4}
    rows = [
        {**about, "how": "as it is", "step": 0.5, "patches_per_second": 800.0},
        {**about, "how": "MONAI loader", "step": 0.75, "patches_per_second": 533.0},
        {**about, "how": "single patches", "step": 2.0, "patches_per_second": 32.0},
    ]
    result = {"kind": "training", "device": "cpu", "precision": "bf16-mixed", "steps": 12, **ABOUT, "rows": rows}
    found = [cells[4:] for cells in tables(training([result]))[2:]]
    assert found == [
        ["2", "1.00", "94", "800", "1.0"],
        ["1.33", "1.50", "94", "533", "1.5"],
        ["0.5", "–", "94", "32", "25.0"],
    ]


def test_growth_has_its_exponents_and_a_plot() -> None:
    points = [
        {"size": 100, "seconds": 1.0, "peak_bytes": 2**30},
        {"size": 200, "seconds": 2.0, "peak_bytes": 2**30},
        {"size": 400, "seconds": 8.0, "peak_bytes": 2**31},
        {"size": 800, "failed": "longer than 9 s"},
    ]
    result = {"kind": "growth", "device": "cpu", "repeats": 2, **ABOUT}
    result["series"] = [{"over": "landmarks, 3D", "of": "two-stage", "points": points}]
    told = ["100: 1; 200: 2; 400: 8; 800: longer than 9 s", "1.00; 1.00; 2.00", "2.00", "1.00"]
    assert tables(growth([result]))[-1] == ["landmarks, 3D", "two-stage", *told]
    ((name, drawn),) = pictures(result).items()
    assert name == "growth_cpu_landmarks_3D.svg"
    circles = [e for e in ElementTree.fromstring(drawn).iter() if e.tag.endswith("circle")]
    heights = [float(circle.attrib["cy"]) for circle in circles]
    assert heights[0] - heights[1] == pytest.approx((heights[1] - heights[2]) / 2, abs=0.2)  # 2 to 1, 4 to 1


def test_transferred_points_are_told_apart() -> None:
    line = {"backend": "simpleitk", "seconds": 12.4, "before": told(6.0), "kept": told(1.0), "doubtful": told(4.0)}
    result = {"kind": "transfer", "landmarks": 9, "spacing": 2.0, "subjects": 3, **ABOUT, "rows": [line]}
    cells = tables(transfer([result]))
    assert cells[3][:5] == ["simpleitk", "kept", "10", "1.00", "0.50"]
    assert [row[-1] for row in cells[2:]] == ["–", "12", "–"]


def test_time_to_an_error_is_told_of_the_most_images() -> None:
    result = limited_result()
    result["rows"][-2]["validations"] = [[1.5, 3.5], [3.0, 2.25], [4.5, 2.4], [6.0, 1.9]]
    assert tables(limited(result))[-1][2:] == ["3.0", "3.0", "6.0", "–", "–", "–"]

"""Learning curves on small phantoms: the same images for every method, nothing done twice, tests left alone."""

import json
from pathlib import Path
from typing import Any

import pytest

from anatomark import load_dataset
from anatomark.data.description import Dataset
from anatomark.data.phantoms import make_phantoms
from benchmarks.ablation import WHOLE, ablation
from benchmarks.limited import MEAN_SHAPE, chosen_cases, learning_curve, with_earlier
from benchmarks.run_log import minutes_to, validations


@pytest.fixture(scope="module")
def flat(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return load_dataset(make_phantoms(tmp_path_factory.mktemp("limited"), ndim=2, cases=20, landmarks=4, seed=2))


def ids(dataset: Dataset, split: str) -> set[str]:
    return {case.id for case in dataset.split(split)}


def present(dataset: Dataset, split: str) -> int:
    """How many landmarks count."""
    return sum(int(case.reference.present.sum()) for case in dataset.split(split))


def test_counts_are_nested_and_the_rest_is_the_rest(flat: Dataset) -> None:
    everything = ids(flat, "train")
    small, large = (chosen_cases(flat, count, seed=0, train_split="train") for count in (4, 8))
    assert len(ids(small, "train")) == 4
    assert ids(small, "train") < ids(large, "train") < everything
    assert ids(small, "rest") == everything - ids(small, "train")
    assert ids(small, "test") == ids(flat, "test")
    assert "val" not in small.splits, "those to choose by come out of the count"
    assert ids(chosen_cases(flat, 4, seed=1, train_split="train"), "train") != ids(small, "train")
    with pytest.raises(SystemExit, match="12 subjects in train, 13 were asked for"):
        chosen_cases(flat, 13, seed=0, train_split="train")


@pytest.mark.slow
def test_two_counts_are_trained_once_and_scored(flat: Dataset, tiny: dict[str, Any], tmp_path: Path) -> None:
    said: list[str] = []
    options: dict[str, Any] = {
        "methods": ["global-to-local"],
        "counts": [4, 6],
        "seeds": [0],
        "train_split": "train",
        "out": tmp_path,
        "device": "cpu",
        "settings": {"global-to-local": {**tiny, "local": False, "spacing": [4.0, 4.0]}},
        "say": said.append,
    }
    rows = learning_curve(flat, score="rest", **options)
    assert [(row["method"], row["count"]) for row in rows] == [
        (method, count) for count in (4, 6) for method in ("global-to-local", MEAN_SHAPE)
    ]
    parts = [chosen_cases(flat, count, seed=0, train_split="train") for count in (4, 4, 6, 6)]
    assert [row["n"] for row in rows] == [present(part, "rest") for part in parts]
    assert all(row["mre"] > 0 for row in rows)
    assert not list(tmp_path.rglob("predictions_test.csv")), "the test split is looked at on demand only"

    weights = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("model.safetensors")}
    assert len(weights) == 2
    said.clear()
    again = learning_curve(flat, score="test", **options)
    assert {path: path.stat().st_mtime_ns for path in weights} == weights
    assert sum("is finished" in line for line in said) == 2
    assert again[0]["n"] == present(flat, "test")
    assert learning_curve(flat, score="rest", **options) == rows


def test_rows_that_are_not_measured_again_are_kept_with_how_they_came_about() -> None:
    def result(commit: str, *rows: tuple[str, int]) -> dict[str, Any]:
        about = {"command": "c", "commit": commit, "hardware": "h", "torch": "t", "python": "p"}
        farther = {"a": [0.1, 0.0, 0.2], "c": [0.3, 0.2, 0.4]}
        kept = [{"method": method, "count": count, "seed": 0, "farther": farther} for method, count in rows]
        return {"dataset": "d", "unit": "mm", "spacing": 1.0, "score": "test1", **about, "rows": kept}

    first = result("one", ("a", 10), ("b", 10), (MEAN_SHAPE, 10))
    second = result("two", ("a", 10), ("a", 25), (MEAN_SHAPE, 10))
    second["rows"] = with_earlier(second, [first, {**first, "dataset": "another"}])
    told = [(row["method"], row["count"], row.get("measured", {}).get("commit")) for row in second["rows"]]
    assert told == [("a", 10, None), ("b", 10, "one"), (MEAN_SHAPE, 10, None), ("a", 25, None)]
    assert [set(row["farther"]) for row in second["rows"]] == [{"a", "c"}, {"c"}, {"a", "c"}, {"a", "c"}]
    third = result("three", ("a", 10))
    commits = [row.get("measured", {}).get("commit") for row in with_earlier(third, [second])]
    assert commits == [None, "one", "two", "two"]
    with pytest.raises(SystemExit, match=r"spacing 2\.0, this one 1\.0"):
        with_earlier(third, [{**second, "spacing": 2.0}])


def test_validations_stand_at_the_core_minutes_of_all_stages(tmp_path: Path) -> None:
    lines = [
        {"stage": "stage1", "step": 10, "core_seconds": 60.0},
        {"stage": "stage1", "step": 10, "validation_mre": 1.0},
        {"stage": "stage2", "step": 10, "core_seconds": 30.0},
        {"stage": "stage2", "step": 10, "validation_mre": 2.5},
        {"stage": "stage2", "step": 20, "core_seconds": 90.0},
        {"stage": "stage2", "step": 20, "validation_mre": 2.0},
    ]
    (tmp_path / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    course = validations(tmp_path)
    assert course == [(1.5, 2.5), (2.5, 2.0)]
    assert [minutes_to(course, error) for error in (3.0, 2.0, 1.0)] == [1.5, 2.5, None]


@pytest.mark.slow
def test_an_ablation_changes_one_switch_at_a_time(flat: Dataset, tiny: dict[str, Any], tmp_path: Path) -> None:
    part = chosen_cases(flat, 4, seed=0, train_split="train")
    given: dict[str, Any] = {
        "method": "global-to-local",
        "settings": {**tiny, "local": False, "spacing": [4.0, 4.0], "seed": 0},
        "switches": {"coordinate_weight=0": {"coordinate_weight": 0}, "ema=0;noise=0": {"ema": 0, "noise": 0}},
        "device": "cpu",
        "say": lambda *_: None,
    }
    rows = ablation(part, tmp_path, **given)
    assert [row["switch"] for row in rows] == [WHOLE, *given["switches"]]
    assert rows[0]["farther"] is None
    for row in rows[1:]:
        difference, low, high = row["farther"]
        assert difference == pytest.approx(row["mre"] - rows[0]["mre"], abs=0.02 * rows[0]["mre"])
        assert low <= difference <= high
    trainings = {p.parent.name: json.loads(p.read_text())["training"] for p in tmp_path.rglob("settings.json")}
    asked = {training["coordinate_weight"]: name for name, training in trainings.items()}
    assert asked[0] == "global-to-local_coordinate_weight=0"
    weights = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("model.safetensors")}
    assert ablation(part, tmp_path, **given) == rows
    assert {path: path.stat().st_mtime_ns for path in weights} == weights

"""Errors after equal core minutes: sets, budgets in processor time, paired differences, and the tables."""

import json
import subprocess
import sys
import time
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest

from anatomark.core.landmarks import State
from anatomark.evaluation.rows import Answer, Rows
from benchmarks import results, time_to_error, time_to_error_run, time_to_error_sets
from benchmarks.report.time_to_error import time_to_error as section
from benchmarks.time_to_error_run import Spec, Told, predictions, timed
from benchmarks.time_to_error_scores import relative_difference, with_earlier
from benchmarks.time_to_error_sets import BenchmarkSet, prepare

SMALL = MappingProxyType(
    {"ndim": 2, "cases": 24, "landmarks": 4, "absent": False, "shape": (40, 44), "spacing": (4.0, 4.5), "seed": 2}
)
SETS = {
    "small": BenchmarkSet("small phantoms", phantoms=SMALL),
    "few": BenchmarkSet("few of them", phantoms=SMALL, count=5),
    "own": BenchmarkSet("none to spare", phantoms=SMALL, chosen_by=True),
}


@pytest.fixture
def sets(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (time_to_error, time_to_error_sets):
        monkeypatch.setattr(module, "SETS", SETS)


def ids(prepared: time_to_error_sets.PreparedSet, split: str) -> set[str]:
    return {case.id for case in prepared.dataset.split(split)}


@pytest.mark.usefixtures("sets")
def test_cases_that_score_are_not_learned_from_and_the_same_for_every_seed(tmp_path: Path) -> None:
    whole = prepare("small", tmp_path, seed=0, most=None)
    assert [len(ids(whole, split)) for split in ("train", "held out", "test")] == [14, 4, 6]
    some = prepare("small", tmp_path, seed=1, most=2)
    assert ids(some, "train") == ids(whole, "train")
    assert len(ids(some, "held out")) == 2
    assert ids(some, "held out") < ids(whole, "held out")

    few = prepare("few", tmp_path, seed=0, most=None)
    assert [len(ids(few, split)) for split in ("train", "held out", "test")] == [5, 13, 6]
    assert ids(few, "train") != ids(prepare("few", tmp_path, seed=1, most=None), "train")
    own = prepare("own", tmp_path, seed=0, most=1)
    assert (own.scored, len(ids(own, "validation")), len(ids(own, "train"))) == ("validation", 4, 14)
    with pytest.raises(SystemExit, match="no set 'other'; there are: small, few, own"):
        prepare("other", tmp_path, seed=0, most=None)


@pytest.mark.slow
@pytest.mark.usefixtures("sets")
def test_a_plan_is_carried_out_once_and_goes_on_where_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(time, "monotonic", time.monotonic)  # put back after the test
    monkeypatch.setattr(results, "FOLDER", tmp_path / "results")
    called: list[str] = []

    def here(words: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        if words[1:3] == ["-m", "benchmarks.time_to_error_run"]:
            called.append(Path(words[3]).name)
            time_to_error_run.main(Path(words[3]), words[4:])
        return subprocess.CompletedProcess(words, 0, "abc1234\n")

    monkeypatch.setattr(subprocess, "run", here)
    small = ["--set", "channels=[4, 8, 8]", "--set", "validations=2", "--set", "precision=32-true"]
    plan = ["--sets", "small", "--methods", "heatmap", "--minutes", "0.06", "--out", str(tmp_path / "runs"), *small]
    time_to_error.main(plan)
    folder = tmp_path / "runs" / "small_heatmap_0.06min_seed0"
    assert called == [folder.name]
    told = Told.read(folder)
    assert (told.starts, told.failed, told.commits) == (1, None, ["abc1234+"])
    assert told.core_seconds <= told.wall_seconds * 1.3
    assert predictions(folder, "held out").exists()
    assert not predictions(folder, "test").exists(), "the test split is looked at on demand only"
    held = json.loads((tmp_path / "results" / "time_to_error_small.json").read_text())
    (row,) = held["rows"]
    assert row["steps"]["heatmap"] > 5, "a budget on another clock than the steps' leaves one step"
    assert row["scores"]["held out"]["n"] == 4 * 4
    assert len(row["scores"]["held out"]["cases"]) == 4
    assert held["mean_shape"]["mre"] > 0

    weights = (folder / "run" / "model.safetensors").stat().st_mtime_ns
    time_to_error.main(plan)
    assert called == [folder.name]
    assert "done before, at abc1234+" in capsys.readouterr().out
    time_to_error.main([*plan, "--test"])
    assert predictions(folder, "test").exists()
    assert Told.read(folder).starts == 1, "predicted again, not trained again"
    assert (folder / "run" / "model.safetensors").stat().st_mtime_ns == weights
    with pytest.raises(SystemExit, match="trained with other settings"):
        time_to_error.main([*plan, "--set", "validations=3"])


def test_time_adds_up_over_starts(tmp_path: Path) -> None:
    told = Told(core_seconds=10.0, wall_seconds=20.0, starts=2)
    with timed(told, tmp_path, give_up_after=1e9):
        time.sleep(0.05)
    held = Told.read(tmp_path)
    assert 10.0 <= held.core_seconds < 10.05
    assert held.wall_seconds >= 20.05
    assert held.starts == 2


def test_a_training_that_does_not_end_is_given_up(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from benchmarks import time_to_error_run as run\n"
        "run.BEAT = 0.05\n"
        "with run.timed(run.Told(), Path(sys.argv[1]), give_up_after=0.3):\n"
        "    while True: pass\n"
    )
    ended = subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False, timeout=60)
    assert ended.returncode == time_to_error_run.GIVEN_UP
    assert Told.read(tmp_path).failed == "not ended after 0.005 core minutes"
    assert time_to_error_run.finished(tmp_path)


def rows_of(errors: list[list[float]], subjects: tuple[str, ...]) -> Rows:
    """Rows in 2D with these radial errors; NaN where nothing is found."""
    block = np.array(errors)
    reference = np.zeros((*block.shape, 2))
    answers = np.where(np.isnan(block), Answer.MISSING, Answer.PRESENT).astype(np.uint8)
    return Rows(
        cases=tuple(f"case{k}" for k in range(len(block))),
        names=tuple(f"p{k}" for k in range(block.shape[1])),
        reference=reference,
        states=np.full(block.shape, State.PRESENT, dtype=np.uint8),
        predicted=np.stack([block, np.where(np.isnan(block), np.nan, 0.0)], axis=-1),
        answers=answers,
        presence=np.full(block.shape, np.nan),
        subjects=subjects,
    )


def test_the_difference_is_paired_by_landmark_and_in_percent_of_the_reference() -> None:
    people = ("a", "a", "b")
    reference = rows_of([[1.0, 2.0], [1.0, 4.0], [2.0, 2.0]], people)
    tenth = rows_of([[1.1, 2.2], [1.1, 4.4], [2.2, 2.2]], people)
    told = relative_difference([(tenth, reference)])
    assert told == {"percent": 10.0, "interval": [10.0, 10.0], "subjects": 2}
    hole = rows_of([[1.1, np.nan], [1.1, np.nan], [2.2, 2.2]], people)
    assert relative_difference([(hole, reference)])["percent"] == 10.0, "what only one has found does not count"
    one = rows_of([[0.5, 1.0], [0.5, 2.0], [3.0, 3.0]], people)
    low, high = relative_difference([(one, reference)])["interval"]
    assert (low, high) == (-50.0, 50.0), "two subjects, one of which may be drawn twice"
    assert relative_difference([(tenth, reference), (one, reference)])["percent"] == pytest.approx(-3.33, abs=0.01)


def made_up(**changed: Any) -> dict[str, Any]:
    score = {"mre": 2.0, "median": 1.5, "sd": 1.0, "sdr": {}, "n": 8, "n_missing": 1, "cases": {"a": 1.0, "b": 3.0}}
    entry = {
        "minutes": 5.0, "seed": 0, "failed": None, "core_seconds": 300.0, "wall_seconds": 310.0, "busy": 0.97,
        "steps": {"one": 10, "two": 20}, "commits": ["abc1234"], "scores": {"held out": score},
    }  # fmt: skip
    difference = {"split": "held out", "minutes": 5.0, "seeds": [0], "subjects": 2}
    return {
        "set": "small", "what": "small phantoms", "unit": "mm", "scored": "held out", "chosen_by": False,
        "command": "python -m benchmarks x", "commit": "abc1234", "hardware": "h", "python": "3.11", "torch": "2.13",
        "mean_shape": {"mre": 9.0, "median": 8.0, "n": 8},
        "rows": [
            {**entry, "method": "heatmap"},
            {**entry, "method": "two-stage", "busy": 0.5, "core_seconds": 360.0},
            {**entry, "method": "global-to-local", "failed": "not ended after 15 core minutes", "scores": {}},
        ],
        "differences": [{**difference, "method": "two-stage", "percent": -4.0, "interval": [-9.0, 1.5]}],
        **changed,
    }  # fmt: skip


def test_the_section_says_who_met_the_goal_who_was_disturbed_and_who_failed() -> None:
    text = section([made_up()])
    assert "| small | two-stage -4.0 (-9.0 to +1.5): met |" in text
    assert (
        "| 5 | two-stage | 0 | 2.00 | 1.50 | 1 | -4.0 (-9.0 to +1.5) | 6.0 (over) | 5.2 | 0.50 (busy) | 30 | abc1234 |"
        in text
    )
    assert "| 5 | heatmap | 0 | 2.00 | 1.50 | 1 |  | 5.0 | 5.2 | 0.97 | 30 | abc1234 |" in text
    assert "| 5 | global-to-local | 0 | none | – | 0 |" in text
    assert "- global-to-local, 5 min, seed 0: not ended after 15 core minutes" in text
    assert "| – | mean shape |  | 9.00 | 8.00 |" in text
    worse = {"split": "held out", "minutes": 5.0, "method": "two-stage", "percent": -4.0, "interval": [-9.0, 2.5]}
    assert "**missed**" in section([made_up(differences=[worse])])


def test_trainings_whose_folders_are_gone_stay_in_the_result() -> None:
    earlier = made_up()
    later = [{**row, "minutes": 15.0} for row in earlier["rows"][:2]] + [{**earlier["rows"][0], "core_seconds": 1.0}]
    line = {**earlier["differences"][0], "minutes": 15.0}
    joined = with_earlier(made_up(rows=later, differences=[line]), earlier)
    named = [(row["minutes"], row["method"], row["core_seconds"]) for row in joined["rows"]]
    assert named == [
        (5.0, "global-to-local", 300.0), (5.0, "heatmap", 1.0), (5.0, "two-stage", 360.0),
        (15.0, "heatmap", 300.0), (15.0, "two-stage", 360.0),
    ]  # fmt: skip
    assert [each["minutes"] for each in joined["differences"]] == [15.0], "heatmap was trained again for 5 minutes"
    kept = with_earlier(made_up(rows=later[:2], differences=[line]), earlier)
    assert [each["minutes"] for each in kept["differences"]] == [5.0, 15.0]
    other = made_up(unit="px")
    assert with_earlier(other, earlier) == other == with_earlier(other, {})


def test_every_set_of_the_plan_is_described() -> None:
    for name, kind in time_to_error_sets.SETS.items():
        assert bool(kind.description) != bool(kind.phantoms), name
        assert not kind.description or (time_to_error_sets.DESCRIPTIONS / f"{kind.description}.yaml").exists()
    assert Spec("cmf_ct", "heatmap", 2.0, 1).name == "cmf_ct_heatmap_2min_seed1"

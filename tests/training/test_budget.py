"""A time budget: how many steps fit into it, and that a training keeps to it and resumes within it."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from anatomark import load, train
from anatomark.core.landmarks import State
from anatomark.training.budget import Budget, located_afterwards
from anatomark.training.cut_copies import number_of_copies


def test_a_budget_holds_steps_and_a_fifth_of_validations() -> None:
    budget = Budget.planned(100.0, step=0.5, validation=2.0, most=20)
    assert (budget.validations, budget.steps) == (10, 160)
    assert Budget.planned(100.0, step=0.5, validation=0.1, most=20).validations == 20
    assert Budget.planned(1.0, step=0.5, validation=50.0, most=20).validations == 1
    assert Budget.planned(0.0, step=0.5, validation=50.0, most=20).steps == 1


def test_steps_are_corrected_by_the_pace_so_far() -> None:
    budget = Budget.planned(100.0, step=0.5, validation=2.0, most=20)
    assert budget.corrected_steps(7, 160, 3.5, []) == 160, "not looked at between checks"
    assert budget.corrected_steps(80, 160, 40.0 + 10.0, [2.0] * 5) == 160, "as planned"
    assert budget.corrected_steps(40, 160, 40.0, []) == 80, "half as fast"
    assert budget.corrected_steps(80, 160, 200.0, [2.0] * 5) == 81, "too late: one more step, to end with"
    assert budget.corrected_steps(80, 160, 60.0, [2.0] * 10) == 80 + 76, "and a validation after the last one"


def test_what_follows_the_last_stage_is_counted() -> None:
    present, absent = State.PRESENT, State.ABSENT
    held_out = np.array([False] * 4 + [True] * 2)
    states = np.full((6, 20), present, dtype=np.uint8)
    last = 2 + number_of_copies(2)
    assert number_of_copies(2) == 12
    assert located_afterwards(states, held_out) == last, "error bounds, and what lies in the field of view"
    states[5, :12] = absent
    assert located_afterwards(states, held_out) == last + 2, "and presence, from validation cases"
    states[5, 2:12] = present
    assert located_afterwards(states, held_out) == last + 6, "or from all, where few landmarks are absent"
    assert located_afterwards(states, held_out, 1) == last + 8, "and what stages fit"
    held_out, states = np.array([False] * 4 + [True] * 8), np.full((12, 20), present, dtype=np.uint8)
    many = 8 + number_of_copies(8) + 4
    assert located_afterwards(states, held_out) == many, "from 8 validation cases on, features of training images"


@pytest.mark.parametrize("phantoms", [2], ids=["2D"], indirect=True)  # 3D takes the same way, and long
def test_a_training_keeps_its_budget_and_a_stopped_one_goes_on_with_it(
    phantoms: Path, tiny: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = {name: value for name, value in tiny.items() if not name.endswith("_steps")} | {"minutes": 0.2}
    out, shown = tmp_path / "run", list[str]()
    with monkeypatch.context() as stopped:
        stopped.setattr("anatomark.training.trainer.save_tensors", _stop)
        with pytest.raises(KeyboardInterrupt):
            train(phantoms, out=out, device="cpu", settings=asked)
    first = json.loads((out / "budget.json").read_text())
    assert list(first) == ["global"]
    train(phantoms, out=out, device="cpu", settings=asked, show=shown.append)
    assert not (out / "budget.json").exists()
    steps = [json.loads(line)["step"] for line in (out / "log.jsonl").read_text().splitlines()]
    assert 0 < max(steps) < 1500, "fewer than without a budget"
    assert not any("_steps" in line for line in shown), "steps that time decides are not announced"
    load(out, device="cpu")


def _stop(*_: object, **__: object) -> None:
    raise KeyboardInterrupt

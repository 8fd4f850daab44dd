"""What the log of a run says of its training."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any


def log_of(run: Path) -> dict[str, Any]:
    """{"steps", "seconds", "core_seconds", "validation"} of each stage, by the log of a run; empty without training.

    Core seconds are those that the cores of a CPU worked for it, whatever else the machine did meanwhile.
    """
    steps: dict[str, int] = {}
    seconds: dict[str, float] = {}
    core_seconds: dict[str, float] = {}
    best: dict[str, float] = {}
    for record in _records(run):
        stage = record["stage"]
        steps[stage] = record["step"]
        if "seconds" in record:
            seconds[stage] = record["seconds"]
        if "core_seconds" in record:
            core_seconds[stage] = record["core_seconds"]
        if "validation_mre" in record and math.isfinite(record["validation_mre"]):
            best[stage] = min(best.get(stage, math.inf), record["validation_mre"])
    return {"steps": steps, "seconds": seconds, "core_seconds": core_seconds, "validation": best}


def _records(run: Path) -> list[dict[str, Any]]:
    """The lines of a run's log; none without one."""
    log = run / "log.jsonl"
    return [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()] if log.exists() else []


NO_ANSWER = ("stage1",)  # stages whose validation is of something else than their points


def validations(run: Path) -> list[tuple[float, float]]:
    """(core minutes of the training so far, validation MRE) of each validation of a run's answers, in their order."""
    done, here = 0.0, 0.0
    stage, found = None, []
    for record in _records(run):
        if record["stage"] != stage:
            done, here, stage = done + here, 0.0, record["stage"]
        here = record.get("core_seconds", here)
        if "validation_mre" in record and stage not in NO_ANSWER:
            found.append(((done + here) / 60, record["validation_mre"]))
    return found


def minutes_to(course: Sequence[Sequence[float]], error: float) -> float | None:
    """The first of the minutes in a `validations` with an MRE of at most `error`; None where it never came so far."""
    return next((minutes for minutes, mre in course if mre <= error), None)


def training_of(folder: Path) -> dict[str, Any]:
    """How the networks of a run learned, as its settings.json has it, or a model.json of format 1 without one."""
    path = folder / "settings.json"
    held = json.loads((path if path.exists() else folder / "model.json").read_text(encoding="utf-8"))
    found = held.get("training") or held.get("settings") or held
    if "seed" not in found:
        raise SystemExit(f"{folder} does not say how it was trained; give the folder of its run, with settings.json")
    return found

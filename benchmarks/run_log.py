"""What the log of a run says of its training."""

from __future__ import annotations

import json
import math
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
    log = run / "log.jsonl"
    for line in log.read_text(encoding="utf-8").splitlines() if log.exists() else []:
        record = json.loads(line)
        stage = record["stage"]
        steps[stage] = record["step"]
        if "seconds" in record:
            seconds[stage] = record["seconds"]
        if "core_seconds" in record:
            core_seconds[stage] = record["core_seconds"]
        if "validation_mre" in record and math.isfinite(record["validation_mre"]):
            best[stage] = min(best.get(stage, math.inf), record["validation_mre"])
    return {"steps": steps, "seconds": seconds, "core_seconds": core_seconds, "validation": best}

"""What the log of a run says of its training."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any


def log_of(run: Path) -> dict[str, Any]:
    """{"steps", "seconds", "validation"} of each stage, by the log of a run; empty where nothing was trained."""
    steps: dict[str, int] = {}
    seconds: dict[str, float] = {}
    best: dict[str, float] = {}
    log = run / "log.jsonl"
    for line in log.read_text(encoding="utf-8").splitlines() if log.exists() else []:
        record = json.loads(line)
        stage = record["stage"]
        steps[stage] = record["step"]
        if "seconds" in record:
            seconds[stage] = record["seconds"]
        if "validation_mre" in record and math.isfinite(record["validation_mre"]):
            best[stage] = min(best.get(stage, math.inf), record["validation_mre"])
    return {"steps": steps, "seconds": seconds, "validation": best}

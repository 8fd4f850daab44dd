"""Steps a second of one training by several processes: `steps_of(...)` starts this file.

A process has one core (OMP_NUM_THREADS=1). The clock begins after a few steps; validation and writing come later.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.measure import ROOT

METHOD = "unet-votes"
WARM_UP = 4  # steps
BATCH = 4


def steps_of(data: Path, out: Path, *, processes: int, steps: int) -> dict[str, float]:
    """{"steps_a_second", "core_seconds_a_step"} of a training on `data`, a dataset.yaml."""
    spec = {"data": str(data), "out": str(out), "processes": processes, "steps": steps}
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "benchmarks.scale_training", json.dumps(spec)]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr[-2000:])
    return json.loads((out.parent / f"{out.name}.json").read_text())


def main(spec: dict[str, Any]) -> None:
    """Train, and write what it took beside the run folder; Lightning starts this program once for each process."""
    from anatomark import train
    from anatomark.training.learner import Learner

    marks: list[tuple[float, float]] = []
    learn = Learner.learn

    def learn_on_the_clock(self: Learner, *given: Any, **more: Any) -> Any:
        marks.append((time.monotonic(), sum(resource.getrusage(resource.RUSAGE_SELF)[:2])))
        return learn(self, *given, **more)

    Learner.learn = learn_on_the_clock  # type: ignore[method-assign]
    settings = {"steps": spec["steps"], "batch": BATCH, "validations": 1, "validation_pictures": False}
    train(spec["data"], out=spec["out"], method=METHOD, device="cpu", settings=settings, devices=spec["processes"])
    (began, busy), (ended, busy_then) = marks[WARM_UP], marks[spec["steps"] - 1]
    steps = spec["steps"] - 1 - WARM_UP
    told = {
        "steps_a_second": steps / (ended - began),
        "core_seconds_a_step": spec["processes"] * (busy_then - busy) / steps,
    }
    Path(f"{spec['out']}.json").write_text(json.dumps(told))


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))

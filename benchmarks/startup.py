"""How soon the commands answer: help, the import, and the first X-ray from a cold start, each in a process of its own.

python -m benchmarks startup

Told are the clock and the seconds that the cores worked, the median and the least of some repeats: beside other work
the clock is longer, the work is not.
"""

from __future__ import annotations

import argparse
import os
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.results import provenance, write

GOALS = {"help": 0.3, "import": 0.2, "first X-ray": 4.0}  # seconds by the clock, on two cores
FEW_STEPS = {"global_steps": 4, "local_steps": 4, "validations": 1}  # the time of a prediction does not ask for more


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks startup")
    parser.add_argument("--repeats", type=int, default=7)
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        rows = measured_starts(Path(folder), options.repeats)
    about = provenance(f"python -m benchmarks startup {shlex.join(arguments)}".strip())
    print(write("startup", {"kind": "startup", "repeats": options.repeats, **about, "rows": rows}))


def measured_starts(folder: Path, repeats: int) -> list[dict[str, Any]]:
    """A row {"what", "goal", "seconds", "least_seconds", "core_seconds"} for each command."""
    from anatomark import load_dataset, make_phantoms, train

    dataset = make_phantoms(folder / "phantoms", ndim=2, cases=8, landmarks=19)
    run = train(dataset, out=folder / "run", settings=FEW_STEPS, device="cpu")
    image = str(load_dataset(dataset).split("test")[0].image_path)
    anatomark = [sys.executable, "-m", "anatomark"]
    predict = [*anatomark, "predict", str(run), image, "--spacing", "1,1", "--device", "cpu"]
    commands = {
        "help": [*anatomark, "--help"],
        "import": [sys.executable, "-c", "import anatomark"],
        "first X-ray": [*predict, "--out", str(folder / "predicted")],
    }
    rows = []
    for what, command in commands.items():
        once(command)  # files come from the disk the first time
        seconds, worked = zip(*(once(command) for _ in range(repeats)), strict=True)
        told = {"seconds": median(seconds), "least_seconds": min(seconds), "core_seconds": median(worked)}
        rows.append({"what": what, "goal": GOALS[what], **told})
        print(rows[-1])
    return rows


def once(command: Sequence[str]) -> tuple[float, float]:
    """(seconds by the clock, seconds that the cores worked) of a command, which has to succeed."""
    before, began = os.times(), time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    seconds, after = time.perf_counter() - began, os.times()
    return seconds, after.children_user + after.children_system - before.children_user - before.children_system

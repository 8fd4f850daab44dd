"""Error of a trained run on test splits: both stages, the first stage alone, what it must beat, and what it costs.

python -m benchmarks accuracy datasets/isbi2015_ceph.yaml --run runs/ceph --splits test1 test2
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from anatomark import evaluate, load, load_dataset
from anatomark.data.working import working_image
from anatomark.formats.table import LandmarkTable
from benchmarks.results import provenance, write

# Runs one prediction call and prints what it cost, from outside the measured process.
MEASURE = """
import json, resource, subprocess, sys, time
start = time.perf_counter()
subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL)
seconds = time.perf_counter() - start
print(json.dumps([seconds, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024]))
"""


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks accuracy")
    parser.add_argument("dataset")
    parser.add_argument("--run", required=True, help="a finished run folder")
    parser.add_argument("--root", default=None)
    parser.add_argument("--splits", nargs="+", default=["test"])
    parser.add_argument("--published", default=None, help="a table of other predictions, scored beside ours")
    parser.add_argument("--frame", default=None, help="the frame of the published table")
    parser.add_argument("--train-command", required=True, help="the command that made the run, for the record")
    parser.add_argument("--train-commit", required=True, help="the commit it was made with")
    options = parser.parse_args(arguments)

    measured = arguments[: list(arguments).index("--train-command")]
    dataset = load_dataset(options.dataset, options.root)
    model = load(options.run, device="cpu")
    settings = model.method.settings
    result: dict[str, Any] = {
        "kind": "accuracy",
        "dataset": dataset.name,
        "unit": dataset.unit,
        **provenance(f"python -m benchmarks accuracy {' '.join(measured)}"),
        "train": {
            "command": options.train_command,
            "commit": options.train_commit,
            "seed": settings.seed,
            "steps": {stage: model.method.stage_plan(stage).steps for stage in model.method.stages},
            "seconds": training_seconds(Path(options.run)),
            "validation": best_validation(Path(options.run)),
        },
        "splits": {},
    }
    for split in options.splits:
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, "-m", "anatomark", "predict", options.run, options.dataset, "--split", split]
            command += ["--out", folder, "--device", "cpu", "--no-overlays"]
            command += ["--root", options.root] if options.root else []
            told = subprocess.run([sys.executable, "-c", MEASURE, *command], check=True, capture_output=True, text=True)
            seconds, peak_bytes = json.loads(told.stdout)
            both = evaluate(dataset, Path(folder) / "predictions.csv", split=split)
        entry = {
            "cases": len(dataset.split(split)),
            "both stages": brief(both),
            "landmarks": both["landmarks"],
            "presence": both["presence"],
            "global stage alone": brief(evaluate(dataset, first_stage(model, dataset, split), split=split)),
            "mean shape": both["mean_shape"] and both["mean_shape"]["overall"],
            "observers": both["observers"] and both["observers"]["overall"],
            "seconds_per_image": seconds / len(dataset.split(split)),
            "peak_bytes": peak_bytes,
        }
        if options.published:
            entry["published"] = brief(evaluate(dataset, options.published, split=split, frame=options.frame))
        result["splits"][split] = entry
        print(split, json.dumps({k: v for k, v in entry.items() if k not in ("landmarks",)}, indent=1))
    print(write(f"accuracy_{dataset.name}", result))


def brief(metrics: dict[str, Any]) -> dict[str, Any]:
    """Overall numbers; SDR also over the found landmarks alone, as papers that leave misses out report it."""
    overall = dict(metrics["overall"])
    found = overall["n"] - overall["n_missing"]
    overall["sdr_of_found"] = {t: v * overall["n"] / found for t, v in overall["sdr"].items() if found}
    return overall


def first_stage(model: Any, dataset: Any, split: str) -> LandmarkTable:
    """Predictions of the first stage alone, all landmarks taken as present."""
    import torch

    settings = model.method.settings
    rows = []
    for case in dataset.split(split):
        image = working_image(case.read_image(), spacing=settings.spacing, pool=settings.pool)
        located = model.method.locate(image, torch.device("cpu"), upto=model.method.stages[0])[0]
        rows += [(case.id, name, point) for name, point in zip(model.names, located.points_world, strict=True)]
    return LandmarkTable.from_rows(rows, unit=dataset.unit, ndim=dataset.ndim)


def training_seconds(run: Path) -> dict[str, float]:
    """Seconds each stage took, from the log."""
    seconds: dict[str, float] = {}
    for line in (run / "log.jsonl").read_text().splitlines():
        record = json.loads(line)
        if "seconds" in record:
            seconds[record["stage"]] = record["seconds"]
    return seconds


def best_validation(run: Path) -> dict[str, float]:
    """The lowest mean radial error on validation cases of each stage, from the log."""
    best: dict[str, float] = {}
    for line in (run / "log.jsonl").read_text().splitlines():
        record = json.loads(line)
        if "validation_mre" in record:
            best[record["stage"]] = float(np.fmin(best.get(record["stage"], np.inf), record["validation_mre"]))
    return best

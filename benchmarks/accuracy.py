"""Error of a trained run on test splits: every answer of its method, what it must beat, and what it costs.

python -m benchmarks accuracy datasets/isbi2015_ceph.yaml --run runs/ceph --splits test1 test2 \\
    --train-command "anatomark train ..." --train-commit 0123abc

The result is named by data set and method; benchmarks/README.md sets the methods of a data set side by side.
"""

from __future__ import annotations

import argparse
import json
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from anatomark import evaluate, load, load_dataset
from anatomark.data.description import Dataset
from anatomark.formats.landmark_table import LandmarkTable
from anatomark.methods.networks import NetworkDetector
from anatomark.model import Model
from anatomark.nets.devices import choose_precision
from benchmarks.answers import answers_of_model
from benchmarks.results import provenance, write
from benchmarks.run_log import log_of, training_of

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
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--published", default=None, help="a table of other predictions, scored beside ours")
    parser.add_argument("--frame", default=None, help="the frame of the published table")
    parser.add_argument("--train-command", required=True, help="the command that made the run, for the record")
    parser.add_argument("--train-commit", required=True, help="the commit it was made with")
    parser.add_argument("--train-hardware", default=None, help="where it was made, if not here")
    options = parser.parse_args(arguments)

    measured = list(arguments)[: list(arguments).index("--train-command")]
    dataset = load_dataset(options.dataset, options.root)
    model = load(options.run, device=options.device)
    training = training_of(Path(options.run))
    about = provenance(f"python -m benchmarks accuracy {shlex.join(measured)}", model.device)
    result: dict[str, Any] = {
        "kind": "accuracy",
        "dataset": dataset.name,
        "unit": dataset.unit,
        "method": model.detector.name,
        **about,
        "train": {
            "command": options.train_command,
            "commit": options.train_commit,
            "hardware": options.train_hardware or about["hardware"],
            "precision": choose_precision(training["precision"], model.device),
            "seed": training["seed"],
            **log_of(Path(options.run)),
        },
        "splits": {},
    }
    for split in options.splits:
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, "-m", "anatomark", "predict", options.run, options.dataset, "--split", split]
            command += ["--out", folder, "--device", model.device, "--no-overlays"]
            command += ["--root", options.root] if options.root else []
            told = subprocess.run([sys.executable, "-c", MEASURE, *command], check=True, capture_output=True, text=True)
            seconds, peak_bytes = json.loads(told.stdout)
            final = evaluate(dataset, Path(folder) / "predictions.csv", split=split)
        entry = {
            "cases": len(dataset.split(split)),
            "answers": every_answer(model, dataset, split, final),
            "landmarks": final["landmarks"],
            "presence": final["presence"]["confusion"],
            "mean shape": final["mean_shape"] and final["mean_shape"]["overall"],
            "observers": final["observers"] and final["observers"]["inter"] and final["observers"]["inter"]["overall"],
            "seconds_per_image": seconds / len(dataset.split(split)),
            "peak_bytes": peak_bytes,
        }
        if options.published:
            entry["published"] = brief(evaluate(dataset, options.published, split=split, frame=options.frame))
        result["splits"][split] = entry
        print(split, json.dumps({k: v for k, v in entry.items() if k not in ("landmarks",)}, indent=1))
    print(write(f"accuracy_{dataset.name}_{model.detector.name}", result))


def brief(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """Overall numbers; SDR also over the found landmarks alone, as papers that leave misses out report it."""
    overall = dict(metrics["overall"])
    found = overall["n"] - overall["n_missing"]
    overall["sdr_of_found"] = {t: v * overall["n"] / found for t, v in overall["sdr"].items() if found}
    return overall


def every_answer(model: Model, dataset: Dataset, split: str, final: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """{answer: numbers} of a split; the last is `final`, the others with all landmarks taken as present."""
    if not isinstance(model.detector, NetworkDetector):  # one answer, and a slow one: not to be found twice
        return {model.detector.name: brief(final)}
    rows: dict[str, list[Any]] = {}
    for case in dataset.split(split):
        for answer, points in answers_of_model(model, case.read_image()).items():
            rows.setdefault(answer, []).extend(
                (case.id, name, point) for name, point in zip(model.names, points, strict=True)
            )
    last = list(rows)[-1]
    numbers = {}
    for answer, lines in rows.items():
        if answer != last:
            table = LandmarkTable.from_rows(lines, unit=dataset.unit, ndim=dataset.ndim)
            numbers[answer] = brief(evaluate(dataset, table, split=split))
    return numbers | {last: brief(final)}

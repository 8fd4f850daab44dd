"""Time and memory of an evaluation from its files: many cases and landmarks, two observers, bootstrap intervals.

python -m benchmarks evaluation --cases 10000 --landmarks 100 --samples 2000
python -m benchmarks evaluation --cases 100000 --verb compare

Run with OMP_NUM_THREADS=1 for one core. The table of placements and that of predictions are made from a seed; reading
them counts, and so does writing with `--write`, but for the report's pictures (there are no images). `--verb check`
looks for faults in the data set alone. Memory is the largest resident set of the process that evaluates.
"""

from __future__ import annotations

import argparse
import json
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from benchmarks.measure import resident_bytes
from benchmarks.results import provenance, write


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks evaluation")
    parser.add_argument("--cases", type=int, default=10_000)
    parser.add_argument("--landmarks", type=int, default=100)
    parser.add_argument("--subjects", type=int, default=None, help="default: as many as cases")
    parser.add_argument("--observers", type=int, default=1)
    parser.add_argument("--samples", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--verb", choices=("evaluate", "compare", "check"), default="evaluate")
    parser.add_argument("--write", action="store_true", help="also write the files of the verb, rows.csv among them")
    options = parser.parse_args(arguments)
    told = evaluated(vars(options))
    result = {
        "kind": "evaluation",
        **{k: v for k, v in vars(options).items() if k != "seed"},
        "subjects": options.subjects or options.cases,
        **provenance(f"python -m benchmarks evaluation {shlex.join(arguments)}".strip()),
        "seed": options.seed,
        **told,
    }
    print(json.dumps(told, indent=1))
    verb = "" if options.verb == "evaluate" else f"_{options.verb}"
    verb += "_written" if options.write else ""
    print(write(f"evaluation_{options.cases}x{options.landmarks}_{options.observers}_observers{verb}", result))


def evaluated(spec: dict[str, Any]) -> dict[str, Any]:
    """What `measured` tells of an evaluation, made and measured in processes of their own.

    The spec has "cases", "landmarks", "subjects" (None: as many as cases), "observers", "samples" and "seed"; it may
    have "verb" and "write".
    """
    with tempfile.TemporaryDirectory() as folder:
        script = [sys.executable, "-m", "benchmarks.evaluation"]
        told = json.dumps(spec | {"folder": folder})
        subprocess.run([*script, "make", told], check=True)
        run = subprocess.run([*script, "measure", told], check=True, capture_output=True, text=True)
    return json.loads(run.stdout.strip().splitlines()[-1])


def make(spec: dict[str, Any]) -> None:
    """dataset.yaml, landmarks.csv and predictions.csv: 3D, gamma-distributed errors, a hundredth not found."""
    import numpy as np

    folder, n = Path(spec["folder"]), spec["landmarks"]
    random = np.random.default_rng(spec["seed"])
    people = spec["subjects"] or spec["cases"]
    cases = [f"p{c % people:06d}_{c:06d}" for c in range(spec["cases"])]
    names = [f"l{k:03d}" for k in range(n)]
    truth = random.uniform(-90, 90, (len(cases), n, 3))
    (folder / "dataset.yaml").write_text(
        f"name: made_up\ndimension: 3\nlandmarks: [{', '.join(names)}]\nimages: {{cases: annotations}}\n"
        "subjects: {pattern: '^(p[0-9]+)_'}\nannotations: {table: landmarks.csv, frame: LPS}\n"
    )

    def lines(points: Any, left_out: Any, observer: str) -> Any:
        for case, row, out in zip(cases, points.round(3).tolist(), left_out.tolist(), strict=True):
            for name, (x, y, z), gone in zip(names, row, out, strict=True):
                if not gone:
                    yield f"{case},{name},{x},{y},{z}{observer}\n"

    def moved(scale: float) -> Any:
        way = random.normal(size=truth.shape)
        way /= np.linalg.norm(way, axis=-1, keepdims=True)
        return truth + way * random.gamma(2.0, scale, truth.shape[:2])[..., None]

    nothing = np.zeros(truth.shape[:2], dtype=bool)
    with open(folder / "landmarks.csv", "w") as file:
        file.write("image,landmark,x,y,z,observer\n")
        for observer in range(spec["observers"]):
            points = truth if spec["observers"] == 1 else moved(0.4)
            file.writelines(lines(points, nothing, f",observer{observer}"))
    for name, scale in {"predictions.csv": 0.7, "others.csv": 0.75}.items():
        if name == "predictions.csv" or spec.get("verb") == "compare":
            with open(folder / name, "w") as file:
                file.write("image,landmark,x,y,z,frame\n")
                file.writelines(lines(moved(scale), random.random(nothing.shape) < 0.01, ",LPS"))


def measured(spec: dict[str, Any]) -> dict[str, Any]:
    """Seconds of reading and of the verb as a whole, its peak memory, and a few of its numbers."""
    import time
    from unittest import mock

    from anatomark import check, compare, evaluate, load_dataset
    from anatomark.evaluation.predictions import read_predictions

    folder, verb = Path(spec["folder"]), spec.get("verb", "evaluate")
    began, busy = time.perf_counter(), time.process_time()
    reading = 0.0

    def timed(*arguments: Any, **options: Any) -> Any:
        nonlocal reading
        start = time.perf_counter()
        table = read_predictions(*arguments, **options)
        reading += time.perf_counter() - start
        return table

    dataset = load_dataset(folder / "dataset.yaml")
    reading += time.perf_counter() - began
    told: dict[str, Any] = {}
    options: dict[str, Any] = {"samples": spec["samples"], "out": folder / "out" if spec.get("write") else None}
    with mock.patch(f"anatomark.evaluation.{verb}.read_predictions", timed) if verb != "check" else nullcontext():
        if verb == "evaluate":
            told["overall"] = evaluate(dataset, folder / "predictions.csv", **options)["overall"]
        elif verb == "compare":
            tables = [folder / "predictions.csv", folder / "others.csv"]
            told["sentences"] = list(compare(dataset, tables, **options).sentences)
        else:
            told["findings"] = len(check(dataset))
    return {
        "seconds_reading": reading,
        "seconds": time.perf_counter() - began,
        "cpu_seconds": time.process_time() - busy,
        "peak_bytes": resident_bytes("self", "VmHWM"),
        **told,
    }


if __name__ == "__main__":
    chosen = json.loads(sys.argv[2])
    if sys.argv[1] == "make":
        make(chosen)
    else:
        print(json.dumps(measured(chosen)))

"""What `train --estimate` says against what is then measured: every method on phantoms, in 2D and 3D.

python -m benchmarks estimate --steps 100

Training and prediction are measured in processes of their own: the clock, and the largest resident set on the CPU or
the most that tensors held at once on a GPU. The local window of global-to-local is set: where it waits for the errors
of the global stage, an estimate is a range.
"""

from __future__ import annotations

import argparse
import json
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.results import provenance, write
from benchmarks.run_log import log_of

METHODS = ("unet-votes", "global-to-local", "two-stage", "heatmap", "atlas")
ROOT = Path(__file__).parents[1]


def main(arguments: Sequence[str]) -> None:
    from anatomark.nets.devices import choose_device

    if arguments[:1] == ["--measure"]:
        print(json.dumps(MEASURES[arguments[1]](json.loads(arguments[2]))))
        return
    parser = argparse.ArgumentParser(prog="python -m benchmarks estimate")
    parser.add_argument("--methods", nargs="+", default=list(METHODS))
    parser.add_argument("--dimensions", type=int, nargs="+", default=[2, 3])
    parser.add_argument("--steps", type=int, default=100, help="of each stage")
    parser.add_argument("--cases", type=int, default=20)
    parser.add_argument("--landmarks", type=int, default=12)
    parser.add_argument("--device", default="auto")
    options = parser.parse_args(arguments)

    device = choose_device(options.device)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for ndim in options.dimensions:
            from anatomark.data.phantoms import make_phantoms

            dataset = make_phantoms(
                Path(folder) / f"phantoms{ndim}", ndim=ndim, cases=options.cases, landmarks=options.landmarks
            )
            for method in options.methods:
                out = Path(folder) / f"{method}{ndim}"
                told = compared(dataset, method, few_steps(method, options.steps, ndim), device, out)
                rows.append({"method": method, "ndim": ndim, **told})
                print(json.dumps(rows[-1]))
    result = {
        "kind": "estimate",
        "device": device,
        "steps": options.steps,
        "cases": options.cases,
        "landmarks": options.landmarks,
        **provenance(f"python -m benchmarks estimate {shlex.join(arguments)}".strip(), device),
        "rows": rows,
    }
    print(write(f"estimate_{device}", result))


def few_steps(method: str, steps: int, ndim: int) -> dict[str, Any]:
    """Settings of `steps` in each stage and two validations; for atlas, of few atlases."""
    return {
        "global-to-local": {
            "global_steps": steps,
            "local_steps": steps,
            "local_window": (96, 96) if ndim == 2 else (40, 40, 40),
            "validations": 2,
        },
        "two-stage": {"stage1_steps": steps, "frozen_steps": steps, "stage2_steps": steps, "validations": 2},
        "unet-votes": {"steps": steps, "validations": 2},
        "heatmap": {"steps": steps, "validations": 2},
        "atlas": {"atlases": 4, "nearest": 2},
    }[method]


def compared(dataset: Path, method: str, settings: Mapping[str, Any], device: str, out: Path) -> dict[str, Any]:
    """{"quantities": {name: {"estimated", "measured"}}} in seconds and bytes, and the "estimate" as it is."""
    from anatomark.training.estimate import estimate

    told = estimate(dataset, method=method, settings=settings, device=device, show=print)
    asked = {"dataset": str(dataset), "method": method, "settings": settings, "device": device, "out": str(out)}
    trained = in_a_process("train", asked)
    predicted = in_a_process("predict", asked)
    stages = log_of(out)["seconds"]
    pairs: dict[str, tuple[float, float]] = {
        "training, seconds": (told.seconds, trained["seconds"]),
        "training, bytes": (told.training_bytes, trained["peak"]),
        "prediction, seconds": (told.prediction_seconds, predicted["seconds"]),
        "prediction, bytes": (told.prediction_bytes, predicted["peak"]),
    }
    for stage in told.stages:
        # The log's clock stops before the last validation, which makes a third of the three with that of what was kept.
        pairs[f"{stage.name}, seconds"] = (stage.seconds + stage.validation_seconds / 3, stages[stage.name])
    named = {name: {"estimated": first, "measured": second} for name, (first, second) in pairs.items()}
    return {"quantities": named, "estimate": asdict(told)}


def in_a_process(what: str, asked: Mapping[str, Any]) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.estimate", "--measure", what, json.dumps(asked)]
    began = time.monotonic()
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{what} failed:\n{done.stderr}")
    return {"seconds": time.monotonic() - began} | json.loads(done.stdout.strip().splitlines()[-1])


def measured_training(asked: Mapping[str, Any]) -> dict[str, float]:
    """The peak; the clock is that of the whole process."""
    from anatomark import train
    from anatomark.training.trial import peak_bytes

    train(asked["dataset"], **{name: asked[name] for name in ("method", "settings", "device", "out")})
    return {"peak": peak_bytes(asked["device"])}


def measured_prediction(asked: Mapping[str, Any]) -> dict[str, float]:
    """The median time of predicting the test images, the first one left out, and the peak."""
    from statistics import median

    from anatomark import load, load_dataset
    from anatomark.training.trial import peak_bytes

    model = load(asked["out"], device=asked["device"])
    seconds = []
    for case in load_dataset(asked["dataset"]).split("test"):
        image = case.read_image()
        began = time.monotonic()
        model.predict(image)
        seconds.append(time.monotonic() - began)
    return {"seconds": median(seconds[1:]), "peak": peak_bytes(asked["device"])}


MEASURES = {"train": measured_training, "predict": measured_prediction}

if __name__ == "__main__":
    main(sys.argv[1:])

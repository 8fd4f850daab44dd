"""A cohort of many synthetic X-rays, killed twice, collected and evaluated: time, memory, and every image once."""

from __future__ import annotations

import csv
import json
import resource
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

from benchmarks.measure import ROOT
from benchmarks.scale_run import Launched, launch

KILLED_AT = (0.31, 0.64)  # of the images


def measured(folder: Path, *, model: Path, images: int, workers: int, seed: int) -> dict[str, Any]:
    """What came of it; the images and results are made in `folder`."""
    made, seconds_making = _made(folder, model, images, seed)
    spec = {
        "engine": "cohort",
        "workers": workers,
        "model": str(model),
        "images": str(made),
        "spacing": None,
        "out": str(folder / "out"),
        "chunk": None,
        "log": str(folder / "log"),
    }
    commands: list[dict[str, Any]] = []
    peaks = {"lead": 0, "worker": 0}
    for part in (*KILLED_AT, None):
        before = kept_images(folder / "out")
        running = launch(spec)
        ended = running.watch(None if part is None else round(part * images))
        known = running.marks()[-1][1] if running.marks() else before
        told = running.told() if ended else {}
        if not ended:
            running.kill()
        commands.append(_told(running, before, known, kept_images(folder / "out"), ended) | told)
        peaks = {name: max(size, running.peaks[name]) for name, size in peaks.items()}
        print(json.dumps(commands[-1]), flush=True)
    steps = {name: _step(name, folder) for name in ("collect", "evaluate")}
    return {
        "seconds_making": seconds_making,
        "commands": commands,
        "peak_bytes": {**peaks, **{name: step["peak_bytes"] for name, step in steps.items()}},
        "seconds": {name: step["seconds"] for name, step in steps.items()},
        "counts": _counts(folder / "out", images, steps["evaluate"]["landmarks"]),
        "overall": steps["evaluate"]["overall"],
        "bytes_an_image": sum(path.stat().st_size for path in (folder / "out" / "parts").iterdir()) / images,
    }


def _made(folder: Path, model: Path, images: int, seed: int) -> tuple[Path, float]:
    """The dataset.yaml of so many X-rays with the landmarks of the model, and the seconds that making them took."""
    from anatomark.card import read_card
    from anatomark.data.phantoms import make_phantoms

    began = time.perf_counter()
    landmarks = len(read_card(model).landmarks)
    made = make_phantoms(
        folder / "xrays",
        ndim=2,
        cases=images,
        landmarks=landmarks,
        seed=seed,
        shape=(64, 72),
        spacing=(2.5, 3.0),
        splits={"test": 1.0},
    )
    return made, time.perf_counter() - began


def kept_images(out: Path) -> int:
    """Images in the parts that are there."""
    from anatomark.cohort.ledger import open_ledger
    from anatomark.cohort.store import Store

    if not (out / "cohort.json").exists():
        return 0
    ledger = open_ledger(Store(str(out)), None)
    return sum(map(ledger.size, ledger.present()))


def _told(running: Launched, before: int, known: int, kept: int, ended: bool) -> dict[str, Any]:
    """A command: how long it ran, what it had predicted, and what of that was lost with it."""
    seconds = time.time() - running.began
    rate = (known - before) / (running.marks()[-1][0] - running.marks()[0][0])
    return {
        "seconds": seconds,
        "killed": not ended,
        "predicted": known - before,
        "redone": known - kept,
        "images_a_second": rate,
    }


def _step(name: str, folder: Path) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.scale_cohort", name, str(folder)]
    done = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout.strip().splitlines()[-1])


def _counts(out: Path, images: int, landmarks: int) -> dict[str, int]:
    """How many images are in the tables, and how many of them not once, or not with all their landmarks."""
    with open(out / "images.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    listed, failed = Counter(row["image"] for row in rows), {row["image"] for row in rows if row["error"]}
    with open(out / "predictions.csv", newline="", encoding="utf-8") as file:
        points = Counter(row["image"] for row in csv.DictReader(file))
    wrong = [name for name, count in listed.items() if count != 1 or points[name] != landmarks * (name not in failed)]
    return {"images": len(listed), "missing": images - len(listed), "not_once": len(wrong), "failed": len(failed)}


def main(name: str, folder: Path) -> None:
    """One step in a process of its own, so that its memory is its own."""
    began = time.perf_counter()
    told: dict[str, Any] = {}
    if name == "collect":
        from anatomark.cohort.collect import collect_cohort

        collect_cohort(folder / "out")
    else:
        from anatomark import evaluate

        table = folder / "out" / "predictions.csv"
        metrics = evaluate(folder / "xrays" / "dataset.yaml", table, split="test", out=folder / "evaluation")
        told = {"overall": metrics["overall"], "landmarks": len(metrics["landmarks"])}
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({"seconds": time.perf_counter() - began, "peak_bytes": peak, **told}))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))

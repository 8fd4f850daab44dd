"""How far apart the landmarks of a trained run lie in bfloat16 and in float32, and the time of both.

python -m benchmarks precision datasets/isbi2015_ceph.yaml --root ../shared/data --runs runs/ceph runs/ceph_two
"""

from __future__ import annotations

import argparse
import shlex
import time
from collections.abc import Sequence
from statistics import median
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.results import provenance, write

if TYPE_CHECKING:
    from anatomark.data.description import Case
    from anatomark.model import Model

GOAL = 0.05  # mm


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks precision")
    parser.add_argument("dataset")
    parser.add_argument("--root", default=None)
    parser.add_argument("--runs", nargs="+", required=True)
    parser.add_argument("--split", default="validation")
    parser.add_argument("--cases", type=int, default=30, help="the first ones of the split")
    parser.add_argument("--device", default="auto")
    options = parser.parse_args(arguments)

    from anatomark import load, load_dataset
    from anatomark.nets.devices import choose_device

    device = choose_device(options.device)
    dataset = load_dataset(options.dataset, options.root)
    cases = dataset.split(options.split)[: options.cases]
    rows = [compared(load(run, device=device), cases) for run in options.runs]
    about = provenance(f"python -m benchmarks precision {shlex.join(arguments)}", device)
    result = {"kind": "precision", "dataset": dataset.name, "unit": dataset.unit, "split": options.split}
    print(write(f"precision_{dataset.name}_{device}", {**result, "goal": GOAL, **about, "rows": rows}))


def compared(model: Model, cases: Sequence[Case]) -> dict[str, Any]:
    """Distances (world units) between what a Model says in either precision, and the median seconds of each."""
    import torch

    member, device = model.members[0], torch.device(model.device)
    distances, seconds = [], {False: [], True: []}
    for case in cases:
        working = member.working_image(member.place(case.read_image()))
        points = {}
        for half in (False, True):
            began = time.perf_counter()
            with torch.autocast(device.type, torch.bfloat16, enabled=half):
                points[half] = member.detector.locate(working, device)[-1].points_world
            seconds[half].append(time.perf_counter() - began)
        distances.append(np.linalg.norm(points[True] - points[False], axis=1))
    apart = np.concatenate(distances)
    return {
        "method": member.detector.name,
        "cases": len(cases),
        "mean": float(apart.mean()),
        "median": float(np.median(apart)),
        "p95": float(np.percentile(apart, 95)),
        "largest": float(apart.max()),
        "within_goal": float((apart <= GOAL).mean() * 100),
        "seconds": {"32-true": median(seconds[False]), "bf16-mixed": median(seconds[True])},
    }

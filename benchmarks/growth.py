"""How time and memory grow with the size of an image, the number of landmarks, and the number of cases.

python -m benchmarks growth

Predictions are those of untrained networks at the resolution of the image, cases those of an evaluation from tables
(the description of the data set, the placements, the predictions, and the metrics without intervals). A process each.
The exponent is the slope between the two largest on logarithmic axes: 1 where twice as much takes twice as long.
"""

from __future__ import annotations

import argparse
import math
import shlex
from collections.abc import Sequence
from typing import Any

from benchmarks.evaluation import evaluated
from benchmarks.measure import measured
from benchmarks.results import provenance, write

METHODS = ("two-stage", "global-to-local", "heatmap")
SIDES = {2: (256, 512, 1024, 2048), 3: (64, 96, 128, 192)}
LANDMARKS = {2: 19, 3: 24}
COUNTS = (2, 20, 200, 2000)  # of landmarks, in a volume of COUNTED
COUNTED = 96
CASES = (100, 1_000, 10_000, 100_000)
OF_CASES = 20  # landmarks


def main(arguments: Sequence[str]) -> None:
    from anatomark.nets.devices import choose_device

    parser = argparse.ArgumentParser(prog="python -m benchmarks growth")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--most-cases", type=int, default=CASES[-1])
    parser.add_argument("--device", default="auto")
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--memory-limit-gib", type=float, default=16.0)
    parser.add_argument("--time-limit", type=float, default=120.0, help="seconds for all passes of one size")
    options = parser.parse_args(arguments)

    device = choose_device(options.device)
    limits = {"memory_limit_gib": options.memory_limit_gib, "time_limit_s": options.time_limit}
    series: list[dict[str, Any]] = []
    for over, ndim, sizes in (
        ("elements of an image, 2D", 2, [((side, side), LANDMARKS[2]) for side in SIDES[2]]),
        ("elements of an image, 3D", 3, [((side,) * 3, LANDMARKS[3]) for side in SIDES[3]]),
        ("landmarks, 3D", 3, [((COUNTED,) * 3, count) for count in COUNTS]),
    ):
        for method in options.methods:
            points = []
            for shape, landmarks in sizes:
                spec: dict[str, Any] = {"method": method, "settings": {"spacing": [1.0] * ndim}, "spacing": 1.0}
                spec |= {"shape": shape, "landmarks": landmarks, "device": device, "repeats": options.repeats}
                size = landmarks if over.startswith("landmarks") else math.prod(shape)
                points.append({"size": size, **measured(spec, **limits)})
                print(over, method, points[-1], flush=True)
            series.append({"over": over, "of": method, "points": points})
    cases = [cases_evaluated(count) for count in CASES if count <= options.most_cases]
    series.append({"over": "cases", "of": "description and evaluation", "points": cases})
    result = {"kind": "growth", "device": device, "repeats": options.repeats}
    about = provenance(f"python -m benchmarks growth {shlex.join(arguments)}".strip(), device)
    print(write(f"growth_{device}", {**result, **about, "series": series}))


def cases_evaluated(cases: int) -> dict[str, Any]:
    """{"size", "seconds", "peak_bytes"} of an evaluation of so many cases, description and tables read."""
    sizes = {"cases": cases, "landmarks": OF_CASES, "subjects": None, "observers": 1, "samples": 0, "seed": 0}
    told = evaluated(sizes)
    print("cases", cases, told["seconds"], flush=True)
    return {"size": cases, "seconds": told["seconds"], "peak_bytes": told["peak_bytes"]}

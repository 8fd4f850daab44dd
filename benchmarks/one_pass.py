"""One prediction of many landmarks in a volume: seconds and memory of untrained networks with planned settings.

python -m benchmarks one_pass --landmarks 1200 --shape 152 186 144 --methods two-stage heatmap global-to-local
"""

from __future__ import annotations

import argparse
import math
import shlex
from collections.abc import Sequence
from typing import Any

from benchmarks.answers import parse_settings
from benchmarks.measure import measured
from benchmarks.results import provenance, write

COARSER = (1.0, 1.5, 2.0, 3.0, 4.0)  # times the spacing, the same field of view, until it fits


def main(arguments: Sequence[str]) -> None:
    from anatomark.nets.devices import choose_device

    parser = argparse.ArgumentParser(prog="python -m benchmarks one_pass")
    parser.add_argument("--landmarks", type=int, default=1200)
    parser.add_argument("--shape", type=int, nargs="+", default=[152, 186, 144], help="elements along x, y[, z]")
    parser.add_argument("--spacing", type=float, default=1.0, help="mm")
    parser.add_argument("--methods", nargs="+", default=["two-stage", "heatmap", "global-to-local"])
    parser.add_argument("--device", default="auto")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--memory-limit-gib", type=float, default=16.0)
    parser.add_argument("--time-limit", type=float, default=900.0, help="seconds for all passes of a method")
    parser.add_argument("--set", dest="settings", action="append", default=[], metavar="[METHOD:]KEY=VALUE")
    options = parser.parse_args(arguments)

    device = choose_device(options.device)
    everyone, own = parse_settings(options.settings)
    rows = []
    for method in options.methods:
        for times in COARSER:
            spacing = options.spacing * times
            shape = [math.ceil(n / times) for n in reversed(options.shape)]
            spec: dict[str, Any] = {
                "method": method,
                "settings": {"spacing": [spacing] * len(shape), **everyone, **own.get(method, {})},
                "landmarks": options.landmarks,
                "shape": shape,
                "spacing": spacing,
                "device": device,
                "repeats": options.repeats,
            }
            found = measured(spec, memory_limit_gib=options.memory_limit_gib, time_limit_s=options.time_limit)
            reason = found.get("failed", "")
            if "Error" in reason and "GiB" not in reason:  # not for want of memory: a coarser one would fail as well
                raise SystemExit(f"{method}: {reason}")
            rows.append({"method": method, "shape": shape[::-1], "spacing": spacing, **found})
            print(rows[-1])
            if "failed" not in found:
                break
    result = {
        "kind": "one_pass",
        "landmarks": options.landmarks,
        "device": device,
        "repeats": options.repeats,
        **provenance(f"python -m benchmarks one_pass {shlex.join(arguments)}", device),
        "rows": rows,
    }
    print(write(f"one_pass_{options.landmarks}_{device}", result))

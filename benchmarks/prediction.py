"""One prediction after another: seconds and memory of untrained networks, ours beside those that others publish.

python -m benchmarks prediction --peer-python ENVIRONMENT/bin/python

Every contender gets the same image of random grey values at its own resolution, in a process of its own. Beside the
seconds stand the operations of its convolutions and how long these would take at the rate that this machine reaches
with the best of some plain convolutions: the distance from the limit. For our methods the way from a file to a table is
told in parts. The other package is measured where its environment's Python is given (see benchmarks/peer.py).
"""

from __future__ import annotations

import argparse
import shlex
import time
from collections.abc import Sequence
from itertools import product
from typing import Any

from benchmarks.measure import measured
from benchmarks.results import provenance, write

INPUTS = {  # name: shape along x, y[, z], spacing (mm), numbers of landmarks
    "X-ray": ((774, 960), 0.25, (19,)),
    "small volume": ((128, 128, 128), 1.0, (24,)),
    "large volume": ((256, 256, 256), 1.0, (24,)),
    "brain": ((152, 186, 144), 1.0, (32, 255, 1200)),
}
FULL = "heatmap, full resolution"  # the U-Net as it is published: a heatmap has the resolution of the image
PEER = "landmarker"
CONTENDERS = ("two-stage", "global-to-local", "heatmap", FULL, PEER)
WIDTHS = (32, 64, 128)  # of the plain convolutions that tell the rate of the machine
ELEMENTS = {2: 256**2, 3: 48**3}


def main(arguments: Sequence[str]) -> None:
    from anatomark.nets.devices import choose_device

    parser = argparse.ArgumentParser(prog="python -m benchmarks prediction")
    parser.add_argument("--inputs", nargs="+", choices=list(INPUTS), default=list(INPUTS))
    parser.add_argument("--contenders", nargs="+", choices=CONTENDERS, default=list(CONTENDERS))
    parser.add_argument("--device", default="auto")
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--memory-limit-gib", type=float, default=16.0)
    parser.add_argument("--time-limit", type=float, default=300.0, help="seconds for all passes of a contender")
    parser.add_argument("--peer-python", default=None, help="the Python of an environment with landmarker")
    options = parser.parse_args(arguments)

    device = choose_device(options.device)
    rates = {
        f"{ndim}D, {precision}": best_rate(ndim, precision, device)
        for ndim, precision in product((2, 3), ("32-true", "bf16-mixed"))
    }
    rows = []
    for name in options.inputs:
        shape, spacing, counts = INPUTS[name]
        for count, contender in product(counts, options.contenders):
            if contender == PEER and not options.peer_python:
                print(f"{PEER} is left out: give --peer-python")
                continue
            for precision in ("32-true",) if contender in (FULL, PEER) else ("32-true", "bf16-mixed"):
                spec = spec_of(contender, shape, spacing, count, precision)
                spec |= {"device": device, "repeats": options.repeats}
                python = options.peer_python if contender == PEER else None
                found = too_much(name, count, contender, rows) or measured(
                    spec, memory_limit_gib=options.memory_limit_gib, time_limit_s=options.time_limit, python=python
                )
                told = {"input": name, "shape": shape, "landmarks": count, "method": contender, "precision": precision}
                rows.append(told | found)
                print(rows[-1], flush=True)
    result = {
        "kind": "prediction",
        "device": device,
        "repeats": options.repeats,
        **provenance(f"python -m benchmarks prediction {shlex.join(arguments)}".strip(), device),
        "rates": rates,
        "rows": rows,
    }
    print(write(f"prediction_{device}", result))


def too_much(name: str, landmarks: int, contender: str, rows: Sequence[dict[str, Any]]) -> dict[str, str] | None:
    """{"failed": why it is not tried} where a contender did not get through the same image with fewer landmarks."""
    for told in rows:
        same = told["input"] == name and told["method"] == contender
        if same and told["landmarks"] < landmarks and "failed" in told:
            return {"failed": f"not tried: with {told['landmarks']} {told['failed']}"}
    return None


def spec_of(contender: str, shape: Sequence[int], spacing: float, landmarks: int, precision: str) -> dict[str, Any]:
    """What `measure` is to do for a contender; `shape` along x, y[, z]."""
    axes = list(reversed(shape))
    spec: dict[str, Any] = {"shape": axes, "spacing": spacing, "landmarks": landmarks, "precision": precision}
    if contender == PEER:
        return spec
    settings: dict[str, Any] = {"spacing": [spacing] * len(axes)}
    if contender == FULL:
        from anatomark.methods.unet_plan import plan_strides

        settings["strides"] = plan_strides(axes, settings["spacing"])
    return spec | {
        "method": contender.split(",")[0],
        "settings": settings,
        "whole": precision == "32-true" and contender != FULL,
        "operations": True,
    }


def best_rate(ndim: int, precision: str, device: str) -> float:
    """Operations a second of the best of some plain 3^d convolutions of as many channels to as many."""
    import torch

    where = torch.device(device)
    dtype = torch.float32 if precision == "32-true" else torch.bfloat16
    side = round(ELEMENTS[ndim] ** (1 / ndim))
    best = 0.0
    layouts = (torch.contiguous_format, torch.channels_last if ndim == 2 else torch.channels_last_3d)
    for width, layout in product(WIDTHS, layouts):
        layer = (torch.nn.Conv2d if ndim == 2 else torch.nn.Conv3d)(width, width, 3, padding=1, bias=False)
        layer = layer.to(where, dtype, memory_format=layout)  # pyright: ignore[reportCallIssue]
        values = torch.rand((1, width, *(side,) * ndim), device=where).to(dtype).to(memory_format=layout)
        operations = 2 * 3**ndim * width**2 * side**ndim
        with torch.inference_mode():
            for _ in range(5):
                if device == "cuda":
                    torch.cuda.synchronize()
                began = time.perf_counter()
                layer(values)
                if device == "cuda":
                    torch.cuda.synchronize()
                best = max(best, operations / (time.perf_counter() - began))
    return best

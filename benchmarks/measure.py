"""Time and memory of one prediction in a process of its own: `measured(spec)` starts `python -m benchmarks.measure`.

A spec is {"run": folder} for a trained model, or {"method", "settings", "landmarks"} for an untrained one with planned
settings; with "shape" (array-axis order) and "spacing" (mm) of an image of random grey values, "device" and "repeats".
On the CPU memory is the largest resident set of the process, on a GPU the most that tensors held at once.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]


def measured(spec: dict[str, Any], *, memory_limit_gib: float = 16.0, time_limit_s: float = 900.0) -> dict[str, Any]:
    """{"seconds": median, "all_seconds", "peak_bytes", "idle_bytes"}, or {"failed": the reason}."""
    command = [sys.executable, "-m", "benchmarks.measure", json.dumps(spec)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    began = time.monotonic()
    reason = None
    while process.poll() is None:
        if spec["device"] == "cpu" and resident_bytes(process.pid) > memory_limit_gib * 2**30:
            reason = f"more than {memory_limit_gib:g} GiB"
        elif time.monotonic() - began > time_limit_s:
            reason = f"longer than {time_limit_s:g} s"
        if reason:
            process.kill()
        time.sleep(0.02)
    out, err = process.communicate()
    if reason:
        return {"failed": reason}
    if process.returncode:
        last = (err.strip().splitlines() or [f"exit {process.returncode}"])[-1]
        full = any(word in last.lower() for word in ("out of memory", "allocate"))
        short = "out of memory" if full else last[:200]
        return {"failed": short}
    return json.loads(out.strip().splitlines()[-1])


def resident_bytes(pid: int | str, field: str = "VmRSS") -> int:
    """What a process holds in memory now, or has held at most ("VmHWM"); 0 where the system does not say.

    Not `ru_maxrss`: on Linux it begins with what the process held that started this one.
    """
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(field)), 0)


def main() -> None:
    spec = json.loads(sys.argv[1])
    print(json.dumps(one_prediction(spec)))


def one_prediction(spec: dict[str, Any]) -> dict[str, Any]:
    """Predict the image of a spec, once to warm up and `repeats` times on the clock."""
    import statistics

    import numpy as np
    import torch

    from anatomark.core.grid import Grid
    from anatomark.core.image import Image
    from anatomark.data.working import working_image

    device = torch.device(spec["device"])
    shape, spacing = tuple(spec["shape"]), (float(spec["spacing"]),) * len(spec["shape"])
    grid = Grid.from_geometry(shape, spacing=spacing)
    if "run" in spec:
        from anatomark import load

        method = load(spec["run"], device=spec["device"]).method
    else:
        method = untrained(spec["method"], spec["settings"], grid, spec["landmarks"], spec["device"])
    noise = np.random.default_rng(0).integers(0, 255, shape, dtype=np.uint8)
    image = working_image(Image(noise, grid), spacing=method.settings.spacing, pool=method.settings.pool)
    for network in method.networks.values():
        network.to(device).eval()
    on_gpu = device.type == "cuda"
    idle = resident_bytes("self")
    seconds = []
    for _ in range(1 + spec.get("repeats", 5)):
        if on_gpu:
            first, last = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
            torch.cuda.reset_peak_memory_stats()
            first.record()
            method.locate(image, device)
            last.record()
            torch.cuda.synchronize()
            seconds.append(first.elapsed_time(last) / 1000)
        else:
            began = time.perf_counter()
            method.locate(image, device)
            seconds.append(time.perf_counter() - began)
    peak = torch.cuda.max_memory_allocated() if on_gpu else resident_bytes("self", "VmHWM")
    return {
        "seconds": statistics.median(seconds[1:]),
        "all_seconds": [round(s, 4) for s in seconds[1:]],
        "peak_bytes": peak,
        "idle_bytes": idle,
        "parameters": sum(p.numel() for network in method.networks.values() for p in network.parameters()),
    }


def untrained(name: str, settings: dict[str, Any], grid: Any, landmarks: int, device: str) -> Any:
    """The method as the plan makes it for images on `grid`, with the weights it starts from."""
    import torch

    from anatomark.methods import method_class
    from anatomark.methods.interface import DataFacts
    from anatomark.nets.devices import available_memory_bytes
    from anatomark.training.train import resolve_settings

    kind: Any = method_class(name)
    facts = DataFacts((grid.canonical(),), landmarks, False, available_memory_bytes(device))
    planned = kind.plan(resolve_settings(kind, grid.ndim, None, settings), facts, on_gpu=device == "cuda")
    if name == "global-to-local" and planned.local:
        from anatomark.methods.global_to_local.plan import plan_local

        planned = plan_local(planned, [], ndim=grid.ndim)  # the smallest window, as after a good global stage
    method = kind(planned, ndim=grid.ndim, landmarks=landmarks)
    torch.manual_seed(0)
    method.make_networks()
    return method


if __name__ == "__main__":
    main()

"""Time and memory of one prediction in a process of its own: `measured(spec)` starts `python -m benchmarks.measure`.

A spec is {"run": folder} for a trained model, or {"method", "settings", "landmarks"} for an untrained one with planned
settings; with "shape" (array-axis order) and "spacing" (mm) of an image of random grey values, "device" and "repeats".
Where they are asked for: "precision", "operations" of the networks' layers, and the parts of the "whole" way from a
file to a table. On the CPU memory is the largest resident set of the process, on a GPU the most that tensors held.
"""

from __future__ import annotations

import json
import math
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    from torch import nn

    from anatomark.core.grid import Grid
    from anatomark.core.image import Image
    from anatomark.data.cache import Cache
    from anatomark.methods.interface import AnyDetector, Staged
    from anatomark.methods.settings import Network

ENOUGH = 20.0  # seconds of passes on the clock, after which there are no more
PARTS = ("read", "prepare", "network", "write")
ROOT = Path(__file__).parents[1]


def measured(
    spec: dict[str, Any], *, memory_limit_gib: float = 16.0, time_limit_s: float = 900.0, python: str | None = None
) -> dict[str, Any]:
    """{"seconds": median, "all_seconds", "peak_bytes", "idle_bytes"}, or {"failed": the reason}.

    With the `python` of another environment it is the other package's prediction (`peer.py`).
    """
    module = "benchmarks.peer" if python else "benchmarks.measure"
    command = [python or sys.executable, "-m", module, json.dumps(spec)]
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
    import torch

    from anatomark.data.working import working_image
    from anatomark.methods.networks import NetworkDetector

    device = torch.device(spec["device"])
    image_itself = made_up(spec["shape"], float(spec["spacing"]))
    grid = image_itself.grid
    if "run" in spec:
        from anatomark import load

        detector = load(spec["run"], device=spec["device"]).detector
    else:
        detector = untrained(spec["method"], spec["settings"], grid, spec["landmarks"], spec["device"])
    image = working_image(image_itself, detector.network.sampling)
    networks = detector.networks if isinstance(detector, NetworkDetector) else {}
    idle = resident_bytes("self")
    half = spec.get("precision") == "bf16-mixed"

    def locate() -> None:
        with torch.autocast(device.type, torch.bfloat16, enabled=half):
            detector.locate(image, device)

    counted = operations(locate) if spec.get("operations") else None  # which warms up as well
    seconds = timed(locate, spec.get("repeats", 5), device, warm=counted is not None)
    peak = torch.cuda.max_memory_allocated() if device.type == "cuda" else resident_bytes("self", "VmHWM")
    told: dict[str, Any] = {
        "seconds": statistics.median(seconds),
        "all_seconds": [round(s, 4) for s in seconds],
        "peak_bytes": peak,
        "idle_bytes": idle,
        "parameters": sum(p.numel() for network in networks.values() for p in network.parameters()),
    }
    if counted is not None:
        told["operations"] = counted
    if spec.get("whole"):
        told["whole"] = parts_of_whole(detector.network, image_itself, locate)
    return told


def made_up(shape: Sequence[int], spacing: float) -> Image:
    """An Image of coarse random grey values and a little noise, which a file holds about as tightly as a real one."""
    import numpy as np

    from anatomark.core.grid import Grid
    from anatomark.core.image import Image

    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 240, [math.ceil(n / 8) for n in shape], dtype=np.uint8)
    for axis in range(len(shape)):
        coarse = coarse.repeat(8, axis=axis)
    values = coarse[tuple(slice(n) for n in shape)] + rng.integers(0, 8, tuple(shape), dtype=np.uint8)
    return Image(values, Grid.from_geometry(tuple(shape), spacing=(spacing,) * len(shape)))


def timed(locate: Callable[[], None], repeats: int, device: torch.device, *, warm: bool = False) -> list[float]:
    """Seconds of each of `repeats` predictions (fewer of slow ones), after one to warm up, unless it is `warm`."""
    import torch

    seconds = []
    if not warm:
        locate()
    for _ in range(repeats):
        if device.type == "cuda":
            first, last = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
            torch.cuda.reset_peak_memory_stats()
            first.record()
            locate()
            last.record()
            torch.cuda.synchronize()
            seconds.append(first.elapsed_time(last) / 1000)
        else:
            began = time.perf_counter()
            locate()
            seconds.append(time.perf_counter() - began)
        if sum(seconds) > ENOUGH:
            break
    return seconds


def operations(locate: Callable[[], object]) -> int:
    """Multiplications and additions of the convolutions and matrix products of a prediction."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    def of_convolution(_x: Sequence[int], weight: Sequence[int], *_: Any, out_shape: Sequence[int], **__: Any) -> int:
        return 2 * math.prod(weight) * out_shape[0] * math.prod(out_shape[2:])

    own = {torch.ops.aten.mkldnn_convolution: of_convolution}  # by name: the counter knows the general one only
    with FlopCounterMode(display=False, custom_mapping=own) as counter:
        locate()
    return counter.get_total_flops()


def parts_of_whole(network: Network, image: Image, locate: Callable[[], None]) -> dict[str, float]:
    """Seconds to "read" the image from a file, "prepare" it, ask the "network", and "write" a table and a picture."""
    import numpy as np

    from anatomark.core.image import require_usable
    from anatomark.core.landmarks import Landmarks
    from anatomark.data.working import working_image
    from anatomark.formats.images import read_image, write_image
    from anatomark.formats.table import write_table
    from anatomark.methods.prediction import Prediction, prediction_table
    from anatomark.prediction_files import write_overlay

    names = tuple(f"L{k}" for k in range(network.landmarks))
    sure = np.ones(len(names))
    landmarks = Landmarks.from_points(names, np.zeros((len(names), image.grid.ndim)), "mm")
    found = Prediction(landmarks, sure, sure, None, np.full(len(names), np.nan), 0.9)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / ("image.png" if image.grid.ndim == 2 else "image.nii.gz")
        write_image(image, path)
        write_overlay(read_image(path), found, Path(folder) / "overlay.png")  # which loads the libraries
        marks = [time.perf_counter()]
        read = read_image(path, spacing=image.grid.spacing if image.grid.ndim == 2 else None)
        marks.append(time.perf_counter())
        require_usable(read, path)
        working_image(read, network.sampling)
        marks.append(time.perf_counter())
        locate()
        marks.append(time.perf_counter())
        write_table(prediction_table({"image": found}), Path(folder) / "table.csv")
        write_overlay(read, found, Path(folder) / "overlay.png")
        marks.append(time.perf_counter())
    return {part: b - a for part, a, b in zip(PARTS, marks, marks[1:], strict=False)}


def untrained(name: str, settings: Mapping[str, Any], grid: Grid, landmarks: int, device: str) -> AnyDetector:
    """The detector of the planned network for images on `grid`, with the weights that training starts from."""
    import torch

    from anatomark.methods import detector_class
    from anatomark.methods.presence import PresenceModel
    from anatomark.nets.weights import with_prefix
    from benchmarks.synthetic_cases import synthetic_cache

    staged = planned_stages(name, settings, grid, landmarks, device)
    network = staged.plan.network
    made = untrained_networks(staged, synthetic_cache(grid, network, empty=True))
    made.pop("stage2_frozen", None)  # that of stage 2 has its weights
    tensors: dict[str, torch.Tensor] = {}
    for stage, module in made.items():
        tensors |= with_prefix(stage, module.state_dict())
    presence = PresenceModel.unfitted(network.answers)
    return detector_class(name).load(network, tensors, presence, device=torch.device(device), source="untrained")


def planned_stages(name: str, settings: Mapping[str, Any], grid: Grid, landmarks: int, device: str) -> Staged:
    """The stages of the method `name` as planned for images on `grid`; a local window is the smallest one."""
    from anatomark.methods import detector_class
    from anatomark.methods.global_to_local.plan import size_local
    from anatomark.methods.interface import DataFacts
    from anatomark.methods.networks import NetworkDetector
    from anatomark.nets.devices import available_memory_bytes
    from anatomark.training.request import resolve_settings

    kind = detector_class(name)
    facts = DataFacts((grid.canonical(),), landmarks, False, available_memory_bytes(device), on_gpu=device == "cuda")
    plan = kind.plan(resolve_settings(kind, grid.ndim, None, settings), facts)
    if name == "global-to-local":
        plan = size_local(plan, [])  # without errors, as after a good global stage
    if issubclass(kind, NetworkDetector):
        return kind.stages_type(plan)
    raise SystemExit(f"{name} has no stages to train; choose global-to-local, two-stage or heatmap")


def untrained_networks(staged: Staged, cache: Cache) -> dict[str, nn.Module]:
    """The network that each stage begins with; a stage finds those before it as untrained as itself."""
    made: dict[str, nn.Module] = {}
    for stage in staged.stages:
        made[stage] = staged.make(stage, made, cache)
    return made


if __name__ == "__main__":
    main()

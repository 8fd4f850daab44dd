"""A trial of a training in a process of its own: real steps on prepared images, with its time and memory measured.

`python -m anatomark.training.trial training|prediction SPEC` prints what it measured as one line of JSON.
"""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn

from anatomark import errors
from anatomark.data.cache import Cache
from anatomark.data.description import Dataset
from anatomark.errors import AnatomarkError, SettingsError
from anatomark.loading import load_model
from anatomark.methods import detector_class
from anatomark.methods.error_bound import ErrorBounds
from anatomark.methods.interface import Networks, Plan, StagedT
from anatomark.model import Member, Model
from anatomark.nets.weights import save_tensors
from anatomark.training.data import prepare_cache
from anatomark.training.processes import ALONE
from anatomark.training.timing import time_stage

CHECKPOINT_COPIES = 5  # weights, their average, the best of these, two moments


@dataclass(eq=False)
class TrialTrainer:
    """Times each stage and leaves its network as good as untrained. `found` has the times by stage."""

    device: torch.device
    precision: str
    found: dict[str, dict[str, Any]] = field(default_factory=dict[str, dict[str, Any]])

    def train(self, staged: StagedT, stage: str, networks: Networks, cache: Cache) -> tuple[StagedT, nn.Module]:
        times = time_stage(ALONE.fabric(self.device.type, self.precision), staged, stage, networks, cache)
        plan = staged.stage_plan(stage)
        weights = {
            f"{n}.{k}": v.clone() for n in range(CHECKPOINT_COPIES) for k, v in times.network.state_dict().items()
        }
        with tempfile.TemporaryDirectory() as folder:
            began = time.monotonic()
            save_tensors(Path(folder) / "checkpoint.safetensors", weights)
            checkpoint = time.monotonic() - began
        self.found[stage] = {
            "step": times.step,
            "validation": times.validation,
            "checkpoint": checkpoint,
            "steps": plan.steps,
            "parameters": sum(p.numel() for p in times.network.parameters()),
            "bytes": peak_bytes(self.device.type),
            "batch": plan.batch,
            "smaller": plan.smaller,
            "validations_after": plan.validations_after,
        }
        return staged, times.network


def run_trial(what: str, spec: Mapping[str, Any], dataset: Dataset, folder: Path) -> dict[str, Any]:
    """What a trial of `what` ("training" or "prediction") on `dataset` measured; `folder` is for its files.

    Raises what it raised where a user can do something about it; SettingsError where it ran out of memory.
    """
    path = folder / f"{what}.json"
    (folder / "dataset.pickle").write_bytes(pickle.dumps(dataset))
    path.write_text(json.dumps({**spec, "began": time.time()}))
    command = [sys.executable, "-m", "anatomark.training.trial", what, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        text = done.stderr.strip()
        if done.returncode == -9 or "out of memory" in text.lower() or "MemoryError" in text:
            raise SettingsError(f"a trial of the {what} ran out of memory; set a smaller batch, crop or network")
        raise RuntimeError(f"the trial of the {what} failed:\n{text}")
    measured = json.loads(done.stdout.strip().splitlines()[-1])
    if "error" in measured:
        raise cast("type[AnatomarkError]", getattr(errors, measured["error"]))(measured["message"])
    return measured


def try_training(spec: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Seconds of starting, of preparing an image, of the parts of each stage and of what follows; the peak of memory.

    Leaves the model, which has learned next to nothing, in `folder`/model.
    """
    kind = detector_class(spec["method"])
    plan = Plan(kind.network_type.model_validate(spec["network"]), kind.training_type.model_validate(spec["training"]))
    trainer = TrialTrainer(torch.device(spec["device"]), spec["precision"])
    ALONE.fabric(spec["device"], spec["precision"])
    dataset: Dataset = pickle.loads((folder / "dataset.pickle").read_bytes())
    roles = {role: [dataset.case(id) for id in ids] for role, ids in spec["roles"].items()}
    clock = [time.time() - spec["began"], time.monotonic()]
    cache = prepare_cache(dataset, roles, folder / "cache", plan, lambda done, total: None)
    clock.append(time.monotonic())
    detector = kind.fit(plan, cache, trainer)
    clock.append(time.monotonic())
    staged = sum(s["step"] for s in trainer.found.values())
    member = Member(detector, cache.alignment)
    about = (dataset.names, dataset.pairs, dataset.ndim, dataset.unit, dataset.name)
    Model(*about, (member,), ErrorBounds.withheld(dataset.names, "untrained")).save(folder / "model")
    return {
        "start": clock[0],
        "prepare": (clock[2] - clock[1]) / len(cache.cases),
        "stages": trainer.found,
        "fit": 0.0 if staged else clock[3] - clock[2],
        "peak": peak_bytes(spec["device"]),
        "cached": sum(c.image.fine.nbytes + c.image.coarse.nbytes for c in cache.cases) / len(cache.cases),
        "cases": len(cache.cases),
    }


def try_prediction(spec: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Seconds of one prediction, and the peak of memory with that of the largest image."""
    model = load_model(folder / "model", device=spec["device"])
    dataset: Dataset = pickle.loads((folder / "dataset.pickle").read_bytes())
    seconds = 0.0
    for id in (spec["largest"], spec["typical"]):  # the first one warms up
        image = dataset.case(id).read_image()
        began = time.monotonic()
        model.predict(image)  # its answer is on the CPU, so that a GPU has ended
        seconds = time.monotonic() - began
    return {"seconds": seconds, "peak": peak_bytes(spec["device"])}


def peak_bytes(device: str) -> int:
    """The most memory that this process has held at once: resident, or on the GPU; 0 where the system does not say.

    Not `ru_maxrss`, which begins at what the process was that started this one.
    """
    if device == "cuda":
        return torch.cuda.max_memory_allocated()
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:")), 0)


def main() -> None:
    what, path = sys.argv[1:]
    spec = json.loads(Path(path).read_text())
    try:
        measured = {"training": try_training, "prediction": try_prediction}[what](spec, Path(path).parent)
    except AnatomarkError as error:
        measured = {"error": type(error).__name__, "message": str(error)}
    print(json.dumps(measured))


if __name__ == "__main__":
    main()

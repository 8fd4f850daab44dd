"""A program that trains the stages of methods in several processes, and keeps what each of these came to.

`python -m tests.training.on_devices DATASET FOLDER DEVICES METHOD ...` writes, into FOLDER, for each stage and process
the gradients of its first step and the weights after its last one, METHOD-STAGE-RANK.pt, and each method's log. With
the variable DIES=RANK,STEP that process is killed before that step.

All is computed in float64: in float32 the order of sums is enough to make trainings differ after a few steps, for Adam
divides gradients by their size, however small.
"""

import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from threading import Lock
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from torch import Tensor, nn

from anatomark import load_dataset
from anatomark.core.grid import Floats
from anatomark.errors import AnatomarkError
from anatomark.methods.global_to_local.stages import GlobalToLocalStages
from anatomark.methods.heatmap.stages import HeatmapStages
from anatomark.methods.interface import AnyPlan, Batch, fit_stages
from anatomark.methods.two_stage.stages import TwoStageStages
from anatomark.methods.unet_votes.stages import UNetVotesStages
from anatomark.training.data import TrainingData, data_of
from anatomark.training.learner import Learner
from anatomark.training.log import RunLog
from anatomark.training.loop import RunContext, StageLoop
from anatomark.training.processes import Processes, device_counts, launch
from anatomark.training.request import Request
from anatomark.training.roles import training_roles
from anatomark.training.run import plan_for, progress_bar
from anatomark.training.run_folder import RunFolder
from anatomark.training.trainer import RunTrainer
from anatomark.training.workers import leading, work

STEPS = int(os.environ.get("STEPS", "12"))
SHARED: dict[str, Any] = {
    "precision": "32-true",
    "validations": 2,
    "validation_pictures": False,  # networks in float64 do not locate in images of float32
    "checkpoint_every": 10,
    "mirror": True,
}
SETTINGS: dict[str, dict[str, Any]] = {
    "unet-votes": {"channels": [4, 6, 8], "batch": 5, "steps": STEPS, "crop": [48, 56]},
    "global-to-local": {
        "global_stem": 4,
        "global_blocks": [1, 1, 1, 1],
        "global_channels": [4, 4, 8, 8],
        "global_head": 8,
        "global_crop": [64, 64],
        "global_batch": 3,
        "global_steps": STEPS,
        "local_channels": [[4, 4], [4]],
        "local_head": 4,
        "local_landmarks_per_step": 3,
        "local_batch": 4,
        "local_steps": STEPS,
    },
    "two-stage": {
        "channels": [[4, 4], [4, 4], [6]],
        "head_channels": [8],
        "joint_rank": 2,
        "stage1_batch": 4,
        "stage1_crop": [16, 16],
        "stage1_steps": STEPS,
        "frozen_steps": STEPS,
        "stage2_crop": [48, 48],
        "stage2_batch": 4,
        "stage2_steps": STEPS,
    },
    "heatmap": {"channels": [4, 6, 8], "batch": 4, "steps": STEPS, "crop": [48, 56]},
}


FLOAT64 = Lock()  # the default type is the program's, and batches are drawn in a thread


class Exact:
    """Stages whose networks and batches are in float64; their errors are of weights, for images are float32."""

    def make(self, *given: Any) -> nn.Module:
        return super().make(*given).double()  # type: ignore[misc]

    def batch(self, *given: Any, first: int) -> Batch:
        with FLOAT64:
            batch = super().batch(*given, first=first)  # type: ignore[misc]
        return {name: values.double() if values.is_floating_point() else values for name, values in batch.items()}

    def loss(self, *given: Any) -> dict[str, Tensor]:
        with FLOAT64, patch.object(Tensor, "float", Tensor.double):
            torch.set_default_dtype(torch.float64)
            try:
                return super().loss(*given)  # type: ignore[misc]
            finally:
                torch.set_default_dtype(torch.float32)

    def errors(self, stage: str, networks: Any, cases: Sequence[Any], device: Any) -> Floats:
        size = sum(float(each.detach().abs().sum()) for each in networks[stage].parameters())
        return np.array([[size * len(case.id), np.nan] for case in cases])


class UNetVotes(Exact, UNetVotesStages): ...


class GlobalToLocal(Exact, GlobalToLocalStages): ...


class TwoStage(Exact, TwoStageStages): ...


class Heatmap(Exact, HeatmapStages): ...


EXACT = {"unet-votes": UNetVotes, "global-to-local": GlobalToLocal, "two-stage": TwoStage, "heatmap": Heatmap}


def main(dataset: Path, folder: Path, devices: str, methods: list[str]) -> None:
    kept: dict[str, Any] = {}
    dies = tuple(map(int, os.environ.get("DIES", "-1,-1").split(",")))
    learn, run = Learner.learn, StageLoop.run

    def learn_and_keep(self: Learner, *given: Any, step: int, **more: Any) -> Any:
        if (self.fabric.global_rank, step) == dies:
            os.kill(os.getpid(), signal.SIGKILL)
        terms = learn(self, *given, step=step, **more)
        if step == 0:
            kept["gradients"] = {
                name: each.grad.clone() for name, each in self.network.named_parameters() if each.grad is not None
            }
        return terms

    def run_and_keep(self: StageLoop) -> Any:
        found = run(self)
        weights = {**self.learner.network.state_dict(), "score": torch.tensor(found[1])}
        name = f"{self.run_folder.path.name}-{self.stage}-{self.processes.rank}.pt"
        torch.save({**kept, "weights": weights}, folder / name)
        return found

    Learner.learn, StageLoop.run = learn_and_keep, run_and_keep  # type: ignore[method-assign]
    processes = launch("cpu", *device_counts("cpu", devices, None))
    if processes.rank:
        work(processes)
    with leading(processes):
        for method in methods:
            train_stages(dataset, RunFolder(folder / method), method, processes)


def planned(path: Path, method: str, cache: Path, processes: Processes) -> tuple[TrainingData, AnyPlan]:
    """The cases, prepared into `cache`, and the plan that the settings here come to."""
    dataset, settings = load_dataset(path), {**SHARED, **SETTINGS[method]}
    request = Request.resolved(method, dataset.ndim, preset=None, settings=settings, device="cpu", processes=processes)
    roles = training_roles(dataset, "train", None, request.settings.validation_fraction, request.settings.seed)
    data = data_of(dataset, roles, request.settings, cache=cache)
    return data, plan_for(request, data)


def train_stages(path: Path, run: RunFolder, method: str, processes: Processes) -> None:
    data, plan = planned(path, method, run.cache, processes)
    run.path.mkdir(exist_ok=True)
    cache = data.prepare(plan, lambda done, total: None)
    log = RunLog(run.log, lambda name, value, step: None)
    context = RunContext(processes.fabric("cpu", "32-true"), run, log, progress_bar(False), processes)
    fit_stages(EXACT[method](plan), cache, RunTrainer(context, lambda line: None, "mm", 0.0))


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], sys.argv[4:])
    except AnatomarkError as error:
        sys.exit(f"error: {error}")

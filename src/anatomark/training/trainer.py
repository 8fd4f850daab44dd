"""The trainer of a run: stages go through the loop, into the run folder, and keep to a time budget."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, cast

import torch
from lightning_fabric import Fabric
from rich.progress import Progress
from torch import nn

from anatomark.data.cache import Cache
from anatomark.errors import SettingsError
from anatomark.formats.atomic import write_json
from anatomark.methods.interface import AnyDetector, AnyPlan, Networks, Plan, Staged, StagedT
from anatomark.nets.weights import load_network, load_tensors, save_tensors
from anatomark.training.budget import RESERVE, Budget, stage_budget
from anatomark.training.curves import Plot
from anatomark.training.loop import train_stage
from anatomark.training.run_folder import RunFolder

FORMAT = 2  # of settings.json
ERROR = "validation_error"  # of a stage that has ended, beside its weights


@dataclass(frozen=True, eq=False)
class RunTrainer:
    """Trains stages into `run`. `began` is the clock when the training did; `unit` is that of errors in messages."""

    fabric: Fabric
    run: RunFolder
    progress: Progress
    plot: Plot
    show: Callable[[str], None]
    unit: str
    began: float

    @property
    def device(self) -> torch.device:
        return self.fabric.device

    def begin(self, staged: StagedT, stage: str, networks: Networks, cache: Cache) -> StagedT:
        """`staged` with the steps that the time budget leaves to `stage`, found by a few real steps."""
        if staged.plan.training.minutes is not None and not self.run.stage(stage).exists():
            staged = self._budgeted(staged, stage, networks, cache)
        write_plan(self.run, staged.plan)
        return staged

    def train(self, staged: Staged, stage: str, networks: Networks, cache: Cache) -> nn.Module:
        """The network of `stage`, trained or, where that has been done, loaded; its validation error is shown."""
        path, cases = self.run.stage(stage), cache.role("validation")
        if path.exists():
            network = staged.make(stage, networks, cache)
            tensors, about = load_tensors(path)
            load_network(network, tensors, str(path))
            network.to(self.device)
            error = float(about[ERROR]) if ERROR in about else None
        else:
            budget = self._budgets().get(stage)
            network, error = train_stage(
                self.fabric, staged, stage, networks, cache, self.run, self.progress, self.plot, budget=budget
            )
            save_tensors(path, network.state_dict(), {} if error is None else {ERROR: str(error)})
        if error is not None:
            self.show(error_line(stage, error, len(cases), cache, self.unit))
        return network

    def _budgeted(self, staged: StagedT, stage: str, networks: Networks, cache: Cache) -> StagedT:
        """With the stage's part of the time that is left; a run that was stopped keeps what it had found."""
        known = self._budgets()
        if stage not in known:
            ends = self.began + (1 - RESERVE) * 60 * staged.plan.training.minutes
            budget = stage_budget(self.fabric, staged, stage, networks, cache, ends=ends)
            known = known | {stage: budget}
            write_json(self.run.budget, {name: asdict(each) for name, each in known.items()})
        return staged.with_steps(stage, known[stage].steps)

    def _budgets(self) -> dict[str, Budget]:
        """The Budget of each stage that has begun."""
        try:
            held = json.loads(self.run.budget.read_text(encoding="utf-8"))
            return {str(name): Budget(**each) for name, each in held.items()}
        except FileNotFoundError:
            return {}
        except (ValueError, TypeError, AttributeError):
            raise SettingsError(f"{self.run.budget} is damaged; choose another --out") from None


def error_line(what: str, error: float, cases: int, cache: Cache, unit: str) -> str:
    """One line with a mean radial error on validation cases, in the template's unit where images are scaled to it."""
    scaled = cache.alignment is not None and cache.alignment.kind == "affine"
    where = f" {unit} of the template" if scaled else f" {unit}"
    return f"{what}: mean radial error {error:.2f}{where} on {cases} validation case" + "s" * (cases != 1)


def write_plan(run: RunFolder, plan: AnyPlan) -> None:
    """Write settings.json: the complete network and training."""
    parts = {"network": plan.network.model_dump(), "training": plan.training.model_dump()}
    write_json(run.settings, {"format": FORMAT, **parts, "undecided": plan.undecided})


def read_plan(run: RunFolder, kind: type[AnyDetector]) -> AnyPlan:
    """What `write_plan` wrote; SettingsError where it is damaged or of another version."""
    try:
        held = cast("dict[str, Any]", json.loads(run.settings.read_text(encoding="utf-8")))
        if held.get("format") != FORMAT:
            raise SettingsError(
                f"{run.settings} belongs to another version of anatomark, which began this run; "
                "finish it with that one, or choose another --out"
            )
        network = kind.network_type.model_validate(held["network"])
        training = kind.training_type.model_validate(held["training"])
        return Plan(network, training, tuple(map(str, held["undecided"])))
    except (ValueError, KeyError, TypeError, AttributeError):
        raise SettingsError(f"{run.settings} is damaged; choose another --out") from None


def fabric_of(device: str, precision: str) -> Fabric:
    """The Fabric of one process."""
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)  # the plan has named the precision already
    return Fabric(accelerator=device, devices=1, precision=precision)  # type: ignore[arg-type]

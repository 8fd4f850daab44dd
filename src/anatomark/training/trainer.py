"""The trainer of a run: stages go through the loop, into the run folder, and keep to a time budget."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass

import torch
from torch import nn

from anatomark.data.cache import Cache
from anatomark.errors import SettingsError
from anatomark.formats.atomic import write_json
from anatomark.methods.interface import Networks, StagedT
from anatomark.nets.weights import load_network, load_tensors, save_tensors
from anatomark.training.budget import RESERVE, Budget, stage_budget
from anatomark.training.loop import RunContext
from anatomark.training.processes import ALONE
from anatomark.training.workers import train_stage

ERROR = "validation_error"  # of a stage that has ended, beside its weights


@dataclass(frozen=True, eq=False)
class RunTrainer:
    """Trains the stages of a run. `began` is the clock when the training did; `unit` is that of errors in messages.

    `in_short` is for a trial, after whose last stage nothing but an error is wanted.
    """

    context: RunContext
    show: Callable[[str], None]
    unit: str
    began: float
    in_short: bool = False

    @property
    def device(self) -> torch.device:
        return self.context.fabric.device

    def train(self, staged: StagedT, stage: str, networks: Networks, cache: Cache) -> tuple[StagedT, nn.Module]:
        """`staged` with the steps that the time budget leaves to `stage`, found by a few real steps, and the network.

        The network is trained or, where that has been done, loaded; its validation error is shown.
        """
        run, path = self.context.run, self.context.run.stage(stage)
        ended = path.exists()
        if staged.plan.training.minutes is not None and not ended:
            staged = self._budgeted(staged, stage, networks, cache)
        run.write_plan(staged.plan)
        if ended:
            network = staged.make(stage, networks, cache)
            tensors, about = load_tensors(path)
            load_network(network, tensors, str(path))
            network.to(self.device)
            error = float(about[ERROR]) if ERROR in about else None
        else:
            budget = self._budgets().get(stage)
            network, error = train_stage(self.context, staged, stage, networks, cache, budget)
            save_tensors(path, network.state_dict(), {} if error is None else {ERROR: str(error)})
        if error is not None:
            self.show(error_line(stage, error, cache, self.unit))
        return staged, network

    def _budgeted(self, staged: StagedT, stage: str, networks: Networks, cache: Cache) -> StagedT:
        """With the stage's part of the time that is left; a run that was stopped keeps what it had found."""
        known = self._budgets()
        if stage not in known:
            ends = self.began + (1 - RESERVE) * 60 * staged.plan.training.minutes
            context, count = self.context, self.context.processes.count
            fabric = context.fabric if count == 1 else ALONE.fabric(context.fabric.device.type, context.precision)
            budget = stage_budget(
                fabric, staged, stage, networks, cache, ends=ends, copies=not self.in_short, processes=count
            )
            known = known | {stage: budget}
            write_json(self.context.run.budget, {name: asdict(each) for name, each in known.items()})
        return staged.with_steps(stage, known[stage].steps)

    def _budgets(self) -> dict[str, Budget]:
        """The Budget of each stage that has begun."""
        path = self.context.run.budget
        try:
            held = json.loads(path.read_text(encoding="utf-8"))
            return {str(name): Budget(**each) for name, each in held.items()}
        except FileNotFoundError:
            return {}
        except (ValueError, TypeError, AttributeError):
            raise SettingsError(f"{path} is damaged; choose another --out") from None


def error_line(what: str, error: float, cache: Cache, unit: str) -> str:
    """One line with a mean radial error on validation cases, in the template's unit where images are scaled to it."""
    scaled = cache.alignment is not None and cache.alignment.kind == "affine"
    where = f" {unit} of the template" if scaled else f" {unit}"
    cases = len(cache.validation)
    return f"{what}: mean radial error {error:.2f}{where} on {cases} validation case" + "s" * (cases != 1)

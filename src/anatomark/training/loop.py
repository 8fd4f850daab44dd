"""The training loop: one stage of a method, from its first step to the weights it keeps.

Randomness is drawn anew for each step from (seed, stage, step, process), so a resumed run goes on exactly where the
checkpoint was written, and several processes draw different examples.
"""

from __future__ import annotations

import copy
import json
import math
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn

from anatomark.data.cache import Cache
from anatomark.errors import ModelError
from anatomark.nets.weights import load_network, load_tensors, save_tensors, under_prefix, with_prefix
from anatomark.training.budget import Budget
from anatomark.training.checkpoint import optimizer_tensors, restore_optimizer
from anatomark.training.curves import Plot
from anatomark.training.run_folder import RunFolder
from anatomark.training.schedule import rate_factor, shuffled, update_average

if TYPE_CHECKING:
    from lightning_fabric import Fabric
    from rich.progress import Progress

    from anatomark.methods.interface import Batch, Networks, Staged

LOG_EVERY = 10
MIN_VALIDATION_CASES = 5  # to choose the best weights by, and to stop early


@dataclass
class Progressed:
    """How far a stage is, as its checkpoint says: steps, validations, and seconds by the clock and of a CPU's cores."""

    stage: str
    steps: int
    step: int = 0
    best_score: float | None = None
    best_step: int = 0
    seconds: float = 0.0
    core_seconds: float = 0.0
    validated: list[float] = field(default_factory=list[float])  # seconds of each validation


def train_stage(
    fabric: Fabric,
    staged: Staged,
    stage: str,
    networks: Networks,
    cache: Cache,
    run: RunFolder,
    progress: Progress,
    plot: Plot,
    *,
    budget: Budget | None = None,
) -> tuple[nn.Module, float | None]:
    """The network of `stage` with the weights it is to keep, trained on `cache`, and its error on validation cases.

    `networks` are of the stages before. Kept are the averaged weights (EMA) of the validation with the lowest mean
    radial error; the last ones where fewer than MIN_VALIDATION_CASES cases validate, for so few choose by chance.
    With a `budget` the number of steps is corrected on the way, so that the stage ends when its time is over.
    """
    loop = StageLoop(fabric, staged, stage, networks, cache, run, progress, plot, budget)
    loop.resume()
    loop.run_steps()
    return loop.kept, loop.state.best_score


class StageLoop:
    """One stage in training: its network, the average and the best of its weights, the optimizer, and its progress."""

    def __init__(
        self,
        fabric: Fabric,
        staged: Staged,
        stage: str,
        networks: Networks,
        cache: Cache,
        run: RunFolder,
        progress: Progress,
        plot: Plot,
        budget: Budget | None,
    ) -> None:
        self.fabric, self.staged, self.stage, self.networks, self.cache = fabric, staged, stage, networks, cache
        self.run, self.progress, self.plot, self.budget = run, progress, plot, budget
        self.training, self.plan = staged.plan.training, staged.stage_plan(stage)
        self.cases, self.validation = cache.role("train"), cache.role("validation")
        self.state = Progressed(stage, self.plan.steps)
        self.network = staged.make(stage, networks, cache)
        training, rate = self.training, self.plan.learning_rate
        self.optimizer = torch.optim.AdamW(
            self.network.parameters(), lr=rate, weight_decay=training.weight_decay, amsgrad=training.amsgrad
        )
        self.wrapped, self.wrapped_optimizer = fabric.setup(self.network, self.optimizer)
        self.averaged, self.best = copy.deepcopy(self.network), copy.deepcopy(self.network)
        self.sums: dict[str, torch.Tensor] = {}  # of the loss terms since the last line of the log
        self.bar = progress.add_task(stage, total=self.state.steps, status="")

    @property
    def kept(self) -> nn.Module:
        """The network with the weights that the stage ends with."""
        return self.best if self.validation else self.candidate

    @property
    def candidate(self) -> nn.Module:
        """The network with the weights of now."""
        return self.averaged if self.training.ema else self.network

    def resume(self) -> None:
        """Go on from the checkpoint of the run, where it is of this stage."""
        if self.run.checkpoint.exists():
            tensors, metadata = load_tensors(self.run.checkpoint)
            saved = json.loads(metadata["state"])
            if saved["stage"] == self.stage:
                self.state = Progressed(**saved)
                for part, module in self._parts().items():
                    load_network(module, under_prefix(part, tensors), str(self.run.checkpoint))
                restore_optimizer(self.optimizer, under_prefix("optimizer", tensors))
                self.fabric.print(f"{self.stage}: resuming from step {self.state.step}")
        self.run.rewind_log(self.stage, self.state.step)

    def run_steps(self) -> None:
        """All steps that are left, with their validations, log and checkpoints."""
        state, device = self.state, self.fabric.device
        reader = None if self.cache.in_memory else ThreadPoolExecutor(1)
        upcoming = reader.submit(self._draw, state.step) if reader else None
        self.progress.update(self.bar, completed=state.step, total=state.steps)
        self.network.train()
        began, worked = time.monotonic() - state.seconds, time.process_time() - state.core_seconds
        while state.step < state.steps:
            batch = upcoming.result() if upcoming else self._draw(state.step)
            upcoming = reader.submit(self._draw, state.step + 1) if reader and state.step + 1 < state.steps else None
            for name, value in self._learn(batch).items():
                self.sums[name] = self.sums.get(name, torch.zeros((), device=device)) + value.detach()
            every = max(1, state.steps // (self.budget or self.training).validations)
            state.step += 1
            state.seconds, state.core_seconds = time.monotonic() - began, time.process_time() - worked
            self.progress.update(self.bar, completed=state.step)
            if state.step % LOG_EVERY == 0 or state.step == state.steps:
                self._log()
            if self.validation and (state.step % every == 0 or state.step == state.steps):
                self._validate()
                if state.step - state.best_step >= self.training.patience * every:
                    since = f"no improvement since step {state.best_step}"
                    self.fabric.print(f"{self.stage}: early stopping at step {state.step}: {since}")
                    state.steps = state.step
            if self.budget is not None and state.step < state.steps:
                elapsed = time.monotonic() - began
                state.steps = self.budget.corrected_steps(state.step, state.steps, elapsed, state.validated)
                self.progress.update(self.bar, total=state.steps)
            checkpoint_every = LOG_EVERY * max(1, self.training.checkpoint_every // LOG_EVERY)
            if state.step % checkpoint_every == 0 or state.step >= state.steps:
                self._save()
        if reader:
            reader.shutdown()
        self.progress.update(self.bar, completed=state.steps, status=self._score() if self.validation else "")

    def _draw(self, step: int) -> Batch:
        fabric, batch, seed = self.fabric, self.plan.batch, self.training.seed
        rng = np.random.default_rng([seed, self.staged.stages.index(self.stage), step, fabric.global_rank])
        first = (step * fabric.world_size + fabric.global_rank) * batch
        chosen = [self.cases[shuffled(first + i, len(self.cases), seed)] for i in range(batch)]
        return self.staged.batch(self.stage, chosen, self.cache.mirrored, rng, fabric.device)

    def _learn(self, batch: Batch) -> dict[str, torch.Tensor]:
        """One step; its loss terms and their sum, "loss"."""
        step, steps = self.state.step, self.state.steps
        for group in self.optimizer.param_groups:
            group["lr"] = self.plan.learning_rate * rate_factor(self.plan.schedule, step, steps)
        terms = self.staged.loss(self.stage, self.wrapped, batch)
        total = torch.stack(list(terms.values())).sum()
        self.wrapped_optimizer.zero_grad()
        self.fabric.backward(total)
        if clip := self.training.gradient_clip:
            self.fabric.clip_gradients(self.wrapped, self.wrapped_optimizer, max_norm=clip, error_if_nonfinite=False)
        self.wrapped_optimizer.step()
        if self.training.ema:
            update_average(self.averaged, self.network, min(self.training.ema, (1 + step) / (10 + step)))
        return {**terms, "loss": total}

    def _log(self) -> None:
        """A line with the mean losses since the last one; ModelError where they are no numbers any more."""
        state = self.state
        count = LOG_EVERY if state.step % LOG_EVERY == 0 else state.step % LOG_EVERY
        means = {name: round(float(value) / count, 6) for name, value in self.sums.items()}
        self.sums = {}
        if not math.isfinite(means["loss"]):
            todo = "lower the learning rate or set precision=32-true"
            raise ModelError(f"{self.stage}: the loss is {means['loss']} at step {state.step}; {todo}")
        seen = _patches_seen(self.plan.patches * self.fabric.world_size, state.step, state.seconds)
        spent = {"seconds": round(state.seconds, 1), "core_seconds": round(state.core_seconds, 1)}
        self.run.append_log({"stage": self.stage, "step": state.step, **means, **seen, **spent})
        if seen:
            speed = f"{seen['patches'] / 1e6:.2f} M patches, {seen['patches_per_second']:,} a second"
            validated = [self._score()] if state.validated else []
            self.progress.update(self.bar, status="; ".join([speed, *validated]))
        for name, value in means.items():
            self.plot(f"{self.stage}/{name}", value, state.step)

    def _validate(self) -> None:
        """The error of the weights of now; they are kept where it is the lowest, or where too few cases validate."""
        state, started = self.state, time.monotonic()
        networks = {**self.networks, self.stage: self.candidate}
        score = self.staged.validate(self.stage, networks, self.validation, self.fabric.device)
        self.network.train()
        self.run.append_log({"stage": self.stage, "step": state.step, "validation_mre": round(score, 6)})
        self.plot(f"{self.stage}/validation_mre", score, state.step)
        self.progress.update(self.bar, status=f"validation {score:.2f}")
        few = len(self.validation) < MIN_VALIDATION_CASES
        if few or state.best_score is None or not score >= state.best_score:
            state.best_score, state.best_step = score, state.step
            self.best.load_state_dict(self.candidate.state_dict())
        state.validated.append(round(time.monotonic() - started, 3))

    def _score(self) -> str:
        return f"validation {self.state.best_score:.2f}"

    def _save(self) -> None:
        tensors = {
            k: v for name, part in self._parts().items() for k, v in with_prefix(name, part.state_dict()).items()
        }
        tensors |= with_prefix("optimizer", optimizer_tensors(self.optimizer))
        if self.fabric.is_global_zero:
            save_tensors(self.run.checkpoint, tensors, {"state": json.dumps(asdict(self.state))})

    def _parts(self) -> dict[str, nn.Module]:
        return {"network": self.network, "averaged": self.averaged, "best": self.best}


def _patches_seen(each: int, steps: int, seconds: float) -> dict[str, int]:
    """Patches learned from so far, and per second; nothing for a stage that does not learn from patches."""
    return {"patches": each * steps, "patches_per_second": round(each * steps / max(seconds, 1e-9))} if each else {}

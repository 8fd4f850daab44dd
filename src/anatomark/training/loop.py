"""The training loop: one stage of a method, from its first step to the weights it keeps.

Randomness is drawn anew for each step from (seed, stage, step, process), so a resumed run goes on exactly where the
checkpoint was written, and several processes draw different examples.
"""

from __future__ import annotations

import copy
import json
import math
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from anatomark.data.cache import Cache
from anatomark.errors import ModelError
from anatomark.nets.weights import load_network, load_tensors, save_tensors, under_prefix, with_prefix
from anatomark.training.checkpoint import optimizer_tensors, restore_optimizer
from anatomark.training.curves import Plot
from anatomark.training.run_folder import RunFolder

if TYPE_CHECKING:
    from lightning_fabric import Fabric
    from rich.progress import Progress

    from anatomark.methods.interface import Batch, Networks, Staged
    from anatomark.methods.settings import Training

LOG_EVERY = 10
WARM_UP_STEPS = 50
MIN_VALIDATION_CASES = 5  # to choose the best weights by, and to stop early
VALIDATION_SHARE = 0.2  # of a time budget
PACE_CHECKS = 20  # of a stage with a time budget
FIRST_PACE_STEPS = 5


@dataclass(frozen=True)
class Budget:
    """The time of a stage, how many steps may fit into it, and how often and for how long it is validated meanwhile."""

    seconds: float
    steps: int
    validations: int
    validation_seconds: float

    @classmethod
    def planned(cls, seconds: float, *, step: float, validation: float, most: int) -> Budget:
        """From the seconds of a "step" and of a "validation"; there are at most `most`, in a fifth of the time."""
        validations = int(min(most, max(1, VALIDATION_SHARE * seconds / max(validation, 1e-9))))
        return cls(seconds, max(1, int((seconds - validations * validation) / step)), validations, validation)

    def corrected_steps(self, step: int, steps: int, elapsed: float, validated: Sequence[float]) -> int:
        """How many steps in all end in time, looked at after each PACE_CHECKS part of `steps`; `steps` between those.

        By the pace of the steps so far, beside the `validated` seconds of each validation, and those to come.
        """
        if step % max(1, steps // PACE_CHECKS) or step < FIRST_PACE_STEPS:
            return steps
        each = sum(validated) / len(validated) if validated else self.validation_seconds
        left = self.seconds - elapsed - max(0, self.validations - len(validated)) * each
        pace = max(1e-9, (elapsed - sum(validated)) / step)
        return max(step + 1, step + round(left / pace))


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
) -> nn.Module:
    """The network of `stage` with the weights it is to keep, trained on `cache`; `networks` are of the stages before.

    Kept are the averaged weights (EMA) of the validation with the lowest mean radial error; the last ones where fewer
    than MIN_VALIDATION_CASES cases validate, for so few choose by chance. With a `budget` the number of steps is
    corrected on the way, so that the stage ends when its time is over.
    """
    training: Training = staged.plan.training
    device = fabric.device
    cases, validation = cache.role("train"), cache.role("validation")
    plan = staged.stage_plan(stage)

    network = staged.make(stage, networks, cache)
    optimizer = torch.optim.AdamW(
        network.parameters(), lr=plan.learning_rate, weight_decay=training.weight_decay, amsgrad=training.amsgrad
    )
    wrapped, wrapped_optimizer = fabric.setup(network, optimizer)
    averaged = copy.deepcopy(network)
    best = copy.deepcopy(network)
    state: dict[str, Any] = {"stage": stage, "step": 0, "steps": plan.steps, "best_score": None, "best_step": 0}
    state |= {"seconds": 0.0, "core_seconds": 0.0}  # by the clock, and of the cores of a CPU
    state["validated"] = []  # seconds of each validation
    latest_validation = ""

    if run.checkpoint.exists():
        tensors, metadata = load_tensors(run.checkpoint)
        saved = json.loads(metadata["state"])
        if saved["stage"] == stage:
            state |= saved
            for part, module in (("network", network), ("averaged", averaged), ("best", best)):
                load_network(module, under_prefix(part, tensors), str(run.checkpoint))
            restore_optimizer(optimizer, under_prefix("optimizer", tensors))
            fabric.print(f"{stage}: resuming from step {state['step']}")
    run.rewind_log(stage, state["step"])

    def draw(step: int) -> Batch:
        rng = np.random.default_rng([training.seed, staged.stages.index(stage), step, fabric.global_rank])
        first = (step * fabric.world_size + fabric.global_rank) * plan.batch
        chosen = [cases[_shuffled(first + i, len(cases), training.seed)] for i in range(plan.batch)]
        return staged.batch(stage, chosen, cache.mirrored, rng, device)

    def evaluate(step: int) -> str:
        started = time.monotonic()
        candidate = averaged if training.ema else network
        score = staged.validate(stage, {**networks, stage: candidate}, validation, device)
        network.train()
        run.append_log({"stage": stage, "step": step, "validation_mre": round(score, 6)})
        plot(f"{stage}/validation_mre", score, step)
        text = f"validation {score:.2f}"
        progress.update(bar, status=text)
        few = len(validation) < MIN_VALIDATION_CASES
        if few or state["best_score"] is None or not score >= state["best_score"]:
            state.update(best_score=score, best_step=step)
            best.load_state_dict(candidate.state_dict())
        state["validated"].append(round(time.monotonic() - started, 3))
        return text

    reader = None if cache.in_memory else ThreadPoolExecutor(1)
    upcoming = reader.submit(draw, state["step"]) if reader else None
    sums: dict[str, torch.Tensor] = {}
    bar = progress.add_task(stage, total=state["steps"], completed=state["step"], status="")
    network.train()
    began, worked = time.monotonic() - state["seconds"], time.process_time() - state["core_seconds"]
    while state["step"] < state["steps"]:
        step, steps = state["step"], state["steps"]
        validate_every = max(1, steps // (training.validations if budget is None else budget.validations))
        checkpoint_every = LOG_EVERY * max(1, training.checkpoint_every // LOG_EVERY)
        batch = upcoming.result() if upcoming else draw(step)
        upcoming = reader.submit(draw, step + 1) if reader and step + 1 < steps else None
        for group in optimizer.param_groups:
            group["lr"] = plan.learning_rate * rate_factor(plan.schedule, step, steps)
        terms = staged.loss(stage, wrapped, batch)
        total = torch.stack(list(terms.values())).sum()
        wrapped_optimizer.zero_grad()
        fabric.backward(total)
        if training.gradient_clip:
            fabric.clip_gradients(wrapped, wrapped_optimizer, max_norm=training.gradient_clip, error_if_nonfinite=False)
        wrapped_optimizer.step()
        if training.ema:
            update_average(averaged, network, min(training.ema, (1 + step) / (10 + step)))
        for name, value in {**terms, "loss": total}.items():
            sums[name] = sums.get(name, torch.zeros((), device=device)) + value.detach()
        step += 1
        state.update(step=step, seconds=time.monotonic() - began, core_seconds=time.process_time() - worked)
        progress.update(bar, completed=step)

        if step % LOG_EVERY == 0 or step == steps:
            count = LOG_EVERY if step % LOG_EVERY == 0 else step % LOG_EVERY
            means = {name: round(float(value) / count, 6) for name, value in sums.items()}
            if not math.isfinite(means["loss"]):
                todo = "lower the learning rate or set precision=32-true"
                raise ModelError(f"{stage}: the loss is {means['loss']} at step {step}; {todo}")
            seen = _patches_seen(plan.patches * fabric.world_size, step, state["seconds"])
            spent = {name: round(state[name], 1) for name in ("seconds", "core_seconds")}
            run.append_log({"stage": stage, "step": step, **means, **seen, **spent})
            if seen:
                speed = f"{seen['patches'] / 1e6:.2f} M patches, {seen['patches_per_second']:,} a second"
                progress.update(bar, status="; ".join(part for part in (speed, latest_validation) if part))
            for name, value in means.items():
                plot(f"{stage}/{name}", value, step)
            sums = {}
        if validation and (step % validate_every == 0 or step == steps):
            latest_validation = evaluate(step)
            if step - state["best_step"] >= training.patience * validate_every:
                fabric.print(f"{stage}: early stopping at step {step}: no improvement since step {state['best_step']}")
                state["steps"] = steps = step
        if budget is not None and step < steps:
            state["steps"] = steps = budget.corrected_steps(step, steps, time.monotonic() - began, state["validated"])
            progress.update(bar, total=steps)
        if step % checkpoint_every == 0 or step >= steps:
            parts = {"network": network, "averaged": averaged, "best": best}
            tensors = {k: v for name, part in parts.items() for k, v in with_prefix(name, part.state_dict()).items()}
            tensors |= with_prefix("optimizer", optimizer_tensors(optimizer))
            if fabric.is_global_zero:
                save_tensors(run.checkpoint, tensors, {"state": json.dumps(state)})
    if reader:
        reader.shutdown()
    score = f"validation {state['best_score']:.2f}" if validation else ""
    progress.update(bar, completed=state["steps"], status=score)
    if validation:
        return best
    return averaged if training.ema else network


def _patches_seen(each: int, steps: int, seconds: float) -> dict[str, int]:
    """Patches learned from so far, and per second; nothing for a stage that does not learn from patches."""
    return {"patches": each * steps, "patches_per_second": round(each * steps / max(seconds, 1e-9))} if each else {}


def rate_factor(schedule: str, step: int, steps: int) -> float:
    """The share of the peak learning rate at `step` of `steps`.

    "warm-restarts" is a cosine over 10 000 steps, then over twice as many, and so on (arXiv 2007.05295).
    """
    if schedule == "constant":
        return 1.0
    if schedule == "warm-restarts":
        length = 10_000
        while step >= length:
            step, length = step - length, 2 * length
        return 0.5 + 0.5 * math.cos(math.pi * step / length)
    warm_up = min(1.0, (step + 1) / min(WARM_UP_STEPS, max(1, steps // 4)))
    return warm_up * (0.5 + 0.5 * math.cos(math.pi * step / steps))


def update_average(averaged: nn.Module, network: nn.Module, decay: float) -> None:
    """averaged = decay * averaged + (1 - decay) * network, for parameters and floating-point buffers."""
    with torch.no_grad():
        for mean, now in zip(averaged.state_dict().values(), network.state_dict().values(), strict=True):
            if mean.is_floating_point():
                mean.lerp_(now, 1 - decay)
            else:
                mean.copy_(now)


def _shuffled(position: int, count: int, seed: int) -> int:
    """The case at `position` of an endless sequence that goes through all cases, in another order each time."""
    epoch, place = divmod(position, count)
    return int(_order(epoch, count, seed)[place])


@lru_cache(maxsize=2)  # a batch may reach from one round into the next
def _order(epoch: int, count: int, seed: int) -> NDArray[np.int64]:
    return np.random.default_rng([seed, 7, epoch]).permutation(count)

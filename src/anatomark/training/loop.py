"""The training loop: one stage of a method, from its first step to its kept weights.

Randomness is drawn anew for each step from (seed, stage, step, process), so a resumed run goes on exactly where the
checkpoint was written, and several processes draw different examples.
"""

from __future__ import annotations

import copy
import json
import math
import time
from concurrent.futures import ThreadPoolExecutor
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

    from anatomark.methods.interface import Method

LOG_EVERY = 10
WARM_UP_STEPS = 50
CHOOSERS = 5


def train_stage(
    fabric: Fabric, method: Method, stage: str, cache: Cache, run: RunFolder, progress: Progress, plot: Plot
) -> None:
    """Train `method.networks[stage]` and leave the kept weights in it.

    Kept are the averaged weights (EMA) of the validation with the lowest mean radial error; the last ones where fewer
    than CHOOSERS cases validate, for so few choose by chance.
    """
    settings = method.settings
    device = fabric.device
    training, validation = cache.role("train"), cache.role("validation")
    plan = method.stage_plan(stage)
    steps = plan.steps
    validate_every = max(1, steps // settings.validations)
    checkpoint_every = LOG_EVERY * max(1, settings.checkpoint_every // LOG_EVERY)

    network = method.networks[stage]
    optimizer = torch.optim.AdamW(
        network.parameters(), lr=plan.learning_rate, weight_decay=settings.weight_decay, amsgrad=settings.amsgrad
    )
    wrapped, wrapped_optimizer = fabric.setup(network, optimizer)
    averaged = copy.deepcopy(network)
    best = copy.deepcopy(network)
    state: dict[str, Any] = {"stage": stage, "step": 0, "best_score": None, "best_step": 0}
    state |= {"seconds": 0.0, "core_seconds": 0.0}  # by the clock, and of the cores of a CPU

    if run.checkpoint.exists():
        tensors, metadata = load_tensors(run.checkpoint)
        saved = json.loads(metadata["state"])
        if saved["stage"] == stage:
            state = saved
            for part, module in (("network", network), ("averaged", averaged), ("best", best)):
                load_network(module, under_prefix(part, tensors), str(run.checkpoint))
            restore_optimizer(optimizer, under_prefix("optimizer", tensors))
            fabric.print(f"{stage}: going on from step {state['step']}")
    run.rewind_log(stage, state["step"])

    def draw(step: int) -> dict[str, Any]:
        rng = np.random.default_rng([settings.seed, method.stages.index(stage), step, fabric.global_rank])
        first = (step * fabric.world_size + fabric.global_rank) * plan.batch
        cases = [training[_shuffled(first + i, len(training), settings.seed)] for i in range(plan.batch)]
        return method.example_batch(stage, cases, cache.mirrored, rng, device)

    def evaluate(step: int) -> None:
        kept = averaged if settings.ema else network
        method.networks[stage] = kept
        score = method.validate(stage, validation, device)
        method.networks[stage] = network
        network.train()
        run.append_log({"stage": stage, "step": step, "validation_mre": round(score, 6)})
        plot(f"{stage}/validation_mre", score, step)
        state["told"] = f"validation {score:.2f}"
        progress.update(bar, status=state["told"])
        few = len(validation) < CHOOSERS
        if few or state["best_score"] is None or not score >= state["best_score"]:
            state.update(best_score=score, best_step=step)
            best.load_state_dict(kept.state_dict())

    reader = None if cache.in_memory else ThreadPoolExecutor(1)
    upcoming = reader.submit(draw, state["step"]) if reader else None
    sums: dict[str, torch.Tensor] = {}
    bar = progress.add_task(stage, total=steps, completed=state["step"], status="")
    network.train()
    began, worked = time.monotonic() - state["seconds"], time.process_time() - state["core_seconds"]
    while state["step"] < steps:
        step = state["step"]
        batch = upcoming.result() if upcoming else draw(step)
        upcoming = reader.submit(draw, step + 1) if reader and step + 1 < steps else None
        for group in optimizer.param_groups:
            group["lr"] = plan.learning_rate * rate_factor(plan.schedule, step, steps)
        terms = method.loss(stage, wrapped, batch)
        total = torch.stack(list(terms.values())).sum()
        wrapped_optimizer.zero_grad()
        fabric.backward(total)
        if settings.gradient_clip:
            fabric.clip_gradients(wrapped, wrapped_optimizer, max_norm=settings.gradient_clip, error_if_nonfinite=False)
        wrapped_optimizer.step()
        if settings.ema:
            update_average(averaged, network, min(settings.ema, (1 + step) / (10 + step)))
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
                progress.update(bar, status="; ".join(part for part in (speed, state.get("told", "")) if part))
            for name, value in means.items():
                plot(f"{stage}/{name}", value, step)
            sums = {}
        if validation and (step % validate_every == 0 or step == steps):
            evaluate(step)
            if step - state["best_step"] >= settings.patience * validate_every:
                fabric.print(f"{stage}: no better validation since step {state['best_step']}, stopping at {step}")
                state["step"] = steps
        if step % checkpoint_every == 0 or state["step"] >= steps:
            parts = {"network": network, "averaged": averaged, "best": best}
            tensors = {k: v for name, part in parts.items() for k, v in with_prefix(name, part.state_dict()).items()}
            tensors |= with_prefix("optimizer", optimizer_tensors(optimizer))
            if fabric.is_global_zero:
                save_tensors(run.checkpoint, tensors, {"state": json.dumps(state)})
    if reader:
        reader.shutdown()
    if validation:
        method.networks[stage] = best
    else:
        method.networks[stage] = averaged if settings.ema else network
    progress.update(bar, completed=steps, status=f"validation {state['best_score']:.2f}" if validation else "")


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

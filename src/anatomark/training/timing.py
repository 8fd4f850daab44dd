"""Real steps on the clock: what a step of a stage takes on this machine, on the prepared images."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import nn

from anatomark.data.cache import Cache, CachedCase
from anatomark.methods.interface import Networks, Staged
from anatomark.training.schedule import update_average

WARM_UP = 2
MOST_STEPS = 20
SECONDS = 4.0


@dataclass(frozen=True)
class StageTimes:
    """Seconds of a training "step" and of the "validation" of one case; the untrained network that they were of."""

    step: float
    validation: float
    network: nn.Module


def time_stage(
    fabric: Fabric, staged: Staged, stage: str, networks: Networks, cache: Cache, *, seconds: float = SECONDS
) -> StageTimes:
    """A few steps of `stage` on its own batches, thrown away afterwards: MOST_STEPS, or fewer in about `seconds`.

    The random numbers of the training itself are not touched.
    """
    with torch.random.fork_rng(devices=[]):
        plan, training, device = staged.stage_plan(stage), staged.plan.training, fabric.device
        network = staged.make(stage, networks, cache)
        optimizer = torch.optim.AdamW(network.parameters(), lr=plan.learning_rate, amsgrad=training.amsgrad)
        wrapped, wrapped_optimizer = fabric.setup(network, optimizer)
        averaged = copy.deepcopy(network)
        cases, validation = cache.role("train"), cache.role("validation")

        def step(number: int) -> None:
            rng = np.random.default_rng([training.seed, number])
            chosen = [cases[(number * plan.batch + k) % len(cases)] for k in range(plan.batch)]
            terms = staged.loss(stage, wrapped, staged.batch(stage, chosen, cache.mirrored, rng, device))
            wrapped_optimizer.zero_grad()
            fabric.backward(torch.stack(list(terms.values())).sum())
            wrapped_optimizer.step()
            if training.ema:
                update_average(averaged, network, 0.5)

        network.train()
        for number in range(WARM_UP):
            step(number)
        times: list[float] = []
        while len(times) < MOST_STEPS and (len(times) < 1 or sum(times) < seconds):
            times.append(seconds_of(lambda: step(WARM_UP + len(times)), device))
        one = [typical_case(validation or cases)]
        validated = seconds_of(lambda: staged.validate(stage, {**networks, stage: network}, one, device), device)
    return StageTimes(median(times), validated, network)


def typical_case(cases: Sequence[CachedCase]) -> CachedCase:
    """The case whose image comes nearest to the mean number of elements: the time for it is about that for each."""
    sizes = np.array([case.image.fine.size for case in cases])
    return cases[int(np.abs(sizes - sizes.mean()).argmin())]


def seconds_of(task: Callable[[], object], device: torch.device) -> float:
    """Seconds by the clock, also of what a GPU was still at work on."""
    began = time.monotonic()
    task()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.monotonic() - began

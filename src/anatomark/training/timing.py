"""Real steps on the clock: what a step of a stage takes on this machine, on the prepared images."""

from __future__ import annotations

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
from anatomark.training.learner import Learner

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
    fabric: Fabric,
    staged: Staged,
    stage: str,
    networks: Networks,
    cache: Cache,
    *,
    seconds: float = SECONDS,
    processes: int = 1,
) -> StageTimes:
    """A few steps of `stage` on its own batches, thrown away afterwards: MOST_STEPS, or fewer in about `seconds`.

    Where so many `processes` share a batch, steps are of the part of one, without the time that they wait for others.
    The random numbers of the training itself are not touched.
    """
    with torch.random.fork_rng(devices=[]):
        learner, device = Learner(fabric, staged, stage, networks, cache), fabric.device
        cases, size, steps = cache.training, -(-learner.plan.batch // processes), learner.plan.steps

        def step(number: int) -> None:
            rng = np.random.default_rng([staged.plan.training.seed, number])
            chosen = [cases[(number * size + k) % len(cases)] for k in range(size)]
            learner.learn(staged.batch(stage, chosen, cache.mirrored, rng, device), step=number, steps=steps)

        learner.network.train()
        for number in range(WARM_UP):
            step(number)
        times: list[float] = []
        while len(times) < MOST_STEPS and (len(times) < 1 or sum(times) < seconds):
            times.append(seconds_of(lambda: step(WARM_UP + len(times)), device))
        one, trained = [typical_case(cache.validation or cases)], {**networks, stage: learner.network}
        validated = seconds_of(lambda: staged.errors(stage, trained, one, device), device)
    return StageTimes(median(times), validated, learner.network)


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

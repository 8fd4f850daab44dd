"""A time budget: how many steps of a stage fit into it, found by a few real steps and corrected by the pace of others.

The time after the last stage is set aside first: presence, error bounds and suitability are learned from predictions of
some cases. What is left is shared over the stages.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from lightning_fabric import Fabric
from numpy.typing import NDArray
from torch import nn

from anatomark.data.cache import Cache
from anatomark.methods.deep_features import FEWEST, MOST
from anatomark.methods.interface import Networks, Staged
from anatomark.methods.presence import calibration_cases
from anatomark.training.cut_copies import number_of_copies
from anatomark.training.timing import SECONDS, seconds_of, time_stage, typical_case

VALIDATION_SHARE = 0.2  # of the time of a stage
PACE_CHECKS = 20  # of a stage
FIRST_PACE_STEPS = 5
TIMING_SHARE = 0.05  # of the time left, at most, for a few steps that tell the pace
RESERVE = 0.03  # of all the time: steps and validations end when they end, not when their time is over


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

        By the pace of the steps so far, beside the `validated` seconds of each validation, and those to come: one at
        the least, after the last step.
        """
        if step % max(1, steps // PACE_CHECKS) or step < FIRST_PACE_STEPS:
            return steps
        each = sum(validated) / len(validated) if validated else self.validation_seconds
        left = self.seconds - elapsed - max(1, self.validations - len(validated)) * each
        pace = max(1e-9, (elapsed - sum(validated)) / step)
        return max(step + 1, step + round(left / pace))


def stage_budget(
    fabric: Fabric,
    staged: Staged,
    stage: str,
    networks: Networks,
    cache: Cache,
    *,
    ends: float,
    copies: bool = True,
    processes: int = 1,
) -> Budget:
    """The Budget of `stage`, of a training that is to end at `ends`, a time of time.monotonic().

    `copies` says whether copies of validation cases are located after the last stage. So many `processes` share the
    steps and validations, not what comes after them; `fabric` is of one, which takes steps by itself here.
    """
    training, cases = staged.plan.training, len(cache.validation)
    timing = min(SECONDS, TIMING_SHARE * max(0.0, ends - time.monotonic()))
    times = time_stage(fabric, staged, stage, networks, cache, seconds=timing, processes=processes)
    waiting = staged.stages[staged.stages.index(stage) :]
    locating = times.validation
    if len(waiting) > 1:
        locating = _locating(fabric, staged, stage, {**networks, stage: times.network}, cache)
    states = np.stack([case.states for case in cache.cases])
    held_out = np.array([case.role == "validation" for case in cache.cases])
    fitting = sum(staged.stage_plan(name).validations_after for name in waiting)
    left = ends - time.monotonic() - locating * located_afterwards(states, held_out, fitting, copies=copies)
    share = staged.stage_plan(stage).share / sum(staged.stage_plan(name).share for name in waiting)
    validation = times.validation * -(-cases // processes)
    return Budget.planned(max(0.0, share * left), step=times.step, validation=validation, most=training.validations)


def located_afterwards(
    states: NDArray[np.uint8], held_out: NDArray[np.bool_], fitting: int = 0, *, copies: bool = True
) -> int:
    """How many images a training on C cases locates after its last stage: for presence, then for error bounds, for
    the features of training images, and for what lies in the field of view.

    `states` (C, N) are those of the landmarks, `held_out` (C,) tells the validation cases; stages locate all of these
    `fitting` times more. Without `copies`, what lies in the field of view is not learned.
    """
    validation = int(held_out.sum())
    whole = len(calibration_cases(states, held_out)) + (1 + fitting) * validation
    whole += min(MOST, int((~held_out).sum())) if validation >= FEWEST else 0
    return whole + (number_of_copies(validation) if copies else 0)


def _locating(fabric: Fabric, staged: Staged, stage: str, networks: dict[str, nn.Module], cache: Cache) -> float:
    """Seconds that all stages take for one image, those after `stage` with the networks that they begin with."""
    *between, last = staged.stages[staged.stages.index(stage) + 1 :]
    for name in (*between, last):
        networks[name] = staged.make(name, networks, cache).to(fabric.device)
    one = [typical_case(cache.validation or cache.training)]
    return seconds_of(lambda: staged.errors(last, networks, one, fabric.device), fabric.device)

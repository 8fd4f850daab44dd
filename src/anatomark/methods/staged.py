"""What the stages of all methods whose networks learn by gradient steps have in common; see `interface.Staged`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Generic, Self

import torch

from anatomark.core.grid import Floats
from anatomark.data.cache import Cache, CachedCase
from anatomark.data.working import WorkingImage
from anatomark.methods.interface import Located, Networks, NetworkT, Plan, TrainingT
from anatomark.methods.validation import errors_of, mean_error


@dataclass(frozen=True)
class NetworkStages(ABC, Generic[NetworkT, TrainingT]):
    """The stages of a plan. A method adds `make`, `stage_plan`, `batch`, `loss` and `located`."""

    plan: Plan[NetworkT, TrainingT]

    steps: ClassVar[Mapping[str, str]]  # {stage: the setting that is its length}

    @property
    def stages(self) -> tuple[str, ...]:
        return tuple(self.steps)

    def adapted(self, stage: str, networks: Networks, cache: Cache, device: torch.device) -> Self:
        """The same: a stage takes nothing but weights from those before it."""
        return self

    def with_steps(self, stage: str, steps: int) -> Self:
        training = self.plan.training.model_copy(update={self.steps[stage]: steps})
        return replace(self, plan=replace(self.plan, training=training))

    @abstractmethod
    def located(self, stage: str, networks: Networks, image: WorkingImage, device: torch.device) -> Located:
        """The last answer of `stage` for an image."""

    def validate(self, stage: str, networks: Networks, cases: Sequence[CachedCase], device: torch.device) -> float:
        """Mean radial error (world units) of the stage over the present landmarks of `cases`; NaN if there are none."""
        return mean_error(self.errors(stage, networks, cases, device))

    def errors(self, stage: str, networks: Networks, cases: Sequence[CachedCase], device: torch.device) -> Floats:
        """(C, N) radial errors of the stage for C cases; NaN unless a landmark is present."""
        for module in networks.values():
            module.eval()
        return errors_of(lambda image: self.located(stage, networks, image, device).points_world, cases)

"""What the stages of all methods whose networks learn by gradient steps have in common; see `interface.Staged`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Generic, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from anatomark.core.grid import Floats
from anatomark.data.cache import Cache, CachedCase
from anatomark.data.working import WorkingImage
from anatomark.methods.interface import Batch, Located, Networks, NetworkT, Plan, StagePlan, TrainingT
from anatomark.methods.validation import errors_of


@dataclass(frozen=True)
class NetworkStages(ABC, Generic[NetworkT, TrainingT]):
    """The stages of a plan. A method adds what is abstract here, by the contract of `Staged`."""

    plan: Plan[NetworkT, TrainingT]

    steps: ClassVar[Mapping[str, str]]  # {stage: the setting that is its length}

    @classmethod
    @abstractmethod
    def untrained(cls, network: NetworkT) -> dict[str, nn.Module]:
        """The networks that a detector has, by their stages."""

    @property
    def stages(self) -> tuple[str, ...]:
        return tuple(self.steps)

    def adapted(self, stage: str, networks: Networks, cache: Cache, device: torch.device) -> Self:
        """The same: a stage takes nothing but weights from those before it."""
        return self

    def with_steps(self, stage: str, steps: int) -> Self:
        training = self.plan.training.model_copy(update={self.steps[stage]: steps})
        return replace(self, plan=replace(self.plan, training=training))

    def make(self, stage: str, networks: Networks, cache: Cache) -> nn.Module:
        """The network to train, as the seed draws it; for methods of one stage, which begins from nothing."""
        torch.manual_seed(self.plan.training.seed)
        return self.untrained(self.plan.network)[stage]

    @abstractmethod
    def stage_plan(self, stage: str) -> StagePlan: ...

    @abstractmethod
    def batch(
        self,
        stage: str,
        cases: Sequence[CachedCase],
        mirrored: NDArray[np.int64],
        rng: np.random.Generator,
        device: torch.device,
        *,
        first: int = 0,
    ) -> Batch: ...

    @abstractmethod
    def loss(self, stage: str, network: nn.Module, batch: Batch) -> dict[str, Tensor]: ...

    @abstractmethod
    def located(self, stage: str, networks: Networks, image: WorkingImage, device: torch.device) -> Located:
        """The last answer of `stage` for an image."""

    def errors(self, stage: str, networks: Networks, cases: Sequence[CachedCase], device: torch.device) -> Floats:
        """(C, N) radial errors of the stage for C cases; NaN unless a landmark is present."""
        for module in networks.values():
            module.eval()
        points = [self.located(stage, networks, case.image, device).points_world for case in cases]
        return errors_of(points, cases)

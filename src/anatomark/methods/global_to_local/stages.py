"""How global-to-local learns: the global stage, then the local one, whose windows its errors size."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from anatomark.data.cache import Cache, CachedCase
from anatomark.data.working import WorkingImage
from anatomark.methods.examples import crop_example, generators, stacked
from anatomark.methods.global_to_local.calls import calls_of, run_local
from anatomark.methods.global_to_local.config import GlobalToLocalNetwork, GlobalToLocalTraining
from anatomark.methods.global_to_local.locate import search
from anatomark.methods.global_to_local.plan import BYTES_PER_ACTIVATION, SHARE, size_local
from anatomark.methods.global_to_local.windows import local_example
from anatomark.methods.interface import Batch, Located, Networks, StagePlan
from anatomark.methods.search import found
from anatomark.methods.staged import NetworkStages
from anatomark.methods.vote_loss import vote_loss
from anatomark.nets.grouped import GroupedNet, window_values
from anatomark.nets.residual import ResidualNet, crop_values
from anatomark.nets.shared import SharedNet


@dataclass(frozen=True)
class GlobalToLocalStages(NetworkStages[GlobalToLocalNetwork, GlobalToLocalTraining]):
    """The stages "global" and, unless the network is global alone, "local"."""

    steps: ClassVar[Mapping[str, str]] = {"global": "global_steps", "local": "local_steps"}

    @property
    def stages(self) -> tuple[str, ...]:
        return stages_of(self.plan.network)

    def adapted(self, stage: str, networks: Networks, cache: Cache, device: torch.device) -> Self:
        """For the local stage: windows sized by the global stage's errors on validation cases."""
        if stage != "local" or not self.plan.undecided:
            return self
        cases = cache.validation or cache.training
        errors = self.errors("global", networks, cases, device)
        return replace(self, plan=size_local(self.plan, errors.ravel().tolist()))

    @classmethod
    def untrained(cls, network: GlobalToLocalNetwork) -> dict[str, nn.Module]:
        return {stage: make_network(network, stage) for stage in stages_of(network)}

    def make(self, stage: str, networks: Networks, cache: Cache) -> nn.Module:
        network, training = self.plan.network, self.plan.training
        torch.manual_seed(training.seed + self.stages.index(stage))
        if not training.class_prior:
            return make_network(network, stage)
        size, stride = (
            (training.global_crop, network.global_stride)
            if stage == "global"
            else (network.local_window, network.local_stride)
        )
        return make_network(network, stage, prior=1 / max(2, math.prod(n // stride for n in size)))

    def stage_plan(self, stage: str) -> StagePlan:
        network, training = self.plan.network, self.plan.training
        if stage == "global":
            one_crop = crop_values(
                training.global_crop,
                stem=network.global_stem,
                blocks=network.global_blocks,
                channels=network.global_channels,
                downsample=network.global_downsample,
            )
            return StagePlan(
                training.global_steps,
                training.global_batch,
                training.global_learning_rate,
                training.global_schedule,
                share=SHARE[stage] if network.local else 1.0,
                case_bytes=one_crop * BYTES_PER_ACTIVATION,
                smaller=("global_batch", "global_crop", "global_channels"),
            )
        one_landmark = window_values(network.local_channels, network.local_window) * BYTES_PER_ACTIVATION
        return StagePlan(
            training.local_steps,
            training.local_batch,
            training.local_learning_rate,
            training.local_schedule,
            share=SHARE[stage],
            case_bytes=one_landmark * min(network.local_landmarks_per_step, network.landmarks),
            smaller=("local_batch", "local_landmarks_per_step", "local_window", "local_channels"),
        )

    def batch(
        self,
        stage: str,
        cases: Sequence[CachedCase],
        mirrored: NDArray[np.int64],
        rng: np.random.Generator,
        device: torch.device,
        *,
        first: int = 0,
    ) -> Batch:
        """Random examples of `cases`: "values", "points", "states", and which landmarks are "chosen"."""
        network, training = self.plan.network, self.plan.training
        chosen = np.arange(network.landmarks)
        drawn = list(zip(cases, generators(rng, first, len(cases)), strict=True))
        if stage == "global":
            crop = training.global_crop
            examples = [crop_example(c, training, mirrored, own, device, level="coarse", crop=crop) for c, own in drawn]
        else:
            chosen = self._chosen(rng)
            examples = [local_example(c, self.plan, mirrored, own, device, chosen) for c, own in drawn]
        values, points, states = stacked(examples)
        return {
            "values": values,
            "points": points.to(device),
            "states": states.to(device),
            "chosen": torch.from_numpy(chosen),
        }

    def _chosen(self, rng: np.random.Generator) -> NDArray[np.int64]:
        """The landmarks of a step of the local stage: a part of neighbours where each has its network, else any."""
        network = self.plan.network
        count, every = network.local_landmarks_per_step, network.landmarks
        if network.local_shared and count < every:
            return np.sort(rng.choice(every, count, replace=False))
        first = int(rng.integers(every - count + 1)) if count < every else 0
        return np.arange(first, first + count)

    def loss(self, stage: str, network: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """The weighted loss terms of a batch (see `vote_loss`)."""
        training = self.plan.training
        values = batch["values"]
        if stage == "global":
            logits, encoded = network(values)
            class_weight = training.global_class_weight
        else:
            logits, encoded = run_local(self.plan.network, network, values, batch["chosen"])
            class_weight = training.local_class_weight
        stride = [n // g for n, g in zip(values.shape[2:], logits.shape[2:], strict=True)]
        return vote_loss(
            logits.float(),
            encoded.float(),
            batch["points"],
            batch["states"],
            stride=stride,
            class_weight=class_weight,
            coordinate_weight=training.coordinate_weight,
        )

    def located(self, stage: str, networks: Networks, image: WorkingImage, device: torch.device) -> Located:
        network = self.plan.network
        return found(search(network, image, device, upto=stage), calls_of(network, networks))[-1]


def stages_of(network: GlobalToLocalNetwork) -> tuple[str, ...]:
    return ("global", "local") if network.local else ("global",)


def make_network(network: GlobalToLocalNetwork, stage: str, *, prior: float | None = None) -> nn.Module:
    """The network of a stage; `prior` is the probability of presence that its patches start with."""
    if stage == "global":
        return ResidualNet(
            network.ndim,
            network.landmarks,
            stem=network.global_stem,
            blocks=network.global_blocks,
            channels=network.global_channels,
            downsample=network.global_downsample,
            head=network.global_head,
            prior=prior,
        )
    kind = SharedNet if network.local_shared else GroupedNet
    return kind(
        network.ndim,
        network.landmarks,
        channels=network.local_channels,
        head=network.local_head,
        norm=network.local_norm,
        prior=prior,
    )

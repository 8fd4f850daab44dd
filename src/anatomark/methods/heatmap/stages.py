"""How heatmap learns: one stage, on random crops."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from anatomark.core.landmarks import State
from anatomark.data.cache import CachedCase
from anatomark.data.working import WorkingImage
from anatomark.methods.examples import crops, generators
from anatomark.methods.heatmap.calls import calls_of
from anatomark.methods.heatmap.config import HeatmapNetwork, HeatmapTraining
from anatomark.methods.heatmap.locate import search
from anatomark.methods.heatmap.loss import cross_entropy, inside_grid, prior_logit
from anatomark.methods.heatmap.network import HeatmapNet
from anatomark.methods.heatmap.plan import SHARE, heatmap_bytes
from anatomark.methods.interface import Batch, Located, Networks, StagePlan
from anatomark.methods.search import found
from anatomark.methods.staged import NetworkStages
from anatomark.methods.unet_plan import network_bytes
from anatomark.nets.split_batch import batch_mean

STAGE = "heatmap"


@dataclass(frozen=True)
class HeatmapStages(NetworkStages[HeatmapNetwork, HeatmapTraining]):
    """The one stage, "heatmap"."""

    steps: ClassVar[Mapping[str, str]] = {STAGE: "steps"}

    @classmethod
    def untrained(cls, network: HeatmapNetwork) -> dict[str, nn.Module]:
        return {STAGE: make_network(network)}

    def stage_plan(self, stage: str) -> StagePlan:
        network, training = self.plan.network, self.plan.training
        heatmaps = min(network.landmarks, network.landmarks_per_tile) * heatmap_bytes(network.crop, network.stride)
        return StagePlan(
            training.steps,
            training.batch,
            training.learning_rate,
            "cosine",
            share=SHARE,
            case_bytes=network_bytes(network.channels, network.strides, network.crop) + heatmaps,
            smaller=("batch", "crop", "channels", "landmarks_per_tile"),
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
        """Random crops of `cases`: "values", "points" and "sigma", both in elements of the heatmap, and "states"."""
        network, training = self.plan.network, self.plan.training
        rngs = generators(rng, first, len(cases))
        values, points, states = crops(cases, training, mirrored, rngs, device, network.crop)
        stride = torch.tensor(network.stride)
        return {
            "values": values,
            "points": ((points - (stride - 1) / 2) / stride).to(device),
            "states": states.to(device),
            "sigma": torch.tensor(network.sigma_elements(cases[0].image.fine_grid.spacing), device=device),
        }

    def loss(self, stage: str, network: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """The mean cross-entropy of the annotated landmarks: {"heatmap"}."""
        config = self.plan.network
        values, points, states = batch["values"], batch["points"], batch["states"]
        grid = [n / s for n, s in zip(values.shape[2:], config.stride, strict=True)]
        inside = inside_grid(points, states, torch.tensor(grid, device=points.device))

        def tile_loss(logits: Tensor, tile: slice) -> Tensor:
            return cross_entropy(logits, points[:, tile], inside[:, tile], batch["sigma"], loss=config.loss)

        return {"heatmap": batch_mean(network(values, tile_loss), states != State.NOT_ANNOTATED)}

    def located(self, stage: str, networks: Networks, image: WorkingImage, device: torch.device) -> Located:
        return found(search(self.plan.network, image, device), calls_of(cast("HeatmapNet", networks[STAGE])))


def make_network(network: HeatmapNetwork) -> HeatmapNet:
    """The untrained network."""
    return HeatmapNet(
        network.ndim,
        network.landmarks,
        channels=network.channels,
        strides=network.strides,
        prior=prior_logit(network.sigma_elements(network.spacing), network.heatmap_elements),
        per_tile=network.landmarks_per_tile,
    )

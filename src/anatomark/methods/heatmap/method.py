"""Localization by heatmaps: a U-Net that gives every element the probability of each landmark there.

Heatmap regression goes back to Payer et al., MICCAI 2016, doi 10.1007/978-3-319-46723-8_27; the blocks of the network
are nnU-Net's; the losses are this project's choice (see `loss`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar, cast

import torch
from torch import Tensor

from anatomark.data.cache import Cache
from anatomark.data.working import WorkingImage
from anatomark.methods.heatmap.config import HeatmapNetwork, HeatmapTraining
from anatomark.methods.heatmap.locate import locate
from anatomark.methods.heatmap.network import HeatmapNet
from anatomark.methods.heatmap.plan import HeatmapPlan, plan
from anatomark.methods.heatmap.settings import PRESETS, HeatmapSettings
from anatomark.methods.heatmap.stages import STAGE, HeatmapStages, make_network
from anatomark.methods.interface import DataFacts, Located, Trainer, fit_stages
from anatomark.methods.memory import require_memory
from anatomark.methods.networks import NetworkDetector, load_networks
from anatomark.methods.presence import PresenceModel
from anatomark.methods.settings import Network, Settings, Training


class Heatmap(NetworkDetector[HeatmapNetwork]):
    """The trained network "heatmap", and presence."""

    name: ClassVar[str] = "heatmap"
    presets: ClassVar[Mapping[str, Callable[[int], dict[str, Any]]]] = PRESETS
    settings_type: ClassVar[type[Settings]] = HeatmapSettings
    network_type: ClassVar[type[Network]] = HeatmapNetwork
    training_type: ClassVar[type[Training]] = HeatmapTraining

    @classmethod
    def plan(cls, asked: HeatmapSettings, facts: DataFacts) -> HeatmapPlan:
        planned = plan(asked, facts)
        require_memory(HeatmapStages(planned), facts.memory_bytes)
        return planned

    @classmethod
    def fit(cls, plan: HeatmapPlan, cache: Cache, trainer: Trainer) -> Heatmap:
        """Train the network; presence is fitted to validation cases, or to all where few lack landmarks."""
        staged, networks = fit_stages(HeatmapStages(plan), cache, trainer)
        return cls(staged.plan.network, networks, PresenceModel.unfitted(1)).calibrated(cache, trainer.device)

    @classmethod
    def load(
        cls, network: HeatmapNetwork, tensors: Mapping[str, Tensor], presence: PresenceModel, *, source: str
    ) -> Heatmap:
        networks = {STAGE: make_network(network)}
        load_networks(networks, tensors, source)
        return cls(network, networks, presence)

    def locate(self, image: WorkingImage, device: torch.device, *, upto: str | None = None) -> list[Located]:
        return [locate(self.network, cast("HeatmapNet", self.networks[STAGE]), image, device)]

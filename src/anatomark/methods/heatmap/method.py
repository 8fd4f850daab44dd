"""Localization by heatmaps: a U-Net that gives every element the probability of each landmark there.

Heatmap regression goes back to Payer et al., MICCAI 2016, doi 10.1007/978-3-319-46723-8_27; the blocks of the network
are nnU-Net's; the losses are this project's choice (see `loss`).
"""

from __future__ import annotations

from typing import Any, ClassVar, cast

import torch

from anatomark.data.working import WorkingImage
from anatomark.methods.calls import Calls, Graph
from anatomark.methods.heatmap.calls import calls_of, geometry_of, graphs_of
from anatomark.methods.heatmap.config import HeatmapNetwork, HeatmapTraining
from anatomark.methods.heatmap.locate import search
from anatomark.methods.heatmap.network import HeatmapNet
from anatomark.methods.heatmap.plan import HeatmapPlan, plan
from anatomark.methods.heatmap.settings import HeatmapSettings
from anatomark.methods.heatmap.stages import STAGE, HeatmapStages
from anatomark.methods.interface import DataFacts, Located
from anatomark.methods.networks import NetworkDetector
from anatomark.methods.search import Search
from anatomark.methods.settings import Network, Settings, Training
from anatomark.methods.staged import NetworkStages


class Heatmap(NetworkDetector[HeatmapSettings, HeatmapNetwork, HeatmapTraining]):
    """The trained network "heatmap", and presence."""

    name: ClassVar[str] = "heatmap"
    settings_type: ClassVar[type[Settings]] = HeatmapSettings
    network_type: ClassVar[type[Network]] = HeatmapNetwork
    training_type: ClassVar[type[Training]] = HeatmapTraining
    stages_type: ClassVar[type[NetworkStages[Any, Any]]] = HeatmapStages

    @classmethod
    def planned(cls, asked: HeatmapSettings, facts: DataFacts) -> HeatmapPlan:
        return plan(asked, facts)

    def search(self, image: WorkingImage, device: torch.device, *, upto: str | None = None) -> Search[list[Located]]:
        return [(yield from search(self.network, image, device))]

    @property
    def own_calls(self) -> Calls:
        return calls_of(cast("HeatmapNet", self.networks[STAGE]))

    def graphs(self) -> tuple[Graph, ...]:
        return graphs_of(self.network, cast("HeatmapNet", self.networks[STAGE]))

    def geometry(self) -> dict[str, object]:
        return geometry_of(self.network)

"""Global-to-local localization: a global network that looks over the image, then one local network a landmark.

Noothout et al., IEEE TMI 39(12):4011-4022, 2020 (arXiv 2007.05295).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import torch

from anatomark.data.working import WorkingImage
from anatomark.methods.calls import Calls, Graph
from anatomark.methods.global_to_local.calls import calls_of, geometry_of, graphs_of
from anatomark.methods.global_to_local.config import GlobalToLocalNetwork, GlobalToLocalTraining
from anatomark.methods.global_to_local.locate import search
from anatomark.methods.global_to_local.plan import GlobalToLocalPlan, plan
from anatomark.methods.global_to_local.settings import PRESETS, GlobalToLocalSettings
from anatomark.methods.global_to_local.stages import GlobalToLocalStages
from anatomark.methods.interface import DataFacts, Located
from anatomark.methods.networks import NetworkDetector
from anatomark.methods.search import Search
from anatomark.methods.settings import Network, Settings, Training
from anatomark.methods.staged import NetworkStages


class GlobalToLocal(NetworkDetector[GlobalToLocalSettings, GlobalToLocalNetwork, GlobalToLocalTraining]):
    """The trained global network, the local ones, and presence."""

    name: ClassVar[str] = "global-to-local"
    presets: ClassVar[Mapping[str, Callable[[int], dict[str, Any]]]] = PRESETS
    settings_type: ClassVar[type[Settings]] = GlobalToLocalSettings
    network_type: ClassVar[type[Network]] = GlobalToLocalNetwork
    training_type: ClassVar[type[Training]] = GlobalToLocalTraining
    stages_type: ClassVar[type[NetworkStages[Any, Any]]] = GlobalToLocalStages
    first_look: ClassVar[str | None] = "global"

    @classmethod
    def planned(cls, asked: GlobalToLocalSettings, facts: DataFacts) -> GlobalToLocalPlan:
        return plan(asked, facts)

    def search(self, image: WorkingImage, device: torch.device, *, upto: str | None = None) -> Search[list[Located]]:
        return search(self.network, image, device, upto=upto)

    @property
    def own_calls(self) -> Calls:
        return calls_of(self.network, self.networks)

    def graphs(self) -> tuple[Graph, ...]:
        return graphs_of(self.network, self.networks)

    def geometry(self) -> dict[str, object]:
        return geometry_of(self.network)

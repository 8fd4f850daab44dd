"""Global-to-local localization: a global network that looks over the image, then one local network a landmark.

Noothout et al., IEEE TMI 39(12):4011-4022, 2020 (arXiv 2007.05295).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor

from anatomark.data.cache import Cache
from anatomark.data.working import WorkingImage
from anatomark.methods.global_to_local.config import GlobalToLocalNetwork, GlobalToLocalTraining
from anatomark.methods.global_to_local.locate import locate
from anatomark.methods.global_to_local.plan import GlobalToLocalPlan, plan
from anatomark.methods.global_to_local.settings import PRESETS, GlobalToLocalSettings
from anatomark.methods.global_to_local.stages import GlobalToLocalStages, make_network, stages_of
from anatomark.methods.interface import DataFacts, Located, Trainer, fit_stages
from anatomark.methods.memory import require_memory
from anatomark.methods.networks import NetworkDetector, load_networks
from anatomark.methods.presence import PresenceModel
from anatomark.methods.settings import Network, Settings, Training


class GlobalToLocal(NetworkDetector[GlobalToLocalNetwork]):
    """The trained global network, the local ones, and presence."""

    name: ClassVar[str] = "global-to-local"
    presets: ClassVar[Mapping[str, Callable[[int], dict[str, Any]]]] = PRESETS
    settings_type: ClassVar[type[Settings]] = GlobalToLocalSettings
    network_type: ClassVar[type[Network]] = GlobalToLocalNetwork
    training_type: ClassVar[type[Training]] = GlobalToLocalTraining

    @classmethod
    def plan(cls, asked: GlobalToLocalSettings, facts: DataFacts) -> GlobalToLocalPlan:
        planned = plan(asked, facts)
        require_memory(GlobalToLocalStages(planned), facts.memory_bytes)
        return planned

    @classmethod
    def fit(cls, plan: GlobalToLocalPlan, cache: Cache, trainer: Trainer) -> GlobalToLocal:
        """Train the stages; presence is learned from validation cases, or from all where few lack landmarks."""
        staged, networks = fit_stages(GlobalToLocalStages(plan), cache, trainer)
        unfitted = PresenceModel.unfitted(len(networks))
        return cls(staged.plan.network, networks, unfitted).calibrated(cache, trainer.device)

    @classmethod
    def load(
        cls, network: GlobalToLocalNetwork, tensors: Mapping[str, Tensor], presence: PresenceModel, *, source: str
    ) -> GlobalToLocal:
        networks = {stage: make_network(network, stage) for stage in stages_of(network)}
        load_networks(networks, tensors, source)
        return cls(network, networks, presence)

    def locate(self, image: WorkingImage, device: torch.device, *, upto: str | None = None) -> list[Located]:
        return locate(self.network, self.networks, image, device, upto=upto)

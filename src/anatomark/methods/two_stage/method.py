"""The two-stage detector: its networks, and what is fitted after the last stage."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self, cast

import numpy as np
import torch

from anatomark.core.grid import Floats
from anatomark.core.landmarks import State
from anatomark.data.cache import Cache, CachedCase
from anatomark.data.working import WorkingImage
from anatomark.errors import ModelError
from anatomark.methods.calls import Calls, Graph
from anatomark.methods.interface import DataFacts, Located
from anatomark.methods.networks import NetworkDetector
from anatomark.methods.search import Search, found
from anatomark.methods.settings import Network, Settings, Training
from anatomark.methods.staged import NetworkStages
from anatomark.methods.two_stage.calls import calls_of, geometry_of, graphs_of
from anatomark.methods.two_stage.config import TwoStageNetwork, TwoStageTraining
from anatomark.methods.two_stage.joint import JointNet
from anatomark.methods.two_stage.locate import fixed_votes, locate_stage1, search
from anatomark.methods.two_stage.plan import TwoStagePlan, plan
from anatomark.methods.two_stage.refinement import fit_blend_weight
from anatomark.methods.two_stage.settings import TwoStageSettings
from anatomark.methods.two_stage.stages import TwoStageStages
from anatomark.nets.patch_net import PatchNet


class TwoStage(NetworkDetector[TwoStageSettings, TwoStageNetwork, TwoStageTraining]):
    """The trained networks "stage1" and "stage2", and presence."""

    name: ClassVar[str] = "two-stage"
    settings_type: ClassVar[type[Settings]] = TwoStageSettings
    network_type: ClassVar[type[Network]] = TwoStageNetwork
    training_type: ClassVar[type[Training]] = TwoStageTraining
    stages_type: ClassVar[type[NetworkStages[Any, Any]]] = TwoStageStages
    replaced: ClassVar[frozenset[str]] = frozenset({"stage2_frozen"})
    earlier_tensors: ClassVar[Mapping[str, str]] = {
        "stage1.ladder.": "stage1.body.",
        "stage1.hidden.": "stage1.head.",
        "stage2.patches.ladder.": "stage2.patches.body.",
        "stage2.patches.hidden.": "stage2.patches.head.",
        "stage2.look.share": "stage2.refinement.blend_weight",
        "stage2.look.": "stage2.refinement.",
    }

    @classmethod
    def planned(cls, asked: TwoStageSettings, facts: DataFacts) -> TwoStagePlan:
        return plan(asked, facts)

    @property
    def own_calls(self) -> Calls:
        return calls_of(cast("JointNet", self.networks["stage2"]))

    def graphs(self) -> tuple[Graph, ...]:
        return graphs_of(self.network, cast("JointNet", self.networks["stage2"]))

    def geometry(self) -> dict[str, object]:
        return geometry_of(self.network)

    def completed(self, cache: Cache, device: torch.device) -> Self:
        """The same with the blend weight of the refinement, fitted to validation cases."""
        _fit_blend_weight(self.network, cast("JointNet", self.networks["stage2"]), cache.validation, device)
        return self

    def locate(self, image: WorkingImage, device: torch.device, *, upto: str | None = None) -> list[Located]:
        if upto == "stage1":
            if self.runtime is not None:
                raise ModelError("an exported model has no stage 1 of its own; ask the run folder for it")
            return locate_stage1(cast("PatchNet", self.networks["stage1"]), image, device)
        return super().locate(image, device)

    def search(self, image: WorkingImage, device: torch.device, *, upto: str | None = None) -> Search[list[Located]]:
        return search(self.network, image, device)

    def fixed_votes(self, image: WorkingImage, device: torch.device) -> dict[str, Floats]:
        """Points (N, d) world of stage 1 without stage 2, by rule; see `locate.fixed_votes`."""
        return fixed_votes(cast("PatchNet", self.networks["stage1"]), image, device)


def _fit_blend_weight(
    config: TwoStageNetwork, network: JointNet, cases: Sequence[CachedCase], device: torch.device
) -> None:
    """Set the blend weight of the network of stage 2 to what suits `cases`; without any, it stays one half."""
    refinement = network.refinement
    if refinement is None or not cases:
        return
    refinement.blend_weight.fill_(1.0)
    answers = [found(search(config, case.image, device), calls_of(network)) for case in cases]
    joint, refined = (np.concatenate([each[k].points_world for each in answers]) for k in range(2))
    reference = np.concatenate([case.points_world for case in cases])
    present = np.concatenate([case.states == State.PRESENT for case in cases])
    refinement.blend_weight.fill_(fit_blend_weight(joint[present], refined[present], reference[present]))

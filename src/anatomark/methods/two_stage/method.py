"""The two-stage detector: fitted by its stages, loaded, and asked for landmarks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, cast

import numpy as np
import torch
from torch import Tensor

from anatomark.core.grid import Floats
from anatomark.core.landmarks import State
from anatomark.data.cache import Cache, CachedCase
from anatomark.data.working import WorkingImage
from anatomark.methods.interface import DataFacts, Located, Networks, Trainer, fit_stages
from anatomark.methods.memory import require_memory
from anatomark.methods.networks import NetworkDetector, load_networks
from anatomark.methods.presence import PresenceModel
from anatomark.methods.settings import Network, Settings, Training
from anatomark.methods.two_stage.config import TwoStageNetwork, TwoStageTraining
from anatomark.methods.two_stage.joint import JointNet
from anatomark.methods.two_stage.locate import fixed_votes, locate
from anatomark.methods.two_stage.plan import TwoStagePlan, plan
from anatomark.methods.two_stage.refinement import fit_blend_weight
from anatomark.methods.two_stage.settings import PRESETS, TwoStageSettings
from anatomark.methods.two_stage.stages import TwoStageStages, make_joint, make_patches
from anatomark.nets.patch_net import PatchNet

# What the names of tensors began with in models of format 1; the first that fits counts.
EARLIER_TENSORS = {
    "stage1.ladder.": "stage1.body.",
    "stage1.hidden.": "stage1.head.",
    "stage2.patches.ladder.": "stage2.patches.body.",
    "stage2.patches.hidden.": "stage2.patches.head.",
    "stage2.look.share": "stage2.refinement.blend_weight",
    "stage2.look.": "stage2.refinement.",
}


class TwoStage(NetworkDetector[TwoStageNetwork]):
    """The trained networks "stage1" and "stage2", and presence."""

    name: ClassVar[str] = "two-stage"
    presets: ClassVar[Mapping[str, Callable[[int], dict[str, Any]]]] = PRESETS
    settings_type: ClassVar[type[Settings]] = TwoStageSettings
    network_type: ClassVar[type[Network]] = TwoStageNetwork
    training_type: ClassVar[type[Training]] = TwoStageTraining

    @classmethod
    def plan(cls, asked: TwoStageSettings, facts: DataFacts) -> TwoStagePlan:
        planned = plan(asked, facts)
        require_memory(TwoStageStages(planned), facts.memory_bytes)
        return planned

    @classmethod
    def fit(cls, plan: TwoStagePlan, cache: Cache, trainer: Trainer) -> TwoStage:
        """Train the stages, then fit the blend weight of the refinement and presence to validation cases.

        Presence is fitted to all cases where few of validation lack landmarks.
        """
        staged, networks = fit_stages(TwoStageStages(plan), cache, trainer)
        network = staged.plan.network
        kept = {"stage1": networks["stage1"], "stage2": networks["stage2"]}
        detector = cls(network, kept, PresenceModel.unfitted(network.answers))
        _fit_blend_weight(kept, cache.role("validation"), trainer.device)
        return detector.calibrated(cache, trainer.device)

    @classmethod
    def load(
        cls, network: TwoStageNetwork, tensors: Mapping[str, Tensor], presence: PresenceModel, *, source: str
    ) -> TwoStage:
        networks = {"stage1": make_patches(network), "stage2": make_joint(network, make_patches(network))}
        load_networks(networks, {_present_name(name): tensor for name, tensor in tensors.items()}, source)
        return cls(network, networks, presence)

    def locate(self, image: WorkingImage, device: torch.device, *, upto: str | None = None) -> list[Located]:
        return locate(self.networks, image, device, upto=upto)

    def fixed_votes(self, image: WorkingImage, device: torch.device) -> dict[str, Floats]:
        """Points (N, d) world of stage 1 without stage 2, by rule; see `locate.fixed_votes`."""
        return fixed_votes(cast("PatchNet", self.networks["stage1"]), image, device)


def _fit_blend_weight(networks: Networks, cases: Sequence[CachedCase], device: torch.device) -> None:
    """Set the blend weight of the network of stage 2 to what suits `cases`; without any, it stays one half."""
    refinement = cast("JointNet", networks["stage2"]).refinement
    if refinement is None or not cases:
        return
    refinement.blend_weight.fill_(1.0)
    answers = [locate(networks, case.image, device) for case in cases]
    joint, refined = (np.concatenate([each[k].points_world for each in answers]) for k in range(2))
    reference = np.concatenate([case.points_world for case in cases])
    present = np.concatenate([case.states == State.PRESENT for case in cases])
    refinement.blend_weight.fill_(fit_blend_weight(joint[present], refined[present], reference[present]))


def _present_name(tensor: str) -> str:
    """The name of a tensor by that of a model of any format."""
    for earlier, present in EARLIER_TENSORS.items():
        if tensor.startswith(earlier):
            return present + tensor.removeprefix(earlier)
    return tensor

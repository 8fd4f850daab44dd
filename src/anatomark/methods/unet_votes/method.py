"""Global-to-local localization in one U-Net, whose patches vote from all over the image and then from near by."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self, cast

import torch
from torch import Tensor

from anatomark.data.cache import Cache
from anatomark.data.working import WorkingImage
from anatomark.methods.calls import Calls, Graph
from anatomark.methods.interface import DataFacts, Located
from anatomark.methods.joint_choice import ShapeModel
from anatomark.methods.networks import NetworkDetector
from anatomark.methods.search import Search
from anatomark.methods.settings import Network, Settings, Training
from anatomark.methods.staged import NetworkStages
from anatomark.methods.unet_votes.calls import calls_of, geometry_of, graphs_of
from anatomark.methods.unet_votes.config import UNetVotesNetwork, UNetVotesTraining
from anatomark.methods.unet_votes.locate import search
from anatomark.methods.unet_votes.plan import UNetVotesPlan, plan
from anatomark.methods.unet_votes.settings import UNetVotesSettings
from anatomark.methods.unet_votes.stages import STAGE, UNetVotesStages, shape_of
from anatomark.nets.vote_unet import VoteUNet
from anatomark.nets.weights import under_prefix, with_prefix

SHAPE = "shape"  # the beginning of the names of its tensors


@dataclass(frozen=True, eq=False)
class UNetVotes(NetworkDetector[UNetVotesSettings, UNetVotesNetwork, UNetVotesTraining]):
    """The trained network "votes", presence, and the `shape` by which all landmarks choose their places together."""

    shape: ShapeModel | None = None

    name: ClassVar[str] = "unet-votes"
    settings_type: ClassVar[type[Settings]] = UNetVotesSettings
    network_type: ClassVar[type[Network]] = UNetVotesNetwork
    training_type: ClassVar[type[Training]] = UNetVotesTraining
    stages_type: ClassVar[type[NetworkStages[Any, Any]]] = UNetVotesStages
    beside_networks: ClassVar[frozenset[str]] = frozenset({SHAPE})

    @classmethod
    def planned(cls, asked: UNetVotesSettings, facts: DataFacts) -> UNetVotesPlan:
        return plan(asked, facts)

    def search(self, image: WorkingImage, device: torch.device, *, upto: str | None = None) -> Search[list[Located]]:
        return search(self.network, self.shape, image, device)

    def completed(self, cache: Cache, device: torch.device) -> Self:
        """The same with the shape of the training cases."""
        return replace(self, shape=shape_of(cache) if self.network.joint_choice else None)

    def beside(self) -> dict[str, Tensor]:
        return {} if self.shape is None else with_prefix(SHAPE, self.shape.tensors())

    def with_beside(self, tensors: Mapping[str, Tensor], source: str) -> Self:
        held = under_prefix(SHAPE, tensors)
        return replace(self, shape=ShapeModel.of_tensors(held, self.network.landmarks, self.network.ndim, source))

    @property
    def own_calls(self) -> Calls:
        return calls_of(cast("VoteUNet", self.networks[STAGE]))

    def graphs(self) -> tuple[Graph, ...]:
        return graphs_of(self.network, cast("VoteUNet", self.networks[STAGE]))

    def geometry(self) -> dict[str, object]:
        return geometry_of(self.network, self.shape)

"""Global-to-local localization in one U-Net, whose patches vote from all over the image and then from near by."""

from __future__ import annotations

from typing import Any, ClassVar, cast

import torch

from anatomark.data.working import WorkingImage
from anatomark.methods.calls import Calls, Graph
from anatomark.methods.interface import DataFacts, Located
from anatomark.methods.networks import NetworkDetector
from anatomark.methods.settings import Network, Settings, Training
from anatomark.methods.staged import NetworkStages
from anatomark.methods.unet_votes.calls import calls_of, geometry_of, graphs_of
from anatomark.methods.unet_votes.config import UNetVotesNetwork, UNetVotesTraining
from anatomark.methods.unet_votes.locate import locate
from anatomark.methods.unet_votes.plan import UNetVotesPlan, plan
from anatomark.methods.unet_votes.settings import UNetVotesSettings
from anatomark.methods.unet_votes.stages import STAGE, UNetVotesStages
from anatomark.nets.vote_unet import VoteUNet


class UNetVotes(NetworkDetector[UNetVotesSettings, UNetVotesNetwork, UNetVotesTraining]):
    """The trained network "votes", and presence."""

    name: ClassVar[str] = "unet-votes"
    settings_type: ClassVar[type[Settings]] = UNetVotesSettings
    network_type: ClassVar[type[Network]] = UNetVotesNetwork
    training_type: ClassVar[type[Training]] = UNetVotesTraining
    stages_type: ClassVar[type[NetworkStages[Any, Any]]] = UNetVotesStages

    @classmethod
    def planned(cls, asked: UNetVotesSettings, facts: DataFacts) -> UNetVotesPlan:
        return plan(asked, facts)

    def locate(self, image: WorkingImage, device: torch.device, *, upto: str | None = None) -> list[Located]:
        return locate(self.network, self.calls, image, device)

    @property
    def own_calls(self) -> Calls:
        return calls_of(cast("VoteUNet", self.networks[STAGE]))

    def graphs(self) -> tuple[Graph, ...]:
        return graphs_of(self.network, cast("VoteUNet", self.networks[STAGE]))

    def geometry(self) -> dict[str, object]:
        return geometry_of(self.network)

"""A detector made of networks, one a stage: how its weights go into a file, come back, and move to a device."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Generic, Self

import numpy as np
import torch
from torch import Tensor

from anatomark.core.grid import Floats
from anatomark.data.cache import Cache
from anatomark.data.working import WorkingImage
from anatomark.errors import ModelError
from anatomark.methods.interface import Located, Networks, NetworkT
from anatomark.methods.presence import PresenceModel, fit_presence
from anatomark.nets.weights import load_network, under_prefix, with_prefix


@dataclass(frozen=True, eq=False)
class NetworkDetector(ABC, Generic[NetworkT]):
    """The `network` that was planned, the trained `networks` of its stages in evaluation mode, and `presence`."""

    network: NetworkT
    networks: Networks
    presence: PresenceModel

    def __post_init__(self) -> None:
        for module in self.networks.values():
            module.eval()

    @abstractmethod
    def locate(self, image: WorkingImage, device: torch.device, *, upto: str | None = None) -> list[Located]:
        """The answer of each stage, up to stage `upto`, for one image. Pure."""

    def calibrated(self, cache: Cache, device: torch.device) -> Self:
        """The same with presence fitted to the cases of `cache`."""

        def masses(image: WorkingImage) -> Floats:
            return np.stack([answer.mass for answer in self.locate(image, device)], axis=-1)

        return replace(self, presence=fit_presence(masses, len(self.presence.weights), cache))

    def tensors(self) -> dict[str, Tensor]:
        """The weights of all networks, each under the name of its stage."""
        return {
            name: tensor
            for stage, module in self.networks.items()
            for name, tensor in with_prefix(stage, module.state_dict()).items()
        }

    def to(self, device: torch.device) -> Self:
        for module in self.networks.values():
            module.to(device)
        return self


def load_networks(networks: Networks, tensors: Mapping[str, Tensor], source: str) -> None:
    """Put `tensors` into the networks of their stages; ModelError names what is missing, foreign or misshapen."""
    foreign = sorted({name.split(".", 1)[0] for name in tensors} - set(networks))
    if foreign:
        raise ModelError(f"{source}: foreign tensors ({', '.join(foreign)}); not this model's weights")
    for stage, module in networks.items():
        load_network(module, under_prefix(stage, tensors), source)

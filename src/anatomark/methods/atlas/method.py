"""Landmark transfer from atlases: register the most similar training cases to the image, and fuse their landmarks.

Multi-atlas transfer, known from segmentation (Iglesias and Sabuncu, Medical Image Analysis 24(1):205-219, 2015,
doi:10.1016/j.media.2015.06.012): a few linear registrations place the image among the atlases and rank these; the
nearest are registered in full, each by itself, and their landmarks fused, here by the geometric median.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from anatomark.data.cache import Cache
from anatomark.data.working import WorkingImage
from anatomark.methods.atlas.config import AtlasNetwork, AtlasTraining
from anatomark.methods.atlas.fit import fit_presence, keep_atlases
from anatomark.methods.atlas.library import AtlasLibrary
from anatomark.methods.atlas.locate import locate
from anatomark.methods.atlas.plan import AtlasPlan, plan
from anatomark.methods.atlas.settings import PRESETS, AtlasSettings
from anatomark.methods.interface import DataFacts, Located, Trainer
from anatomark.methods.presence import PresenceModel
from anatomark.methods.settings import Network, Settings, Training


@dataclass(frozen=True, eq=False)
class Atlas:
    """The atlases that were kept, how they are registered to an image, and presence. All is done on the CPU."""

    network: AtlasNetwork
    library: AtlasLibrary
    presence: PresenceModel

    name: ClassVar[str] = "atlas"
    presets: ClassVar[Mapping[str, Callable[[int], dict[str, Any]]]] = PRESETS
    settings_type: ClassVar[type[Settings]] = AtlasSettings
    network_type: ClassVar[type[Network]] = AtlasNetwork
    training_type: ClassVar[type[Training]] = AtlasTraining
    first_look: ClassVar[str | None] = None
    quick: ClassVar[bool] = False

    @classmethod
    def plan(cls, asked: AtlasSettings, facts: DataFacts) -> AtlasPlan:
        return plan(asked, facts)

    @classmethod
    def fit(cls, plan: AtlasPlan, cache: Cache, trainer: Trainer) -> Atlas:
        """Keep some of the training cases as atlases, and fit presence; there is nothing for the `trainer` to do."""
        library, atlases = keep_atlases(plan.network, cache.training, plan.training.atlases)
        network = plan.network.model_copy(update={"atlas_shapes": library.shapes})
        return cls(network, library, fit_presence(network, library, atlases, cache))

    @classmethod
    def load(
        cls,
        network: AtlasNetwork,
        tensors: Mapping[str, Tensor],
        presence: PresenceModel,
        *,
        device: torch.device,
        source: str,
    ) -> Atlas:
        library = AtlasLibrary.load(
            tensors, shapes=network.atlas_shapes, ndim=network.ndim, landmarks=network.landmarks, source=source
        )
        return cls(network, library, presence)

    def tensors(self) -> dict[str, Tensor]:
        """The library, under names that begin with "atlases."."""
        return self.library.tensors()

    def locate(self, image: WorkingImage, device: torch.device, *, upto: str | None = None) -> list[Located]:
        """The one answer for an image; without stages, `upto` shortens nothing."""
        return [locate(self.network, self.library, image)]

"""A method in a package of its own: the landmarks of the training case that looks most similar.

`pyproject.toml` beside this file names the class in the group of entry points `anatomark.methods`. Once the package is
installed, `anatomark train DATASET --method nearest-case` trains it, and all other commands take its models.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from anatomark.core.grid import Floats
from anatomark.data.cache import Cache
from anatomark.data.working import WorkingImage
from anatomark.methods.interface import DataFacts, Located, Plan, Trainer
from anatomark.methods.presence import PresenceModel, fit_presence
from anatomark.methods.settings import Network, Settings, Training, take

SIDE = 12


class NearestCase:
    """Small copies (M, SIDE^d) of the training images, and their landmarks (M, N, d) as parts of their extent."""

    name: ClassVar[str] = "nearest-case"
    presets: ClassVar[Mapping[str, Callable[[int], dict[str, Any]]]] = {}
    settings_type, network_type, training_type = Settings, Network, Training
    first_look: ClassVar[str | None] = None
    quick: ClassVar[bool] = True

    def __init__(self, network: Network, copies: Floats, places: Floats, presence: PresenceModel) -> None:
        self.network, self.copies, self.places, self.presence = network, copies, places, presence

    @classmethod
    def plan(cls, asked: Settings, facts: DataFacts) -> Plan[Network, Training]:
        ndim = facts.grids[0].ndim
        spacing = asked.spacing or tuple(np.median([grid.spacing for grid in facts.grids], axis=0).tolist())
        planned = {"landmarks": facts.landmarks, "spacing": spacing, "pool": (1,) * ndim}
        return Plan(take(Network, asked, planned), take(Training, asked, planned))

    @classmethod
    def fit(cls, plan: Plan[Network, Training], cache: Cache, trainer: Trainer) -> NearestCase:
        cases = cache.training
        copies = np.stack([small(case.image) for case in cases])
        sizes = np.array([case.image.fine.shape for case in cases])[:, None]
        places = np.stack([case.image.fine_grid.world_to_index(case.points_world) for case in cases]) / sizes
        usual = np.nanmean(places, axis=0)
        fitted = cls(plan.network, copies, np.where(np.isnan(places), usual, places), PresenceModel.unfitted(1))
        fitted.presence = fit_presence(lambda image: fitted.locate(image, trainer.device)[0].mass[:, None], 1, cache)
        return fitted

    @classmethod
    def load(
        cls,
        network: Network,
        tensors: Mapping[str, Tensor],
        presence: PresenceModel,
        *,
        device: torch.device,
        source: str,
    ) -> NearestCase:
        return cls(network, tensors["copies"].numpy(), tensors["places"].numpy(), presence)

    def tensors(self) -> dict[str, Tensor]:
        return {"copies": torch.from_numpy(self.copies), "places": torch.from_numpy(self.places)}

    def locate(self, image: WorkingImage, device: torch.device, *, upto: str | None = None) -> list[Located]:
        differences = np.abs(self.copies - small(image)).mean(axis=1)
        index = self.places[int(differences.argmin())] * image.fine.shape
        mass = np.full(len(index), 1 / (1 + float(differences.min())))
        return [Located(image.fine_grid.index_to_world(index), np.full(len(index), 1.0), mass)]


def small(image: WorkingImage) -> Floats:
    """(SIDE^d,) grey values of an image, 0 to 1 over its window."""
    at = [np.linspace(0, n - 1, SIDE).round().astype(int) for n in image.fine.shape]
    low, high = image.window
    return ((image.fine[np.ix_(*at)].astype(float) - low) / (high - low)).ravel()

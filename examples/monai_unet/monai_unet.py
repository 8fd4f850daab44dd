"""A network of MONAI as a method of its own: a BasicUNet that gives a heatmap for each landmark.

`make_network` alone knows the network; another one takes its place there, such as monai.networks.nets.SwinUNETR. What
learns around it is anatomark's: the training loop with its validations and checkpoints, augmentation, time budget,
presence and error bounds. The losses and the way from heatmaps to points are those of the method `heatmap`.

`pyproject.toml` beside this file names the class in the group of entry points `anatomark.methods`. Once the package is
installed, `anatomark train DATASET --method monai-unet` trains it, and all other commands take its models.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any, ClassVar

import numpy as np
import torch
from monai.networks.nets.basic_unet import BasicUNet
from numpy.typing import NDArray
from pydantic import Field, PositiveFloat, PositiveInt
from torch import Tensor, nn

from anatomark.core.landmarks import State
from anatomark.data.cache import CachedCase
from anatomark.data.working import WorkingImage
from anatomark.methods.examples import crops, generators
from anatomark.methods.heatmap.loss import cross_entropy, density, inside_grid
from anatomark.methods.heatmap.peaks import find_peaks
from anatomark.methods.interface import Batch, DataFacts, Located, Networks, Plan, StagePlan
from anatomark.methods.networks import NetworkDetector
from anatomark.methods.passes import grey_values, passes, with_more_mass
from anatomark.methods.settings import (
    AugmentedSettings,
    CroppedTraining,
    Network,
    Settings,
    Size,
    Training,
    planned_augmentation,
    stage_steps,
    take,
)
from anatomark.methods.staged import NetworkStages
from anatomark.methods.unet_plan import network_bytes
from anatomark.nets.cpu import with_right_gradients
from anatomark.nets.split_batch import batch_mean

STAGE = "unet"
SIDE = {2: 256, 3: 64}  # elements along the longest side of an image
STRIDE = 16  # BasicUNet halves an image four times
SIGMA = 1.0  # elements: s.d. of the target around a landmark
SHARPNESS = 4.0  # times the output of the network: a softmax over many elements needs large logits, and soon


class MonaiUNetSettings(AugmentedSettings):
    """What may be asked for; `None` is decided by the plan."""

    features: tuple[PositiveInt, ...] = Field(
        (16, 16, 32, 64, 128, 16), min_length=6, max_length=6, description="`features` of BasicUNet"
    )
    batch: PositiveInt = Field(2, description="images in a step")
    steps: PositiveInt | None = Field(None, description="length of the training")
    learning_rate: PositiveFloat = Field(1e-3, description="peak learning rate")


class MonaiUNetNetwork(Network):
    """What prediction needs to know: the channels, and the `size` of the images that it learned from, in elements."""

    features: Size
    size: Size


class MonaiUNetTraining(CroppedTraining):
    """How it learns."""

    batch: PositiveInt
    steps: PositiveInt
    learning_rate: PositiveFloat


def make_network(network: MonaiUNetNetwork) -> nn.Module:
    """The untrained network: logits (B, N, *spatial) of images (B, 1, *spatial)."""
    unet = BasicUNet(network.ndim, in_channels=1, out_channels=network.landmarks, features=network.features)
    return with_right_gradients(unet)


def logits_of(network: nn.Module, values: Tensor) -> Tensor:
    return SHARPNESS * network(values).float()


@dataclass(frozen=True)
class MonaiUNetStages(NetworkStages[MonaiUNetNetwork, MonaiUNetTraining]):
    """How it learns: one stage, on whole images."""

    steps: ClassVar[Mapping[str, str]] = {STAGE: "steps"}

    @classmethod
    def untrained(cls, network: MonaiUNetNetwork) -> dict[str, nn.Module]:
        return {STAGE: make_network(network)}

    def stage_plan(self, stage: str) -> StagePlan:
        network, training = self.plan.network, self.plan.training
        strides = [(1,) * network.ndim, *[(2,) * network.ndim] * 4]
        kept = network_bytes(network.features[:5], strides, network.size)
        return StagePlan(
            training.steps,
            training.batch,
            training.learning_rate,
            "cosine",
            case_bytes=kept,
            smaller=("batch", "features", "spacing"),
        )

    def batch(
        self,
        stage: str,
        cases: Sequence[CachedCase],
        mirrored: NDArray[np.int64],
        rng: np.random.Generator,
        device: torch.device,
        *,
        first: int = 0,
    ) -> Batch:
        """Warped images: "values", "points" in elements, and "states"."""
        rngs = generators(rng, first, len(cases))
        values, points, states = crops(cases, self.plan.training, mirrored, rngs, device, self.plan.network.size)
        return {"values": values, "points": points.to(device), "states": states.to(device)}

    def loss(self, stage: str, network: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """The mean cross-entropy of the annotated landmarks."""
        points, states = batch["points"], batch["states"]
        logits = logits_of(network, batch["values"])
        inside = inside_grid(points, states, torch.tensor(logits.shape[2:], device=points.device))
        sigma = torch.full((points.shape[-1],), SIGMA, device=points.device)
        terms = cross_entropy(logits, points, inside, sigma, loss="softmax")
        return {"heatmap": batch_mean(terms, states != State.NOT_ANNOTATED)}

    def located(self, stage: str, networks: Networks, image: WorkingImage, device: torch.device) -> Located:
        return locate(self.plan.network, networks[STAGE], image, device)


class MonaiUNet(NetworkDetector[MonaiUNetSettings, MonaiUNetNetwork, MonaiUNetTraining]):
    """The trained network "unet", and presence."""

    name: ClassVar[str] = "monai-unet"
    settings_type: ClassVar[type[Settings]] = MonaiUNetSettings
    network_type: ClassVar[type[Network]] = MonaiUNetNetwork
    training_type: ClassVar[type[Training]] = MonaiUNetTraining
    stages_type: ClassVar[type[NetworkStages[Any, Any]]] = MonaiUNetStages

    @classmethod
    def planned(cls, asked: MonaiUNetSettings, facts: DataFacts) -> Plan[MonaiUNetNetwork, MonaiUNetTraining]:
        """At most SIDE elements along an image, and a size that nearly all images fit into."""
        d, extents = facts.grids[0].ndim, np.array([grid.extent for grid in facts.grids])
        native = np.median([grid.spacing for grid in facts.grids], axis=0)
        spacing = asked.spacing or tuple(np.maximum(native, np.median(extents, axis=0).max() / SIDE[d]).tolist())
        elements = np.percentile(extents / spacing, 90, axis=0)
        planned: dict[str, object] = {
            "landmarks": facts.landmarks,
            "spacing": spacing,
            "pool": (1,) * d,
            "size": tuple((STRIDE * np.ceil(elements / STRIDE - 1e-6)).astype(int).tolist()),
            "landmark_crop_fraction": 0.0,
            "steps": stage_steps(asked, asked.steps, 1500, cases=len(facts.grids), batch=asked.batch, share=1.0),
            **planned_augmentation(asked, has_pairs=facts.has_pairs, ndim=d, turn_degrees=facts.turn_degrees),
        }
        return Plan(take(MonaiUNetNetwork, asked, planned), take(MonaiUNetTraining, asked, planned))

    def locate(self, image: WorkingImage, device: torch.device, *, upto: str | None = None) -> list[Located]:
        return [locate(self.network, self.networks[STAGE], image, device)]


def locate(config: MonaiUNetNetwork, network: nn.Module, image: WorkingImage, device: torch.device) -> Located:
    """The answer for one image: the peak of each heatmap; of several passes, the one with the most mass."""
    found, grid = [], image.fine_grid
    sigma = torch.full((config.ndim,), SIGMA, device=device)
    with torch.inference_mode():
        for start, size, inside in passes(image.fine.shape, crop=config.size, strides=[(STRIDE,) * config.ndim]):
            logits = logits_of(network, grey_values(image, start, size, device))
            heatmaps = density(logits[(..., *map(slice, inside))], sigma, loss="softmax")[0]
            peaks = find_peaks(heatmaps, radius=[3] * config.ndim, spacing=grid.spacing)
            world = grid.index_to_world(peaks.points.double().cpu().numpy() + np.asarray(start))
            spread, mass = peaks.spread.double().cpu().numpy(), peaks.mass.double().cpu().numpy()
            found.append(Located(world, spread, mass))
    return reduce(with_more_mass, found)

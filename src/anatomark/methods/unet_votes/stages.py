"""How unet-votes learns: one stage, on random crops, all votes together."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Self, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from anatomark import votes
from anatomark.core.landmarks import State
from anatomark.data.cache import Cache, CachedCase
from anatomark.data.working import WorkingImage
from anatomark.methods.examples import crops, generators
from anatomark.methods.interface import Batch, Located, Networks, StagePlan
from anatomark.methods.joint_choice import ShapeModel
from anatomark.methods.search import found
from anatomark.methods.staged import NetworkStages
from anatomark.methods.unet_plan import network_bytes
from anatomark.methods.unet_votes.calls import SIGMA, calls_of
from anatomark.methods.unet_votes.config import UNetVotesNetwork, UNetVotesTraining
from anatomark.methods.unet_votes.locate import search, windows_around
from anatomark.methods.unet_votes.plan import window_bytes
from anatomark.methods.vote_loss import CLASS_WEIGHT, vote_loss
from anatomark.nets.vote_unet import Votes, VoteUNet, Windows

STAGE = "votes"
REACH = 3.5  # patches around a landmark that learn where it lies
FURTHEST = 0.45  # of a training window's size, from its middle to its landmark


@dataclass(frozen=True)
class UNetVotesStages(NetworkStages[UNetVotesNetwork, UNetVotesTraining]):
    """The one stage, "votes"; validations know the `shape` of the training cases, as predictions do."""

    shape: ShapeModel | None = None

    steps: ClassVar[Mapping[str, str]] = {STAGE: "steps"}

    @classmethod
    def untrained(cls, network: UNetVotesNetwork) -> dict[str, nn.Module]:
        return {STAGE: make_network(network)}

    def adapted(self, stage: str, networks: Networks, cache: Cache, device: torch.device) -> Self:
        """The same with the shape of the training cases of `cache`."""
        return replace(self, shape=shape_of(cache) if self.plan.network.joint_choice else None)

    def stage_plan(self, stage: str) -> StagePlan:
        network, training = self.plan.network, self.plan.training
        windows = min(network.landmarks, training.local_landmarks_per_step) * window_bytes(
            network.window, network.local_head
        )
        return StagePlan(
            training.steps,
            training.batch,
            training.learning_rate,
            "cosine",
            case_bytes=network_bytes(network.channels, network.strides, network.crop) + windows,
            smaller=("batch", "crop", "channels", "local_landmarks_per_step"),
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
        """Random crops of `cases`: "values", "points" in elements, and "states".

        For the windows: the landmarks "chosen" (n,), which of them lie "anywhere" (B, n), and how far their landmark is
        from the middle there, "offset" (B, n, d) in parts of a window.
        """
        network, training = self.plan.network, self.plan.training
        rngs = generators(rng, first, len(cases))
        values, points, states = crops(cases, training, mirrored, rngs, device, network.crop)
        count = min(training.local_landmarks_per_step, network.landmarks)
        chosen = np.sort(rng.permutation(network.landmarks)[:count])
        offset = np.stack([own.uniform(-FURTHEST, FURTHEST, (count, network.ndim)) for own in rngs])
        anywhere = np.stack([own.random(count) < training.uniform_window_fraction for own in rngs])
        return {
            "values": values,
            "points": points.to(device),
            "states": states.to(device),
            "chosen": torch.from_numpy(chosen).to(device),
            "offset": torch.from_numpy(offset).float().to(device),
            "anywhere": torch.from_numpy(anywhere).to(device),
        }

    def loss(self, stage: str, network: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """The weighted loss terms of the global votes and of the local ones (see `vote_loss`)."""
        config = self.plan.network
        points, states, chosen = batch["points"], batch["states"], batch["chosen"]
        stride = torch.tensor(config.stride, device=points.device)
        corners: list[Tensor] = []

        def find(coarse: Votes) -> Windows:
            found = _found(Votes(*(votes_of[:, chosen] for votes_of in coarse)), config.coarse_stride)
            grid = [n // s for n, s in zip(batch["values"].shape[2:], config.stride, strict=True)]
            windows = windows_around(self._middles(batch, found), found, chosen, config, grid)
            corners.append(windows.corners)
            return windows

        coarse, fine = network(batch["values"], find)
        terms = self._terms(coarse, points, states, config.coarse_stride)
        local = self._terms(fine, points[:, chosen] - corners[0] * stride, states[:, chosen], config.stride, REACH)
        return {**terms, **{f"local_{name}": value for name, value in local.items()}}

    def _middles(self, batch: Batch, found: Tensor) -> Tensor:
        """(B, n, d) middles of the windows: where the global votes are, but so that a window holds its landmark."""
        config, chosen = self.plan.network, batch["chosen"]
        points = batch["points"][:, chosen]
        present = (batch["states"][:, chosen] == State.PRESENT) & torch.isfinite(points).all(-1)
        size = torch.tensor(config.window, device=found.device) * torch.tensor(config.stride, device=found.device)
        off = (found - points).clamp(-FURTHEST * size, FURTHEST * size)
        off = torch.where(batch["anywhere"].unsqueeze(-1), batch["offset"] * size, off)
        return torch.where(present.unsqueeze(-1), points + off, found)

    def _terms(
        self, cast_votes: Votes, points: Tensor, states: Tensor, stride: Sequence[int], reach: float | None = None
    ) -> dict[str, Tensor]:
        logits, encoded = cast_votes
        return vote_loss(
            logits.float(),
            encoded.float(),
            points,
            states,
            stride=stride,
            class_weight=CLASS_WEIGHT * math.prod(logits.shape[2:]),
            coordinate_weight=self.plan.training.coordinate_weight,
            sigma=SIGMA,
            reach=reach,
        )

    def located(self, stage: str, networks: Networks, image: WorkingImage, device: torch.device) -> Located:
        calls = calls_of(cast("VoteUNet", networks[STAGE]))
        return found(search(self.plan.network, self.shape, image, device), calls)[-1]


def shape_of(cache: Cache) -> ShapeModel | None:
    """How the landmarks of the training cases of `cache` lie to each other; None where these are too few."""
    return ShapeModel.learned(np.stack([case.points_world for case in cache.training]))


def _found(cast_votes: Votes, stride: Sequence[int]) -> Tensor:
    """(B, n, d) the posterior-weighted means of votes, in elements, without a gradient."""
    logits, encoded = cast_votes
    with torch.no_grad():
        return votes.weighted_mean(votes.cast(encoded, stride), logits.float().flatten(2).sigmoid())[0]


def make_network(network: UNetVotesNetwork) -> VoteUNet:
    """The untrained network."""
    coarse = math.prod(n // s for n, s in zip(network.crop, network.coarse_stride, strict=True))
    return VoteUNet(
        network.ndim,
        network.landmarks,
        channels=network.channels,
        strides=network.strides,
        coarse=network.coarse_level,
        heads=(network.global_head, network.local_head),
        window=network.window,
        priors=(1 / max(2, coarse), 1 / max(2, math.prod(network.window))),
        image_statistics=network.image_statistics,
    )

"""Global-to-local localization: a global network that looks over the image, then one local network a landmark.

Noothout et al., IEEE TMI 39(12):4011-4022, 2020 (arXiv 2007.05295).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from anatomark import votes
from anatomark.data.cache import Cache, CachedCase
from anatomark.data.working import WorkingImage
from anatomark.methods.examples import crop_example
from anatomark.methods.global_to_local.plan import plan, plan_local, round_up
from anatomark.methods.global_to_local.settings import PRESETS, GlobalToLocalSettings
from anatomark.methods.global_to_local.windows import local_example, plain_windows
from anatomark.methods.interface import DataFacts, Located, StagePlan
from anatomark.methods.presence import PresenceModel, learn_presence
from anatomark.methods.validation import mean_error, radial_errors
from anatomark.methods.vote_loss import vote_loss
from anatomark.nets.grouped import GroupedNet
from anatomark.nets.residual import ResidualNet

Floats = NDArray[np.float64]


class GlobalToLocal:
    """The two stages, their networks and what they learned.

    Constructed from settings that the plan has completed; `networks` holds a stage's network once the stage has been
    begun or loaded.
    """

    name = "global-to-local"
    Settings = GlobalToLocalSettings
    presets: Mapping[str, Callable[[int], dict[str, Any]]] = PRESETS

    def __init__(self, settings: GlobalToLocalSettings, *, ndim: int, landmarks: int) -> None:
        self.settings = settings
        self.ndim, self.landmarks = ndim, landmarks
        self.networks: dict[str, nn.Module] = {}
        self.presence = PresenceModel.unfitted(len(self.stages))

    @staticmethod
    def plan(settings: GlobalToLocalSettings, facts: DataFacts, *, on_gpu: bool) -> GlobalToLocalSettings:
        return plan(settings, facts, on_gpu=on_gpu)

    @property
    def stages(self) -> tuple[str, ...]:
        return ("global", "local") if self.settings.local else ("global",)

    # --- training -------------------------------------------------------------------------------------------------

    def begin(self, stage: str, cache: Cache, device: torch.device) -> None:
        """Make the network of a stage; the local one is planned from the global stage's errors on validation cases."""
        s = self.settings
        if stage == "local" and None in (s.local_window, s.local_jitter, s.local_class_weight):
            errors = radial_errors(self, cache.role("validation") or cache.role("train"), device, upto="global")
            self.settings = plan_local(self.settings, errors.ravel().tolist(), ndim=self.ndim)
        torch.manual_seed(self.settings.seed + self.stages.index(stage))
        self.networks[stage] = self._network(stage)

    def make_networks(self) -> None:
        """All networks with weights yet to be loaded."""
        self.networks = {stage: self._network(stage) for stage in self.stages}

    def _network(self, stage: str) -> nn.Module:
        s = self.settings
        if stage == "global":
            assert s.global_downsample is not None, "global_downsample is missing"
            assert s.global_crop is not None, "global_crop is missing"
            stride = 2 * 2 ** sum(s.global_downsample)
            return ResidualNet(
                self.ndim,
                self.landmarks,
                stem=s.global_stem,
                blocks=s.global_blocks,
                channels=s.global_channels,
                downsample=s.global_downsample,
                head=s.global_head,
                prior=_prior([n // stride for n in s.global_crop]) if s.class_prior else None,
            )
        assert s.local_channels is not None, "local_channels is missing"
        assert s.local_window is not None, "local_window is missing"
        assert len(s.local_window) == self.ndim, f"local_window is not {self.ndim}D"
        stride = 2 ** (len(s.local_channels) - 1)
        return GroupedNet(
            self.ndim,
            self.landmarks,
            channels=s.local_channels,
            head=s.local_head,
            norm=s.local_norm,
            prior=_prior([n // stride for n in s.local_window]) if s.class_prior else None,
        )

    def stage_plan(self, stage: str) -> StagePlan:
        s = self.settings
        if stage == "global":
            steps, batch, rate, schedule = s.global_steps, s.global_batch, s.global_learning_rate, s.global_schedule
        else:
            steps, batch, rate, schedule = s.local_steps, s.local_batch, s.local_learning_rate, s.local_schedule
        assert steps is not None
        assert batch is not None
        return StagePlan(steps, batch, rate, schedule)

    def example_batch(
        self,
        stage: str,
        cases: Sequence[CachedCase],
        mirrored: NDArray[np.int64],
        rng: np.random.Generator,
        device: torch.device,
    ) -> dict[str, Any]:
        """Random examples of `cases`, as tensors on `device`, for `loss`."""
        first = 0
        if stage == "global":
            crop = self.settings.global_crop
            assert crop is not None
            examples = [crop_example(c, self.settings, mirrored, rng, device, level="coarse", crop=crop) for c in cases]
        else:
            count = self.settings.local_landmarks_per_step or self.landmarks
            first = int(rng.integers(self.landmarks - count + 1)) if count < self.landmarks else 0
            chosen = slice(first, first + count)
            examples = [local_example(c, self.settings, mirrored, rng, device, chosen) for c in cases]
        values, points, states = (torch.stack(part) for part in zip(*examples, strict=True))
        return {"values": values, "points": points.to(device), "states": states.to(device), "first": first}

    def loss(self, stage: str, network: nn.Module, batch: Mapping[str, Any]) -> dict[str, Tensor]:
        """The weighted loss terms of a batch (see `vote_loss`)."""
        s = self.settings
        if stage == "global":
            logits, encoded = network(batch["values"])
            class_weight = s.global_class_weight
        else:
            logits, encoded = network(batch["values"], batch["first"])
            class_weight = s.local_class_weight
        assert class_weight is not None
        stride = [n // g for n, g in zip(batch["values"].shape[2:], logits.shape[2:], strict=True)]
        return vote_loss(
            logits.float(),
            encoded.float(),
            batch["points"],
            batch["states"],
            stride=stride,
            class_weight=class_weight,
            coordinate_weight=s.coordinate_weight,
        )

    def validate(self, stage: str, cases: Sequence[CachedCase], device: torch.device) -> float:
        """Mean radial error (world units) of the stage over the present landmarks of `cases`; NaN if there are none."""
        return mean_error(radial_errors(self, cases, device, upto=stage))

    def finish(self, cache: Cache, device: torch.device) -> None:
        """Learn how posterior mass tells presence: from validation cases, or from all where few lack landmarks."""
        self.presence = learn_presence(self, cache, device)

    # --- prediction -----------------------------------------------------------------------------------------------

    def locate(self, image: WorkingImage, device: torch.device, *, upto: str | None = None) -> list[Located]:
        """The answer of each stage, up to stage `upto`, for one image."""
        with torch.inference_mode():
            answers = [self._locate_global(image, device)]
            if upto != "global" and "local" in self.stages:
                answers.append(self._locate_local(image, answers[0], device))
        return answers

    def _locate_global(self, image: WorkingImage, device: torch.device) -> Located:
        network = self.networks["global"].eval()
        assert isinstance(network, ResidualNet)
        stride = network.stride
        size = tuple(round_up(n, stride) for n in image.coarse.shape)
        low, high = image.window
        values = torch.zeros((1, 1, *size), device=device)
        inner = torch.from_numpy(image.coarse.astype(np.float32)).to(device)
        values[(0, 0, *(slice(n) for n in inner.shape))] = (inner - low) / (high - low)
        logits, encoded = network(values)
        return self._combine(logits, encoded, stride, np.zeros((1, self.ndim)), image.coarse_grid)

    def _locate_local(self, image: WorkingImage, start: Located, device: torch.device) -> Located:
        network = self.networks["local"].eval()
        assert isinstance(network, GroupedNet)
        assert self.settings.local_window is not None
        count = self.settings.local_landmarks_per_step or self.landmarks
        center = image.fine_grid.world_to_index(start.points_world)
        parts = []
        trusted = []
        for first in range(0, self.landmarks, count):
            chosen = slice(first, first + count)
            values, corner = plain_windows(
                image.fine,
                image.window,
                image.fine_grid.spacing,
                self.settings.local_window,
                center[chosen],
                device,
            )
            logits, encoded = network(values.unsqueeze(0), first)
            part = self._combine(logits, encoded, network.stride, corner, image.fine_grid)
            inside = image.fine_grid.world_to_index(part.points_world) - corner
            within = ((inside >= -0.5) & (inside <= np.asarray(self.settings.local_window) - 0.5)).all(axis=1)
            trusted.append(within & (part.mass >= votes.EMPTY_MASS))
            parts.append(part)
        # A network that sees no landmark, or puts it outside its window, has no better answer than the one before.
        better = np.concatenate(trusted)
        return Located(
            np.where(better[:, None], np.concatenate([p.points_world for p in parts]), start.points_world),
            np.where(better, np.concatenate([p.spread for p in parts]), start.spread),
            np.concatenate([p.mass for p in parts]),
        )

    def _combine(self, logits: Tensor, encoded: Tensor, stride: int, corner_index: Floats, grid: Any) -> Located:
        """The posterior-weighted mean of the votes of windows of `grid` that begin at `corner_index` (K, d)."""
        posterior = logits.float().sigmoid()
        centers = votes.patch_centers(logits.shape[2:], (stride,) * self.ndim, logits.device).flatten(1)
        cast = votes.decode(encoded.float().flatten(3)) + centers
        scale = torch.tensor(grid.spacing, dtype=torch.float32, device=cast.device).view(-1, 1)
        mean, spread = votes.combine(cast * scale, posterior.flatten(2))
        index = (mean[0].double().cpu().numpy() / np.asarray(grid.spacing)) + corner_index
        return Located(
            grid.index_to_world(index),
            spread[0].double().cpu().numpy(),
            votes.posterior_mass(posterior)[0].double().cpu().numpy(),
        )


def _prior(patches: Sequence[int]) -> float:
    """The share of patches that hold the landmark, where one of them does; never a certainty."""
    return 1 / max(2, math.prod(patches))

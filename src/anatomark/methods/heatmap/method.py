"""Localization by heatmaps: a U-Net says for every element how likely each landmark is there.

Heatmap regression goes back to Payer et al., MICCAI 2016, doi 10.1007/978-3-319-46723-8_27; the blocks of the network
are nnU-Net's; the losses are this project's choice (see `loss`).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from anatomark.core.landmarks import State
from anatomark.data.cache import Cache, CachedCase
from anatomark.data.working import WorkingImage
from anatomark.methods.examples import crop_example
from anatomark.methods.heatmap.loss import cross_entropy, heat, inside_of, mean_over, prior
from anatomark.methods.heatmap.network import HeatmapNet
from anatomark.methods.heatmap.peaks import Peaks, find_peaks
from anatomark.methods.heatmap.plan import plan
from anatomark.methods.heatmap.settings import PRESETS, HeatmapSettings
from anatomark.methods.interface import DataFacts, Located, StagePlan
from anatomark.methods.presence import PresenceModel, learn_presence
from anatomark.methods.validation import mean_error, radial_errors

STAGE = "heatmap"
OVERLAP = 1 / 3  # of neighbouring crops
LEAST_SIGMA = 0.7  # elements
ONE_PASS = 1.5  # times the crop along each axis: larger images are predicted in overlapping crops


class Heatmap:
    """The network and what it learned. Constructed from settings that the plan has completed."""

    name = "heatmap"
    Settings = HeatmapSettings
    presets: Mapping[str, Callable[[int], dict[str, Any]]] = PRESETS
    stages = (STAGE,)

    def __init__(self, settings: HeatmapSettings, *, ndim: int, landmarks: int) -> None:
        self.settings = settings
        self.ndim, self.landmarks = ndim, landmarks
        self.networks: dict[str, nn.Module] = {}
        self.presence = PresenceModel.unfitted(1)

    @staticmethod
    def plan(settings: HeatmapSettings, facts: DataFacts, *, on_gpu: bool) -> HeatmapSettings:
        return plan(settings, facts, on_gpu=on_gpu)

    # --- training -------------------------------------------------------------------------------------------------

    def begin(self, stage: str, cache: Cache, device: torch.device) -> None:
        torch.manual_seed(self.settings.seed)
        self.make_networks()

    def make_networks(self) -> None:
        """The network, with weights yet to be loaded."""
        s = self.settings
        assert s.channels is not None, "channels is missing"
        assert s.strides is not None, "strides is missing"
        assert s.crop is not None, "crop is missing"
        assert s.spacing is not None, "spacing is missing"
        network = HeatmapNet(
            self.ndim,
            self.landmarks,
            channels=s.channels,
            strides=s.strides,
            prior=prior(self._sigma(s.spacing), math.prod(s.crop) // math.prod(s.strides[0])),
            per_tile=s.landmarks_per_tile or self.landmarks,
        )
        self.networks = {STAGE: network}

    def stage_plan(self, stage: str) -> StagePlan:
        s = self.settings
        assert s.steps is not None
        assert s.batch is not None
        return StagePlan(s.steps, s.batch, s.learning_rate, s.schedule)

    def example_batch(
        self,
        stage: str,
        cases: Sequence[CachedCase],
        mirrored: NDArray[np.int64],
        rng: np.random.Generator,
        device: torch.device,
    ) -> dict[str, Any]:
        """Random crops of `cases`, as tensors on `device`, for `loss`; points in elements of the heatmap."""
        s = self.settings
        assert s.crop is not None
        assert s.near_landmarks is not None
        examples = [
            crop_example(case, s, mirrored, rng, device, level="fine", crop=s.crop, near_landmarks=s.near_landmarks)
            for case in cases
        ]
        values, points, states = (torch.stack(part) for part in zip(*examples, strict=True))
        stride = torch.tensor(self._stride())
        return {
            "values": values,
            "points": ((points - (stride - 1) / 2) / stride).to(device),
            "states": states.to(device),
            "sigma": torch.tensor(self._sigma(cases[0].image.fine_grid.spacing), device=device),
        }

    def loss(self, stage: str, network: nn.Module, batch: Mapping[str, Any]) -> dict[str, Tensor]:
        """The mean cross-entropy of the annotated landmarks: {"heatmap"}."""
        values, points, states = batch["values"], batch["points"], batch["states"]
        grid = [n / s for n, s in zip(values.shape[2:], self._stride(), strict=True)]
        inside = inside_of(points, states, torch.tensor(grid, device=points.device))

        def tile_loss(logits: Tensor, tile: slice) -> Tensor:
            return cross_entropy(logits, points[:, tile], inside[:, tile], batch["sigma"], reading=self.settings.loss)

        each = network(values, tile_loss)
        return {"heatmap": mean_over(each, states != State.NOT_ANNOTATED)}

    def validate(self, stage: str, cases: Sequence[CachedCase], device: torch.device) -> float:
        """Mean radial error (world units) over the present landmarks of `cases`; NaN if there are none."""
        return mean_error(radial_errors(self, cases, device))

    def finish(self, cache: Cache, device: torch.device) -> None:
        """Learn how the mass in heatmaps tells presence."""
        self.presence = learn_presence(self, cache, device)

    # --- prediction -----------------------------------------------------------------------------------------------

    def locate(self, image: WorkingImage, device: torch.device, *, upto: str | None = None) -> list[Located]:
        """The answer for one image: from one pass over it, or from overlapping crops where it is larger than a crop.

        Of the crops' answers, each landmark takes that with the most mass.
        """
        network = self.networks[STAGE].eval()
        assert isinstance(network, HeatmapNet)
        stride = self._stride()
        each = torch.tensor(stride)
        best: Peaks | None = None
        with torch.inference_mode():
            for start, size, inner in self._passes(image.fine.shape):
                features = network.features(self._part(image, start, size, device))
                shape = [math.ceil(n / s) for n, s in zip(inner, stride, strict=True)]
                features = features[(..., *(slice(n) for n in shape))]  # no landmark lies in the filling
                found = self._peaks(network, features, image.fine_grid.spacing)
                found = found._replace(points=found.points * each + (each - 1) / 2 + torch.tensor(start))
                best = found if best is None else _surer(best, found)
        assert best is not None
        points, spread, mass = (part.numpy() for part in (best.points, best.spread, best.mass))
        return [Located(image.fine_grid.index_to_world(points), spread, mass)]

    def _peaks(self, network: HeatmapNet, features: Tensor, spacing: Sequence[float]) -> Peaks:
        """Peaks of all landmarks, in elements of the heatmap, float64 on the CPU."""
        step = [a * n for a, n in zip(spacing, self._stride(), strict=True)]
        sigma = self._sigma(spacing)
        on_device = torch.tensor(sigma, device=features.device)
        radius = [max(1, round(self.settings.window * a)) for a in sigma]
        parts = [
            find_peaks(
                heat(network.logits(features, tile), on_device, reading=self.settings.loss)[0],
                radius=radius,
                spacing=step,
            )
            for tile in network.tiles()
        ]
        return Peaks(*(torch.cat(part).double().cpu() for part in zip(*parts, strict=True)))

    def _passes(self, shape: Sequence[int]) -> list[tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]]:
        """(start, size, size within the image) of each part of an image that the network is to see at once.

        A part is no smaller than a crop of the training, for a network with instance norm expects as much filling.
        """
        s = self.settings
        assert s.crop is not None
        assert s.strides is not None
        step = np.prod(s.strides, axis=0).tolist()
        if all(n <= ONE_PASS * c for n, c in zip(shape, s.crop, strict=True)):
            size = tuple(m * math.ceil(max(n, c) / m) for n, c, m in zip(shape, s.crop, step, strict=True))
            return [((0,) * self.ndim, size, tuple(shape))]
        starts = []
        for n, c in zip(shape, s.crop, strict=True):
            count = 1 + math.ceil(max(0, n - c) / (c * (1 - OVERLAP)))
            starts.append([round(k * max(0, n - c) / max(1, count - 1)) for k in range(count)])
        return [
            (start, s.crop, tuple(min(c, n - a) for c, n, a in zip(s.crop, shape, start, strict=True)))
            for start in itertools.product(*starts)
        ]

    def _part(self, image: WorkingImage, start: Sequence[int], size: Sequence[int], device: torch.device) -> Tensor:
        """(1, 1, *size) grey values from `start` on; 0 outside the image, as in training."""
        low, high = image.window
        cut = image.fine[tuple(slice(a, a + n) for a, n in zip(start, size, strict=True))]
        values = torch.zeros((1, 1, *size), device=device)
        inner = torch.from_numpy(cut.astype(np.float32)).to(device)
        values[(0, 0, *(slice(n) for n in cut.shape))] = (inner - low) / (high - low)
        return values

    def _stride(self) -> tuple[int, ...]:
        """(d,) elements of the image in one of the heatmap, along each axis."""
        assert self.settings.strides is not None
        return self.settings.strides[0]

    def _sigma(self, spacing: Sequence[float]) -> tuple[float, ...]:
        """(d,) s.d. of the targets in elements of the heatmap; never so few that they say nothing between elements."""
        sigma = self.settings.sigma
        assert sigma is not None, "sigma is missing"
        return tuple(max(LEAST_SIGMA, sigma / (a * n)) for a, n in zip(spacing, self._stride(), strict=True))


def _surer(one: Peaks, other: Peaks) -> Peaks:
    """For each landmark the peak with more mass."""
    better = other.mass > one.mass
    return Peaks(
        torch.where(better.unsqueeze(-1), other.points, one.points),
        *(torch.where(better, b, a) for a, b in zip(one[1:], other[1:], strict=True)),
    )

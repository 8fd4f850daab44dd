"""How heatmap finds landmarks in an image: one pass over all of it, or overlapping crops where it is larger."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from functools import reduce
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from anatomark.data.working import WorkingImage
from anatomark.methods.heatmap.config import HeatmapNetwork
from anatomark.methods.heatmap.loss import density
from anatomark.methods.heatmap.network import HeatmapNet
from anatomark.methods.heatmap.peaks import Peaks, find_peaks
from anatomark.methods.interface import Located

OVERLAP = 1 / 3  # of neighbouring crops
ONE_PASS = 1.5  # times the crop along each axis: larger images are predicted in overlapping crops


class Pass(NamedTuple):
    """A part of an image that the network sees at once: `size` elements from `start` on, `inside` of them in it."""

    start: tuple[int, ...]
    size: tuple[int, ...]
    inside: tuple[int, ...]


def locate(config: HeatmapNetwork, network: HeatmapNet, image: WorkingImage, device: torch.device) -> Located:
    """The answer for one image; of several crops, each landmark takes the answer with the most mass."""
    stride, spacing = torch.tensor(config.stride), image.fine_grid.spacing
    found: list[Peaks] = []
    with torch.inference_mode():
        for start, size, inside in passes(config, image.fine.shape):
            features = network.features(_grey_values(image, start, size, device))
            cells = [math.ceil(n / s) for n, s in zip(inside, config.stride, strict=True)]
            features = features[(..., *(slice(n) for n in cells))]  # no landmark lies in the padding
            peaks = _peaks(config, network, features, spacing)
            points = peaks.points * stride + (stride - 1) / 2 + torch.tensor(start)
            found.append(peaks._replace(points=points))
    points, spread, mass = (part.numpy() for part in reduce(_with_more_mass, found))
    return Located(image.fine_grid.index_to_world(points), spread, mass)


def passes(config: HeatmapNetwork, shape: Sequence[int]) -> list[Pass]:
    """The passes over an image of `shape`, one or more.

    None is smaller than a crop of the training, for a network with instance norm expects as much padding.
    """
    if all(n <= ONE_PASS * c for n, c in zip(shape, config.crop, strict=True)):
        step = np.prod(config.strides, axis=0).tolist()
        size = tuple(m * math.ceil(max(n, c) / m) for n, c, m in zip(shape, config.crop, step, strict=True))
        return [Pass((0,) * config.ndim, size, tuple(shape))]
    starts: list[list[int]] = []
    for n, c in zip(shape, config.crop, strict=True):
        count = 1 + math.ceil(max(0, n - c) / (c * (1 - OVERLAP)))
        starts.append([round(k * max(0, n - c) / max(1, count - 1)) for k in range(count)])
    return [
        Pass(start, config.crop, tuple(min(c, n - a) for c, n, a in zip(config.crop, shape, start, strict=True)))
        for start in itertools.product(*starts)
    ]


def _grey_values(image: WorkingImage, start: Sequence[int], size: Sequence[int], device: torch.device) -> Tensor:
    """(1, 1, *size) grey values from `start` on; 0 outside the image, as in training."""
    low, high = image.window
    part = image.fine[tuple(slice(a, a + n) for a, n in zip(start, size, strict=True))]
    values = torch.zeros((1, 1, *size), device=device)
    inner = torch.as_tensor(part.astype(np.float32)).to(device)
    values[(0, 0, *(slice(n) for n in part.shape))] = (inner - low) / (high - low)
    return values


def _peaks(config: HeatmapNetwork, network: HeatmapNet, features: Tensor, spacing: Sequence[float]) -> Peaks:
    """Peaks of all landmarks, in elements of the heatmap, float64 on the CPU; `spacing` (d,) is the image's."""
    sigma = config.sigma_elements(spacing)
    on_device = torch.tensor(sigma, device=features.device)
    parts = [
        find_peaks(
            density(network.logits(features, tile), on_device, loss=config.loss)[0],
            radius=[max(1, round(config.peak_window * s)) for s in sigma],
            spacing=[a * n for a, n in zip(spacing, config.stride, strict=True)],
        )
        for tile in network.tiles()
    ]
    return Peaks(*(torch.cat(part).double().cpu() for part in zip(*parts, strict=True)))


def _with_more_mass(one: Peaks, other: Peaks) -> Peaks:
    """For each landmark the peak with more mass."""
    better = other.mass > one.mass
    return Peaks(
        torch.where(better.unsqueeze(-1), other.points, one.points),
        torch.where(better, other.spread, one.spread),
        torch.where(better, other.mass, one.mass),
    )

"""How heatmap finds landmarks in an image: one pass over all of it, or overlapping crops where it is larger."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import reduce

import numpy as np
import torch
from torch import Tensor

from anatomark.data.working import WorkingImage
from anatomark.methods.deep_features import DeepFeatures
from anatomark.methods.heatmap.config import HeatmapNetwork
from anatomark.methods.heatmap.loss import density
from anatomark.methods.heatmap.peaks import Peaks, find_peaks
from anatomark.methods.interface import Located
from anatomark.methods.passes import grey_values, passes, with_more_mass
from anatomark.methods.search import Search, ask


def search(config: HeatmapNetwork, image: WorkingImage, device: torch.device) -> Search[Located]:
    """The answer for one image; of several crops, each landmark takes the answer with the most mass."""
    stride, grid = torch.tensor(config.stride), image.fine_grid
    whole_stride = np.prod(config.strides, axis=0)
    found: list[Located] = []
    for start, size, inside in passes(image.fine.shape, crop=config.crop, strides=config.strides):
        features, deepest = yield from ask("features", grey_values(image, start, size, device))
        cells = [math.ceil(n / s) for n, s in zip(inside, config.stride, strict=True)]
        features = features[(..., *(slice(n) for n in cells))]  # no landmark lies in the padding
        peaks = yield from _peaks(config, features, grid.spacing)
        points = (peaks.points * stride + (stride - 1) / 2).numpy()
        seen = DeepFeatures.of(deepest, (points + 0.5) / whole_stride - 0.5)
        world = grid.index_to_world(points + np.asarray(start))
        found.append(Located(world, peaks.spread.numpy(), peaks.mass.numpy(), seen))
    return reduce(with_more_mass, found)


def _peaks(config: HeatmapNetwork, features: Tensor, spacing: Sequence[float]) -> Search[Peaks]:
    """Peaks of all landmarks, in elements of the heatmap, float64 on the CPU; `spacing` (d,) is the image's."""
    sigma = config.sigma_elements(spacing)
    on_device = torch.tensor(sigma, device=features.device)
    radius = [max(1, round(config.peak_window * s)) for s in sigma]
    apart = [a * n for a, n in zip(spacing, config.stride, strict=True)]
    parts: list[Peaks] = []
    for which in torch.arange(config.landmarks, device=features.device).split(config.landmarks_per_tile):
        (logits,) = yield from ask("heatmaps", features, which)
        parts.append(find_peaks(density(logits, on_device, loss=config.loss)[0], radius=radius, spacing=apart))
    return Peaks(*(torch.cat(part).double().cpu() for part in zip(*parts, strict=True)))

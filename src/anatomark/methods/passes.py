"""The passes of a U-Net over an image: one over all of it, or overlapping crops where it is larger."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from anatomark.data.working import WorkingImage
from anatomark.methods.interface import Located

OVERLAP = 1 / 3  # of neighbouring crops
ONE_PASS = 1.5  # times the crop along each axis: larger images are predicted in overlapping crops


class Pass(NamedTuple):
    """A part of an image that the network sees at once: `size` elements from `start` on, `inside` of them in it."""

    start: tuple[int, ...]
    size: tuple[int, ...]
    inside: tuple[int, ...]


def passes(shape: Sequence[int], *, crop: Sequence[int], strides: Sequence[Sequence[int]]) -> list[Pass]:
    """The passes over an image of `shape`, one or more, by a U-Net that learned from crops of size `crop`.

    None is smaller than a crop of the training, for its normalisations expect as much padding.
    """
    if all(n <= ONE_PASS * c for n, c in zip(shape, crop, strict=True)):
        step = np.prod(strides, axis=0).tolist()
        size = tuple(m * math.ceil(max(n, c) / m) for n, c, m in zip(shape, crop, step, strict=True))
        return [Pass((0,) * len(crop), size, tuple(shape))]
    starts: list[list[int]] = []
    for n, c in zip(shape, crop, strict=True):
        count = 1 + math.ceil(max(0, n - c) / (c * (1 - OVERLAP)))
        starts.append([round(k * max(0, n - c) / max(1, count - 1)) for k in range(count)])
    return [
        Pass(start, tuple(crop), tuple(min(c, n - a) for c, n, a in zip(crop, shape, start, strict=True)))
        for start in itertools.product(*starts)
    ]


def passes_over(crop: Sequence[int], strides: Sequence[Sequence[int]]) -> dict[str, object]:
    """The numbers that `passes` goes by, for whoever has to do the same."""
    return {
        "stride": np.prod(strides, axis=0).tolist(),
        "crop": list(crop),
        "one_pass": ONE_PASS,
        "overlap": OVERLAP,
    }


def with_more_mass(one: Located, other: Located) -> Located:
    """Of the answers of two passes, for each landmark the one with more mass."""
    better = other.mass > one.mass
    return Located(
        np.where(better[:, None], other.points_world, one.points_world),
        np.where(better, other.spread, one.spread),
        np.where(better, other.mass, one.mass),
        one.features.joined(other.features, better) if one.features and other.features else None,
    )


def grey_values(image: WorkingImage, start: Sequence[int], size: Sequence[int], device: torch.device) -> Tensor:
    """(1, 1, *size) grey values from `start` on; 0 outside the image, as in training."""
    low, high = image.window
    part = image.fine[tuple(slice(a, a + n) for a, n in zip(start, size, strict=True))]
    values = torch.zeros((1, 1, *size), device=device)
    inner = torch.as_tensor(part.astype(np.float32)).to(device)
    values[(0, 0, *(slice(n) for n in part.shape))] = (inner - low) / (high - low)
    return values

"""Ways to carry points from one label map to another, compared: overlap of structures, and the way there and back."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from functools import partial

import numpy as np

from anatomark.core.grid import Floats, transform_points
from anatomark.core.image import Image
from anatomark.registration.deformable import register_deformable
from anatomark.registration.linear import register_linear
from benchmarks.brain_people_points import GROUPS
from benchmarks.label_registration import register_labels

Map = Callable[[Floats], Floats]


def compare_ways(labels: tuple[Image, Image], images: tuple[Image, Image], points: Floats) -> list[str]:
    """A line for each way: mean Dice of all groups of labels, distance there and back of `points` (N, 3), seconds.

    `labels` are two label maps, `images` the same with grey values, for what compares those; the points lie in the
    first.
    """
    lines = ["| way | Dice | there and back, median and 95 % (mm) | s |", "|---|---|---|---|"]
    for name, register in _ways(labels, images).items():
        began = time.monotonic()
        there, back = register(0, 1), register(1, 0)
        seconds = (time.monotonic() - began) / 2
        distance = np.linalg.norm(back(there(points)) - points, axis=1)
        middle, most = np.percentile(distance, (50, 95))
        dice = overlap(*labels, there).mean()
        lines.append(f"| {name} | {dice:.2f} | {middle:.2f}, {most:.2f} | {seconds:.0f} |")
    return lines


def _ways(labels: tuple[Image, Image], images: tuple[Image, Image]) -> Mapping[str, Callable[[int, int], Map]]:
    """{name: registration of one of the two to the other}."""

    def affine(fixed: int, moving: int) -> Map:
        return partial(transform_points, register_linear(images[fixed], images[moving], kind="affine"))

    def simpleitk(fixed: int, moving: int) -> Map:
        return register_deformable(images[fixed], images[moving], backend="simpleitk").map

    def elastix(fixed: int, moving: int) -> Map:
        return register_deformable(images[fixed], images[moving], backend="elastix").map

    def structures(fixed: int, moving: int) -> Map:
        start = register_linear(images[fixed], images[moving], kind="affine")
        return register_labels(labels[fixed], labels[moving], tuple(GROUPS.values()), start).map

    return {"affine": affine, "simpleitk": simpleitk, "elastix": elastix, "structure by structure": structures}


def overlap(fixed: Image, moving: Image, mapped: Map) -> Floats:
    """(G,) Dice coefficients of the groups, of every third voxel of `fixed` and where it lies in `moving`."""
    thinned = fixed.array[::3, ::3, ::3]
    index = np.argwhere(thinned > 0)  # nothing of the brain is outside of the head
    here = thinned[tuple(index.T)]
    found = np.rint(moving.grid.world_to_index(mapped(fixed.grid.index_to_world(3 * index)))).astype(int)
    inside = np.asarray(np.logical_and(found >= 0, found < np.asarray(moving.grid.shape)).all(axis=1))
    there = np.where(inside, moving.array[tuple(np.where(inside[:, None], found, 0).T)], 0)
    pairs = [(np.isin(here, group), np.isin(there, group)) for group in GROUPS.values()]
    return np.array([2 * (a & b).sum() / max(1, a.sum() + b.sum()) for a, b in pairs])

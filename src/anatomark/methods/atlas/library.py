"""The atlases: training cases kept with their landmarks, all in straight frames."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from anatomark.core.grid import Floats, Grid, Unit, nearest_orthogonal
from anatomark.core.image import Image
from anatomark.core.landmarks import State
from anatomark.data.working import WorkingImage
from anatomark.nets.weights import require_tensors, under_prefix

GREY_RANGE = (-0.25, 1.25)  # where the working image's window is 0 ... 1; kept in 8 bits
PREFIX = "atlases"  # of the names of its tensors


def straightened(grid: Grid) -> Grid:
    """A canonical Grid turned back along the axes of the world, its centre at zero; a shear is kept.

    The nearest rotation, by polar decomposition, is removed. Registrations then start from the same place however the
    patient lay, and their result rotates with the image.
    """
    linear = grid.affine[:-1, :-1]
    rotation = nearest_orthogonal(linear[:, ::-1])
    if np.linalg.det(rotation) < 0:  # a reflection is no rotation
        rotation = rotation * np.where(np.arange(grid.ndim) == 0, -1.0, 1.0)
    # Rounded, so that what rounding errors the world's frame makes cannot change a registration.
    decimals = 9 - int(np.floor(np.log10(max(grid.spacing))))
    straight = np.round(rotation.T @ linear, decimals)
    affine = np.eye(grid.ndim + 1)
    affine[:-1, :-1] = straight
    affine[:-1, -1] = -straight @ ((np.asarray(grid.shape) - 1) / 2)
    return Grid(grid.shape, affine, grid.unit)


def straight_image(image: WorkingImage) -> Image:
    """The fine working image as float32, 0 ... 1 over its window and cut off beyond GREY_RANGE, straightened."""
    low, high = image.window
    grey = (image.fine.astype(np.float32) - np.float32(low)) / np.float32(high - low)
    return Image(np.clip(grey, *GREY_RANGE), straightened(image.fine_grid))


def change_frame(points: Floats, source: Grid, target: Grid) -> Floats:
    """Points (..., d) of the world of `source` at the same indices of `target`, a Grid of the same array."""
    return target.index_to_world(source.world_to_index(points))


@dataclass(frozen=True, eq=False)
class AtlasLibrary:
    """A atlases with straight frames, and the mean shape of all training cases.

    Of each atlas `grey` (*shape) are its grey values in 8 bits, and `affines` (A, d+1, d+1) that of its grid. `links`
    (A, d+1, d+1) are the linear maps from the atlases to the first one; `points` (A, N, d) lie in their frames, 0
    unless present by `states` (A, N); `mean_shape` (N, d) is relative to the image's centre.
    """

    grey: tuple[NDArray[np.uint8], ...]
    affines: Floats
    links: Floats
    points: Floats
    states: NDArray[np.uint8]
    mean_shape: Floats

    @classmethod
    def of(
        cls,
        images: Sequence[Image],
        links: Sequence[Floats],
        points: Floats,
        states: NDArray[np.uint8],
        mean_shape: Floats,
    ) -> AtlasLibrary:
        """The library of straight `images` with `points` (A, N, d) in their frames, NaN unless PRESENT in `states`."""
        low, high = GREY_RANGE
        return cls(
            tuple(np.round((image.array - low) * (255 / (high - low))).astype(np.uint8) for image in images),
            np.stack([image.grid.affine for image in images]),
            np.stack(links),
            np.nan_to_num(points),  # a whole file of tensors has finite numbers only
            states.copy(),
            np.nan_to_num(mean_shape),
        )

    @classmethod
    def load(
        cls, tensors: Mapping[str, Tensor], *, shapes: Sequence[Sequence[int]], ndim: int, landmarks: int, source: str
    ) -> AtlasLibrary:
        """What `tensors()` gave, of atlases with `shapes`; ModelError, which names `source`, where it does not fit."""
        count, linear = len(shapes), (ndim + 1, ndim + 1)
        expected: dict[str, Sequence[int]] = {
            "links": (count, *linear),
            "points": (count, landmarks, ndim),
            "states": (count, landmarks),
            "mean_shape": (landmarks, ndim),
        }
        for number, shape in enumerate(shapes):
            expected |= {f"grey_{number}": shape, f"affine_{number}": linear}
        require_tensors({f"{PREFIX}.{name}": shape for name, shape in expected.items()}, tensors, source)
        arrays = {name: tensor.cpu().numpy() for name, tensor in under_prefix(PREFIX, tensors).items()}
        affines = [arrays[f"affine_{number}"] for number in range(count)]
        return cls(
            tuple(arrays[f"grey_{number}"].astype(np.uint8) for number in range(count)),
            np.array(affines, dtype=np.float64).reshape(count, *linear),
            arrays["links"].astype(np.float64),
            arrays["points"].astype(np.float64),
            arrays["states"].astype(np.uint8),
            arrays["mean_shape"].astype(np.float64),
        )

    def tensors(self) -> dict[str, Tensor]:
        """All of it, under names that begin with "atlases."."""
        arrays: dict[str, NDArray[np.generic]] = {
            "links": self.links,
            "points": self.points,
            "states": self.states,
            "mean_shape": self.mean_shape,
        }
        for number, (grey, affine) in enumerate(zip(self.grey, self.affines, strict=True)):
            arrays |= {f"grey_{number}": grey, f"affine_{number}": affine}
        return {f"{PREFIX}.{name}": torch.as_tensor(array) for name, array in arrays.items()}

    def __len__(self) -> int:
        return len(self.grey)

    @property
    def shapes(self) -> tuple[tuple[int, ...], ...]:
        return tuple(grey.shape for grey in self.grey)

    def image(self, number: int, unit: Unit) -> Image:
        """The grey values of an atlas, as `straight_image` gave them but for 8 bits."""
        low, high = GREY_RANGE
        grey = self.grey[number].astype(np.float32)
        grid = Grid(grey.shape, self.affines[number], unit)
        return Image(grey * np.float32((high - low) / 255) + np.float32(low), grid)

    def link(self, number: int, other: int) -> Floats:
        """(d+1, d+1) the linear map from the frame of one atlas to that of another, by way of the first."""
        return np.asarray(np.linalg.solve(self.links[other], self.links[number]), dtype=np.float64)

    def landmarks(self, number: int) -> tuple[Floats, NDArray[np.uint8]]:
        """Points (N, d) in the atlas's frame, NaN unless PRESENT, and states (N,)."""
        states = self.states[number]
        return np.where((states == State.PRESENT)[:, None], self.points[number], np.nan), states


def choose_atlases(points: Floats, states: NDArray[np.uint8], count: int) -> list[int]:
    """At most `count` of C cases with points (C, N, d), NaN unless present, and states (C, N), in order of choice.

    First come cases with landmarks that no chosen case has; among equal ones, and afterwards, the case that most
    lowers the sum of all cases' distances to their nearest chosen one (greedy medoids: spread over all cases, without
    the preference for outliers that farthest points have).
    """
    present = states == State.PRESENT
    distance = _distances(points)
    nearest = np.full(len(points), 2 * distance.max(initial=0) + 1)
    covered = np.zeros(present.shape[1], dtype=bool)
    chosen: list[int] = []
    while len(chosen) < min(count, len(points)):
        left = [case for case in range(len(points)) if case not in chosen]
        costs = {case: float(np.minimum(nearest, distance[:, case]).sum()) for case in left}
        best = min(left, key=lambda case: (-int((present[case] & ~covered).sum()), round(costs[case], 6), case))
        chosen.append(best)
        nearest = np.minimum(nearest, distance[:, best])
        covered |= present[best]
    return chosen


def _distances(points: Floats) -> Floats:
    """(C, C) root mean square distance of the landmarks that two cases share, after their centroids are aligned.

    Cases that share fewer than two are as far apart as the farthest others.
    """
    present = np.asarray(np.isfinite(points).all(axis=2))
    distance = np.full((len(points), len(points)), np.nan)
    for one, other in itertools.combinations(range(len(points)), 2):
        shared = present[one] & present[other]
        if shared.sum() >= 2:
            difference = points[one, shared] - points[other, shared]
            squared = ((difference - difference.mean(axis=0)) ** 2).sum(axis=1).mean()
            distance[one, other] = distance[other, one] = np.sqrt(squared)
    distance = np.where(np.isnan(distance), np.nanmax(distance, initial=0), distance)
    np.fill_diagonal(distance, 0)
    return distance

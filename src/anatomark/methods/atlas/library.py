"""The atlases: training cases kept with their landmarks, all in straight frames."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from anatomark.core.grid import Floats, Grid, Unit
from anatomark.core.image import Image
from anatomark.core.landmarks import State
from anatomark.data.working import WorkingImage

GREY_RANGE = (-0.25, 1.25)  # where the working image's window is 0 ... 1; kept in 8 bits


def straightened(grid: Grid) -> Grid:
    """A canonical Grid turned back along the axes of the world, its centre at zero; a shear is kept.

    The nearest rotation, by polar decomposition, is taken out. Registrations then start from the same place however
    the patient lay, and their outcome turns with the image.
    """
    from scipy.linalg import polar

    linear = grid.affine[:-1, :-1]
    rotation, _ = polar(linear[:, ::-1])
    if np.linalg.det(rotation) < 0:  # a mirror image is no turned one
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


class AtlasLibrary(nn.Module):
    """Grey values (8 bits), straight affines, points and states of A atlases, and the mean shape of all training.

    Buffers only, so that a model is saved and loaded as any other: their shapes follow from `shapes` (A of them, array
    order) and the number of `landmarks`. `links` (A, d+1, d+1) are the linear maps from the atlases to the first one;
    `mean_shape` (N, d) is relative to the image's centre.
    """

    links: Tensor
    points: Tensor
    states: Tensor
    mean_shape: Tensor

    def __init__(self, shapes: Sequence[Sequence[int]], *, ndim: int, landmarks: int) -> None:
        super().__init__()
        for number, shape in enumerate(shapes):
            self.register_buffer(f"grey_{number}", torch.zeros(tuple(shape), dtype=torch.uint8))
            self.register_buffer(f"affine_{number}", torch.eye(ndim + 1, dtype=torch.float64))
        self.register_buffer("links", torch.zeros((len(shapes), ndim + 1, ndim + 1), dtype=torch.float64))
        self.register_buffer("points", torch.zeros((len(shapes), landmarks, ndim), dtype=torch.float64))
        self.register_buffer("states", torch.zeros((len(shapes), landmarks), dtype=torch.uint8))
        self.register_buffer("mean_shape", torch.zeros((landmarks, ndim), dtype=torch.float64))

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
        library = cls([image.grid.shape for image in images], ndim=points.shape[2], landmarks=points.shape[1])
        low, high = GREY_RANGE
        held = {
            "links": torch.from_numpy(np.stack(links)),
            "points": torch.from_numpy(np.nan_to_num(points)),  # a whole file of weights has finite numbers only
            "states": torch.from_numpy(states.copy()),
            "mean_shape": torch.from_numpy(np.nan_to_num(mean_shape)),
        }
        for number, image in enumerate(images):
            grey = np.round((image.array - low) * (255 / (high - low))).astype(np.uint8)
            held[f"grey_{number}"] = torch.from_numpy(grey)
            held[f"affine_{number}"] = torch.from_numpy(image.grid.affine.copy())
        library.load_state_dict(held)
        return library

    def __len__(self) -> int:
        return len(self.points)

    def image(self, number: int, unit: Unit) -> Image:
        """The grey values of an atlas, as `straight_image` gave them but for 8 bits."""
        low, high = GREY_RANGE
        grey = self.get_buffer(f"grey_{number}").cpu().numpy().astype(np.float32)
        affine = self.get_buffer(f"affine_{number}").cpu().numpy()
        return Image(grey * np.float32((high - low) / 255) + np.float32(low), Grid(grey.shape, affine, unit))

    def link(self, number: int, other: int) -> Floats:
        """(d+1, d+1) the linear map from the frame of one atlas to that of another, by way of the first."""
        links = self.links.cpu().numpy()
        return np.asarray(np.linalg.solve(links[other], links[number]))

    def landmarks(self, number: int) -> tuple[Floats, NDArray[np.uint8]]:
        """Points (N, d) in the atlas's frame, NaN unless PRESENT, and states (N,)."""
        states = self.states[number].cpu().numpy()
        points = self.points[number].cpu().numpy()
        return np.where((states == State.PRESENT)[:, None], points, np.nan), states


def choose_atlases(points: Floats, states: NDArray[np.uint8], count: int) -> list[int]:
    """At most `count` of C cases with points (C, N, d), NaN unless present, and states (C, N), in order of choice.

    First come cases that bring landmarks no chosen case has; among alike ones, and afterwards, the case that most
    lowers the sum of all cases' distances to their nearest chosen one (greedy medoids: spread over all cases, without
    the taste for odd ones that farthest points have).
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
    """(C, C) root mean square distance of the landmarks that two cases share, their centroids laid together.

    Cases that share fewer than two are as far apart as the farthest others.
    """
    here = np.asarray(np.isfinite(points).all(axis=2))
    distance = np.full((len(points), len(points)), np.nan)
    for one, other in itertools.combinations(range(len(points)), 2):
        shared = here[one] & here[other]
        if shared.sum() >= 2:
            difference = points[one, shared] - points[other, shared]
            squared = ((difference - difference.mean(axis=0)) ** 2).sum(axis=1).mean()
            distance[one, other] = distance[other, one] = np.sqrt(squared)
    distance = np.where(np.isnan(distance), np.nanmax(distance, initial=0), distance)
    np.fill_diagonal(distance, 0)
    return distance

"""Appearance: the grey values around the landmarks of suitable images, and whether left and right look exchanged.

An image whose points lie naturally can still be of another kind. So the coarse level of the working image is read at
the nodes of a grid that is laid over the typical shape and goes along with the found points; grey values count relative
to their mean and standard deviation over the nodes, as scanners differ by these. Two deviations are judged:

- `grey`: the logarithm of the root mean squared Mahalanobis distance a node (`methods.components`).
- `side`: a linear discriminant (Fisher, Ann. Eugenics 7(2):179-188, 1936, doi:10.1111/j.1469-1809.1936.tb02137.x)
  between the images and their mirror images, on the differences between the nodes and their mirror images. A heart on
  the right is told by it, though the points of a mirrored chest lie as usual. It is in standard deviations from what is
  expected of an image that is not mirrored, and counts only where the image looks more like a mirrored one. In an
  anatomy without a difference between the sides it says nothing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from anatomark.core.grid import Floats, transform_points
from anatomark.core.interpolation import interpolated
from anatomark.data.shapes import align_shape
from anatomark.data.working import WorkingImage
from anatomark.methods.components import Components

KINDS = ("grey", "side")
NODES = {2: 600, 3: 2000}  # roughly, by the dimension
MARGIN = 0.15  # of the largest side of the box around the typical shape, on each side
CLIPPED = (-0.5, 1.5)  # grey values, where 0 and 1 are the ends of the image's window
LEAST_SEEN = 0.1  # of the nodes have to lie in the image
LEAST_CONTRAST = 1e-3
MOST = 400  # training images to learn from, evenly chosen
FEWEST = 8
PARTS = 10
LEAST = (0.05, 0.5)  # standard deviations that are believed, at least


@dataclass(frozen=True, eq=False)
class Nodes:
    """A grid over the typical shape, in its frame: `origin` (d,) of the first node, the `pitch`, and the `shape`.

    `mirror` (d+1, d+1) maps a place to its mirror image.
    """

    origin: Floats
    pitch: float
    shape: tuple[int, ...]
    mirror: Floats

    @classmethod
    def around(cls, typical: Floats, turn: Floats, partners: NDArray[np.int64]) -> Nodes:
        """For the `typical` shape (N, d), which `turn` (d, d) puts upright.

        The plane of the mirror is that in which the points and their `partners` (N,) agree best; without partners, it
        is upright through the middle, between left and right.
        """
        d = typical.shape[1]
        low, high = np.nanmin(typical, axis=0), np.nanmax(typical, axis=0)
        margin = MARGIN * float((high - low).max())
        size = high - low + 2 * margin
        pitch = float(np.prod(size) / NODES[d]) ** (1 / d)
        shape = tuple(max(1, int(n)) for n in np.round(size / pitch))
        middle = (low + high) / 2
        origin = middle - pitch * (np.array(shape) - 1) / 2
        return cls(origin, pitch, shape, _mirror(typical, turn, partners, middle))

    @cached_property
    def places(self) -> Floats:
        """(K, d) all nodes."""
        index = np.stack(np.meshgrid(*map(np.arange, self.shape), indexing="ij"), axis=-1)
        return self.origin + self.pitch * index.reshape(-1, len(self.shape))

    @cached_property
    def _mirrored_index(self) -> Floats:
        return (transform_points(self.mirror, self.places) - self.origin) / self.pitch

    def seen(self, typical: Floats, points: Floats, image: WorkingImage, matrix: Floats | None = None) -> Floats:
        """(K,) what `image` shows at the nodes, laid onto `points` (N, d); NaN outside, and where it shows little.

        Points that are NaN count for nothing. `matrix` (d+1, d+1) maps their world to that of `image`.
        """
        fit = align_shape(typical, points[None])
        if not np.isfinite(fit.scales[0]):
            return np.full(len(self.places), np.nan)
        world = fit.scales[0] * (self.places @ fit.rotations[0].T) + fit.offsets[0]
        if matrix is not None:
            world = transform_points(matrix, world)
        index = image.coarse_grid.world_to_index(world)
        inside = image.coarse_grid.contains(world)
        low, high = image.window
        values = np.full(len(index), np.nan)
        grey = interpolated(image.coarse.astype(np.float32), index[inside].T).astype(np.float64)
        values[inside] = (grey - low) / (high - low)
        return _relative(values)

    def halved(self, seen: Floats) -> Floats:
        """(..., K) how much nodes and their mirror images differ in what is `seen` (..., K); NaN where one is not."""
        index = self._mirrored_index
        on = ((index >= 0) & (index <= np.array(self.shape) - 1)).all(axis=1)
        halves = np.empty(seen.shape)
        for half, one in zip(halves.reshape(-1, len(index)), seen.reshape(-1, len(index)), strict=True):
            there = interpolated(one.reshape(self.shape), index.T).astype(np.float64)  # NaN spreads
            half[:] = np.where(on, one - there, np.nan)
        return halves


@dataclass(frozen=True, eq=False)
class Appearance:
    """What suitable images show at the `nodes`: `greys` are their components, `sides` those of `Nodes.halved`.

    `center`, `deviation` and `farthest` (2,) are those of KINDS among `count` images.
    """

    nodes: Nodes
    greys: Components
    sides: Components
    center: Floats
    deviation: Floats
    farthest: Floats
    count: int

    @classmethod
    def learned(cls, nodes: Nodes, taught: Floats, found: Floats) -> Appearance | None:
        """From what training images show at the nodes by their references, `taught` (M, K), and other suitable ones
        by their predictions, `found` (V, K). None where there are too few."""
        taught = taught[np.isfinite(taught).any(axis=1)]
        found = found[np.isfinite(found).any(axis=1)]
        if len(taught) < FEWEST:
            return None
        own = _fitted(nodes, taught)
        values = [_deviations(nodes, *own, found)[:, :2]]
        parts = np.arange(len(taught)) % PARTS
        for part in np.unique(parts):
            others = _fitted(nodes, taught[parts != part])
            values.append(_deviations(nodes, *others, taught[parts == part])[:, :2])
        values = np.concatenate(values)
        values = values[np.isfinite(values).all(axis=1)]
        if len(values) < FEWEST:
            return None
        center = values.mean(axis=0)
        deviation = np.maximum(values.std(axis=0, ddof=1), LEAST)
        return cls(nodes, *own, center, deviation, np.abs(values - center).max(axis=0), len(values))

    def apart(self, seen: Floats) -> Floats:
        """(2,) how far KINDS lie from what is usual in an image that shows what is `seen` (K,); 0 where that is no
        fault, NaN where too little is seen."""
        if not np.isfinite(seen).any():
            return np.full(2, np.nan)
        *values, discriminant = _deviations(self.nodes, self.greys, self.sides, seen[None])[0]
        grey, side = values - self.center
        return np.array([max(grey, 0.0), 0.0 if discriminant >= 0 else min(side, 0.0)])

    def tensors(self) -> dict[str, Floats]:
        """All that `of_tensors` needs but the number of images."""
        return {
            "nodes": np.array([*self.nodes.origin, self.nodes.pitch, *self.nodes.shape]),
            "mirror": self.nodes.mirror,
            "grey_mean": self.greys.mean,
            "grey_axes": self.greys.axes,
            "side_mean": self.sides.mean,
            "side_axes": self.sides.axes,
            "noises": np.array([self.greys.noise, self.sides.noise]),
            "appearance": np.stack([self.center, self.deviation, self.farthest]),
        }

    @classmethod
    def of_tensors(cls, held: Mapping[str, Floats], count: int, ndim: int) -> Appearance | None:
        """What `tensors` gave; None where there is nothing of it. KeyError or ValueError for something else."""
        if "nodes" not in held:
            return None
        if held["nodes"].shape != (2 * ndim + 1,):
            raise ValueError("nodes")
        shape = tuple(int(n) for n in held["nodes"][ndim + 1 :])
        size = math.prod(shape)
        nodes = Nodes(held["nodes"][:ndim], float(held["nodes"][ndim]), shape, held["mirror"])
        wanted = {"mirror": (ndim + 1, ndim + 1), "noises": (2,), "appearance": (3, 2)}
        for kind in KINDS:
            wanted |= {f"{kind}_mean": (size, 1), f"{kind}_axes": (len(held[f"{kind}_axes"]), size)}
        finite = all(np.isfinite(held[name]).all() for name in wanted)
        if any(held[name].shape != of for name, of in wanted.items()) or not finite or count < 2:
            raise ValueError("appearance")
        if min(shape) < 1 or nodes.pitch <= 0 or (held["noises"] <= 0).any():
            raise ValueError("appearance")
        greys, sides = (
            Components(held[f"{kind}_mean"], held[f"{kind}_axes"], float(noise))
            for kind, noise in zip(KINDS, held["noises"], strict=True)
        )
        return cls(nodes, greys, sides, *held["appearance"], count=count)


def _mirror(typical: Floats, turn: Floats, partners: NDArray[np.int64], middle: Floats) -> Floats:
    """(d+1, d+1) the reflection that takes the points nearest to their partners."""
    d = typical.shape[1]
    across = turn[0]  # the direction of the frame that is left and right in the world
    flip = np.eye(d) - 2 * np.outer(across, across)
    matrix = np.eye(d + 1)
    known = np.asarray(np.isfinite(typical).all(axis=1) & np.isfinite(typical[partners]).all(axis=1))
    if (partners == np.arange(len(partners))).all() or known.sum() <= d:
        matrix[:-1, :-1], matrix[:-1, -1] = flip, middle - flip @ middle
        return matrix
    of, to = typical[known] @ flip, typical[partners][known]
    u, _, vt = np.linalg.svd((of - of.mean(axis=0)).T @ (to - to.mean(axis=0)))
    u[:, -1] *= np.sign(np.linalg.det(u @ vt))
    matrix[:-1, :-1] = (u @ vt).T @ flip
    matrix[:-1, -1] = to.mean(axis=0) - (u @ vt).T @ of.mean(axis=0)
    return matrix


def _relative(values: Floats) -> Floats:
    """`values` (K,) by mean and standard deviation; NaN where too few are known."""
    known = np.isfinite(values)
    if known.mean() < LEAST_SEEN:
        return np.full(values.shape, np.nan)
    clipped = np.clip(values, *CLIPPED)
    return (clipped - clipped[known].mean()) / max(float(clipped[known].std()), LEAST_CONTRAST)


def _fitted(nodes: Nodes, seen: Floats) -> tuple[Components, Components]:
    return Components.fitted(seen[..., None]), Components.fitted(nodes.halved(seen)[..., None])


def _deviations(nodes: Nodes, greys: Components, sides: Components, seen: Floats) -> Floats:
    """(M, 3) KINDS of images that show what is `seen` (M, K), and the discriminant of their sides."""
    if not len(seen):
        return np.empty((0, 3))
    grey = np.log(np.maximum(greys.distances(seen[..., None]), 1e-6))
    return np.column_stack([grey, [_discriminant(sides, half) for half in nodes.halved(seen)]])


def _discriminant(sides: Components, half: Floats) -> Sequence[float]:
    """How many standard deviations the discriminant is from what is expected; and the discriminant, positive for an
    image that is not mirrored. NaN where no node and its mirror image are seen, or where nothing is expected."""
    known = np.isfinite(half)
    mean, axes = sides.mean[known, 0], sides.axes[:, known]
    inner = np.linalg.solve(axes @ axes.T + sides.noise * np.eye(len(axes)), axes @ mean)
    weights = (mean - axes.T @ inner) / sides.noise
    expected = float(weights @ mean)
    if expected <= 0:
        return math.nan, math.nan
    found = float(weights @ half[known])
    return (found - expected) / math.sqrt(expected), found

"""The anatomy behind the phantoms: one head-like template and its landmarks, drawn from a seed.

Everything is drawn in the template's own millimetres, centred on zero, in a box as large as the field of
view. In 3D, +x is the left side (LPS), landmarks come in mirrored pairs, and one-sided structures tell left
from right.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from anatomark.core.grid import Floats, Grid
from anatomark.core.interpolation import smoothed, spline_coefficients, spline_values

MARKED = 40  # so many landmarks get a shape of their own; more would overlap, and rely on texture and context
RADIUS = 0.62  # landmarks lie in this part of the box, so that the drawn deformations keep them in view
_MARGIN = 1.3  # the template reaches this far beyond the box: deformed images look past it


@dataclass(frozen=True, eq=False)
class Anatomy:
    """A template: cubic spline coefficients (*grid.shape) of its grey values, about 0 ... 1, on `grid`.

    `points` (N, d) are the landmarks in template mm, ordered as their names. In 3D the midline comes first,
    then left, right, left, right ...
    """

    coefficients: NDArray[np.float32]
    grid: Grid
    points: Floats

    def sample(self, points: Floats) -> NDArray[np.float32]:
        """Grey values (...,) at template points (..., d)."""
        return spline_values(self.coefficients, np.moveaxis(self.grid.world_to_index(points), -1, 0))


def template_of(values: NDArray[np.float32], grid: Grid, points: Floats) -> Anatomy:
    """An Anatomy from grey values (*grid.shape) and landmarks (N, d)."""
    return Anatomy(spline_coefficients(values), grid, points)


def pair_count(landmarks: int, ndim: int) -> int:
    """How many left/right pairs are among so many landmarks: none in 2D, about two thirds of them in 3D."""
    return landmarks // 3 if ndim == 3 else 0


@lru_cache(maxsize=4)
def draw_anatomy(seed: int, box: tuple[float, ...], landmarks: int, samples: int) -> Anatomy:
    """The anatomy of `seed` in a field of view of `box` (d,) mm (x, y[, z]), drawn once and kept.

    `samples` is the number of template elements along the longest side of the box.
    """
    rng = np.random.default_rng((seed, 0))
    half = np.asarray(box) / 2
    grid = template_grid(box, samples)
    points = _draw_points(rng, landmarks, len(box)) * half
    values = _draw_head(rng, grid, half)
    _draw_markers(rng, values, grid, points, size=float(half.min()))
    return template_of(values, grid, points)


def template_grid(box: tuple[float, ...], samples: int) -> Grid:
    """The Grid of a template about zero, a margin larger than `box` (d,) mm, whose longest side has `samples`."""
    spacing = max(box) / samples
    shape = [int(np.ceil(_MARGIN * b / spacing)) for b in reversed(box)]
    origin = [-(n - 1) / 2 * spacing for n in reversed(shape)]
    return Grid.from_geometry(shape, spacing=[spacing] * len(box), origin=origin)


def _draw_points(rng: np.random.Generator, count: int, ndim: int) -> Floats:
    """Landmarks (N, d) in a ball of RADIUS, each the farthest of some candidates from those before."""
    pairs = pair_count(count, ndim)
    points = np.empty((0, ndim))
    for k in range(count - pairs):
        candidates = rng.normal(size=(12, ndim))
        candidates *= RADIUS * rng.random((12, 1)) ** (1 / ndim) / np.linalg.norm(candidates, axis=1, keepdims=True)
        paired = k >= count - 2 * pairs
        if paired:
            candidates[:, 0] = np.maximum(np.abs(candidates[:, 0]), 0.12)
            candidates *= np.minimum(1, RADIUS / np.linalg.norm(candidates, axis=1, keepdims=True))
        elif ndim == 3:
            candidates[:, 0] *= 0.04  # the midline, not quite a plane
        distances = np.linalg.norm(candidates[:, None] - points[None], axis=2)
        best = candidates[np.argmax(distances.min(axis=1, initial=2.0))]
        points = np.vstack([points, best])
        if paired:
            twin = best * [-1, 1, 1] + rng.normal(scale=0.015, size=3)  # nobody is quite symmetric
            points = np.vstack([points, twin * min(1.0, RADIUS / np.linalg.norm(twin))])
    return points


def _draw_head(rng: np.random.Generator, grid: Grid, half: Floats) -> NDArray[np.float32]:
    """Outline, skull, overlapping soft organs, tubes and texture, (*grid.shape) float32."""
    d = grid.ndim
    u = grid.centers().astype(np.float32) / half.astype(np.float32)  # the box is -1 ... 1
    radius = np.linalg.norm(u, axis=-1)
    head = soft_step(0.86 - radius, 0.02)
    values = 0.05 + head * (0.25 + 0.12 * np.sqrt(np.clip(1 - radius**2, 0, 1)))
    values += 0.35 * np.exp(-0.5 * ((radius - 0.79) / 0.035) ** 2)
    for k in range(10 if d == 2 else 8):
        center = rng.uniform(-0.5, 0.5, size=d)
        radii = rng.uniform(0.15, 0.4, size=d)
        gain = rng.uniform(0.05, 0.09) * (-1) ** k
        inside = np.linalg.norm(((u - center) @ _rotation(rng, d) / radii).astype(np.float32), axis=-1)
        values += gain * soft_step(1 - inside, 0.08)
    if d == 3:  # only on the left, large enough to survive a coarse global view
        inside = np.linalg.norm((u - [0.42, -0.1, 0.15]) / [0.17, 0.3, 0.25], axis=-1)
        values += 0.22 * soft_step(1 - inside, 0.08)
    for gain in (0.15, 0.12, -0.1, 0.12):
        values += gain * _tube(rng, grid, half)
    for sigma, gain in ((0.012, 0.02), (0.035, 0.035)):
        values += gain * head * texture(rng, grid, sigma * 2 * float(half.min()))
    return values.astype(np.float32)


def _draw_markers(
    rng: np.random.Generator, values: NDArray[np.float32], grid: Grid, points: Floats, size: float
) -> None:
    """Adds to `values` a small shape at each of the first landmarks, that differs from its neighbours'.

    The second of a pair gets the mirror image of the first one's shape.
    """
    d = grid.ndim
    midline = len(points) - 2 * pair_count(len(points), d)
    crowding = min(1.0, (12 / min(len(points), MARKED)) ** (1 / (2 * d)))
    frame, kind, scale, gain = np.eye(d), 0, 0.0, 0.0
    for k, point in enumerate(points[:MARKED]):
        if k >= midline and (k - midline) % 2:
            frame = np.diag([-1.0] + [1.0] * (d - 1)) @ frame
        else:
            frame, kind = _rotation(rng, d), int(rng.integers(8)) if k >= 8 else k
            scale = size * crowding * rng.uniform(0.065, 0.09)
            gain = rng.uniform(0.38, 0.5)
        reach = np.ceil(4 * scale / np.asarray(grid.spacing)).astype(int)
        middle = np.round(grid.world_to_index(point)).astype(int)
        window = tuple(slice(max(m - r, 0), m + r + 1) for m, r in zip(middle, reach, strict=True))
        part = values[window]
        offsets = grid.crop([s.start for s in window], part.shape).centers() - point
        part += (gain * _marker(kind, offsets @ frame / scale)).astype(np.float32)


def _marker(kind: int, o: Floats) -> Floats:
    """The shape of a landmark (*spatial,) at offsets (*spatial, d) in units of its size; about -1 ... 1."""
    r = np.linalg.norm(o, axis=-1)
    near = np.exp(-0.5 * r**2)
    across = np.exp(-0.5 * (np.moveaxis(o, -1, 0)[1:] ** 2).sum(axis=0) / 0.5**2)
    match kind:
        case 0:  # bright blob
            return near
        case 1:  # dark blob
            return -near
        case 2:  # ring
            return np.exp(-0.5 * ((r - 1.5) / 0.45) ** 2)
        case 3:  # corner: bright on the positive side of every axis
            return np.prod(soft_step(o, 0.3), axis=-1) * np.exp(-0.5 * (r / 1.8) ** 2)
        case 4:  # bright half against dark half
            return np.tanh(o[..., 0] / 0.4) * np.exp(-0.5 * (r / 1.3) ** 2)
        case 5:  # bar
            return across * np.exp(-0.5 * (o[..., 0] / 1.5) ** 2)
        case 6:  # blob in a dark surround
            return 1.6 * near - 0.8 * np.exp(-0.5 * (r / 1.8) ** 2)
        case _:  # two blobs, the landmark between them
            ends = np.stack([o[..., 0] - 1.2, o[..., 0] + 1.2])
            return across * np.exp(-0.5 * (ends / 0.6) ** 2).sum(axis=0)


def _tube(rng: np.random.Generator, grid: Grid, half: Floats) -> NDArray[np.float32]:
    """A soft line along a random smooth curve, (*grid.shape), at most 1."""
    turns = rng.uniform(-1, 1, size=(3, grid.ndim)) / np.array([[1.0], [2.0], [3.0]])
    along = np.linspace(0, 1, 600)[:, None]
    phases = rng.uniform(0, 2 * np.pi, size=(3, grid.ndim))
    curve = sum(turns[j] * np.cos(np.pi * (j + 1) * along + phases[j]) for j in range(3))
    curve *= 0.6 / max(1e-6, float(np.linalg.norm(curve, axis=1).max()))
    line = np.zeros(grid.shape, dtype=np.float32)
    np.add.at(line, tuple(np.round(grid.world_to_index(curve * half)).astype(int).T), 1)
    line = smoothed(np.minimum(line, 1), rng.uniform(0.015, 0.03) * half.min() / grid.spacing[0])
    return line / line.max()


def texture(rng: np.random.Generator, grid: Grid, sigma_mm: float) -> NDArray[np.float32]:
    """Smooth noise of mean 0 and standard deviation 1, (*grid.shape)."""
    noise = smoothed(rng.standard_normal(grid.shape, dtype=np.float32), sigma_mm / grid.spacing[0])
    return (noise - noise.mean()) / noise.std()


def soft_step(distance: NDArray[np.floating], width: float) -> NDArray[np.floating]:
    """A smooth step: 0 far below zero, 1 far above."""
    return 0.5 * (1 + np.tanh(distance / width))


def _rotation(rng: np.random.Generator, d: int) -> Floats:
    """A random rotation (d, d)."""
    q, r = np.linalg.qr(rng.normal(size=(d, d)))
    q *= np.sign(np.diag(r))
    q[:, 0] *= np.sign(np.linalg.det(q))
    return q

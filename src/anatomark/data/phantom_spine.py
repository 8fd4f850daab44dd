"""Another anatomy behind the phantoms: a spine of vertebrae that all look alike.

A vertebra is known by its place in the row alone: between a round head and a broad pelvis at its ends. Grey values of
their own would tell the vertebrae apart from case to case, so the template has no texture; `phantom` gives each image
its own. As in `phantom_anatomy`, everything is drawn in template mm, centred on zero, in a box as large as the field of
view; the row runs along the last axis (y in 2D, seen from the side; z in 3D, +z being up).
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from anatomark.core.grid import Floats, Grid
from anatomark.data.phantom_anatomy import Anatomy, soft_step, template_grid, template_of, texture

PARTS = {  # of a vertebra: where its landmarks lie, in units of the distance to the next one
    2: {
        "front_upper": (-0.6, -0.32),
        "front_lower": (-0.6, 0.32),
        "back_upper": (0.6, -0.32),
        "back_lower": (0.6, 0.32),
        "process": (1.35, 0.15),
        "centre": (0.0, 0.0),
    },
    3: {
        "process": (0.0, 1.35, -0.15),
        "left": (1.1, 0.5, 0.0),
        "right": (-1.1, 0.5, 0.0),
        "front_upper": (0.0, -0.6, 0.32),
        "front_lower": (0.0, -0.6, -0.32),
        "centre": (0.0, 0.0, 0.0),
    },
}
REACH = 0.6  # the row ends at this part of the box, so that the drawn deformations keep it in view
GROWTH = 0.2  # how much larger the last vertebra is than the first
TEXTURES = ((0.012, 0.02), (0.05, 0.05))  # (sigma of the smoothing in parts of the box, strength) in each image


def vertebra_names(vertebrae: int, landmarks: int, ndim: int) -> tuple[str, ...]:
    """The landmark names (N,), vertebra by vertebra: v01_front_upper ..."""
    width = max(2, len(str(vertebrae)))
    parts = list(PARTS[ndim])[: landmarks // vertebrae]
    return tuple(f"v{k:0{width}d}_{part}" for k in range(1, vertebrae + 1) for part in parts)


@lru_cache(maxsize=4)
def draw_spine(seed: int, box: tuple[float, ...], vertebrae: int, landmarks: int, samples: int) -> Anatomy:
    """The spine of `seed` in a field of view of `box` (d,) mm, with as many landmarks on each vertebra, kept.

    `samples` is the number of template elements along the longest side of the box.
    """
    rng = np.random.default_rng((seed, 0))
    half = np.asarray(box) / 2
    grid, ndim = template_grid(box, samples), len(box)
    parts = np.array(list(PARTS[ndim].values()))
    centers, sizes = _row(rng, half, vertebrae)
    values = _surroundings(grid, half)
    for center, size in zip(centers, sizes, strict=True):
        reach = np.ceil(2.2 * size / np.asarray(grid.spacing)).astype(int)
        middle = np.round(grid.world_to_index(center)).astype(int)
        window = tuple(slice(max(m - r, 0), m + r + 1) for m, r in zip(middle, reach, strict=True))
        part = values[window]
        offsets = (grid.crop([s.start for s in window], part.shape).centers() - center) / size
        np.maximum(part, _vertebra(offsets, parts), out=part)
    chosen = parts[: landmarks // vertebrae]
    points = (centers[:, None] + sizes[:, None, None] * chosen[None]).reshape(-1, ndim)
    return template_of(values, grid, points)


def own_texture(rng: np.random.Generator, grid: Grid) -> NDArray[np.float32]:
    """What one image adds to the grey values of the spine, (*grid.shape): no two images have the same."""
    extent = float(min(n * s for n, s in zip(grid.shape[::-1], grid.spacing, strict=True)))
    added = np.zeros(grid.shape, dtype=np.float32)
    for part, strength in TEXTURES:
        added += strength * texture(rng, grid, part * extent)
    return added


def _row(rng: np.random.Generator, half: Floats, vertebrae: int) -> tuple[Floats, Floats]:
    """Centres (K, d) of the vertebrae, in a gently bent row from the head down, and their sizes (K,)."""
    place = (np.arange(vertebrae) + 0.5) / vertebrae * 2 - 1  # -1 ... 1, the head first
    bend = rng.uniform(0.04, 0.09) * rng.choice([-1, 1]) * np.sin(np.pi * place)
    centers = np.zeros((vertebrae, len(half)))
    centers[:, -1] = place * REACH * half[-1] * (1 if len(half) == 2 else -1)  # y runs down, z up
    centers[:, -2] = (bend - 0.1) * half[-2]  # from the front to the back: x in 2D, y in 3D
    pitch = 2 * REACH * half[-1] / vertebrae
    return centers, pitch * (1 - GROWTH / 2 + GROWTH * np.linspace(0, 1, vertebrae))


def _surroundings(grid: Grid, half: Floats) -> NDArray[np.float32]:
    """The body, with the head at one end of the row and the pelvis at the other, (*grid.shape)."""
    u = (grid.centers() / half).astype(np.float32)
    down = u[..., -1] if grid.ndim == 2 else -u[..., -1]
    across = np.linalg.norm(u[..., :-1], axis=-1)
    values = 0.05 + 0.25 * soft_step(0.75 - across, 0.03)
    head = np.sqrt(across**2 + (down + 0.92) ** 2)
    values += 0.3 * soft_step(0.3 - head, 0.02) + 0.2 * np.exp(-0.5 * ((head - 0.28) / 0.025) ** 2)
    values += 0.3 * soft_step(0.14 - np.abs(down - 0.84), 0.02) * soft_step(0.6 - across, 0.03)
    return values.astype(np.float32)


def _vertebra(offsets: Floats, parts: Floats) -> NDArray[np.float32]:
    """Grey values (*spatial,) of a vertebra at `offsets` (*spatial, d) from its centre, in units of its size."""
    two = offsets.shape[-1] == 2
    limits = np.array([0.6, 0.32]) if two else np.array([0.7, 0.6, 0.32])
    body = soft_step((limits - np.abs(offsets)).min(axis=-1), 0.05)
    tips = parts[[4]] if two else parts[:3]
    bars = [soft_step(0.17 - _from_line(offsets, tip), 0.05) for tip in tips]
    return (0.3 + 0.5 * np.max([body, *bars], axis=0)).astype(np.float32) * (np.max([body, *bars], axis=0) > 0.1)


def _from_line(offsets: Floats, tip: Floats) -> Floats:
    """Distances (*spatial,) from the line between the centre and `tip`."""
    along = np.clip(offsets @ tip / (tip @ tip), 0, 1)
    return np.linalg.norm(offsets - along[..., None] * tip, axis=-1)

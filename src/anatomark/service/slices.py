"""A volume of one slice, as 3D Slicer stores a picture, as input of a 2D model; its points return to the 3D world."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from anatomark.core.grid import Floats, Grid, Unit
from anatomark.core.image import Image
from anatomark.core.landmarks import Landmarks


def as_picture(
    image: Image, unit: Unit, spacing: Sequence[float] | None
) -> tuple[Image, Callable[[Landmarks], Landmarks]] | None:
    """The 2D image of a one-slice volume, and the map of its landmarks back into the 3D world; None for other volumes.

    The picture has its first pixel at 0 and identity direction, as a PNG file has. Slicer states a spacing for every
    picture, 1 mm if it is unknown: so `spacing` (x, y, mm) comes before it, and a model that works in px (`unit`)
    gets px.
    """
    grid = image.grid
    if grid.ndim != 3 or grid.unit != "mm" or sum(n > 1 for n in grid.shape) != 2:
        return None
    across = grid.shape.index(1)
    kept = [axis for axis in range(3) if axis != across]
    shape = tuple(grid.shape[axis] for axis in kept)
    if spacing is not None and len(spacing) != 2:
        return None
    steps = spacing or ((1.0, 1.0) if unit == "px" else (grid.spacing[kept[1]], grid.spacing[kept[0]]))
    flat = Grid.from_geometry(shape, spacing=steps, unit="px" if unit == "px" and spacing is None else "mm")

    def back(landmarks: Landmarks) -> Landmarks:
        index: Floats = np.zeros((len(landmarks), 3))
        index[:, kept] = flat.world_to_index(landmarks.points)
        return Landmarks(landmarks.names, grid.index_to_world(index), landmarks.states, "mm")

    return Image(image.array.reshape(shape), flat), back

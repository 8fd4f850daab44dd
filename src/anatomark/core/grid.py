"""The Grid: where the elements of a spatial array lie in the world.

Every crop, pad, resampling and stride-8 feature map is another Grid, so no other code keeps strides,
scales, paddings or original sizes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

Unit = Literal["mm", "px"]
Floats = NDArray[np.float64]


def transform_points(affine: Floats, points: ArrayLike) -> Floats:
    """Points (..., d) after an affine map (d+1, d+1)."""
    return np.asarray(points, dtype=np.float64) @ affine[:-1, :-1].T + affine[:-1, -1]


def nearest_orthogonal(matrix: Floats) -> Floats:
    """The orthogonal matrix (d, d) nearest to `matrix`, by polar decomposition: its rotation, or reflection."""
    from scipy.linalg import polar

    return cast("Floats", polar(matrix)[0])


@dataclass(frozen=True, eq=False)
class Grid:
    """Shape and affine of a 2D or 3D array: where its elements lie in the world.

    Element centres lie at whole indices. A Grid never changes; its methods give other Grids.

    Attributes:
        shape: of the array: (rows, columns) in 2D, (slices, rows, columns) in 3D.
        affine: (d+1, d+1), maps an index, in array-axis order, to the world: LPS mm, ordered x, y[, z].
        unit: "px" where the spacing is unknown; world coordinates are then pixels, and nothing may call them mm.

    Examples:
        >>> grid = anatomark.Grid.from_geometry((64, 48), spacing=(0.5, 0.25))  # spacing along x, y
        >>> grid.index_to_world([2, 4])  # row, column -> x, y
        array([2. , 0.5])
    """

    shape: tuple[int, ...]
    affine: Floats
    unit: Unit = "mm"

    def __post_init__(self) -> None:
        shape = tuple(int(n) for n in self.shape)
        affine = np.array(self.affine, dtype=np.float64) + 0.0  # no -0.0: equal Grids need equal hashes
        d = len(shape)
        if d not in (2, 3) or min(shape) < 1:
            raise ValueError(f"a Grid has 2 or 3 axes of at least one element, got shape {shape}")
        if affine.shape != (d + 1, d + 1) or not np.isfinite(affine).all():
            raise ValueError(f"a {d}D Grid needs a finite {d + 1}x{d + 1} affine, got {affine.tolist()}")
        lengths = np.linalg.norm(affine[:d, :d], axis=0)
        if not lengths.all() or abs(np.linalg.det(affine[:d, :d] / lengths)) < 1e-9:
            raise ValueError(f"the affine of a Grid must be invertible, got {affine.tolist()}")
        if self.unit not in ("mm", "px"):
            raise ValueError(f"the unit of a Grid is mm or px, got {self.unit!r}")
        affine.setflags(write=False)
        object.__setattr__(self, "shape", shape)
        object.__setattr__(self, "affine", affine)

    @classmethod
    def from_geometry(
        cls,
        shape: Sequence[int],
        *,
        spacing: Sequence[float],
        origin: Sequence[float] | None = None,
        direction: ArrayLike | None = None,
        unit: Unit = "mm",
    ) -> Grid:
        """A Grid from the terms of an ITK image.

        `shape` is in array order; `spacing`, `origin` (d,) and `direction` (d, d) are in ITK's order
        x, y[, z], the columns of `direction` being the world directions of ITK's axes.
        """
        d = len(shape)
        axes = np.eye(d) if direction is None else np.asarray(direction, dtype=float).reshape(d, d)
        affine = np.eye(d + 1)
        affine[:d, :d] = (axes * np.asarray(spacing, dtype=float))[:, ::-1]
        affine[:d, d] = 0.0 if origin is None else origin
        return cls(tuple(shape), affine, unit)

    @classmethod
    def without_spacing(cls, shape: Sequence[int]) -> Grid:
        """The Grid in px of an array whose spacing is unknown: origin zero, straight axes."""
        return cls.from_geometry(shape, spacing=(1.0,) * len(shape), unit="px")

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @cached_property
    def spacing(self) -> tuple[float, ...]:
        """Distance between neighbours along each array axis (d,), in `unit`, array-axis order."""
        return tuple(float(s) for s in np.linalg.norm(self.affine[:-1, :-1], axis=0))

    @cached_property
    def direction(self) -> Floats:
        """(d, d): column k is the world direction of array axis k."""
        direction = np.asarray(self.affine[:-1, :-1] / np.asarray(self.spacing), dtype=np.float64)
        direction.setflags(write=False)
        return direction

    @property
    def origin(self) -> Floats:
        """World position (d,) of the element with index zero."""
        return self.affine[:-1, -1]

    @property
    def extent(self) -> tuple[float, ...]:
        """Length of the array along each array axis, element borders included, in `unit`."""
        return tuple(n * s for n, s in zip(self.shape, self.spacing, strict=True))

    @cached_property
    def center(self) -> Floats:
        """World position (d,) of the middle of the array."""
        center = self.index_to_world((np.asarray(self.shape) - 1) / 2)
        center.setflags(write=False)
        return center

    @cached_property
    def _inverse(self) -> Floats:
        return np.asarray(np.linalg.inv(self.affine), dtype=np.float64)

    def index_to_world(self, points_index: ArrayLike) -> Floats:
        """World points (..., d) of indices (..., d) in array-axis order; fractions are allowed."""
        return transform_points(self.affine, points_index)

    def world_to_index(self, points_world: ArrayLike) -> Floats:
        """Indices (..., d) in array-axis order of world points (..., d); not rounded."""
        return transform_points(self._inverse, points_world)

    def contains(self, points_world: ArrayLike) -> NDArray[np.bool_]:
        """(...,) whether points (..., d) lie inside the array, its outer borders included; NaN does not."""
        index = self.world_to_index(points_world)
        with np.errstate(invalid="ignore"):
            return np.all((index >= -0.5) & (index <= np.asarray(self.shape) - 0.5), axis=-1)

    def crop(self, start: Sequence[int], shape: Sequence[int]) -> Grid:
        """The Grid of `array[start : start + shape]`; a negative start or an end past the array is a pad."""
        affine = self.affine.copy()
        affine[:-1, -1] = self.index_to_world(np.asarray(start, dtype=float))
        return Grid(tuple(shape), affine, self.unit)

    def strided(self, stride: int | Sequence[int]) -> Grid:
        """The Grid of patch centres: patches of `stride` elements tile the array from index 0; rests drop.

        Patch k covers the elements k*stride ... (k+1)*stride - 1, and its centre lies in their middle. This
        is also the Grid of an average pooling by `stride`.
        """
        steps = np.broadcast_to(np.asarray(stride, dtype=int), (self.ndim,))
        affine = self.affine.copy()
        affine[:-1, :-1] *= steps
        affine[:-1, -1] = self.index_to_world((steps - 1) / 2)
        return Grid(tuple(int(n) for n in np.asarray(self.shape) // steps), affine, self.unit)

    def respaced(self, spacing: ArrayLike) -> Grid:
        """The Grid over the same extent with another spacing, array-axis order.

        Its outer border agrees with this Grid's at index zero; the far border may reach up to half an element
        farther or less.
        """
        wanted = np.broadcast_to(np.asarray(spacing, dtype=float), (self.ndim,))
        shape = np.maximum(1, np.round(np.asarray(self.extent) / wanted)).astype(int)
        scale = wanted / np.asarray(self.spacing)
        affine = self.affine.copy()
        affine[:-1, :-1] *= scale
        affine[:-1, -1] = self.index_to_world(0.5 * scale - 0.5)
        return Grid(tuple(int(n) for n in shape), affine, self.unit)

    def enclosing(self, direction: ArrayLike, spacing: ArrayLike) -> Grid:
        """The Grid along other axes that just covers this one, with the same middle.

        The columns of `direction` (d, d) are the world directions of its array axes, at right angles; `spacing` (d,)
        goes along them.
        """
        axes, steps = np.asarray(direction, dtype=float), np.broadcast_to(np.asarray(spacing, dtype=float), self.ndim)
        ends = [(-0.5, n - 0.5) for n in self.shape]
        corners = np.stack(np.meshgrid(*ends, indexing="ij"), axis=-1).reshape(-1, self.ndim)
        along = (self.index_to_world(corners) - self.center) @ axes
        shape = np.maximum(1, np.ceil(np.ptp(along, axis=0) / steps - 1e-3)).astype(int)
        affine = np.eye(self.ndim + 1)
        affine[:-1, :-1] = axes * steps
        affine[:-1, -1] = self.center - affine[:-1, :-1] @ ((shape - 1) / 2)
        return Grid(tuple(int(n) for n in shape), affine, self.unit)

    def canonical_axes(self) -> tuple[tuple[int, ...], tuple[bool, ...]]:
        """(order, flipped): the transposition and flips that bring array axes nearest to z, y, x increasing.

        Apply as `array.transpose(order)`, then flip each axis whose entry in `flipped` is true.
        """
        d = self.ndim
        strength = np.abs(self.direction)  # world axis by array axis
        order = [-1] * d
        rows, columns = set(range(d)), set(range(d))
        for _ in range(d):  # the clearest pair first, so that every world axis gets its own array axis
            pairs = ((r, c) for r in rows for c in columns)
            row, column = max(pairs, key=lambda rc: (round(strength[rc], 9), -rc[0], rc[1]))
            order[d - 1 - row] = column
            rows.remove(row)
            columns.remove(column)
        flipped = tuple(bool(self.direction[d - 1 - k, order[k]] < 0) for k in range(d))
        return tuple(order), flipped

    def canonical(self) -> Grid:
        """The same elements with array axes nearest to z, y, x increasing (see `canonical_axes`)."""
        order, flipped = self.canonical_axes()
        shape = tuple(self.shape[k] for k in order)
        affine = self.affine[:, [*order, self.ndim]].copy()
        for axis, flip in enumerate(flipped):
            if flip:
                affine[:, -1] += affine[:, axis] * (shape[axis] - 1)
                affine[:, axis] *= -1
        return Grid(shape, affine, self.unit)

    def centers(self) -> Floats:
        """World positions (*shape, d) of all elements."""
        index = np.stack(np.meshgrid(*(np.arange(n) for n in self.shape), indexing="ij"), axis=-1)
        return self.index_to_world(index)

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready description; `from_dict` gives an equal Grid."""
        return {"shape": list(self.shape), "affine": self.affine.tolist(), "unit": self.unit}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Grid:
        return cls(tuple(data["shape"]), np.asarray(data["affine"]), data["unit"])

    def same_as(self, other: Grid, tolerance: float = 1e-6) -> bool:
        """Whether both have the same shape and unit, and affines that agree within `tolerance`."""
        return (
            self.shape == other.shape
            and self.unit == other.unit
            and bool(np.allclose(self.affine, other.affine, rtol=0, atol=tolerance))
        )

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Grid) and self.same_as(other, 0.0)

    def __hash__(self) -> int:
        return hash((self.shape, self.unit, self.affine.tobytes()))

"""The LandmarkTable: placements of many images, a row for each image, landmark and observer."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anatomark.core.grid import Floats, Unit
from anatomark.core.landmarks import State
from anatomark.formats.frames import Frame

Texts = NDArray[Any]
"""Text a row: of strings, or of objects that are strings, of which rows with the same text share one."""


@dataclass(frozen=True, eq=False)
class LandmarkTable:
    """R placements. `coordinates` (R, d) in `frame` and `unit`, x, y[, z], NaN where there are none.

    `image`, `landmark`, `observer` (R,) are text ("" where the file has none), `states` (R,) is `State`,
    `presence` (R,) a probability and `spread` (R,) a length in `unit`, NaN where the file has none. `bound` (R,) is a
    length in `unit` that the error stays below (`methods.error_bound`), NaN where it was withheld, infinite in an image
    that is unsuitable for the model, None where the table has no such column. `changed` (R,) is the text of a time,
    None where the table has no such column. `line` (R,) is where each row begins in the one file that all come from,
    counted from 1, None where rows are not lines of a file. Arrays are read-only.
    """

    image: Texts
    landmark: Texts
    coordinates: Floats
    states: NDArray[np.uint8]
    observer: Texts
    frame: Frame
    unit: Unit
    presence: Floats
    spread: Floats
    bound: Floats | None = None
    changed: Texts | None = None
    line: NDArray[np.int64] | None = None

    def __post_init__(self) -> None:
        rows = len(self.image)
        for field in fields(self):
            value: NDArray[Any] | str | None = getattr(self, field.name)
            if isinstance(value, np.ndarray):
                if len(value) != rows:
                    raise ValueError(f"{field.name} has {len(value)} rows, image has {rows}; they must agree")
                value = value.view()
                value.setflags(write=False)
                object.__setattr__(self, field.name, value)
        if self.coordinates.ndim != 2 or self.coordinates.shape[1] not in (2, 3):
            raise ValueError(f"coordinates must be (R, 2 or 3), got {self.coordinates.shape}")
        if self.frame == "pixel" and self.unit != "px":
            raise ValueError(f"pixel coordinates are in px, got {self.unit}")

    def __len__(self) -> int:
        return len(self.image)

    @property
    def ndim(self) -> int:
        return self.coordinates.shape[1]

    @classmethod
    def from_rows(
        cls,
        rows: Iterable[tuple[str, str, Sequence[float]]],
        *,
        frame: Frame = "LPS",
        unit: Unit = "mm",
        ndim: int,
    ) -> LandmarkTable:
        """A table of (image, landmark, coordinates); NaN coordinates are not annotated."""
        listed = list(rows)
        coordinates = np.array([c for _, _, c in listed], dtype=float).reshape(len(listed), ndim)
        present = np.isfinite(coordinates).all(axis=1)
        none = np.broadcast_to(np.nan, len(listed))
        return cls(
            np.array([i for i, _, _ in listed], dtype=str),
            np.array([n for _, n, _ in listed], dtype=str),
            coordinates,
            np.where(present, State.PRESENT, State.NOT_ANNOTATED).astype(np.uint8),
            np.full(len(listed), "", dtype=str),
            frame,
            unit,
            none,
            none,
        )

    def rows(self, chosen: NDArray[np.bool_] | NDArray[np.intp]) -> LandmarkTable:
        """The chosen rows (mask or indices)."""
        arrays = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in ("frame", "unit")}
        return replace(self, **{name: array[chosen] for name, array in arrays.items() if array is not None})


def codes_of(values: Texts) -> tuple[list[str], NDArray[np.int32]]:
    """(distinct texts in order of appearance, the number of each row's); a dict, for sorting millions takes long."""
    at: dict[str, int] = {}
    numbers = (at.setdefault(value, len(at)) for value in values.tolist())
    codes = np.fromiter(numbers, dtype=np.int32, count=len(values))
    return list(at), codes


def join_tables(tables: Sequence[LandmarkTable]) -> LandmarkTable:
    """The rows of all `tables`, which have one frame, unit and dimension, and bounds and times all or none."""
    first = replace(tables[0], line=None)
    kinds = {(t.frame, t.unit, t.ndim, t.bound is None, t.changed is None) for t in tables}
    if len(kinds) > 1:
        raise ValueError(f"tables of several kinds cannot be joined: {kinds}")
    arrays = [field.name for field in fields(first) if isinstance(getattr(first, field.name), np.ndarray)]
    return replace(first, **{name: np.concatenate([getattr(t, name) for t in tables]) for name in arrays})

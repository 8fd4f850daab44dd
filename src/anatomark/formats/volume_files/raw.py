"""Numbers that stand in a file as in memory, compressed or not; of a stack also one page without the others."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anatomark.formats.volume_files.packed import Packing, read_bytes


@dataclass(frozen=True)
class RawStack:
    """Numbers of `shape` ([pages,] rows, columns), `components` side by side, from byte `start` of a file on."""

    path: Path
    start: int
    packing: Packing
    dtype: np.dtype
    shape: tuple[int, ...]
    components: int = 1

    def whole(self) -> NDArray[Any]:
        """(*shape[, components]) all numbers. Raises `ImageError` for a file cut short."""
        return self._values(self.shape, 0, page=False)

    def page(self, number: int) -> NDArray[Any]:
        """(1, rows, columns[, components]) of a page, counted from 1. Raises `ImageError` for a file cut short."""
        return self._values((1, *self.shape[1:]), number - 1, page=True)

    def _values(self, shape: tuple[int, ...], before: int, *, page: bool) -> NDArray[Any]:
        shape = (*shape, *([self.components] if self.components > 1 else []))
        size = math.prod(shape) * self.dtype.itemsize
        values = read_bytes(self.path, before * size, size, packing=self.packing, stream=self.start, page=page)
        return values.view(self.dtype).reshape(shape).astype(self.dtype.newbyteorder("="), copy=False)

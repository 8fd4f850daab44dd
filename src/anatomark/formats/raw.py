"""One page of a stack whose numbers stand in a file as in memory, compressed or not, without the other pages."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anatomark.formats.packed import Packing, read_bytes


@dataclass(frozen=True)
class RawStack:
    """Numbers of shape (pages, rows, columns), `components` side by side, from byte `start` of a file on."""

    path: Path
    start: int
    packing: Packing
    dtype: np.dtype
    shape: tuple[int, int, int]
    components: int = 1

    def page(self, number: int) -> NDArray[Any]:
        """(1, rows, columns[, components]) of a page, counted from 1. Raises `ImageError` for a file cut short."""
        shape = (1, *self.shape[1:], *([self.components] if self.components > 1 else []))
        size = math.prod(shape) * self.dtype.itemsize
        first = (number - 1) * size
        values = read_bytes(self.path, first, size, packing=self.packing, stream=self.start, page=True)
        return values.view(self.dtype).reshape(shape).astype(self.dtype.newbyteorder("="), copy=False)

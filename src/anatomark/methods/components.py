"""How shapes vary: probabilistic principal components.

Tipping and Bishop, J. R. Stat. Soc. B 61(3):611-622, 1999, doi:10.1111/1467-9868.00196. They take partly annotated
shapes and need few cases.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from anatomark.core.grid import Floats

COMPONENTS = 15  # at most


@dataclass(frozen=True, eq=False)
class Components:
    """Shapes of N points in d dimensions: their `mean` (N, d), `axes` (K, N * d) each as long as the standard deviation
    along it, and the variance `noise` of a coordinate that they leave, errors of prediction included."""

    mean: Floats
    axes: Floats
    noise: float

    @classmethod
    def fitted(cls, shapes: Floats, error: float = 0.0, *, rounds: int = 3) -> Components:
        """From aligned `shapes` (M, N, d), NaN where a point is not known; `error` is the variance of a predicted
        coordinate. Unknown points are filled in by what the others say of them, in a few rounds."""
        known = np.isfinite(shapes)
        filled = np.where(known, shapes, _column_means(shapes))
        components = cls._of_whole(filled, error)
        for _ in range(0 if known.all() else rounds):
            filled = np.where(known, shapes, components.expected(shapes)[0])
            components = cls._of_whole(filled, error)
        return components

    @classmethod
    def _of_whole(cls, shapes: Floats, error: float) -> Components:
        count, size = len(shapes), shapes[0].size
        mean = shapes.mean(axis=0)
        _, s, vt = np.linalg.svd((shapes - mean).reshape(count, size), full_matrices=False)
        variance = s**2 / max(1, count - 1)
        k = min(COMPONENTS, max(1, count // 3), size - 1, len(s))
        left = float(variance[k:].sum()) / max(1, size - k)
        axes = vt[:k] * np.sqrt(np.maximum(variance[:k] - left, 0.0))[:, None]
        return cls(mean, axes, left + error + 1e-12)

    def distances(self, shapes: Floats) -> Floats:
        """(M,) root mean squared Mahalanobis distance a known coordinate, of aligned `shapes` (M, N, d)."""
        found = np.full(len(shapes), np.nan)
        for row, flat in enumerate((shapes - self.mean).reshape(len(shapes), -1)):
            known = np.isfinite(flat)
            if known.any():
                along, weights = self._projected(flat, known)
                rest = float(flat[known] @ flat[known] - along @ weights)
                found[row] = math.sqrt(max(0.0, rest) / (self.noise * known.sum()))
        return found

    def expected(self, shapes: Floats) -> tuple[Floats, Floats]:
        """The whole shapes (M, N, d) that the known points of `shapes` let expect, and their weights (M, K), in
        standard deviations along the axes."""
        whole, weights = np.empty(shapes.shape), np.empty((len(shapes), len(self.axes)))
        for row, flat in enumerate((shapes - self.mean).reshape(len(shapes), -1)):
            _, weights[row] = self._projected(flat, np.isfinite(flat))
            whole[row] = self.mean + (weights[row] @ self.axes).reshape(self.mean.shape)
        return whole, weights

    def _projected(self, flat: Floats, known: NDArray[np.bool_]) -> tuple[Floats, Floats]:
        """(K,) the known coordinates along the axes, and the weights of the axes that are most probable by them."""
        axes = self.axes[:, known]
        along = axes @ flat[known]
        weights = np.linalg.solve(axes @ axes.T + self.noise * np.eye(len(axes)), along)
        return along, np.asarray(weights, dtype=np.float64)


def _column_means(shapes: Floats) -> Floats:
    known = np.isfinite(shapes)
    return np.where(known, shapes, 0.0).sum(axis=0) / np.maximum(known.sum(axis=0), 1)

"""Robust shapes: similarity alignment that outliers do not pull, and the typical shape of many cases.

Least squares similarity after Umeyama 1991 (doi:10.1109/34.88573), reweighted after Huber, so
that a far point pulls no more than a near one.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass

import numpy as np

from anatomark.core.grid import Floats

MOST_CASES = 400
"""A typical shape needs no more cases than this; thousands would only cost time."""
MOST_TURNED = 200


@dataclass(frozen=True)
class Fit:
    """A shape laid onto M cases: `points` (M, N, d) and `residuals` (M, N), NaN where there is none.

    point of case = scale * rotation @ point of shape + offset, with `scales` (M,), `rotations` (M, d, d) and
    `offsets` (M, d); scales are NaN where a case has too few points to be aligned.
    """

    points: Floats
    residuals: Floats
    scales: Floats
    rotations: Floats
    offsets: Floats

    @property
    def costs(self) -> Floats:
        """(M,) mean residual of each case, NaN for a case that was not aligned."""
        count = np.isfinite(self.residuals).sum(axis=1)
        return np.where(count > 0, np.nansum(self.residuals, axis=1) / np.maximum(count, 1), np.nan)


def align_shape(shape: Floats, cases: Floats, *, rounds: int = 12) -> Fit:
    """`shape` (N, d) moved, turned and scaled, never reflected, onto each of `cases` (M, N, d).

    NaN marks points that are missing in either. Cases that share fewer than d + 2 points with `shape` are not
    aligned: with fewer, nearly any point would fit.
    """
    d = shape.shape[1]
    known = np.asarray(np.isfinite(shape).all(axis=1))
    there = np.isfinite(cases).all(axis=2) & known
    too_few = there.sum(axis=1) < d + 2
    source = np.where(known[:, None], shape, 0.0)
    target = np.where(there[..., None], cases, 0.0)
    tiny = 1e-9 * (1 + np.abs(target).max(initial=0.0))
    weights = there.astype(float)
    fit = similarity(source, target, weights)
    for _ in range(rounds):
        residuals = np.linalg.norm(target - fit.points, axis=2)
        middle, _ = median_and_mad(np.where(there, residuals, np.nan), axis=1)
        # Huber's weights: full up to twice the median residual, then falling as one over the residual
        least = 2.0 * np.nan_to_num(middle)[:, None] + tiny
        weights = there / np.maximum(residuals, least)
        fit = similarity(source, target, weights)
    residuals = np.linalg.norm(target - fit.points, axis=2)
    return Fit(
        points=np.where(too_few[:, None, None] | ~known[:, None], np.nan, fit.points),
        residuals=np.where(~there | too_few[:, None], np.nan, residuals),
        scales=np.where(too_few, np.nan, fit.scales),
        rotations=fit.rotations,
        offsets=fit.offsets,
    )


def typical_shape(cases: Floats, *, rounds: int = 4, starts: int = 5) -> Floats:
    """(N, d) median of the aligned `cases` (M, N, d), in the size of a typical case; NaN where unknown.

    Starts from several of the most complete cases and keeps the best result, so a broken case does no harm.
    """
    if len(cases) > MOST_CASES:
        cases = cases[np.linspace(0, len(cases) - 1, MOST_CASES).astype(int)]
    complete = np.argsort(-np.isfinite(cases).all(axis=2).sum(axis=1), kind="stable")
    candidates = complete[np.unique(np.linspace(0, len(cases) // 2, starts).astype(int))]
    best, best_cost = np.full(cases.shape[1:], np.nan), np.inf
    for start in candidates:
        shape = cases[start]
        for _ in range(rounds):
            shape = _median_of_aligned(shape, cases)
        if not np.isfinite(shape).any():
            continue
        costs = align_shape(shape, cases).costs
        cost = float(np.nanmedian(costs)) if np.isfinite(costs).any() else np.inf
        if cost < best_cost:
            best, best_cost = shape, cost
    scales = align_shape(best, cases).scales
    return best * np.nanmedian(scales) if np.isfinite(scales).any() else best


def radius(shape: Floats) -> float:
    """Root mean square distance of the points (N, d) from their centroid; NaN without points."""
    there = shape[np.isfinite(shape).all(axis=1)]
    return float(np.sqrt(((there - there.mean(axis=0)) ** 2).sum(axis=1).mean())) if len(there) else np.nan


def mean_rotation(rotations: Floats) -> Floats:
    """(d, d) the rotation nearest to the mean of `rotations` (M, d, d)."""
    u, _, vt = np.linalg.svd(rotations.sum(axis=0))
    if np.linalg.det(u @ vt) < 0:
        u[:, -1] *= -1
    return u @ vt


def angles(turn: Floats, rotations: Floats) -> Floats:
    """(M,) angles in radians between `turn` (d, d) and each of `rotations` (M, d, d)."""
    d = len(turn)
    trace = np.einsum("ij,mij->m", turn, rotations)
    return np.arccos(np.clip((trace - (d - 2)) / 2, -1.0, 1.0))


def usual_turn(cases: Floats) -> float:
    """The angle in degrees by which all but a twentieth of `cases` (M, N, d) are turned at most, against their mean.

    0 where too few points are known to tell. Some hundred cases and landmarks, evenly chosen, are enough.
    """
    cases = cases[:: math.ceil(len(cases) / MOST_TURNED)][:, :: math.ceil(cases.shape[1] / MOST_TURNED)]
    fit = align_shape(typical_shape(cases), cases)
    rotations = fit.rotations[np.isfinite(fit.scales)]
    if not len(rotations):
        return 0.0
    return float(np.degrees(np.quantile(angles(mean_rotation(rotations), rotations), 0.95)))


def median_and_mad(values: Floats, axis: int = 0) -> tuple[Floats, Floats]:
    """(median, 1.4826 * median absolute deviation) along `axis`, NaN left out; NaN where nothing is there."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # nothing there is a plain NaN here
        middle = np.nanmedian(values, axis=axis)
        deviation = np.nanmedian(np.abs(values - np.expand_dims(middle, axis)), axis=axis)
    return middle, 1.4826 * deviation


def similarity(source: Floats, target: Floats, weights: Floats) -> Fit:
    """Weighted least squares of `source` (N, d), or (M, N, d), onto `target` (M, N, d) with `weights` (M, N), by SVD.

    There are no residuals in the Fit.
    """
    source = np.broadcast_to(source, target.shape)
    total = np.maximum(weights.sum(axis=1), 1e-300)
    source_mean = np.einsum("mn,mnd->md", weights, source) / total[:, None]
    target_mean = np.einsum("mn,mnd->md", weights, target) / total[:, None]
    a, b = source - source_mean[:, None], target - target_mean[:, None]
    covariance = (weights[..., None] * b).transpose(0, 2, 1) @ a / total[:, None, None]
    u, s, vt = np.linalg.svd(covariance)
    signs = np.ones_like(s)
    signs[:, -1] = np.where(np.linalg.det(u) * np.linalg.det(vt) < 0, -1.0, 1.0)
    rotations = (u * signs[:, None]) @ vt
    variance = (weights * (a**2).sum(axis=2)).sum(axis=1) / total
    scales = np.maximum((s * signs).sum(axis=1), 1e-300) / np.maximum(variance, 1e-300)
    offsets = target_mean - scales[:, None] * np.einsum("mij,mj->mi", rotations, source_mean)
    points = scales[:, None, None] * (source @ rotations.transpose(0, 2, 1)) + offsets[:, None]
    return Fit(points, np.empty(0), scales, rotations, offsets)


def _median_of_aligned(shape: Floats, cases: Floats) -> Floats:
    """(N, d) median of the cases brought into the frame of `shape`, centred, with radius 1."""
    fit = align_shape(shape, cases)
    moved = (cases - fit.offsets[:, None]) @ fit.rotations / fit.scales[:, None, None]
    middle, _ = median_and_mad(moved)
    there = middle[np.isfinite(middle).all(axis=1)]
    size = radius(middle)
    return (middle - there.mean(axis=0)) / size if len(there) > 1 and size > 0 else np.full_like(shape, np.nan)

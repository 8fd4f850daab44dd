"""Bootstrap intervals, resampled by subject: cases of one person stay together, as they do in splits.

A resample is how often each subject was drawn, a vector of whole numbers. Means, rates and biases of all resamples and
landmarks are then products of matrices, and medians are weighted order statistics, found exactly without repeating a
row. Intervals are percentile intervals (Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from anatomark.core.grid import Floats
from anatomark.errors import SettingsError
from anatomark.evaluation.result import Result

SAMPLES = 2000
Weights = NDArray[np.unsignedinteger]  # of the smallest type that holds them
_CHUNK = 1 << 22  # weights that are drawn at once
_KEPT = 1 << 28  # up to so many weights are kept: 256 MiB, of a byte each
_BLOCK = 4096  # sorted values are first summed in blocks, at most so many


@dataclass(frozen=True)
class BootstrapSettings(Result):
    """How intervals were made: the number of resamples, their seed, and the level (0 to 1)."""

    samples: int
    seed: int
    level: float


@dataclass(frozen=True, eq=False)
class Bootstrap:
    """`samples` resamples of the distinct `subjects`, drawn from `seed`; `level` is that of the intervals.

    The same resamples serve every statistic, so that differences of them are paired.
    """

    subjects: tuple[str, ...]
    samples: int = SAMPLES
    seed: int = 0
    level: float = 0.95

    @property
    def possible(self) -> bool:
        """Whether there is anything to resample: at least two subjects, and any resamples."""
        return len(self.subjects) > 1 and self.samples > 0

    @property
    def settings(self) -> BootstrapSettings:
        """What a document says of the intervals."""
        return BootstrapSettings(self.samples, self.seed, self.level)

    @cached_property
    def _at(self) -> dict[str, int]:
        return {subject: k for k, subject in enumerate(self.subjects)}

    def index(self, subjects: Sequence[str]) -> NDArray[np.intp]:
        """(M,) number of each row's subject."""
        return np.fromiter((self._at[s] for s in subjects), dtype=np.intp, count=len(subjects))

    def totals(self, values: NDArray[np.generic], subjects: Sequence[str]) -> Floats:
        """(S, K) the sum over each subject's rows of `values` (M, K); `subjects` (M,) says whose each row is."""
        totals = np.zeros((len(self.subjects), values.shape[1]))
        np.add.at(totals, self.index(subjects), values)
        return totals

    def _weights(self) -> Iterable[Weights]:
        """Blocks (S, b) of weights: how often each subject was drawn in each resample, the same at every call."""
        return self._kept if len(self.subjects) * self.samples <= _KEPT else self._drawn()

    @cached_property
    def _kept(self) -> list[Weights]:
        return list(self._drawn())

    def _drawn(self) -> Iterator[Weights]:
        size = len(self.subjects)
        random = np.random.default_rng(self.seed)
        step = max(1, _CHUNK // size)
        for start in range(0, self.samples, step):
            count = min(step, self.samples - start)
            drawn = random.integers(0, size, (count, size)) + np.arange(count)[:, None] * size
            often = np.bincount(drawn.ravel(), minlength=count * size).reshape(count, size)
            yield np.ascontiguousarray(often.T, dtype=np.min_scalar_type(often.max()))

    def sums(self, totals: Floats) -> Floats:
        """(B, K) sums of each subject's `totals` (S, K), of every resample."""
        return np.concatenate([w.T.astype(float) @ totals for w in self._weights()])

    def quantiles(self, values: Floats, subject: NDArray[np.intp], q: float) -> Floats:
        """(B,) the q-quantile of each resample of `values` (M,), exact, between ranks as `numpy.quantile` has it.

        `subject` (M,) is the number of each value's subject. NaN where a resample holds no value.
        """
        order = np.argsort(values, kind="stable")
        ordered = _Sorted(values[order], subject[order], len(self.subjects))
        return np.concatenate([ordered.quantiles(w, q) for w in self._weights()])

    def interval(self, resampled: Floats, level: float | None = None) -> Floats:
        """(2, ...) lower and upper limit of resampled statistics (B, ...), NaN where they are all NaN."""
        tail = (1 - (self.level if level is None else level)) / 2
        flat = resampled.reshape(len(resampled), -1)
        limits = np.full((2, flat.shape[1]), np.nan)
        some = ~np.isnan(flat).all(axis=0)
        whole = ~np.isnan(flat).any(axis=0)
        limits[:, whole] = np.quantile(flat[:, whole], (tail, 1 - tail), axis=0)
        for k in np.flatnonzero(some & ~whole):
            limits[:, k] = np.nanquantile(flat[:, k], (tail, 1 - tail))
        return limits.reshape(2, *resampled.shape[1:])


@dataclass(frozen=True, eq=False)
class _Sorted:
    """Sorted `values` (M,) and the number of each one's `subject` (M,), of S."""

    values: Floats
    subject: NDArray[np.intp]
    n_subjects: int

    @cached_property
    def length(self) -> int:
        """Values in a block: the square root of all, so that blocks and what is in one are about as many."""
        return max(1, int(np.ceil(len(self.values) / min(_BLOCK, max(1, int(np.sqrt(len(self.values))))))))

    @cached_property
    def blocks(self) -> sparse.csr_array:
        """(blocks, S) how many values of each block are a subject's."""
        starts = np.append(np.arange(0, len(self.values), self.length), len(self.values))
        ones = np.ones(len(self.values), dtype=np.float32)
        return sparse.csr_array((ones, self.subject, starts), shape=(len(starts) - 1, self.n_subjects))

    def quantiles(self, weights: Weights, q: float) -> Floats:
        """(b,) quantiles of resamples with `weights` (S, b)."""
        if not len(self.values):
            return np.full(weights.shape[1], np.nan)
        often = weights.astype(np.float32)  # exact up to 2^24
        until = np.cumsum(self.blocks @ often, axis=0, dtype=float)  # (blocks, b)
        position = q * np.maximum(until[-1] - 1, 0)
        low = np.floor(position)
        lower, upper = self._at_rank(low, weights, until), self._at_rank(np.ceil(position), weights, until)
        return np.where(until[-1] > 0, lower + (upper - lower) * (position - low), np.nan)

    def _at_rank(self, rank: Floats, weights: Weights, until: Floats) -> Floats:
        """(b,) the value of 0-based `rank` (b,) in each resample: first its block, then its place in there."""
        block = np.minimum((until <= rank).sum(axis=0), len(until) - 1)
        sample = np.arange(len(rank))
        before = np.where(block > 0, until[np.maximum(block - 1, 0), sample], 0)
        place = block[:, None] * self.length + np.arange(self.length)
        inside = np.minimum(place, len(self.values) - 1)
        weight = weights[self.subject[inside], sample[:, None]] * (place < len(self.values))
        within = (before[:, None] + np.cumsum(weight, axis=1, dtype=float) <= rank[:, None]).sum(axis=1)
        return self.values[np.minimum(block * self.length + within, len(self.values) - 1)]


def checked_samples(samples: int) -> int:
    """The number of resamples; SettingsError unless there are none or enough for the tails of an interval."""
    if samples != 0 and not 100 <= samples <= 1_000_000:
        raise SettingsError(f"{samples} bootstrap samples; give 0 (no intervals) or 100 to 1000000")
    return samples


def bootstrap_for(subjects: Sequence[str], samples: int = SAMPLES, seed: int = 0) -> Bootstrap:
    """The Bootstrap of the distinct subjects of some rows."""
    return Bootstrap(tuple(dict.fromkeys(subjects)), samples, seed)

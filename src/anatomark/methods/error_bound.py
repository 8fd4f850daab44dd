"""Error bounds: a length that the error of a predicted landmark stays below, at a chosen coverage such as 90 %.

Split-conformal prediction (Lei et al., JASA 113(523):1094-1111, 2018, doi 10.1080/01621459.2017.1307116; Romano,
Patterson, Candes, NeurIPS 2019, doi 10.48550/arXiv.1905.03222): of cases that the networks did not learn from, each
radial error is divided by what was to be expected of its spread; a bound is a quantile of these scores, corrected for
their finite number, times what is to be expected of the new spread.

What is guaranteed, if a new subject is drawn as the calibration subjects were:

- A landmark with at least OWN subjects has a quantile of its own scores, for one case a subject that of rank
  ceil((n + 1) coverage) of n. Its error stays below the bound with at least that probability, on average over
  calibration sets; with n subjects, one set's true coverage lies about sqrt(coverage (1 - coverage) / (n + 2)) off.
- Landmarks with fewer share one quantile of their scores, each also divided by the landmark's mean. As landmarks of a
  subject go together, the subject is the unit that is counted (Lee, Barber, Willett, doi 10.48550/arXiv.2306.06342).
  The probability then holds for a landmark of a new subject drawn at random, on average: some landmarks may lie
  above, others below it. As the subjects' landmarks might all go wrong together, it is on the safe side where they do
  not: by up to 1 / (n + 1) with n subjects.
- Exactly, both hold for spread exponents and means that were known beforehand. Here they come from the same subjects,
  each score without its own subject (as in the jackknife: Barber et al., doi 10.1214/20-AOS1965), for which
  simulations in the tests find no loss.

Where the validation cases calibrate, they have also chosen the best weights, and their errors may be a little too
small; out-of-fold cases have chosen nothing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from anatomark.core.grid import Floats, Unit
from anatomark.errors import ModelError, SettingsError

NAME = "error_bounds.safetensors"
COVERAGE = 0.9  # where nobody asks for another
LEVELS = tuple(k / 100 for k in range(50, 100))
OWN = 55  # subjects for a quantile of a landmark's own: the coverage at 90 % is then known to 4 points (s.d.)
LEAST = 3  # subjects for a landmark to share the others' quantile
PRIOR = 3.0  # subjects that the mean of all landmarks counts as, in the mean of one
LOWEST = 0.1  # times a landmark's median: a smaller spread, or error, means no more than this one
PARTS = 50  # that subjects are left out in, where there are more
NONE_SAVED = "the model has no error bounds; make them with anatomark calibrate RUN DATASET"


@dataclass(frozen=True)
class Expected:
    """What error to expect of a spread: proportional to max(spread / `typical`, LOWEST) ** `exponent`.

    `typical` (N,) is each landmark's median spread, `exponent` one for all, between 0 (spreads say nothing) and 1.
    """

    typical: Floats
    exponent: float

    @classmethod
    def learned(cls, errors: Floats, spread: Floats) -> Expected:
        """From M cases, (M, N), NaN where not known.

        The exponent is the slope of log errors on log spreads within landmarks, drawn towards 0 as by a prior of s.d.
        1; the logarithms, cut off below, leave outliers little weight.
        """
        known = np.isfinite(errors)
        spread = np.where(known, spread, np.nan)
        typical = _medians(spread)
        x = np.log(_relative(spread, typical).clip(max=1 / LOWEST))
        y = np.log(_relative(errors, _medians(errors)))
        x, y = (np.where(known, v - _means(v), 0.0) for v in (x, y))
        noise = float((y**2).sum()) / max(1, int(known.sum()) - int(known.any(axis=0).sum()))
        slope = float((x * y).sum()) / float((x**2).sum() + noise) if noise else 0.0
        return cls(typical, min(1.0, max(0.0, slope)))

    def of(self, spread: ArrayLike) -> Floats:
        """(..., N) for spreads (..., N), NaN where unknown; 1 for a typical one."""
        spread = np.asarray(spread, dtype=float)
        return np.where(np.isnan(spread), np.nan, _relative(spread, self.typical) ** self.exponent)


@dataclass(frozen=True, eq=False)
class ErrorBounds:
    """For N landmarks and L levels of coverage: bound = `factor` (L, N) times `expected.of(spread)`.

    `factor` is infinite where the subjects are too few for the level. `subjects` (N,) counts those that each landmark
    was calibrated by, `pooled` says that it shares its quantile. `unit` is that of the bounds, `source` what they were
    calibrated by. Without `expected`, every bound is withheld, for the reason that `source` gives.
    """

    names: tuple[str, ...]
    source: str
    unit: Unit = "mm"
    expected: Expected | None = None
    factor: Floats | None = None
    subjects: NDArray[np.int64] | None = None
    pooled: NDArray[np.bool_] | None = None

    @classmethod
    def fitted(
        cls,
        errors: Floats,
        spread: Floats,
        *,
        subjects: Sequence[str],
        names: Sequence[str],
        unit: Unit = "mm",
        source: str = "calibration cases",
    ) -> ErrorBounds:
        """From radial errors (M, N), NaN where a case has no such landmark, and spreads of M cases of `subjects`."""
        _, groups = np.unique(np.asarray(subjects, dtype=str), return_inverse=True)
        errors, spread = np.asarray(errors, dtype=float), np.asarray(spread, dtype=float)
        if not np.isfinite(errors).any():
            return cls(tuple(names), f"{source} have no landmark with a known place", unit)
        known = np.isfinite(errors)
        counts = np.array([len(np.unique(groups[column])) for column in known.T], dtype=np.int64)
        pooled = counts < OWN
        scores, shares = (np.full(errors.shape, np.nan) for _ in range(2))
        for out in _left_out(groups):
            expected = Expected.learned(errors[~out], spread[~out])
            scores[out] = errors[out] / expected.of(spread[out])
            if pooled.any():
                shares[out] = scores[out] / _scales(errors[~out] / expected.of(spread[~out]))
        expected = Expected.learned(errors, spread)
        factor = np.full((len(LEVELS), errors.shape[1]), np.inf)
        for k in np.flatnonzero(~pooled):
            factor[:, k] = corrected_quantiles(scores[:, k], groups, LEVELS)
        sharing = pooled & (counts >= LEAST)
        if sharing.any():
            quantiles = corrected_quantiles(shares[:, sharing], groups, LEVELS)
            factor[:, sharing] = quantiles[:, None] * _scales(errors / expected.of(spread))[sharing]
        return cls(tuple(names), source, unit, expected, factor, counts, pooled)

    def scaled(self, errors: Floats, spread: Floats, *, source: str) -> ErrorBounds:
        """These bounds times one number: the one with which they hold for errors (M, N), NaN where there is none, of
        cases with spreads (M, N), as often as they promise.

        For cases of another place that are too few for bounds of their own. How errors are distributed, and which
        landmarks are hard, comes from the first calibration; no theorem guarantees the coverage. Where nothing can be
        scaled, all bounds are withheld.
        """
        level = max((level for level in self.levels if level <= COVERAGE), default=None)
        bounds = self.bound(spread, level) if level is not None else np.full(errors.shape, np.nan)
        scores = errors / np.where(bounds > 0, bounds, np.nan)
        if level is None or self.factor is None or not np.isfinite(scores).any():
            return ErrorBounds.withheld(self.names, f"{source} are too few for error bounds")
        factor = self.factor * float(np.nanquantile(scores, level))
        return replace(self, factor=factor, source=f"{source}; their errors scaled the bounds from {self.source}")

    @classmethod
    def withheld(cls, names: Sequence[str], reason: str) -> ErrorBounds:
        """No bounds, and the reason why."""
        return cls(tuple(names), reason)

    def select(self, names: Sequence[str]) -> ErrorBounds:
        """The bounds of `names`, in that order; withheld for those that are not among the landmarks."""
        if self.factor is None or self.expected is None or self.subjects is None or self.pooled is None:
            return ErrorBounds(tuple(names), self.source, self.unit)
        at = np.array([self.names.index(name) if name in self.names else -1 for name in names], dtype=int)
        here = at >= 0
        expected = Expected(np.where(here, self.expected.typical[at], np.nan), self.expected.exponent)
        factor = np.where(here, self.factor[:, at], np.inf)
        subjects, pooled = np.where(here, self.subjects[at], 0), self.pooled[at] | ~here
        return ErrorBounds(tuple(names), self.source, self.unit, expected, factor, subjects, pooled)

    @cached_property
    def levels(self) -> tuple[float, ...]:
        """The levels of coverage at which any landmark has a bound."""
        if self.factor is None:
            return ()
        return tuple(level for level, row in zip(LEVELS, self.factor, strict=True) if np.isfinite(row).any())

    def bound(self, spread: ArrayLike, coverage: float = COVERAGE) -> Floats:
        """(..., N) bounds of predictions with `spread` (..., N), in `unit`; NaN where withheld.

        Between two levels the higher one counts. Raises SettingsError for a coverage that is no share.
        """
        row = _row(coverage)
        spread = np.asarray(spread, dtype=float)
        if self.expected is None or self.factor is None or row is None:
            return np.full(spread.shape, np.nan)
        bounds = self.factor[row] * self.expected.of(spread)
        return np.where(np.isfinite(bounds), bounds, np.nan)

    def reason(self, landmark: str, coverage: float = COVERAGE) -> str | None:
        """Why a landmark has no bound; None where it has one."""
        row = _row(coverage)
        if self.factor is None or self.subjects is None or self.pooled is None:
            return self.source
        k = self.names.index(landmark)
        if row is None:
            return f"no bound is made for more than {LEVELS[-1]:.0%}"
        if np.isfinite(self.factor[row, k]):
            return None
        count = int(self.subjects[k])
        if count < LEAST:
            return f"{landmark} is present in {count} of the calibration subjects, wanted are {LEAST}"
        wanted = math.ceil(LEVELS[row] / (1 - LEVELS[row]) - 1e-9)
        of = "subjects of landmarks that share a quantile" if self.pooled[k] else "subjects"
        return f"too few calibration {of} for {LEVELS[row]:.0%}: wanted are {wanted}"

    def save(self, folder: Path) -> None:
        """Write `NAME` into `folder`; bounds that are all withheld too, with their reason."""
        import json

        import torch

        from anatomark.nets.weights import save_tensors

        about: dict[str, Any] = {"names": self.names, "source": self.source, "unit": self.unit}
        arrays: dict[str, Any] = {}
        if self.expected is not None:
            about["exponent"] = self.expected.exponent
            arrays = {"typical": self.expected.typical, "factor": self.factor}
            arrays |= {"subjects": self.subjects, "pooled": self.pooled}
        tensors = {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in arrays.items()}
        save_tensors(folder / NAME, tensors, {"about": json.dumps(about)})

    @classmethod
    def load(cls, folder: Path, names: Sequence[str], unit: Unit) -> ErrorBounds:
        """The bounds in `folder` for a model of landmarks `names`; withheld where there is no such file.

        Raises ModelError where they are damaged or another model's.
        """
        import json

        from anatomark.nets.weights import load_tensors

        path = folder / NAME
        if not path.exists():
            return cls.withheld(names, NONE_SAVED)
        tensors, metadata = load_tensors(path)
        try:
            about = json.loads(metadata["about"])
            if tuple(about["names"]) != tuple(names) or (tensors and about["unit"] != unit):
                raise ModelError(f"{path} belongs to a model of other landmarks or another unit; calibrate again")
            if not tensors:
                return cls.withheld(names, str(about["source"]))
            expected = Expected(tensors["typical"].numpy(), float(about["exponent"]))
            parts = [tensors[name].numpy() for name in ("factor", "subjects", "pooled")]
            shapes = [(len(names),)] * 3 + [(len(LEVELS), len(names))]
            if [p.shape for p in (expected.typical, *parts[1:], parts[0])] != shapes:
                raise ValueError("shapes")
        except (KeyError, TypeError, ValueError):
            raise ModelError(f"{path} is damaged or of another version; calibrate again") from None
        return cls(tuple(names), str(about["source"]), unit, expected, *parts)


def corrected_quantiles(scores: Floats, groups: NDArray[np.int64], levels: Sequence[float]) -> Floats:
    """(L,) for each level the score that a new group's scores stay below, corrected for the finite number of groups.

    Scores (M,) or (M, N) of M cases in `groups` (M,), NaN where there are none. A group counts 1 / (G + 1), shared
    among its scores; the rest of the weight is at infinity, for the group to come. With one score in each of n groups
    that is the one of rank ceil((n + 1) level). Infinite where the groups are too few.
    """
    scores = scores.reshape(len(groups), -1)
    known = np.isfinite(scores)
    group = np.broadcast_to(groups[:, None], scores.shape)[known]
    if not group.size:
        return np.full(len(levels), np.inf)
    number, size = np.unique(group, return_inverse=True, return_counts=True)[1:]
    order = np.argsort(scores[known], kind="stable")
    reached = np.cumsum((1 / size[number])[order]) / (len(size) + 1)
    at = np.searchsorted(reached, np.asarray(levels) - 1e-9)
    return np.append(scores[known][order], np.inf)[at]


def _row(coverage: float) -> int | None:
    """The first of LEVELS that is not below `coverage`; None where all are."""
    if not 0 < coverage < 1:
        raise SettingsError(f"the coverage is {coverage:g}; give a proportion between 0 and 1, such as 0.9")
    return next((row for row, level in enumerate(LEVELS) if level >= coverage - 1e-9), None)


def _left_out(groups: NDArray[np.int64]) -> list[NDArray[np.bool_]]:
    """Masks (M,) that together leave each case out once, with all cases of its group."""
    count = int(groups.max()) + 1
    parts = groups % min(count, PARTS)
    return [parts == part for part in range(min(count, PARTS))]


def _scales(scores: Floats) -> Floats:
    """(N,) each landmark's mean of scores (M, N), drawn towards that of all by PRIOR cases of it."""
    known = np.isfinite(scores)
    if not known.any():
        return np.ones(scores.shape[1:])
    every = float(scores[known].mean())
    scales = (np.where(known, scores, 0).sum(axis=0) + PRIOR * every) / (known.sum(axis=0) + PRIOR)
    return np.where(scales > 0, scales, 1.0)


def _relative(values: Floats, typical: Floats) -> Floats:
    """`values` in units of `typical`, at least LOWEST; 1 where there is nothing typical."""
    known = np.isfinite(typical) & (typical > 0)
    return np.where(
        known, np.maximum(values / np.where(known, typical, 1.0), LOWEST), np.where(values >= 0, 1.0, values)
    )


def _medians(values: Floats) -> Floats:
    """(N,) medians over the cases of (M, N); NaN where there are none."""
    count = np.isfinite(values).sum(axis=0)
    if not len(values):
        return np.full(values.shape[1:], np.nan)
    ordered = np.sort(np.where(np.isfinite(values), values, np.nan), axis=0)  # NaN comes last
    low, high = np.maximum(count - 1, 0) // 2, np.minimum(count // 2, len(values) - 1)
    each = np.arange(len(count))
    return np.where(count > 0, (ordered[low, each] + ordered[high, each]) / 2, np.nan)


def _means(values: Floats) -> Floats:
    """(N,) means over the cases of (M, N); 0 where there are none."""
    known = np.isfinite(values)
    return np.where(known, values, 0.0).sum(axis=0) / np.maximum(known.sum(axis=0), 1)

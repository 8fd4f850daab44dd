"""Equivalence: is something no farther from an observer than another observer is?

The difference is a distance of the model minus the distance of an observer to the same point, landmark by landmark, so
that it is paired; its mean and interval come from resampled subjects. What is tested is that the mean difference is
below a margin stated beforehand (non-inferiority, for a model that is nearer than an observer is not a worse one); the
second one-sided test, of the two of Schuirmann (doi 10.1007/BF01068419), is reported beside it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from anatomark.core.grid import Floats
from anatomark.errors import SettingsError
from anatomark.evaluation.bootstrap import Bootstrap
from anatomark.evaluation.holm_correction import holm_correction
from anatomark.evaluation.metrics import interval_of
from anatomark.evaluation.result import Interval, Result

ALPHA = 0.05
Verdict = Literal["nearer", "equivalent", "not shown", "farther"]


@dataclass(frozen=True)
class EquivalenceTest(Result):
    """The test of one mean difference in the unit of the data; None where too few subjects allow none.

    `n` paired differences; `interval` 90 % (two one-sided tests at 5 %); `p` that the mean difference is the margin or
    more; `equivalent` where the whole interval lies below the margin, `two_sided` where it also lies above minus it.
    """

    n: int
    difference: float | None
    interval: Interval | None
    p: float | None
    equivalent: bool | None
    two_sided: bool | None
    verdict: Verdict | None


@dataclass(frozen=True)
class LandmarkEquivalenceTest(EquivalenceTest):
    """The test of one landmark; `p_holm` is corrected over the landmarks."""

    p_holm: float | None


@dataclass(frozen=True)
class Equivalence(Result):
    """Tests of all landmarks together and of each, by a `margin` in the unit of the data, at the level `alpha`."""

    margin: float
    alpha: float
    overall: EquivalenceTest
    landmarks: Mapping[str, LandmarkEquivalenceTest]


def checked_margin(margin: float | None, radii: Sequence[float]) -> float:
    """The margin; by default a quarter of the smallest radius: 0.5 mm where 2 mm is the accepted precision."""
    if margin is None:
        return min(radii) / 4
    if not 0 < margin < float("inf"):
        raise SettingsError(f"the margin is {margin:g}; give a positive length, such as 0.5")
    return float(margin)


def equivalence(
    difference: Floats, names: Sequence[str], subjects: Sequence[str], bootstrap: Bootstrap, margin: float
) -> Equivalence:
    """The tests of paired differences (M, N) of landmarks `names` in rows of `subjects` (M,), NaN where not paired."""
    owner = bootstrap.index(subjects)
    known = ~np.isnan(difference)
    each = np.zeros((2, len(bootstrap.subjects), len(names)))  # sums of differences, and how many they are
    np.add.at(each[0], owner, np.where(known, difference, 0))
    np.add.at(each[1], owner, known)
    totals = np.concatenate([each.sum(axis=2, keepdims=True), each], axis=2)  # all landmarks together, then each
    enough_subjects = (totals[1] > 0).sum(axis=0) > 1
    resampled = None
    if bootstrap.possible:
        sums = bootstrap.sums(np.concatenate(list(totals), axis=1))
        with np.errstate(invalid="ignore"):
            resampled = sums[:, : len(names) + 1] / sums[:, len(names) + 1 :]
    tests = []
    for k, enough in enumerate(enough_subjects):
        n = int(totals[1, :, k].sum())
        mean = float(totals[0, :, k].sum() / n) if n else None
        tests.append(_test(n, mean, resampled[:, k] if resampled is not None and enough else None, bootstrap, margin))
    overall, *landmarks = tests
    corrected = holm_correction([test.p for test in landmarks])
    return Equivalence(
        margin,
        ALPHA,
        overall,
        {
            name: LandmarkEquivalenceTest(**vars(test), p_holm=p)
            for name, test, p in zip(names, landmarks, corrected, strict=True)
        },
    )


def _test(
    n: int, difference: float | None, resampled: Floats | None, bootstrap: Bootstrap, margin: float
) -> EquivalenceTest:
    """The test of a mean difference from its values in resamples (B,)."""
    if difference is None or resampled is None:
        return EquivalenceTest(n, difference, None, None, None, None, None)
    resampled = resampled[~np.isnan(resampled)]
    lower, upper = interval_of(bootstrap.interval(resampled, 1 - 2 * ALPHA)) or (np.nan, np.nan)
    verdict: Verdict
    if upper < 0:
        verdict = "nearer"
    elif upper < margin:
        verdict = "equivalent"
    else:
        verdict = "farther" if lower > 0 else "not shown"
    return EquivalenceTest(
        n,
        difference,
        interval=(lower, upper),
        p=float(((resampled >= margin).sum() + 1) / (resampled.size + 1)),
        equivalent=bool(upper < margin),
        two_sided=bool(upper < margin and lower > -margin),
        verdict=verdict,
    )

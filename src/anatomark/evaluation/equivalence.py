"""Equivalence: is something no farther from an observer than another observer is?

The difference is a distance of the model minus the distance of an observer to the same point, landmark by landmark, so
that it is paired; its mean and interval come from resampled subjects. What is tested is that the mean difference is
below a margin stated beforehand (non-inferiority, for a model that is nearer than an observer is not a worse one); the
second one-sided test, of the two of Schuirmann (doi 10.1007/BF01068419), is told beside it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from anatomark.core.grid import Floats
from anatomark.errors import SettingsError
from anatomark.evaluation.bootstrap import Bootstrap
from anatomark.evaluation.holm import holm
from anatomark.evaluation.metrics import limits

ALPHA = 0.05


def checked_margin(margin: float | None, radii: Sequence[float]) -> float:
    """The margin; by default a quarter of the smallest radius: 0.5 mm where 2 mm is the accepted precision."""
    if margin is None:
        return min(radii) / 4
    if not 0 < margin < float("inf"):
        raise SettingsError(f"the margin is {margin:g}; wanted a positive length, such as 0.5")
    return float(margin)


def equivalence(
    difference: Floats, names: Sequence[str], subjects: Sequence[str], bootstrap: Bootstrap, margin: float
) -> dict[str, Any]:
    """margin, alpha, and for `overall` and each of `landmarks` the test of differences (M, N), NaN where not paired.

    n, difference (mean), interval (90 %: two one-sided tests at 5 %), p (the mean difference is the margin or more),
    equivalent (the whole interval below the margin), two_sided (it also lies above minus the margin) and verdict:
    nearer | equivalent | not shown | farther. Landmarks also have p_holm, corrected over the landmarks.
    """
    owner = bootstrap.index(subjects)
    here = ~np.isnan(difference)
    brought = np.zeros((2, len(bootstrap.subjects), len(names)))
    np.add.at(brought[0], owner, np.where(here, difference, 0))
    np.add.at(brought[1], owner, here)
    both = np.concatenate([brought.sum(axis=2, keepdims=True), brought], axis=2)  # all landmarks together, then each
    several = (both[1] > 0).sum(axis=0) > 1
    resampled = None
    if bootstrap.possible:
        sums = bootstrap.sums(np.concatenate(list(both), axis=1))
        with np.errstate(invalid="ignore"):
            resampled = sums[:, : len(names) + 1] / sums[:, len(names) + 1 :]
    told = []
    for k, enough in enumerate(several):
        n = int(both[1, :, k].sum())
        mean = float(both[0, :, k].sum() / n) if n else None
        drawn = resampled[:, k] if resampled is not None and enough else None
        told.append({"n": n, "difference": mean} | _verdict(mean, drawn, bootstrap, margin))
    corrected = holm([line["p"] for line in told[1:]])
    for line, p in zip(told[1:], corrected, strict=True):
        line["p_holm"] = p
    return {
        "margin": margin,
        "alpha": ALPHA,
        "overall": told[0],
        "landmarks": dict(zip(names, told[1:], strict=True)),
    }


def _verdict(mean: float | None, drawn: Floats | None, bootstrap: Bootstrap, margin: float) -> dict[str, Any]:
    if mean is None or drawn is None:
        return {"interval": None, "p": None, "equivalent": None, "two_sided": None, "verdict": None}
    drawn = drawn[~np.isnan(drawn)]
    lower, upper = limits(bootstrap.interval(drawn, 1 - 2 * ALPHA)) or (np.nan, np.nan)
    if upper < 0:
        verdict = "nearer"
    elif upper < margin:
        verdict = "equivalent"
    else:
        verdict = "farther" if lower > 0 else "not shown"
    return {
        "interval": [lower, upper],
        "p": float(((drawn >= margin).sum() + 1) / (drawn.size + 1)),
        "equivalent": bool(upper < margin),
        "two_sided": bool(upper < margin and lower > -margin),
        "verdict": verdict,
    }

"""How the answers of several members of a model become one: robust means, pooled spreads, agreement on suitability."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from anatomark.core.geometric_median import geometric_median
from anatomark.core.grid import Floats
from anatomark.methods.in_view import CutOff
from anatomark.methods.suitability import Judgement

OUTLIER_FACTOR = 3.0  # times the median distance from the middle: a member farther away does not count


@dataclass(frozen=True, eq=False)
class Answer:
    """What one member, or all together, found in an image.

    points (N, d) world, presence (N,) a probability, spread (N,) in units of the world; `warning` is what a person
    should know of how the image was taken, `judgement` whether it suits, `cut_off` what it ends before.
    """

    points: Floats
    presence: Floats
    spread: Floats
    judgement: Judgement
    warning: str | None = None
    cut_off: CutOff | None = None

    @property
    def remark(self) -> str | None:
        """The warning, and which side is cut off; None if there is neither."""
        cut_off = None if self.cut_off is None else self.cut_off.words(len(self.points))
        return "; ".join(filter(None, (self.warning, cut_off))) or None


def combined(answers: Sequence[Answer]) -> Answer:
    """One answer of all: trimmed mean points, mean presence, pooled spread.

    The spread is the root of the mean squared spread of the members plus their mean squared distance from the mean.
    The image is unsuitable where more than half of the members call it so.
    """
    if len(answers) == 1:
        return answers[0]
    points = np.stack([answer.points for answer in answers])
    mean = trimmed_mean(points)
    apart2 = ((points - mean) ** 2).sum(axis=-1)
    return Answer(
        mean,
        np.stack([answer.presence for answer in answers]).mean(axis=0),
        np.sqrt(np.mean([answer.spread**2 for answer in answers], axis=0) + apart2.mean(axis=0)),
        agreed([answer.judgement for answer in answers]),
        next((answer.warning for answer in answers if answer.warning), None),
        next((answer.cut_off for answer in answers if answer.cut_off is not None), None),
    )


def agreed(judgements: Sequence[Judgement]) -> Judgement:
    """The median share, and the first reason where more than half of `judgements` have one."""
    reasons = [judgement.reason for judgement in judgements if judgement.reason is not None]
    share = float(np.median([judgement.share for judgement in judgements]))
    size = float(np.median([judgement.size for judgement in judgements]))
    return Judgement(share, reasons[0] if 2 * len(reasons) > len(judgements) else None, size)


def trimmed_mean(points: Floats) -> Floats:
    """(N, d) the mean of F points (F, N, d) without outliers.

    An outlier is more than OUTLIER_FACTOR times as far from the geometric median of the F as their median distance is.
    """
    middle = geometric_median(points)
    distance = np.sqrt(((points - middle) ** 2).sum(axis=-1))
    keep = distance <= OUTLIER_FACTOR * np.median(distance, axis=0) + 1e-9
    return (points * keep[..., None]).sum(axis=0) / keep.sum(axis=0)[:, None]

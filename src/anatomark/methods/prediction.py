"""The prediction of an image, and the table of many."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from anatomark.core.grid import Floats
from anatomark.core.landmarks import Landmarks, State
from anatomark.methods.error_bound import COVERAGE
from anatomark.methods.suitability import Judgement

if TYPE_CHECKING:
    from anatomark.formats.landmark_table import LandmarkTable

Orient = Literal["keep", "auto"]  # an image that looks mirrored, turned, ...: as it is, or as it should be
PRESENCE_THRESHOLD = 0.5  # a landmark with a lower presence is predicted as absent


def predicted_absent(presence: Floats, threshold: float = PRESENCE_THRESHOLD) -> NDArray[np.bool_]:
    """Where a presence predicts that the landmark is not in the image; False where it is NaN."""
    with np.errstate(invalid="ignore"):
        return presence < threshold


@dataclass(frozen=True, eq=False)
class Prediction:
    """A point for every landmark, with its presence, spread and error bound, and the suitability of the image.

    Attributes:
        landmarks: points (N, d), world LPS, for all N (state PRESENT), whatever their presence.
        presence: (N,) the probability that the landmark is in the image.
        spread: (N,), in the landmarks' unit: the error to be expected by the method's own answers
            (`methods.error_scale`), or, of a model that has not learned that, the root mean square distance of the
            votes; of several members, their disagreement is added.
        warning: a remark on the image, such as that it could not be aligned.
        error_bound: (N,), in the same unit: the length that the error stays below with probability `coverage` if the
            landmark is present (see `methods.error_bound` for the assumptions); NaN if not available, for which the
            model's `bounds` have the reason.
        coverage: of the error bounds.
        suitability: the proportion of suitable images that deviate more from the training images
            (`methods.suitability`), NaN if the model cannot judge.
        unsuitable: the reason if the image is judged unsuitable; then no landmark has a bound.
        taken_for: what an image was taken for, such as "mirrored", where it was predicted in another way than it was
            given.

    Examples:
        >>> prediction = anatomark.load("ceph19").predict(anatomark.read_image("xray.png", spacing=(0.1, 0.1)))
        >>> prediction.landmarks["sella"], prediction.error_bound[0]
        (array([60.1, 54.3]), 2.9)
    """

    landmarks: Landmarks
    presence: Floats
    spread: Floats
    warning: str | None = None
    error_bound: Floats = field(default_factory=lambda: np.empty(0))
    coverage: float = COVERAGE
    suitability: float = math.nan
    unsuitable: str | None = None
    taken_for: str | None = None

    def __post_init__(self) -> None:
        if not len(self.error_bound):
            object.__setattr__(self, "error_bound", np.full(len(self.landmarks), np.nan))

    def thresholded(self) -> Landmarks:
        """The landmarks, those with a presence below PRESENCE_THRESHOLD absent."""
        states = np.where(predicted_absent(self.presence), State.ABSENT, State.PRESENT).astype(np.uint8)
        return Landmarks(self.landmarks.names, self.landmarks.points, states, self.landmarks.unit)

    @property
    def remarks(self) -> str | None:
        """Warning and unsuitability in one line, None if there is neither."""
        return remarks_on(warning=self.warning, taken_for=self.taken_for, unsuitable=self.unsuitable)

    @property
    def judgement(self) -> Judgement:
        return Judgement(self.suitability, self.unsuitable)

    def judged(self, judgement: Judgement) -> Prediction:
        """The same with the judgement of its image; an unsuitable one keeps its points and loses its bounds."""
        judged = replace(self, suitability=judgement.share, unsuitable=judgement.reason)
        if judgement.reason is None:
            return judged
        return replace(judged, error_bound=np.full(len(self.landmarks), np.nan))


def remarks_on(*, warning: str | None, taken_for: str | None, unsuitable: str | None) -> str | None:
    """What a person should know of a prediction in one line, None where that is nothing."""
    doubt = f"doubtful points, {unsuitable}" if unsuitable else None
    taken = f"the image looks {taken_for}; its points are those of the corrected image" if taken_for else None
    return "; ".join(filter(None, (warning, taken, doubt))) or None


def prediction_table(results: Mapping[str, Prediction]) -> LandmarkTable:
    """The rows of predictions.csv: every landmark of every image, LPS, coordinates to 0.1 um.

    In an unsuitable image the bounds are infinite: no length is guaranteed there.
    """
    from anatomark.formats.landmark_table import LandmarkTable

    first = next(iter(results.values())).landmarks
    count = len(results) * len(first)
    return LandmarkTable(
        image=np.repeat(np.array(list(results), dtype=str), len(first)),
        landmark=np.tile(np.array(first.names, dtype=str), len(results)),
        coordinates=np.round(np.concatenate([r.landmarks.points for r in results.values()]), 4),
        states=np.full(count, State.PRESENT, dtype=np.uint8),
        observer=np.full(count, "", dtype=str),
        frame="LPS",
        unit=first.unit,
        presence=np.round(np.concatenate([r.presence for r in results.values()]), 4),
        spread=np.round(np.concatenate([r.spread for r in results.values()]), 4),
        bound=np.round(
            np.concatenate(
                [
                    np.full(len(first), np.inf, dtype=np.float64) if r.unsuitable else r.error_bound
                    for r in results.values()
                ]
            ),
            4,
        ),
    )

"""What `evaluate` and `compare_observers` return and write as JSON; `docs/evaluation.md` explains the keys."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from anatomark.core.grid import Unit
from anatomark.evaluation.bootstrap import BootstrapSettings
from anatomark.evaluation.coverage import Coverage
from anatomark.evaluation.measurements import MeasurementScores
from anatomark.evaluation.metrics import CumulativeErrors, ErrorScores, LargeError, MissedLandmark
from anatomark.evaluation.observers import ObserverStatistics
from anatomark.evaluation.presence import PresenceScores
from anatomark.evaluation.result import INLINE, Report, Result


@dataclass(frozen=True)
class MeanShapeScores(Result):
    """The scores of the mean shape of `training_cases` cases, put into each image as `placement` says.

    In the document the keys of `overall` also stand beside it.
    """

    overall: ErrorScores
    landmarks: Mapping[str, ErrorScores]
    training_cases: int
    placement: str

    def to_dict(self) -> dict[str, Any]:
        """The document, which begins with the keys of `overall`."""
        return self.overall.to_dict() | super().to_dict()


@dataclass(frozen=True, eq=False)
class Evaluation(Report):
    """The metrics of predicted landmarks. Lengths are in `unit`, rates in percent.

    Scored are `n_cases` cases of `n_subjects` people; `overall` and each of `landmarks` have the errors found. A part
    that is None has its reason in the note of the same name, where it is not plain. `missing` are the present landmarks
    that were not found, `worst` the largest errors. `presence_threshold` (0 to 1) is the presence below which a
    prediction counts as absent. `reviews` is a line for each review that replaces reference points, `unknown_images`
    are images of the predictions that are not in the data set. `command` repeats the evaluation; `fingerprint` is a
    SHA-256 of cases, names, reference and predictions.
    """

    dataset: str
    split: str | None
    unit: Unit
    n_cases: int
    n_subjects: int
    n_training_cases: int
    radii: Sequence[float]
    bootstrap: BootstrapSettings
    bootstrap_note: str | None
    overall: ErrorScores
    landmarks: Mapping[str, ErrorScores]
    ced: CumulativeErrors
    worst: Sequence[LargeError]
    missing: Sequence[MissedLandmark]
    presence: PresenceScores
    presence_threshold: float
    mean_shape: MeanShapeScores | None
    mean_shape_note: str | None
    observers: ObserverStatistics | None
    observers_note: str | None
    measurements: Sequence[MeasurementScores] | None
    measurements_note: str | None
    coverage: Coverage | None
    coverage_note: str | None
    reviews: Sequence[str]
    cases: Sequence[str]
    unknown_images: Sequence[str]
    versions: Mapping[str, str]
    command: str
    fingerprint: str


@dataclass(frozen=True, eq=False)
class ObserverStudy(Report):
    """What `compare_observers` returns, and writes as observers.json; lengths are in `unit`.

    In the document the keys of `statistics` stand instead of it.
    """

    dataset: str
    split: str | None
    unit: Unit
    radii: Sequence[float]
    bootstrap: BootstrapSettings
    statistics: ObserverStatistics = field(metadata=INLINE)
    versions: Mapping[str, str]
    command: str

"""Made-up evaluations: rows, cases with pictures, and metrics of the documented shape with every part filled."""

from dataclasses import dataclass, replace

import numpy as np

from anatomark.core.grid import Grid
from anatomark.core.image import Image
from anatomark.core.landmarks import State
from anatomark.data.measurements import Measurement
from anatomark.evaluation.bootstrap import bootstrap_for
from anatomark.evaluation.coverage import Coverage, LevelCoverage, PresenceBin
from anatomark.evaluation.equivalence import equivalence
from anatomark.evaluation.measurements import ObserverAgreement, measurement_scores
from anatomark.evaluation.metrics import RADII, cumulative, describe_landmarks, largest_errors, missed_landmarks
from anatomark.evaluation.observers import ObserverStatistics, PredictionScores
from anatomark.evaluation.presence import presence_scores
from anatomark.evaluation.results import Evaluation, MeanShapeScores
from anatomark.evaluation.rows import Answer, Rows, fingerprint

RNG_SEED = 7


@dataclass(frozen=True)
class PictureCase:
    """A case that makes its image up."""

    id: str
    image: Image
    subject: str = ""

    def read_image(self):
        return self.image


def made_rows(ndim=2, cases=12, names=6, misses=True, absent=True):
    """Rows of a ring (2D) or a ball (3D) of landmarks with errors of about 1 mm, and the cases with their images."""
    rng = np.random.default_rng(RNG_SEED)
    names = tuple(f"landmark_{k}" for k in range(names)) if isinstance(names, int) else tuple(names)
    shape = (60, 50, 40)[3 - ndim :] if ndim == 3 else (120, 100)
    grid = Grid.from_geometry(shape, spacing=(1.5, 1.5, 2.0)[:ndim], origin=(-30, 12, 5)[:ndim])
    directions = rng.normal(size=(len(names), ndim))
    ring = directions / np.linalg.norm(directions, axis=1, keepdims=True)
    base = grid.center + 0.35 * min(grid.extent) * ring
    moved = rng.normal(0, 2, (cases, 1, ndim))
    reference = base + moved + rng.normal(0, 0.5, (cases, len(names), ndim))
    predicted = reference + rng.normal(0, 0.8, reference.shape) + 0.6 * np.eye(ndim)[0]
    states = np.full(reference.shape[:2], State.PRESENT, dtype=np.uint8)
    answers = np.full(reference.shape[:2], Answer.PRESENT, dtype=np.uint8)
    if absent and cases > 1:
        states[0, -1], answers[0, -1] = State.ABSENT, Answer.ABSENT
        states[1, 0] = State.NOT_ANNOTATED
    if misses and cases > 1:
        answers[2 % cases, 1 % len(names)] = Answer.MISSING
    reference[states != State.PRESENT] = np.nan
    predicted[answers == Answer.MISSING] = np.nan
    ids = tuple(f"case_{i:03d}" for i in range(cases))
    presence = rng.uniform(0.5, 1, answers.shape)
    bound = np.full(answers.shape, 2.0)
    rows = Rows(ids, names, reference, states, predicted, answers, presence, "mm", bound=bound)
    grey = rng.integers(0, 60, shape).astype(np.uint8)
    return rows, [PictureCase(i, Image(grey, grid), i) for i in ids]


def made_metrics(rows, **changes):
    """Metrics with every part, numbers from the evaluator's own functions; `changes` replaces parts, say with None."""
    rng = np.random.default_rng(RNG_SEED)
    names = rows.names
    bootstrap = bootstrap_for(rows.subjects, 200, 0)

    def scores(scored, error=None):
        return describe_landmarks(scored, names, error=error, subjects=rows.subjects, bootstrap=bootstrap)

    distances = np.abs(rng.normal(0, 1.5, rows.states.shape))
    inter, model, shape = scores(distances), scores(rows.scored, rows.error), scores(rows.scored + 5)
    test = equivalence(rows.radial - distances, names, rows.subjects, bootstrap, 0.5)
    among = [
        PredictionScores(against, model.overall, model.landmarks, test)
        for against in ("senior", "junior", "every observer")
    ]
    among.append(PredictionScores("consensus (mean)", model.overall, model.landmarks, None, "it holds them"))
    classes = {"names": ["I", "II"], "thresholds": [2.0]}
    angle = Measurement.model_validate(
        {"name": "ANB", "kind": "angle", "points": [names[0], names[-1], names[len(names) // 2]], "classes": classes}
    )
    measured = measurement_scores([angle], rows, bootstrap) if len(names) > 2 else None
    between = ObserverAgreement(n=9, mean_absolute_error=1.25, bias=0.5, sd=1.0, class_agreement=87.5)
    metrics = Evaluation(
        dataset="made_up",
        split="test",
        unit=rows.unit,
        n_cases=len(rows.cases),
        n_subjects=len(bootstrap.subjects),
        n_training_cases=0,
        radii=list(RADII),
        bootstrap=bootstrap.settings,
        bootstrap_note=None if bootstrap.possible else "no intervals: fewer than two subjects, or no resamples",
        overall=model.overall,
        landmarks=model.landmarks,
        ced=cumulative(rows.scored),
        worst=largest_errors(rows),
        missing=missed_landmarks(rows),
        presence=presence_scores(rows, bootstrap),
        presence_threshold=0.5,
        mean_shape=MeanShapeScores(shape.overall, shape.landmarks, training_cases=9, placement="made up"),
        mean_shape_note=None,
        observers=ObserverStatistics(
            names=["senior", "junior"],
            sessions={"senior": 1, "junior": 1},
            n_cases=len(rows.cases),
            n_subjects=len(bootstrap.subjects),
            inter=inter,
            intra=None,
            intra_note="no observer has several sessions in a case",
            pairs=[],
            each=[],
            consensus="mean",
            model=among,
        ),
        observers_note=None,
        measurements=[replace(m, observers=between) for m in measured] if measured else None,
        measurements_note=None,
        coverage=Coverage(
            nominal=0.9,
            overall=91.2,
            overall_interval=(88.0, 94.0),
            landmarks=dict.fromkeys(names) | {name: 90.0 + k for k, name in enumerate(names[:8])},
            mean_bound=2.0,
            n=60,
            calibrated_by="30 validation cases",
            withheld=dict.fromkeys(names[8:], "too few cases"),
            curve=[LevelCoverage(50.0, 52.0), LevelCoverage(90.0, 91.2)],
            presence_curve=[PresenceBin(20.0, 25.0, 9), PresenceBin(95.0, 97.0, 60)],
        ),
        coverage_note=None,
        reviews=[],
        cases=list(rows.cases),
        unknown_images=[],
        versions={"anatomark": "0.1.0", "numpy": "2.0"},
        command="anatomark evaluate dataset.yaml --predictions predictions.csv --out out",
        fingerprint=fingerprint(rows),
    )
    return replace(metrics, **changes)

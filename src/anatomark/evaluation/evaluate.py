"""evaluate: predictions of any origin against the reference of a data set."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, TextIO

import numpy as np

from anatomark.core.landmarks import State
from anatomark.data.cases import Case
from anatomark.data.description import Dataset, load_dataset
from anatomark.data.missing_codes import require_no_codes, tell_predicted
from anatomark.data.reviews import describe_reviews
from anatomark.errors import AnatomarkError, FrameError, SettingsError
from anatomark.evaluation.annotated import read_annotated
from anatomark.evaluation.bootstrap import SAMPLES, Bootstrap, bootstrap_for, checked_samples
from anatomark.evaluation.consensus import Consensus, checked_consensus
from anatomark.evaluation.coverage import BoundsSource, coverage_by_model, with_bounds
from anatomark.evaluation.equivalence import checked_margin
from anatomark.evaluation.match_predictions import Matched, match_predictions
from anatomark.evaluation.mean_shape import mean_shape
from anatomark.evaluation.measurements import measurement_scores
from anatomark.evaluation.metrics import (
    RADII,
    ScoreTable,
    checked_radii,
    cumulative,
    describe_landmarks,
    largest_errors,
    missed_landmarks,
)
from anatomark.evaluation.observers import (
    ObserverStatistics,
    model_among_observers,
    observer_statistics,
    pairs_between,
)
from anatomark.evaluation.placements import Placements
from anatomark.evaluation.predictions import read_predictions
from anatomark.evaluation.presence import presence_scores
from anatomark.evaluation.provenance import Option, command_line, package_versions
from anatomark.evaluation.report import report_html
from anatomark.evaluation.result import json_text, write_together
from anatomark.evaluation.results import Evaluation, MeanShapeScores
from anatomark.evaluation.rows import Answer, Rows, fingerprint, write_observer_rows, write_rows_csv
from anatomark.evaluation.tables import latex, markdown
from anatomark.formats.landmark_table import LandmarkTable
from anatomark.methods.error_bound import COVERAGE
from anatomark.methods.prediction import PRESENCE_THRESHOLD


@dataclass(frozen=True)
class Scoring:
    """How to score: what the caller of `evaluate` asked for, checked. Lengths are in the unit of the data."""

    presence_threshold: float
    radii: tuple[float, ...]
    samples: int
    seed: int
    consensus: Consensus
    margin: float
    coverage: float


def evaluate(
    dataset: Dataset | Path | str,
    predictions: LandmarkTable | Path | str,
    *,
    split: str | None = None,
    frame: Literal["LPS", "RAS", "pixel"] | None = None,
    out: Path | str | None = None,
    root: Path | str | None = None,
    presence_threshold: float = PRESENCE_THRESHOLD,
    radii: Sequence[float] = RADII,
    samples: int = SAMPLES,
    seed: int = 0,
    consensus: str = "mean",
    margin: float | None = None,
    model: BoundsSource | None = None,
    coverage: float = COVERAGE,
) -> Evaluation:
    """The metrics of predicted landmarks; with `out`, also metrics.json, rows.csv, tables and report.html there.

    Args:
        dataset: a data set, or its dataset.yaml.
        predictions: a table, a landmark file of any known format, the folder that `predict` wrote, or a run with folds,
            whose cases are then those that each fold did not see. Images are matched to cases by name, with or without
            folder and ending.
        split: score every case of this split; one without a prediction misses all its landmarks. By default the cases
            that the predictions name.
        frame: of coordinates in a file that does not state it.
        out: folder for the files, which are written together or not at all.
        root: folder that the data lie under, where the description does not say.
        presence_threshold: a presence below (0 to 1) predicts that the landmark is absent.
        radii: of the detection rates, in the unit of the data.
        samples: bootstrap resamples of the subjects; 0 for no intervals.
        seed: of the bootstrap.
        consensus: of several observers, mean or geometric-median.
        margin: of the equivalence with an observer, in the unit of the data; by default a quarter of the smallest
            radius.
        model: the model that made the predictions, or its run folder: its error bounds are judged.
        coverage: the level of the error bounds to judge, between 0 and 1.

    Returns:
        The keys of metrics.json (`docs/evaluation.md`) as attributes, `metrics.overall.mre`. It reads as that document
        too, `metrics["overall"]["mre"]`; `to_dict()` gives the whole of it. Lengths are in the unit of the data.

    Raises:
        FrameError: a frame is unknown, or a unit is wrong.
        UnknownNameError: a landmark or split is unknown, or no image is known.
        LandmarkFileError: predictions contradict each other.
        SettingsError: an argument is out of range.
        OutputError: the files cannot be written.

    Examples:
        >>> metrics = anatomark.evaluate("my_xrays/dataset.yaml", "predicted", split="test", out="evaluation")
        >>> metrics.overall.mre, metrics.overall.mre_interval, metrics.landmarks["sella"].sdr["2"]
        (1.14, (1.1, 1.19), 98.0)
    """
    scoring = _checked(presence_threshold, radii, samples, seed, consensus, margin, coverage)
    command = _command(dataset, predictions, _options(scoring, frame, split, root, model, out))
    judge = None if _calibrated_by(model, predictions) else model
    source = f"the predictions {predictions}" if isinstance(predictions, Path | str) else "the predictions"
    data = load_dataset(dataset, root) if isinstance(dataset, Path | str) else dataset
    require_no_codes(data)
    matched = _matched(data, predictions, frame, split, presence_threshold, source)
    bootstrap = bootstrap_for(matched.rows.subjects, samples, seed)
    placements = matched.placements
    assert placements is not None
    baseline = _baseline(data, matched.cases, matched.rows)
    metrics = _metrics(data, matched, split, scoring, bootstrap, placements, baseline, judge, command)
    if out is not None:
        rows = matched.rows if judge is None else with_bounds(matched.rows, judge, nominal=coverage)
        _write(Path(out), metrics, rows, matched.cases, placements, baseline, data.reference_rule)
    return metrics


def _checked(
    presence_threshold: float,
    radii: Sequence[float],
    samples: int,
    seed: int,
    consensus: str,
    margin: float | None,
    coverage: float,
) -> Scoring:
    """The settings; SettingsError for one that is out of its range."""
    if not 0 <= presence_threshold <= 1:
        raise SettingsError(f"the presence threshold is {presence_threshold:g}; give a value from 0 to 1")
    radii = checked_radii(radii)
    return Scoring(
        presence_threshold,
        radii,
        checked_samples(samples),
        seed,
        checked_consensus(consensus),
        checked_margin(margin, radii),
        coverage,
    )


def _matched(
    data: Dataset,
    predictions: LandmarkTable | Path | str,
    frame: str | None,
    split: str | None,
    presence_threshold: float,
    source: str,
) -> Matched:
    """The rows of the predictions; a table that is read for them is not kept."""
    table = _read_table(predictions, frame, data)
    matched = match_predictions(
        data, table, split=split, presence_threshold=presence_threshold, source=source, observers=True
    )
    tell_predicted(data, table, source)
    return matched


def _read_table(predictions: LandmarkTable | Path | str, frame: str | None, dataset: Dataset) -> LandmarkTable:
    if isinstance(predictions, Path | str):
        return read_predictions(predictions, frame=frame, dataset=dataset)
    if frame is not None and frame != predictions.frame:
        raise FrameError(f"the table is in {predictions.frame}, but the frame {frame} was given; leave the frame out")
    return predictions


def _calibrated_by(model: BoundsSource | None, predictions: LandmarkTable | Path | str) -> bool:
    """Whether a run's bounds would be judged by the predictions that calibrated them; the folds' own are there too."""
    return isinstance(model, Path | str) and isinstance(predictions, Path | str) and Path(model) == Path(predictions)


@dataclass(frozen=True, eq=False)
class _Baseline:
    """The rows of the mean shape of `training_cases` cases, and how it was placed; or no rows and the reason."""

    rows: Rows | None
    reason: str | None = None
    training_cases: int = 0
    placement: str = ""


def _baseline(dataset: Dataset, cases: Sequence[Case], rows: Rows) -> _Baseline:
    """What a detector must beat that never looks at the image."""
    train = dataset.split("train") if "train" in dataset.splits else ()
    annotated = read_annotated(dataset, train)
    marked = (annotated.states == State.PRESENT).any(axis=1)
    if not marked.any():
        return _Baseline(None, "no annotated case is in a split named train")
    points, train = annotated.reference[marked], [train[k] for k in np.flatnonzero(marked).tolist()]
    try:
        shape = mean_shape([case.read_grid() for case in train], points)
        predicted = np.stack([shape.place(case.read_grid()) for case in cases])
    except (AnatomarkError, OSError) as error:
        return _Baseline(None, f"an image could not be read: {error}")
    known = np.isfinite(predicted).all(axis=-1)
    answers = np.where(known, Answer.PRESENT, Answer.MISSING).astype(np.uint8)
    placed = replace(rows, predicted=predicted, answers=answers, presence=np.full(known.shape, np.nan))
    return _Baseline(placed, None, len(train), shape.placement)


def _metrics(
    dataset: Dataset,
    matched: Matched,
    split: str | None,
    scoring: Scoring,
    bootstrap: Bootstrap,
    placements: Placements,
    baseline: _Baseline,
    judge: BoundsSource | None,
    command: str,
) -> Evaluation:
    """Every number of an evaluation, in the order of its document."""
    rows = matched.rows
    scores = _scores(rows, scoring, bootstrap)
    observers = _observers(rows, placements, scoring, bootstrap)
    coverage, coverage_note = coverage_by_model(rows, judge, nominal=scoring.coverage, bootstrap=bootstrap)
    return Evaluation(
        dataset=dataset.name,
        split=split,
        unit=rows.unit,
        n_cases=len(rows.cases),
        n_subjects=len(bootstrap.subjects),
        n_training_cases=sum(case.split == "train" for case in matched.cases),
        radii=list(scoring.radii),
        bootstrap=bootstrap.settings,
        bootstrap_note=None if bootstrap.possible else "no intervals: fewer than two subjects, or no resamples",
        overall=scores.overall,
        landmarks=scores.landmarks,
        ced=cumulative(rows.scored, scoring.radii),
        worst=largest_errors(rows),
        missing=missed_landmarks(rows),
        presence=presence_scores(rows, bootstrap),
        presence_threshold=scoring.presence_threshold,
        mean_shape=_mean_shape_scores(baseline, scoring, bootstrap),
        mean_shape_note=baseline.reason,
        observers=observers,
        observers_note=None if observers else "no case was marked by two observers, or twice by one",
        measurements=measurement_scores(dataset.measurements, rows, bootstrap, placements),
        measurements_note=None if dataset.measurements else "the description defines no measurements",
        coverage=coverage,
        coverage_note=coverage_note,
        reviews=describe_reviews(dataset.cases),
        cases=list(rows.cases),
        unknown_images=matched.unknown_images,
        versions=package_versions("numpy", "scipy"),
        command=command,
        fingerprint=fingerprint(rows),
    )


def _scores(rows: Rows, scoring: Scoring, bootstrap: Bootstrap) -> ScoreTable:
    return describe_landmarks(
        rows.scored, rows.names, error=rows.error, radii=scoring.radii, subjects=rows.subjects, bootstrap=bootstrap
    )


def _mean_shape_scores(baseline: _Baseline, scoring: Scoring, bootstrap: Bootstrap) -> MeanShapeScores | None:
    if baseline.rows is None:
        return None
    scores = _scores(baseline.rows, scoring, bootstrap)
    return MeanShapeScores(scores.overall, scores.landmarks, baseline.training_cases, baseline.placement)


def _observers(rows: Rows, placements: Placements, scoring: Scoring, bootstrap: Bootstrap) -> ObserverStatistics | None:
    """The observers and the predictions among them; None where no two placements can be compared."""
    radii, consensus = scoring.radii, scoring.consensus
    observers = observer_statistics(placements, radii=radii, consensus=consensus, bootstrap=bootstrap)
    if observers is None:
        return None
    model = model_among_observers(
        rows, placements, radii=radii, consensus=consensus, bootstrap=bootstrap, margin=scoring.margin
    )
    return replace(observers, model=model)


def _write(
    folder: Path,
    metrics: Evaluation,
    rows: Rows,
    cases: Sequence[Case],
    placements: Placements,
    baseline: _Baseline,
    reference_rule: str,
) -> None:
    """Every file of an evaluation, or none."""
    distances = None if metrics.observers is None else pairs_between(placements).distance
    texts: dict[str, str | Callable[[TextIO], None]] = {
        "rows.csv": lambda file: write_rows_csv(rows, file, reference_rule),
        "report.html": report_html(metrics, rows, cases, baseline=baseline.rows, observers=distances),
        "metrics.json": json_text(metrics),
        "table.md": markdown(metrics),
        "table.tex": latex(metrics),
    }
    if metrics.observers is not None:
        texts["observer_rows.csv"] = lambda file: write_observer_rows(rows, placements, file)
    write_together(folder, texts)


def _options(
    scoring: Scoring,
    frame: str | None,
    split: str | None,
    root: Path | str | None,
    model: BoundsSource | None,
    out: Path | str | None,
) -> dict[str, Option]:
    """The options of the command line that differ from their defaults."""
    return {
        "frame": frame, "split": split, "root": root, "radii": scoring.radii if scoring.radii != RADII else None,
        "presence-threshold": scoring.presence_threshold if scoring.presence_threshold != PRESENCE_THRESHOLD else None,
        "samples": scoring.samples if scoring.samples != SAMPLES else None, "seed": scoring.seed or None,
        "consensus": scoring.consensus.replace(" ", "-") if scoring.consensus != "mean" else None,
        "margin": scoring.margin if scoring.margin != min(scoring.radii) / 4 else None,
        "model": model if isinstance(model, Path | str) else None,
        "coverage": scoring.coverage if scoring.coverage != COVERAGE else None, "out": out,
    }  # fmt: skip


def _command(dataset: Dataset | Path | str, predictions: LandmarkTable | Path | str, options: dict[str, Option]) -> str:
    """The command line that repeats this evaluation, as far as it was given by files."""
    described = dataset if isinstance(dataset, Path | str) else dataset.path or dataset.name
    table = str(predictions) if isinstance(predictions, Path | str) else "PREDICTIONS.csv"
    return command_line("evaluate", [str(described), "--predictions", table], options)

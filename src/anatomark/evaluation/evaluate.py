"""evaluate: predictions of any origin against the reference of a data set."""

from __future__ import annotations

import platform
import shlex
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

import anatomark
from anatomark.errors import AnatomarkError, FrameError, SettingsError
from anatomark.evaluation.bootstrap import SAMPLES, checked_samples, of_subjects
from anatomark.evaluation.consensus import checked_consensus
from anatomark.evaluation.coverage import coverage_part, with_bounds
from anatomark.evaluation.equivalence import checked_margin
from anatomark.evaluation.gather import gather
from anatomark.evaluation.mean_shape import mean_shape
from anatomark.evaluation.measurements import measurement_scores
from anatomark.evaluation.metrics import RADII, checked_radii, cumulative, describe_block, missing, worst
from anatomark.evaluation.observers import model_among_observers, observer_statistics, pairs_between
from anatomark.evaluation.placements import placements_of
from anatomark.evaluation.predictions import read_predictions
from anatomark.evaluation.presence import presence_scores
from anatomark.evaluation.rows import Answer, Rows, fingerprint, observer_rows, reference_block, rows_csv
from anatomark.formats.atomic import replacing
from anatomark.methods.error_bound import COVERAGE
from anatomark.methods.prediction import SAID_ABSENT_BELOW

if TYPE_CHECKING:
    from anatomark.data.description import Case, Dataset
    from anatomark.ensemble import Ensemble
    from anatomark.formats.table import LandmarkTable
    from anatomark.model import Model


def evaluate(
    dataset: Dataset | Path | str,
    predictions: LandmarkTable | Path | str,
    *,
    split: str | None = None,
    frame: Literal["LPS", "RAS", "pixel"] | None = None,
    out: Path | str | None = None,
    root: Path | str | None = None,
    presence_threshold: float = SAID_ABSENT_BELOW,
    radii: Sequence[float] = RADII,
    samples: int = 2000,
    seed: int = 0,
    consensus: str = "mean",
    margin: float | None = None,
    model: Model | Ensemble | Path | str | None = None,
    coverage: float = COVERAGE,
) -> dict[str, Any]:
    """The metrics of predicted landmarks; with `out`, also metrics.json, rows.csv and report.html there.

    `docs/evaluation.md` tells every key. `unit` is mm or px, rates are percent; `overall` and each of `landmarks` have
    radial errors, detection rates within `radii` and biases with 95 % intervals, from `samples` resamples of subjects
    drawn from `seed` (`samples` 0: no intervals). `mean_shape` has the same for the training cases' mean shape, or is
    None with the reason in `mean_shape_note`; `observers` what two or more observers say of each other and of the
    predictions, with their `consensus` (mean or geometric-median) and an equivalence test with a `margin` in `unit`, by
    default a quarter of the smallest radius; `measurements` those of the description.

    `predictions` is a table, a landmark file of any known format, or the folder that `predict` has written; a file that
    does not say its frame needs `frame`. Images are matched to cases by name, with or without folder and ending. Scored
    are the cases of `split`, each of which is missing its landmarks if nothing was predicted for it; without `split`,
    the cases that the predictions name. A prediction whose presence is below `presence_threshold` says that the
    landmark is absent.

    `model`, or its run folder, is what made the predictions: its error bounds of `coverage` are judged. The folder of a
    run with folds may also stand for `predictions`, those of each case by the fold that has not seen it.

    Raises FrameError for an unknown frame or a wrong unit, UnknownNameError for an unknown landmark or split
    or if no image is known, LandmarkFileError for predictions that contradict each other, SettingsError, OutputError.
    """
    from anatomark.data.description import load_dataset
    from anatomark.data.missing_codes import require_no_codes, tell_predicted
    from anatomark.data.reviews import told_of_reviews

    if not 0 <= presence_threshold <= 1:
        raise SettingsError(f"the presence threshold is {presence_threshold:g}; it wants a value from 0 to 1")
    radii, samples = checked_radii(radii), checked_samples(samples)
    way, margin = checked_consensus(consensus), checked_margin(margin, radii)
    description, source = dataset, predictions
    if isinstance(dataset, Path | str):
        dataset = load_dataset(dataset, root)
    require_no_codes(dataset)
    if isinstance(predictions, Path | str):
        predictions = read_predictions(predictions, frame=frame, dataset=dataset)
    elif frame is not None and frame != predictions.frame:
        raise FrameError(f"the table is in {predictions.frame}, {frame} was asked for; leave the frame out")

    told = f"the predictions {source}" if isinstance(source, Path | str) else "the predictions"
    rows, cases, unknown = gather(dataset, predictions, split=split, presence_threshold=presence_threshold, source=told)
    tell_predicted(dataset, predictions, told)
    bootstrap = of_subjects(rows.subjects, samples, seed)

    def block(of: Rows) -> dict[str, Any]:
        return describe_block(
            of.scored, of.names, error=of.error, radii=radii, subjects=of.subjects, bootstrap=bootstrap
        )

    options = {
        "frame": frame, "split": split, "root": root, "radii": radii if radii != RADII else None,
        "presence-threshold": presence_threshold if presence_threshold != SAID_ABSENT_BELOW else None,
        "samples": samples if samples != SAMPLES else None, "seed": seed or None,
        "consensus": way.replace(" ", "-") if way != "mean" else None,
        "margin": margin if margin != min(radii) / 4 else None,
        "model": model if isinstance(model, Path | str) else None,
        "coverage": coverage if coverage != COVERAGE else None, "out": out,
    }  # fmt: skip
    baseline, about_shape = _baseline(dataset, cases, rows)
    placements = placements_of(dataset, cases)
    metrics: dict[str, Any] = {
        "dataset": dataset.name,
        "split": split,
        "unit": rows.unit,
        "n_cases": len(rows.cases),
        "n_subjects": len(bootstrap.subjects),
        "n_training_cases": sum(case.split == "train" for case in cases),
        "radii": list(radii),
        "bootstrap": {"samples": samples, "seed": seed, "level": bootstrap.level},
        "bootstrap_note": None if bootstrap.possible else "no intervals: fewer than two subjects, or no resamples",
        **block(rows),
        "ced": cumulative(rows.scored, radii),
        "worst": worst(rows),
        "missing": missing(rows),
        "presence": presence_scores(rows, bootstrap),
        "presence_threshold": presence_threshold,
        "mean_shape": None,
        "mean_shape_note": None,
        "observers": None,
        "observers_note": None,
        "measurements": measurement_scores(dataset.measurements, rows, bootstrap, placements),
        "measurements_note": None if dataset.measurements else "the description defines no measurements",
        **coverage_part(rows, None if _same(model, source) else model, nominal=coverage, bootstrap=bootstrap),
        "reviews": told_of_reviews(dataset),
        "cases": list(rows.cases),
        "unknown_images": unknown,
        "versions": {
            "anatomark": anatomark.__version__,
            "numpy": version("numpy"),
            "scipy": version("scipy"),
            "python": platform.python_version(),
        },
        "command": _command(description, source, options),
        "fingerprint": fingerprint(rows),
    }
    if baseline is None:
        metrics["mean_shape_note"] = about_shape["reason"]
    else:
        shape = block(baseline)
        metrics["mean_shape"] = shape["overall"] | shape | about_shape
    observers = observer_statistics(placements, radii=radii, consensus=way, bootstrap=bootstrap)
    if observers is None:
        metrics["observers_note"] = "no case was marked by two observers, or twice by one"
    else:
        observers["model"] = model_among_observers(
            rows, placements, radii=radii, consensus=way, bootstrap=bootstrap, margin=margin
        )
        metrics["observers"] = observers
    if out is not None:
        from anatomark.evaluation.report import report_html
        from anatomark.evaluation.tables import latex, markdown

        judge = None if _same(model, source) else model
        rows = rows if judge is None else with_bounds(rows, judge, nominal=coverage)
        distances = None if observers is None else pairs_between(placements).distance
        html = report_html(metrics, rows, cases, baseline=baseline, observers=distances)
        whose = dataset.reference_rule
        texts = {"rows.csv": rows_csv(rows, whose), "report.html": html, "metrics.json": json_text(metrics)}
        texts |= {"table.md": markdown(metrics), "table.tex": latex(metrics)}
        if observers is not None:
            texts["observer_rows.csv"] = observer_rows(rows, placements)
        write_together(Path(out), texts)
    return metrics


def _same(model: Any, predictions: Any) -> bool:
    """Whether a run's bounds would be judged by the predictions that calibrated them; its folds' own are there too."""
    return isinstance(model, Path | str) and isinstance(predictions, Path | str) and Path(model) == Path(predictions)


def _baseline(dataset: Dataset, cases: Sequence[Case], rows: Rows) -> tuple[Rows | None, dict[str, Any]]:
    """The rows of the mean shape and how it was made, or None and the reason."""
    train = dataset.split("train") if "train" in dataset.splits else ()
    train = [case for case in train if case.reference.present.any()]
    if not train:
        return None, {"reason": "no annotated case is in a split named train"}
    points, _ = reference_block([case.reference for case in train], rows.names)
    try:
        shape = mean_shape([case.read_grid() for case in train], points)
        predicted = np.stack([shape.place(case.read_grid()) for case in cases])
    except (AnatomarkError, OSError) as error:
        return None, {"reason": f"an image could not be read: {error}"}
    found = np.isfinite(predicted).all(axis=-1)
    answers = np.where(found, Answer.PRESENT, Answer.MISSING).astype(np.uint8)
    nothing = np.full(found.shape, np.nan)
    placed = replace(rows, predicted=predicted, answers=answers, presence=nothing)
    return placed, {"training_cases": len(train), "placement": shape.placement}


def _command(dataset: Any, predictions: Any, options: dict[str, Any]) -> str:
    """The command line that repeats this evaluation, as far as it was given by files."""
    words = ["anatomark", "evaluate"]
    words.append(str(dataset if isinstance(dataset, Path | str) else dataset.path or dataset.name))
    words += ["--predictions", str(predictions) if isinstance(predictions, Path | str) else "PREDICTIONS.csv"]
    return shlex.join([*words, *option_words(options)])


def option_words(options: dict[str, Any]) -> list[str]:
    """The words of options that have a value, in their order."""
    words = []
    for option, value in options.items():
        if value is not None:
            listed = isinstance(value, tuple | list)
            words += [f"--{option}", ",".join(f"{v:g}" for v in value) if listed else str(value)]
    return words


def json_text(metrics: dict[str, Any]) -> str:
    import json

    return json.dumps(metrics, indent=2, allow_nan=False, ensure_ascii=False) + "\n"


def write_together(folder: Path, texts: dict[str, str]) -> None:
    """All of the files or none: they take their places when every one is whole."""
    with ExitStack() as stack:
        for name, text in texts.items():
            stack.enter_context(replacing(folder / name)).write_text(text, encoding="utf-8")

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
from anatomark.errors import AnatomarkError, FrameError, LandmarkFileError, SettingsError
from anatomark.evaluation.gather import gather
from anatomark.evaluation.mean_shape import mean_shape
from anatomark.evaluation.metrics import (
    describe_block,
    missing,
    observer_distances,
    presence_confusion,
)
from anatomark.evaluation.rows import Answer, Rows, reference_block, rows_csv
from anatomark.formats.atomic import replacing
from anatomark.methods.prediction import SAID_ABSENT_BELOW

if TYPE_CHECKING:
    from anatomark.data.description import Case, Dataset
    from anatomark.formats.table import LandmarkTable


def evaluate(
    dataset: Dataset | Path | str,
    predictions: LandmarkTable | Path | str,
    *,
    split: str | None = None,
    frame: Literal["LPS", "RAS", "pixel"] | None = None,
    out: Path | str | None = None,
    root: Path | str | None = None,
    presence_threshold: float = SAID_ABSENT_BELOW,
) -> dict[str, Any]:
    """The metrics of predicted landmarks; with `out`, also metrics.json, rows.csv and report.html there.

    `unit` is mm or px, rates are percent. `overall` and each of `landmarks` have n, n_missing, mre, median,
    sd and sdr {"2", "2.5", "3", "4"}; `mean_shape` has the same for the training cases' mean
    shape (its overall numbers also directly), or is None with the reason in `mean_shape_note`. `missing` lists what was
    not found, `presence` is {reference: {prediction: count}}. `n_training_cases` are those of a split called train.

    `predictions` is a table or its file; a file that does not say its frame needs `frame`. Images are matched
    to cases by name, with or without folder and ending. Scored are the cases of `split`, each of which is
    missing its landmarks if nothing was predicted for it; without `split`, the cases that the predictions
    name. A prediction whose presence is below `presence_threshold` says that the landmark is absent.

    Raises FrameError for an unknown frame or a wrong unit, UnknownNameError for an unknown landmark or split
    or if no image is known, LandmarkFileError for predictions that contradict each other, OutputError.
    """
    from anatomark.data.description import load_dataset
    from anatomark.formats.table import read_table

    if not 0 <= presence_threshold <= 1:
        raise SettingsError(f"the presence threshold is {presence_threshold:g}; it wants a value from 0 to 1")
    description, source = dataset, predictions
    if isinstance(dataset, Path | str):
        dataset = load_dataset(dataset, root)
    if isinstance(predictions, Path | str):
        predictions = read_table(_table_path(Path(predictions)), frame=frame)
    elif frame is not None and frame != predictions.frame:
        raise FrameError(f"the table is in {predictions.frame}, {frame} was asked for; leave the frame out")

    told = f"the predictions {source}" if isinstance(source, Path | str) else "the predictions"
    rows, cases, unknown = gather(dataset, predictions, split=split, presence_threshold=presence_threshold, source=told)
    baseline, about_shape = _baseline(dataset, cases, rows)
    observers = observer_distances([case.observers for case in cases], rows.names)
    metrics: dict[str, Any] = {
        "dataset": dataset.name,
        "split": split,
        "unit": rows.unit,
        **describe_block(rows.scored, rows.names),
        "missing": missing(rows),
        "mean_shape": None,
        "mean_shape_note": None,
        "presence": presence_confusion(rows),
        "presence_threshold": presence_threshold,
        "observers": None,
        "n_cases": len(rows.cases),
        "n_training_cases": sum(case.split == "train" for case in cases),
        "cases": list(rows.cases),
        "unknown_images": unknown,
        "versions": {
            "anatomark": anatomark.__version__,
            "numpy": version("numpy"),
            "python": platform.python_version(),
        },
    }
    if baseline is None:
        metrics["mean_shape_note"] = about_shape["reason"]
    else:
        block = describe_block(baseline.scored, rows.names)
        metrics["mean_shape"] = block["overall"] | block | about_shape
    if observers is not None:
        metrics["observers"] = {"names": list(observers[0])} | describe_block(observers[1], rows.names)
    if out is not None:
        from anatomark.evaluation.report import report_html

        command = _command(description, source, split, frame, root, presence_threshold, out)
        distances = None if observers is None else observers[1]
        html = report_html(metrics, rows, cases, baseline=baseline, observers=distances, command=command)
        _write(Path(out), {"rows.csv": rows_csv(rows), "report.html": html, "metrics.json": _json(metrics)})
    return metrics


def _table_path(path: Path) -> Path:
    if path.is_dir() or path.name.lower().endswith((".json", ".fcsv")):
        raise LandmarkFileError(
            f"{path} is no table; make one of landmark files with: anatomark convert {shlex.quote(str(path))} table.csv"
        )
    return path


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


def _command(dataset: Any, predictions: Any, split: Any, frame: Any, root: Any, threshold: float, out: Any) -> str:
    """The command line that repeats this evaluation, as far as it was given by files."""
    words = ["anatomark", "evaluate"]
    words.append(str(dataset if isinstance(dataset, Path | str) else dataset.path or dataset.name))
    words += ["--predictions", str(predictions) if isinstance(predictions, Path | str) else "PREDICTIONS.csv"]
    for option, value in (("--frame", frame), ("--split", split), ("--root", root)):
        words += [option, str(value)] if value is not None else []
    words += ["--presence-threshold", f"{threshold:g}"] if threshold != 0.5 else []
    return shlex.join([*words, "--out", str(out)])


def _json(metrics: dict[str, Any]) -> str:
    import json

    return json.dumps(metrics, indent=2, allow_nan=False, ensure_ascii=False) + "\n"


def _write(folder: Path, texts: dict[str, str]) -> None:
    """All of the files or none: they take their places when every one is whole."""
    with ExitStack() as stack:
        for name, text in texts.items():
            stack.enter_context(replacing(folder / name)).write_text(text, encoding="utf-8")

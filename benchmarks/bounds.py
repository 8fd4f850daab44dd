"""Whether error bounds follow the image: their coverage, how spread ranks errors, and what constant bounds would be.

python -m benchmarks bounds ceph19 datasets/isbi2015_ceph.yaml --root DATA --split test1
"""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.stats import rankdata

from anatomark.core.grid import Floats
from anatomark.methods.error_bound import COVERAGE, ErrorBounds
from benchmarks.results import provenance, write
from benchmarks.run_log import training_of
from benchmarks.suitability import evenly

if TYPE_CHECKING:
    from anatomark.data.description import Case, Dataset
    from anatomark.model import Model

WIDEST = 0.1  # of the bounds, whose coverage is told apart


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks bounds")
    parser.add_argument("model")
    parser.add_argument("dataset")
    parser.add_argument("--root", default=None)
    parser.add_argument("--split", required=True)
    parser.add_argument("--most", type=int, default=None, help="cases, evenly taken from the split")
    options = parser.parse_args(arguments)

    from anatomark import load, load_dataset
    from anatomark.ready_made import run_folder

    dataset = load_dataset(options.dataset, options.root)
    model = load(options.model, device="cpu")
    cases = dataset.split(options.split)
    if options.most is not None:
        cases = evenly(cases, options.most)
    row = measured(model, cases, validation_of(run_folder(options.model), dataset))
    about = provenance(f"python -m benchmarks bounds {shlex.join(arguments)}")
    result = {"kind": "bounds", "model": Path(options.model).name, "dataset": dataset.name, "split": options.split}
    print(write(f"bounds_{Path(options.model).name}_{dataset.name}_{options.split}", {**result, **about, **row}))


def validation_of(folder: Path, dataset: Dataset) -> list[Case]:
    """The validation cases of the model in `folder`: by the record of its run, or as its settings choose them."""
    from anatomark.training.calibration_cases import seen
    from anatomark.training.roles import training_roles

    if (record := seen(folder)) is not None:
        return [dataset.case(id) for id in record["validation"]]
    training = training_of(folder)
    return list(training_roles(dataset, "train", None, training["validation_fraction"], training["seed"])["validation"])


def measured(model: Model, cases: Sequence[Case], validation: Sequence[Case]) -> dict[str, Any]:
    """What the bounds of `model` are worth on `cases`, beside constant ones that its `validation` cases calibrate."""
    from anatomark.training.calibrate import found_in
    from anatomark.training.own_predictions import radial

    before, found = (found_in(model, part, lambda done, total, name: None) for part in (validation, cases))
    ones = np.ones(before.spread.shape)
    errors = radial(before.points, before.references)
    constant = ErrorBounds.fitted(errors, ones, subjects=before.subjects, names=model.names, unit=model.unit)
    suitable = np.array([reason is None for reason in found.unsuitable])
    errors = radial(found.points, found.references)[suitable]
    spread = found.spread[suitable]
    bounds, fixed = model.bounds.bound(spread), constant.bound(np.ones(spread.shape))
    row: dict[str, Any] = {"images": len(cases), "suitable": int(suitable.sum()), "validation": len(validation)}
    row |= {"error": float(np.nanmean(errors)), "correlation": rank_correlation(spread, errors)}
    if found.located is not None:
        votes = np.stack([stages[-1].spread for stages in found.located])[suitable]
        row["correlation_of_votes"] = rank_correlation(votes, errors)
    known = np.isfinite(errors) & np.isfinite(bounds) & np.isfinite(fixed)
    if not known.any():  # too few validation cases
        return row
    e, b, f = errors[known], bounds[known], fixed[known]
    wide = b / f >= np.quantile(b / f, 1 - WIDEST)
    row |= {"length": float(b.mean()), "coverage": _percent(e <= b), "widest": _percent((e <= b)[wide])}
    row |= {"constant_length": float(f.mean()), "constant_coverage": _percent(e <= f)}
    row["shorter"] = 100 * (1 - _length_at(e, b) / _length_at(e, f))
    return row


def rank_correlation(spread: Floats, errors: Floats) -> float:
    """Of ranks (M, N) within landmarks, all landmarks together."""
    ranked = [_ranks(np.where(np.isfinite(errors), values, np.nan)) for values in (spread, errors)]
    on = np.isfinite(ranked[0]) & np.isfinite(ranked[1])
    return float(np.corrcoef(ranked[0][on], ranked[1][on])[0, 1])


def _ranks(values: Floats) -> Floats:
    """Between -1/2 and 1/2 in each column (M,); NaN stays."""
    ranks = np.full(values.shape, np.nan)
    for of, column in zip(ranks.T, values.T, strict=True):
        known = np.isfinite(column)
        if known.any():
            of[known] = (rankdata(column[known]) - 0.5) / known.sum() - 0.5
    return ranks


def _length_at(errors: Floats, bounds: Floats) -> float:
    """The mean of `bounds` times the number with which they cover COVERAGE of these errors."""
    return float(bounds.mean() * np.quantile(errors / bounds, COVERAGE))


def _percent(values: np.ndarray) -> float:
    return float(values.mean() * 100)

"""The rows of time_to_error: how far off each training is, and how much farther than the heatmap network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.run_log import log_of, validations
from benchmarks.time_to_error_run import Spec, Told, predictions, read_spec
from benchmarks.time_to_error_sets import PreparedSet

if TYPE_CHECKING:
    from anatomark.data.description import Dataset
    from anatomark.evaluation.rows import Rows

REFERENCE = "heatmap"


@dataclass(frozen=True, eq=False)
class Run:
    """A training that has ended, with the Rows of each split that it has predicted."""

    spec: Spec
    told: Told
    folder: Path
    rows: Mapping[str, Rows]


def set_result(folders: Sequence[Path], prepared: Mapping[int, PreparedSet]) -> dict[str, Any]:
    """{"unit", "scored", "rows", "differences", "mean_shape"} of the trainings of a set; `prepared` is by seed."""
    runs = [_run(folder, prepared) for folder in folders]
    runs.sort(key=lambda run: (run.spec.minutes, run.spec.seed, run.spec.method))
    one = next(iter(prepared.values()))
    splits = [one.scored, *one.tests]
    return {
        "unit": one.dataset.unit,
        "scored": one.scored,
        "rows": [_row(run) for run in runs],
        "differences": [line for split in splits for line in _differences(runs, split)],
        "mean_shape": _mean_shape(runs, prepared, one.scored),
    }


def with_earlier(result: dict[str, Any], earlier: Mapping[str, Any]) -> dict[str, Any]:
    """The same with the trainings of an `earlier` result of the set whose folders are gone; a row says its commit."""
    if not earlier or any(result[key] != earlier[key] for key in ("unit", "scored")):
        return result

    def joined(name: str, *keys: str) -> list[dict[str, Any]]:
        new = {tuple(str(line[key]) for key in keys) for line in result[name]}
        kept = [line for line in earlier[name] if tuple(str(line[key]) for key in keys) not in new]
        return sorted([*kept, *result[name]], key=lambda line: (line["minutes"], str(line.get("seed")), line["method"]))

    rows = joined("rows", "method", "minutes", "seed")
    again = {(row["minutes"], row["method"]) for row in result["rows"]}  # a difference is of trainings that are there
    still = [
        line
        for line in earlier["differences"]
        if not {(line["minutes"], line["method"]), (line["minutes"], REFERENCE)} & again
    ]
    return {**result, "rows": rows, "differences": [*still, *result["differences"]]}


def _run(folder: Path, prepared: Mapping[int, PreparedSet]) -> Run:
    spec = read_spec(folder)
    part = prepared[spec.seed]
    tables = {split: predictions(folder, split) for split in (part.scored, *part.tests)}
    rows = {split: _rows(part.dataset, table, split) for split, table in tables.items() if table.exists()}
    return Run(spec, Told.read(folder), folder, rows)


def _rows(dataset: Dataset, table: Path, split: str) -> Rows:
    """The predictions in `table` beside the reference, of the cases of `split` that they name."""
    from anatomark.evaluation.match_predictions import match_predictions
    from anatomark.evaluation.predictions import read_predictions
    from anatomark.methods.prediction import PRESENCE_THRESHOLD

    read = read_predictions(table, dataset=dataset)
    return match_predictions(dataset, read, split=split, presence_threshold=PRESENCE_THRESHOLD).rows


def _row(run: Run) -> dict[str, Any]:
    """What one training took, and the scores of each split with the mean error of each case."""
    told, log = run.told, log_of(run.folder / "run")
    return {
        "method": run.spec.method,
        "minutes": run.spec.minutes,
        "seed": run.spec.seed,
        "settings": dict(run.spec.settings),
        "failed": told.failed,
        "core_seconds": round(told.core_seconds, 1),
        "wall_seconds": round(told.wall_seconds, 1),
        "busy": round(told.core_seconds / max(told.wall_seconds, 1e-9), 3),
        "starts": told.starts,
        "steps": log["steps"],
        "validations": validations(run.folder / "run"),
        "seconds_per_image": told.seconds_per_image,
        "commits": told.commits,
        **told.made_by,
        "scores": {split: _scores(rows) for split, rows in run.rows.items()},
    }


def _scores(rows: Rows) -> dict[str, Any]:
    """MRE, median and detection rates over all landmarks, and {case: its mean error}, None where nothing is found."""
    from anatomark.evaluation.metrics import describe

    overall = describe(rows.scored, rows.error)
    found = np.where(rows.found, rows.radial, np.nan)
    cases = {
        case: round(float(np.nanmean(line)), 4) if np.isfinite(line).any() else None
        for case, line in zip(rows.cases, found, strict=True)
    }
    return {
        "mre": overall.mre,
        "median": overall.median,
        "sd": overall.sd,
        "sdr": dict(overall.sdr),
        "n": overall.n,
        "n_missing": overall.n_missing,
        "cases": cases,
    }


def _differences(runs: Sequence[Run], split: str) -> list[dict[str, Any]]:
    """How much farther off than the heatmap network each other method is after as many minutes, seeds together."""
    by: dict[tuple[float, str], dict[int, Rows]] = {}
    for run in runs:
        if split in run.rows:
            by.setdefault((run.spec.minutes, run.spec.method), {})[run.spec.seed] = run.rows[split]
    told: list[dict[str, Any]] = []
    for (minutes, method), found in by.items():
        other = by.get((minutes, REFERENCE), {})
        seeds = sorted(found.keys() & other.keys())
        if method == REFERENCE or not seeds:
            continue
        line = relative_difference([(found[seed], other[seed]) for seed in seeds])
        told.append({"split": split, "minutes": minutes, "method": method, "seeds": seeds, **line})
    return told


def relative_difference(pairs: Sequence[tuple[Rows, Rows]]) -> dict[str, Any]:
    """{"percent", "interval", "subjects"}: how much larger the mean error of the first of each pair is, in percent.

    Only landmarks that both have found count, of the cases that both have. The 95 % interval is of the ratio of the two
    means, with subjects resampled; None where there are fewer than two.
    """
    from anatomark.evaluation.bootstrap import bootstrap_for

    sums: dict[str, list[float]] = {}
    for a, b in pairs:
        common = [case for case in a.cases if case in set(b.cases)]
        a, b = a.of_cases(common), b.of_cases(common)
        both = a.found & b.found
        for subject, here, one, other in zip(a.subjects, both, a.radial, b.radial, strict=True):
            total = sums.setdefault(subject, [0.0, 0.0])
            total[0] += float(one[here].sum())
            total[1] += float(other[here].sum())
    totals = np.array(list(sums.values())).reshape(-1, 2)
    all_a, all_b = totals.sum(axis=0)
    if not all_b:
        return {"percent": None, "interval": None, "subjects": len(sums)}
    bootstrap = bootstrap_for(list(sums))
    interval = None
    if bootstrap.possible:
        drawn = bootstrap.sums(bootstrap.totals(totals, list(sums)))
        interval = [round(float(limit), 2) for limit in bootstrap.interval(100 * (drawn[:, 0] / drawn[:, 1] - 1))]
    return {"percent": round(100 * (all_a / all_b - 1), 2), "interval": interval, "subjects": len(sums)}


def _mean_shape(runs: Sequence[Run], prepared: Mapping[int, PreparedSet], split: str) -> dict[str, Any] | None:
    """The scores of the mean shape of the training cases, the floor of every method; None without a prediction."""
    from anatomark import evaluate

    run = next((run for run in runs if split in run.rows), None)
    if run is None:
        return None
    metrics = evaluate(prepared[run.spec.seed].dataset, predictions(run.folder, split), split=split, samples=0)
    if metrics.mean_shape is None:
        return None
    overall = metrics.mean_shape.overall
    return {"mre": overall.mre, "median": overall.median, "n": overall.n}

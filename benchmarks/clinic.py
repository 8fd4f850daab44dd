"""Another clinic: offsets and bounds learned from a few of a split's cases, scored on the rest of it, in many draws.

python -m benchmarks clinic ceph19 datasets/isbi2015_ceph.yaml --root DATA --splits test1 test2

Predictions are made once and kept in `--cache`.
"""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.results import provenance, write

if TYPE_CHECKING:
    from anatomark.data.description import Case
    from anatomark.model import Model

Floats = NDArray[np.float64]
CALIBRATED_BY = (5, 10, 20)
RADIUS = 2.0
COVERAGE = 0.9


@dataclass(frozen=True, eq=False)
class Answers:
    """Predicted points (M, N, d), spreads (M, N) and references (M, N, d) of M cases of `subjects`."""

    points: Floats
    spread: Floats
    references: Floats
    subjects: tuple[str, ...]


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks clinic")
    parser.add_argument("model")
    parser.add_argument("dataset")
    parser.add_argument("--root", default=None)
    parser.add_argument("--splits", nargs="+", required=True)
    parser.add_argument("--draws", type=int, default=100)
    parser.add_argument("--cache", type=Path, default=Path("runs") / "clinic")
    options = parser.parse_args(arguments)

    from anatomark import load, load_dataset

    dataset = load_dataset(options.dataset, options.root)
    model = load(options.model, device="cpu")
    rows: list[dict[str, Any]] = []
    for split in options.splits:
        kept = options.cache / f"{Path(options.model).name}_{dataset.name}_{split}.npz"
        answers = predicted(model, dataset.split(split), kept)
        rows += [{"split": split, **row} for row in measured(model, answers, options.draws)]
    about = provenance(f"python -m benchmarks clinic {shlex.join(arguments)}")
    result = {"kind": "clinic", "model": Path(options.model).name, "dataset": dataset.name, "draws": options.draws}
    name = f"clinic_{Path(options.model).name}_{dataset.name}"
    print(write(name, {**result, "radius": RADIUS, **about, "rows": rows}))


def predicted(model: Model, cases: Sequence[Case], kept: Path) -> Answers:
    """What the model finds in `cases`, read from the file `kept` where that has all of them, else kept there."""
    ids = [case.id for case in cases]
    if not kept.exists() or np.load(kept)["ids"].tolist() != ids:
        found = [model.predict(case.read_image(), source=case.id) for case in cases]
        kept.parent.mkdir(parents=True, exist_ok=True)
        points, spread = np.stack([f.landmarks.points for f in found]), np.stack([f.spread for f in found])
        np.savez(kept, ids=ids, points=points, spread=spread)
    held = np.load(kept)
    references = np.stack([case.reference.select(model.names).points for case in cases])
    return Answers(held["points"], held["spread"], references, tuple(case.subject for case in cases))


def measured(model: Model, answers: Answers, draws: int) -> list[dict[str, Any]]:
    """A row without calibration, and one for each number of cases: the means over draws, and 5th to 95th percentile."""
    from anatomark.training.adapt import learned

    everything = np.arange(len(answers.subjects))
    before = scores(answers.points, answers.references, model.bounds.bound(answers.spread, COVERAGE))
    rows: list[dict[str, Any]] = [{"cases": 0, **before}]
    for count in CALIBRATED_BY:
        rng = np.random.default_rng(0)
        each: list[dict[str, float]] = []
        for _ in range(draws):
            chosen = rng.permutation(everything)[:count]
            rest = np.setdiff1d(everything, chosen)
            taught = learned(
                model,
                answers.points[chosen],
                answers.references[chosen],
                answers.spread[chosen],
                subjects=[answers.subjects[k] for k in chosen],
                source="cases of the clinic",
            )
            moved = taught.offsets.apply(answers.points[rest], np.ones(answers.spread[rest].shape))
            bounds = taught.bounds.bound(answers.spread[rest], COVERAGE)
            unmoved = np.linalg.norm(answers.points[rest] - answers.references[rest], axis=2)
            each.append({**scores(moved, answers.references[rest], bounds), "unmoved": float(np.nanmean(unmoved))})
        row: dict[str, Any] = {key: float(np.mean([one[key] for one in each])) for key in each[0]}
        low, high = np.percentile([one["mre"] for one in each], [5, 95])
        worse = float(np.mean([one["mre"] > one["unmoved"] for one in each]))
        rows.append({"cases": count, **row, "mre_5": float(low), "mre_95": float(high), "worse": worse})
    return rows


def scores(points: Floats, references: Floats, bounds: Floats) -> dict[str, float]:
    """mre, sdr (percent within RADIUS), coverage (percent within bounds) and the mean bound."""
    errors = np.linalg.norm(points - references, axis=2)
    known = np.isfinite(errors)
    within, covered = (errors <= RADIUS)[known], (errors <= bounds)[known]
    return {
        "mre": float(errors[known].mean()),
        "sdr": float(within.mean() * 100),
        "coverage": float(covered.mean() * 100),
        "bound": float(bounds[known].mean()),
    }

"""What the sections of the report show: for each its charts by name and the words and rows of its template."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from anatomark.core.grid import Floats
from anatomark.data.cases import Case
from anatomark.evaluation import charts
from anatomark.evaluation.chart_agreement import bland_altman, coverage, farthest, reliability
from anatomark.evaluation.chart_bias import AXES, bias_arrows, bias_shape
from anatomark.evaluation.gallery import case_errors, gallery
from anatomark.evaluation.numbers import NONE, count
from anatomark.evaluation.results import Evaluation
from anatomark.evaluation.rows import Rows
from anatomark.evaluation.sentences import (
    among_observers,
    between_observers,
    coverage_sentence,
    equivalence_sentence,
    level_of,
)

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

Part = tuple[dict[str, "Figure"], dict[str, object]]
"""Figures by name, and the context of a template."""

_MOST_LISTED, _MOST_MEASUREMENTS, _MOST_PAIRS, _WORST_CASES = 100, 24, 10, 20
_AXES_EXPLAINED = {
    2: "x to the right and y downwards in an upright image",
    3: "x towards the patient's left, y towards the back, z towards the head",
}


@dataclass(frozen=True)
class WorstCase:
    """A case of `n` landmarks with its mean radial error, its misses, and its worst landmark's error."""

    case: str
    n: int
    mre: float | None
    missed: int
    worst: str
    error: float | None


def shown(metrics: Evaluation, rows: Rows) -> list[tuple[str, str, str]]:
    """(id, title, template) of the sections that have something to show, or a reason for showing nothing."""
    every = (
        ("errors", "Error of each landmark", True),
        ("cumulative", "Cumulative error", metrics.overall.n),
        ("spread", "Spread of the error", rows.found.any()),
        ("bias", "Systematic error", rows.found.any()),
        ("observers", "Observers", metrics.observers or metrics.observers_note),
        ("measurements", "Measurements", metrics.measurements or metrics.measurements_note),
        ("presence", "Present or absent", True),
        ("calibration", "Error bounds and calibration", metrics.coverage or metrics.coverage_note),
        ("cases", "Largest errors", rows.counted.any()),
        ("missing", "Not found", metrics.missing),
        ("pictures", "Pictures", True),
        ("made", "How this was made", True),
    )
    return [(name, title, f"sections/{name}.html.j2") for name, title, has_content in every if has_content]


def errors(metrics: Evaluation, rows: Rows, baseline: Rows | None, observers: Floats | None) -> Part:
    """Cumulative curves and box plots."""
    radius = np.asarray(metrics.ced.radius)
    curves = {"prediction": metrics.ced}
    for name, scored in (("between observers", observers), ("mean shape", baseline.scored if baseline else None)):
        if scored is not None:
            curves[name] = charts.curve(scored.ravel(), radius)
    inter = between_observers(metrics)
    figures = {
        "cumulative": charts.cumulative(curves, metrics.radii, rows.unit),
        "boxes": charts.boxes(rows, inter.landmarks if inter else None),
    }
    return figures, {"boxes_shown": len(charts.boxed(rows)), "boxes_beside": inter is not None}


def bias(metrics: Evaluation, rows: Rows) -> Part:
    """Arrows on the mean shape, where there are any."""
    d = rows.reference.shape[-1]
    shape = bias_shape(rows, metrics.landmarks)
    figures = {} if shape is None else {"bias": bias_arrows(shape, rows.unit)}
    return figures, {
        "axes": AXES[:d],
        "axes_explained": _AXES_EXPLAINED[d],
        "bias_factor": shape.factor if shape else 1,
        "beside": d == 2 and shape is not None,  # 3D has three pictures and no room beside them
    }


def of_observers(metrics: Evaluation) -> Part:
    """Distances between observers, within each, from each to the others, and from the prediction to each."""
    lines = []
    if inter := between_observers(metrics):
        lines.append(("between observers", inter.overall))
    observers = metrics.observers
    pairs = observers.pairs if observers else ()
    if 1 < len(pairs) <= _MOST_PAIRS:
        lines += [(f"{' to '.join(pair.between)}", pair.overall) for pair in pairs]
    if observers and observers.intra:
        lines.append(("within observers", observers.intra.overall))
    if observers and len(observers.each) > 2:  # of two, each one's other is in the first line
        lines += [(f"{scores.observer} to {scores.against}", scores.overall) for scores in observers.each]
    model = observers.model if observers else ()
    lines += [(f"prediction to {scores.against}", scores.overall) for scores in model]
    chosen, test = among_observers(metrics) or (None, None)
    return {}, {
        "observer_rows": lines,
        "pairs_left_out": len(pairs) if len(pairs) > _MOST_PAIRS else 0,
        "tests": [(scores.against, scores.equivalence) for scores in model if scores.equivalence],
        "chosen": chosen,
        "test_level": level_of(1 - 2 * test.alpha) if test else "",
        "equivalence_sentence": equivalence_sentence(chosen, test, metrics) if chosen and test else "",
    }


def measurements(metrics: Evaluation) -> Part:
    """A Bland-Altman plot of each measurement."""
    every = metrics.measurements or ()
    figures = {f"measurement-{i}": bland_altman(m) for i, m in enumerate(every[:_MOST_MEASUREMENTS]) if m.rows}
    return figures, {
        "most_measurements": _MOST_MEASUREMENTS,
        "classified": any(m.classes for m in every),
        "observed": any(m.observers for m in every),
    }


def calibration(metrics: Evaluation) -> Part:
    """Observed coverage and presence against the nominal and the predicted ones."""
    found = metrics.coverage
    if found is None:
        return {}, {}
    figures: dict[str, Figure] = {}
    nominal = 100 * found.nominal
    known = {name: value for name, value in found.landmarks.items() if value is not None}
    withheld: dict[str, list[str]] = {}
    for name, reason in found.withheld.items():
        withheld.setdefault(reason, []).append(name)
    if curve := found.curve:
        figures["reliability"] = reliability(
            [p.nominal for p in curve],
            [p.observed for p in curve],
            across="nominal coverage (%)",
            up="errors within the bound (%)",
        )
    if bins := found.presence_curve:
        figures["presence"] = reliability(
            [p.predicted for p in bins],
            [p.observed for p in bins],
            text=[f"n = {p.n}" for p in bins],
            across="predicted presence (%)",
            up="present in the reference (%)",
        )
    if known:
        figures["coverage"] = coverage(known, nominal)
    return figures, {
        "coverage_sentence": coverage_sentence(found, metrics),
        "coverage_known": len(known),
        "coverage_shown": len(farthest(known, nominal)),
        "withheld": withheld,
    }


def of_cases(metrics: Evaluation, rows: Rows, cases: Sequence[Case]) -> Part:
    """The worst cases, the presence table's headings, the pictures, and what was scored."""
    confusion = metrics.presence.confusion
    parts = [
        count(metrics.n_cases, "case"),
        count(metrics.n_subjects, "subject"),
        count(metrics.overall.n, "present landmark"),
    ]
    return {}, {
        "answers": list(next(iter(confusion.values()), {})),
        "confusion_total": sum(sum(line.values()) for line in confusion.values()),
        "worst_cases": _worst_cases(rows),
        "most_listed": _MOST_LISTED,
        "gallery": gallery(rows, cases),
        "bounds_drawn": bool(np.isfinite(rows.bound).any()),
        "data_scored": ", ".join(parts),
    }


def _worst_cases(rows: Rows) -> list[WorstCase]:
    """The cases with the largest mean radial error, those where nothing was found first."""
    mean = case_errors(rows)
    missed = (rows.counted & ~rows.found).sum(axis=1)
    counted = rows.counted.any(axis=1)
    key = np.where(np.isnan(mean), np.where(counted, np.inf, -np.inf), mean)
    lines = []
    for i in np.argsort(-key, kind="stable")[:_WORST_CASES].tolist():
        radial = np.where(rows.found[i], rows.radial[i], -1.0)
        k = int(radial.argmax())
        lines.append(
            WorstCase(
                case=rows.cases[i],
                n=int(rows.counted[i].sum()),
                mre=None if np.isnan(mean[i]) else float(mean[i]),
                missed=int(missed[i]),
                worst=rows.names[k] if radial[k] >= 0 else NONE,
                error=float(radial[k]) if radial[k] >= 0 else None,
            )
        )
    return lines

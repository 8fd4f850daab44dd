"""What the sections of the report show: for each its charts by name and the words and rows of its template."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from anatomark.core.grid import Floats
from anatomark.evaluation import charts
from anatomark.evaluation.chart_agreement import bland_altman, coverage, farthest, reliability
from anatomark.evaluation.chart_bias import AXES, bias_arrows, bias_shape
from anatomark.evaluation.gallery import bounds, case_errors, gallery
from anatomark.evaluation.numbers import NONE, count
from anatomark.evaluation.rows import Rows
from anatomark.evaluation.sentences import (
    among_observers,
    between_observers,
    coverage_sentence,
    equivalence_sentence,
    level_of,
)

if TYPE_CHECKING:
    from anatomark.data.description import Case

Part = tuple[dict[str, Any], dict[str, Any]]
"""Figures by name, and the context of a template."""

_MOST_LISTED, _MOST_MEASUREMENTS, _MOST_PAIRS, _WORST_CASES = 100, 24, 10, 20
_AXES_TOLD = {
    2: "x to the right and y downwards in an upright image",
    3: "x towards the patient's left, y towards the back, z towards the head",
}


def shown(metrics: Mapping[str, Any], rows: Rows) -> list[tuple[str, str, str]]:
    """(id, title, template) of the sections that have something to show, or a reason for showing nothing."""
    told = {key: metrics.get(key) or metrics.get(f"{key}_note") for key in ("observers", "measurements", "coverage")}
    every = (
        ("errors", "Error of each landmark", True),
        ("cumulative", "Cumulative error", metrics["overall"]["n"]),
        ("spread", "Spread of the error", rows.found.any()),
        ("bias", "Systematic error", rows.found.any()),
        ("observers", "Observers", told["observers"]),
        ("measurements", "Measurements", told["measurements"]),
        ("presence", "Present or absent", metrics["presence"]),
        ("calibration", "Error bounds and calibration", told["coverage"]),
        ("cases", "Largest errors", rows.counted.any()),
        ("missing", "Not found", metrics["missing"]),
        ("pictures", "Pictures", True),
        ("made", "How this was made", True),
    )
    return [(name, title, f"sections/{name}.html.j2") for name, title, there in every if there]


def errors(metrics: Mapping[str, Any], rows: Rows, baseline: Rows | None, observers: Floats | None) -> Part:
    """Cumulative curves and box plots."""
    radius = np.asarray(metrics["ced"]["radius"])
    curves = {"prediction": metrics["ced"]}
    for name, scored in (("between observers", observers), ("mean shape", baseline.scored if baseline else None)):
        if scored is not None:
            curves[name] = charts.curve(scored.ravel(), radius)
    inter = between_observers(metrics)
    figures = {
        "cumulative": charts.cumulative(curves, metrics["radii"], rows.unit),
        "boxes": charts.boxes(rows, inter["landmarks"] if inter else None),
    }
    return figures, {"boxes_shown": len(charts.boxed(rows)), "boxes_beside": inter is not None}


def bias(metrics: Mapping[str, Any], rows: Rows) -> Part:
    """Arrows on the mean shape, where there are any."""
    d = rows.reference.shape[-1]
    shape = bias_shape(rows, metrics["landmarks"])
    figures = {} if shape is None else {"bias": bias_arrows(shape, rows.unit)}
    words = {
        "axes": AXES[:d],
        "axes_told": _AXES_TOLD[d],
        "bias_factor": shape.factor if shape else 1,
        "beside": d == 2 and shape is not None,  # 3D has three pictures and no place beside them
    }
    return figures, words


def of_observers(metrics: Mapping[str, Any]) -> Part:
    """Distances between observers, of each to himself and to the others, and of the prediction to each."""
    observers = metrics.get("observers") or {}
    lines = []
    if inter := between_observers(metrics):
        lines.append(("between observers", inter["overall"]))
    pairs = observers.get("pairs") or ()
    if 1 < len(pairs) <= _MOST_PAIRS:
        lines += [(f"{' to '.join(pair['between'])}", pair["overall"]) for pair in pairs]
    if intra := observers.get("intra"):
        lines.append(("an observer again", intra["overall"]))
    each = observers.get("each") or ()
    if len(each) > 2:  # of two, each one's other is in the first line
        lines += [(f"{row['observer']} to {row['against']}", row["overall"]) for row in each]
    model = observers.get("model") or ()
    lines += [(f"prediction to {row['against']}", row["overall"]) for row in model]
    tests = [(row["against"], row["equivalence"]) for row in model if row["equivalence"]]
    chosen = among_observers(metrics)
    return {}, {
        "observer_rows": lines,
        "pairs_left_out": len(pairs) if len(pairs) > _MOST_PAIRS else 0,
        "tests": tests,
        "chosen": chosen,
        "test_level": level_of(1 - 2 * chosen["equivalence"]["alpha"]) if chosen else "",
        "equivalence_sentence": equivalence_sentence(chosen, metrics) if chosen else "",
    }


def measurements(metrics: Mapping[str, Any]) -> Part:
    """A Bland-Altman plot a measurement."""
    every = metrics.get("measurements") or ()
    drawn = [(i, x) for i, x in enumerate(every[:_MOST_MEASUREMENTS]) if x["rows"]]
    figures = {f"measurement-{i}": bland_altman(x) for i, x in drawn}
    return figures, {
        "most_measurements": _MOST_MEASUREMENTS,
        "classified": any(x["classes"] for x in every),
        "observed": any(x["observers"] for x in every),
    }


def calibration(metrics: Mapping[str, Any]) -> Part:
    """What bounds and presence promised against what they kept."""
    found = metrics.get("coverage")
    if not found:
        return {}, {}
    figures: dict[str, Any] = {}
    nominal = 100 * found["nominal"]
    known = {name: value for name, value in found["landmarks"].items() if value is not None}
    withheld: dict[str, list[str]] = {}
    for name, reason in found["withheld"].items():
        withheld.setdefault(reason, []).append(name)
    if curve := found["curve"]:
        figures["reliability"] = reliability(
            [p["nominal"] for p in curve],
            [p["observed"] for p in curve],
            across="promised (%)",
            up="references within the bound (%)",
        )
    if curve := found["presence_curve"]:
        figures["presence"] = reliability(
            [p["predicted"] for p in curve],
            [p["observed"] for p in curve],
            text=[f"n = {p['n']}" for p in curve],
            across="presence said (%)",
            up="present in the reference (%)",
        )
    if known:
        figures["coverage"] = coverage(known, nominal)
    return figures, {
        "coverage_sentence": coverage_sentence(metrics),
        "coverage_known": len(known),
        "coverage_shown": len(farthest(known, nominal)),
        "withheld": withheld,
    }


def of_cases(metrics: Mapping[str, Any], rows: Rows, cases: Sequence[Case]) -> Part:
    """The worst cases, the presence table's headings, the pictures, and what was scored."""
    confusion = metrics["presence"]["confusion"] if metrics["presence"] else {}
    parts = [count(metrics["n_cases"], "case")]
    if metrics.get("n_subjects") is not None:
        parts.append(count(metrics["n_subjects"], "subject"))
    parts.append(count(metrics["overall"]["n"], "present landmark"))
    return {}, {
        "answers": list(next(iter(confusion.values()), {})),
        "confusion_total": sum(sum(line.values()) for line in confusion.values()),
        "worst_cases": _worst_cases(rows),
        "most_listed": _MOST_LISTED,
        "gallery": gallery(rows, cases),
        "bounds_drawn": bool(np.isfinite(bounds(rows)).any()),
        "data_told": ", ".join(parts),
    }


def _worst_cases(rows: Rows) -> list[dict[str, Any]]:
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
            {
                "case": rows.cases[i],
                "n": int(rows.counted[i].sum()),
                "mre": None if np.isnan(mean[i]) else float(mean[i]),
                "missed": int(missed[i]),
                "worst": rows.names[k] if radial[k] >= 0 else NONE,
                "error": float(radial[k]) if radial[k] >= 0 else None,
            }
        )
    return lines

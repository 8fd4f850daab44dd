"""The section of models that were adapted to another place."""

from __future__ import annotations

from typing import Any

from benchmarks.report.cells import head, measured_by, number, row


def clinic(results: list[dict[str, Any]]) -> str:
    """A table a model."""
    lines = ["## Another clinic", ""]
    lines += [
        "Offsets and error bounds are learned from a few cases of a split and scored on the rest of it. Figures are "
        "means over draws; `5 to 95 %` are those of the MRE. `worse` is the proportion of draws whose MRE is larger "
        "than without offsets, on the same cases.",
        "",
    ]
    for result in results:
        lines += [f"### {result['model']} on {result['dataset']}, {result['draws']} draws", "", measured_by(result), ""]
        radius = f"≤ {result['radius']:g} mm"
        lines += head(
            "split", "cases", "MRE (mm)", "5 to 95 %", radius, "within 90 % bounds", "mean bound (mm)", "worse"
        )
        for each in result["rows"]:
            drawn = each["cases"] > 0
            span = f"{number(each['mre_5'], 2)} to {number(each['mre_95'], 2)}" if drawn else "–"
            worse = f"{number(100 * each['worse'], 0)} %" if drawn else "–"
            shares = (f"{number(each[key], 1)} %" for key in ("sdr", "coverage"))
            cells = (number(each["mre"], 2), span, *shares, number(each["bound"], 2), worse)
            lines.append(row(each["split"], each["cases"] or "none", *cells))
        lines.append("")
    return "\n".join(lines)

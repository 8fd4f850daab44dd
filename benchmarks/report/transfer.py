"""The section of transferred landmarks."""

from __future__ import annotations

from typing import Any

from benchmarks.report.cells import head, measured_by, number, rates, row

WHICH = {"before": "without registration", "kept": "kept", "doubtful": "marked as doubtful"}


def transfer(results: list[dict[str, Any]]) -> str:
    """One table for each result."""
    lines = ["## Transfer of landmarks", ""]
    for result in results:
        thresholds = list(result["rows"][0]["before"]["sdr"])
        lines += [
            f"- {measured_by(result)}",
            f"- {result['landmarks']} landmarks at {result['spacing']:g} mm, {result['subjects']} deformed brains",
            "",
            *head("backend", "points", "n", "MRE (mm)", "median", *(f"≤ {t} mm (%)" for t in thresholds), "seconds"),
        ]
        for told in result["rows"]:
            for key, words in WHICH.items():
                entry = told[key]
                seconds = number(told["seconds"], 0) if key == "kept" else "–"
                cells = (entry["n"], number(entry["mre"], 2), number(entry["median"], 2), *rates(entry, thresholds))
                lines.append(row(told["backend"], words, *cells, seconds))
        lines.append("")
    return "\n".join(lines)

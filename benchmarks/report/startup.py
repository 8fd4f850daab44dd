"""The section of starting times."""

from __future__ import annotations

from typing import Any

from benchmarks.report.cells import head, measured_by, number, row


def startup(results: list[dict[str, Any]]) -> str:
    """One table for each result."""
    lines = ["## Starting time", ""]
    for result in results:
        lines += [
            f"- {measured_by(result)}",
            f"- medians of {result['repeats']} processes; core seconds are processor time",
            "",
            *head("what", "seconds", "minimum", "core seconds", "goal"),
        ]
        for told in result["rows"]:
            cells = [number(told[key], 2) for key in ("seconds", "least_seconds", "core_seconds")]
            lines.append(row(told["what"], *cells, f"{told['goal']:g}"))
        lines.append("")
    return "\n".join(lines)

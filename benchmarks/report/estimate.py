"""The section of estimates against what was then measured."""

from __future__ import annotations

from typing import Any

from benchmarks.report.cells import head, measured_by, number, row


def estimate(results: list[dict[str, Any]]) -> str:
    """One section, a table for each result."""
    lines = [
        "## Estimates",
        "",
        "The estimate of `anatomark train --estimate` for a training on phantoms, compared with the training itself",
        "in a process of its own; the ratio is estimated / measured. Memory is the largest resident set on the CPU,",
        "and the peak of allocated tensors on a GPU.",
        "",
    ]
    for result in results:
        lines += [
            f"### {result['device']}",
            "",
            f"- {measured_by(result)}",
            f"- {result['cases']} images of {result['landmarks']} landmarks, {result['steps']} steps of each stage",
            "",
            *head("method", "", "quantity", "estimated", "measured", "ratio"),
        ]
        for told in result["rows"]:
            for name, pair in told["quantities"].items():
                what, unit = name.split(", ")
                size = 1.0 if unit == "seconds" else 2.0**30
                values = [number(pair[key] / size, 2) for key in ("estimated", "measured")]
                ratio = number(pair["estimated"] / pair["measured"], 2)
                unit = "s" if unit == "seconds" else "GiB"
                lines.append(row(told["method"], f"{told['ndim']}D", f"{what} ({unit})", *values, ratio))
        lines.append("")
    return "\n".join(lines)

"""The section of what each part of a method brings."""

from __future__ import annotations

from typing import Any

from benchmarks.report.cells import head, measured_by, number, row


def ablation(results: list[dict[str, Any]]) -> str:
    """The section of all methods and data sets."""
    lines = [
        "## What each part brings",
        "",
        "One setting is changed at a time. Errors are those of held-out training images, never of a test split.",
        "Differences are paired by case, with 95 % intervals by subject; above zero, the change makes it worse.",
        "",
    ]
    for result in results:
        unit = result["unit"]
        spacing = f", at {result['spacing']:g} {unit}" if result["spacing"] else ""
        lines += [
            f"### {result['method']}, {result['count']} images of {result['dataset']}{spacing}",
            "",
            f"- seed {result['seed']}; {measured_by(result)}",
            "",
            *head("switch", f"MRE ({unit})", "median", f"≤ 2 {unit} (%)", f"difference ({unit})", "core minutes"),
        ]
        for entry in result["rows"]:
            line = entry["farther"]
            told = f"{line[0]:+.2f} ({line[1]:+.2f} to {line[2]:+.2f})" if line else "–"
            name = entry["switch"].replace(";", ", ")
            shown = [number(entry["mre"], 2), number(entry["median"], 2), number(entry["sdr"]["2"], 1)]
            lines.append(row(name, *shown, told, number(entry["core_minutes"], 1)))
        lines.append("")
    return "\n".join(lines)

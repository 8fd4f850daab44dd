"""The section of bfloat16 against float32."""

from __future__ import annotations

from typing import Any

from benchmarks.report.cells import head, measured_by, number, row


def precision(results: list[dict[str, Any]]) -> str:
    """One table for all results."""
    lines = ["## Prediction in bfloat16 against float32", ""]
    lines += [f"- {result['dataset']}, {result['split']}: {measured_by(result)}" for result in results]
    lines += [
        "",
        *head("set", "method", "cases", "mean distance", "median", "95 %", "largest", "within the goal (%)", "faster"),
    ]
    for result in results:
        for told in result["rows"]:
            apart = [f"{number(told[key], 3)} {result['unit']}" for key in ("mean", "median", "p95", "largest")]
            within = f"{number(told['within_goal'], 1)} ({result['goal']:g} {result['unit']})"
            faster = told["seconds"]["32-true"] / told["seconds"]["bf16-mixed"]
            lines.append(row(result["dataset"], told["method"], told["cases"], *apart, within, f"{faster:.1f} times"))
    lines.append("")
    return "\n".join(lines)

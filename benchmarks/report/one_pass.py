"""The section of single predictions."""

from __future__ import annotations

from typing import Any

from benchmarks.report.cells import head, measured_by, number, row


def one_pass(results: list[dict[str, Any]]) -> str:
    """One section, a table for each result."""
    lines = [
        "## One prediction",
        "",
        "Untrained networks with planned settings, a process each; the median after one pass to warm up. Memory is",
        "the largest resident set of the process on the CPU (Python and PyTorch included: the last column), and the",
        "most that tensors held at once on a GPU. Where a volume does not fit, the same field of view is tried at a",
        "coarser spacing.",
        "",
    ]
    for result in results:
        lines += [
            f"### {result['landmarks']} landmarks, {result['device']}",
            "",
            f"- {measured_by(result)}",
            "",
            *head("method", "volume", "spacing (mm)", "seconds", "peak memory (GiB)", "before the pass (GiB)"),
        ]
        for told in result["rows"]:
            where = (told["method"], " x ".join(map(str, told["shape"])), f"{told['spacing']:g}")
            if "failed" in told:
                lines.append(row(*where, told["failed"], "–", "–"))
            else:
                peak, idle = (number(told[key] / 2**30, 2) for key in ("peak_bytes", "idle_bytes"))
                lines.append(row(*where, f"{told['seconds']:.3g}", peak, idle))
        lines.append("")
    return "\n".join(lines)

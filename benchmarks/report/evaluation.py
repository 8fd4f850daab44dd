"""The section of evaluations' time and memory."""

from __future__ import annotations

from typing import Any

from benchmarks.report.cells import head, number, row


def evaluation(results: list[dict[str, Any]]) -> str:
    """One table, a row for each result."""
    lines = [
        "## Evaluation",
        "",
        "All metrics with bootstrap intervals by subject, from tables on disk (reading included, no report), one core.",
        "Seconds are by the clock; where the core was shared with other work, it was busy with this for less.",
        "",
        *head("cases", "landmarks", "subjects", "observers", "samples", "seconds", "of them reading", "busy (s)",
              "peak memory (GiB)", "by"),
    ]  # fmt: skip
    for r in results:
        sizes = (r["cases"], r["landmarks"], r["subjects"], r["observers"], r["samples"])
        costs = (
            number(r["seconds"], 1),
            number(r["seconds_reading"], 1),
            number(r.get("cpu_seconds"), 1),
            number(r["peak_bytes"] / 2**30, 2),
        )
        lines.append(row(*sizes, *costs, f"`{r['command']}` at {r['commit']}, {r['hardware']}"))
    return "\n".join([*lines, ""])

"""The section of evaluations' time and memory."""

from __future__ import annotations

from typing import Any

from benchmarks.report.cells import head, number, row


def evaluation(results: list[dict[str, Any]]) -> str:
    """One table, a row for each result."""
    lines = [
        "## Evaluation",
        "",
        "All metrics with bootstrap intervals by subject, computed from tables on disk: reading included, writing",
        "where files are named, one core. Core seconds are processor time; elapsed is longer where others use it.",
        "",
        *head("command", "cases", "landmarks", "subjects", "observers", "samples", "core seconds", "elapsed (s)",
              "of which reading (s)", "peak memory (GiB)", "measured by"),
    ]  # fmt: skip
    for r in results:
        verb = r.get("verb", "evaluate") + (", with files" if r.get("write") else "")
        sizes = (verb, r["cases"], r["landmarks"], r["subjects"], r["observers"], r["samples"])
        seconds = [number(r.get(key), 1) for key in ("cpu_seconds", "seconds", "seconds_reading")]
        costs = (*seconds, number(r["peak_bytes"] / 2**30, 2))
        lines.append(row(*sizes, *costs, f"`{r['command']}` at {r['commit']}, {r['hardware']}"))
    return "\n".join([*lines, ""])

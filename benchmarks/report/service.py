"""The section of the service under load."""

from __future__ import annotations

from typing import Any

from benchmarks.report.cells import head, number, row


def service(results: list[dict[str, Any]]) -> str:
    """One table, a row for each result."""
    lines = [
        "## The service under load",
        "",
        "Clients on the same machine send one image after another; after a refusal (503) they wait as long as the",
        "`Retry-After` header asks. Seconds are those of the answered requests, including the queue. Memory is the",
        "mean over 10 s, from the tenth second on and at the end: of the service, and of the process that predicts.",
        "",
        *head("clients", "seconds", "queue", "answers by status", "p50 (s)", "p95 (s)", "maximum (s)",
              "answers per second", "service (MiB)", "predicting (MiB)", "load of the machine", "measured by"),
    ]  # fmt: skip
    for r in results:
        answers = ", ".join(f"{status}: {count}" for status, count in r["answers"].items())
        seconds = (number(r[f"seconds_{which}"], 2) for which in ("p50", "p95", "max"))
        memory = (" then ".join(number(b / 2**20, 0) for b in r[key]) for key in ("bytes_service", "bytes_worker"))
        load = " then ".join(number(value, 1) for value in r["load"])
        measured = f"`{r['command']}` at {r['commit']}, {r['hardware']}; {r['model']}"
        cells = (r["clients"], f"{r['seconds']:g}", r["queue"], answers, *seconds, number(r["a_second"], 2), *memory)
        lines.append(row(*cells, load, measured))
    return "\n".join([*lines, ""])

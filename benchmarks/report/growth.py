"""The section of growth: table, and a plot for each thing that grows."""

from __future__ import annotations

import math
from typing import Any

from benchmarks.report.cells import head, measured_by, number, row
from benchmarks.report.plot import curves


def growth(results: list[dict[str, Any]]) -> str:
    """One section, a table for each result."""
    lines = [
        "## Growth",
        "",
        "Exponents are slopes between the two largest sizes on logarithmic axes. Memory is the largest resident set of",
        "a process, Python and PyTorch included, so its exponent is low for small sizes.",
        "",
    ]
    for result in results:
        lines += [f"- {measured_by(result)}", ""]
        for over in dict.fromkeys(one["over"] for one in result["series"]):
            lines += [f"![{over}](results/{file_name(result, over)})"]
        lines += ["", *head("over", "of", "seconds", "peak memory (GiB)", "exponent of time", "of memory")]
        for one in result["series"]:
            done = [point for point in one["points"] if "failed" not in point]
            seconds = "; ".join(f"{point['size']:,}: {_told(point)}" for point in one["points"])
            memory = "; ".join(number(point["peak_bytes"] / 2**30, 2) for point in done)
            slopes = (number(slope(done, key), 2) for key in ("seconds", "peak_bytes"))
            lines.append(row(one["over"], one["of"], seconds, memory, *slopes))
        lines.append("")
    return "\n".join(lines)


def _told(point: dict[str, Any]) -> str:
    return point["failed"] if "failed" in point else f"{point['seconds']:.2g}"


def slope(points: list[dict[str, Any]], key: str) -> float | None:
    """The exponent between the last two points; None with fewer."""
    if len(points) < 2:
        return None
    a, b = points[-2:]
    return math.log(b[key] / a[key]) / math.log(b["size"] / a["size"])


def file_name(result: dict[str, Any], over: str) -> str:
    return f"growth_{result['device']}_{over.replace(',', '').replace(' ', '_')}.svg"


def pictures(result: dict[str, Any]) -> dict[str, str]:
    """{file name: SVG} of the seconds over each thing that grows."""
    found = {}
    for over in dict.fromkeys(one["over"] for one in result["series"]):
        series = {
            one["of"]: [(point["size"], point["seconds"]) for point in one["points"] if "failed" not in point]
            for one in result["series"]
            if one["over"] == over
        }
        drawn = {name: points for name, points in series.items() if points}
        found[file_name(result, over)] = curves(
            drawn, title=f"Growth over {over}", x_label=over, y_label="seconds", logarithmic=True
        )
    return found

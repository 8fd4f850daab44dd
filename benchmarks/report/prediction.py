"""The section of predictions beside others'."""

from __future__ import annotations

from typing import Any

from benchmarks.prediction import FULL
from benchmarks.report.cells import head, measured_by, number, row


def prediction(results: list[dict[str, Any]]) -> str:
    """One section, a table for each result."""
    lines = [
        "## Speed of prediction",
        "",
        "Untrained networks at the resolution of the image, each in a process of its own; the median after one warm-up",
        "pass. `billion operations` counts convolutions and matrix products (two for each multiplication). `times the",
        "limit` is the time of the prediction over the time that these operations take at the machine's best rate.",
        f"`heatmap` has heatmaps of half the resolution, as planned on a CPU; `{FULL}` is the same U-Net as",
        "others use it. All methods get the same arrays of random values. For landmarker's networks they are padded to",
        "multiples of 16, and the maximum of its heatmaps is read.",
        "",
    ]
    for result in results:
        rates = ", ".join(f"{name} {rate / 1e9:.0f}" for name, rate in result["rates"].items())
        lines += [
            f"### {result['device']}",
            "",
            f"- {measured_by(result)}",
            f"- best rate of plain 3^d convolutions, billion operations a second: {rates}",
            "",
            *head(
                "image",
                "landmarks",
                "method",
                "precision",
                "seconds",
                f"throughput to {FULL}",
                "peak memory (GiB)",
                "billion operations",
                "times the limit",
            ),
        ]
        lines += [_line(told, result) for told in result["rows"]]
        lines += ["", *_whole(result), ""]
    return "\n".join(lines)


def _line(told: dict[str, Any], result: dict[str, Any]) -> str:
    size = " x ".join(map(str, told["shape"]))
    where = (f"{told['input']}, {size}", told["landmarks"], told["method"], told["precision"])
    if "failed" in told:
        return row(*where, told["failed"], "–", "–", "–", "–")
    rate = result["rates"][f"{len(told['shape'])}D, {told['precision']}"]
    return row(
        *where,
        f"{told['seconds']:.3g}",
        number(_against(told, result["rows"]), 2),
        number(told["peak_bytes"] / 2**30, 2),
        number(told["operations"] / 1e9, 0),
        number(told["seconds"] / (told["operations"] / rate), 1),
    )


def _against(told: dict[str, Any], rows: list[dict[str, Any]]) -> float | None:
    """How many images it does in the time of one by the full U-Net; None where that did not fit."""
    same = ("input", "landmarks")
    for other in rows:
        if other["method"] == FULL and all(other[key] == told[key] for key in same) and "failed" not in other:
            return other["seconds"] / told["seconds"]
    return None


def _whole(result: dict[str, Any]) -> list[str]:
    """The table of the way from a file to a table."""
    told = [entry for entry in result["rows"] if entry.get("whole") and entry["precision"] == "32-true"]
    if not told:
        return []
    parts = list(told[0]["whole"])
    lines = [
        "From a file (PNG, .nii.gz) to a table and a picture: seconds of each part in sequence (the command itself",
        "reads and writes in parallel with the prediction).",
        "",
        *head("image", "landmarks", "method", *parts, "network (% of the time)"),
    ]
    for entry in told:
        seconds = entry["whole"]
        share = 100 * seconds["network"] / sum(seconds.values())
        cells = [f"{seconds[part]:.2g}" for part in parts]
        lines.append(row(entry["input"], entry["landmarks"], entry["method"], *cells, number(share, 0)))
    return lines

"""The section of training with few images: table and plot."""

from __future__ import annotations

from statistics import mean
from typing import Any

from benchmarks.report.cells import head, measured_by, number, row
from benchmarks.report.plot import curves
from benchmarks.run_log import minutes_to

MEAN_SHAPE = "mean shape"
REACHED = (3.0, 2.5, 2.0, 1.75, 1.5, 1.25)


def limited(result: dict[str, Any]) -> str:
    """The section of one data set."""
    unit = result["unit"]
    seeds = sorted({entry["seed"] for entry in result["rows"]})
    spacing = f", all at {result['spacing']:g} {unit}" if result["spacing"] else ""
    draws = f"seed {', '.join(map(str, seeds))}"
    if len(seeds) > 1:
        draws += ": means over the seeds, each with its own images and weights"
    lines = [
        f"## Few images: {result['dataset']}, scored on {result['score']}",
        "",
        f"- every method is trained on the same images{spacing}, which include the validation images",
        f"- {draws}",
        f"- {measured_by(result)}",
    ]
    earlier = list(dict.fromkeys(made for entry in result["rows"] if (made := told_earlier(entry))))
    lines += [*(f"- {mark(made, earlier)}: {made}" for made in earlier), ""]
    if result["score"] != "rest":
        lines += [f"![MRE by number of training images](results/limited_{result['dataset']}.svg)", ""]
    lines += head(
        "images", "method", f"MRE ({unit})", "median", f"≤ 2 {unit} (%)", "not found", "core minutes of training"
    )
    grouped = by_count(result["rows"])
    best = {
        count: min((told[0] for name, told in group.items() if name != MEAN_SHAPE), default=None)
        for count, group in grouped.items()
    }
    for count, group in grouped.items():
        for method, (mre, median, sdr, missing, minutes) in group.items():
            shown = f"**{mre:.2f}**" if mre == best.get(count) else f"{mre:.2f}"
            entry = next(e for e in result["rows"] if (e["method"], e["count"]) == (method, count))
            name = f"{method} {mark(told_earlier(entry), earlier)}".strip()
            lines.append(row(count, name, shown, number(median, 2), number(sdr, 1), missing, number(minutes, 1)))
    return "\n".join([*lines, "", *differences(result["rows"], unit), *time_to_error(result["rows"], unit)])


def told_earlier(entry: dict[str, Any]) -> str:
    """How a row that was kept came about; nothing for one that was measured with the result."""
    return measured_by(entry["measured"]) if "measured" in entry else ""


def mark(made: str, earlier: list[str]) -> str:
    """The mark of rows that came about so."""
    return "*" * (earlier.index(made) + 1) if made else ""


def differences(rows: list[dict[str, Any]], unit: str) -> list[str]:
    """The table of paired differences; no line where there is none."""
    told = [
        row(
            entry["count"],
            entry["seed"],
            f"{entry['method']} − {other}",
            f"{line[0]:+.2f}",
            f"{line[1]:+.2f} to {line[2]:+.2f}",
        )
        for entry in rows
        for other, line in entry.get("farther", {}).items()
        if line
    ]
    if not told:
        return []
    about = (
        "Paired differences by case, with 95 % intervals by subject; above zero, the first method has the larger error."
    )
    return [about, "", *head("images", "seed", "methods", f"difference ({unit})", "95 % interval"), *told, ""]


def time_to_error(rows: list[dict[str, Any]], unit: str) -> list[str]:
    """The table of core minutes until an error was reached, from the most images; no line where no log tells."""
    most = max(entry["count"] for entry in rows)
    told = [entry for entry in rows if entry["count"] == most and entry.get("validations")]
    if not told:
        return []
    about = (
        f"From {most} images, core minutes until the mean error of the validation images first fell to this value (a "
        "few images, not the test split; learning rates fall over the whole of each training):"
    )
    lines = [about, "", *head("method", "seed", *(f"{error:g} {unit}" for error in REACHED))]
    for entry in told:
        minutes = [number(minutes_to(entry["validations"], error), 1) for error in REACHED]
        lines.append(row(entry["method"], entry["seed"], *minutes))
    return [*lines, ""]


def by_count(rows: list[dict[str, Any]]) -> dict[int, dict[str, tuple[float, float, float, int, float | None]]]:
    """{count: {method: (MRE, median, SDR within 2, not found, minutes)}}, means over the seeds."""
    grouped: dict[int, dict[str, Any]] = {}
    for count in sorted({entry["count"] for entry in rows}):
        here = [entry for entry in rows if entry["count"] == count]
        for method in dict.fromkeys(entry["method"] for entry in here):
            told = [entry for entry in here if entry["method"] == method]
            grouped.setdefault(count, {})[method] = (
                mean(entry["mre"] for entry in told),
                mean(entry["median"] for entry in told),
                mean(entry["sdr"]["2"] for entry in told),
                sum(entry["n_missing"] for entry in told),
                mean(entry["core_minutes"] for entry in told) if "core_minutes" in told[0] else None,
            )
    return grouped


def picture(result: dict[str, Any]) -> str:
    """The plot, an SVG: MRE by number of training images, a line a method; those with one number of them stay out."""
    series: dict[str, list[tuple[float, float]]] = {}
    for count, group in by_count(result["rows"]).items():
        for method, told in group.items():
            if method != MEAN_SHAPE:
                series.setdefault(method, []).append((count, told[0]))
    if any(len(points) > 1 for points in series.values()):
        series = {method: points for method, points in series.items() if len(points) > 1}
    title = f"{result['dataset']}, scored on {result['score']}"
    return curves(series, title=title, x_label="training images", y_label=f"mean radial error ({result['unit']})")

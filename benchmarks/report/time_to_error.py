"""The section of errors after equal core minutes: who is ahead of the heatmap network, then a table a set."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from statistics import mean, median
from typing import Any

from benchmarks.report.cells import head, measured_by, number, row

REFERENCE = "heatmap"
MARGIN = 2.0  # percent that the interval of the difference may reach above zero
OVER = 1.15  # times the budget, from which on its row is marked
WHOLE = 0.9  # of the time by the clock that a training had a core for; below, its row is marked

Rows = Sequence[Mapping[str, Any]]


def time_to_error(results: Sequence[Mapping[str, Any]]) -> str:
    """The goals of all sets, then what each training took and reached."""
    lines = [
        "## Error after equal core minutes",
        "",
        "Plain defaults with a time budget of that many minutes of one core (`train --minutes`, one thread, its clock "
        "being the processor time of the process), one training at a time. The cases that score were seen by no "
        "training, unless it is said that they choose the weights. The difference to `heatmap` is that of the mean "
        "errors, paired by landmark and case, in percent of its error, with a 95 % interval by subject. `had the core` "
        f"is processor time over time by the clock: below {WHOLE:g} others used the core and its caches too (busy). "
        f"A training that took more than {OVER:g} times its budget is marked (over).",
        "",
    ]
    for split, named in (("cases held out", _held_out), ("test splits", _tests)):
        table = _goals(results, named)
        if table:
            lines += [f"The better of the other methods beside `heatmap`, {split} (goal: at most +{MARGIN:g} %):", ""]
            lines += [*table, ""]
    for result in results:
        lines += _of_set(result)
    return "\n".join(lines)


def _held_out(result: Mapping[str, Any]) -> list[str]:
    return [result["scored"]]


def _tests(result: Mapping[str, Any]) -> list[str]:
    return [split for split in dict.fromkeys(d["split"] for d in result["differences"]) if split != result["scored"]]


def _goals(results: Iterable[Mapping[str, Any]], named: Any) -> list[str]:
    """Of each set and split, which method is the best after which time, and whether the goal is met; [] for none."""
    results = list(results)
    chosen = [(result, split) for result in results for split in named(result)]
    minutes = sorted({d["minutes"] for result, split in chosen for d in result["differences"] if d["split"] == split})
    if not minutes:
        return []
    lines = head("set", *(f"{m:g} min" for m in minutes))
    for result, split in chosen:
        cells = [_goal(_lines(result["differences"], split=split, minutes=m)) for m in minutes]
        name = result["set"] if split == result["scored"] else f"{result['set']}, {split}"
        lines.append(row(name, *cells))
    return lines


def _goal(differences: Rows) -> str:
    """The method with the smallest difference and whether its interval keeps to the goal."""
    known = [d for d in differences if d["percent"] is not None]
    if not known:
        return "–"
    best = min(known, key=lambda d: d["percent"])
    met = best["interval"] is not None and best["interval"][1] <= MARGIN
    return f"{best['method']} {_percent(best)}: {'met' if met else '**missed**'}"


def _of_set(result: Mapping[str, Any]) -> list[str]:
    """The trainings of one set, seeds together."""
    unit, splits = result["unit"], [result["scored"], *_test_splits(result)]
    collected = measured_by(dict(result)).replace("measured", "collected", 1)  # each row says what code it is of
    lines = [f"### {result['set']}: {result['what']}", "", collected, ""]
    for split in splits:
        own = " (these cases choose the weights)" if result["chosen_by"] and split == result["scored"] else ""
        count = max((len(r["scores"][split]["cases"]) for r in result["rows"] if split in r["scores"]), default=0)
        lines += [f"Scored on {count} cases, {split}{own}:", ""]
        lines += head(
            "minutes", "method", "seeds", f"MRE ({unit})", "median", "not found", "to heatmap, 95 % interval (%)",
            "core min", "wall min", "had the core", "steps", "code",
        )  # fmt: skip
        lines += [_group(result, split, group) for group in _groups(result["rows"])]
        floor = result["mean_shape"]
        if floor and split == result["scored"]:
            lines.append(row("–", "mean shape", "", number(floor["mre"], 2), number(floor["median"], 2), *[""] * 7))
        lines.append("")
    failed = [r for r in result["rows"] if r["failed"]]
    lines += [f"- {r['method']}, {r['minutes']:g} min, seed {r['seed']}: {r['failed']}" for r in failed]
    return [*lines, ""] if failed else lines


def _test_splits(result: Mapping[str, Any]) -> list[str]:
    named = dict.fromkeys(split for r in result["rows"] for split in r["scores"])
    return [split for split in named if split != result["scored"]]


def _groups(rows: Rows) -> list[list[Mapping[str, Any]]]:
    """The rows of each budget and method, over the seeds."""
    groups: dict[tuple[float, str], list[Mapping[str, Any]]] = {}
    for entry in rows:
        groups.setdefault((entry["minutes"], entry["method"]), []).append(entry)
    return [groups[key] for key in sorted(groups)]


def _group(result: Mapping[str, Any], split: str, group: Rows) -> str:
    """The line of a budget and method: means over the seeds that have a model."""
    first = group[0]
    scores = [entry["scores"][split] for entry in group if split in entry["scores"]]
    found = [score for score in scores if score["mre"] is not None]
    mre, middle = (mean(s[key] for s in found) if found else None for key in ("mre", "median"))
    here = _lines(result["differences"], split=split, minutes=first["minutes"], method=first["method"])
    core = mean(entry["core_seconds"] for entry in group) / 60
    busy = min(entry["busy"] for entry in group)
    steps = [sum(entry["steps"].values()) for entry in group]
    return row(
        f"{first['minutes']:g}",
        first["method"],
        ", ".join(str(entry["seed"]) for entry in group),
        number(mre, 2) if found else "none",
        number(middle, 2),
        sum(score["n_missing"] for score in scores),
        _percent(here[0]) if here else "",
        f"{core:.1f}" + (" (over)" if core > OVER * first["minutes"] else ""),
        number(mean(entry["wall_seconds"] for entry in group) / 60, 1),
        f"{busy:.2f}" + (" (busy)" if busy < WHOLE else ""),
        f"{median(steps):g}",
        ", ".join(dict.fromkeys(commit for entry in group for commit in entry["commits"])),
    )


def _percent(line: Mapping[str, Any]) -> str:
    """A difference with its interval."""
    if line["percent"] is None:
        return "–"
    interval = line["interval"]
    limits = "" if interval is None else f" ({interval[0]:+.1f} to {interval[1]:+.1f})"
    return f"{line['percent']:+.1f}{limits}"


def _lines(lines: Rows, **wanted: Any) -> list[Mapping[str, Any]]:
    """Those with these values."""
    return [line for line in lines if all(line[key] == value for key, value in wanted.items())]

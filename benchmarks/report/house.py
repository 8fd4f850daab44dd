"""The sections of how the package is built, and of the calls between its files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from benchmarks.report.cells import head, row

ROWS: dict[str, Callable[[dict[str, Any]], str]] = {
    "files": lambda r: str(r["files"]),
    "lines": lambda r: str(r["lines"]),
    "asserts": lambda r: str(r["asserts"]),
    "parameters annotated `Any`": lambda r: str(r["any_parameters"]),
    "imports in functions: own modules": lambda r: str(r["own_late_imports"]),
    "imports in functions: others": lambda r: str(r["other_late_imports"]),
    "circles of files": lambda r: str(len(r["circles"])),
    "settings": lambda r: str(r["settings"]),
    "settings without a description": lambda r: str(r["settings_without_description"]),
    "settings for users": lambda r: "–" if r["settings_for_users"] is None else str(r["settings_for_users"]),
    "functions": lambda r: str(r["functions"]),
    "median function, lines": lambda r: f"{r['median_function']:g}",
    "functions over 60 lines": lambda r: str(r["long_functions"]),
    "longest function": lambda r: f"`{r['longest_function']}`, {r['longest_function_lines']} lines",
    "median file, lines": lambda r: f"{r['median_file']:g}",
    "longest file": lambda r: f"`{r['longest_file']}`, {r['longest_file_lines']} lines",
}


def house(results: list[dict[str, Any]]) -> str:
    """A table with a column for each result, the lines of each package, and the circles."""
    results = oldest_first(results)
    titles = [f"{r['name']} ({r['commit']})" for r in results]
    lines = ["## The code", "", *(f"- {r['name']}: `{r['command']}`, source of {r['commit']}" for r in results), ""]
    lines += head("count", *titles)
    lines += [row(what, *(cell(result) for result in results)) for what, cell in ROWS.items()]
    packages = sorted({package for result in results for package in result["lines_by_package"]})
    lines += ["", *head("lines of", *titles)]
    lines += [row(f"`{name}`", *(r["lines_by_package"].get(name, "–") for r in results)) for name in packages]
    for result in results:
        lines += ["", f"Circles, {result['name']}: {circles_of(result)}."]
    return "\n".join([*lines, ""])


def circles_of(result: dict[str, Any]) -> str:
    return "; ".join(" – ".join(f"`{module}`" for module in circle) for circle in result["circles"]) or "none"


def house_calls(results: list[dict[str, Any]]) -> str:
    """One table of both ways; the lists of calls stand beside the results."""
    lines = [
        "## Calls between files",
        "",
        "The way of one image (`predict`) and of one data set (`train`) through the files; a return is a call into a",
        "file that was entered before and left since. `benchmarks/house_calls.py` has the rule.",
        "",
        *head("way", "source", "calls", "files", "returns", "list"),
    ]
    for way in ("predict", "train"):
        for result in oldest_first(results):
            name = f"house_calls_{result['name']}_{way}.txt"
            cells = [result[way][key] for key in ("calls", "rooms", "returns")]
            lines.append(row(way, f"{result['name']} ({result['commit']})", *cells, f"[{name}](results/{name})"))
    return "\n".join([*lines, ""])


def oldest_first(results: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(results, key=lambda result: (result["name"] == "now", result["name"]))

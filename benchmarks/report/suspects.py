"""The section of planted wrong references."""

from __future__ import annotations

from typing import Any

from benchmarks.report.cells import head, measured_by, number, row


def suspects(results: list[dict[str, Any]]) -> str:
    """A table a model and split."""
    lines = ["## Wrong references", ""]
    lines += [
        "A tenth of the cases gets a fault, at random and many times over; `check --model` should name them and no "
        "other. `found` cases and points are named at all, `rightly` also for what it is.",
        "",
    ]
    for result in results:
        title = f"### Wrong references: {result['model']} on {result['dataset']}, {result['split']}"
        lines += [title, "", measured_by(result), ""]
        about = f"{result['cases']} cases, {result['draws']} draws; "
        about += f"a point is moved by {result['moved']:g} {result['unit']}."
        lines += [about, "", *head("fault", "planted", "found (%)", "rightly (%)")]
        for each in result["rows"]:
            shares = [number(100 * each[key] / each["planted"], 1) for key in ("found", "right")]
            lines.append(row(each["fault"], each["planted"], *shares))
        planted, found = (sum(each[key] for each in result["rows"]) for key in ("planted", "found"))
        sound, alone = result["sound"], result["nothing planted"]
        shares = [number(100 * sound[f"{what} named"] / sound[what], 1) for what in ("cases", "points")]
        lines += [
            "",
            f"Found: {number(100 * found / planted, 1)} % of all (goal 95). Named although nothing was planted: "
            f"{shares[0]} % of the cases as a whole and {shares[1]} % of the points (goal 2 at most). Without any "
            f"fault: {alone['cases named']} of {alone['cases']} cases and {alone['points named']} of "
            f"{alone['points']} points.",
            "",
        ]
    return "\n".join(lines)

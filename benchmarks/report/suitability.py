"""The section of images that a model was not made for."""

from __future__ import annotations

from typing import Any

from benchmarks.report.cells import head, measured_by, number, row


def suitability(results: list[dict[str, Any]]) -> str:
    """A table a model and split."""
    lines = ["## Images that a model was not made for", ""]
    lines += [
        "An image is wrongly predicted here if its mean error is more than three times that of the images as they are. "
        "`told` are those called unsuitable: all wrongly predicted ones should be, and none as it is.",
        "",
    ]
    for result in results:
        lines += [f"### {result['model']} on {result['dataset']}, {result['split']}", "", measured_by(result), ""]
        lines += head("image", "images", "mean error (mm)", "told", "wrongly predicted", "of these told")
        for each in result["rows"]:
            found = f"{each['wrong_told']} of {each['wrong']}"
            error = number(each["error"], 2)
            lines.append(row(each["damage"], each["images"], error, each["told"], each["wrong"], found))
        damaged = [each for each in result["rows"] if each["damage"] != "as it is"]
        wrong, told = (sum(each[key] for each in damaged) for key in ("wrong", "wrong_told"))
        clean = next(each for each in result["rows"] if each["damage"] == "as it is")
        share = number(100 * told / wrong, 1) if wrong else "–"
        alarms = number(100 * clean["told"] / clean["images"], 1)
        lines += [
            "",
            f"Told: {told} of {wrong} wrongly predicted damaged copies ({share} %; goal 99), and {clean['told']} of "
            f"{clean['images']} images as they are ({alarms} %; goal 1 at most).",
            "",
        ]
    return "\n".join(lines)

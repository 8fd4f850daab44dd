"""The section of error bounds that follow the image."""

from __future__ import annotations

from typing import Any

from benchmarks.report.cells import head, measured_by, number, row


def bounds(results: list[dict[str, Any]]) -> str:
    """One table of all models and splits."""
    lines = ["## Error bounds that follow the image", ""]
    lines += [
        "90 % bounds of landmarks in images that are called suitable (goal: 87 to 93 % within), the mean length of "
        "bounds, and that of constant ones, a length a landmark, by the same validation cases. `shorter` says by how "
        "much those that follow the image are shorter than constant ones if both are scaled to hold 90 % of these very "
        "errors (goal: 10 %). Rank correlations are those of spread and error within landmarks (goal: 0.3), also of "
        "the votes' own spread. `widest tenth` is the coverage of the bounds that are widest for their landmark.",
        "",
    ]
    columns = ("model", "split", "suitable", "MRE (mm)", "rank correlation", "votes' alone", "within bounds (%)")
    more = ("widest tenth (%)", "mean bound (mm)", "constant: within (%)", "mean (mm)", "shorter (%)")
    lines += head(*columns, *more)
    for each in results:
        lines.append(
            row(
                each["model"],
                f"{each['dataset']}, {each['split']}",
                f"{each['suitable']} of {each['images']}",
                *(_cell(each, key, 2) for key in ("error", "correlation", "correlation_of_votes")),
                *(_cell(each, key, 1) for key in ("coverage", "widest")),
                _cell(each, "length", 2),
                _cell(each, "constant_coverage", 1),
                _cell(each, "constant_length", 2),
                _cell(each, "shorter", 1),
            )
        )
    return "\n".join([*lines, "", *(f"- {each['model']}: {measured_by(each)}" for each in results), ""])


def _cell(result: dict[str, Any], key: str, digits: int) -> str:
    """A number, or a dash where the model had too few validation cases for it."""
    return number(result[key], digits) if key in result else "–"

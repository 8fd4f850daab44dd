"""The sections of the review page and of the loop that it closes."""

from __future__ import annotations

from typing import Any

from benchmarks.report.cells import head, measured_by, number, row


def review(results: list[dict[str, Any]]) -> str:
    """A table of how long a switch takes."""
    lines = [
        "## Review page: switching cases",
        "",
        "In headless Chromium, 1280 x 800, WebGL in software: the time from the call that opens another case until it",
        "is set up, and until the second frame after that, with the image or the slices (the rendering follows). The",
        "image was fetched in advance, while the previous case was open.",
        "",
    ]
    for result in results:
        lines += [
            f"- {measured_by(result)}; {result['cases']} cases of {result['landmarks']} landmarks, "
            f"load of the machine {result['load']:.1f}",
            "",
            *head("image", "set up, median (ms)", "95th percentile", "on the screen, median (ms)", "95th percentile"),
        ]
        for told in result["rows"]:
            times = [told[key][of] for key in ("ready_ms", "on_screen_ms") for of in ("median", "p95")]
            lines.append(row(" x ".join(map(str, told["shape"])), *times))
        lines.append("")
    return "\n".join(lines)


def loop(results: list[dict[str, Any]]) -> str:
    """A table of errors before and after a round of corrections."""
    lines = [
        "## Predict, correct, train again",
        "",
        "A small network learns from 6 phantoms and predicts others whose grey values are inverted, as from a site",
        "that exports negatives. The cases with the widest error bounds are corrected through the record of the",
        "review page, and the network is trained again with them, with the same settings. Mean radial errors in mm;",
        "`the rest` are the cases that nobody corrected.",
        "",
    ]
    for result in results:
        lines += [
            f"- {measured_by(result)}; {result['corrected']} of {result['pool']} corrected",
            "",
            *head("seed", "corrected cases, before", "the rest, before", "the rest, after", "of which better"),
        ]
        for told in result["rows"]:
            errors = [number(told[key], 2) for key in ("corrected_before_mm", "rest_before_mm", "rest_after_mm")]
            lines.append(row(told["seed"], *errors, f"{told['better_cases']} of {told['rest_cases']}"))
        lines.append("")
    return "\n".join(lines)

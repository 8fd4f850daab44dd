"""The section of training speed."""

from __future__ import annotations

from typing import Any

from benchmarks.report.cells import head, measured_by, number, row
from benchmarks.training import AS_IS


def training(results: list[dict[str, Any]]) -> str:
    """One section, a table for each result."""
    lines = [
        "## Training speed",
        "",
        "Steps of planned networks on synthetic images (2D 774 x 960 at 0.25 mm with 19 landmarks, 3D 128³ at 1.5 mm",
        "with 24) in the loop of a real training. `single patches` trains the network of stage 1 on batches of 64",
        "patches, each extracted separately. `MONAI loader` takes the images from a CacheDataset with MONAI's",
        "transforms and a DataLoader with one worker per core. `network` is the part of a step that is not spent on",
        "drawing (or waiting for) its images. The time of a worker is hidden where a core is free, so compare the",
        "steps.",
        "",
    ]
    for result in results:
        lines += [
            f"### {result['device']}, {result['precision']}",
            "",
            f"- {measured_by(result)}; the median of {result['steps']} steps",
            "",
            *head(
                "images",
                "method",
                "stage",
                "how",
                "steps a second",
                "as it is, times as fast",
                "network (% of the time)",
                "patches a second",
                "as it is, times as many",
            ),
        ]
        lines += [_line(told, result["rows"]) for told in result["rows"]]
        lines.append("")
    return "\n".join(lines)


def _line(told: dict[str, Any], rows: list[dict[str, Any]]) -> str:
    ours = next(
        other
        for other in rows
        if other["how"] == AS_IS and all(other[key] == told[key] for key in ("ndim", "method", "stage"))
    )
    alike = told["how"] != "single patches"  # whose steps are others
    patches = told["patches_per_second"]
    return row(
        f"{told['ndim']}D",
        told["method"],
        told["stage"],
        told["how"],
        f"{1 / told['step']:.3g}",
        number(told["step"] / ours["step"], 2) if alike else "–",
        number(told["network_share"], 0),
        f"{patches:.3g}" if patches else "–",
        number(ours["patches_per_second"] / patches, 1) if patches else "–",
    )

"""The section of ONNX Runtime beside PyTorch."""

from __future__ import annotations

from typing import Any

from benchmarks.report.cells import head, measured_by, number, row


def onnx(results: list[dict[str, Any]]) -> str:
    """One section, a table for each result."""
    lines = [
        "## Prediction by ONNX Runtime",
        "",
        "The same networks, exported, in float32. Distances are between the points of both. Seconds are those of the",
        "networks and of what is done around them, the median of an image (the least in brackets), both runtimes in",
        "turn in one process after a warm-up; `times PyTorch's` is the ratio of the least ones, above 1 where ONNX",
        "Runtime is slower. Untrained networks have the size that is planned for the image. The times of the small",
        "models are those of waking threads up, and other work ran on the machine.",
        "",
    ]
    for result in results:
        goal = f"beyond {result['goal']:g} mm"
        lines += [
            f"- {measured_by(result)}, ONNX Runtime {result['onnxruntime']}",
            "",
            *head(
                "model",
                "images",
                "working image",
                "points",
                "largest distance (mm)",
                goal,
                "PyTorch (s)",
                "ONNX Runtime (s)",
                "times PyTorch's",
                "export (s)",
                "files (MB)",
            ),
        ]
        lines += [_line(told) for told in result["rows"]]
        lines.append("")
    return "\n".join(lines)


def _line(told: dict[str, Any]) -> str:
    least, usual = told["least_seconds"], told["median_seconds"]
    seconds = [f"{usual[name]:.3g} ({least[name]:.3g})" for name in ("torch", "onnx")]
    return row(
        told["model"],
        told["images"],
        " x ".join(map(str, told["shape"])),
        told["points"],
        f"{told['largest']:.1e}",
        told["beyond_goal"],
        *seconds,
        number(least["onnx"] / least["torch"], 2),
        number(told["export_seconds"], 0),
        number(told["bytes"] / 1e6, 1),
    )

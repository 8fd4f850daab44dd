"""Numbers and lines that all sections write alike."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def number(value: float | None, digits: int) -> str:
    return "–" if value is None else f"{value:.{digits}f}"


def row(*cells: Any) -> str:
    return f"| {' | '.join(map(str, cells))} |"


def head(*cells: str) -> list[str]:
    """The first two lines of a table."""
    return [row(*cells), "|" + "---|" * len(cells)]


def rates(entry: dict[str, Any], thresholds: Sequence[str]) -> list[str]:
    return [number(entry["sdr"][t], 1) for t in thresholds]


def measured_by(result: dict[str, Any]) -> str:
    return (
        f"measured by `{result['command']}` at {result['commit']}, on {result['hardware']}; "
        f"PyTorch {result['torch']}, Python {result['python']}"
    )


def stages(train: dict[str, Any], unit: str) -> list[str]:
    """What the training of a run did, in a few words each; empty where nothing was trained."""
    if not train["steps"]:
        return []
    minutes = {stage: seconds / 60 for stage, seconds in train["seconds"].items()}
    told = [", ".join(f"{stage}: {steps} steps" for stage, steps in train["steps"].items())]
    told.append(
        f"{', '.join(f'{stage} {m:.0f} min' for stage, m in minutes.items())}, {sum(minutes.values()):.0f} min together"
    )
    if train["validation"]:
        told.append("best validation MRE " + ", ".join(f"{s} {v:.2f} {unit}" for s, v in train["validation"].items()))
    return told

"""anatomark evaluate: score predictions of any origin."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from anatomark.methods.error_bound import COVERAGE
from anatomark.methods.prediction import SAID_ABSENT_BELOW


class Frame(StrEnum):
    """Frames that coordinates may be in."""

    LPS = "LPS"
    RAS = "RAS"
    pixel = "pixel"


def evaluate(
    dataset: Annotated[Path, typer.Argument(help="The description: dataset.yaml.")],
    predictions: Annotated[Path, typer.Option(help="A CSV or TSV table: image, landmark, x, y[, z].")],
    out: Annotated[Path, typer.Option(help="Folder for metrics.json, rows.csv and report.html.")],
    frame: Annotated[
        Frame | None,
        typer.Option(
            metavar="LPS|RAS|pixel", help="Frame of the coordinates, if the table does not say.", case_sensitive=False
        ),
    ] = None,
    split: Annotated[str | None, typer.Option(help="Score the cases of this split, all of them.")] = None,
    root: Annotated[Path | None, typer.Option(help="Folder that the data lie under.")] = None,
    model: Annotated[
        Path | None, typer.Option(help="The run that made the predictions: its error bounds are judged.")
    ] = None,
    coverage: Annotated[float, typer.Option(help="The coverage of the error bounds to judge.")] = COVERAGE,
    presence_threshold: Annotated[
        float, typer.Option(help="Below this presence a landmark is absent.")
    ] = SAID_ABSENT_BELOW,
) -> None:
    """Score predicted landmarks against the reference: errors, detection rates, a report with pictures."""
    from anatomark.evaluation.evaluate import evaluate as run

    metrics = run(
        dataset,
        predictions,
        split=split,
        frame=None if frame is None else frame.value,
        out=out,
        root=root,
        presence_threshold=presence_threshold,
        model=model,
        coverage=coverage,
    )
    _show(metrics, out)


def _show(metrics: dict, out: Path) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from anatomark.evaluation.report import summary

    console, unit = Console(), metrics["unit"]
    table = Table(box=None, header_style="bold")
    table.add_column("", no_wrap=True)
    for heading in ("n", "not found", f"MRE ({unit})", "median", f"% ≤ 2 {unit}", f"% ≤ 4 {unit}"):
        table.add_column(heading, justify="right")
    lines = [("all landmarks", metrics["overall"])]
    if metrics["mean_shape"]:
        lines.append(("mean shape", metrics["mean_shape"]["overall"]))
    if metrics["observers"]:
        lines.append(("between observers", metrics["observers"]["overall"]))
    ranked = [(name, line) for name, line in metrics["landmarks"].items() if line["mre"] is not None]
    ranked.sort(key=lambda item: -item[1]["mre"])
    lines += [(f"worst: {name}", line) for name, line in ranked[:3]]
    for name, line in lines:
        lengths = ["–" if line[key] is None else f"{line[key]:.2f}" for key in ("mre", "median")]
        rates = ["–" if line["sdr"][t] is None else f"{line['sdr'][t]:.1f}" for t in ("2", "4")]
        table.add_row(Text(name), str(line["n"]), str(line["n_missing"]), *lengths, *rates)
    console.print(table)
    console.print(summary(metrics), markup=False, highlight=False)
    if metrics["unknown_images"]:
        count = len(metrics["unknown_images"])
        console.print(f"{count} images are no case of the data set and were left out; metrics.json lists them.")
    console.print(f"report: {out / 'report.html'}", markup=False, highlight=False, soft_wrap=True)

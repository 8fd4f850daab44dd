"""anatomark evaluate: score predictions of any origin."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from anatomark.cli.options import Frame, parse_radii
from anatomark.evaluation.numbers import number
from anatomark.methods.error_bound import COVERAGE
from anatomark.methods.prediction import PRESENCE_THRESHOLD

if TYPE_CHECKING:
    from rich.table import Table

    from anatomark.evaluation.results import Evaluation


def evaluate(
    dataset: Annotated[Path, typer.Argument(help="Description of the data set: dataset.yaml.")],
    predictions: Annotated[
        Path,
        typer.Option(help="A landmark file of any known format, a folder written by predict, or a run with folds."),
    ],
    out: Annotated[Path, typer.Option(help="Folder for metrics.json, rows.csv, tables and report.html.")],
    frame: Annotated[
        Frame | None,
        typer.Option(
            metavar="LPS|RAS|pixel",
            help="Frame of the coordinates, if the file does not state it.",
            case_sensitive=False,
        ),
    ] = None,
    split: Annotated[str | None, typer.Option(help="Score every case of this split.")] = None,
    root: Annotated[Path | None, typer.Option(help="Folder that contains the data.")] = None,
    model: Annotated[
        Path | None, typer.Option(help="The run that made the predictions, to assess its error bounds.")
    ] = None,
    coverage: Annotated[float, typer.Option(help="Coverage of the error bounds to assess, such as 0.9.")] = COVERAGE,
    presence_threshold: Annotated[
        float, typer.Option(help="A presence below this predicts that the landmark is absent.")
    ] = PRESENCE_THRESHOLD,
    radii: Annotated[str, typer.Option(help="Radii of the detection rates.")] = "2,2.5,3,4",
    samples: Annotated[int, typer.Option(help="Bootstrap samples of the subjects; 0 for no intervals.")] = 2000,
    seed: Annotated[int, typer.Option(help="Seed of the bootstrap.")] = 0,
    consensus: Annotated[str, typer.Option(help="Consensus of several observers: mean or geometric-median.")] = "mean",
    margin: Annotated[
        float | None,
        typer.Option(help="Margin of the equivalence with an observer; default: a quarter of the first radius."),
    ] = None,
) -> None:
    """Score predicted landmarks against the reference: errors, detection rates, a report with pictures."""
    from anatomark.evaluation.evaluate import evaluate

    metrics = evaluate(
        dataset,
        predictions,
        split=split,
        frame=None if frame is None else frame.value,
        out=out,
        root=root,
        presence_threshold=presence_threshold,
        model=model,
        coverage=coverage,
        radii=parse_radii(radii),
        samples=samples,
        seed=seed,
        consensus=consensus,
        margin=margin,
    )
    _show(metrics, out)


def _show(metrics: Evaluation, out: Path) -> None:
    """The table, the summary and the remarks."""
    from rich.console import Console

    from anatomark.evaluation.sentences import summary

    console = Console(width=None if sys.stdout.isatty() else 120)
    console.print(_table(metrics))
    console.print(summary(metrics), markup=False, highlight=False)
    if metrics.coverage:
        c = metrics.coverage
        text = f"{c.overall:.1f} % of the errors are within their {c.nominal:.0%} error bounds"
        console.print(f"{text}, of {c.mean_bound:.2f} {metrics.unit} on average.", markup=False, highlight=False)
    for line in metrics.reviews:
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    for line in equivalence_lines(metrics):
        console.print(line, markup=False, highlight=False)
    if metrics.unknown_images:
        count = len(metrics.unknown_images)
        console.print(f"{count} images are not in the data set and were left out; metrics.json lists them.")
    console.print(f"report: {out / 'report.html'}", markup=False, highlight=False, soft_wrap=True)


def _table(metrics: Evaluation) -> Table:
    """All landmarks, what they can be compared with, and the three worst."""
    from rich.table import Table
    from rich.text import Text

    unit = metrics.unit
    radii = [f"{r:g}" for r in (metrics.radii[0], metrics.radii[-1])]
    table = Table(box=None, header_style="bold")
    table.add_column("", no_wrap=True)
    for heading in ("n", "not found", f"MRE ({unit})", "95 % interval", "median", *(f"% ≤ {r} {unit}" for r in radii)):
        table.add_column(heading, justify="right")
    lines = [("all landmarks", metrics.overall)]
    if metrics.mean_shape:
        lines.append(("mean shape", metrics.mean_shape.overall))
    if metrics.observers:
        lines += [(f"to {scores.against}", scores.overall) for scores in metrics.observers.model]
        between = ("between observers", metrics.observers.inter), ("within observers", metrics.observers.intra)
        lines += [(label, scores.overall) for label, scores in between if scores]
    ranked = sorted(metrics.landmarks.items(), key=lambda item: -(item[1].mre or 0.0))
    lines += [(f"worst: {name}", scores) for name, scores in ranked if scores.mre is not None][:3]
    for name, scores in lines:
        limits = scores.mre_interval
        interval = "–" if limits is None else f"{limits[0]:.2f} – {limits[1]:.2f}"
        rates = [number(scores.sdr[r], 1) for r in radii]
        counts = str(scores.n), str(scores.n_missing)
        table.add_row(Text(name), *counts, number(scores.mre), interval, number(scores.median), *rates)
    return table


def equivalence_lines(metrics: Evaluation) -> list[str]:
    """The results of the equivalence tests, a line each."""
    lines = []
    for scores in metrics.observers.model if metrics.observers else ():
        test = scores.equivalence
        if test is None or test.overall.verdict is None or test.overall.interval is None:
            continue
        o, (lower, upper) = test.overall, test.overall.interval
        farther = [name for name, line in test.landmarks.items() if line.verdict == "farther"]
        unsure = [name for name, line in test.landmarks.items() if line.verdict == "not shown"]
        text = (
            f"To {scores.against}: {o.difference:+.2f} {metrics.unit} against an observer's distance (90 % interval "
            f"{lower:.2f} to {upper:.2f}, margin {test.margin:g}): {o.verdict}"
        )
        text += f"; farther than an observer: {', '.join(farther)}" if farther else ""
        text += f"; equivalence not shown: {', '.join(unsure)}" if unsure else ""
        lines.append(text + ".")
    return lines

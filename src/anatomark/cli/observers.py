"""anatomark observers: how far observers are from each other and from themselves."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from anatomark.cli.options import Frame, parse_radii, parse_spacing
from anatomark.evaluation.numbers import number

if TYPE_CHECKING:
    from rich.table import Table

    from anatomark.evaluation.metrics import ErrorScores
    from anatomark.evaluation.observers import ObserverStatistics
    from anatomark.evaluation.results import ObserverStudy


def observers(
    source: Annotated[
        list[Path], typer.Argument(metavar="DATASET.yaml|TABLE.csv ...", help="A description, or tables of placements.")
    ],
    out: Annotated[Path | None, typer.Option(help="Folder for observers.json and observer_pairs.csv.")] = None,
    split: Annotated[str | None, typer.Option(help="Only this split of a dataset.yaml.")] = None,
    frame: Annotated[
        Frame | None,
        typer.Option(metavar="LPS|RAS|pixel", help="Frame of tables that do not state it.", case_sensitive=False),
    ] = None,
    spacing: Annotated[
        str | None, typer.Option(metavar="X,Y[,Z]", help="Spacing in mm of tables in pixel coordinates.")
    ] = None,
    session: Annotated[
        str | None,
        typer.Option(help="For tables: regular expression whose group in an observer's name is the person."),
    ] = None,
    radii: Annotated[str, typer.Option(help="Radii of the rates of agreement.")] = "2,2.5,3,4",
    consensus: Annotated[
        str, typer.Option(help="Consensus of the other observers: mean or geometric-median.")
    ] = "mean",
    samples: Annotated[int, typer.Option(help="Bootstrap samples of the subjects; 0 for no intervals.")] = 2000,
    seed: Annotated[int, typer.Option(help="Seed of the bootstrap.")] = 0,
    root: Annotated[Path | None, typer.Option(help="Folder that contains the data.")] = None,
) -> None:
    """Inter- and intra-observer error of each landmark, with intervals. No image and no model is needed."""
    from anatomark.evaluation.observer_study import compare_observers

    study = compare_observers(
        source,
        split=split,
        frame=None if frame is None else frame.value,
        spacing=parse_spacing(spacing),
        session=session,
        radii=parse_radii(radii),
        consensus=consensus,
        samples=samples,
        seed=seed,
        root=root,
        out=out,
    )
    _show(study)
    if out is not None:
        print(f"written: {out / 'observers.json'}, {out / 'observer_pairs.csv'}")


def _show(study: ObserverStudy) -> None:
    """The distances of each landmark, and of each observer to the others."""
    from rich.console import Console

    console, statistics = Console(width=None if sys.stdout.isatty() else 120), study.statistics
    cases = f"{statistics.n_cases} cases of {statistics.n_subjects} subjects"
    console.print(f"mean distance and 95 % interval, {cases}")
    console.print(_landmark_table(study))
    console.print()
    console.print(_observer_table(statistics))
    if statistics.intra_note:
        console.print(f"No intra-observer error: {statistics.intra_note}.")


def _landmark_table(study: ObserverStudy) -> Table:
    from rich.table import Table
    from rich.text import Text

    first = f"{study.radii[0]:g}"
    kinds = [("between", study.statistics.inter), ("within", study.statistics.intra)]
    kinds = [(label, scores) for label, scores in kinds if scores]
    table = Table(box=None, header_style="bold")
    table.add_column("landmark", no_wrap=True)
    for label, _ in kinds:
        for heading in (f"{label} ({study.unit})", f"≤ {first}", "n"):
            table.add_column(heading, justify="right", no_wrap=True)
    lines = [("all", [scores.overall for _, scores in kinds])]
    lines += [(name, [scores.landmarks[name] for _, scores in kinds]) for name in kinds[0][1].landmarks]
    for name, row in lines:
        cells = [cell for s in row for cell in (_mean(s), number(s.sdr[first], 0) + " %", str(s.n))]
        table.add_row(Text(name), *cells)
    return table


def _observer_table(statistics: ObserverStatistics) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, header_style="bold")
    against = f"to the {statistics.consensus} of the others"
    for k, heading in enumerate(("observer", "cases", against, "bias x, y[, z]")):
        table.add_column(heading, justify="right" if k else "left")
    for scores in statistics.each:
        bias = ", ".join(number(v) for v in (scores.overall.bias or {}).values())
        table.add_row(Text(scores.observer), str(scores.n_cases), _mean(scores.overall), bias)
    return table


def _mean(scores: ErrorScores) -> str:
    """The mean and its interval."""
    interval = scores.mre_interval
    between = "" if interval is None else f" ({interval[0]:.2f}–{interval[1]:.2f})"
    return number(scores.mre) + between

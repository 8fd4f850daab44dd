"""anatomark compare: predictions of several methods, paired by subject."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from anatomark.cli.options import Frame, parse_radii
from anatomark.evaluation.numbers import p_value
from anatomark.methods.prediction import PRESENCE_THRESHOLD

if TYPE_CHECKING:
    from rich.table import Table

    from anatomark.evaluation.comparison import Comparison, PairComparison


def compare(
    dataset: Annotated[Path, typer.Argument(help="Description of the data set: dataset.yaml.")],
    predictions: Annotated[
        list[Path], typer.Argument(help="Two or more landmark files, or folders written by predict.")
    ],
    out: Annotated[Path | None, typer.Option(help="Folder for compare.json, compare.csv and compare.md.")] = None,
    name: Annotated[
        list[str] | None, typer.Option(help="Name of a method; once for each of the predictions, in their order.")
    ] = None,
    split: Annotated[str | None, typer.Option(help="Score every case of this split.")] = None,
    frame: Annotated[
        Frame | None,
        typer.Option(metavar="LPS|RAS|pixel", help="Frame of tables that do not state it.", case_sensitive=False),
    ] = None,
    root: Annotated[Path | None, typer.Option(help="Folder that contains the data.")] = None,
    presence_threshold: Annotated[
        float, typer.Option(help="A presence below this predicts that the landmark is absent.")
    ] = PRESENCE_THRESHOLD,
    radii: Annotated[str, typer.Option(help="Radii of the detection rates.")] = "2,2.5,3,4",
    samples: Annotated[int, typer.Option(help="Bootstrap samples of the subjects; 0 for no intervals.")] = 2000,
    seed: Annotated[int, typer.Option(help="Seed of the bootstrap.")] = 0,
) -> None:
    """Compare predictions of several methods: paired differences, intervals, tests, and the sentence for a paper."""
    from anatomark.evaluation.compare import compare

    comparison = compare(
        dataset,
        predictions,
        names=name or None,
        split=split,
        frame=None if frame is None else frame.value,
        out=out,
        root=root,
        presence_threshold=presence_threshold,
        radii=parse_radii(radii),
        samples=samples,
        seed=seed,
    )
    _show(comparison)
    if out is not None:
        print(f"written: {out / 'compare.md'}, compare.csv, compare.json")


def _show(comparison: Comparison) -> None:
    """A table and a sentence for each pair."""
    from rich.console import Console

    console = Console(width=None if sys.stdout.isatty() else 120)
    for pair, text in zip(comparison.pairs, comparison.sentences, strict=True):
        console.print(_table(pair, comparison.unit))
        console.print(text, markup=False, highlight=False)
    if comparison.left_out:
        console.print(f"{len(comparison.left_out)} cases that not all predictions name were left out.")


def _table(pair: PairComparison, unit: str) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, header_style="bold")
    difference = f"{pair.a} − {pair.b} ({unit})"
    for k, heading in enumerate(("landmark", "n", difference, "95 % interval", "p (Holm)", "nearer")):
        table.add_column(Text(heading), justify="right" if k else "left")
    for landmark, line in [("all", pair.overall), *pair.landmarks.items()]:
        interval = "–" if line.interval is None else "{:.2f} – {:.2f}".format(*line.interval)
        mean = "–" if line.difference is None else f"{line.difference:.2f}"
        better = Text(line.better or "–")
        table.add_row(Text(landmark), str(line.n), mean, interval, p_value(line.p_holm), better)
    return table

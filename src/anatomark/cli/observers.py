"""anatomark observers: how far observers are from each other and from themselves."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from anatomark.cli.evaluate import Frame, parse_radii


def observers(
    source: Annotated[
        list[Path], typer.Argument(metavar="DATASET.yaml|TABLE.csv ...", help="A description, or tables of placements.")
    ],
    out: Annotated[Path | None, typer.Option(help="Folder for observers.json and observer_pairs.csv.")] = None,
    split: Annotated[str | None, typer.Option(help="Only this split of a dataset.yaml.")] = None,
    frame: Annotated[
        Frame | None,
        typer.Option(metavar="LPS|RAS|pixel", help="Frame of tables that do not say theirs.", case_sensitive=False),
    ] = None,
    spacing: Annotated[
        str | None, typer.Option(metavar="X,Y[,Z]", help="Spacing in mm of tables in pixel coordinates.")
    ] = None,
    session: Annotated[
        str | None,
        typer.Option(help="Of tables: a regular expression whose group in an observer's name is the person."),
    ] = None,
    radii: Annotated[str, typer.Option(help="Radii of the rates within.")] = "2,2.5,3,4",
    consensus: Annotated[str, typer.Option(help="mean or geometric-median, of the other observers.")] = "mean",
    samples: Annotated[int, typer.Option(help="Bootstrap samples of the subjects; 0 for no intervals.")] = 2000,
    seed: Annotated[int, typer.Option(help="Seed of the bootstrap.")] = 0,
    root: Annotated[Path | None, typer.Option(help="Folder that the data lie under.")] = None,
) -> None:
    """Inter- and intra-observer error of each landmark, with intervals. No image and no model is needed."""
    from anatomark.cli.predict import parse_spacing
    from anatomark.evaluation.observer_study import compare_observers

    found = compare_observers(
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
    _show(found)
    if out is not None:
        print(f"written: {out / 'observers.json'}, {out / 'observer_pairs.csv'}")


def _show(found: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console, unit = Console(width=None if sys.stdout.isatty() else 120), found["unit"]
    console.print(f"mean distance and 95 % interval, {found['n_cases']} cases of {found['n_subjects']} subjects")
    first = f"{found['radii'][0]:g}"
    kinds = [(label, found[key]) for label, key in (("between", "inter"), ("own sessions", "intra"))]
    kinds = [(label, block) for label, block in kinds if block]
    table = Table(box=None, header_style="bold")
    table.add_column("landmark", no_wrap=True)
    for label, _ in kinds:
        for heading in (f"{label} ({unit})", f"≤ {first}", "n"):
            table.add_column(heading, justify="right", no_wrap=True)
    lines = [("all", [block["overall"] for _, block in kinds])]
    lines += [(name, [block["landmarks"][name] for _, block in kinds]) for name in kinds[0][1]["landmarks"]]
    for name, blocks in lines:
        cells = [cell for b in blocks for cell in (_mean(b), _number(b["sdr"][first], 0) + " %", str(b["n"]))]
        table.add_row(Text(name), *cells)
    console.print(table)
    each = Table(box=None, header_style="bold")
    for k, heading in enumerate(("observer", "cases", f"to the {found['consensus']} of the others", "bias x, y[, z]")):
        each.add_column(heading, justify="right" if k else "left")
    for line in found["each"]:
        o = line["overall"]
        bias = ", ".join(_number(v) for v in (o["bias"] or {}).values())
        each.add_row(Text(line["observer"]), str(line["n_cases"]), _mean(o), bias)
    console.print()
    console.print(each)
    if found["intra_note"]:
        console.print(f"No intra-observer error: {found['intra_note']}.")


def _number(value: float | None, digits: int = 2) -> str:
    return "–" if value is None else f"{value:.{digits}f}"


def _mean(block: dict[str, Any]) -> str:
    """The mean and its interval."""
    interval = block["mre_interval"]
    between = "" if interval is None else f" ({interval[0]:.2f}–{interval[1]:.2f})"
    return _number(block["mre"]) + between

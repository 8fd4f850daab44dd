"""anatomark transfer: transfer a template's landmarks to images by deformable registration."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from anatomark.cli.options import parse_spacing


class BackendChoice(StrEnum):
    """Registration library; auto takes elastix if it is installed."""

    auto = "auto"
    simpleitk = "simpleitk"
    elastix = "elastix"


def transfer(
    template: Annotated[Path, typer.Argument(help="Image of the landmarks.")],
    template_landmarks: Annotated[Path, typer.Argument(help="Its landmarks: .mrk.json, .fcsv, .csv or .tsv.")],
    inputs: Annotated[
        list[Path], typer.Argument(metavar="IMAGE|FOLDER ...", help="Images to transfer the landmarks to.")
    ],
    out: Annotated[Path, typer.Option(help="Folder for transferred.csv and landmark files.")],
    backend: Annotated[BackendChoice, typer.Option(help="Registration library.")] = BackendChoice.auto,
    tolerance: Annotated[
        float | None,
        typer.Option(help="Points whose inverse-consistency error exceeds this (mm, or px) are not annotated."),
    ] = None,
    format: Annotated[
        list[str] | None,
        typer.Option(help="Also write a file for each image: mrk.json or fcsv. The table (csv) is always written."),
    ] = None,
    frame: Annotated[
        str | None, typer.Option(metavar="LPS|RAS|pixel", help="Frame of the landmarks, if they do not state it.")
    ] = None,
    spacing: Annotated[
        str | None, typer.Option(metavar="X,Y[,Z]", help="Spacing in mm of images that do not state one.")
    ] = None,
) -> None:
    """Transfer any number of landmarks from a template to images. Unreliable points are not annotated."""
    from rich.markup import escape
    from rich.progress import Progress

    from anatomark.registration.transfer_to_folder import transfer_to_folder

    with Progress(transient=True) as bars:
        bar = bars.add_task("registering", total=None)
        summary = transfer_to_folder(
            template,
            template_landmarks,
            inputs,
            out=out,
            backend=backend.value,
            tolerance=tolerance,
            formats=tuple(format or ["csv"]),
            frame=frame,
            spacing=parse_spacing(spacing),
            progress=lambda done, total, name: bars.update(bar, completed=done, total=total, description=escape(name)),
            show=lambda line: bars.console.print(line, markup=False, highlight=False, soft_wrap=True),
        )
    for reason in summary.failed.values():
        print("error:", " ".join(reason.split()), file=sys.stderr)
    count = len(summary.transferred)
    print(f"landmarks on {count} image{'s' * (count != 1)}: {summary.table}")
    if summary.failed:
        failed = len(summary.failed)
        print(f"{failed} image{'s' * (failed != 1)} failed", file=sys.stderr)
        raise typer.Exit(1)

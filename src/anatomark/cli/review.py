"""anatomark review: review and correct landmarks in the browser."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from anatomark.cli.options import Device, Frame, parse_spacing


def review(
    dataset: Annotated[Path, typer.Argument(metavar="DATASET|FOLDER", help="A dataset.yaml, or a folder of images.")],
    predictions: Annotated[
        Path | None, typer.Option(help="Predictions to start from: a table, or a folder written by predict or train.")
    ] = None,
    model: Annotated[Path | None, typer.Option(help="Run that predicts cases on request of the page.")] = None,
    reviewer: Annotated[
        str | None,
        typer.Option(help="Name of the reviewer, and of the files.", show_default="the login name"),
    ] = None,
    landmarks: Annotated[
        str | None, typer.Option(metavar="A,B,C", help="Landmarks to place, for a folder of images.")
    ] = None,
    split: Annotated[str | None, typer.Option(help="Only this split of a dataset.yaml.")] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder for the review.", show_default="annotations/ beside the data"),
    ] = None,
    root: Annotated[Path | None, typer.Option(help="Folder that contains the data of a dataset.yaml.")] = None,
    spacing: Annotated[
        str | None,
        typer.Option(metavar="X,Y[,Z]", help="Spacing in mm of images that do not state one, for a folder of images."),
    ] = None,
    frame: Annotated[
        Frame | None,
        typer.Option(
            metavar="LPS|RAS|pixel",
            help="Frame of the predictions, if the table does not state it.",
            case_sensitive=False,
        ),
    ] = None,
    host: Annotated[str, typer.Option(help="Address to listen on; the token in the URL grants access.")] = (
        "127.0.0.1"
    ),
    port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="Port to listen on.", show_default="8770 if free")
    ] = None,
    browser: Annotated[bool, typer.Option("--browser/--no-browser", help="Open the page in the browser.")] = True,
    device: Annotated[Device, typer.Option(help="Device of the model.")] = Device.auto,
) -> None:
    """Review and correct landmarks in the browser; train and evaluate use the corrections as the reference."""
    from anatomark.review.serve import review

    review(
        dataset,
        reviewer=reviewer,
        predictions=predictions,
        frame=None if frame is None else frame.value,
        model=model,
        landmarks=[name.strip() for name in landmarks.split(",")] if landmarks is not None else (),
        split=split,
        root=root,
        spacing=parse_spacing(spacing),
        out=out,
        host=host,
        port=port,
        browser=browser,
        device=device.value,
    )

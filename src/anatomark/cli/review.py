"""anatomark review: look at landmarks and correct them, in a page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from anatomark.cli.evaluate import Frame
from anatomark.cli.predict import parse_spacing
from anatomark.cli.train import Device


def review(
    dataset: Annotated[Path, typer.Argument(metavar="DATASET|FOLDER", help="A dataset.yaml, or a folder of images.")],
    predictions: Annotated[
        Path | None, typer.Option(help="Predictions to begin with: a table, or a folder that predict or train wrote.")
    ] = None,
    model: Annotated[Path | None, typer.Option(help="A run that predicts cases when the page asks for it.")] = None,
    reviewer: Annotated[
        str | None, typer.Option(help="Who reviews; names the files. [default: the login name]", show_default=False)
    ] = None,
    landmarks: Annotated[
        str | None, typer.Option(metavar="A,B,C", help="The landmarks to place in a folder of images.")
    ] = None,
    split: Annotated[str | None, typer.Option(help="Only this split of a dataset.yaml.")] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder for the review. [default: annotations/ beside the data]", show_default=False),
    ] = None,
    root: Annotated[Path | None, typer.Option(help="Folder that the data of a dataset.yaml lie under.")] = None,
    spacing: Annotated[
        str | None, typer.Option(metavar="X,Y[,Z]", help="Spacing in mm of images that have none, in a folder.")
    ] = None,
    frame: Annotated[
        Frame | None,
        typer.Option(
            metavar="LPS|RAS|pixel", help="Frame of the predictions, if the table does not say.", case_sensitive=False
        ),
    ] = None,
    host: Annotated[str, typer.Option(help="Where to listen; beyond this machine, the address's token admits.")] = (
        "127.0.0.1"
    ),
    port: Annotated[int | None, typer.Option(min=0, max=65535, help="Port. [default: a free one]")] = None,
    browser: Annotated[bool, typer.Option("--browser/--no-browser", help="Open the page in the browser.")] = True,
    device: Annotated[Device, typer.Option(help="Where the model computes.")] = Device.auto,
) -> None:
    """Look at landmarks and correct them in a page; train and evaluate take the corrections as the reference."""
    from anatomark.review.serve import review as run

    run(
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

"""anatomark predict: find landmarks in new images."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from anatomark.cli.train import Device
from anatomark.methods.error_bound import COVERAGE


def predict(
    run: Annotated[Path, typer.Argument(help="The run folder of a finished training, or a ready-made model's name.")],
    inputs: Annotated[list[Path], typer.Argument(metavar="IMAGE|FOLDER|DATASET.yaml ...", help="What to predict.")],
    out: Annotated[Path, typer.Option(help="Folder for predictions.csv, overlays and landmark files.")],
    split: Annotated[str | None, typer.Option(help="Only this split of a dataset.yaml.")] = None,
    spacing: Annotated[
        str | None,
        typer.Option(metavar="X,Y[,Z]", help="Spacing in mm of images that have none, such as 0.25,0.25."),
    ] = None,
    format: Annotated[
        list[str] | None,
        typer.Option(help="csv (always written), mrk.json, fcsv or dicom-sr: a file for each image as well."),
    ] = None,
    device: Annotated[Device, typer.Option(help="Where to compute.")] = Device.auto,
    root: Annotated[Path | None, typer.Option(help="Folder that the data of a dataset.yaml lie under.")] = None,
    overlays: Annotated[bool, typer.Option(help="A picture of each image with its landmarks.")] = True,
    stack: Annotated[
        bool, typer.Option("--stack", help="Every page of an image file is an image: X-rays in one .mha or TIFF.")
    ] = False,
    coverage: Annotated[
        float, typer.Option(help="Share of landmarks that are to lie within their error bounds.")
    ] = COVERAGE,
) -> None:
    """Predict the landmarks of images. No annotation is needed."""
    from rich.markup import escape
    from rich.progress import Progress

    from anatomark.predict import predict_to_folder
    from anatomark.ready_made import about, run_folder

    if (known := about(run_folder(run))) is not None:
        print(f"{run}: {known.terms}", file=sys.stderr)
    with Progress(transient=True) as bars:
        bar = bars.add_task("predicting", total=None)
        summary = predict_to_folder(
            run,
            inputs,
            out=out,
            split=split,
            spacing=parse_spacing(spacing),
            formats=tuple(format or ["csv"]),
            device=device.value,
            root=root,
            overlays=overlays,
            coverage=coverage,
            stack=stack,
            progress=lambda done, total, name: bars.update(bar, completed=done, total=total, description=escape(name)),
        )
    for warning in summary.warnings.values():
        print("warning:", " ".join(warning.split()), file=sys.stderr)
    for reason in summary.failed.values():
        print("error:", " ".join(reason.split()), file=sys.stderr)
    count = len(summary.predicted)
    each = {step: seconds / count for step, seconds in summary.seconds.items()}
    steps = ", ".join(f"{step} {time:.2f} s" for step, time in each.items())
    print(f"{count} image{'s' * (count != 1)} predicted ({steps} an image): {summary.table}")
    if summary.withheld:
        reasons = list(dict.fromkeys(summary.withheld.values()))
        more = f" (and {len(reasons) - 1} more reasons)" if len(reasons) > 1 else ""
        print(f"no error bound for {len(summary.withheld)} landmarks: {reasons[0]}{more}")
    if summary.failed:
        print(f"{len(summary.failed)} images could not be predicted", file=sys.stderr)
        raise typer.Exit(1)


def parse_spacing(text: str | None) -> tuple[float, ...] | None:
    """(x, y[, z]) of "x,y[,z]"."""
    from anatomark.errors import SpacingError
    from anatomark.formats.text import number

    if text is None:
        return None
    try:
        values = tuple(number(part) for part in text.split(","))
    except ValueError:
        values = ()
    if len(values) not in (2, 3) or not all(0 < value < float("inf") for value in values):
        raise SpacingError(f"--spacing is {text!r}; wanted two or three lengths in mm, such as 0.25,0.25")
    return values

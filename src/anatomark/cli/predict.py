"""anatomark predict: find landmarks in new images."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from anatomark.cli.options import Device, parse_batch, parse_spacing
from anatomark.methods.error_bound import COVERAGE


class Runtime(StrEnum):
    torch = "torch"
    onnx = "onnx"


class Orientation(StrEnum):
    keep = "keep"
    auto = "auto"


def predict(
    run: Annotated[Path, typer.Argument(help="Run folder of a finished training, or name of a ready-made model.")],
    inputs: Annotated[list[Path], typer.Argument(metavar="IMAGE|FOLDER|DATASET.yaml ...", help="Images to predict.")],
    out: Annotated[Path, typer.Option(help="Folder for predictions.csv, overlays and landmark files.")],
    split: Annotated[str | None, typer.Option(help="Only this split of a dataset.yaml.")] = None,
    spacing: Annotated[
        str | None,
        typer.Option(metavar="X,Y[,Z]", help="Spacing in mm of images that do not state one, such as 0.25,0.25."),
    ] = None,
    format: Annotated[
        list[str] | None,
        typer.Option(
            help="Also write a file for each image: mrk.json, fcsv or dicom-sr. The table (csv) is always written."
        ),
    ] = None,
    device: Annotated[Device, typer.Option(help="Device to compute on.")] = Device.auto,
    batch: Annotated[
        str,
        typer.Option(
            metavar="N|auto", help="Images that are predicted together; auto: by the memory of a GPU, 1 on a CPU."
        ),
    ] = "auto",
    runtime: Annotated[
        Runtime | None,
        typer.Option(
            help="Who computes the networks: torch, or onnx (ONNX Runtime on the CPU; the networks of a run folder are "
            "exported first, which takes seconds). Without it: onnx for an exported model, else torch."
        ),
    ] = None,
    root: Annotated[Path | None, typer.Option(help="Folder that contains the data of a dataset.yaml.")] = None,
    overlays: Annotated[bool, typer.Option(help="Write a picture of each image with its landmarks.")] = True,
    stack: Annotated[
        bool, typer.Option("--stack", help="Take every page of a file as an image: X-rays in one .mha or TIFF.")
    ] = False,
    orient: Annotated[
        Orientation,
        typer.Option(
            help="Images that look mirrored, turned, inverted or of another spacing: keep them as they are, or auto: "
            "predict them so that their points lie as usual, and give the points of the image as it is."
        ),
    ] = Orientation.keep,
    coverage: Annotated[
        float, typer.Option(help="Proportion of landmarks that are to lie within their error bounds.")
    ] = COVERAGE,
) -> None:
    """Predict the landmarks of images. No annotation is needed. The same command goes on where it was stopped."""
    from rich.markup import escape
    from rich.progress import Progress

    from anatomark.cohort.extra import advice_for_many
    from anatomark.predict import COHORT_FROM, predict_to_folder
    from anatomark.ready_made import about, run_folder

    if (known := about(run_folder(run))) is not None:
        print(f"{run}: {known.terms}", file=sys.stderr)
    advised = False
    with Progress(transient=True) as bars:
        bar = bars.add_task("predicting", total=None)

        def show(done: int, total: int, name: str) -> None:
            nonlocal advised
            if total >= COHORT_FROM and not advised:
                print(advice_for_many(total), file=sys.stderr)
                advised = True
            bars.update(bar, completed=done, total=total, description=escape(name))

        summary = predict_to_folder(
            run,
            inputs,
            out=out,
            split=split,
            spacing=parse_spacing(spacing),
            formats=tuple(format or ["csv"]),
            device=device.value,
            batch=parse_batch(batch),
            runtime=None if runtime is None else runtime.value,
            root=root,
            overlays=overlays,
            coverage=coverage,
            stack=stack,
            orient=orient.value,
            progress=show,
        )
    for warning in summary.warnings.values():
        print("warning:", " ".join(warning.split()), file=sys.stderr)
    for reason in summary.failed.values():
        print("error:", " ".join(reason.split()), file=sys.stderr)
    count = len(summary.predicted)
    new = count - summary.resumed
    steps = ", ".join(f"{step} {seconds / new:.2f} s" for step, seconds in summary.seconds.items() if new)
    notes = [f"{summary.resumed} of them before it was stopped"] * bool(summary.resumed) + [
        f"per image: {steps}"
    ] * bool(new)
    print(f"{count} image{'s' * (count != 1)} predicted ({'; '.join(notes)}): {summary.table}")
    if summary.withheld:
        reasons = list(dict.fromkeys(summary.withheld.values()))
        more = f" (and {len(reasons) - 1} more reasons)" if len(reasons) > 1 else ""
        print(f"no error bound for {len(summary.withheld)} landmarks: {reasons[0]}{more}")
    for limit in summary.limits:
        print(f"note: {limit}")
    if summary.failed:
        failed = len(summary.failed)
        print(f"{failed} image{'s' * (failed != 1)} could not be predicted", file=sys.stderr)
        raise typer.Exit(1)

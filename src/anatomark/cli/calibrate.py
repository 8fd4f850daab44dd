"""anatomark calibrate: fit a model's error bounds, and with --out its points, to cases that it was not trained on."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from anatomark.cli.options import Device

if TYPE_CHECKING:
    from anatomark.methods.error_bound import ErrorBounds
    from anatomark.training.adapt import Adapted

LARGEST = 5  # offsets that are printed


def calibrate(
    run: Annotated[Path, typer.Argument(help="Run folder of a finished training, or a ready-made model.")],
    dataset: Annotated[Path, typer.Argument(help="Description of annotated cases: dataset.yaml.")],
    split: Annotated[
        str | None,
        typer.Option(
            help="Split used for calibration; without it, the run's validation cases, or all of another place."
        ),
    ] = None,
    reviews: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Calibrate by the accepted cases of the review in this folder."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="New folder for a copy of the model that also puts its points as these cases have theirs."),
    ] = None,
    device: Annotated[Device, typer.Option(help="Device to compute on.")] = Device.auto,
    root: Annotated[Path | None, typer.Option(help="Folder that contains the data.")] = None,
) -> None:
    """Calibrate the error bounds of a trained model on annotated cases, and save them with the model.

    Training already does this. Calibrate again if a model has no error bounds yet, or if its images now come from
    another source. With --out, the model stays as it is, and a copy learns from five cases or more how far that place
    puts each landmark from where the model puts it.
    """
    from rich.markup import escape
    from rich.progress import Progress

    from anatomark.loading import load
    from anatomark.training.adapt import adapt
    from anatomark.training.calibrate import calibrate

    with Progress(transient=True) as bars:
        bar = bars.add_task("predicting", total=None)

        def show(done: int, total: int, name: str) -> None:
            bars.update(bar, completed=done, total=total, description=escape(name))

        if out is None:
            bounds = calibrate(
                run, dataset, split=split, reviews=reviews, root=root, device=device.value, progress=show
            )
            lines = [f"{run}: calibrated by {bounds.source}; {_counted(bounds)}"]
        else:
            adapted = adapt(
                run, dataset, out=out, split=split, reviews=reviews, root=root, device=device.value, progress=show
            )
            bounds, lines = adapted.taught.bounds, _changes(adapted)
    withheld = [reason for reason in map(bounds.reason, bounds.names) if reason is not None]
    if withheld:
        lines.append(f"no error bound for the others: {withheld[0]}")
    lines += load(run if out is None else out, device="cpu").limits
    print(*lines, sep="\n")


def _counted(bounds: ErrorBounds) -> str:
    from anatomark.methods.error_bound import COVERAGE

    given = sum(bounds.reason(name) is None for name in bounds.names)
    return f"{given} of {len(bounds.names)} landmarks have an error bound at {COVERAGE:.0%}"


def _changes(adapted: Adapted) -> list[str]:
    """What the adapted model does otherwise, a line each."""
    from anatomark.methods.offsets import LEAST

    taught, unit = adapted.taught, adapted.unit
    count = f"{adapted.cases} case{'s' * (adapted.cases != 1)}"
    lines = [f"{adapted.out}: adapted by {count} ({adapted.source})"]
    if not adapted.seen_known:
        lines.append("what this model was trained on is not recorded: make sure that these cases were not")
    if not taught.enough:
        return [*lines, f"no offset, and the error bounds as they were: {LEAST} subjects or more are needed"]
    lengths = taught.offsets.lengths
    moved = [k for k in lengths.argsort()[::-1] if lengths[k] > 0]
    largest = ", ".join(f"{adapted.names[k]} {lengths[k]:.2f} {unit}" for k in moved[:LARGEST])
    offsets = f"{len(moved)} of {len(lengths)} landmarks have an offset" + (
        f", the largest: {largest}" if moved else ""
    )
    error = f"mean error of left-out subjects: {taught.before:.2f} {unit} before, {taught.after:.2f} {unit} after"
    return [*lines, offsets, error, _counted(taught.bounds)]

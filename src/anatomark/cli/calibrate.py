"""anatomark calibrate: fit a model's error bounds to cases that it was not trained on."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from anatomark.cli.options import Device


def calibrate(
    run: Annotated[Path, typer.Argument(help="Run folder of a finished training.")],
    dataset: Annotated[Path, typer.Argument(help="Description of annotated cases: dataset.yaml.")],
    split: Annotated[
        str | None, typer.Option(help="Split used for calibration; without it, the run's validation cases.")
    ] = None,
    device: Annotated[Device, typer.Option(help="Device to compute on.")] = Device.auto,
    root: Annotated[Path | None, typer.Option(help="Folder that contains the data.")] = None,
) -> None:
    """Calibrate the error bounds of a trained model on annotated cases, and save them with the model.

    Training already does this. Calibrate again if a model has no error bounds yet, or, with a split of new cases, if
    its images now come from another source.
    """
    from rich.markup import escape
    from rich.progress import Progress

    from anatomark.methods.error_bound import COVERAGE
    from anatomark.training.calibrate import calibrate

    with Progress(transient=True) as bars:
        bar = bars.add_task("predicting", total=None)
        bounds = calibrate(
            run,
            dataset,
            split=split,
            root=root,
            device=device.value,
            progress=lambda done, total, name: bars.update(bar, completed=done, total=total, description=escape(name)),
        )
    reasons = [bounds.reason(name) for name in bounds.names]
    withheld = [reason for reason in reasons if reason is not None]
    count = f"{len(reasons) - len(withheld)} of {len(reasons)} landmarks have an error bound at {COVERAGE:.0%}"
    print(f"{run}: calibrated by {bounds.source}; {count}")
    if withheld:
        print(f"no error bound for the others: {withheld[0]}")

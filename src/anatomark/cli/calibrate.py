"""anatomark calibrate: how far a model's predictions may be off, by cases that it has not learned from."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from anatomark.cli.train import Device


def calibrate(
    run: Annotated[Path, typer.Argument(help="The run folder of a finished training.")],
    dataset: Annotated[Path, typer.Argument(help="The description of annotated cases: dataset.yaml.")],
    split: Annotated[
        str | None, typer.Option(help="Calibrate by this split; without it, by the run's validation cases.")
    ] = None,
    device: Annotated[Device, typer.Option(help="Where to compute.")] = Device.auto,
    root: Annotated[Path | None, typer.Option(help="Folder that the data lie under.")] = None,
) -> None:
    """Predict annotated cases, and save with the model how far its predictions may be off.

    Training does this by itself. Do it for a model that has no error bounds yet, or whose images now come from
    elsewhere: with a split of cases from there.
    """
    from rich.markup import escape
    from rich.progress import Progress

    from anatomark.methods.error_bound import COVERAGE
    from anatomark.training.calibrate import calibrate as work

    with Progress(transient=True) as bars:
        bar = bars.add_task("predicting", total=None)
        bounds = work(
            run,
            dataset,
            split=split,
            root=root,
            device=device.value,
            progress=lambda done, total, name: bars.update(bar, completed=done, total=total, description=escape(name)),
        )
    reasons = [bounds.reason(name) for name in bounds.names]
    withheld = [reason for reason in reasons if reason is not None]
    made = f"{len(reasons) - len(withheld)} of {len(reasons)} landmarks have an error bound at {COVERAGE:.0%}"
    print(f"{run}: calibrated by {bounds.source}; {made}")
    if withheld:
        print(f"the others have none: {withheld[0]}")

"""anatomark train: learn to find the landmarks of a data set."""

from __future__ import annotations

import sys
import time
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class Device(StrEnum):
    """Where to compute; auto takes a CUDA device where there is one."""

    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"


class Augmentation(StrEnum):
    """How strongly training images are augmented."""

    none = "none"
    default = "default"
    strong = "strong"


def train(
    dataset: Annotated[Path, typer.Argument(help="The description: dataset.yaml.")],
    out: Annotated[Path, typer.Option(help="The run folder to make, or to resume after a stop.")],
    method: Annotated[str, typer.Option(help="The localization method.")] = "global-to-local",
    preset: Annotated[
        str | None, typer.Option(help="A set of settings, such as noothout2020: the published ones.")
    ] = None,
    minutes: Annotated[
        float | None, typer.Option(help="How long the whole training may take on this machine, in minutes.")
    ] = None,
    epochs: Annotated[
        float | None, typer.Option(help="How often each training image is seen, over all stages together.")
    ] = None,
    augmentation: Annotated[
        Augmentation | None, typer.Option(help="How far training images are turned, scaled, bent and changed in grey.")
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Any setting of docs/settings.md; may be repeated."),
    ] = None,
    device: Annotated[Device, typer.Option(help="Where to compute.")] = Device.auto,
    root: Annotated[Path | None, typer.Option(help="Folder that the data lie under.")] = None,
    train_split: Annotated[str, typer.Option(help="The training split.")] = "train",
    validation_split: Annotated[
        str | None,
        typer.Option(
            help="The split for validation (model selection); without it, some training subjects are set aside."
        ),
    ] = None,
    folds: Annotated[
        int | None,
        typer.Option(help="Cross-validation: train as many models, each without its part of the subjects."),
    ] = None,
    estimate: Annotated[
        bool, typer.Option("--estimate", help="Only show how much memory and time it will take; nothing is trained.")
    ] = False,
) -> None:
    """Train on a data set and leave a model in the run folder. The same command resumes after a stop."""
    began = time.monotonic()  # what is loaded now counts into a time budget, too
    from anatomark.training import train as training
    from anatomark.training.request import parse_setting

    options = {"minutes": minutes, "epochs": epochs, "augmentation": augmentation and augmentation.value}
    options = {name: value for name, value in options.items() if value is not None}
    asked = {
        "method": method,
        "preset": preset,
        "settings": {**options, **dict(parse_setting(text) for text in set_ or [])},
        "device": device.value,
        "root": root,
        "train_split": train_split,
        "validation_split": validation_split,
        "folds": folds,
        "show": print,
    }
    if estimate:
        from anatomark.training import estimate as estimating

        print(estimating.estimate(dataset, **asked).text())
        return
    try:
        training.train(dataset, out=out, began=began, **asked)
    except KeyboardInterrupt:
        print(f"interrupted; the same command resumes from the last checkpoint in {out}", file=sys.stderr)
        raise typer.Exit(130) from None
    print(f"model: {out}")

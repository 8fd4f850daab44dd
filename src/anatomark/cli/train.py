"""anatomark train: learn to find the landmarks of a data set."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class Device(StrEnum):
    """Where to compute; auto takes a CUDA device where there is one."""

    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"


def train(
    dataset: Annotated[Path, typer.Argument(help="The description: dataset.yaml.")],
    out: Annotated[Path, typer.Option(help="The run folder to make, or to go on with after a stop.")],
    method: Annotated[str, typer.Option(help="The localization method.")] = "global-to-local",
    preset: Annotated[
        str | None, typer.Option(help="A set of settings, such as noothout2020: the published ones.")
    ] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="One setting; may be repeated.")
    ] = None,
    device: Annotated[Device, typer.Option(help="Where to compute.")] = Device.auto,
    root: Annotated[Path | None, typer.Option(help="Folder that the data lie under.")] = None,
    train_split: Annotated[str, typer.Option(help="The split to learn from.")] = "train",
    validation_split: Annotated[
        str | None,
        typer.Option(help="The split to choose by; without it, some training subjects are set aside."),
    ] = None,
    folds: Annotated[
        int | None,
        typer.Option(help="Cross-validate: train as many networks, each without its part of the subjects."),
    ] = None,
    estimate: Annotated[
        bool, typer.Option("--estimate", help="Only say what memory and time it will take; nothing is trained.")
    ] = False,
) -> None:
    """Train on a data set and leave a model in the run folder. The same command goes on after a stop."""
    from anatomark.training.request import parse_setting
    from anatomark.training.train import train as run

    asked = {
        "method": method,
        "preset": preset,
        "settings": dict(parse_setting(text) for text in set_ or []),
        "device": device.value,
        "root": root,
        "train_split": train_split,
        "validation_split": validation_split,
        "folds": folds,
        "show": print,
    }
    if estimate:
        from anatomark.training.estimate import estimate as foresee

        print(foresee(dataset, **asked).text())
        return
    try:
        run(dataset, out=out, **asked)
    except KeyboardInterrupt:
        print(f"interrupted; the same command goes on from the last checkpoint in {out}", file=sys.stderr)
        raise typer.Exit(130) from None
    print(f"model: {out}")

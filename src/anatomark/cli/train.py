"""anatomark train: learn to find the landmarks of a data set."""

from __future__ import annotations

import sys
import time
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from anatomark.cli.interrupts import exit_code
from anatomark.cli.options import Device
from anatomark.errors import SettingsError


class Augmentation(StrEnum):
    """How strongly training images are augmented."""

    none = "none"
    default = "default"
    strong = "strong"


def train(
    dataset: Annotated[Path, typer.Argument(help="Description of the data set: dataset.yaml.")],
    out: Annotated[Path, typer.Option(help="Run folder to write, or to resume.")],
    method: Annotated[
        str | None,
        typer.Option(
            help="Localization method: unet-votes, global-to-local, two-stage, heatmap or atlas; auto tries the first "
            "four for a short time and goes on with the best; both trains global-to-local and two-stage as members of "
            "one model. Default: that of the run to resume, else auto, with --folds unet-votes."
        ),
    ] = None,
    preset: Annotated[
        str | None, typer.Option(help="Named set of settings, such as noothout2020 (the published ones).")
    ] = None,
    minutes: Annotated[
        float | None, typer.Option(help="Time budget of the whole training on this machine, in minutes.")
    ] = None,
    epochs: Annotated[
        float | None, typer.Option(help="Training length: how often each training image is used, over all stages.")
    ] = None,
    augmentation: Annotated[
        Augmentation | None,
        typer.Option(help="Strength of augmentation: rotation, scaling, deformation and grey values."),
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Any setting of docs/settings.md; may be repeated."),
    ] = None,
    devices: Annotated[
        str | None,
        typer.Option(metavar="N|auto", help="Devices that share each training step; auto: all GPUs of this machine."),
    ] = None,
    nodes: Annotated[
        int | None, typer.Option(help="Machines with as many devices each, started by torchrun or srun.")
    ] = None,
    device: Annotated[Device, typer.Option(help="Device to compute on.")] = Device.auto,
    root: Annotated[Path | None, typer.Option(help="Folder that contains the data.")] = None,
    train_split: Annotated[str, typer.Option(help="Split used for training.")] = "train",
    validation_split: Annotated[
        str | None,
        typer.Option(help="Split used for model selection; without it, some training subjects are held out."),
    ] = None,
    folds: Annotated[
        int | None,
        typer.Option(help="Cross-validation: train this many models, each without its fold of the subjects."),
    ] = None,
    fold: Annotated[
        int | None,
        typer.Option(help="Of --folds, only train this one (1, 2, ...), say in an array job; without it, join all."),
    ] = None,
    ray: Annotated[
        str | None,
        typer.Option(metavar="ADDRESS", help="Train all --folds at once on this Ray cluster; auto: the running one."),
    ] = None,
    estimate: Annotated[
        bool, typer.Option("--estimate", help="Only estimate time and memory; nothing is trained.")
    ] = False,
) -> None:
    """Train a model on a data set. The same command resumes an interrupted training."""
    began = time.monotonic()  # what is loaded now counts into a time budget, too
    from anatomark.training import train as training
    from anatomark.training.request import parse_setting
    from anatomark.training.train import default_method

    options = {"minutes": minutes, "epochs": epochs, "augmentation": augmentation and augmentation.value}
    options = {name: value for name, value in options.items() if value is not None}
    asked = {
        "method": method or default_method(out, folds),
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
        if not (devices is nodes is fold is ray is None):
            raise SettingsError(
                "--estimate is of a whole training on one device; leave out --devices, --nodes, --fold and --ray"
            )
        from anatomark.training.estimates import estimates_text

        print(estimates_text(dataset, **asked))
        return
    try:
        training.train(dataset, out=out, began=began, fold=fold, devices=devices, nodes=nodes, ray=ray, **asked)
    except KeyboardInterrupt as stop:
        print(f"interrupted; the same command resumes from the last checkpoint in {out}", file=sys.stderr, flush=True)
        raise typer.Exit(exit_code(stop)) from None
    print(f"model: {out}")

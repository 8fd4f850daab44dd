"""anatomark demo: all steps on synthetic images, or on the real ones that come with the package."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Any

import typer

CASES = {2: 60, 3: 40}
# Enough for the phantoms on two CPU cores in a few minutes; real images take the defaults.
SETTINGS: dict[int, dict[str, Any]] = {
    2: {"global_steps": 300, "local_steps": 250},
    3: {"global_steps": 300, "local_steps": 250},
}
REAL: tuple[str, dict[str, Any]] = ("unet-votes", {"steps": 400})


def demo(
    out: Annotated[Path, typer.Option(help="New folder for the images, the model and the report.")] = Path("demo"),
    ndim: Annotated[
        int | None,
        typer.Option(min=2, max=3, help="Of synthetic images: 2 for radiographs (the default), 3 for CT volumes."),
    ] = None,
    real: Annotated[
        bool, typer.Option("--real", help="15 MR volumes of fetal brains (CC0) in place of synthetic images.")
    ] = False,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the synthetic anatomy and of the training.")] = 0,
) -> None:
    """Make synthetic images, or copy real ones; check them, train, predict the test images, and write a report."""
    from anatomark.data.check import check
    from anatomark.data.description import load_dataset
    from anatomark.data.fetal_mr import copy_fetal_mr
    from anatomark.data.phantoms import make_phantoms
    from anatomark.errors import OutputError, SettingsError
    from anatomark.evaluation.evaluate import evaluate
    from anatomark.evaluation.numbers import number
    from anatomark.predict import predict_to_folder
    from anatomark.training.train import train

    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise OutputError(f"{out} already exists; delete it, or give a new folder with --out")
    if real and ndim is not None:
        raise SettingsError("--ndim is of synthetic images; leave it or --real out")
    clock = _Clock()
    if real:
        (method, settings), path = REAL, copy_fetal_mr(out / "data")
    else:
        method, settings = "global-to-local", SETTINGS[ndim or 2]
        path = make_phantoms(out / "data", ndim=ndim or 2, cases=CASES[ndim or 2], seed=seed)
    dataset = load_dataset(path)
    done = "copied" if real else "made"
    clock.print(f"{done} {len(dataset.cases)} images with {len(dataset.names)} landmarks: {path}")

    findings = check(dataset)
    for finding in findings:
        print(f"  {finding.level}: {finding.case} {finding.landmark} {finding.message}; {finding.advice}")
    clock.print(f"checked the data set: {len(findings)} findings")

    settings = {**settings, "seed": seed}
    train(dataset, method=method, out=out / "run", device="cpu", settings=settings, show=print)
    clock.print(f"trained a model: {out / 'run'}")

    predictions = out / "predictions"
    predict_to_folder(out / "run", [path], out=predictions, split="test", device="cpu")
    clock.print(f"predicted {len(dataset.split('test'))} test images: {predictions / 'predictions.csv'}")

    metrics = evaluate(dataset, predictions / "predictions.csv", split="test", out=out / "evaluation")
    clock.print("evaluated the predictions")
    unit, scores = metrics.unit, metrics.overall
    print(f"\nmean radial error {number(scores.mre)} {unit}, {number(scores.sdr['2'], 0)} % within 2 {unit}")
    if metrics.mean_shape:
        print(f"mean radial error of the mean shape alone: {number(metrics.mean_shape.overall.mre)} {unit}")
    print(f"report with pictures: {out / 'evaluation' / 'report.html'}")


class _Clock:
    """Prints lines with the seconds since it was made."""

    def __init__(self) -> None:
        self.start = time.monotonic()

    def print(self, line: str) -> None:
        print(f"[{time.monotonic() - self.start:4.0f} s] {line}", flush=True)

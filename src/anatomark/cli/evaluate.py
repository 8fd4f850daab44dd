"""anatomark evaluate: score predictions of any origin."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from anatomark.methods.error_bound import COVERAGE
from anatomark.methods.prediction import SAID_ABSENT_BELOW


class Frame(StrEnum):
    """Frames that coordinates may be in."""

    LPS = "LPS"
    RAS = "RAS"
    pixel = "pixel"


def evaluate(
    dataset: Annotated[Path, typer.Argument(help="The description: dataset.yaml.")],
    predictions: Annotated[
        Path, typer.Option(help="A landmark file of any known format, a folder of predict, or a run with folds.")
    ],
    out: Annotated[Path, typer.Option(help="Folder for metrics.json, rows.csv, tables and report.html.")],
    frame: Annotated[
        Frame | None,
        typer.Option(
            metavar="LPS|RAS|pixel", help="Frame of the coordinates, if the file does not say.", case_sensitive=False
        ),
    ] = None,
    split: Annotated[str | None, typer.Option(help="Score the cases of this split, all of them.")] = None,
    root: Annotated[Path | None, typer.Option(help="Folder that the data lie under.")] = None,
    model: Annotated[
        Path | None, typer.Option(help="The run that made the predictions: its error bounds are judged.")
    ] = None,
    coverage: Annotated[float, typer.Option(help="The coverage of the error bounds to judge.")] = COVERAGE,
    presence_threshold: Annotated[
        float, typer.Option(help="Below this presence a landmark is absent.")
    ] = SAID_ABSENT_BELOW,
    radii: Annotated[str, typer.Option(help="Radii of the detection rates.")] = "2,2.5,3,4",
    samples: Annotated[int, typer.Option(help="Bootstrap samples of the subjects; 0 for no intervals.")] = 2000,
    seed: Annotated[int, typer.Option(help="Seed of the bootstrap.")] = 0,
    consensus: Annotated[str, typer.Option(help="Of several observers: mean or geometric-median.")] = "mean",
    margin: Annotated[
        float | None,
        typer.Option(help="Margin of the equivalence with an observer; default: a quarter of the first radius."),
    ] = None,
) -> None:
    """Score predicted landmarks against the reference: errors, detection rates, a report with pictures."""
    from anatomark.evaluation.evaluate import evaluate as run

    metrics = run(
        dataset,
        predictions,
        split=split,
        frame=None if frame is None else frame.value,
        out=out,
        root=root,
        presence_threshold=presence_threshold,
        model=model,
        coverage=coverage,
        radii=parse_radii(radii),
        samples=samples,
        seed=seed,
        consensus=consensus,
        margin=margin,
    )
    _show(metrics, out)


def parse_radii(text: str) -> tuple[float, ...]:
    """The lengths of "2,2.5,3,4"."""
    from anatomark.errors import SettingsError

    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise SettingsError(f"--radii is {text!r}; wanted lengths such as 2,2.5,3,4") from None


def _show(metrics: dict, out: Path) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from anatomark.evaluation.sentences import summary

    console, unit = Console(width=None if sys.stdout.isatty() else 120), metrics["unit"]
    radii = [f"{r:g}" for r in (metrics["radii"][0], metrics["radii"][-1])]
    table = Table(box=None, header_style="bold")
    table.add_column("", no_wrap=True)
    for heading in ("n", "not found", f"MRE ({unit})", "95 % interval", "median", *(f"% ≤ {r} {unit}" for r in radii)):
        table.add_column(heading, justify="right")
    lines = [("all landmarks", metrics["overall"])]
    if metrics["mean_shape"]:
        lines.append(("mean shape", metrics["mean_shape"]["overall"]))
    observers = metrics["observers"] or {"inter": None, "intra": None, "model": []}
    lines += [(f"to {line['against']}", line["overall"]) for line in observers["model"]]
    for label, key in (("between observers", "inter"), ("own sessions", "intra")):
        lines += [(label, observers[key]["overall"])] if observers[key] else []
    ranked = [(name, line) for name, line in metrics["landmarks"].items() if line["mre"] is not None]
    ranked.sort(key=lambda item: -item[1]["mre"])
    lines += [(f"worst: {name}", line) for name, line in ranked[:3]]
    for name, line in lines:
        interval = line["mre_interval"]
        lengths = ["–" if line[key] is None else f"{line[key]:.2f}" for key in ("mre", "median")]
        lengths.insert(1, "–" if interval is None else f"{interval[0]:.2f} – {interval[1]:.2f}")
        rates = ["–" if line["sdr"][r] is None else f"{line['sdr'][r]:.1f}" for r in radii]
        table.add_row(Text(name), str(line["n"]), str(line["n_missing"]), *lengths, *rates)
    console.print(table)
    console.print(summary(metrics), markup=False, highlight=False)
    if held := metrics.get("coverage"):
        told = f"{held['overall']:.1f} % of the references lie within their {held['nominal']:.0%} error bounds"
        console.print(f"{told}, of {held['mean_bound']:.2f} {unit} on average.", markup=False, highlight=False)
    for line in metrics.get("reviews", ()):
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    for line in equivalence_lines(metrics):
        console.print(line, markup=False, highlight=False)
    if metrics["unknown_images"]:
        count = len(metrics["unknown_images"])
        console.print(f"{count} images are no case of the data set and were left out; metrics.json lists them.")
    console.print(f"report: {out / 'report.html'}", markup=False, highlight=False, soft_wrap=True)


def equivalence_lines(metrics: dict) -> list[str]:
    """What the equivalence tests say, a line each."""
    lines = []
    for model in (metrics["observers"] or {"model": []})["model"]:
        test = model["equivalence"]
        if test is None or test["overall"]["verdict"] is None:
            continue
        o, unit = test["overall"], metrics["unit"]
        farther = [name for name, line in test["landmarks"].items() if line["verdict"] == "farther"]
        unsure = [name for name, line in test["landmarks"].items() if line["verdict"] == "not shown"]
        text = (
            f"To {model['against']}: {o['difference']:+.2f} {unit} against an observer's distance (90 % interval "
            f"{o['interval'][0]:.2f} to {o['interval'][1]:.2f}, margin {test['margin']:g}): {o['verdict']}"
        )
        text += f"; farther than an observer: {', '.join(farther)}" if farther else ""
        text += f"; equivalence not shown: {', '.join(unsure)}" if unsure else ""
        lines.append(text + ".")
    return lines

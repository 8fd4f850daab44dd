"""Make a ready-made model of a run: weights in float16, and a card with what it reaches, measured with those weights.

python -m benchmarks ship runs/ceph_two models/ceph19 datasets/isbi2015_ceph.yaml --root DATA --splits test1 test2

The folder already holds about.yaml (see `anatomark.ready_made.About`); README.md is written anew from it, from the run,
and from an evaluation of each split. Refused where the weights make more than --most-mb.
"""

from __future__ import annotations

import argparse
import shlex
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.report.cells import head, number, row
from benchmarks.results import provenance
from benchmarks.run_log import log_of

if TYPE_CHECKING:
    from anatomark.data.description import Dataset
    from anatomark.ready_made import About

RADII = ("2", "2.5", "3", "4")


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks ship")
    parser.add_argument("run")
    parser.add_argument("out")
    parser.add_argument("dataset")
    parser.add_argument("--root", default=None)
    parser.add_argument("--splits", nargs="+", required=True, help="that the network has not learned from")
    parser.add_argument("--most-mb", type=float, default=12.0)
    parser.add_argument("--train-command", default=None, help="how the run was made, for the card")
    options = parser.parse_args(arguments)

    from anatomark import load_dataset
    from anatomark.ready_made import CARD, about

    run, out = Path(options.run), Path(options.out)
    known = about(out)
    if known is None:
        raise SystemExit(f"{out} has no about.yaml; write it first")
    size = halved(run, out)
    if size > options.most_mb * 1e6:
        raise SystemExit(f"{out}: the weights make {size / 1e6:.1f} MB, {options.most_mb:g} MB were allowed")
    dataset = load_dataset(options.dataset, options.root)
    measured = {split: evaluated(out, run, dataset, split) for split in options.splits}
    made = {"run": log_of(run), "trained": options.train_command}
    command = f"python -m benchmarks ship {shlex.join(arguments)}"
    (out / CARD).write_text(card(known, out, measured, made | provenance(command)), encoding="utf-8")
    print(out / CARD)


def halved(run: Path, out: Path) -> int:
    """Write what prediction needs of `run` into `out`, weights in float16; returns the bytes of the weights.

    What has one number a channel stays in float32: there is little of it, and variances may be small.
    """
    import torch

    from anatomark.nets.weights import load_tensors, save_tensors

    tensors, _ = load_tensors(run / "model.safetensors")
    small = {k: t.half() if t.dtype == torch.float32 and t.dim() > 1 else t for k, t in tensors.items()}
    save_tensors(out / "model.safetensors", small)
    for name in ("model.json", "error_bounds.safetensors", "error_scale.safetensors", "suitability.safetensors"):
        shutil.copyfile(run / name, out / name)
    return (out / "model.safetensors").stat().st_size


def evaluated(out: Path, run: Path, dataset: Dataset, split: str) -> dict[str, Any]:
    """The metrics of a split with the halved weights, and {"moved": the most that these moved a point}."""
    from anatomark import evaluate, load
    from anatomark.methods.prediction import prediction_table

    models = [load(folder, device="cpu") for folder in (out, run)]
    found, moved = {}, 0.0
    for case in dataset.split(split):
        here, there = (model.predict(case.read_image()) for model in models)
        found[case.id] = here
        apart = np.linalg.norm(here.landmarks.points - there.landmarks.points, axis=1)
        moved = max(moved, float(apart.max()))
    return {**evaluate(dataset, prediction_table(found), split=split), "moved": moved}


def card(known: About, folder: Path, measured: dict[str, dict[str, Any]], made: dict[str, Any]) -> str:
    """README.md."""
    from anatomark.card import read_card

    held = read_card(folder)
    unit, steps = held.unit, made["run"]["steps"]
    moved = max(metrics["moved"] for metrics in measured.values())
    size = sum(file.stat().st_size for file in folder.iterdir() if file.name != "README.md") / 1e6
    trained = ", ".join(f"{stage} {count}" for stage, count in steps.items())
    spacing = " x ".join(f"{s:g}" for s in held.network["spacing"])
    lines = [
        f"# {folder.name}: {known.title}",
        "",
        f"**{known.terms}**",
        "",
        f"`anatomark predict {folder.name} IMAGE --out FOLDER`, with {known.images}.",
        "",
        f"- Learned from: {known.data}",
        f"- Use: {known.use}",
        f"- Limits: {known.limits}",
        f"- Network: {held.method}, working spacing {spacing} {unit}, steps {trained}; {size:.1f} MB with weights "
        f"in float16, which moved no point of the table by more than {moved:.2g} {unit}",
    ]
    lines += [f"- Trained by `{made['trained']}`"] if made["trained"] else []
    lines += [
        f"- Measured by `{made['command']}` at {made['commit']}",
        "",
        "## How far off it is",
        "",
        "Cases that neither trained nor chose the network; 95 % intervals by a bootstrap over subjects.",
        "",
        *head(
            "split",
            "subjects",
            "points",
            "not found",
            f"MRE ({unit})",
            "median",
            *(f"≤ {r} {unit} (%)" for r in RADII),
            "within the 90 % bounds (%)",
        ),
    ]
    lines += [_measured_row(split, metrics) for split, metrics in measured.items()]
    lines += ["", "## The landmarks", "", *head("name", "in words", *(f"{split}: MRE ({unit})" for split in measured))]
    for name in held.landmarks:
        errors = [_with_interval(metrics["landmarks"][name], "mre", 2) for metrics in measured.values()]
        lines.append(row(name, known.landmarks[name], *errors))
    return "\n".join([*lines, *checksums(folder), ""])


def checksums(folder: Path) -> list[str]:
    """The section of the card that `anatomark models verify` reads."""
    from anatomark.cohort.model_files import fingerprints

    rows = [row(name, sha256) for name, sha256 in sorted(fingerprints(folder).items())]
    return ["", "## Checksums", "", *head("file", "SHA-256"), *rows]


def _measured_row(split: str, metrics: dict[str, Any]) -> str:
    overall, coverage = metrics["overall"], metrics["coverage"]
    rates = []
    for radius in RADII:
        low, high = overall["sdr_interval"][radius]
        rates.append(f"{overall['sdr'][radius]:.1f} ({low:.1f} to {high:.1f})")
    within = "–" if coverage is None else number(coverage["overall"], 1)
    counts = (overall["n_subjects"], overall["n"], overall["n_missing"])
    errors = (_with_interval(overall, "mre", 2), number(overall["median"], 2))
    return row(split, *counts, *errors, *rates, within)


def _with_interval(told: dict[str, Any], key: str, digits: int) -> str:
    interval = told.get(f"{key}_interval")
    if told[key] is None or interval is None:
        return number(told[key], digits)
    return f"{told[key]:.{digits}f} ({interval[0]:.{digits}f} to {interval[1]:.{digits}f})"

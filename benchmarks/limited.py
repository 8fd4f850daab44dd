"""How few images a method needs: every method trained on the same 10, 25, 50 ... images, scored by one evaluator.

python -m benchmarks limited datasets/isbi2015_ceph.yaml --spacing 1 --counts 10 25 50 100 150 \\
    --methods two-stage global-to-local heatmap --out runs/limited --score test1

The images are the first n subjects of a permutation of the training split drawn from the seed; those to choose by come
out of these n. --score rest, the default, scores the training images that were not chosen: settings are tuned on these
and the test split is looked at once. The same command goes on after a stop; what is trained and predicted is kept.
"""

from __future__ import annotations

import argparse
import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.against_peer import PEER, scored_peer
from benchmarks.answers import parse_settings
from benchmarks.results import provenance, read_all, write
from benchmarks.run_log import log_of, validations

if TYPE_CHECKING:
    from anatomark.data.description import Dataset

REST = "rest"
MEAN_SHAPE = "mean shape"
PROVENANCE = ("command", "commit", "hardware", "torch", "python")


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks limited")
    parser.add_argument("dataset")
    parser.add_argument("--root", default=None)
    parser.add_argument("--spacing", type=float, default=None, help="working spacing of every method; else each plans")
    parser.add_argument("--counts", type=int, nargs="+", default=[10, 25, 50, 100, 150])
    parser.add_argument("--methods", nargs="+", default=["two-stage", "global-to-local", "heatmap"])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="each draws its own images and weights")
    parser.add_argument("--score", default=REST, help="a test split, or rest: the training images not chosen")
    parser.add_argument("--train-split", default="train")
    parser.add_argument("--out", required=True, help="the folder of all runs and predictions")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--peer-python", default=None, help="the Python of an environment with landmarker (peer.py)")
    parser.add_argument("--peer-counts", type=int, nargs="+", default=[], help="counts that landmarker learns from too")
    parser.add_argument("--peer-minutes", type=float, default=9.5, help="core minutes of its training")
    parser.add_argument("--set", dest="settings", action="append", default=[], metavar="[METHOD:]KEY=VALUE")
    parser.add_argument("--keep", action="store_true", help="keep rows of the last result that are not measured now")
    options = parser.parse_args(arguments)

    from anatomark import load_dataset
    from anatomark.nets.devices import choose_device

    dataset = load_dataset(options.dataset, options.root)
    device = choose_device(options.device)
    everyone, own = parse_settings(options.settings)
    if options.spacing is not None:
        everyone = {"spacing": [options.spacing] * dataset.ndim, **everyone}
    peer = {"python": options.peer_python, "minutes": options.peer_minutes, "spacing": options.spacing}
    rows = learning_curve(
        dataset,
        peer={**peer, "counts": options.peer_counts} if options.peer_python else None,
        methods=options.methods,
        counts=options.counts,
        seeds=options.seeds,
        score=options.score,
        train_split=options.train_split,
        out=Path(options.out),
        device=device,
        settings={method: {**everyone, **own.get(method, {})} for method in options.methods},
    )
    result = {
        "kind": "limited",
        "dataset": dataset.name,
        "unit": dataset.unit,
        "spacing": options.spacing,
        "score": options.score,
        "device": device,
        **provenance(f"python -m benchmarks limited {shlex.join(arguments)}", device),
        "rows": rows,
    }
    if options.keep:
        result["rows"] = with_earlier(result, read_all("limited"))
    from benchmarks.report.limited import limited

    print(limited(result))
    if options.score == REST:  # for tuning: no result to publish
        (Path(options.out) / "rest.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    else:
        print(write(f"limited_{dataset.name}", result))


def learning_curve(
    dataset: Dataset,
    *,
    methods: Sequence[str],
    counts: Sequence[int],
    seeds: Sequence[int],
    score: str,
    train_split: str,
    out: Path,
    device: str,
    settings: dict[str, dict[str, Any]],
    peer: dict[str, Any] | None = None,
    say: Any = print,
) -> list[dict[str, Any]]:
    """A row {"method", "count", "seed", metrics, "core_minutes", ...} for each, and one a count for the mean shape.

    "farther" {method: [difference, low, high]} tells how much farther off it is than each method before it: paired
    differences of cases, with 95 % intervals by subject.
    """
    rows: list[dict[str, Any]] = []
    for count in counts:
        for seed in seeds:
            part = chosen_cases(dataset, count, seed=seed, train_split=train_split)
            if score not in part.splits:
                say(f"{count} images, seed {seed}: no case to score in {score}")
                continue
            shape = None
            found: dict[str, Path] = {}
            for method in (*methods, *((PEER,) if peer and count in peer["counts"] else ())):
                folder = out / f"{method}_{count}_seed{seed}"
                own = {"seed": seed, **settings.get(method, {})}
                if method == PEER and peer:
                    told = {name: peer[name] for name in ("python", "minutes", "spacing")}
                    metrics, table = scored_peer(part, folder, score=score, seed=seed, **told)
                else:
                    metrics, table = scored(
                        part, folder, method=method, score=score, device=device, settings=own, say=say
                    )
                logged = log_of(folder)
                rows.append(
                    {
                        "method": method,
                        "count": count,
                        "seed": seed,
                        **metrics["overall"],
                        "core_minutes": sum(logged["core_seconds"].values()) / 60,
                        "farther": farther(part, found, method, table, score=score),
                        "steps": logged["steps"],
                        "validations": validations(folder),
                        "settings": settings.get(method, {}),
                    }
                )
                found[method] = table
                say(f"{method}, {count} images, seed {seed}: MRE {metrics['overall']['mre']:.3f} {part.unit}")
                shape = metrics["mean_shape"]
            if shape is not None:
                rows.append({"method": MEAN_SHAPE, "count": count, "seed": seed, **shape["overall"]})
    return rows


def with_earlier(result: dict[str, Any], others: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows of `result`, and those of the one like it among `others` that it has not.

    The latter say in "measured" by which command, at which commit and on what they came about, and nothing of how far
    they differ from what is measured again. SystemExit where the earlier result is of another spacing or split.
    """
    rows = list(result["rows"])
    have = {(row["method"], row["count"], row["seed"]) for row in rows}
    for other in others:
        if other["dataset"] != result["dataset"]:
            continue
        for name in ("spacing", "score", "unit"):
            if other[name] != result[name]:
                raise SystemExit(f"the last result has {name} {other[name]}, this one {result[name]}; leave out --keep")
        made = {name: other[name] for name in PROVENANCE}
        kept = [row for row in other["rows"] if (row["method"], row["count"], row["seed"]) not in have]
        for row in kept:
            now = {other for other, count, seed in have if (count, seed) == (row["count"], row["seed"])}
            still = {other: line for other, line in row.get("farther", {}).items() if other not in now}
            rows.append({**row, "farther": still, "measured": row.get("measured", made)})
    methods = [name for name in dict.fromkeys(row["method"] for row in rows) if name != MEAN_SHAPE]
    order = [*methods, MEAN_SHAPE].index
    return sorted(rows, key=lambda row: (row["count"], row["seed"], order(row["method"])))


def chosen_cases(dataset: Dataset, count: int, *, seed: int, train_split: str) -> Dataset:
    """The data set with the first `count` subjects of a permutation as the split train, the others of it as rest.

    Fewer are in larger counts of the same seed. A validation split of the data set is left out: those to choose by
    come out of the `count`. SystemExit where there are fewer subjects.
    """
    from anatomark.training.roles import VALIDATION_NAMES

    cases = [case for case in dataset.split(train_split) if case.reference.annotated.any()]
    subjects = sorted({case.subject for case in cases})
    if count > len(subjects):
        raise SystemExit(f"{dataset.name} has {len(subjects)} subjects in {train_split}, {count} were asked for")
    order = np.random.default_rng(seed).permutation(len(subjects))
    taken = {subjects[i] for i in order[:count].tolist()}
    parts = [replace(case, split="train" if case.subject in taken else REST) for case in cases]
    others = [case for case in dataset.cases if case.split not in (train_split, *VALIDATION_NAMES)]
    return replace(dataset, cases=(*parts, *others))


def scored(
    dataset: Dataset,
    folder: Path,
    *,
    method: str,
    score: str,
    device: str,
    settings: dict[str, Any],
    say: Any = print,
) -> tuple[Mapping[str, Any], Path]:
    """The metrics of `evaluate` on the split `score` and the table of a run, trained and predicted where not yet so."""
    from anatomark import evaluate, load, train
    from anatomark.formats.table import write_table
    from anatomark.methods.prediction import prediction_table

    train(dataset, out=folder, method=method, settings=settings, device=device, train_split="train", show=say)
    table = folder / f"predictions_{score}.csv"
    if not table.exists():
        model = load(folder, device=device)
        write_table(
            prediction_table({case.id: model.predict(case.read_image()) for case in dataset.split(score)}), table
        )
    return evaluate(dataset, table, split=score), table


def farther(
    dataset: Dataset, found: dict[str, Path], method: str, table: Path, *, score: str
) -> dict[str, tuple[float, float, float] | None]:
    """{method in `found`: (how much farther off `method` with the table is, the interval)}."""
    from anatomark import compare

    told = {}
    for other, theirs in found.items():
        line = compare(dataset, [table, theirs], names=[method, other], split=score)["pairs"][0]["overall"]
        told[other] = None if line["interval"] is None else (line["difference"], *line["interval"])
    return told

"""What each part of a method brings: trained with all of them, then with one switch set otherwise at a time.

python -m benchmarks ablation datasets/isbi2015_ceph.yaml --method two-stage --count 25 --spacing 1 \\
    --switch refine=false --switch elastic_fine=0 --out runs/ablation

Images, folders and scoring are those of `limited`: the first --count subjects of a permutation of the training split
are learned from, the others of it are scored, so that test splits stay out of it. A switch may set several: "a=1;b=2".
The same command goes on after a stop; what is trained and predicted is kept.
"""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.answers import parse_settings
from benchmarks.limited import REST, chosen_cases, farther, scored
from benchmarks.results import provenance, write
from benchmarks.run_log import log_of

if TYPE_CHECKING:
    from anatomark.data.description import Dataset

WHOLE = "as it is"


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks ablation")
    parser.add_argument("dataset")
    parser.add_argument("--root", default=None)
    parser.add_argument("--method", required=True)
    parser.add_argument("--spacing", type=float, default=None, help="working spacing; else the method plans it")
    parser.add_argument("--count", type=int, default=25, help="training images")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--train-split", default="train")
    parser.add_argument("--out", required=True, help="the folder of all runs and predictions")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--set", dest="settings", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--switch", dest="switches", action="append", default=[], metavar="KEY=VALUE[;KEY=VALUE]")
    options = parser.parse_args(arguments)

    from anatomark import load_dataset
    from anatomark.nets.devices import choose_device

    dataset = load_dataset(options.dataset, options.root)
    device = choose_device(options.device)
    settings = parse_settings(options.settings)[0]
    if options.spacing is not None:
        settings = {"spacing": [options.spacing] * dataset.ndim, **settings}
    rows = ablation(
        chosen_cases(dataset, options.count, seed=options.seed, train_split=options.train_split),
        Path(options.out),
        method=options.method,
        settings={**settings, "seed": options.seed},
        switches={switch: parse_settings(switch.split(";"))[0] for switch in options.switches},
        device=device,
    )
    result = {
        "kind": "ablation",
        "dataset": dataset.name,
        "unit": dataset.unit,
        "method": options.method,
        "count": options.count,
        "spacing": options.spacing,
        "seed": options.seed,
        "settings": settings,
        "device": device,
        **provenance(f"python -m benchmarks ablation {shlex.join(arguments)}", device),
        "rows": rows,
    }
    print(write(f"ablation_{dataset.name}_{options.method}", result))


def ablation(
    dataset: Dataset,
    out: Path,
    *,
    method: str,
    settings: dict[str, Any],
    switches: dict[str, dict[str, Any]],
    device: str,
    say: Any = print,
) -> list[dict[str, Any]]:
    """A row {"switch", metrics, "core_minutes", "farther"} for the method as it is and for each of `switches`.

    "farther" [difference, low, high] is how much farther off it is with the switch: cases in pairs, 95 % by subject.
    """
    rows: list[dict[str, Any]] = []
    whole: Path | None = None
    for switch, other in {WHOLE: {}, **switches}.items():
        folder = out / f"{method}_{_name(switch)}"
        metrics, table = scored(
            dataset, folder, method=method, score=REST, device=device, settings={**settings, **other}, say=say
        )
        line = farther(dataset, {WHOLE: whole}, switch, table, score=REST)[WHOLE] if whole else None
        whole = whole or table
        minutes = sum(log_of(folder)["core_seconds"].values()) / 60
        rows.append({"switch": switch, **metrics["overall"], "core_minutes": minutes, "farther": line})
        say(f"{method}, {switch}: MRE {metrics['overall']['mre']:.3f} {dataset.unit}")
    return rows


def _name(switch: str) -> str:
    """A folder's name of it."""
    return "".join(letter if letter.isalnum() or letter in "-._=" else "_" for letter in switch)

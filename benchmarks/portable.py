"""Training and scoring on a machine that has the prepared images alone, such as a borrowed GPU: no image library there.

python -m benchmarks portable prepare datasets/isbi2015_ceph.yaml --root DATA --out carried/ceph --splits test1 test2 \\
    --method global-to-local --plan-for cuda
python -m benchmarks portable train carried/ceph --out OUT/ceph --method global-to-local --seconds 500
python -m benchmarks portable score carried/ceph OUT/ceph

`prepare` runs where the data are and writes one folder: working images, references, and what they are. `train` and
`score` need that folder, this repository, and PyTorch, NumPy, SciPy, Fabric, pydantic, PyYAML, safetensors, rich and
tensorboardX (as wheels, where nothing can be fetched: `pip download --only-binary=:all: --dest wheels NAMES`). `train`
stops itself after `--seconds` and goes on when it is called again with the run folder that it left; `score` writes a
table of predictions for each split, which `anatomark evaluate` reads at home, and a summary.
"""

from __future__ import annotations

import argparse
import json
import signal
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.answers import parse_settings, scores

if TYPE_CHECKING:
    from anatomark.data.cache import Cache

ABOUT = "about.json"
THRESHOLDS = (2.0, 2.5, 3.0, 4.0)


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks portable")
    commands = parser.add_subparsers(dest="command", required=True)
    prepare = commands.add_parser("prepare", help="working images and references of a data set, in one folder")
    prepare.add_argument("dataset")
    prepare.add_argument("--root", default=None)
    prepare.add_argument("--out", required=True)
    prepare.add_argument("--splits", nargs="*", default=[], help="to score, beside those to train on")
    prepare.add_argument("--method", default="global-to-local", help="whose plan decides the spacing")
    prepare.add_argument("--plan-for", choices=("cpu", "cuda"), default="cuda")
    prepare.add_argument("--memory-gib", type=float, default=64.0, help="of that device")
    prepare.add_argument("--set", dest="settings", action="append", default=[], metavar="KEY=VALUE")
    train = commands.add_parser("train", help="train on a prepared folder, or go on")
    train.add_argument("prepared")
    train.add_argument("--out", required=True)
    train.add_argument("--method", default="global-to-local")
    train.add_argument("--device", default="auto")
    train.add_argument("--seconds", type=int, default=None, help="after which it stops, to go on another time")
    train.add_argument("--set", dest="settings", action="append", default=[], metavar="KEY=VALUE")
    score = commands.add_parser("score", help="predict the splits of a prepared folder")
    score.add_argument("prepared")
    score.add_argument("run")
    score.add_argument("--device", default="auto")
    options = parser.parse_args(arguments)

    if options.command == "prepare":
        asked: dict[str, Any] = {"method": options.method, "settings": parse_settings(options.settings)[0]}
        asked |= {"splits": options.splits, "device": options.plan_for, "memory_gib": options.memory_gib}
        print(prepared(options.dataset, options.root, Path(options.out), **asked))
    elif options.command == "train":
        settings = parse_settings(options.settings)[0]
        asked = {"method": options.method, "settings": settings, "device": options.device, "show": print}
        done = trained(Path(options.prepared), Path(options.out), seconds=options.seconds, **asked)
        print("finished" if done else "stopped; the same command goes on")
    else:
        for split, told in scored(Path(options.prepared), Path(options.run), device=options.device).items():
            print(f"{split}: MRE {told['mre']:.3f}, within 2 {told['sdr']['2']:.1f} %")


def prepared(
    dataset: str,
    root: str | None,
    out: Path,
    *,
    method: str,
    settings: dict[str, Any],
    splits: Sequence[str],
    device: str,
    memory_gib: float,
) -> str:
    """Write the folder; returns what it holds in words."""
    from anatomark import load_dataset
    from anatomark.data.cache import prepare
    from anatomark.errors import SettingsError
    from anatomark.methods import detector_class
    from anatomark.methods.interface import DataFacts
    from anatomark.training.data import canonical_grids
    from anatomark.training.request import resolve_settings
    from anatomark.training.roles import training_roles

    data = load_dataset(dataset, root)
    kind = detector_class(method)
    chosen = resolve_settings(kind, data.ndim, None, settings)
    if chosen.align != "none":
        raise SettingsError("align is for predictions from image files; leave it out here")
    roles = dict(training_roles(data, "train", None, chosen.validation_fraction, chosen.seed))
    grids = tuple(canonical_grids(data, roles["train"]))
    facts = DataFacts(grids, len(data.names), bool(data.pairs), memory_gib * 2**30, on_gpu=device == "cuda")
    network = kind.plan(chosen, facts).network
    roles |= {split: data.split(split) for split in splits}
    prepare(data, roles, out, sampling=network.sampling)
    about = {"dataset": data.name, "unit": data.unit, "spacing": network.spacing, "pool": network.pool}
    (out / ABOUT).write_text(json.dumps({**about, "splits": list(splits)}, indent=1) + "\n")
    size = sum(file.stat().st_size for file in out.iterdir()) / 2**20
    counts = ", ".join(f"{len(cases)} {role}" for role, cases in roles.items())
    return f"{out}: {counts} cases at {network.spacing} {data.unit}, {size:.0f} MiB"


def opened(folder: Path) -> tuple[Cache, dict[str, Any]]:
    """The cache in a prepared folder, and what it says of itself."""
    from anatomark.data.cache import open_cache

    return open_cache(folder), json.loads((folder / ABOUT).read_text())


def trained(
    folder: Path,
    out: Path,
    *,
    method: str,
    settings: dict[str, Any],
    device: str = "auto",
    seconds: int | None = None,
    show: Callable[[str], None] | None = None,
) -> bool:
    """Train on a prepared folder into the run folder `out`; whether it has ended before `seconds` went by."""
    from anatomark.training.data import TrainingData
    from anatomark.training.request import Request
    from anatomark.training.run import train_from_cache

    cache, about = opened(folder)
    cases = {role: cache.role(role) for role in ("train", "validation")}
    learned = replace(cache, cases=(*cases["train"], *cases["validation"]))
    data = TrainingData(
        name=about["dataset"],
        names=cache.names,
        pairs=cache.pairs,
        ndim=len(about["spacing"]),
        unit=about["unit"],
        roles={role: [case.id for case in members] for role, members in cases.items()},
        grids=lambda: [case.image.fine_grid for case in cases["train"]],
        prepare=lambda plan, progress: learned,
    )
    given = {"spacing": about["spacing"], "pool": about["pool"], **settings}
    request = Request.resolved(method, data.ndim, preset=None, settings=given, device=device)

    def stop(*_: Any) -> None:
        raise KeyboardInterrupt

    earlier = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds or 0)
    try:
        train_from_cache(data, request, out=out, show=show)
    except KeyboardInterrupt:
        return False
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, earlier)
    return True


def scored(folder: Path, run: Path, *, device: str = "auto") -> dict[str, Any]:
    """Write predictions_SPLIT.csv and scores.json into the run folder; {split: n, mre, median, sd, sdr}."""
    import torch

    from anatomark.formats.table import write_table
    from anatomark.loading import load_model
    from anatomark.methods.prediction import prediction_table
    from anatomark.training.own_world import own_grid, own_located, own_world

    cache, about = opened(folder)
    model = load_model(run, device=device)
    (member,) = model.members
    found = {}
    for split in about["splits"]:
        told, errors = {}, []
        for case in cache.role(split):
            located = own_located(case, member.detector, torch.device(model.device))
            answer = member.answer_of(located, own_grid(case), case.image, case.matrix)
            told[case.id] = model.prediction_of(answer)
            errors.append(np.linalg.norm(answer.points - own_world(case, case.points_world), axis=1))
        write_table(prediction_table(told), run / f"predictions_{split}.csv")
        found[split] = scores(np.array(errors), THRESHOLDS)
    hardware = torch.cuda.get_device_name() if model.device == "cuda" else "cpu"
    (run / "scores.json").write_text(json.dumps({"hardware": hardware, **found}, indent=1) + "\n")
    return found

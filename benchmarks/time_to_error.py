"""The error of every method after the same core minutes, on several sets, beside that of the heatmap network.

python -m benchmarks time_to_error --minutes 5 15 --out runs/time_to_error

A row for each of `--minutes`, `--seeds`, `--sets` and `--methods`, in this order: the first of them for all others,
then the next. Each is a training with plain defaults in a process of its own with one thread, one after another. Its
budget is of core minutes (time_to_error_run.py). The same command goes on after a stop; what has ended is read, not
repeated, and says which version of the code made it; so do rows of trainings whose folders are gone, which the result
keeps. `--collect` only reads. Cases that no training sees score it;
`--test` scores the test splits as well, to be looked at once, at the end.
"""

from __future__ import annotations

import argparse
import os
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

from benchmarks.answers import parse_settings
from benchmarks.results import provenance, read, write
from benchmarks.time_to_error_run import GIVEN_UP, Spec, Told, finished, predictions, read_spec
from benchmarks.time_to_error_scores import set_result, with_earlier
from benchmarks.time_to_error_sets import SETS, prepare, scored_split

METHODS = ("unet-votes", "two-stage", "global-to-local", "heatmap")
ROOT = Path(__file__).parents[1]


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks time_to_error")
    parser.add_argument("--sets", nargs="+", default=list(SETS), choices=list(SETS), metavar="SET")
    parser.add_argument("--methods", nargs="+", default=list(METHODS))
    parser.add_argument("--minutes", type=float, nargs="+", default=[2, 5, 15, 45], help="core minutes of a training")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="each draws its own weights and warps")
    parser.add_argument("--most", type=int, default=60, help="cases that score a run, at most")
    parser.add_argument("--test", action="store_true", help="score the test splits as well: once, at the end")
    parser.add_argument("--collect", action="store_true", help="train nothing, only read what is there")
    parser.add_argument("--out", default="runs/time_to_error", help="the folder of all runs and predictions")
    parser.add_argument("--root", default=None)
    parser.add_argument("--set", dest="settings", action="append", default=[], metavar="[METHOD:]KEY=VALUE")
    options = parser.parse_args(arguments)

    out, command = Path(options.out), f"python -m benchmarks time_to_error {shlex.join(arguments)}"
    everyone, own = parse_settings(options.settings)
    specs = [
        Spec(name, method, minutes, seed, options.most, options.root, {**everyone, **own.get(method, {})})
        for minutes in options.minutes
        for seed in options.seeds
        for name in options.sets
        for method in options.methods
    ]
    for spec in [] if options.collect else specs:
        if carried_out(spec, out, test=options.test):
            collected([spec.set], out, options.root, command=command, most=options.most)
    collected(options.sets, out, options.root, command=command, most=options.most, say=print)


def carried_out(spec: Spec, out: Path, *, test: bool, say: Callable[[str], object] = print) -> bool:
    """Train and predict what a Spec asks for, in a process of its own; whether there was anything to do.

    SystemExit where its folder holds the training of another Spec.
    """
    from anatomark.formats.atomic import write_json

    folder = out / spec.name
    if (folder / "spec.json").exists():
        held = read_spec(folder)
        if (held.settings, held.root) != (spec.settings, spec.root):
            raise SystemExit(f"{folder} was trained with other settings ({held.settings}); choose another --out")
    splits = [scored_split(spec.set), *(SETS[spec.set].tests if test else ())]
    told = Told.read(folder)
    if told.failed or (finished(folder) and predicted_before(folder, splits, spec.most)):
        say(f"{spec.name}: done before, at {', '.join(told.commits)}")
        return False
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "spec.json", asdict(spec))
    say(f"{spec.name}: {'goes on' if told.starts else 'begins'}")
    paths = os.pathsep.join([str(ROOT / "src"), str(ROOT), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)
    environment = {**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    words = [sys.executable, "-m", "benchmarks.time_to_error_run", str(folder.absolute()), *splits]
    status = subprocess.run(words, cwd=ROOT, env=environment, check=False).returncode
    told = Told.read(folder)
    say(f"{spec.name}: {told.failed or f'exit {status}'}, {told.core_seconds / 60:.1f} core minutes")
    if status not in (0, GIVEN_UP):
        say(f"{spec.name}: stopped; the next call goes on with it")
    return True


def predicted_before(folder: Path, splits: Sequence[str], most: int | None) -> bool:
    """Whether there are predictions of all these splits, of as many cases as are asked for."""
    return read_spec(folder).most == most and all(predictions(folder, split).exists() for split in splits)


def collected(
    names: Iterable[str],
    out: Path,
    root: str | None,
    *,
    command: str,
    most: int | None,
    say: Callable[[str], object] = lambda line: None,
) -> None:
    """Write the result of each of these sets, from all its trainings in `out` that have ended."""
    from benchmarks.report.time_to_error import time_to_error

    for name in names:
        folders = list(ended(name, out))
        if not folders:
            continue
        seeds = sorted({read_spec(folder).seed for folder in folders})
        prepared = {seed: prepare(name, out, seed=seed, most=most, root=root) for seed in seeds}
        about = {"kind": "time_to_error", "set": name, "what": SETS[name].what, "chosen_by": SETS[name].chosen_by}
        own = set_result(folders, prepared)
        result = {**about, **provenance(command), **with_earlier(own, read(f"time_to_error_{name}"))}
        write(f"time_to_error_{name}", result)
        say(time_to_error([result]))


def ended(name: str, out: Path) -> Iterator[Path]:
    """The folders of the trainings of a set that have ended, by their names."""
    for path in sorted(out.glob("*/spec.json")):
        if read_spec(path.parent).set == name and finished(path.parent):
            yield path.parent

"""One training of time_to_error in a process of its own: `python -m benchmarks.time_to_error_run FOLDER`.

FOLDER/spec.json says what to train; FOLDER/run becomes the run folder, FOLDER/told.json says what it took and by which
version of the code, FOLDER/predictions_SPLIT.csv what it predicts. A stopped process goes on where it was.

The clock of the time budget is the processor time of this process, which has one thread. So a budget is core minutes,
and as many steps fit into it on a busy machine as on an idle one, but for the caches that others use too: time by the
clock is kept beside it.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from anatomark.data.cases import Case
    from benchmarks.time_to_error_sets import PreparedSet

BEAT = 5.0  # seconds between two notes of the time used, and what a stop can lose of it
PATIENCE = 2.0  # times the budget, beside MORE_MINUTES, after which a training is given up
MORE_MINUTES = 5.0
GIVEN_UP = 3  # exit status


@dataclass(frozen=True)
class Spec:
    """What one training is: a `set`, a `method`, core `minutes` and a `seed`.

    `most` cases score it. `settings` are those that differ from the defaults, beside those of the set.
    """

    set: str
    method: str
    minutes: float
    seed: int
    most: int | None = None
    root: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The name of its folder."""
        return f"{self.set}_{self.method}_{self.minutes:g}min_seed{self.seed}"


@dataclass
class Told:
    """What a training took so far, over all its starts, and what it was made by; `failed` is why there is no model.

    Seconds of the processor and by the clock; `commits` of the code, one unless it changed between two starts.
    """

    core_seconds: float = 0.0
    wall_seconds: float = 0.0
    starts: int = 0
    commits: list[str] = field(default_factory=list)
    made_by: dict[str, Any] = field(default_factory=dict)
    failed: str | None = None
    seconds_per_image: dict[str, float] = field(default_factory=dict)

    @classmethod
    def read(cls, folder: Path) -> Told:
        path = folder / "told.json"
        return cls(**json.loads(path.read_text(encoding="utf-8"))) if path.exists() else cls()

    def write(self, folder: Path) -> None:
        from anatomark.formats.atomic import write_json

        write_json(folder / "told.json", asdict(self))


def read_spec(folder: Path) -> Spec:
    return Spec(**json.loads((folder / "spec.json").read_text(encoding="utf-8")))


def finished(folder: Path) -> bool:
    """Whether the training has ended, with a model or with a reason why there is none."""
    return (folder / "run" / "model.json").exists() or Told.read(folder).failed is not None


def predictions(folder: Path, split: str) -> Path:
    return folder / f"predictions_{split.replace(' ', '_')}.csv"


def main(folder: Path, splits: Sequence[str]) -> None:
    """Train what is not trained yet, and predict the `splits` where that has not been done."""
    core_clock()
    import torch

    from benchmarks.time_to_error_sets import prepare

    torch.set_num_threads(1)
    spec = read_spec(folder)
    prepared = prepare(spec.set, folder.parent, seed=spec.seed, most=spec.most, root=spec.root)
    if not finished(folder):
        trained(spec, prepared, folder)
    if (folder / "run" / "model.json").exists():
        for split in splits:
            predicted(prepared, split, folder)


def core_clock() -> None:
    """Let every clock that runs from now on in this process be that of its processor time."""
    time.monotonic = time.process_time


def trained(spec: Spec, prepared: PreparedSet, folder: Path) -> None:
    """The run folder of a training with the time that earlier starts have left; Told says what it took."""
    from anatomark import train
    from anatomark.errors import ModelError, SettingsError
    from benchmarks.results import provenance

    told = Told.read(folder)
    made_by = provenance(f"python -m benchmarks.time_to_error_run {spec.name}")
    told.starts += 1
    told.commits = list(dict.fromkeys([*told.commits, made_by["commit"]]))
    told.made_by = {name: made_by[name] for name in ("hardware", "python", "torch")}
    limit = PATIENCE * spec.minutes + MORE_MINUTES
    with timed(told, folder, give_up_after=60 * limit):
        try:
            train(
                prepared.dataset,
                out=folder / "run",
                method=spec.method,
                settings={"minutes": spec.minutes, "seed": spec.seed, **prepared.settings, **spec.settings},
                device="cpu",
                began=time.monotonic() - told.core_seconds,
            )
        except (SettingsError, ModelError) as error:
            told.failed = str(error)


@contextmanager
def timed(told: Told, folder: Path, *, give_up_after: float) -> Iterator[None]:
    """Add the time of what is done inside to `told` and write it, again and again, so that a stop loses a few seconds.

    After so many seconds of the processor in all, the process ends with the reason written.
    """
    core, wall = told.core_seconds, told.wall_seconds
    began, began_wall, over = time.process_time(), time.time(), threading.Event()
    lock = threading.Lock()

    def note() -> None:
        with lock:
            told.core_seconds = core + time.process_time() - began
            told.wall_seconds = wall + time.time() - began_wall
            told.write(folder)

    def beat(leave: Callable[[int], object]) -> None:
        while not over.wait(BEAT):
            if core + time.process_time() - began > give_up_after:
                told.failed = f"not ended after {give_up_after / 60:g} core minutes"
                note()
                leave(GIVEN_UP)
            note()

    beating = threading.Thread(target=beat, args=(os._exit,), daemon=True)
    note()
    beating.start()
    try:
        yield
    finally:
        over.set()
        beating.join()
        note()


def predicted(prepared: PreparedSet, split: str, folder: Path) -> None:
    """The table of predictions of a split, where one of all its cases is not there."""
    from anatomark import load
    from anatomark.formats.table import read_table, write_table
    from anatomark.methods.prediction import prediction_table

    path, cases = predictions(folder, split), annotated(prepared.dataset.split(split))
    if path.exists() and {case.id for case in cases} <= set(map(str, read_table(path).image)):
        return
    model = load(folder / "run", device="cpu")
    began = time.process_time()
    found = {case.id: model.predict(case.read_image()) for case in cases}
    told = Told.read(folder)
    told.seconds_per_image[split] = (time.process_time() - began) / max(1, len(found))
    write_table(prediction_table(found), path)
    told.write(folder)


def annotated(cases: Sequence[Case]) -> list[Case]:
    """Those of which anything is known, which alone can be scored."""
    return [case for case in cases if case.reference.annotated.any()]


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])

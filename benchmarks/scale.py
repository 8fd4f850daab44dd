"""What many images cost: engines beside each other, a training by several processes, batches on a GPU, a large cohort.

python -m benchmarks scale                     # X-rays and CT by predict, cohort and Ray, also killed half way
python -m benchmarks scale --training 24       # so many steps by 1 and 2 processes
python -m benchmarks scale --batches           # 1, 4 and 16 images at a time, where there is a GPU
python -m benchmarks scale --cohort 10000      # so many X-rays by cohort --workers 2, killed twice, evaluated

The images are phantoms of a few anatomies, copied under many names. The ready-made models are used without their
judgement of images: they were made for heads of people, and would look at each phantom in many other ways. What is
compared takes turns, so that ratios within a round say something on a machine that has other work, too.
"""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks import scale_cohort
from benchmarks.measure import ROOT
from benchmarks.results import provenance, write
from benchmarks.scale_batches import batches
from benchmarks.scale_run import Launched, launch
from benchmarks.scale_training import steps_of

KINDS: dict[str, dict[str, Any]] = {
    "X-ray": {"model": "ceph19", "shape": (1200, 968), "spacing": (0.2, 0.2), "modality": "radiograph", "landmarks": 8},
    "CT": {"model": "cmf24", "shape": (96, 192, 192), "spacing": (1.2, 1.2, 2.0), "modality": "ct", "landmarks": 8},
}
TRAINED = {"X-ray": ((300, 242), (0.8, 0.8)), "CT": ((48, 96, 96), (2.4, 2.4, 4.0))}  # smaller ones, for steps
ENGINES = (("predict", 1), ("cohort", 1), ("cohort", 2), ("ray", 2))
PROCESSES = (1, 2)
DISTINCT = 2  # images of a kind that are drawn
COHORT_MODEL = ROOT / "tests" / "fixtures" / "old_models" / "6237412" / "global-to-local-2d"


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks scale")
    parser.add_argument("--xrays", type=int, default=32)
    parser.add_argument("--cts", type=int, default=12)
    parser.add_argument("--chunk", type=int, default=4, help="images of a part of a cohort")
    parser.add_argument("--training", type=int, default=None, metavar="STEPS", help="trainings of so many steps")
    parser.add_argument("--rounds", type=int, default=2, help="of trainings")
    parser.add_argument("--batches", action="store_true", help="batches on a GPU")
    parser.add_argument("--cohort", type=int, default=None, metavar="IMAGES", help="one cohort of so many X-rays")
    parser.add_argument("--workers", type=int, default=2, help="of that cohort")
    parser.add_argument("--seed", type=int, default=3)
    options = parser.parse_args(arguments)
    about = provenance(f"python -m benchmarks scale {shlex.join(arguments)}".strip())
    with tempfile.TemporaryDirectory(prefix="anatomark-scale-") as name:
        folder = Path(name)
        if options.cohort is not None:
            told = scale_cohort.measured(
                folder, model=COHORT_MODEL, images=options.cohort, workers=options.workers, seed=options.seed
            )
            asked = {"images": options.cohort, "workers": options.workers}
            print(write(f"scale_cohort_{options.cohort}", {"kind": "scale_cohort", **asked, **about, **told}))
        elif options.training is not None:
            _keep("scale_training", about, (_trained(folder, kind, options.training, options.rounds) for kind in KINDS))
        elif options.batches:
            _keep("scale_batches", about, (_batches(folder, kind, options.seed) for kind in KINDS))
        else:
            about |= {"chunk": options.chunk}
            counts = {"X-ray": options.xrays, "CT": options.cts}
            _keep("scale", about, _engines(folder, counts, options.chunk, options.seed), whole=True)


def _keep(name: str, about: dict[str, Any], measured: Iterable[list[dict[str, Any]]], *, whole: bool = False) -> None:
    """Write rows as they come, each time the `whole` or the next ones; a command that is ended keeps what it has."""
    result: dict[str, Any] = {"kind": name, **about, "load": [os.getloadavg()[0]], "rows": []}
    for rows in measured:
        result["rows"] = rows if whole else result["rows"] + rows
        result["load"].append(os.getloadavg()[0])
        print(write(name, result), rows[-1], flush=True)


def _engines(folder: Path, images: dict[str, int], chunk: int, seed: int) -> Iterator[list[dict[str, Any]]]:
    """The rows of all engines, after each command."""
    for kind, about in KINDS.items():
        _make(folder / kind, about, images[kind], seed)
    engines = [Engine(kind, engine, workers, images[kind]) for kind in KINDS for engine, workers in ENGINES]
    for killed in (False, True):
        for one in engines:
            one.measure(folder, chunk, killed=killed)
            yield [each.row(engines) for each in engines]


def _batches(folder: Path, kind: str, seed: int) -> list[dict[str, Any]]:
    _make(folder / kind, KINDS[kind], DISTINCT, seed)
    rows = batches(folder / kind / "model", folder / kind / "images", _spacing(kind))
    return [{"image": kind, **row} for row in rows]


class Engine:
    """One engine at one kind of images: an unbroken command, and one that is killed half way and given again."""

    def __init__(self, kind: str, engine: str, workers: int, images: int) -> None:
        self.kind, self.engine, self.workers, self.images = kind, engine, workers, images
        self.starts: list[float] = []
        self.rates: list[float] = []  # images a second, of each round
        self.told: dict[str, Any] = {}
        self.missing = "the command was ended before"
        if engine == "ray" and find_spec("ray") is None:
            self.missing = "Ray is not installed"

    def measure(self, folder: Path, chunk: int, *, killed: bool) -> None:
        if "Ray" in self.missing:
            return
        out = folder / f"{self.kind}-{self.engine}-{self.workers}"
        shutil.rmtree(out, ignore_errors=True)
        spec = {
            "engine": self.engine,
            "workers": self.workers,
            "model": str(folder / self.kind / "model"),
            "images": str(folder / self.kind / "images"),
            "spacing": _spacing(self.kind),
            "out": str(out),
            "chunk": chunk,
            "log": str(folder / "log"),
        }
        running = launch(spec)
        if not killed:
            running.watch()
            self._note(running)
            size = sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
            self.told |= {
                "core_seconds_an_image": None if self.engine == "ray" else running.told()["core_seconds"] / self.images,
                "worker_bytes": running.peaks["worker"] or running.peaks["lead"],
                "bytes_an_image": size / self.images,
            }
            return
        if running.watch(until=self.images // 2):
            raise RuntimeError(f"{self.engine} had predicted all {self.images} images before its kill; give more")
        self._note(running)
        known = running.marks()[-1][1]
        running.kill()
        time.sleep(2)  # workers end when they find nobody to tell
        kept = _kept(out, self.engine)
        launch(spec).watch()
        result = _in_the_result(out, self.engine)
        self.told |= {"predicted_at_kill": known, "kept_at_kill": kept, "in_the_result": result}

    def _note(self, running: Launched) -> None:
        marks = running.marks()
        self.starts.append(marks[0][0])
        self.rates.append((marks[-1][1] - marks[0][1]) / (marks[-1][0] - marks[0][0]))

    def row(self, others: Sequence[Engine]) -> dict[str, Any]:
        """What is known; times `predict`'s rate of the same rounds."""
        about = {"image": self.kind, "engine": self.engine, "workers": self.workers, "images": self.images}
        if not self.rates:
            return {**about, "not_measured": self.missing}
        alone = next(each for each in others if (each.kind, each.engine) == (self.kind, "predict"))
        return {
            **about,
            "seconds_start": median(self.starts),
            "images_a_second": median(self.rates),
            "times_predict": median(own / first for own, first in zip(self.rates, alone.rates, strict=False)),
            **self.told,
        }


def _spacing(kind: str) -> tuple[float, ...] | None:
    """What an image of this kind does not state by itself."""
    return KINDS[kind]["spacing"] if kind == "X-ray" else None


def _trained(folder: Path, kind: str, steps: int, rounds: int) -> list[dict[str, Any]]:
    """A row for each number of processes, which take turns; `efficiency` is by the clock, against one process."""
    from anatomark.data.phantoms import make_phantoms

    (shape, spacing), about = TRAINED[kind], KINDS[kind]
    place = folder / f"{kind}-training"
    drawn = {"shape": shape, "spacing": spacing, "modality": about["modality"], "landmarks": about["landmarks"]}
    data = make_phantoms(place, ndim=len(shape), cases=12, seed=3, **drawn)
    found: dict[int, list[dict[str, float]]] = {count: [] for count in PROCESSES}
    for number in range(rounds):
        for count in PROCESSES:
            out = place / f"run-{number}-{count}"
            found[count].append(steps_of(data, out, processes=count, steps=steps))
    rows: list[dict[str, Any]] = []
    for count, each in found.items():
        faster = [own["steps_a_second"] / one["steps_a_second"] for own, one in zip(each, found[1], strict=True)]
        row = {name: median(one[name] for one in each) for name in each[0]}
        rows.append({"image": kind, "processes": count, **row, "efficiency": median(faster) / count})
    return rows


def _make(place: Path, kind: dict[str, Any], images: int, seed: int) -> None:
    """`images` images in place/images, and the model in place/model."""
    from anatomark.data.phantoms import PhantomSpec, phantom
    from anatomark.formats.images import write_image
    from anatomark.methods.suitability import NAME
    from anatomark.ready_made import run_folder

    shutil.copytree(run_folder(kind["model"]), place / "model", ignore=shutil.ignore_patterns(NAME))
    shape = {name: kind[name] for name in ("landmarks", "shape", "spacing", "modality")}
    spec = PhantomSpec(ndim=len(kind["shape"]), oblique=False, **shape)
    ending = "png" if spec.ndim == 2 else "nii.gz"
    (place / "images").mkdir()
    for index in range(images):
        path = place / "images" / f"i{index:05d}.{ending}"
        if index < DISTINCT:
            write_image(phantom(seed, index, spec)[0], path)
        else:
            shutil.copy(place / "images" / f"i{index % DISTINCT:05d}.{ending}", path)


def _kept(out: Path, engine: str) -> int:
    """Images that a command that was killed has left, whole."""
    if engine != "predict":
        return scale_cohort.kept_images(out)
    from anatomark.prediction_journal import NAME

    return max(0, (out / NAME).read_bytes().count(b"\n") - 1)


def _in_the_result(out: Path, engine: str) -> int:
    """Images that the tables name, each once."""
    import csv

    if engine != "predict":
        from anatomark.cohort.collect import collect_cohort

        collect_cohort(out)
    with open(out / "images.csv", newline="", encoding="utf-8") as file:
        names = [row["image"] for row in csv.DictReader(file)]
    if len(set(names)) != len(names):
        raise RuntimeError(f"{engine}: an image is in the result twice")
    return len(names)

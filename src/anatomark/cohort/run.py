"""The command that predicts a cohort: it deals out chunks that are missing, and puts the part of each that is done."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from anatomark.batches import Batch, require_batch
from anatomark.cohort.claims import Claims
from anatomark.cohort.extra import require_cohort
from anatomark.cohort.here import ThisProcess
from anatomark.cohort.ledger import Asked, Ledger, Record, numbers_of, open_ledger
from anatomark.cohort.manifest import Entry, Manifest, open_manifest, read_contents
from anatomark.cohort.memory import memory_share
from anatomark.cohort.model_files import fingerprints
from anatomark.cohort.on_ray import RayActors
from anatomark.cohort.places import join
from anatomark.cohort.processes import SECONDS, Processes
from anatomark.cohort.progress import Progress
from anatomark.cohort.status import Status, status_of
from anatomark.cohort.store import Store
from anatomark.cohort.work import LOADER, Engine, Order, Task
from anatomark.ensemble import read_cards
from anatomark.errors import DescriptionError, SettingsError
from anatomark.formats.header import tell
from anatomark.methods.error_bound import COVERAGE
from anatomark.methods.prediction import Orient
from anatomark.outcome import Outcome, Points
from anatomark.ready_made import run_folder
from anatomark.training.ray_cluster import require_ray

_AGAIN = 2.0  # seconds between looks at parts that another process works at


def predict_cohort(
    run: str | Path,
    manifest: str | Path,
    *,
    out: str | Path,
    workers: int = 1,
    part: tuple[int, int] = (1, 1),
    chunk: int | None = None,
    recursive: bool = False,
    stack: bool = False,
    split: str | None = None,
    root: str | Path | None = None,
    spacing: Sequence[float] | None = None,
    coverage: float = COVERAGE,
    orient: Orient = "keep",
    device: str = "auto",
    batch: Batch = "auto",
    overlays: bool = False,
    retry_failed: bool = False,
    memory_bytes: int | None = None,
    seconds: float = SECONDS,
    ray: str | None = None,
    gpus: float = 0.0,
    loader: str = LOADER,
    progress: Callable[[Progress], None] = lambda progress: None,
) -> Status:
    """Predict all images of a `manifest` into the folder or URI `out`; the Status of the cohort then.

    The images are cut into chunks; each gives a file in out/parts, put whole, so that the same call goes on wherever an
    earlier one was stopped. `collect_cohort` makes one table of all parts (docs/cohort.md). A script that is run as a
    program has to call this below `if __name__ == "__main__":`, because the processes import it.

    Args:
        run: a run folder, or the name of a ready-made model.
        manifest: a table, a folder or a dataset.yaml; see `manifest.open_manifest`.
        out: folder or URI to write.
        workers: processes, which each load the model, and share the cores, or the GPUs; with 0, images are predicted in
            this process. With `ray`, the number of actors.
        part: (I, N) leaves all but every N-th chunk to other calls, at the same time and on other machines.
        chunk: images of a part, by default 32.
        recursive: of a folder, also its subfolders.
        stack: every page of a file is an image.
        split: only these cases of a dataset.yaml.
        root: folder that the data of a dataset.yaml lie under.
        spacing: in mm along x, y[, z], for images that state none.
        coverage: of the error bounds.
        orient: as in `predict_to_folder`.
        device: "auto", "cpu" or "cuda".
        batch: images that a worker predicts together, as many as fit into the GPU's memory by "auto"; see
            `batches.Batches`.
        overlays: adds a picture of each image that is predicted now.
        retry_failed: predicts images again that could not be predicted.
        memory_bytes: a process that takes more is ended; by default, its share of the machine's.
        seconds: a process that takes longer for an image is ended; an image that ends two in a row has a row with the
            reason, as one that cannot be read.
        ray: address of a cluster ("auto", "local", "ray://HOST:10001"), whose actors are then the workers.
        gpus: of each actor, as Ray counts them.
        loader: that of `work.Order`.
        progress: called with the state of the work.

    Returns:
        How many images are predicted, failed and missing.

    Raises:
        SettingsError: `out` holds predictions of another model or manifest, or with other settings.
        OutputError: the disk is full; what is done until then stays.

    Examples:
        >>> status = anatomark.predict_cohort("ceph19", "xrays/", out="predicted", spacing=(0.1, 0.1), workers=4)
        >>> status.predicted, status.failed
        (1998, 2)
    """
    require_cohort()
    if ray is not None:
        require_ray()
    _check(workers=workers, part=part, chunk=chunk, coverage=coverage, memory_bytes=memory_bytes, seconds=seconds)
    require_batch(batch)
    folder, store = run_folder(run), Store(str(out))
    lengths = None if spacing is None else tuple(float(length) for length in spacing)
    asked = Asked(coverage, orient, lengths, stack)
    images = open_manifest(manifest, recursive=recursive, stack=stack, split=split, root=root)
    ledger = open_ledger(store, _record(folder, str(run), images, asked, chunk))
    pictures = Store(join(store.root, "overlays")) if overlays else None
    sharing = max(1, workers) if ray is None or not gpus else math.ceil(1 / gpus)
    order = Order(str(folder), device, asked, pictures, loader, batch, sharing)
    engine: Engine = ThisProcess(order)
    if ray is not None:
        engine = RayActors(order, ray, max(1, workers), gpus, memory_bytes)
    elif workers:
        engine = Processes(order, workers, memory_bytes or memory_share(workers), seconds)
    _Run(ledger, images, part, retry_failed).predict(engine, progress)
    return status_of(ledger)


def _check(
    *,
    workers: int,
    part: tuple[int, int],
    chunk: int | None,
    coverage: float,
    memory_bytes: int | None,
    seconds: float,
) -> None:
    faults: list[str] = []
    if workers < 0:
        faults.append(f"the number of workers is {workers}; give 1 or more")
    if not 1 <= part[0] <= part[1]:
        faults.append(f"the part is {part[0]}/{part[1]}; give I/N with I from 1 to N, such as 3/20")
    if chunk is not None and chunk < 1:
        faults.append(f"the chunk is {chunk} images; give 1 or more")
    if not 0 < coverage < 1:
        faults.append(f"the coverage is {coverage:g}; give a proportion between 0 and 1, such as 0.9")
    if memory_bytes is not None and memory_bytes <= 0:
        faults.append("the memory of a worker is no positive size; give GiB, such as 4")
    if not seconds > 0:
        faults.append(f"the seconds for an image are {seconds:g}; give a positive number")
    if faults:
        raise SettingsError("; ".join(faults))


def _record(folder: Path, name: str, images: Manifest, asked: Asked, chunk: int | None) -> Record:
    """What is to be predicted. Raises ModelError for no model, and as `read_contents`."""
    card = read_cards(folder)[0]
    if asked.stack and card.ndim != 2:
        raise SettingsError(f"the pages of a stack are 2D, but the model is for {card.ndim}D; leave out --stack")
    points = Points(tuple(card.landmarks), card.ndim, card.unit)
    contents = read_contents(images)
    files = fingerprints(folder)
    return Record(name, files, images.name, contents.sha256, contents.images, asked, points, chunk)


@dataclass(frozen=True)
class _Open:
    """A part that is not yet whole: its images, and the outcomes so far."""

    entries: tuple[Entry, ...]
    outcomes: dict[str, Outcome]

    @property
    def missing(self) -> tuple[Entry, ...]:
        return tuple(entry for entry in self.entries if entry.id not in self.outcomes)


class _Run:
    """One command at work: the parts that are its own, and the outcomes of those that are not yet whole."""

    def __init__(self, ledger: Ledger, images: Manifest, part: tuple[int, int], retry_failed: bool) -> None:
        self.ledger, self.images, self.retry_failed = ledger, images, retry_failed
        self.mine = numbers_of(ledger, part)
        self.claims = Claims(ledger.store)
        self.open: dict[int, _Open] = {}
        self.present = ledger.present()
        self.done = sum(ledger.size(number) for number in self.mine if number in self.present)
        self.predicted = self.failed = 0

    def predict(self, engine: Engine, progress: Callable[[Progress], None]) -> None:
        for folder in ("parts", "claims"):
            self.ledger.store.sweep(folder)
        self.claims.sweep(self.present)
        total = sum(map(self.ledger.size, self.mine))
        began: float | None = None
        try:
            for news in engine.run(self._missing()):
                if news is not None:
                    began = began or time.monotonic()
                    tell(news.remarks)
                    self._keep(news.number, news.outcome)
                self.claims.refresh()
                passed = time.monotonic() - began if began is not None else 0.0
                rate = (self.predicted - 1) / passed if passed > 0 else 0.0  # the clock starts with the first
                progress(Progress(self.done, total, self.failed, rate))
        finally:
            self.claims.drop_all()

    def _keep(self, number: int, outcome: Outcome) -> None:
        """Keep an outcome; with its last one, a part is whole."""
        part = self.open[number]
        part.outcomes[outcome.id] = outcome
        self.predicted += 1
        self.done += 1
        self.failed += bool(outcome.error)
        if not part.missing:
            self.ledger.put(number, [part.outcomes[entry.id] for entry in part.entries])
            self.claims.drop(number)
            del self.open[number]

    def _missing(self) -> Iterator[Task | None]:
        """A Task for each part that is missing; at the end those that others have claimed and do not finish."""
        others: list[tuple[int, _Open]] = []
        for number, part in self._incomplete():
            if self._finished_meanwhile(number, part):
                continue
            if self.claims.take(number):
                yield self._task(number, part)
            else:
                others.append((number, part))
        looked = time.monotonic()
        while others:
            yield None
            if time.monotonic() - looked < _AGAIN:
                continue
            looked = time.monotonic()
            others = [(number, part) for number, part in others if not self._finished_meanwhile(number, part)]
            for number, part in list(others):
                if self.claims.take(number):
                    others.remove((number, part))
                    yield self._task(number, part)

    def _incomplete(self) -> Iterator[tuple[int, _Open]]:
        """(number, part) of our parts that are not there, or have failed images that are to be predicted again."""
        for number, entries in self.images.chunks(self.ledger.chunk):
            if number > self.ledger.parts or len(entries) != self.ledger.size(number):
                raise DescriptionError(
                    f"{self.images.name} has changed since the command began; give a manifest that stays"
                )
            if number not in self.mine:
                continue
            if number not in self.present:
                yield number, _Open(entries, {})
            elif self.retry_failed and any(error for _, error in self.ledger.errors(number)):
                kept = {outcome.id: outcome for outcome in self.ledger.read(number) if not outcome.error}
                self.done -= len(entries) - len(kept)
                yield number, _Open(entries, kept)

    def _finished_meanwhile(self, number: int, part: _Open) -> bool:
        """Whether another process has put the part since this command began."""
        if number in self.present or not self.ledger.has(number):
            return False
        self.done += len(part.entries)
        return True

    def _task(self, number: int, part: _Open) -> Task:
        self.open[number] = part
        return Task(number, part.missing)

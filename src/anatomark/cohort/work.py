"""The work on one image, as every engine does it: a model that is loaded once, and an Outcome for each image."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from anatomark.batches import Batch, Batches, is_out_of_memory
from anatomark.cohort.fetch import fetch_image
from anatomark.cohort.ledger import Asked
from anatomark.cohort.manifest import Entry
from anatomark.cohort.places import as_file_name
from anatomark.cohort.store import Store
from anatomark.core.image import Image
from anatomark.errors import AnatomarkError, OutputError, not_installed
from anatomark.formats.header import gathering
from anatomark.outcome import Outcome

if TYPE_CHECKING:
    from anatomark.methods.prediction import Prediction

LOADER = "anatomark.loading:load"


@dataclass(frozen=True)
class Order:
    """What a process has to know: the run folder, the device, what is asked, and where pictures go, if anywhere.

    `loader`, MODULE:FUNCTION, gives the model of a run folder on a device. It predicts a `batch` of images at a time;
    so many `processes` share the GPUs that this one sees.
    """

    run: str
    device: str
    asked: Asked
    overlays: Store | None = None
    loader: str = LOADER
    batch: Batch = 1
    processes: int = 1


@dataclass(frozen=True)
class Task:
    """Images to be predicted for the part of this `number`, each `alone` after a process has ended at several."""

    number: int
    entries: tuple[Entry, ...]
    alone: bool = False


@dataclass(frozen=True)
class Predicted:
    """One image of a part has its `outcome`; `remarks` are on how its file was understood."""

    number: int
    outcome: Outcome
    remarks: tuple[str, ...] = ()


class Engine(Protocol):
    def run(self, tasks: Iterator[Task | None]) -> Iterator[Predicted | None]:
        """The outcomes of all images of all `tasks`, as they come; now and then None, as a sign of life.

        `tasks` are taken when somebody is free; None there means that there may be more later.
        """
        ...


class Predictor:
    """A loaded model that gives an Outcome for each image. `place` is the number of this process, to share GPUs."""

    model: Any
    batches: Batches

    def __init__(self, order: Order, place: int = 0) -> None:
        self.order = order
        module, _, name = order.loader.partition(":")
        load, gpus = getattr(import_module(module), name), 1
        if order.device != "cpu" and "torch" in sys.modules:  # a loader of networks has imported it
            import torch

            if torch.cuda.is_available():
                gpus = torch.cuda.device_count()
                torch.cuda.set_device(place % gpus)
        model = load(Path(order.run), device=order.device)
        self.batches = Batches(model, order.batch, processes=-(-order.processes // gpus))

    def batches_of(self, task: Task) -> Iterator[tuple[Entry, ...]]:
        """The images of a task, those together that are to be predicted together."""
        done = 0
        while done < len(task.entries):
            some = task.entries[done : done + (1 if task.alone else self.batches.size)]
            yield some
            done += len(some)

    def predict(self, number: int, entries: Sequence[Entry]) -> Iterator[Predicted]:
        """What came of each of a few images, predicted together.

        Raises OutputError where a picture cannot be written, MissingExtraError without torch.
        """
        asked, read = self.order.asked, [self._read(entry) for entry in entries]
        images = [image for image, _ in read if not isinstance(image, Exception)]
        sources = [entry.place for entry, (image, _) in zip(entries, read, strict=True) if isinstance(image, Image)]
        found = iter(self.batches.predict(images, sources, coverage=asked.coverage, orient=asked.orient))
        for entry, (image, remarks) in zip(entries, read, strict=True):
            prediction = image if isinstance(image, Exception) else next(found)
            if isinstance(prediction, Exception):
                outcome = _failed(entry, prediction)
            else:
                outcome = Outcome.predicted(entry.id, prediction)
                if self.order.overlays is not None and isinstance(image, Image):
                    self._draw(self.order.overlays, entry, image, prediction)
            yield Predicted(number, outcome, remarks)

    def _read(self, entry: Entry) -> tuple[Image | Exception, tuple[str, ...]]:
        """The image, or why it cannot be read; and remarks on how its file was understood."""
        spacing = entry.spacing or self.order.asked.spacing
        with gathering() as remarks:
            try:
                image = fetch_image(entry.place, spacing=spacing, orientation=entry.orientation, page=entry.page)
            except Exception as error:
                image = error
        return image, tuple(remarks)

    def _draw(self, overlays: Store, entry: Entry, image: Image, prediction: Prediction) -> None:
        from anatomark.prediction_files import write_overlay

        with overlays.writing(f"{as_file_name(entry.id)}.png", ".png") as temporary:
            write_overlay(image, prediction, temporary)


def _failed(entry: Entry, error: Exception) -> Outcome:
    """The row of an image that could not be read or predicted; raises what is no image's fault."""
    if isinstance(error, OutputError):
        raise error
    if isinstance(error, ModuleNotFoundError):
        raise not_installed(error) or error from None
    if isinstance(error, AnatomarkError):
        return Outcome.failed(entry.id, str(error))
    if isinstance(error, OSError):
        reason = error.strerror or str(error)
        return Outcome.failed(entry.id, f"{entry.place} cannot be read: {reason}; check the disk, and try again")
    if is_out_of_memory(error):
        line = f"{entry.place}: there is not enough memory for it; crop or resample it, or use fewer workers"
        return Outcome.failed(entry.id, line)
    traceback.print_exception(error, file=sys.stderr)  # a bug, which is to cost one image of many
    line = f"{entry.place}: an error in anatomark, {type(error).__name__}: {error}; please report it"
    return Outcome.failed(entry.id, line)

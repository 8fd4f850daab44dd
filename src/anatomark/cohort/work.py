"""The work on one image, as every engine does it: a model that is loaded once, and an Outcome for each image."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

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
_OUT_OF_MEMORY = ("out of memory", "allocate memory")  # in PyTorch's errors, of a GPU and of the machine


@dataclass(frozen=True)
class Order:
    """What a process has to know: the run folder, the device, what is asked, and where pictures go, if anywhere.

    `loader`, MODULE:FUNCTION, gives the model of a run folder on a device.
    """

    run: str
    device: str
    asked: Asked
    overlays: Store | None = None
    loader: str = LOADER


@dataclass(frozen=True)
class Task:
    """Images to be predicted for the part of this `number`."""

    number: int
    entries: tuple[Entry, ...]


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

    def __init__(self, order: Order, place: int = 0) -> None:
        self.order = order
        module, _, name = order.loader.partition(":")
        load = getattr(import_module(module), name)
        if order.device != "cpu" and "torch" in sys.modules:  # a loader of networks has imported it
            import torch

            if torch.cuda.is_available():
                torch.cuda.set_device(place % torch.cuda.device_count())
        self.model: Any = load(Path(order.run), device=order.device)

    def predict(self, number: int, entry: Entry) -> Predicted:
        """What came of an image. OutputError where its picture cannot be written, MissingExtraError without torch."""
        with gathering() as remarks:
            outcome = self._outcome(entry)
        return Predicted(number, outcome, tuple(remarks))

    def _outcome(self, entry: Entry) -> Outcome:
        asked = self.order.asked
        try:
            spacing = entry.spacing or asked.spacing
            image = fetch_image(entry.place, spacing=spacing, orientation=entry.orientation, page=entry.page)
            prediction = self.model.predict(image, source=entry.place, coverage=asked.coverage, orient=asked.orient)
            outcome = Outcome.predicted(entry.id, prediction)
        except OutputError:
            raise
        except ModuleNotFoundError as error:
            raise not_installed(error) or error from None
        except AnatomarkError as error:
            return Outcome.failed(entry.id, str(error))
        except OSError as error:
            reason = error.strerror or str(error)
            return Outcome.failed(entry.id, f"{entry.place} cannot be read: {reason}; check the disk, and try again")
        except Exception as error:  # a bug, which is to cost one image of many
            if isinstance(error, MemoryError) or any(words in str(error) for words in _OUT_OF_MEMORY):
                line = f"{entry.place}: there is not enough memory for it; crop or resample it, or use fewer workers"
                return Outcome.failed(entry.id, line)
            traceback.print_exc(file=sys.stderr)
            return Outcome.failed(
                entry.id, f"{entry.place}: an error in anatomark, {type(error).__name__}: {error}; please report it"
            )
        if self.order.overlays is not None:
            self._draw(self.order.overlays, entry, image, prediction)
        return outcome

    def _draw(self, overlays: Store, entry: Entry, image: Image, prediction: Prediction) -> None:
        from anatomark.prediction_files import write_overlay

        with overlays.writing(f"{as_file_name(entry.id)}.png", ".png") as temporary:
            write_overlay(image, prediction, temporary)

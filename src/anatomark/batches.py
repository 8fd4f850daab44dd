"""How many images a model predicts together: as many as asked for, or as the memory of the GPU lets."""

from __future__ import annotations

import gc
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from anatomark.errors import SettingsError
from anatomark.methods.prediction import Orient, Prediction

if TYPE_CHECKING:
    from anatomark.core.image import Image

Batch: TypeAlias = int | Literal["auto"]
MOST = 16  # images: the machine has to read and prepare them before the GPU sees any
_SHARE = 0.7  # of the GPU's free memory
_IMAGE_BYTES = 2**30  # of the images of a batch, as they are read: the machine's memory has to hold them several times
_OUT_OF_MEMORY = ("out of memory", "allocate memory")  # in PyTorch's errors, of a GPU and of the machine


def require_batch(batch: Batch) -> None:
    """SettingsError for a batch that is neither a number of images nor "auto"."""
    if batch != "auto" and (isinstance(batch, bool) or not isinstance(batch, int) or batch < 1):
        raise SettingsError(f"the batch is {batch!r}; give a number of images, 1 or more, or auto")


def is_out_of_memory(error: Exception) -> bool:
    return isinstance(error, MemoryError) or any(words in str(error) for words in _OUT_OF_MEMORY)


class Batches:
    """Predicts with `model`, `size` images at a time.

    "auto" is 1 on a CPU. On a GPU it is 1 for the first image; by the memory that this takes, it is as many as fit into
    what is free, of which `processes` take equal parts. A batch that does not fit is halved, and so are later ones.
    """

    def __init__(self, model: Any, batch: Batch, *, processes: int = 1) -> None:
        self.model = model
        self.size = 1 if batch == "auto" else batch
        self._processes = processes
        self._to_measure = batch == "auto" and model.device != "cpu"

    def predict(
        self, images: Sequence[Image], sources: Sequence[str], *, coverage: float, orient: Orient
    ) -> list[Prediction | Exception]:
        """What `Model.predict` gives for each of `images`, or what it raises."""
        asked: dict[str, Any] = {"coverage": coverage, "orient": orient}
        if len(images) == 1:
            try:
                return [self._predict_one(images[0], sources[0], asked)]
            except Exception as error:
                return [error]
        full = False
        try:
            return self.model.predict_together(images, sources=sources, **asked) if images else []
        except Exception as error:  # one of them cannot be predicted, or there is no room for all
            full = is_out_of_memory(error)
        each = 1
        if full:
            each = self.size = len(images) // 2
            _free_memory(self.model.device)
        found: list[Prediction | Exception] = []
        for first in range(0, len(images), each):
            some = slice(first, first + each)
            found += self.predict(images[some], sources[some], **asked)
        return found

    def _predict_one(self, image: Image, source: str, asked: dict[str, Any]) -> Prediction:
        if not self._to_measure:
            return self.model.predict(image, source=source, **asked)
        import torch

        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        prediction = self.model.predict(image, source=source, **asked)
        needed = torch.cuda.max_memory_allocated() - before
        free = torch.cuda.mem_get_info()[0] + torch.cuda.memory_reserved() - torch.cuda.memory_allocated()
        self.size = fitting(needed, free / self._processes, image.array.nbytes)
        self._to_measure = False
        return prediction


def fitting(needed: float, free: float, image_bytes: int) -> int:
    """How many images fit, each of which needs so many bytes of the GPU's `free` ones, and so many as it is read."""
    by_gpu, by_machine = _SHARE * free / max(needed, 1), _IMAGE_BYTES / max(image_bytes, 1)
    return max(1, int(min(MOST, by_gpu, by_machine)))


def _free_memory(device: str) -> None:
    """Free what a batch without room has left behind."""
    gc.collect()
    if device != "cpu":
        import torch

        torch.cuda.empty_cache()

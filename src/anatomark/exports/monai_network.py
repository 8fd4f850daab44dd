"""The parts that the workflow of a MONAI bundle is made of: cases, reading, the model as a module, and the loop."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from torch import nn

from anatomark.core.image import Image
from anatomark.data.cases import Case
from anatomark.data.inputs import find_inputs
from anatomark.errors import AnatomarkError, ImageError
from anatomark.formats.atomic import new_folder
from anatomark.loading import load
from anatomark.methods.prediction import Prediction
from anatomark.outcome import Outcome, Points
from anatomark.prediction_files import TABLE, write_tables

Inferer: TypeAlias = Callable[..., Prediction]


def cases_in(folder: str, spacing: Sequence[float] | None = None) -> list[dict[str, Case]]:
    """The images in a folder as a MONAI Dataset takes them; `spacing` (x, y[, z] in mm) is for those without one.

    Raises ImageError where there is no image.
    """
    return [{"case": case} for case in find_inputs([folder], spacing=spacing)]


class ReadImage:
    """A transform: the image of a case, read by this package, whose frames and spacings the points are given in."""

    def __call__(self, data: Mapping[str, Case]) -> dict[str, Any]:
        return {"image": data["case"].read_image()}


class Landmarker(nn.Module):
    """A model as a module: from an Image to its Prediction. Raises as `load` and `Model.predict`."""

    def __init__(self, folder: str, device: str = "cpu") -> None:
        super().__init__()
        self.model = load(folder, device=device)

    def forward(self, image: Image) -> Prediction:
        return self.model.predict(image)


class Evaluator:
    """Predicts all images of a dataset, and writes predictions.csv and images.csv as `anatomark predict` does."""

    def __init__(self, dataset: Any, network: Landmarker, inferer: Inferer, output_dir: str) -> None:
        self.dataset, self.network, self.inferer, self.output_dir = dataset, network, inferer, Path(output_dir)

    def run(self) -> Path:
        """The table; an image that cannot be predicted has its reason in images.csv. ImageError where none can."""
        outcomes = [self._outcome(number) for number in range(len(self.dataset))]
        if all(outcome.error for outcome in outcomes):
            raise ImageError(f"none of {len(outcomes)} images could be predicted; the first error: {outcomes[0].error}")
        model = self.network.model
        with new_folder(self.output_dir):
            write_tables(self.output_dir, outcomes, Points(model.names, model.ndim, model.unit))
        return self.output_dir / TABLE

    def _outcome(self, number: int) -> Outcome:
        case: Case = self.dataset.data[number]["case"]
        try:
            return Outcome.predicted(case.id, self.inferer(self.dataset[number]["image"], self.network))
        except AnatomarkError as error:
            return Outcome.failed(case.id, str(error))
        except RuntimeError as error:  # MONAI's, around what a transform raises
            if not isinstance(error.__cause__, AnatomarkError):
                raise
            return Outcome.failed(case.id, str(error.__cause__))

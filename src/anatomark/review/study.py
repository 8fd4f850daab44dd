"""A study: the cases under review, their references and predictions, and the folder of the review."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from anatomark.core.grid import Floats
from anatomark.data.description import Case, Dataset, load_dataset
from anatomark.data.reviews import FOLDER, review_folder
from anatomark.errors import DescriptionError, ImageError, UnknownNameError
from anatomark.evaluation.match_predictions import match_predictions
from anatomark.evaluation.predictions import read_predictions
from anatomark.formats.images import list_images, read_grid
from anatomark.methods.prediction import PRESENCE_THRESHOLD, Prediction, predicted_absent

if TYPE_CHECKING:
    from anatomark.formats.landmark_table import LandmarkTable
    from anatomark.model import Model


@dataclass(frozen=True, eq=False)
class CasePrediction:
    """A model's prediction for the N landmarks of a study in one case, world LPS; NaN where there is none.

    `points` (N, d); `presence` (N,) a probability; `bound` (N,) a length that the error stays below. `unsuitable` says
    that the image is none for the model, which gives it no bounds.
    """

    points: Floats
    presence: Floats
    bound: Floats
    unsuitable: bool = False

    @property
    def absent(self) -> NDArray[np.bool_]:
        """(N,) where the landmark is predicted as absent."""
        return predicted_absent(self.presence)

    @classmethod
    def of(cls, prediction: Prediction, names: Sequence[str]) -> CasePrediction:
        """A Prediction in the order of `names`, NaN for names that the model does not have."""
        position = {name: k for k, name in enumerate(prediction.landmarks.names)}
        take = np.array([position.get(name, -1) for name in names])
        parts = (prediction.landmarks.points, prediction.presence, prediction.error_bound)
        points, presence, bound = (np.where(_wide(take >= 0, part), part[take], np.nan) for part in parts)
        return cls(points, presence, bound, prediction.unsuitable is not None)


@dataclass(frozen=True, eq=False)
class Study:
    """The cases under review. `predictions` {case: CasePrediction}; reviews are saved in `folder`."""

    dataset: Dataset
    cases: tuple[Case, ...]
    predictions: Mapping[str, CasePrediction]
    folder: Path


def open_study(
    given: str | Path,
    *,
    reviewer: str,
    predictions: str | Path | None = None,
    frame: str | None = None,
    model: Model | None = None,
    landmarks: Sequence[str] = (),
    split: str | None = None,
    root: str | Path | None = None,
    spacing: Sequence[float] | None = None,
    out: str | Path | None = None,
) -> Study:
    """The Study of a dataset.yaml, of a folder that holds one, or of a folder of images.

    A folder of images has its landmarks from `landmarks`, else from `model`, else from the predictions. Reviews are
    saved in `out`, else where `load_dataset` looks for them, or in annotations/ of a folder of images.

    Raises as reading them does, and UnknownNameError if the landmarks of a folder of images are not known.
    """
    given = Path(given)
    if not given.exists():
        raise ImageError(f"{given}: no such file or folder; give a dataset.yaml or a folder of images")
    described = given.suffix.lower() in (".yaml", ".yml") or (given / "dataset.yaml").is_file()
    if described:
        if landmarks:
            raise DescriptionError(f"{given} lists its own landmarks; leave out --landmarks")
        dataset = _without_own(load_dataset(given, root), reviewer)
        table = None if predictions is None else read_predictions(predictions, frame=frame, dataset=dataset)
        folder = review_folder(dataset.path or given)
    else:
        if split is not None:
            raise UnknownNameError(f"--split {split} needs a dataset.yaml: {given} has no splits")
        table = None if predictions is None else read_predictions(predictions, frame=frame)
        dataset = _folder(given, _names(given, landmarks, model, table), spacing)
        folder = given / FOLDER
    if model is not None:
        _require_fitting(dataset, model)
    cases = dataset.cases if split is None else dataset.split(split)
    predicted = {} if table is None else _predictions(dataset, table, str(predictions))
    return Study(dataset, cases, predicted, Path(out) if out is not None else folder)


def _without_own(dataset: Dataset, reviewer: str) -> Dataset:
    """The data set without this reviewer's review, which the page shows beside the reference, not in it."""
    if not dataset.cases:
        return dataset
    annotation = dataset.cases[0].annotation
    others = replace(annotation, reviews=tuple(s for s in annotation.reviews if getattr(s, "reviewer", "") != reviewer))
    return replace(dataset, cases=tuple(replace(case, annotation=others) for case in dataset.cases))


def _folder(given: Path, names: Sequence[str], spacing: Sequence[float] | None) -> Dataset:
    images = list_images(given)
    if not images:
        raise ImageError(f"{given}: a folder without images directly in it; give a folder of images, or a dataset.yaml")
    ndim = read_grid(images[0]).ndim
    return Dataset.from_images(images, ndim=ndim, spacing=spacing, names=names, name=given.absolute().name)


def _names(given: Path, landmarks: Sequence[str], model: Model | None, table: LandmarkTable | None) -> tuple[str, ...]:
    if landmarks:
        twice = [name for name in landmarks if list(landmarks).count(name) > 1]
        if "" in landmarks:
            raise UnknownNameError("--landmarks contains an empty name; give names separated by commas")
        if twice:
            raise UnknownNameError(f"--landmarks has a duplicate landmark: {twice[0]!r}; name each once")
        return tuple(landmarks)
    if model is not None:
        return model.names
    if table is not None:
        return tuple(dict.fromkeys(table.landmark.tolist()))
    raise UnknownNameError(
        f"{given} is a folder of images without a list of landmarks; give --landmarks a,b,c, --model or --predictions"
    )


def _predictions(dataset: Dataset, table: LandmarkTable, source: str) -> dict[str, CasePrediction]:
    rows = match_predictions(
        dataset, table, split=None, presence_threshold=PRESENCE_THRESHOLD, source=f"the predictions {source}"
    ).rows
    return {
        case: CasePrediction(rows.predicted[k], rows.presence[k], rows.bound[k], bool(rows.withheld[k].any()))
        for k, case in enumerate(rows.cases)
    }


def _require_fitting(dataset: Dataset, model: Model) -> None:
    if model.ndim != dataset.ndim:
        raise ImageError(
            f"the model is for {model.ndim}D images, but {dataset.name} is {dataset.ndim}D; give another --model"
        )
    if not set(model.names) & set(dataset.names):
        raise UnknownNameError(
            f"the model has none of the landmarks of {dataset.name} ({', '.join(dataset.names[:5])}); "
            "give another --model"
        )


def _wide(mask: NDArray[np.bool_], part: Floats) -> NDArray[np.bool_]:
    return mask[:, None] if part.ndim == 2 else mask

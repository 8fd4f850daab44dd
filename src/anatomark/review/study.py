"""A study: the cases under review, the references and predictions to begin with, and where the review goes."""

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
    from anatomark.formats.table import LandmarkTable
    from anatomark.model import Model


@dataclass(frozen=True, eq=False)
class Answers:
    """A model's answers for the N landmarks of a study in one case, world LPS; NaN where it says nothing.

    `points` (N, d); `presence` (N,) a probability; `bound` (N,) a length that the error stays below.
    """

    points: Floats
    presence: Floats
    bound: Floats

    @property
    def absent(self) -> NDArray[np.bool_]:
        """(N,) where the model says that the landmark is not in the image."""
        return predicted_absent(self.presence)

    @classmethod
    def of(cls, prediction: Prediction, names: Sequence[str]) -> Answers:
        """A Prediction in the order of `names`, those that the model does not know left out."""
        at = {name: k for k, name in enumerate(prediction.landmarks.names)}
        take = np.array([at.get(name, -1) for name in names])
        parts = (prediction.landmarks.points, prediction.presence, prediction.error_bound)
        points, presence, bound = (np.where(_wide(take >= 0, part), part[take], np.nan) for part in parts)
        return cls(points, presence, bound)


@dataclass(frozen=True, eq=False)
class Study:
    """The cases under review. `answers` {case: Answers}; `folder` is where reviews go, `name` what the page says."""

    dataset: Dataset
    cases: tuple[Case, ...]
    answers: Mapping[str, Answers]
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

    A folder of images alone takes its landmarks from `landmarks`, else from `model`, else from the predictions.
    Reviews go to `out`, else to the place where `load_dataset` looks for them; beside images, to annotations/ there.

    Raises what reading them raises, UnknownNameError where nobody says which landmarks there are.
    """
    given = Path(given)
    if not given.exists():
        raise ImageError(f"{given}: no such file or folder; give a dataset.yaml or a folder of images")
    described = given.suffix.lower() in (".yaml", ".yml") or (given / "dataset.yaml").is_file()
    if described:
        if landmarks:
            raise DescriptionError(f"{given} lists its landmarks itself; leave --landmarks out")
        dataset = _without_own(load_dataset(given, root), reviewer)
        table = None if predictions is None else read_predictions(predictions, frame=frame, dataset=dataset)
        place = review_folder(dataset.path or given)
    else:
        if split is not None:
            raise UnknownNameError(f"--split {split} needs a dataset.yaml: {given} has no splits")
        table = None if predictions is None else read_predictions(predictions, frame=frame)
        dataset = _folder(given, _names(given, landmarks, model, table), spacing)
        place = given / FOLDER
    if model is not None:
        _require_fitting(dataset, model)
    cases = dataset.cases if split is None else dataset.split(split)
    answers = {} if table is None else _answers(dataset, table, str(predictions))
    return Study(dataset, cases, answers, Path(out) if out is not None else place)


def _without_own(dataset: Dataset, reviewer: str) -> Dataset:
    """The set without the review that is being made: the page shows that beside the reference, not in it."""
    if not dataset.cases:
        return dataset
    labelling = dataset.cases[0].labelling
    others = replace(labelling, reviews=tuple(s for s in labelling.reviews if getattr(s, "reviewer", "") != reviewer))
    return replace(dataset, cases=tuple(replace(case, labelling=others) for case in dataset.cases))


def _folder(given: Path, names: Sequence[str], spacing: Sequence[float] | None) -> Dataset:
    images = list_images(given)
    if not images:
        raise ImageError(f"{given}: a folder without images directly in it; give a folder with some, or a dataset.yaml")
    ndim = read_grid(images[0]).ndim
    return Dataset.from_images(images, ndim=ndim, spacing=spacing, names=names, name=given.absolute().name)


def _names(given: Path, landmarks: Sequence[str], model: Model | None, table: LandmarkTable | None) -> tuple[str, ...]:
    if landmarks:
        twice = [name for name in landmarks if list(landmarks).count(name) > 1]
        if twice or "" in landmarks:
            raise UnknownNameError(f"--landmarks names {twice[0] if twice else 'nothing'!r} twice; name each once")
        return tuple(landmarks)
    if model is not None:
        return model.names
    if table is not None:
        return tuple(dict.fromkeys(table.landmark.tolist()))
    raise UnknownNameError(
        f"{given} is a folder of images, and nobody says which landmarks are wanted; give --landmarks a,b,c, or "
        "--model, or --predictions"
    )


def _answers(dataset: Dataset, table: LandmarkTable, source: str) -> dict[str, Answers]:
    rows = match_predictions(
        dataset, table, split=None, presence_threshold=PRESENCE_THRESHOLD, source=f"the predictions {source}"
    ).rows
    return {case: Answers(rows.predicted[k], rows.presence[k], rows.bound[k]) for k, case in enumerate(rows.cases)}


def _require_fitting(dataset: Dataset, model: Model) -> None:
    if model.ndim != dataset.ndim:
        raise ImageError(
            f"the model is of {model.ndim}D images, {dataset.name} is {dataset.ndim}D; give another --model"
        )
    if not set(model.names) & set(dataset.names):
        raise UnknownNameError(
            f"the model knows none of the landmarks of {dataset.name} ({', '.join(dataset.names[:5])}); "
            "give another --model"
        )


def _wide(mask: NDArray[np.bool_], part: Floats) -> NDArray[np.bool_]:
    return mask[:, None] if part.ndim == 2 else mask

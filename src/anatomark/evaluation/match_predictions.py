"""Matching: a table of predictions, in any frame and with image names of any origin, made into rows of a data set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from anatomark.core.landmarks import State
from anatomark.data.annotations import names_of, numbers_of, to_world
from anatomark.data.cases import Case
from anatomark.data.description import Dataset
from anatomark.errors import FrameError, LandmarkFileError, UnknownNameError
from anatomark.evaluation.rows import Answer, Rows, reference_block
from anatomark.formats.landmark_table import LandmarkTable
from anatomark.methods.prediction import predicted_absent


@dataclass(frozen=True, eq=False)
class Matched:
    """Rows of reference and prediction, their `cases`, and the images of the table that the data set does not have."""

    rows: Rows
    cases: list[Case]
    unknown_images: list[str]


def match_predictions(
    dataset: Dataset,
    table: LandmarkTable,
    *,
    split: str | None,
    presence_threshold: float,
    source: str = "the predictions",
) -> Matched:
    """The predictions of `table` beside the reference of the cases of `split`, or of those that the table names.

    `source` names the table in messages. Raises as `evaluate` does.
    """
    _check_table(dataset, table, source)
    cases, case_of_row, unknown = _match_cases(dataset, table, split, source)
    landmark_of_row = _match_landmarks(dataset, table, source)
    chosen = case_of_row >= 0
    i, k = case_of_row[chosen], landmark_of_row[chosen]
    names = tuple(dataset.names)
    _refuse_duplicates(i, k, cases, names, source)

    shape = (len(cases), len(names))
    points = np.full((*shape, dataset.ndim), np.nan)
    presence, spread, bound = np.full((3, *shape), np.nan)
    states, withheld = np.zeros(shape, dtype=np.uint8), np.zeros(shape, dtype=bool)
    points[i, k] = table.coordinates[chosen]
    presence[i, k] = table.presence[chosen]
    states[i, k] = table.states[chosen]
    bounds = table.bound
    if bounds is not None:
        withheld[i, k] = np.isinf(bounds[chosen])  # an image that the model is not suitable for
    if table.unit == dataset.unit:  # lengths in pixels are none in mm
        spread[i, k] = table.spread[chosen]
        if bounds is not None:
            bound[i, k] = np.where(np.isfinite(bounds[chosen]), bounds[chosen], np.nan)
    predicted = np.stack([to_world(p, table.frame, case, source) for p, case in zip(points, cases, strict=True)])
    answers = np.where(np.isfinite(predicted).all(axis=-1), Answer.PRESENT, Answer.MISSING)
    answers[predicted_absent(presence, presence_threshold) | (states == State.ABSENT)] = Answer.ABSENT
    reference, reference_states = reference_block([case.reference for case in cases], names)
    rows = Rows(
        cases=tuple(case.id for case in cases),
        names=names,
        reference=reference,
        states=reference_states,
        predicted=predicted,
        answers=answers.astype(np.uint8),
        presence=presence,
        unit=dataset.unit,
        subjects=tuple(case.subject for case in cases),
        spread=spread,
        bound=bound,
        withheld=withheld,
    )
    return Matched(rows, cases, unknown)


def _match_cases(
    dataset: Dataset, table: LandmarkTable, split: str | None, source: str
) -> tuple[list[Case], NDArray[np.int64], list[str]]:
    """The cases to score, the number of each row's (R,) among them (-1 for others), and the images of no case."""
    every = list(dataset.cases)
    images, image_of_row = np.unique(np.asarray(table.image, dtype=str), return_inverse=True)
    case_of_image, unknown = _match_images(images.tolist(), every, source)
    if (case_of_image < 0).all():
        raise UnknownNameError(
            f"none of the {len(images)} images in {source} ({_some(images.tolist())}) is a case of "
            f"{dataset.name} ({_some([c.id for c in every])}); write the case names in the column image"
        )
    if split is None:
        chosen = sorted(set(case_of_image[case_of_image >= 0].tolist()))
    else:
        in_split = {case.id for case in dataset.split(split)}
        chosen = [i for i, case in enumerate(every) if case.id in in_split]
    number = np.full(len(every) + 1, -1)  # the last entry serves unknown images
    number[chosen] = np.arange(len(chosen))
    return [every[i] for i in chosen], number[case_of_image[image_of_row]], unknown


def _match_landmarks(dataset: Dataset, table: LandmarkTable, source: str) -> NDArray[np.int64]:
    """(R,) the number of each row's landmark; UnknownNameError for one that the data set does not define."""
    landmarks, landmark_of_row = np.unique(np.asarray(table.landmark, dtype=str), return_inverse=True)
    numbers = numbers_of(landmarks.tolist(), dataset.names)
    unknown = landmarks[numbers < 0].tolist()
    if unknown:
        raise UnknownNameError(
            f"{source} name landmarks that {dataset.name} does not define: {_some(unknown)}; it defines "
            f"{_some(dataset.names)}. Rename or remove these rows"
        )
    return numbers[landmark_of_row]


def _check_table(dataset: Dataset, table: LandmarkTable, source: str) -> None:
    if not len(table.image):
        raise LandmarkFileError(f"{source} have no rows; give one row for each image and landmark")
    if table.coordinates.shape[1] != dataset.ndim:
        raise LandmarkFileError(
            f"{source} are {table.coordinates.shape[1]}D, {dataset.name} is {dataset.ndim}D; give "
            f"predictions with the columns {', '.join('xyz'[: dataset.ndim])}"
        )
    if table.frame != "pixel" and table.unit != dataset.unit:
        advice = (
            "give `images.spacing` in the description; pixel coordinates need --frame pixel"
            if table.unit == "mm"
            else "convert them to mm with anatomark convert IN OUT.csv --image IMAGES --spacing X,Y[,Z]"
        )
        raise FrameError(f"{source} are in {table.unit}, {dataset.name} in {dataset.unit}; {advice}")
    observers = sorted(set(np.asarray(table.observer, dtype=str).tolist()))
    if len(observers) > 1:
        raise LandmarkFileError(
            f"{source} come from several observers ({_some(observers)}); give a table with one of them"
        )


def _match_images(images: Sequence[str], cases: Sequence[Case], source: str) -> tuple[NDArray[np.int64], list[str]]:
    """Index of the case of each image, -1 for none, and the images without one (see `formats.image_names`)."""
    ids = [case.id for case in cases]
    matches = names_of(cases).match(images, source)
    for image, several in matches.several.items():
        raise UnknownNameError(
            f"image {image!r} of {source} may be any of the cases {_some([ids[c] for c in several])}; "
            "write the case name in the column image"
        )
    case_of_image = np.array(matches.images, dtype=np.int64)
    return case_of_image, [image for image, case in zip(images, case_of_image, strict=True) if case < 0]


def _refuse_duplicates(
    i: NDArray[np.int64], k: NDArray[np.int64], cases: Sequence[Case], names: Sequence[str], source: str
) -> None:
    counts = np.bincount(i * len(names) + k)
    if counts.size and counts.max() > 1:
        repeated = np.flatnonzero(counts > 1).tolist()
        which = [f"{cases[r // len(names)].id} {names[r % len(names)]}" for r in repeated]
        raise LandmarkFileError(
            f"{source} have duplicate rows for {_some(which)}; keep one row for each image and landmark"
        )


def _some(names: Sequence[str], most: int = 5) -> str:
    shown = ", ".join(map(str, names[:most]))
    return shown + (f" and {len(names) - most} more" if len(names) > most else "")

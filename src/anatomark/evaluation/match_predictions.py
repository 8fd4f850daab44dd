"""Matching: a table of predictions, in any frame and with image names of any origin, made into rows of a data set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anatomark.core.landmarks import State
from anatomark.data.annotations import names_of, numbers_of, to_world
from anatomark.data.cases import Case
from anatomark.data.description import Dataset
from anatomark.errors import FrameError, LandmarkFileError, UnknownNameError
from anatomark.evaluation.annotated import read_annotated
from anatomark.evaluation.placements import Placements
from anatomark.evaluation.rows import Answer, Rows
from anatomark.formats.landmark_table import LandmarkTable, Texts, codes_of
from anatomark.methods.prediction import predicted_absent


@dataclass(frozen=True, eq=False)
class Matched:
    """Rows of reference and prediction, their `cases`, and the images of the table that the data set does not have.

    `placements` are those of the observers in these cases, where they were asked for.
    """

    rows: Rows
    cases: list[Case]
    unknown_images: list[str]
    placements: Placements | None = None


def match_predictions(
    dataset: Dataset,
    table: LandmarkTable,
    *,
    split: str | None,
    presence_threshold: float,
    source: str = "the predictions",
    observers: bool = False,
) -> Matched:
    """The predictions of `table` beside the reference of the cases of `split`, or of those that the table names.

    `source` names the table in messages; `observers` adds the placements. Raises as `evaluate` does.
    """
    _check_table(dataset, table, source)
    cases, case_of_row, unknown = _match_cases(dataset, table, split, source)
    answered = _answered(dataset, table, cases, case_of_row, presence_threshold, source)
    del case_of_row
    annotated = read_annotated(dataset, cases, observers=observers)
    rows = Rows(
        cases=tuple(case.id for case in cases),
        names=tuple(dataset.names),
        reference=annotated.reference,
        states=annotated.states,
        unit=dataset.unit,
        subjects=tuple(case.subject for case in cases),
        **answered,
    )
    return Matched(rows, cases, unknown, annotated.placements)


def _answered(
    dataset: Dataset,
    table: LandmarkTable,
    cases: Sequence[Case],
    case_of_row: NDArray[np.integer],
    threshold: float,
    source: str,
) -> dict[str, NDArray[Any]]:
    """The arrays of `Rows` that a table fills."""
    landmark_of_row = _match_landmarks(dataset, table, source)
    chosen = np.flatnonzero(case_of_row >= 0)
    at = case_of_row[chosen], landmark_of_row[chosen]
    del landmark_of_row
    _refuse_duplicates(*at, cases, dataset.names, source)
    shape = (len(cases), len(dataset.names))

    def block(values: NDArray[Any], nothing: Any) -> NDArray[Any]:
        """(C, N) a column of the table, `nothing` where it has no row; one without any value takes no memory."""
        own = values[chosen]
        if not (own == own).any():
            return np.broadcast_to(nothing, shape)
        filled = np.full(shape, nothing, dtype=values.dtype)
        filled[at] = own
        return filled

    predicted = np.full((*shape, dataset.ndim), np.nan)
    predicted[at] = table.coordinates[chosen]
    if table.frame != "LPS":
        for c, case in enumerate(cases):
            predicted[c] = to_world(predicted[c], table.frame, case, source)
    presence = block(table.presence, np.nan)
    states = block(table.states, State.NOT_ANNOTATED)
    found = np.isfinite(predicted).all(axis=-1)
    answers = np.where(found, np.uint8(Answer.PRESENT), np.uint8(Answer.MISSING))
    answers[predicted_absent(presence, threshold) | (states == State.ABSENT)] = Answer.ABSENT
    arrays = {"predicted": predicted, "answers": answers, "presence": presence}
    if table.bound is not None:  # withheld for an image that the model is not suitable for
        arrays["withheld"] = block(np.isinf(table.bound), False)
    if table.unit == dataset.unit:  # lengths in pixels are none in mm
        arrays["spread"] = block(table.spread, np.nan)
        if table.bound is not None:
            arrays["bound"] = block(np.where(np.isfinite(table.bound), table.bound, np.nan), np.nan)
    return arrays


def _match_cases(
    dataset: Dataset, table: LandmarkTable, split: str | None, source: str
) -> tuple[list[Case], NDArray[np.integer], list[str]]:
    """The cases to score, the number of each row's (R,) among them (-1 for others), and the images of no case."""
    every = list(dataset.cases)
    images, image_of_row = _sorted_codes(table.image)
    case_of_image, unknown = _match_images(images, every, source)
    if (case_of_image < 0).all():
        raise UnknownNameError(
            f"none of the {len(images)} images in {source} ({_some(images)}) is a case of "
            f"{dataset.name} ({_some([c.id for c in every])}); write the case names in the column image"
        )
    if split is None:
        chosen = sorted(set(case_of_image[case_of_image >= 0].tolist()))
    else:
        in_split = {case.id for case in dataset.split(split)}
        chosen = [i for i, case in enumerate(every) if case.id in in_split]
    number = np.full(len(every) + 1, -1, dtype=np.int32)  # the last entry serves unknown images
    number[chosen] = np.arange(len(chosen))
    return [every[i] for i in chosen], number[case_of_image[image_of_row]], unknown


def _match_landmarks(dataset: Dataset, table: LandmarkTable, source: str) -> NDArray[np.integer]:
    """(R,) the number of each row's landmark; UnknownNameError for one that the data set does not define."""
    landmarks, landmark_of_row = _sorted_codes(table.landmark)
    numbers = numbers_of(landmarks, dataset.names)
    unknown = [name for name, known in zip(landmarks, numbers, strict=True) if known < 0]
    if unknown:
        raise UnknownNameError(
            f"{source} name landmarks that {dataset.name} does not define: {_some(unknown)}; it defines "
            f"{_some(dataset.names)}. Rename or remove these rows"
        )
    return numbers.astype(np.int32)[landmark_of_row]


def _sorted_codes(texts: Texts) -> tuple[list[str], NDArray[np.int32]]:
    """(distinct texts, sorted, the number of each row's), as `numpy.unique` gives them."""
    found, codes = codes_of(texts)
    order = sorted(range(len(found)), key=found.__getitem__)
    rank = np.empty(len(found), dtype=np.int32)
    rank[order] = np.arange(len(found))
    return [found[k] for k in order], rank[codes]


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
    observers = sorted(set(table.observer.tolist()))
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
    i: NDArray[np.integer], k: NDArray[np.integer], cases: Sequence[Case], names: Sequence[str], source: str
) -> None:
    counts = np.bincount(i.astype(np.int64) * len(names) + k)
    if counts.size and counts.max() > 1:
        repeated = np.flatnonzero(counts > 1).tolist()
        which = [f"{cases[r // len(names)].id} {names[r % len(names)]}" for r in repeated]
        raise LandmarkFileError(
            f"{source} have duplicate rows for {_some(which)}; keep one row for each image and landmark"
        )


def _some(names: Sequence[str], most: int = 5) -> str:
    shown = ", ".join(map(str, names[:most]))
    return shown + (f" and {len(names) - most} more" if len(names) > most else "")

"""Gathering: a table of predictions, in any frame and with anybody's image names, made into rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from anatomark.core.grid import Floats
from anatomark.core.landmarks import State
from anatomark.data.annotations import names_of
from anatomark.errors import FrameError, LandmarkFileError, UnknownNameError
from anatomark.evaluation.rows import Answer, Rows, reference_block
from anatomark.formats.frames import swap_ras
from anatomark.formats.header import tell
from anatomark.formats.image_names import guess_remark
from anatomark.formats.text import composed

if TYPE_CHECKING:
    from anatomark.data.description import Case, Dataset
    from anatomark.formats.table import LandmarkTable


def gather(
    dataset: Dataset,
    table: LandmarkTable,
    *,
    split: str | None,
    presence_threshold: float,
    source: str = "the predictions",
) -> tuple[Rows, list[Case], list[str]]:
    """Rows of reference and prediction, their cases, and the images of the table that the data set has not.

    `source` names the table in messages. Raises as `evaluate` does.
    """
    names = tuple(dataset.names)
    _check_table(dataset, table, source)
    every = list(dataset.cases)
    images, image_of = np.unique(np.asarray(table.image, dtype=str), return_inverse=True)
    case_of, unknown = _match_images(images.tolist(), every, source)
    if (case_of < 0).all():
        raise UnknownNameError(
            f"none of the {len(images)} images in {source} ({_some(images.tolist())}) is a case of "
            f"{dataset.name} ({_some([c.id for c in every])}); write the case names in the column image"
        )
    if split is None:
        chosen = sorted(set(case_of[case_of >= 0].tolist()))
    else:
        wanted = {case.id for case in dataset.split(split)}
        chosen = [i for i, case in enumerate(every) if case.id in wanted]
    cases = [every[i] for i in chosen]

    landmarks, landmark_of = np.unique(np.asarray(table.landmark, dtype=str), return_inverse=True)
    known = {composed(name): k for k, name in enumerate(names)}
    strange = sorted(name for name in landmarks.tolist() if composed(name) not in known)
    if strange:
        raise UnknownNameError(
            f"{source} name landmarks that {dataset.name} has not: {_some(strange)}; it has "
            f"{_some(names)}. Rename or remove these rows"
        )
    block_row = np.full(len(every) + 1, -1)  # case -> row of the block; the last entry serves unknown images
    block_row[chosen] = np.arange(len(cases))
    column = np.array([known[composed(n)] for n in landmarks.tolist()], dtype=int)
    i, k = block_row[case_of[image_of]], column[landmark_of]
    mine = i >= 0
    i, k = i[mine], k[mine]
    _refuse_twice(i, k, cases, names, source)

    shape = (len(cases), len(names))
    predicted = np.full((*shape, dataset.ndim), np.nan)
    presence, spread, bound = np.full((3, *shape), np.nan)
    states = np.zeros(shape, dtype=np.uint8)
    predicted[i, k] = table.coordinates[mine]
    presence[i, k] = table.presence[mine]
    if table.unit == dataset.unit:  # lengths in pixels are none in mm
        spread[i, k] = table.spread[mine]
        bounds = getattr(table, "bound", None)
        if bounds is not None:
            bound[i, k] = np.where(np.isfinite(bounds[mine]), bounds[mine], np.nan)
    states[i, k] = table.states[mine]
    predicted = _to_world(predicted, table.frame, cases)
    answers = np.where(np.isfinite(predicted).all(axis=-1), Answer.PRESENT, Answer.MISSING)
    with np.errstate(invalid="ignore"):
        answers[(presence < presence_threshold) | (states == State.ABSENT)] = Answer.ABSENT

    reference, reference_states = reference_block([case.reference for case in cases], names)
    ids = tuple(case.id for case in cases)
    rows = Rows(
        ids,
        names,
        reference,
        reference_states,
        predicted,
        answers.astype(np.uint8),
        presence,
        dataset.unit,
        tuple(case.subject for case in cases),
        spread,
        bound,
    )
    return rows, cases, unknown


def _check_table(dataset: Dataset, table: LandmarkTable, source: str) -> None:
    if not len(table.image):
        raise LandmarkFileError(f"{source} hold no row; wanted is one row for each image and landmark")
    if table.coordinates.shape[1] != dataset.ndim:
        raise LandmarkFileError(
            f"{source} are {table.coordinates.shape[1]}D, {dataset.name} is {dataset.ndim}D; give "
            f"predictions with the columns {', '.join('xyz'[: dataset.ndim])}"
        )
    if table.frame != "pixel" and table.unit != dataset.unit:
        todo = (
            "give `images.spacing` in the description; pixel coordinates want --frame pixel"
            if table.unit == "mm"
            else "turn them into mm with anatomark convert IN OUT.csv --image IMAGES --spacing X,Y[,Z]"
        )
        raise FrameError(f"{source} are in {table.unit}, {dataset.name} in {dataset.unit}; {todo}")
    observers = sorted(set(np.asarray(table.observer, dtype=str).tolist()))
    if len(observers) > 1:
        raise LandmarkFileError(
            f"{source} come from several observers ({_some(observers)}); give a table with one of them"
        )


def _match_images(images: Sequence[str], cases: Sequence[Case], source: str) -> tuple[NDArray[np.int64], list[str]]:
    """Index of the case of each image, -1 for none, and the images without one (see `formats.image_names`)."""
    ids = [case.id for case in cases]
    matches = names_of(cases).match(images)
    for image, several in matches.several.items():
        raise UnknownNameError(
            f"image {image!r} of {source} may be any of the cases {_some([ids[c] for c in several])}; "
            "write the case name in the column image"
        )
    tell(guess_remark(matches, ids, source))
    found = np.array(matches.images, dtype=np.int64)
    return found, [image for image, case in zip(images, found, strict=True) if case < 0]


def _refuse_twice(
    i: NDArray[np.int64], k: NDArray[np.int64], cases: Sequence[Case], names: Sequence[str], source: str
) -> None:
    counts = np.bincount(i * len(names) + k)
    if counts.size and counts.max() > 1:
        twice = np.flatnonzero(counts > 1).tolist()
        which = [f"{cases[t // len(names)].id} {names[t % len(names)]}" for t in twice]
        raise LandmarkFileError(
            f"{source} hold more than one row for {_some(which)}; leave one for each image and landmark"
        )


def _to_world(points: Floats, frame: str, cases: Sequence[Case]) -> Floats:
    """World LPS points (C, N, d) of points in `frame`; pixel coordinates go through each case's Grid."""
    if frame == "RAS":
        return swap_ras(points.reshape(-1, points.shape[-1])).reshape(points.shape)
    if frame == "pixel":
        # table order is column, row[, slice]; an index follows array axes
        return np.stack([c.read_grid().index_to_world(p[:, ::-1]) for c, p in zip(cases, points, strict=True)])
    return points


def _some(names: Sequence[str], most: int = 5) -> str:
    shown = ", ".join(map(str, names[:most]))
    return shown + (f" and {len(names) - most} more" if len(names) > most else "")

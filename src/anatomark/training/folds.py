"""Cross-validation: as many trainings as folds, each without its part of the subjects, and what comes of them together.

Each case is predicted by the one fold that has not seen it, neither to learn from nor to choose the best weights by.
These out-of-fold predictions are for the statistics, and calibrate the presence and the error bounds of the average of
all folds (see `ensemble`). Everything is done fold by fold; what has been done is not done again.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from anatomark.core.landmarks import State
from anatomark.data.splits import split_validation, subject_folds
from anatomark.ensemble import Ensemble
from anatomark.errors import SettingsError
from anatomark.formats.atomic import new_folder, sweep, write_json
from anatomark.formats.landmark_table import LandmarkTable, join_tables
from anatomark.formats.table import read_table, write_table
from anatomark.loading import load_model
from anatomark.methods.error_bound import ErrorBounds
from anatomark.methods.prediction import prediction_table
from anatomark.methods.presence import PresenceModel
from anatomark.methods.settings import Settings
from anatomark.training.own_predictions import radial
from anatomark.training.request import Request
from anatomark.training.roles import FEWEST_SUBJECTS, training_roles
from anatomark.training.run import train_cases
from anatomark.training.run_folder import FOLDS, OUT_OF_FOLD, alone_in, fold_folder

if TYPE_CHECKING:
    from anatomark.data.description import Case, Dataset

BY_FOLDS = "out-of-fold cases, each by the one fold that has not seen it"


def train_folds(
    dataset: Dataset,
    folds: int,
    request: Request,
    *,
    out: Path,
    train_split: str,
    validation_split: str | None,
    show: Callable[[str], None] | None,
    began: float,
    fold: int | None = None,
) -> Path:
    """Train the folds one after another into `out`/fold1, fold2, ..., and put them together; returns `out`.

    The folds share out the subjects of `train_split` (of all cases where there are no splits), so never those of a test
    split. To choose the best weights by, all have the cases of the validation split, or each sets some of its training
    subjects aside. The same call on the folder of a stopped run goes on where that was. Of a time budget each fold has
    its part from `began` on, a time of time.monotonic(): one that took longer, with its predictions, leaves less to the
    next.

    With `fold`, a number from 1 on, only that one is trained, beside others or on another machine; the same call
    without it then puts all together.

    Raises SettingsError for fewer than two folds, more folds than subjects, a `fold` that is none of them, or a folder
    of another kind; as `train`.
    """
    say: Callable[[str], None] = show or (lambda line: None)
    parts = fold_roles(dataset, folds, train_split, validation_split, request.settings)
    if fold is not None and not 1 <= fold <= folds:
        raise SettingsError(f"--fold {fold}: with {folds} folds, it is a number from 1 to {folds}")
    left_out = [[case.id for case in part["left out"]] for part in parts]
    _open(out, {"folds": folds, "dataset": dataset.name, **request.record(), "left_out": left_out})
    each = request.for_one_of(folds)
    tables: list[LandmarkTable] = []
    part_seconds = 60 * (each.settings.minutes or 0.0)
    for number, part in enumerate(parts):
        if fold not in (None, number + 1):
            continue
        say(f"fold {number + 1} of {folds}, without {len(part['left out'])} cases")
        roles = {role: part[role] for role in ("train", "validation")}
        folder = fold_folder(out, number)
        earlier = number if fold is None else 0  # folds that have had their time
        starts = min(began + earlier * part_seconds, time.monotonic()) if part_seconds else None
        with alone_in(folder):
            train_cases(dataset, roles, each, out=folder, show=show, began=starts)
        tables.append(_predicted(folder, part["left out"], request.device))
    if fold is not None:
        say(f"{fold_folder(out, fold - 1)}: fold {fold} of {folds}; once all are there, leave out --fold to join them")
        return out
    _put_together(out, dataset, parts, tables)
    say(f"{out / OUT_OF_FOLD}: all {sum(map(len, left_out))} cases, each by the fold that has not seen it")
    return out


def fold_roles(
    dataset: Dataset, folds: int, train_split: str, validation_split: str | None, settings: Settings
) -> list[dict[str, Sequence[Case]]]:
    """The "train", "validation" and "left out" cases of each fold; see `train_folds`."""
    roles = training_roles(dataset, train_split, validation_split, 0.0, settings.seed)
    cases, fraction = roles["train"], settings.validation_fraction
    subjects = len({case.subject for case in cases})
    if not 2 <= folds <= subjects:
        raise SettingsError(f"{folds} folds of {subjects} subjects; use between 2 and {subjects} folds")
    parts: list[dict[str, Sequence[Case]]] = []
    for left_out in subject_folds(cases, folds, settings.seed):
        gone = {case.subject for case in left_out}
        rest = [case for case in cases if case.subject not in gone]
        held: dict[str, Sequence[Case]] = {"train": rest, "validation": roles["validation"], "left out": left_out}
        if not roles["validation"] and fraction and len({case.subject for case in rest}) >= FEWEST_SUBJECTS:
            held["train"], held["validation"] = split_validation(rest, fraction, settings.seed)
        parts.append(held)
    return parts


def _open(out: Path, request: dict[str, Any]) -> None:
    """Make the folder, or go on with it; SettingsError where it holds something else or a run of another request."""
    path = out / FOLDS
    try:
        earlier = json.loads(path.read_text(encoding="utf-8")) if path.exists() else None
    except ValueError:
        earlier = {}
    begun = any(fold_folder(out, number).exists() for number in range(int(request["folds"])))
    if earlier is not None and earlier != request and begun:
        known = cast("dict[str, Any]", earlier) if isinstance(earlier, dict) else {}
        different = ", ".join(key for key in request if known.get(key) != request[key])
        raise SettingsError(f"{out} holds folds of another kind (other {different}); choose another --out")
    sweep(out)
    unfinished = f".{FOLDS}."  # another fold's training may be writing the same at this moment
    if (
        earlier is None
        and out.exists()
        and not (out.is_dir() and all(each.name.startswith(unfinished) for each in out.iterdir()))
    ):
        raise SettingsError(f"{out} exists and is no run with folds; choose another --out")
    with new_folder(out):
        write_json(path, request)


def _predicted(folder: Path, cases: Sequence[Case], device: str) -> LandmarkTable:
    """The predictions of `cases` by the fold in `folder`, kept there as a table."""
    path = folder / OUT_OF_FOLD
    if not path.exists():
        model = load_model(folder, device=device)
        found = {case.id: model.predict(case.read_image(), source=str(case.image_path)) for case in cases}
        write_table(prediction_table(found), path)
    return read_table(path)


def _put_together(
    out: Path, dataset: Dataset, parts: Sequence[Mapping[str, Sequence[Case]]], tables: Sequence[LandmarkTable]
) -> None:
    """Write the table of all cases, and the ensemble with what these teach."""
    cases = [case for part in parts for case in part["left out"]]
    table = join_tables(tables)
    block = (len(cases), len(dataset.names))
    write_table(table, out / OUT_OF_FOLD)
    points, presence = table.coordinates.reshape(*block, dataset.ndim), table.presence.reshape(block)
    references = [case.reference.select(dataset.names) for case in cases]
    states = np.stack([reference.states for reference in references])
    bounds = ErrorBounds.fitted(
        radial(points, np.stack([reference.points for reference in references])),
        table.spread.reshape(block),
        subjects=[case.subject for case in cases],
        names=dataset.names,
        unit=dataset.unit,
        source=BY_FOLDS,
    )
    corrected = None
    if (states == State.ABSENT).any():
        corrected = PresenceModel.taught(presence[..., None], states, BY_FOLDS)
    bounds.save(out)
    Ensemble(tuple(fold_folder(out, number) for number in range(len(parts))), "folds", corrected).save(out)

"""Calibration: a trained model's error bounds from cases that its networks did not learn from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from anatomark.card import change_presence
from anatomark.combined import Answer
from anatomark.core.grid import Floats
from anatomark.core.landmarks import State
from anatomark.data.description import Dataset, load_dataset
from anatomark.data.missing_codes import require_no_codes
from anatomark.errors import ModelError
from anatomark.loading import load
from anatomark.methods.error_bound import ErrorBounds
from anatomark.methods.interface import Located, masses_of
from anatomark.methods.presence import ENOUGH_ABSENT, PresenceModel
from anatomark.model import Model
from anatomark.ready_made import is_ready_made, run_folder
from anatomark.training.calibration_cases import BY_VALIDATION, calibration_cases, seen
from anatomark.training.own_predictions import learned_again, radial

if TYPE_CHECKING:
    from anatomark.data.description import Case


@dataclass(frozen=True, eq=False)
class Found:
    """What a model found in M annotated cases of `subjects`, and what is known of them.

    points and references (M, N, d) world, NaN where the reference has none; spread and presence (M, N); states (M, N)
    of the references; `located` are the answers of all stages, which only a model of one member has. `unsuitable` are
    the reasons why images are, None for suitable ones.
    """

    points: Floats
    spread: Floats
    presence: Floats
    located: Sequence[Sequence[Located]] | None
    references: Floats
    states: NDArray[np.uint8]
    subjects: tuple[str, ...]
    unsuitable: tuple[str | None, ...]


def calibrate(
    run: str | Path,
    dataset: Dataset | str | Path,
    *,
    split: str | None = None,
    reviews: str | Path | None = None,
    root: str | Path | None = None,
    device: str = "auto",
    progress: Callable[[int, int, str], None] = lambda done, total, name: None,
) -> ErrorBounds:
    """Predict annotated cases, calibrate the error bounds of the model in `run` by them, and save these with it.

    By default the cases are the run's validation cases, or all cases of a data set of another name that has no splits.
    A finished run with folds is calibrated by its out-of-fold cases already; here it takes other cases. Where
    ENOUGH_ABSENT landmarks or more are absent in other cases, the presence of a model without folds is learned from
    them, too. By the validation cases, what is usual in suitable images is learned anew as well.

    The points that the model finds stay as they are: whoever has used it would not expect them to move. `adapt` learns
    how a place puts its points, and writes a model of its own. The bounds are those of split-conformal prediction
    (doi:10.1080/01621459.2017.1307116).

    Args:
        run: a run folder.
        dataset: annotated cases, or their dataset.yaml.
        split: the cases of this split, say of one's own clinic.
        reviews: a folder that `anatomark review` wrote; its accepted cases are taken.
        root: folder that the data lie under, where the description does not say.
        device: "auto", "cpu" or "cuda".
        progress: called with the number of cases done, that of all, and the next one's name.

    Returns:
        The error bounds, as they are saved.

    Raises:
        ModelError: the folder is no finished run, or its points were adapted.
        SettingsError: there is no case to calibrate by, or the networks have learned from some of them.
        UnknownNameError: the data set has no such split, case or landmark.

    Examples:
        >>> bounds = anatomark.calibrate("runs/first", "our_clinic/dataset.yaml", split="calibration")
    """
    folder = run_folder(run)
    if is_ready_made(folder):
        raise ModelError(f"{run} is ready-made and stays as it is; give --out FOLDER for a calibrated copy of it")
    model = load(folder, device=device)
    if model.offsets is not None:
        raise ModelError(
            f"{run} was adapted to {model.offsets.source}, and bounds by the same cases would be too small; give --out "
            "FOLDER, for a copy in which offsets and bounds are learned anew"
        )
    if isinstance(dataset, (str, Path)):
        dataset = load_dataset(dataset, root)
    require_no_codes(dataset)
    cases, source = calibration_cases(folder, model, dataset, split, reviews)
    found = found_in(model, cases, progress)
    if found.located is not None and source == BY_VALIDATION and (record := seen(folder)) is not None:
        taught = [dataset.case(id) for id in record["train"]]
        learned = learned_again(model, taught, cases, found.located, found.references)
        learned.save(folder)
        return learned.bounds
    bounds = bounds_by(found, model, source)
    bounds.save(folder)
    learn_presence(folder, found, source)
    return bounds


def found_in(model: Model, cases: Sequence[Case], progress: Callable[[int, int, str], None]) -> Found:
    """What `model` finds in `cases`, one at least."""
    answers: list[Answer] = []
    located: list[list[Located]] = []
    for done, case in enumerate(cases):
        progress(done, len(cases), case.id)
        answer, stages = model.found(case.read_image(), source=str(case.image_path))
        answers.append(answer)
        if stages is not None:
            located.append(stages)
    progress(len(cases), len(cases), "")
    references = [case.reference.select(model.names) for case in cases]
    return Found(
        np.stack([answer.points for answer in answers]),
        np.stack([answer.spread for answer in answers]),
        np.stack([answer.presence for answer in answers]),
        located or None,
        np.stack([reference.points for reference in references]),
        np.stack([reference.states for reference in references]),
        tuple(case.subject for case in cases),
        tuple(answer.judgement.reason for answer in answers),
    )


def bounds_by(found: Found, model: Model, source: str) -> ErrorBounds:
    """The error bounds that `model` has by what it `found`, in the cases that `source` names."""
    return ErrorBounds.fitted(
        radial(found.points, found.references),
        found.spread,
        subjects=found.subjects,
        names=model.names,
        unit=model.unit,
        source=source,
    )


def learn_presence(folder: Path, found: Found, source: str) -> None:
    """Learn the presence of the model in `folder` anew, if it has one member and ENOUGH_ABSENT landmarks are absent."""
    if found.located is None or (found.states == State.ABSENT).sum() < ENOUGH_ABSENT:
        return
    masses = np.stack([masses_of(stages) for stages in found.located])
    change_presence(folder, PresenceModel.taught(masses, found.states, source))

"""Calibration: a trained model's error bounds from cases that its networks did not learn from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from anatomark.card import change_in_view, change_presence
from anatomark.core.grid import Floats, Unit
from anatomark.core.landmarks import State
from anatomark.data.cache import Cache, prepared_case
from anatomark.data.description import Dataset, load_dataset
from anatomark.data.missing_codes import require_no_codes
from anatomark.errors import ModelError
from anatomark.loading import load
from anatomark.methods.error_bound import ErrorBounds
from anatomark.methods.in_view import InView
from anatomark.methods.interface import AnyDetector
from anatomark.methods.presence import ENOUGH_ABSENT, PresenceModel
from anatomark.methods.suitability import Suitability
from anatomark.model import Model
from anatomark.ready_made import is_ready_made, run_folder
from anatomark.training.calibration_cases import BY_VALIDATION, calibration_cases, seen
from anatomark.training.cut_copies import learn_in_view
from anatomark.training.own_world import own_answer, own_world

if TYPE_CHECKING:
    import torch

    from anatomark.data.description import Case

NO_VALIDATION = "no validation case was kept from training; calibrate with anatomark calibrate RUN DATASET --split NAME"


@dataclass(frozen=True, eq=False)
class Found:
    """What a model found in M annotated cases of `subjects`, and what is known of them.

    points and references (M, N, d) world, NaN where the reference has none; spread and presence (M, N); states (M, N)
    of the references; masses (M, N, stages), which only a model of one member has.
    """

    points: Floats
    spread: Floats
    presence: Floats
    masses: Floats | None
    references: Floats
    states: NDArray[np.uint8]
    subjects: tuple[str, ...]


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

    The cases are those of `split`, say of one's own clinic; or the accepted ones of `reviews`, a folder that `anatomark
    review` wrote; without both, the run's validation cases, or all cases of a data set of another name that has no
    splits. A finished run with folds is calibrated by its out-of-fold cases already; here it takes other cases. Where
    ENOUGH_ABSENT landmarks or more are absent in other cases, the presence of a model without folds is learned from
    them, too. By the validation cases, what is usual in suitable images is learned anew as well.

    The points that the model finds stay as they are: whoever has used it would not expect them to move. `adapt` learns
    how a place puts its points, and writes a model of its own.

    Raises ModelError for a folder that is no finished run, or whose points were adapted, SettingsError where there is
    no case to calibrate by or the networks have learned from some of them, UnknownNameError for a split, case or
    landmark that the data set has not.
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
    bounds = ErrorBounds.fitted(
        radial(found.points, found.references),
        found.spread,
        subjects=found.subjects,
        names=model.names,
        unit=model.unit,
        source=source,
    )
    bounds.save(folder)
    if source == BY_VALIDATION and (record := seen(folder)) is not None:
        suitability, in_view = learn_usual(model, [dataset.case(id) for id in record["train"]], cases, found)
        change_in_view(folder, in_view)
        suitability.save(folder)
    elif found.masses is not None:
        learn_presence(folder, found, source)
    return bounds


def found_in(model: Model, cases: Sequence[Case], progress: Callable[[int, int, str], None]) -> Found:
    """What `model` finds in `cases`, one at least."""
    points: list[Floats] = []
    spread: list[Floats] = []
    presence: list[Floats] = []
    masses: list[Floats] = []
    alone = model.members[0] if len(model.members) == 1 else None
    for done, case in enumerate(cases):
        progress(done, len(cases), case.id)
        image = case.read_image()
        if alone is None:
            prediction = model.predict(image, source=str(case.image_path))
            points.append(prediction.landmarks.points)
            spread.append(prediction.spread)
            presence.append(prediction.presence)
        else:
            located = model.locate(image, source=str(case.image_path))
            points.append(located[-1].points_world)
            spread.append(located[-1].spread)
            masses.append(np.stack([stage.mass for stage in located], axis=-1))
            presence.append(alone.presence_in(image.grid, points[-1], masses[-1])[0])
    progress(len(cases), len(cases), "")
    references = [case.reference.select(model.names) for case in cases]
    return Found(
        np.stack(points),
        np.stack(spread),
        np.stack(presence),
        np.stack(masses) if masses else None,
        np.stack([reference.points for reference in references]),
        np.stack([reference.states for reference in references]),
        tuple(case.subject for case in cases),
    )


def learn_usual(
    model: Model, taught: Sequence[Case], cases: Sequence[Case], found: Found
) -> tuple[Suitability, InView | None]:
    """What is usual in suitable images, and what tells landmarks outside of an image, for a model of one member.

    From the cases that its network was `taught` by, and what it `found` in its validation `cases`.
    """
    import torch

    shapes = np.stack([case.reference.select(model.names).points for case in taught])
    suitability = Suitability.learned(shapes, found.points, found.references, found.masses)
    if found.masses is None:
        return suitability, None
    (member,) = model.members
    network = member.detector.network
    prepared = (
        prepared_case(
            case,
            member.place(case.read_image()),
            role="validation",
            names=model.names,
            spacing=network.spacing,
            pool=network.pool,
        )
        for case in cases
    )
    device = torch.device(model.device)
    return suitability, learn_in_view(member.detector, suitability, prepared, found.points, found.masses, device)


def learn_presence(folder: Path, found: Found, source: str) -> None:
    """Learn the presence of the model in `folder` anew, where ENOUGH_ABSENT landmarks or more are absent."""
    if found.masses is None or (found.states == State.ABSENT).sum() < ENOUGH_ABSENT:
        return
    known = found.states != State.NOT_ANNOTATED
    presence = PresenceModel.fitted(found.masses[known], found.states[known] == State.PRESENT)
    change_presence(folder, replace(presence, learned_from=source))


@dataclass(frozen=True, eq=False)
class Learned:
    """What the end of a training teaches of its own predictions."""

    bounds: ErrorBounds
    suitability: Suitability
    in_view: InView | None = None


def learn_from_cache(
    detector: AnyDetector, cache: Cache, device: torch.device, *, names: Sequence[str], unit: Unit
) -> Learned:
    """What the cases in its `cache` teach of a detector whose training has just ended."""
    cases = [case for case in cache.validation if np.isfinite(case.points_world).any()]
    shape = (0, len(names), cache.cases[0].points_world.shape[1])
    training = np.stack([*np.empty(shape), *(own_world(case, case.points_world) for case in cache.training)])
    if not cases:
        return Learned(
            ErrorBounds.withheld(names, NO_VALIDATION), Suitability.learned(training, *np.empty((2, *shape)))
        )
    answers = [own_answer(case, detector, device) for case in cases]
    found, spread, masses = map(np.stack, zip(*answers, strict=True))
    references = np.stack([own_world(case, case.points_world) for case in cases])
    bounds = ErrorBounds.fitted(
        radial(found, references),
        spread,
        subjects=[case.subject for case in cases],
        names=names,
        unit=unit,
        source=BY_VALIDATION,
    )
    suitability = Suitability.learned(training, found, references, masses)
    return Learned(bounds, suitability, learn_in_view(detector, suitability, cases, found, masses, device))


def radial(found: Floats, reference: Floats) -> Floats:
    """(..., N) distances of points (..., N, d); NaN where the reference has none."""
    return np.sqrt(((found - reference) ** 2).sum(axis=-1))

"""Calibration: a trained model's error bounds from cases that its networks did not learn from."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from anatomark.card import change_presence
from anatomark.core.grid import Floats, Unit
from anatomark.core.landmarks import State
from anatomark.data.cache import Cache, CachedCase
from anatomark.data.description import Dataset, load_dataset
from anatomark.data.missing_codes import require_no_codes
from anatomark.errors import ModelError, SettingsError, UnknownNameError
from anatomark.loading import load
from anatomark.methods.error_bound import ErrorBounds
from anatomark.methods.interface import AnyDetector
from anatomark.methods.presence import ENOUGH_ABSENT, PresenceModel
from anatomark.methods.suitability import Suitability
from anatomark.ready_made import ABOUT, about, run_folder
from anatomark.training.run_folder import fold_folders

if TYPE_CHECKING:
    import torch

    from anatomark.data.description import Case

BY_VALIDATION = "validation cases, which have also chosen the weights"
NO_VALIDATION = "no validation case was kept from training; calibrate with anatomark calibrate RUN DATASET --split NAME"


def calibrate(
    run: str | Path,
    dataset: Dataset | str | Path,
    *,
    split: str | None = None,
    root: str | Path | None = None,
    device: str = "auto",
    progress: Callable[[int, int, str], None] = lambda done, total, name: None,
) -> ErrorBounds:
    """Predict annotated cases, calibrate the error bounds of the model in `run` by them, and save these with it.

    The cases are those of `split`, say of one's own clinic; without, the run's validation cases. A finished run with
    folds is calibrated by its out-of-fold cases already; here it takes a `split`. Where ENOUGH_ABSENT landmarks or more
    are absent in a `split`, the presence of a model without folds is learned from it, too. Without a `split`, what is
    usual in suitable images is learned anew from the run's own cases.

    Raises ModelError for a folder that is no finished run, SettingsError where there is no case to calibrate by or the
    networks have learned from some of them, UnknownNameError for a split, case or landmark that the data set has not.
    """
    folder = run_folder(run)
    if about(folder) is not None:
        raise ModelError(f"{run} is ready-made and stays as it is; copy {folder}, take out {ABOUT}, calibrate the copy")
    model = load(folder, device=device)
    if isinstance(dataset, (str, Path)):
        dataset = load_dataset(dataset, root)
    require_no_codes(dataset)
    strange = sorted(set(model.names) - set(dataset.names))
    if strange:
        raise UnknownNameError(f"{dataset.name} has no landmark {strange[0]!r}, which the model in {folder} finds")
    if split is None:
        cases, source = [dataset.case(id) for id in _validation(folder)], BY_VALIDATION
    else:
        cases, source = list(dataset.split(split)), f"cases of the split {split} of {dataset.name}"
        _require_unseen(folder, dataset, cases, model.dataset)
    cases = [case for case in cases if case.reference.select(model.names).present.any()]
    if not cases:
        raise SettingsError(f"{folder}: no annotated case to calibrate by; name a split of {dataset.name} with --split")
    points: list[Floats] = []
    spread: list[Floats] = []
    masses: list[Floats] = []
    for done, case in enumerate(cases):
        progress(done, len(cases), case.id)
        image = case.read_image()
        if len(model.members) > 1:
            prediction = model.predict(image, source=str(case.image_path))
            points.append(prediction.landmarks.points)
            spread.append(prediction.spread)
        else:
            located = model.locate(image, source=str(case.image_path))
            points.append(located[-1].points_world)
            spread.append(located[-1].spread)
            masses.append(np.stack([stage.mass for stage in located], axis=-1))
    progress(len(cases), len(cases), "")
    references = np.stack([case.reference.select(model.names).points for case in cases])
    bounds = ErrorBounds.fitted(
        radial(np.stack(points), references),
        np.stack(spread),
        subjects=[case.subject for case in cases],
        names=model.names,
        unit=model.unit,
        source=source,
    )
    bounds.save(folder)
    if split is None:
        taught = [dataset.case(id).reference.select(model.names).points for id in _request(folder)["train"]]
        mass = np.stack(masses) if masses else None
        Suitability.learned(np.stack(taught), np.stack(points), references, mass).save(folder)
    states = np.stack([case.reference.select(model.names).states for case in cases])
    if split is not None and masses and (states == State.ABSENT).sum() >= ENOUGH_ABSENT:
        known = states != State.NOT_ANNOTATED
        presence = PresenceModel.fitted(np.stack(masses)[known], states[known] == State.PRESENT)
        change_presence(folder, replace(presence, learned_from=source))
    return bounds


@dataclass(frozen=True, eq=False)
class Learned:
    """What the end of a training teaches of its own predictions."""

    bounds: ErrorBounds
    suitability: Suitability


def learn_from_cache(
    detector: AnyDetector, cache: Cache, device: torch.device, *, names: Sequence[str], unit: Unit
) -> Learned:
    """Error bounds and suitability of a detector whose training has just ended, from the cases in its `cache`."""
    cases = [case for case in cache.role("validation") if np.isfinite(case.points_world).any()]
    shape = (0, len(names), cache.cases[0].points_world.shape[1])
    training = np.stack([*np.empty(shape), *(own_world(case, case.points_world) for case in cache.role("train"))])
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
    return Learned(bounds, Suitability.learned(training, found, references, masses))


def radial(found: Floats, reference: Floats) -> Floats:
    """(..., N) distances of points (..., N, d); NaN where the reference has none."""
    return np.sqrt(((found - reference) ** 2).sum(axis=-1))


def own_world(case: CachedCase, points_world: Floats) -> Floats:
    """Points (N, d) of a cached case in the world of its image, where the case was aligned to a template."""
    if case.matrix is None:
        return points_world
    return (points_world - case.matrix[:-1, -1]) @ np.linalg.inv(case.matrix[:-1, :-1]).T


def own_answer(case: CachedCase, detector: AnyDetector, device: torch.device) -> tuple[Floats, Floats, Floats]:
    """Points (N, d), spreads (N,) and masses (N, stages) of a cached case, in the world of its image.

    They are taken there as by `Placement`.
    """
    stages = detector.locate(case.image, device)
    points, spread = stages[-1].points_world, stages[-1].spread
    volume = 1.0 if case.matrix is None else abs(np.linalg.det(case.matrix[:-1, :-1]))
    mass = np.stack([stage.mass for stage in stages], axis=-1)
    return own_world(case, points), spread / volume ** (1 / points.shape[1]), mass


def _validation(folder: Path) -> list[str]:
    """The validation cases of a run; SettingsError for one with folds, where each has its own."""
    if fold_folders(folder):
        raise SettingsError(f"{folder} has been calibrated by its out-of-fold cases; to do it by others name a --split")
    return _request(folder)["validation"]


def _require_unseen(folder: Path, dataset: Dataset, cases: Sequence[Case], taught_by: str) -> None:
    """SettingsError where the networks have learned from subjects of `cases`."""
    if dataset.name != taught_by:
        return
    learned = {id for part in fold_folders(folder) or [folder] for id in _request(part)["train"]}
    subjects = {case.subject for case in dataset.cases if case.id in learned}
    shared = [case.id for case in cases if case.subject in subjects]
    if shared:
        raise SettingsError(
            f"the networks in {folder} have learned from the subjects of {len(shared)} of these cases, such as "
            f"{shared[0]!r}; bounds by them would be too small: name a split that was not trained on"
        )


def _request(folder: Path) -> dict[str, list[str]]:
    path = folder / "request.json"
    try:
        request = json.loads(path.read_text(encoding="utf-8"))
        return {key: [str(id) for id in request[key]] for key in ("train", "validation")}
    except (OSError, ValueError, KeyError, TypeError):
        told = "so that nobody knows which cases the model has seen; copy the whole run folder"
        raise ModelError(f"{path} is missing or damaged, {told}") from None

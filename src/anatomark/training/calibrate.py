"""Calibration: a trained model's error bounds from cases that its networks did not learn from."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from anatomark.core.grid import Floats, Unit
from anatomark.core.landmarks import State
from anatomark.errors import ModelError, SettingsError, UnknownNameError
from anatomark.methods.error_bound import ErrorBounds
from anatomark.methods.presence import ENOUGH_ABSENT, PresenceModel
from anatomark.training.run_folder import fold_folders

if TYPE_CHECKING:
    import torch

    from anatomark.data.cache import Cache, CachedCase
    from anatomark.data.description import Case, Dataset
    from anatomark.methods.interface import Method

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
    are absent in a `split`, the presence of a model without folds is learned from it, too.

    Raises ModelError for a folder that is no finished run, SettingsError where there is no case to calibrate by or the
    networks have learned from some of them, UnknownNameError for a split, case or landmark that the data set has not.
    """
    from anatomark.card import change_presence
    from anatomark.data.description import load_dataset
    from anatomark.ensemble import Ensemble
    from anatomark.model import load
    from anatomark.ready_made import ABOUT, about, run_folder

    folder = run_folder(run)
    if about(folder) is not None:
        raise ModelError(f"{run} is ready-made and stays as it is; copy {folder}, take out {ABOUT}, calibrate the copy")
    model = load(folder, device=device)
    if isinstance(dataset, (str, Path)):
        dataset = load_dataset(dataset, root)
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
    errors, spread, masses = [], [], []
    for done, case in enumerate(cases):
        progress(done, len(cases), case.id)
        image, reference = case.read_image(), case.reference.select(model.names)
        if isinstance(model, Ensemble):
            prediction = model.predict(image, source=str(case.image_path))
            errors.append(radial(prediction.landmarks.points, reference.points))
            spread.append(prediction.spread)
        else:
            located = model.locate(image, source=str(case.image_path))
            errors.append(radial(located[-1].points_world, reference.points))
            spread.append(located[-1].spread)
            masses.append(np.stack([stage.mass for stage in located], axis=-1))
    progress(len(cases), len(cases), "")
    bounds = ErrorBounds.fitted(
        np.stack(errors),
        np.stack(spread),
        subjects=[case.subject for case in cases],
        names=model.names,
        unit=model.unit,
        source=source,
    )
    bounds.save(folder)
    states = np.stack([case.reference.select(model.names).states for case in cases])
    if split is not None and masses and (states == State.ABSENT).sum() >= ENOUGH_ABSENT:
        known = states != State.NOT_ANNOTATED
        presence = PresenceModel.fitted(np.stack(masses)[known], states[known] == State.PRESENT)
        change_presence(folder, replace(presence, learned_from=source))
    return bounds


def bounds_from_cache(
    method: Method, cache: Cache, device: torch.device, *, names: Sequence[str], unit: Unit
) -> ErrorBounds:
    """The error bounds of a method whose training has just ended, from the validation cases in its `cache`."""
    cases = [case for case in cache.role("validation") if np.isfinite(case.points_world).any()]
    if not cases:
        return ErrorBounds.withheld(names, NO_VALIDATION)
    errors, spread = zip(*(_own_lengths(case, method, device) for case in cases), strict=True)
    return ErrorBounds.fitted(
        np.stack(errors),
        np.stack(spread),
        subjects=[case.subject for case in cases],
        names=names,
        unit=unit,
        source=BY_VALIDATION,
    )


def radial(found: Floats, reference: Floats) -> Floats:
    """(..., N) distances of points (..., N, d); NaN where the reference has none."""
    return np.sqrt(((found - reference) ** 2).sum(axis=-1))


def _own_lengths(case: CachedCase, method: Method, device: torch.device) -> tuple[Floats, Floats]:
    """Radial errors and spreads (N,) of a case in the world of its image, as `Placement` takes them there."""
    located = method.locate(case.image, device)[-1]
    if case.matrix is None:
        return radial(located.points_world, case.points_world), located.spread
    linear = np.linalg.inv(case.matrix[:-1, :-1])
    errors = np.linalg.norm((located.points_world - case.points_world) @ linear.T, axis=-1)
    return errors, located.spread * abs(np.linalg.det(linear)) ** (1 / len(linear))


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

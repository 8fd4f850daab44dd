"""The cases that a model is calibrated by: annotated, or accepted in a review, and not learned from by its networks."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from anatomark.data.description import Dataset
from anatomark.data.reviews import accepted_cases, is_review, open_reviews
from anatomark.errors import ModelError, SettingsError, UnknownNameError
from anatomark.exports.description import graph_files
from anatomark.model import Model
from anatomark.training.run_folder import FOLDS, fold_folders

if TYPE_CHECKING:
    from anatomark.data.description import Case

BY_VALIDATION = "validation cases, which have also chosen the weights"


def calibration_cases(
    folder: Path, model: Model, dataset: Dataset, split: str | None, reviews: str | Path | None
) -> tuple[list[Case], str]:
    """The cases to calibrate the model in `folder` by, and what they are in words.

    Those of `split`; of `reviews`, a folder that `anatomark review` wrote, the accepted ones; without both, the run's
    validation cases, and all cases of a data set of another name that has no splits. Raises as `calibrate`.
    """
    if graph_files(folder) is not None:
        todo = "calibrate the run folder that it was exported from, and export that again"
        raise ModelError(f"{folder} is an exported model, which stays as it is; {todo}")
    strange = sorted(set(model.names) - set(dataset.names))
    if strange:
        raise UnknownNameError(f"{dataset.name} has no landmark {strange[0]!r}, which the model in {folder} finds")
    if reviews is None and split is None and dataset.name == model.dataset:
        cases, source = [dataset.case(id) for id in _validation(folder)], BY_VALIDATION
    else:
        cases, source = _cases_of(dataset, split, reviews)
        _require_unseen(folder, dataset, cases, model.dataset)
    cases = [case for case in cases if case.reference.select(model.names).present.any()]
    if not cases:
        raise SettingsError(f"{folder}: no annotated case to calibrate by; name a split of {dataset.name} with --split")
    return cases, source


def _cases_of(dataset: Dataset, split: str | None, reviews: str | Path | None) -> tuple[list[Case], str]:
    if reviews is not None:
        accepted = accepted_cases(Path(reviews))
        dataset = _reviewed(dataset, Path(reviews))
        cases = dataset.cases if split is None else dataset.split(split)
        chosen = [case for case in cases if case.id in accepted]
        if not chosen:
            raise SettingsError(f"{reviews}: none of the {len(accepted)} accepted cases is in {split or dataset.name}")
        return chosen, f"accepted cases of the review of {dataset.name}"
    if split is not None:
        return list(dataset.split(split)), f"cases of the split {split} of {dataset.name}"
    if dataset.splits:
        raise SettingsError(f"{dataset.name} has the splits {', '.join(dataset.splits)}; name one with --split")
    return list(dataset.cases), f"cases of {dataset.name}"


def _reviewed(dataset: Dataset, folder: Path) -> Dataset:
    """The data set with the reviews in `folder` in place of those that its description finds."""
    paths = [path for path in sorted(folder.glob("*.csv")) if is_review(path)]
    sources, _ = open_reviews(paths, dataset.cases, dataset.names, dataset.ndim, strict=True)
    annotations = [replace(case.annotation, reviews=sources) for case in dataset.cases]
    cases = (replace(case, annotation=own) for case, own in zip(dataset.cases, annotations, strict=True))
    return replace(dataset, cases=tuple(cases))


def seen(folder: Path) -> dict[str, list[str]] | None:
    """{"train", "validation"}: the cases that a run has learned from; None for a copied ready-made model, which has no
    record of them. ModelError where the record is damaged."""
    path = folder / "request.json"
    if not path.exists() and not (folder / FOLDS).exists():
        return None
    try:
        request = json.loads(path.read_text(encoding="utf-8"))
        return {key: [str(id) for id in request[key]] for key in ("train", "validation")}
    except (OSError, ValueError, KeyError, TypeError):
        told = "so that nobody knows which cases the model has seen; copy the whole run folder"
        raise ModelError(f"{path} is missing or damaged, {told}") from None


def _validation(folder: Path) -> list[str]:
    """The validation cases of a run; SettingsError for one with folds, where each has its own."""
    if fold_folders(folder):
        raise SettingsError(f"{folder} has been calibrated by its out-of-fold cases; to do it by others name a --split")
    record = seen(folder)
    if record is None:
        raise ModelError(
            f"{folder} has no request.json, so that nobody knows which cases the model has seen; name a --split that "
            "it was not trained on, or give a data set of another name"
        )
    return record["validation"]


def _require_unseen(folder: Path, dataset: Dataset, cases: Sequence[Case], taught_by: str) -> None:
    """SettingsError where the networks are known to have learned from subjects of `cases`."""
    if dataset.name != taught_by:
        return
    records = [seen(part) for part in fold_folders(folder) or [folder]]
    learned = {id for record in records if record is not None for id in record["train"]}
    subjects = {case.subject for case in dataset.cases if case.id in learned}
    shared = [case.id for case in cases if case.subject in subjects]
    if shared:
        raise SettingsError(
            f"the networks in {folder} have learned from the subjects of {len(shared)} of these cases, such as "
            f"{shared[0]!r}; bounds by them would be too small: name a split that was not trained on"
        )

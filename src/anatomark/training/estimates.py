"""`estimates`: what a training of several methods will take, for each of them and together."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from anatomark.data.description import Dataset, load_dataset
from anatomark.errors import MissingExtraError, SettingsError
from anatomark.training.auto import AUTO, SHARE, candidates
from anatomark.training.both import BOTH, requests_of_both
from anatomark.training.estimate import Estimate, estimate, estimate_cases, minutes_text
from anatomark.training.roles import training_roles
from anatomark.training.train import require_method


def estimates_text(
    dataset: Dataset | str | Path,
    *,
    method: str,
    preset: str | None = None,
    settings: Mapping[str, Any] | None = None,
    device: str = "auto",
    root: str | Path | None = None,
    train_split: str = "train",
    validation_split: str | None = None,
    folds: int | None = None,
    show: Callable[[str], None] | None = None,
) -> str:
    """What `train` with the same arguments will take, for a person to read: of "auto" and "both", a part a method.

    Raises as `estimate`; of "auto", methods that cannot be trained are named in the text.
    """
    require_method(method, folds)
    if isinstance(dataset, (str, Path)):
        dataset = load_dataset(dataset, root)
    if method not in (AUTO, BOTH):
        return estimate(
            dataset,
            method=method,
            preset=preset,
            settings=settings,
            device=device,
            train_split=train_split,
            validation_split=validation_split,
            folds=folds,
            show=show,
        ).text()
    left_out: dict[str, str] = {}
    if method == BOTH:
        requests = requests_of_both(dataset.ndim, preset=preset, settings=settings, device=device)
    else:
        requests, left_out = candidates(dataset.ndim, preset=preset, settings=settings, device=device)
    asked = requests[0].settings
    roles = training_roles(dataset, train_split, validation_split, asked.validation_fraction, asked.seed)
    found: list[Estimate] = []
    for request in requests:
        try:
            found.append(estimate_cases(dataset, roles, request, show=show))
        except (SettingsError, MissingExtraError) as error:
            if method == BOTH:
                raise
            left_out[request.method.name] = str(error)
    if not found:
        raise SettingsError(next(iter(left_out.values())))
    parts = [each.text() for each in found]
    parts += [f"{name} is not tried: {why}" for name, why in left_out.items()]
    return "\n\n".join([*parts, _together(method, found)])


def _together(method: str, found: list[Estimate]) -> str:
    """What the trainings of several methods come to."""
    if method == BOTH:
        seconds, prediction = sum(each.seconds for each in found), sum(each.prediction_seconds for each in found)
        return f"{BOTH}: {minutes_text(seconds)} all together, at most; a prediction takes {prediction:.2g} s"
    if len(found) == 1:
        return f"{AUTO}: only {found[0].method} can be trained"
    trials = minutes_text(SHARE * min(each.seconds for each in found))
    return f"{AUTO}: {trials} for short trials, then one of these; with --minutes, {SHARE:.0%} of them for the trials"

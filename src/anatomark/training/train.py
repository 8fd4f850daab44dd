"""`train`: from a data set to a run folder with a model, which may have several members."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from anatomark.data.description import Dataset, load_dataset
from anatomark.data.missing_codes import require_no_codes
from anatomark.data.reviews import describe_reviews
from anatomark.errors import SettingsError
from anatomark.training.both import BOTH, requests_of_both, train_both
from anatomark.training.folds import train_folds
from anatomark.training.request import Request
from anatomark.training.roles import training_roles
from anatomark.training.run import train_cases


def train(
    dataset: Dataset | str | Path,
    *,
    out: str | Path,
    method: str = "global-to-local",
    preset: str | None = None,
    settings: Mapping[str, Any] | None = None,
    device: str = "auto",
    root: str | Path | None = None,
    train_split: str = "train",
    validation_split: str | None = None,
    folds: int | None = None,
    show: Callable[[str], None] | None = None,
    began: float | None = None,
) -> Path:
    """Train `method` on the cases of `train_split` and write the run folder `out`; returns its path.

    Validation cases come from `validation_split`, else from a split called validation or val, else a part of the
    training subjects is set aside (setting `validation_fraction`). A data set without splits trains on all its cases.
    `settings` override the preset's; what neither sets is planned from the data. The same call on the folder of a
    stopped run resumes from its last checkpoint; on that of a finished run it changes nothing.
    `show` gets a line at a time of what happens; with it a progress bar is drawn. With `folds`, as many networks are
    trained, each without its part of the subjects, and predictions are their average (see `training.folds`). With the
    method "both", two methods are the members of one model in the same way (see `training.both`). A time budget
    (setting `minutes`) counts from `began` on, a time of time.monotonic(); by default from now on.

    Raises SettingsError for settings or a folder that do not fit, UnknownNameError for a split or method there is not.
    """
    began = time.monotonic() if began is None else began
    if isinstance(dataset, (str, Path)):
        dataset = load_dataset(dataset, root)
    require_no_codes(dataset)
    if show is not None:
        for line in describe_reviews(dataset.cases):
            show(line)
    if method == BOTH:
        if folds is not None:
            raise SettingsError(f"{folds} folds of {BOTH} methods would be members of two kinds; leave out one of them")
        requests = requests_of_both(dataset.ndim, preset=preset, settings=settings, device=device)
        asked = requests[0].settings
        roles = training_roles(dataset, train_split, validation_split, asked.validation_fraction, asked.seed)
        return train_both(dataset, roles, requests, settings or {}, out=Path(out), show=show, began=began)
    request = Request.resolved(method, dataset.ndim, preset=preset, settings=settings, device=device)
    if folds is not None:
        return train_folds(
            dataset,
            folds,
            request,
            out=Path(out),
            train_split=train_split,
            validation_split=validation_split,
            show=show,
            began=began,
        )
    asked = request.settings
    roles = training_roles(dataset, train_split, validation_split, asked.validation_fraction, asked.seed)
    return train_cases(dataset, roles, request, out=Path(out), show=show, began=began)

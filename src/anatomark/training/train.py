"""`train`: from a data set to a run folder with a model, which may have several members."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from anatomark.data.description import Dataset, load_dataset
from anatomark.data.missing_codes import require_no_codes
from anatomark.data.reviews import describe_reviews
from anatomark.errors import SettingsError, UnknownNameError
from anatomark.formats.json_text import parsed
from anatomark.methods import METHODS, detector_class
from anatomark.nets.devices import choose_device
from anatomark.training.auto import AUTO, CANDIDATES, train_auto
from anatomark.training.both import BOTH, requests_of_both, train_both
from anatomark.training.folds import train_folds
from anatomark.training.processes import Processes, device_counts, launch
from anatomark.training.request import Request
from anatomark.training.roles import training_roles
from anatomark.training.run import train_cases
from anatomark.training.run_folder import FOLDS
from anatomark.training.workers import leading, work


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
    fold: int | None = None,
    show: Callable[[str], None] | None = None,
    began: float | None = None,
    devices: int | str | None = None,
    nodes: int | None = None,
) -> Path:
    """Train `method` on the cases of `train_split` and write the run folder `out`; returns its path.

    Validation cases come from `validation_split`, else from a split called validation or val, else a part of the
    training subjects is set aside (setting `validation_fraction`). A data set without splits trains on all its cases.
    `settings` override the preset's; what neither sets is planned from the data. The same call on the folder of a
    stopped run resumes from its last checkpoint; on that of a finished run it changes nothing.
    `show` gets a line at a time of what happens; with it a progress bar is drawn. With `folds`, as many networks are
    trained, each without its part of the subjects, and predictions are their average (see `training.folds`); with
    `fold` only that one of them, counted from 1. With the method "both", two methods are the members of one model in
    the same way (see `training.both`); with "auto", several are tried for a short time and the best one goes on (see
    `training.auto`). That is the default of the command line and not here, where a program is to train what it did with
    an earlier version. A time budget (setting `minutes`) counts from `began` on, a time of time.monotonic(); by default
    from now on.

    With `devices`, a number or "auto" for all GPUs, of each of `nodes` machines, as many processes share each step: it
    comes to the same. This program then runs in each of them, and in all but the first it ends here, when the training
    does (see docs/devices.md).

    Raises SettingsError for settings or a folder that do not fit, UnknownNameError for a split or method there is not.
    """
    began = time.monotonic() if began is None else began
    require_method(method, folds)
    if fold is not None and folds is None:
        raise SettingsError(f"--fold {fold} is one of how many? give --folds, too")
    counts = device_counts(choose_device(device), devices, nodes)
    if counts != (1, 1):
        require_steps(method)
    processes = launch(choose_device(device), *counts)
    if processes.rank:
        work(processes)
    with leading(processes):
        return _train(
            dataset,
            out=Path(out),
            method=method,
            preset=preset,
            settings=settings,
            device=device,
            root=root,
            train_split=train_split,
            validation_split=validation_split,
            folds=folds,
            fold=fold,
            show=show,
            began=began,
            processes=processes,
        )


def _train(
    dataset: Dataset | str | Path,
    *,
    out: Path,
    method: str,
    preset: str | None,
    settings: Mapping[str, Any] | None,
    device: str,
    root: str | Path | None,
    train_split: str,
    validation_split: str | None,
    folds: int | None,
    fold: int | None,
    show: Callable[[str], None] | None,
    began: float,
    processes: Processes,
) -> Path:
    """`train` in process 0, which leads the others."""
    if isinstance(dataset, (str, Path)):
        dataset = load_dataset(dataset, root)
    require_no_codes(dataset)
    if show is not None:
        for line in describe_reviews(dataset.cases):
            show(line)
    if method == AUTO:
        return train_auto(
            dataset,
            preset=preset,
            settings=settings,
            device=device,
            out=out,
            train_split=train_split,
            validation_split=validation_split,
            show=show,
            began=began,
            processes=processes,
        )
    if method == BOTH:
        requests = requests_of_both(dataset.ndim, preset=preset, settings=settings, device=device, processes=processes)
        asked = requests[0].settings
        roles = training_roles(dataset, train_split, validation_split, asked.validation_fraction, asked.seed)
        return train_both(dataset, roles, requests, settings or {}, out=out, show=show, began=began)
    request = Request.resolved(
        method, dataset.ndim, preset=preset, settings=settings, device=device, processes=processes
    )
    if folds is not None:
        return train_folds(
            dataset,
            folds,
            request,
            out=out,
            train_split=train_split,
            validation_split=validation_split,
            show=show,
            began=began,
            fold=fold,
        )
    asked = request.settings
    roles = training_roles(dataset, train_split, validation_split, asked.validation_fraction, asked.seed)
    return train_cases(dataset, roles, request, out=out, show=show, began=began)


def default_method(out: str | Path, folds: int | None) -> str:
    """The method of a command that names none: that of the run in `out`, else "auto", and with folds the preferred one.

    So the command that began a run also resumes it.
    """
    for name in ("request.json", FOLDS):
        try:
            method = parsed((Path(out) / name).read_text(encoding="utf-8"))["method"]
        except (OSError, ValueError, KeyError, TypeError):
            continue
        if isinstance(method, str):
            return method
    return AUTO if folds is None else CANDIDATES[0]


def require_method(method: str, folds: int | None) -> None:
    """Raises UnknownNameError for a method there is not, SettingsError for one that cannot be had with `folds`."""
    if folds is not None and method == BOTH:
        raise SettingsError(f"{folds} folds of {BOTH} methods would be members of two kinds; leave out one of them")
    if folds is not None and method == AUTO:
        raise SettingsError(
            f"{AUTO} chooses by cases that the folds then leave out, and their out-of-fold errors would be too small; "
            "name a --method, such as one that was chosen without --folds"
        )
    if method not in (AUTO, BOTH):
        try:
            detector_class(method)
        except UnknownNameError:
            known = ", ".join([*METHODS, AUTO, BOTH])
            raise UnknownNameError(f"no method {method!r}; there are: {known}") from None


def require_steps(method: str) -> None:
    """SettingsError for a method that takes no training steps, which several devices could share."""
    if method not in (AUTO, BOTH) and not hasattr(detector_class(method), "stages_type"):
        raise SettingsError(f"{method} takes no training steps that devices could share; leave out --devices")

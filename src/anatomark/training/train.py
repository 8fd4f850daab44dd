"""`train`: from a data set to a run folder with a model, which may have several members."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

from anatomark.data.description import Dataset, load_dataset
from anatomark.data.missing_codes import require_no_codes
from anatomark.data.reviews import describe_reviews
from anatomark.errors import AnatomarkError, SettingsError, UnknownNameError
from anatomark.formats.json_text import parsed
from anatomark.methods import detector_class, known_methods
from anatomark.nets.devices import choose_device
from anatomark.training.auto import AUTO, CANDIDATES, train_auto
from anatomark.training.both import BOTH, requests_of_both, train_both
from anatomark.training.folds import train_folds
from anatomark.training.folds_on_ray import train_each_on_ray
from anatomark.training.processes import Processes, device_counts, launch
from anatomark.training.request import Request
from anatomark.training.roles import training_roles
from anatomark.training.run import train_cases
from anatomark.training.run_folder import FOLDS, alone_in
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
    ray: str | None = None,
) -> Path:
    """Train `method` on the cases of `train_split` and write the run folder `out`; its path.

    The same call on the folder of a stopped run resumes from its last checkpoint; on that of a finished run it changes
    nothing. A data set without splits trains on all its cases.

    Args:
        dataset: a data set, or the path of its dataset.yaml.
        out: the run folder.
        method: a method by its name; "both" trains two as the members of one model (see `training.both`); "auto" tries
            several for a short time and goes on with the best (see `training.auto`). That is the default of the command
            line and not here, where a program is to train what it did with an earlier version.
        preset: a named set of settings, such as "noothout2020".
        settings: override the preset's; what neither sets is planned from the data (docs/settings.md).
        device: "auto", "cpu" or "cuda".
        root: folder that the data lie under, where the description does not say.
        train_split: the split to learn from.
        validation_split: the split that selects the weights; by default one called validation or val, else a part of
            the training subjects is set aside (setting `validation_fraction`).
        folds: as many networks are trained, each without its part of the subjects, and predictions are their average
            (see `training.folds`).
        fold: only this one of them, counted from 1.
        show: gets a line at a time of what happens; with it a progress bar is drawn.
        began: a time of time.monotonic() that a time budget (setting `minutes`) counts from; by default now.
        devices: so many of each machine share each step, or "auto" for all GPUs; it comes to the same. This program
            then runs in a process for each, and in all but the first it ends here, when the training does
            (docs/devices.md).
        nodes: how many machines there are.
        ray: the address of a Ray cluster ("auto": the running one, "local": one on this machine), on which all folds
            are trained at once; `dataset` is then a path, and it and `out` lie where every machine sees them.

    Returns:
        The path of the run folder, which `load` takes.

    Raises:
        SettingsError: settings or the folder do not fit, or another process is training there.
        UnknownNameError: there is no such split or method.

    Examples:
        >>> run = anatomark.train("my_xrays/dataset.yaml", out="runs/first", method="auto", settings={"minutes": 60})
        >>> model = anatomark.load(run)
    """
    began = time.monotonic() if began is None else began
    require_method(method, folds)
    if fold is not None and folds is None:
        raise SettingsError(f"--fold {fold} is one of how many? give --folds, too")
    if ray is not None:
        asked = {
            "method": method,
            "preset": preset,
            "settings": settings,
            "device": device,
            "root": root,
            "train_split": train_split,
            "validation_split": validation_split,
        }
        _train_folds_on_ray(
            dataset, ray, asked, out=Path(out), folds=folds, alone=fold is devices is nodes is None, show=show
        )
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


def _train_folds_on_ray(
    dataset: Dataset | str | Path,
    address: str,
    asked: dict[str, Any],
    *,
    out: Path,
    folds: int | None,
    alone: bool,
    show: Callable[[str], None] | None,
) -> None:
    """What `train` does first with `ray`: the folds, which it then finds trained.

    `alone` where neither one fold nor devices were asked for.
    """
    if folds is None or not alone:
        raise SettingsError(
            "--ray trains the folds of --folds, each on one device; leave out --fold, --devices, --nodes"
        )
    if isinstance(dataset, Dataset):
        raise SettingsError("on Ray, each fold reads the data set by itself; give the path of its dataset.yaml")
    given = {**asked, "out": out.absolute(), "folds": folds}
    train_one = partial(_fold_or_error, Path(dataset).absolute(), given)
    train_each_on_ray(train_one, folds, address=address, device=asked["device"], show=show)


def _fold_or_error(dataset: Path, asked: dict[str, Any], fold: int) -> AnatomarkError | None:
    try:
        train(dataset, fold=fold, **asked)
    except AnatomarkError as error:
        return error
    return None


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
    with nullcontext() if fold is not None else alone_in(out):  # folds are trained beside each other
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
            requests = requests_of_both(
                dataset.ndim, preset=preset, settings=settings, device=device, processes=processes
            )
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
        if method not in (known := known_methods()):
            raise UnknownNameError(f"no method {method!r}; there are: {', '.join([*known, AUTO, BOTH])}")
        detector_class(method)


def require_steps(method: str) -> None:
    """SettingsError for a method that takes no training steps, which several devices could share."""
    if method not in (AUTO, BOTH) and not hasattr(detector_class(method), "stages_type"):
        raise SettingsError(f"{method} takes no training steps that devices could share; leave out --devices")

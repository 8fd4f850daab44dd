"""Both methods as the members of one model: trained on the same cases, their points averaged, calibrated together.

Two networks that learn in different ways are wrong in different places: their mean is better than either where they are
of equal skill, and where they disagree the spread grows, and with it the error bound.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anatomark.core.landmarks import State
from anatomark.ensemble import Ensemble
from anatomark.errors import AnatomarkError, SettingsError
from anatomark.loading import load_members, load_model
from anatomark.methods.error_bound import ErrorBounds
from anatomark.methods.presence import ENOUGH_ABSENT, PresenceModel
from anatomark.methods.validation import mean_error
from anatomark.training.calibrate import Found, bounds_by, found_in
from anatomark.training.calibration_cases import BY_VALIDATION
from anatomark.training.data import TrainingData, data_of, prepare_cache
from anatomark.training.own_predictions import NO_VALIDATION, radial
from anatomark.training.processes import ALONE, Processes
from anatomark.training.request import Request, settings_of
from anatomark.training.run import plan_for, progress_bar, train_from_cache
from anatomark.training.run_folder import RunFolder

if TYPE_CHECKING:
    from anatomark.data.description import Case, Dataset

BOTH = "both"
MEMBERS = ("two-stage", "global-to-local")  # the first one takes the first look at an image: it is quicker


def requests_of_both(
    ndim: int,
    *,
    preset: str | None,
    settings: Mapping[str, Any] | None,
    device: str,
    processes: Processes = ALONE,
) -> list[Request]:
    """The request of each member: a setting goes to the methods that know it.

    Raises SettingsError for a setting that neither knows, or a preset; as `Request.resolved`.
    """
    if preset is not None:
        raise SettingsError(f"preset {preset!r} is of one method; leave it out, or name that method instead of {BOTH}")
    given = dict(settings or {})
    requests = [Request.resolved(name, ndim, preset=None, settings=None, device=device) for name in MEMBERS]
    known = [settings_of(request.method, given) for request in requests]
    strange = given.keys() - {name for each in known for name in each}
    if strange:  # the method says what it does know
        known = [each | {name: given[name] for name in strange} for each in known]
    return [
        Request.resolved(name, ndim, preset=None, settings=each, device=device, processes=processes)
        for name, each in zip(MEMBERS, known, strict=True)
    ]


def train_both(
    dataset: Dataset,
    roles: Mapping[str, Sequence[Case]],
    requests: Sequence[Request],
    given: Mapping[str, Any],
    *,
    out: Path,
    show: Callable[[str], None] | None,
    began: float,
) -> Path:
    """Train the methods of `requests` one after another into `out`/METHOD, and put them together; returns `out`.

    Both learn from the cases of `roles`; `given` are the settings as a user gave them. The same call on the folder of a
    stopped run goes on where that was. Each has an equal part of a time budget from `began` on, a time of
    time.monotonic(). What both together take for the validation cases comes out of the last one's part: as long a
    prediction as that of the first is expected of it.

    Raises SettingsError where either cannot be trained, before the first one is; as `train`.
    """
    say: Callable[[str], None] = show or (lambda line: None)
    run, existed = RunFolder(out), out.exists()
    folders = [out / request.method.name for request in requests]
    data = _shared_data(dataset, roles, requests, folders)
    resumed = run.open(replace(requests[0], given=given, asked=BOTH).record(data[0]))
    if run.finished:
        say(f"{out}: this run is finished; its model is there. To train again choose another --out")
        return out
    try:
        for request, own in zip(requests, data, strict=True):
            plan_for(request, own)
    except (AnatomarkError, OSError):
        if not resumed:
            run.discard(keep_folder=existed)
        raise
    part_seconds = 60 * (requests[0].settings.minutes or 0.0) / len(requests)
    cases = [case for case in roles["validation"] if case.reference.select(dataset.names).present.any()]
    kept = 0.0
    for number, (request, own, folder) in enumerate(zip(requests, data, folders, strict=True)):
        say(f"member {number + 1} of {len(requests)}: {request.method.name}")
        starts = None
        if part_seconds:
            kept = _seconds_together(folders[0], cases, request.device) if number else 0.0
            starts = min(began + number * part_seconds, time.monotonic()) - kept
        train_from_cache(own, request.for_one_of(len(requests)), out=folder, show=show, began=starts)
    with progress_bar(show is not None) as progress:
        bar = progress.add_task("validation cases, by both", total=len(cases), status="")
        _put_together(
            out, dataset, folders, cases, requests[0].device, say, lambda done: progress.update(bar, completed=done)
        )
    say(f"{out}: both finished in {(time.monotonic() - began) / 60:.1f} minutes")
    return out


def _shared_data(
    dataset: Dataset, roles: Mapping[str, Sequence[Case]], requests: Sequence[Request], folders: Sequence[Path]
) -> list[TrainingData]:
    """The data of each member, looked at once; each has its prepared images in its own folder."""
    data = data_of(dataset, roles, requests[0].settings, cache=RunFolder(folders[0]).cache)
    grids = data.grids()
    prepared = [partial(prepare_cache, dataset, roles, RunFolder(folder).cache) for folder in folders]
    return [replace(data, grids=lambda: grids, prepare=own) for own in prepared]


def _seconds_together(first: Path, cases: Sequence[Case], device: str) -> float:
    """Seconds that all members may take for `cases`, by what the first one takes for the first case."""
    if not cases:
        return 0.0
    model = load_model(first, device=device)
    image = cases[0].read_image()
    model.found(image)  # warms up
    began = time.monotonic()
    model.found(image)
    return len(MEMBERS) * len(cases) * (time.monotonic() - began)


def _put_together(
    out: Path,
    dataset: Dataset,
    folders: Sequence[Path],
    cases: Sequence[Case],
    device: str,
    say: Callable[[str], None],
    progress: Callable[[int], None],
) -> None:
    """Write the ensemble of the members in `folders`, with what their predictions of the validation `cases` teach."""
    presence, bounds = None, ErrorBounds.withheld(dataset.names, NO_VALIDATION)
    if cases:
        model = load_members(folders, device=device)
        found = found_in(model, cases, lambda done, total, name: progress(done))
        bounds = bounds_by(found, model, BY_VALIDATION)
        presence = _presence(found)
        count = f"{len(cases)} validation case{'s' * (len(cases) != 1)}"
        error = mean_error(radial(found.points, found.references))
        say(f"both: mean radial error {error:.2f} {dataset.unit} on {count}")
    bounds.save(out)
    Ensemble(tuple(folders), "methods", presence).save(out)


def _presence(found: Found) -> PresenceModel | None:
    """What corrects the presence of the members; None where too few landmarks are absent to learn that from."""
    if (found.states == State.ABSENT).sum() < ENOUGH_ABSENT:
        return None
    return PresenceModel.taught(found.presence[..., None], found.states, BY_VALIDATION)

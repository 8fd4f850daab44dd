"""The method chosen by the data: short trainings of several, equally long, and the best one goes on.

Each of CANDIDATES learns from the same training cases for the same time, at the resolution of its own plan, and is
scored on the same validation cases.

**How long.** The trials together take at most SHARE of what is left of the time budget when the images have been
prepared. It has to be small, because only the winner's time makes the model better; and not much smaller, because
methods that have hardly begun to learn cannot be told apart. The last fifth of a training changes its error little
beside what lies between methods on data that suits one of them. Each method has the same part of it, however many are
tried, and those of LEAST_OF, which come to a handful of steps in less, are left out where that is too short. Without a
budget they take SHARE of the time that is estimated for the quickest candidate, so that they do not outlast what any of
them would have needed alone.

**What is kept.** The record, in trial.json, and the winner's prepared images. Its weights are not: a trial is a whole
training in small, at the end of which its learning rate is zero and its later stages have been sized by the errors of
its earlier ones. To prolong it would mean to raise the rate again, from weights that were chosen for another schedule;
the winner begins anew instead.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from anatomark.core.grid import Floats
from anatomark.data.cache import Cache, CachedCase, open_cache
from anatomark.errors import AnatomarkError, MissingExtraError, ModelError, SettingsError
from anatomark.methods import detector_class
from anatomark.methods.interface import AnyPlan
from anatomark.methods.validation import errors_of, mean_error
from anatomark.nets.devices import choose_precision
from anatomark.training.budget import RESERVE
from anatomark.training.choice import Trial, Tried, choose
from anatomark.training.data import TrainingData, data_of, prepare_cache
from anatomark.training.estimate import estimate_cases
from anatomark.training.log import open_log
from anatomark.training.loop import MIN_VALIDATION_CASES, RunContext
from anatomark.training.processes import ALONE, Processes
from anatomark.training.request import Request, settings_of
from anatomark.training.roles import training_roles
from anatomark.training.run import plan_for, progress_bar, train_cases
from anatomark.training.run_folder import RunFolder
from anatomark.training.trainer import RunTrainer

if TYPE_CHECKING:
    from anatomark.data.description import Case, Dataset

AUTO = "auto"
CANDIDATES = ("unet-votes", "global-to-local", "two-stage", "heatmap")  # the preferred one first
REASONS = {  # docs/results.md has the figures
    "unet-votes": "it has the lowest errors of the four after short trainings",
    "global-to-local": "it has lower errors than two-stage and heatmap after long trainings",
    "two-stage": "it has lower errors than heatmap after long trainings",
}
SHARE = 0.2  # of a time budget, for all trials together
LEAST_SECONDS = 20.0  # of a trial
LEAST_OF = {"global-to-local": 60.0, "two-stage": 60.0}  # in less, these come to a handful of steps


def candidates(
    ndim: int,
    *,
    preset: str | None,
    settings: Mapping[str, Any] | None,
    device: str,
    processes: Processes = ALONE,
) -> tuple[list[Request], dict[str, str]]:
    """The requests of the methods that know the settings and the preset, and why others are left out.

    Where none does, raises what the method says that knows most of them.
    """
    requests: list[Request] = []
    left_out: dict[str, str] = {}
    refused: list[tuple[int, SettingsError]] = []
    given = settings or {}
    for name in CANDIDATES:
        try:
            asked = {"preset": preset, "settings": settings, "device": device, "processes": processes}
            request = Request.resolved(name, ndim, **asked)
            requests.append(replace(request, asked=AUTO))
        except SettingsError as error:
            strange = given.keys() - settings_of(detector_class(name), given).keys()
            left_out[name] = f"it has no setting {', '.join(sorted(strange))}" if strange else str(error)
            refused.append((_known(name, preset, given), error))
    if not requests:
        raise max(refused, key=lambda each: each[0])[1]
    return requests, left_out


def _known(method: str, preset: str | None, given: Mapping[str, Any]) -> int:
    """How much of what was asked for is meant for the method: names that are like its settings, and a preset."""
    kind = detector_class(method)
    names = [*kind.settings_type.model_fields, *kind.settings_type.earlier_names]
    return bool(preset and kind.presets) + sum(bool(get_close_matches(name, names, n=1, cutoff=0.8)) for name in given)


def train_auto(
    dataset: Dataset,
    *,
    preset: str | None,
    settings: Mapping[str, Any] | None,
    device: str,
    out: Path,
    train_split: str,
    validation_split: str | None,
    show: Callable[[str], None] | None,
    began: float,
    processes: Processes,
) -> Path:
    """Try the methods, and train the one that is chosen into the run folder `out`; returns its path.

    The same call on the folder of a stopped run goes on where that was, in a trial or after them; what was chosen stays
    chosen. Where there is nothing to choose from or by, the preferred method of those that have the settings is
    trained. Raises as `train`.
    """
    say: Callable[[str], None] = show or (lambda line: None)
    requests, left_out = candidates(dataset.ndim, preset=preset, settings=settings, device=device, processes=processes)
    asked = requests[0].settings
    roles = training_roles(dataset, train_split, validation_split, asked.validation_fraction, asked.seed)
    chosen = requests[0]
    if (reason := _no_trial(requests, roles["validation"], dataset.names)) is not None:
        say(_without(chosen, reason))
        return train_cases(dataset, roles, chosen, out=out, show=show, began=began)

    run, existed = RunFolder(out), out.exists()
    data = data_of(dataset, roles, asked, cache=run.cache)
    resumed = run.open(chosen.record(data))
    if not run.finished:
        trials, earlier = _Trials(dataset, roles, data, run, began, show), Trial.read(run.trial)
        try:
            trial = trials.chosen(earlier, requests, left_out)
        except (AnatomarkError, OSError):
            if not resumed and not run.trial.exists():
                shutil.rmtree(trials.folder, ignore_errors=True)
                run.discard(keep_folder=existed)
            raise
        say(trial.because)
        trials.hand_over(trial)
        chosen = next(request for request in requests if request.method.name == trial.chosen)
        began -= 60 * earlier.minutes  # of a stopped run: its trials count into the budget as well
    return train_cases(dataset, roles, chosen, out=out, show=show, began=began)


def _no_trial(requests: Sequence[Request], validation: Sequence[Case], names: Sequence[str]) -> str | None:
    """Why there is nothing to choose from, or nothing to choose by; None where there is."""
    if len(requests) == 1:
        return "no other method has these settings"
    count = sum(bool(case.reference.select(names).present.any()) for case in validation)
    if count < MIN_VALIDATION_CASES:
        cases = f"{count} validation case{'s' * (count != 1)}"
        return f"{cases} are too few to choose a method by; it takes {MIN_VALIDATION_CASES}"
    minutes = requests[0].settings.minutes
    if minutes is not None and (seconds := _share(60 * minutes, len(CANDIDATES))) < LEAST_SECONDS:
        return _too_short(seconds)
    return None


def _share(seconds: float, methods: int) -> float:
    """The part of a time that each of so many methods has for its trial."""
    return SHARE * (1 - RESERVE) * max(0.0, seconds) / methods


def _too_short(seconds: float) -> str:
    return f"{seconds:.1f} s for the trial of each are too few to choose by; it takes {LEAST_SECONDS:.0f}"


def _quick_enough(trial: Trial, able: Sequence[Request], seconds: float) -> tuple[Trial, list[Request]]:
    """Without the methods that learn nothing in a trial of so many `seconds`, unless none would be left."""
    least = {request.method.name: LEAST_OF.get(request.method.name, LEAST_SECONDS) for request in able}
    why = f"{seconds:.0f} s are too few for its trial"
    slow = {name: f"{why}; it takes {needed:.0f}" for name, needed in least.items() if needed > seconds}
    if len(slow) == len(able):
        return trial, list(able)
    trial = replace(trial, left_out={**trial.left_out, **slow})
    return trial, _able(able, trial)


def _without(request: Request, reason: str) -> str:
    return f"{request.method.name}, without a trial: {reason}"


@dataclass(frozen=True, eq=False)
class _Trials:
    """The trials of the run in `run`, on the cases of `roles`, of a training that `began` at that time."""

    dataset: Dataset
    roles: Mapping[str, Sequence[Case]]
    data: TrainingData
    run: RunFolder
    began: float
    show: Callable[[str], None] | None

    @property
    def folder(self) -> Path:
        return self.run.path / "trial"

    def say(self, line: str) -> None:
        if self.show is not None:
            self.show(line)

    def chosen(self, trial: Trial, requests: Sequence[Request], left_out: Mapping[str, str]) -> Trial:
        """The whole record, from what it says so far; kept in trial.json as it grows."""
        if trial.chosen is not None:
            return trial
        plans, failed = self._plans(requests)
        trial = replace(trial, left_out={**left_out, **failed, **trial.left_out})
        able = _able(requests, trial)
        if (minutes := requests[0].settings.minutes) is not None:
            trial, able = _quick_enough(trial, able, _share(60 * minutes, len(CANDIDATES)))
        caches = self._prepared(able, plans)
        if trial.seconds is None and len(able) > 1:
            seconds, failed = self._seconds_each(able)
            trial = replace(trial, seconds=seconds, left_out={**trial.left_out, **failed})
            able = _able(able, trial)
        if trial.seconds is not None:
            trial, able = _quick_enough(trial, able, trial.seconds)
        for name, why in trial.left_out.items():
            self.say(f"{name} is not tried: {why}")
        if len(able) < 2 or trial.seconds is None:
            return self._settled(trial, able[0], caches, "no other method can be tried")
        if trial.seconds < LEAST_SECONDS:
            return self._settled(trial, able[0], caches, _too_short(trial.seconds))
        trial.save(self.run.trial)
        return self._all_tried(trial, trial.seconds, able, plans, caches)

    def _all_tried(
        self,
        trial: Trial,
        seconds: float,
        able: Sequence[Request],
        plans: Mapping[str, AnyPlan],
        caches: Mapping[str, Path],
    ) -> Trial:
        """The record with the trials that are left, of so many `seconds` each, and the choice."""
        names, cases = [request.method.name for request in able], len(self.roles["validation"])
        self.say(f"trying {', '.join(names)}: about {seconds:.0f} s each")
        done = {each.method: each for each in trial.tried}
        for request, name in zip(able, names, strict=True):
            if name not in done:
                try:
                    done[name] = self._tried(request, plans[name], caches[name], seconds)
                except (ModelError, SettingsError) as error:  # its loss was no number, say
                    self.say(f"  {name}: {error}")
                    trial = replace(trial, left_out={**trial.left_out, name: str(error)})
                    continue
                trial = replace(trial, tried=tuple(done.values()))
                trial.save(self.run.trial)
                shutil.rmtree(self.folder / name, ignore_errors=True)
            seen = f"mean radial error {done[name].error:.2f} {self.data.unit} on {cases} validation cases"
            steps = "" if done[name].steps is None else f", {done[name].steps} steps"
            self.say(f"  {name}: {seen} after {done[name].minutes:.1f} minutes{steps}")
        if not done:
            raise ModelError(f"no method could be tried: {'; '.join(trial.left_out.values())}")
        guess = _guess(open_cache(next(iter(caches.values()))))
        name, because = choose([done[name] for name in names if name in done], REASONS, guess)
        trial = replace(trial, chosen=name, because=because, guess=guess, cache=caches[name].name)
        trial.save(self.run.trial)
        return trial

    def hand_over(self, trial: Trial) -> None:
        """Give the prepared images of the chosen method to its run, and delete what is left of the trials."""
        kept = self.folder / trial.cache
        if trial.cache and kept.exists() and not self.run.cache.exists():
            os.replace(kept, self.run.cache)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _settled(self, trial: Trial, request: Request, caches: Mapping[str, Path], reason: str) -> Trial:
        """The record of a choice without a trial."""
        name = request.method.name
        settled = replace(trial, chosen=name, because=_without(request, reason), cache=caches[name].name)
        settled.save(self.run.trial)
        return settled

    def _plans(self, requests: Sequence[Request]) -> tuple[dict[str, AnyPlan], dict[str, str]]:
        """The plan of each method, and why others have none: too little memory, or an extra that is not installed.

        Raises what the preferred one raises where none has a plan.
        """
        grids = self.data.grids()
        data = replace(self.data, grids=lambda: grids)
        plans: dict[str, AnyPlan] = {}
        failed: dict[str, AnatomarkError] = {}
        for request in requests:
            try:
                plans[request.method.name] = plan_for(request, data)
            except (SettingsError, MissingExtraError) as error:
                failed[request.method.name] = error
        if not plans:
            raise next(iter(failed.values()))
        return plans, {name: str(error) for name, error in failed.items()}

    def _prepared(self, requests: Sequence[Request], plans: Mapping[str, AnyPlan]) -> dict[str, Path]:
        """The folder of each method's prepared images: one for all methods that see images alike."""
        alike: dict[object, Path] = {}
        folders: dict[str, Path] = {}
        with progress_bar(self.show is not None) as progress:
            for request in requests:
                name = request.method.name
                network = plans[name].network
                seen = (network.spacing, network.pool)
                if seen not in alike:
                    alike[seen] = self.folder / f"cache{len(alike) + 1}"
                    bar = progress.add_task("preparing images", total=sum(map(len, self.roles.values())), status=name)
                    prepare_cache(
                        self.dataset,
                        self.roles,
                        alike[seen],
                        plans[name],
                        lambda done, total, bar=bar: progress.update(bar, completed=done, total=total),
                    )
                folders[name] = alike[seen]
        return folders

    def _seconds_each(self, requests: Sequence[Request]) -> tuple[float, dict[str, str]]:
        """How long the trial of each method is to be, and why some cannot be trained after all."""
        minutes = requests[0].settings.minutes
        if minutes is not None:
            return _share(self.began + 60 * minutes - time.monotonic(), len(CANDIDATES)), {}
        needed: dict[str, float] = {}
        failed: dict[str, str] = {}
        for request in requests:
            name = request.method.name
            self.say(f"estimating the time of {name}")
            try:
                needed[name] = estimate_cases(self.dataset, self.roles, request).seconds
            except SettingsError as error:
                failed[name] = str(error)
        if not needed:
            raise SettingsError(next(iter(failed.values())))
        return _share(min(needed.values()), len(needed)), failed

    def _tried(self, request: Request, plan: AnyPlan, cache: Path, seconds: float) -> Tried:
        """What a whole training in so many `seconds` comes to on the validation cases; a stopped one goes on."""
        run, training = RunFolder(self.folder / request.method.name), plan.training
        run.open(request.record(self.data))
        plan = replace(
            plan, training=training.model_copy(update={"minutes": seconds / 60, "validation_pictures": False})
        )
        if run.settings.exists():
            plan = run.read_plan(request.method)
        prepared = prepare_cache(self.dataset, self.roles, cache, plan, lambda done, total: None)
        precision, processes = choose_precision(training.precision, request.device), request.processes
        fabric = processes.fabric(request.device, precision)
        began = time.monotonic() - _so_far(run)[0]
        with progress_bar(self.show is not None) as progress, open_log(run.log, run.tensorboard) as log:
            context = RunContext(fabric, run, log, progress, processes, precision)
            trainer = RunTrainer(context, lambda line: None, self.data.unit, began, in_short=True)
            detector = request.method.fit(plan, prepared, trainer)
        cases = prepared.validation
        errors = errors_of([detector.locate(case.image, fabric.device)[-1].points_world for case in cases], cases)
        minutes = (time.monotonic() - began) / 60
        subjects = _by_subject(errors, cases)
        return Tried(request.method.name, mean_error(errors), minutes, subjects, _so_far(run)[1])


def _able(requests: Sequence[Request], trial: Trial) -> list[Request]:
    return [request for request in requests if request.method.name not in trial.left_out]


def _by_subject(errors: Floats, cases: Sequence[CachedCase]) -> dict[str, float]:
    """The mean of the errors (C, N) of each subject of C cases; subjects without any are left out."""
    subjects = np.array([case.subject for case in cases])
    known = {subject: errors[subjects == subject] for subject in dict.fromkeys(subjects.tolist())}
    return {subject: mean_error(own) for subject, own in known.items() if np.isfinite(own).any()}


def _guess(cache: Cache) -> float:
    """The error on validation cases of each landmark's mean place in the training images, as part of their extent."""
    places = [case.image.fine_grid.world_to_index(case.points_world) / case.image.fine.shape for case in cache.training]
    count = np.isfinite(places).sum(axis=0)
    usual = np.nansum(places, axis=0) / np.maximum(count, 1)
    found = [case.image.fine_grid.index_to_world(usual * case.image.fine.shape) for case in cache.validation]
    return mean_error(errors_of(found, cache.validation))


def _so_far(run: RunFolder) -> tuple[float, int | None]:
    """Seconds and steps of all stages, by the log of a trial; no steps where there is none."""
    if not run.log.exists():
        return 0.0, None
    last: dict[str, dict[str, float]] = {}
    for line in run.log.read_text(encoding="utf-8").splitlines():
        try:
            record = json.loads(line)
            last.setdefault(record["stage"], {}).update(record)
        except (ValueError, KeyError, TypeError):
            break  # a kill can cut the last line
    seconds = sum(record.get("seconds", 0.0) for record in last.values())
    return seconds, int(sum(record["step"] for record in last.values())) or None

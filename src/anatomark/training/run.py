"""One training, from its cases to the run folder with a model."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, cast

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from anatomark.data.cache import Cache
from anatomark.errors import AnatomarkError, SettingsError
from anatomark.methods.interface import AnyPlan, DataFacts
from anatomark.methods.settings import STRENGTHS
from anatomark.methods.validation import errors_of, mean_error
from anatomark.model import Member, Model
from anatomark.nets.devices import available_memory_bytes, choose_precision
from anatomark.training.data import TrainingData, data_of
from anatomark.training.log import open_log
from anatomark.training.loop import RunContext
from anatomark.training.own_predictions import learn_from_cache
from anatomark.training.processes import require_shares
from anatomark.training.request import Request
from anatomark.training.run_folder import RunFolder
from anatomark.training.trainer import RunTrainer, error_line

if TYPE_CHECKING:
    from anatomark.data.description import Case, Dataset


def train_cases(
    dataset: Dataset,
    roles: Mapping[str, Sequence[Case]],
    request: Request,
    *,
    out: Path,
    show: Callable[[str], None] | None = None,
    began: float | None = None,
) -> Path:
    """`train` on the cases of `roles` ({"train": cases, "validation": cases}), whatever their splits."""
    return train_from_cache(
        data_of(dataset, roles, request.settings, cache=RunFolder(out).cache), request, out=out, show=show, began=began
    )


def train_from_cache(
    data: TrainingData,
    request: Request,
    *,
    out: Path,
    show: Callable[[str], None] | None = None,
    began: float | None = None,
) -> Path:
    """`train` on any `data`, for which no image library is loaded: the same run folder. Raises as `train`."""
    began = time.monotonic() if began is None else began
    say: Callable[[str], None] = show or (lambda line: None)
    run = RunFolder(out)
    existed = run.path.exists()
    resumed = run.open(request.record(data))
    if run.finished:
        run.tidy(keep_cache=request.settings.keep_cache)  # a kill may have come between the model and this
        say(f"{run.path}: this run is finished; its model is there. To train again choose another --out")
        return run.path
    with progress_bar(show is not None) as progress:
        try:
            plan = planned(request, data, run)
            precision = choose_precision(plan.training.precision, request.device)
            say(plan_text(plan, request, data, precision))
            bar = progress.add_task("preparing images", total=sum(map(len, data.roles.values())), status="")
            cache = data.prepare(plan, lambda done, total: progress.update(bar, completed=done, total=total))
            _require_alignment(plan, cache, say)
        except (AnatomarkError, OSError):
            if not resumed:
                run.discard(keep_folder=existed)
            raise
        processes = request.processes
        fabric = processes.fabric(request.device, precision)
        with open_log(run.log, run.tensorboard) as log:
            context = RunContext(fabric, run, log, progress, processes, precision)
            trainer = RunTrainer(context, say, data.unit, began)
            detector = request.method.fit(plan, cache, trainer)

    cases = cache.validation
    if cases and not run.stages():  # of a method without stages nothing has been shown
        points = [detector.locate(case.image, fabric.device)[-1].points_world for case in cases]
        errors = errors_of(points, cases)
        say(error_line(request.method.name, mean_error(errors), cache, data.unit))
    learned = learn_from_cache(detector, cache, fabric.device, unit=data.unit)
    for limit in learned.suitability.limits:
        say(limit)
    Model(
        data.names,
        data.pairs,
        data.ndim,
        data.unit,
        data.name,
        (Member(detector, cache.alignment, learned.suitability, learned.in_view, learned.error_scale),),
        learned.bounds,
        device=request.device,
    ).save(run.path)
    say(f"{run.path}: finished in {(time.monotonic() - began) / 60:.1f} minutes")
    run.tidy(keep_cache=plan.training.keep_cache)
    return run.path


def planned(request: Request, data: TrainingData, run: RunFolder) -> AnyPlan:
    """What a stopped run has planned already, or a new plan, which is saved.

    Raises SettingsError where it does not fit the data, or the memory of the device.
    """
    if run.settings.exists():
        plan = run.read_plan(request.method)
        require_shares(request.method, plan, request.processes)
        return plan
    plan = plan_for(request, data)
    run.write_plan(plan)
    return plan


def plan_for(request: Request, data: TrainingData) -> AnyPlan:
    """The network and training that suit the data and the free memory of the device.

    They do not depend on the number of devices; SettingsError where these are too many for a batch.
    """
    facts = DataFacts(
        tuple(data.grids()),
        len(data.names),
        bool(data.pairs),
        available_memory_bytes(request.device),
        on_gpu=request.device == "cuda",
        devices=request.processes.count,
        turn_degrees=data.turn_degrees,
    )
    settings = request.settings
    if settings.align != "none" and settings.template is None:
        settings = settings.model_copy(update={"template": data.template})
    plan = request.method.plan(settings, facts)
    require_shares(request.method, plan, request.processes)
    return plan


def _require_alignment(plan: AnyPlan, cache: Cache, say: Callable[[str], None]) -> None:
    """Say which images could not be aligned; SettingsError where alignment was asked for and none is there."""
    align = plan.network.align
    if align != (cache.alignment.kind if cache.alignment else "none"):
        raise SettingsError(f"align={align!r}, but the prepared images are not; prepare them so, or leave it out")
    for case in cache.cases:
        if case.failure is not None:
            say(f"{case.id}: {case.failure}; used unaligned")


def plan_text(plan: AnyPlan, request: Request, data: TrainingData, precision: str) -> str:
    """The plan in words: what the data decided, for a person to read before the run."""
    counts = f"{len(data.roles['train'])} training and {len(data.roles['validation'])} validation cases"
    lines = [f"  {counts}, on {request.device}, {precision}"]
    values = {**plan.network.model_dump(), **plan.training.model_dump()}
    for name in type(request.settings).model_fields:
        value = values.get(name)
        given = getattr(request.settings, name) is not None or name in plan.undecided
        waiting = name in STRENGTHS["none"] or (request.settings.minutes is not None and name.endswith("steps"))
        if not given and value is not None and not waiting:
            lines.append(f"  {name} = {_rounded(value)}")
    axes = "rows, columns" if plan.network.ndim == 2 else "slices, rows, columns"
    heading = f"planned from the data (settings.json has all values; --set changes any; axes are {axes}):"
    return "\n".join([heading, *lines])


def _rounded(value: object) -> object:
    """A value as it is shown: a number, or those of a tuple, with three decimals."""
    if isinstance(value, tuple):
        parts = cast("tuple[object, ...]", value)
        return tuple(round(part, 3) if isinstance(part, float) else part for part in parts)
    return round(value, 3) if isinstance(value, float) else value


def progress_bar(visible: bool) -> Progress:
    """A rich Progress that shows how far a run is, or nothing."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[status]}"),
        disable=not visible,
    )

"""`train`: from a data set to a run folder with a model."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from anatomark.errors import AnatomarkError, SettingsError, UnknownNameError
from anatomark.formats.atomic import write_json
from anatomark.training.run_folder import RunFolder

if TYPE_CHECKING:
    from anatomark.core.grid import Grid, Unit
    from anatomark.data.cache import Cache
    from anatomark.data.description import Case, Dataset
    from anatomark.training.curves import Plot

VALIDATION_NAMES = ("validation", "val", "valid")


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
) -> Path:
    """Train `method` on the cases of `train_split` and write the run folder `out`; returns its path.

    Validation cases come from `validation_split`, else from a split called validation or val, else a share of the
    training subjects is set aside (setting `validation_fraction`). A data set without splits trains on all its cases.
    `settings` override the preset's; what neither sets is planned from the data. The same call on the folder of a
    stopped run goes on where its last checkpoint was written; on that of a finished run it changes nothing.
    `show` gets a line at a time of what happens; with it a progress bar is drawn. With `folds`, as many networks are
    trained, each without its part of the subjects, and predictions are their average (see `training.folds`).

    Raises SettingsError for settings or a folder that do not fit, UnknownNameError for a split or method there is not.
    """
    from anatomark.data.description import load_dataset
    from anatomark.data.missing_codes import require_no_codes
    from anatomark.data.reviews import told_of_reviews
    from anatomark.methods import method_class
    from anatomark.training.folds import train_folds

    if isinstance(dataset, (str, Path)):
        dataset = load_dataset(dataset, root)
    require_no_codes(dataset)
    if show is not None:
        for line in told_of_reviews(dataset):
            show(line)
    asked: dict[str, Any] = {"method": method, "preset": preset, "settings": settings, "device": device, "show": show}
    if folds is not None:
        splits = {"train_split": train_split, "validation_split": validation_split}
        return train_folds(dataset, folds, out=Path(out), **splits, **asked)
    chosen = resolve_settings(method_class(method), dataset.ndim, preset, settings)
    roles = training_roles(dataset, train_split, validation_split, chosen.validation_fraction, chosen.seed)
    return train_cases(dataset, roles, out=out, **asked)


def train_cases(
    dataset: Dataset,
    roles: Mapping[str, Sequence[Case]],
    *,
    out: str | Path,
    method: str,
    preset: str | None,
    settings: Mapping[str, Any] | None,
    device: str,
    show: Callable[[str], None] | None,
) -> Path:
    """`train` on the cases of `roles` ({"train": cases, "validation": cases}), whatever their splits."""
    from anatomark.data.alignment import chosen_template
    from anatomark.methods import method_class
    from anatomark.nets.devices import choose_device

    device = choose_device(device)
    chosen = resolve_settings(method_class(method), dataset.ndim, preset, settings)
    require_landmarks(dataset, roles["train"])
    template = chosen_template(dataset, roles["train"], align=chosen.align, template=chosen.template)
    return train_from_cache(
        partial(_prepared, dataset, roles, RunFolder(Path(out)).cache),
        grids=partial(canonical_grids, dataset, roles["train"]),
        roles={role: [case.id for case in cases] for role, cases in roles.items()},
        names=dataset.names,
        pairs=dataset.pairs,
        ndim=dataset.ndim,
        unit=dataset.unit,
        dataset=dataset.name,
        out=out,
        method=method,
        preset=preset,
        settings=settings,
        device=device,
        template=template,
        show=show,
    )


def train_from_cache(
    prepare: Callable[[Any, Callable[[int, int], None]], Cache],
    *,
    grids: Callable[[], Sequence[Grid]],
    roles: Mapping[str, Sequence[str]],
    names: Sequence[str],
    pairs: Sequence[tuple[str, str]] = (),
    ndim: int,
    unit: Unit,
    dataset: str,
    out: str | Path,
    method: str = "global-to-local",
    preset: str | None = None,
    settings: Mapping[str, Any] | None = None,
    device: str = "auto",
    template: str | None = None,
    show: Callable[[str], None] | None = None,
) -> Path:
    """`train` for images that need no file: the same run folder from any Cache; no image library is loaded.

    `prepare(settings, progress)` returns the Cache at the spacing and pooling of the planned settings, and tells
    `progress(done, total)`; `grids()` returns the canonical Grids of the training images, which the plan looks at;
    `roles` are the ids of the "train" and "validation" cases. `dataset` is a name, for the record. `template` is the
    training case to align to where the settings name none; with alignment the Cache has one. Raises as `train`.
    """
    import torch

    from anatomark.methods import method_class
    from anatomark.model import Model
    from anatomark.nets.devices import choose_device, choose_precision
    from anatomark.training.calibrate import learn_from_cache
    from anatomark.training.curves import curves

    say = show or (lambda line: None)
    kind = method_class(method)
    device = choose_device(device)
    chosen = resolve_settings(kind, ndim, preset, settings)

    run = RunFolder(Path(out))
    request = {
        "method": method,
        "dataset": dataset,
        "landmarks": list(names),
        "preset": preset,
        "settings": json.loads(json.dumps(dict(settings or {}))),
        "train": list(roles["train"]),
        "validation": list(roles["validation"]),
    }
    existed, resumed = run.path.exists(), run.open(request)
    if run.finished:
        say(f"{run.path}: this run has ended; its model is there. To train anew choose another --out")
        return run.path
    with progress_bar(show is not None) as progress:
        try:
            planned = _planned(kind, chosen, grids, len(names), bool(pairs), template, run, device)
            precision = choose_precision(planned.precision, device)
            say(plan_text(planned, chosen, roles, device, precision))
            bar = progress.add_task("preparing images", total=sum(map(len, roles.values())), status="")
            cache = prepare(planned, lambda done, total: progress.update(bar, completed=done, total=total))
            _require_alignment(planned, cache, say)
        except (AnatomarkError, OSError):
            if not resumed:
                run.discard(keep_folder=existed)
            raise
        unfitted = kind(planned, ndim=ndim, landmarks=len(names))
        with curves(run.tensorboard) as plot:
            fitted = _fit(fabric_of(device, precision), unfitted, cache, run, progress, plot, say, unit)

    learned = learn_from_cache(fitted, cache, torch.device(device), names=names, unit=unit)
    about = (tuple(names), tuple(pairs), ndim, unit, dataset)
    Model(*about, fitted, device, cache.alignment, learned.bounds, learned.suitability).save(run.path)
    for leftover in (run.checkpoint, *(run.stage(stage) for stage in fitted.stages)):
        leftover.unlink(missing_ok=True)
    if not planned.keep_cache:
        shutil.rmtree(run.cache, ignore_errors=True)
    return run.path


def _planned(
    kind: Any,
    chosen: Any,
    grids: Callable[[], Sequence[Grid]],
    landmarks: int,
    has_pairs: bool,
    template: str | None,
    run: RunFolder,
    device: str,
) -> Any:
    """The settings that a stopped run has planned already, or planned anew and saved."""
    from anatomark.methods.interface import DataFacts
    from anatomark.nets.devices import available_memory_bytes
    from anatomark.training.memory import require_room

    if run.settings.exists():
        try:
            return kind.Settings.model_validate_json(run.settings.read_text(encoding="utf-8"))
        except ValueError:
            raise SettingsError(f"{run.settings} is damaged; choose another --out") from None
    facts = DataFacts(tuple(grids()), landmarks, has_pairs, available_memory_bytes(device))
    planned = kind.plan(chosen, facts, on_gpu=device == "cuda")
    if planned.align != "none" and planned.template is None:
        planned = planned.model_copy(update={"template": template})
    require_room(kind, planned, facts, device)
    write_json(run.settings, planned.model_dump())
    return planned


def canonical_grids(dataset: Dataset, cases: Sequence[Case]) -> list[Grid]:
    """The canonical Grids of the images of `cases`, from their headers."""
    from anatomark.data.cache import require_alike

    grids = []
    for case in cases:
        grids.append(case.read_grid().canonical())
        require_alike(grids[-1], dataset, case.image_path)
    return grids


def _prepared(
    dataset: Dataset,
    roles: Mapping[str, Sequence[Case]],
    folder: Path,
    planned: Any,
    progress: Callable[[int, int], None],
) -> Cache:
    """The cache of the training and validation images, made in `folder` or found there."""
    from anatomark.data.cache import open_cache, prepare

    prepare(
        dataset,
        roles,
        folder,
        spacing=planned.spacing,
        pool=planned.pool,
        align=planned.align,
        template=next((case for case in roles["train"] if case.id == planned.template), None),
        progress=progress,
    )
    total = sum(map(len, roles.values()))
    progress(total, total)
    return open_cache(folder, memory_limit_bytes=int(planned.cache_memory_gib * 2**30))


def _require_alignment(settings: Any, cache: Cache, say: Callable[[str], None]) -> None:
    """Say which images could not be aligned; SettingsError where alignment was asked for and none is there."""
    if settings.align != (cache.alignment.kind if cache.alignment else "none"):
        raise SettingsError(
            f"align={settings.align!r}, but the prepared images are not; prepare them so, or leave it out"
        )
    for case in cache.cases:
        if case.failure is not None:
            say(f"{case.id}: {case.failure}; used as it lies")


def _fit(
    fabric: Any,
    method: Any,
    cache: Any,
    run: RunFolder,
    progress: Any,
    plot: Plot,
    say: Callable[[str], None],
    unit: str,
) -> Any:
    """Train the stages one after another; those already ended are loaded."""
    from anatomark.nets.weights import load_network, load_tensors, save_tensors
    from anatomark.training.loop import train_stage

    device = fabric.device
    for stage in method.stages:
        method.begin(stage, cache, device)
        write_json(run.settings, method.settings.model_dump())
        if run.stage(stage).exists():
            load_network(method.networks[stage], load_tensors(run.stage(stage))[0], str(run.stage(stage)))
            method.networks[stage].to(device)
        else:
            train_stage(fabric, method, stage, cache, run, progress, plot)
            save_tensors(run.stage(stage), method.networks[stage].state_dict())
        _say_error(method, stage, cache, device, say, unit)
    method.finish(cache, device)
    if not method.stages:
        _say_error(method, method.name, cache, device, say, unit)
    return method


def _say_error(method: Any, stage: str, cache: Cache, device: Any, say: Callable[[str], None], unit: str) -> None:
    if cases := cache.role("validation"):
        error = method.validate(stage, cases, device)
        scaled = cache.alignment is not None and cache.alignment.kind == "affine"
        where = f" {unit} of the template" if scaled else f" {unit}"
        say(f"{stage}: mean radial error {error:.2f}{where} on {len(cases)} validation case" + "s" * (len(cases) != 1))


def resolve_settings(kind: Any, ndim: int, preset: str | None, settings: Mapping[str, Any] | None) -> Any:
    """The settings of method class `kind` with a preset and overrides; SettingsError names all faults at once."""
    from pydantic import ValidationError

    from anatomark.data.schema import near

    if preset is not None and preset not in kind.presets:
        raise SettingsError(f"no preset {preset!r} for {kind.name}; there are: {', '.join(kind.presets)}")
    values = {**(kind.presets[preset](ndim) if preset else {}), **(settings or {})}
    try:
        return kind.Settings(**values)
    except ValidationError as error:
        faults = []
        for fault in error.errors():
            name = ".".join(str(part) for part in fault["loc"][:1])
            if fault["type"] == "extra_forbidden":
                known = list(kind.Settings.model_fields)
                faults.append(f"no setting {name!r}{near(name, known) or '; there are: ' + ', '.join(known)}")
            else:
                faults.append(f"{name}={fault['input']!r}: {fault['msg'].lower()}")
        raise SettingsError("; ".join(faults)) from None


def training_roles(
    dataset: Dataset, train_split: str, validation_split: str | None, fraction: float, seed: int
) -> dict[str, Sequence[Case]]:
    """{"train": cases, "validation": cases} by the rules of `train`; cases without annotations are left out."""
    from anatomark.data.splits import carve_validation

    if not dataset.splits:
        cases = dataset.cases
    elif train_split in dataset.splits:
        cases = dataset.split(train_split)
    else:
        raise UnknownNameError(
            f"{dataset.path} has no split {train_split!r}; it has {', '.join(dataset.splits)}. "
            "Name the one to learn from with --train-split, or map it in `splits` of the description"
        )
    if validation_split is None:
        validation_split = next((name for name in VALIDATION_NAMES if name in dataset.splits), None)
    cases = tuple(case for case in cases if case.reference.annotated.any())
    if validation_split is not None:
        validation = tuple(c for c in dataset.split(validation_split) if c.reference.annotated.any())
        shared = {case.subject for case in cases} & {case.subject for case in validation}
        if shared:
            raise SettingsError(
                f"subjects in both {train_split} and {validation_split}: {', '.join(sorted(shared)[:5])}; "
                "a subject must be in one split only"
            )
        return {"train": cases, "validation": validation}
    if fraction == 0 or len({case.subject for case in cases}) < 4:
        return {"train": cases, "validation": ()}
    training, validation = carve_validation(cases, fraction, seed)
    return {"train": training, "validation": validation}


def require_landmarks(dataset: Dataset, cases: Sequence[Case]) -> None:
    """SettingsError where there is nothing to learn from: no case, or a landmark that is present in none."""
    if not cases:
        raise SettingsError(f"{dataset.path}: no training case has annotations; run anatomark check on it")
    seen = np.any([case.reference.select(dataset.names).present for case in cases], axis=0)
    if not seen.all():
        never = [name for name, known in zip(dataset.names, seen, strict=True) if not known]
        raise SettingsError(
            f"{dataset.path}: present in no training case: {', '.join(never)}; annotate or take out these landmarks"
        )


def plan_text(planned: Any, asked: Any, roles: Mapping[str, Sequence[Any]], device: str, precision: str) -> str:
    """The plan in words: what the data decided, for a person to read before the run."""
    counts = f"{len(roles['train'])} training and {len(roles['validation'])} validation cases"
    lines = [f"  {counts}, on {device}, {precision}"]
    for name, value in planned:
        if getattr(asked, name) is None and value is not None:
            if isinstance(value, tuple) and value and isinstance(value[0], float):
                value = tuple(round(v, 3) for v in value)
            value = round(value, 3) if isinstance(value, float) else value
            lines.append(f"  {name} = {value}")
    axes = ("slices, rows, columns", "rows, columns")[len(planned.spacing) == 2]
    heading = f"planned from the data (settings.json holds all; --set changes any; axes are {axes}):"
    return "\n".join([heading, *lines])


def fabric_of(device: str, precision: str) -> Any:
    """The Fabric of one process."""
    import logging

    from lightning_fabric import Fabric

    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)  # the plan has said the precision already
    return Fabric(accelerator=device, devices=1, precision=precision)  # type: ignore[arg-type]


def progress_bar(visible: bool) -> Any:
    """A rich Progress that shows how far a run is, or nothing."""
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[status]}"),
        disable=not visible,
    )


def parse_setting(text: str) -> tuple[str, Any]:
    """("key", value) of "key=value"; the value is read as YAML: 1.5, true, [1, 2] and null are what they seem."""
    import yaml

    key, sign, value = text.partition("=")
    if not sign or not key.strip():
        raise SettingsError(f"--set {text!r} is not of the form key=value")
    try:
        return key.strip(), yaml.safe_load(value)
    except yaml.YAMLError:
        raise SettingsError(f"--set {text!r}: the value cannot be read") from None

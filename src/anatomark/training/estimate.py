"""`estimate`: what a training will take, in memory and time, from a trial of a few real steps."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from anatomark.core.grid import Grid
from anatomark.data.description import Dataset, load_dataset
from anatomark.methods.interface import AnyPlan, StagePlan
from anatomark.methods.memory import GIB, too_large
from anatomark.methods.settings import Settings
from anatomark.nets.devices import available_memory_bytes, choose_precision
from anatomark.training.budget import located_afterwards
from anatomark.training.data import canonical_grids, data_of
from anatomark.training.folds import fold_roles
from anatomark.training.request import Request
from anatomark.training.roles import training_roles
from anatomark.training.run import plan_for
from anatomark.training.trial import run_trial

if TYPE_CHECKING:
    from anatomark.data.description import Case

TRIAL_CASES = 6  # training images that a trial prepares


@dataclass(frozen=True)
class StageEstimate:
    """One stage: `parameters` of its network, `steps` at most, and what these take.

    `seconds` are those of all steps and checkpoints, without the validations' `validation_seconds`; `bytes` are the
    most that the trial had held by the end of the stage. A stage that an earlier one sizes is taken at its largest.
    """

    name: str
    parameters: int
    steps: int
    bytes: float
    seconds: float
    validation_seconds: float


@dataclass(frozen=True)
class Estimate:
    """What a training will take at most, and one prediction; bytes on the device, seconds.

    `training_bytes` is what the whole process takes on the CPU (on a GPU: its tensors), of `free_bytes`. With `folds`,
    all is of one fold's training, and these follow one another. `undecided` names what an earlier stage will size.
    """

    method: str
    dataset: str
    landmarks: int
    training_cases: int
    validation_cases: int
    device: str
    precision: str
    stages: tuple[StageEstimate, ...]
    start_seconds: float
    prepare_seconds: float
    finish_seconds: float
    prediction_seconds: float
    training_bytes: float
    prediction_bytes: float
    free_bytes: float
    folds: int = 1
    undecided: tuple[str, ...] = ()

    @property
    def seconds(self) -> float:
        """All together, if no stage stops early."""
        staged = sum(stage.seconds + stage.validation_seconds for stage in self.stages)
        return self.start_seconds + self.prepare_seconds + staged + self.finish_seconds

    def text(self) -> str:
        """The estimate for a person to read: GiB, minutes, and seconds of a prediction."""
        cases = f"{self.training_cases} training and {self.validation_cases} validation cases"
        lines = [
            f"estimate: {self.method} on {self.dataset}, {self.landmarks} landmarks, {cases}, "
            f"on {self.device}, {self.precision}",
            "",
        ]
        lines += [*_table(self.stages), ""] if self.stages else []
        lines += [
            f"  time      preparing images   {minutes_text(self.prepare_seconds)}",
            f"            after the stages   {minutes_text(self.finish_seconds)}",
            f"            all together       {minutes_text(self.seconds)}, at most",
        ]
        if self.folds > 1:
            together = minutes_text(self.folds * self.seconds)
            lines.append(f"            all {self.folds} folds        {together}, at most")
        lines += [
            f"            a prediction       {self.folds * self.prediction_seconds:.2g} s",
            f"  memory    training           {_gib(self.training_bytes)} of {_gib(self.free_bytes)} that are free",
            f"            a prediction       {_gib(self.prediction_bytes)}",
            "",
            "  A stage stops early where validations no longer get better.",
        ]
        if self.undecided:
            names = ", ".join(self.undecided)
            lines.append(f"  {names}: sized from the errors of an earlier stage; taken here at the largest.")
        return "\n".join(lines)


def estimate(
    dataset: Dataset | str | Path,
    *,
    method: str = "global-to-local",
    preset: str | None = None,
    settings: Mapping[str, Any] | None = None,
    device: str = "auto",
    root: str | Path | None = None,
    train_split: str = "train",
    validation_split: str | None = None,
    folds: int | None = None,
    show: Callable[[str], None] | None = None,
) -> Estimate:
    """What `train` with the same arguments will take, at most: parameters, memory and time.

    No run folder is made. Headers of all images are read; a trial of about half a minute in other processes prepares
    some of the images and takes a few steps of each stage on them. `show` gets a line at a time of what happens.
    Raises SettingsError where the training cannot fit, naming the settings to change; and what `train` raises.
    """
    if isinstance(dataset, (str, Path)):
        dataset = load_dataset(dataset, root)
    request = Request.resolved(method, dataset.ndim, preset=preset, settings=settings, device=device)
    roles, left_out = _roles(dataset, request.settings, folds, train_split, validation_split)
    return estimate_cases(dataset, roles, request, left_out=left_out, folds=folds or 1, show=show)


def estimate_cases(
    dataset: Dataset,
    roles: Mapping[str, Sequence[Case]],
    request: Request,
    *,
    left_out: int = 0,
    folds: int = 1,
    show: Callable[[str], None] | None = None,
) -> Estimate:
    """`estimate` for the cases of `roles` ({"train": cases, "validation": cases}), whatever their splits.

    Of one of so many `folds`, which predicts so many cases that are `left_out`.
    """
    say: Callable[[str], None] = show or (lambda line: None)
    say("reading the headers of all images")
    data = data_of(dataset, roles, request.settings, cache=Path())
    grids = canonical_grids(dataset, [*roles["train"], *roles["validation"]])
    plan = plan_for(request, replace(data, grids=lambda: grids[: len(roles["train"])]))
    spec = _trial_spec(request, plan, roles, grids)
    with tempfile.TemporaryDirectory() as folder:
        say(f"trying a few steps on {len(spec['roles']['train'])} of the images")
        trained = run_trial("training", spec, dataset, Path(folder))
        say("trying a prediction")
        predicted = run_trial("prediction", spec, dataset, Path(folder))

    stages = tuple(
        _stage(name, times, plan.training.validations, plan.training.checkpoint_every, len(roles["validation"]))
        for name, times in trained["stages"].items()
    )
    free = available_memory_bytes(request.device)
    training_bytes = _training_bytes(trained, len(grids), request.device, plan.training.cache_memory_gib)
    if training_bytes > free and stages:
        largest = max(stages, key=lambda stage: stage.bytes)
        smaller = trained["stages"][largest.name]
        asked = StagePlan(largest.steps, smaller["batch"], 0.0, "constant", smaller=tuple(smaller["smaller"]))
        raise too_large(largest.name, training_bytes, free, asked)
    return Estimate(
        method=request.method.name,
        dataset=dataset.name,
        landmarks=len(dataset.names),
        training_cases=len(roles["train"]),
        validation_cases=len(roles["validation"]),
        device=request.device,
        precision=spec["precision"],
        stages=stages,
        start_seconds=trained["start"],
        prepare_seconds=trained["prepare"] * len(grids),
        finish_seconds=_finish_seconds(dataset, roles, trained, predicted["seconds"]) + left_out * predicted["seconds"],
        prediction_seconds=predicted["seconds"],
        training_bytes=training_bytes,
        prediction_bytes=predicted["peak"],
        free_bytes=free,
        folds=folds,
        undecided=plan.undecided,
    )


def _roles(
    dataset: Dataset, asked: Settings, folds: int | None, train_split: str, validation_split: str | None
) -> tuple[dict[str, Sequence[Case]], int]:
    """The "train" and "validation" cases of a training, or of the largest fold, and how many cases that leaves out."""
    if folds is None:
        return training_roles(dataset, train_split, validation_split, asked.validation_fraction, asked.seed), 0
    parts = fold_roles(dataset, folds, train_split, validation_split, asked)
    largest = max(parts, key=lambda part: len(part["train"]))
    return {role: largest[role] for role in ("train", "validation")}, len(largest["left out"])


def _trial_spec(
    request: Request, plan: AnyPlan, roles: Mapping[str, Sequence[Case]], grids: Sequence[Grid]
) -> dict[str, Any]:
    """What the trials are told: the plan, and TRIAL_CASES training cases from the smallest image to the largest.

    `grids` are of the training cases, then of the validation cases.
    """
    training = roles["train"]
    order = np.argsort([math.prod(grid.extent) for grid in grids[: len(training)]])
    chosen = [training[int(i)] for i in dict.fromkeys(order[np.linspace(0, len(order) - 1, TRIAL_CASES).astype(int)])]
    template = [case for case in training if case.id == plan.training.template and case not in chosen]
    return {
        "method": request.method.name,
        "network": plan.network.model_dump(mode="json"),
        "training": plan.training.model_dump(mode="json"),
        "device": request.device,
        "precision": choose_precision(plan.training.precision, request.device),
        "roles": {"train": [c.id for c in [*chosen, *template]], "validation": [c.id for c in roles["validation"][:1]]},
        "largest": chosen[-1].id,
        "typical": chosen[len(chosen) // 2].id,
    }


def _training_bytes(trained: Mapping[str, Any], cases: int, device: str, cache_memory_gib: float) -> float:
    """The peak of the trial, and what the images of all cases need more where the cache is held in memory."""
    cached = trained["cached"] * cases
    if device != "cpu" or cached > cache_memory_gib * GIB:
        return trained["peak"]
    return trained["peak"] + max(0.0, cached - trained["cached"] * trained["cases"])


def _table(stages: Sequence[StageEstimate]) -> list[str]:
    rows = [("stage", "parameters", "steps", "training", "validation", "memory")]
    rows += [
        (
            s.name,
            f"{s.parameters:,}",
            f"{s.steps:,}",
            minutes_text(s.seconds),
            minutes_text(s.validation_seconds),
            _gib(s.bytes),
        )
        for s in stages
    ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join((f"  {first:{widths[0]}}", *(c.rjust(w) for c, w in zip(others, widths[1:], strict=True))))
        for first, *others in rows
    ]


def _stage(
    name: str, times: Mapping[str, float], validations: int, checkpoint_every: int, validation_cases: int
) -> StageEstimate:
    """A stage's parts times how often the training loop does them."""
    steps = int(times["steps"])
    every = max(1, steps // validations)
    validated = math.ceil(steps / every) * validation_cases
    return StageEstimate(
        name=name,
        parameters=int(times["parameters"]),
        steps=steps,
        bytes=times["bytes"],
        seconds=steps * times["step"] + math.ceil(steps / checkpoint_every) * times["checkpoint"],
        validation_seconds=validated * times["validation"],
    )


def _finish_seconds(
    dataset: Dataset, roles: Mapping[str, Sequence[Case]], trained: Mapping[str, Any], prediction: float
) -> float:
    """Seconds after the last stage: presence and error bounds are fitted to predictions of some cases."""
    validation = len(roles["validation"])
    if not trained["stages"]:  # all cases are looked at once, then the validation cases are located twice
        return trained["fit"] * len(roles["train"]) / max(1, trained["cases"]) + 2 * validation * prediction
    states = np.stack([case.reference.select(dataset.names).states for role in roles for case in roles[role]])
    held_out = np.arange(len(states)) >= len(roles["train"])
    stages = list(trained["stages"].values())
    fitting = sum(stage["validations_after"] for stage in stages)
    return located_afterwards(states, held_out, fitting) * stages[-1]["validation"]


def minutes_text(seconds: float) -> str:
    """Seconds as minutes: "0.4 min", "12 min"."""
    minutes = _number(seconds / 60)
    return "under 0.1 min" if minutes == "0.0" else f"{minutes} min"


def _number(value: float) -> str:
    return f"{value:.1f}" if value < 10 else f"{value:,.0f}"


def _gib(size: float) -> str:
    return f"{size / GIB:.2f} GiB" if size < 10 * GIB else f"{size / GIB:,.0f} GiB"

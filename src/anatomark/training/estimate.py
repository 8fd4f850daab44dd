"""`estimate`: what a training will take, in memory and time, before any of it is done."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from anatomark.core.grid import Grid
    from anatomark.data.description import Case, Dataset
    from anatomark.methods.interface import DataFacts
    from anatomark.training.memory import StageMemory

GIB = 2**30
TRIAL_SECONDS = 16.0  # for the timed steps of all stages together; as much again goes into starting and warming up


@dataclass(frozen=True)
class StageEstimate:
    """One stage: `parameters` of its network, `steps` at most, and what these take.

    `seconds` are those of all steps and checkpoints, without the validations' `validation_seconds`. Where the stages
    before decide how large the stage will be, `seconds` and `bytes` are for the largest, `least_seconds` for the
    smallest; else both seconds agree.
    """

    name: str
    parameters: int
    steps: int
    bytes: float
    seconds: float
    least_seconds: float
    validation_seconds: float


@dataclass(frozen=True)
class Estimate:
    """What a training will take at most, and one prediction; bytes on the device, seconds.

    `training_bytes` is what the whole process takes on the CPU (on a GPU: its tensors), of `free_bytes`. With `folds`,
    all is said of one fold's training, and these follow one another.
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

    @property
    def seconds(self) -> float:
        """All together, if no stage ends before its last step."""
        staged = sum(stage.seconds + stage.validation_seconds for stage in self.stages)
        return self.start_seconds + self.prepare_seconds + staged + self.finish_seconds

    @property
    def least_seconds(self) -> float:
        """All together, where stages that wait for others turn out the smallest."""
        return self.seconds - sum(stage.seconds - stage.least_seconds for stage in self.stages)

    def text(self) -> str:
        """The estimate for a person to read: GiB, minutes, and seconds of a prediction."""
        cases = f"{self.training_cases} training and {self.validation_cases} validation cases"
        lines = [
            f"estimate: {self.method} on {self.dataset}, {self.landmarks} landmarks, {cases}, "
            f"on {self.device}, {self.precision}",
            "",
        ]
        if self.stages:
            lines += [*_table(self.stages), ""]
        free = f"of {_gib(self.free_bytes)} that are free"
        lines += [
            f"  time      preparing images   {_minutes(self.prepare_seconds)}",
            f"            after the stages   {_minutes(self.finish_seconds)}",
            f"            all together       {_minutes(self.least_seconds, self.seconds)}, at most",
            *self._folds_line(),
            f"            a prediction       {self.folds * self.prediction_seconds:.2g} s",
            f"  memory    training           {_gib(self.training_bytes)} {free}",
            f"            a prediction       {_gib(self.prediction_bytes)}",
            "",
            "  A stage ends sooner where validations no longer get better.",
        ]
        waiting = [s.name for s in self.stages if s.least_seconds < s.seconds]
        if waiting:
            lines.append(
                f"  {', '.join(waiting)}: sized from the errors of the stage before, from the smallest to the largest; "
                "memory is that of the largest."
            )
        return "\n".join(lines)

    def _folds_line(self) -> list[str]:
        if self.folds == 1:
            return []
        least, most = (self.folds * seconds for seconds in (self.least_seconds, self.seconds))
        return [f"            all {self.folds} folds        {_minutes(least, most)}, at most"]


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

    No run folder is made. Headers of all images are read, then one or two whole images, by a trial of about half a
    minute in other processes: a few steps of each stage on made-up images of the planned sizes. `show` gets a line at
    a time of what happens. Raises SettingsError where the training cannot fit, before the trial if shapes alone tell,
    naming the setting to change; and what `train` raises.
    """
    from anatomark.data.alignment import chosen_template
    from anatomark.data.description import load_dataset
    from anatomark.methods import method_class
    from anatomark.methods.interface import DataFacts
    from anatomark.nets.devices import available_memory_bytes, choose_device, choose_precision
    from anatomark.training.folds import fold_roles
    from anatomark.training.memory import cache_bytes, no_room, require_room, stage_memory
    from anatomark.training.train import canonical_grids, require_landmarks, resolve_settings, training_roles
    from anatomark.training.trial import tried

    say = show or (lambda line: None)
    kind: Any = method_class(method)
    if isinstance(dataset, (str, Path)):
        dataset = load_dataset(dataset, root)
    device = choose_device(device)
    chosen = resolve_settings(kind, dataset.ndim, preset, settings)
    if folds is None:
        roles = training_roles(dataset, train_split, validation_split, chosen.validation_fraction, chosen.seed)
        left_out = 0
    else:
        largest_fold = max(
            fold_roles(dataset, folds, train_split, validation_split, chosen), key=lambda part: len(part["train"])
        )
        roles = {role: largest_fold[role] for role in ("train", "validation")}
        left_out = len(largest_fold["left out"])
    require_landmarks(dataset, roles["train"])
    template = chosen_template(dataset, roles["train"], align=chosen.align, template=chosen.template)

    say("reading the headers of all images")
    cases = (*roles["train"], *roles["validation"])
    grids = canonical_grids(dataset, cases)
    training = tuple(grids[: len(roles["train"])])
    facts = DataFacts(training, len(dataset.names), bool(dataset.pairs), available_memory_bytes(device))
    planned = kind.plan(chosen, facts, on_gpu=device == "cuda")
    precision = choose_precision(planned.precision, device)
    needs = require_room(kind, planned, facts, device)
    least, most = planned.bounds(dataset.ndim)
    smallest = {need.name: need.bytes for need in stage_memory(kind, least, facts, device)} if least != most else {}

    spec = {
        "method": method,
        "bounds": [bound.model_dump(mode="json") for bound in (least, most)],
        "twice": [need.name for need in needs if smallest.get(need.name, need.bytes) < need.bytes],
        "ndim": dataset.ndim,
        "landmarks": len(dataset.names),
        "unit": dataset.unit,
        "device": device,
        "precision": precision,
        "cases": len(cases),
        "seconds": TRIAL_SECONDS,
        "in_memory": bool(cache_bytes(planned, grids)),
        "template": next(
            ((planned.align, c.id, str(c.image_path), c.reading) for c in roles["train"] if c.id == template), None
        ),
        **_chosen_images(cases, grids),
    }
    with tempfile.TemporaryDirectory() as folder:
        say("trying a few steps on made-up images (about half a minute)")
        trained = tried("training", spec, Path(folder))
        predicted = {"seconds": trained.get("prediction", 0.0), "peak": trained["peak"]}
        if needs:
            say("trying a prediction")
            predicted = tried("prediction", spec, Path(folder))

    # What the trial held already was less than all prepared images.
    cached = cache_bytes(planned, grids) * trained["itemsize"] / 2 - trained["held"] if device == "cpu" else 0.0
    training_bytes = trained["peak"] + max(0.0, cached)
    largest = max(needs, key=lambda need: need.bytes, default=None)
    if largest is not None and training_bytes > facts.memory_bytes:
        raise no_room(kind, planned, facts, device, largest, factor=training_bytes / largest.bytes)
    if largest is not None and not trained["peak"]:  # the system does not say what a process holds
        training_bytes = largest.bytes
    stages = tuple(_stage(kind, most, need, facts, trained["stages"], len(roles["validation"])) for need in needs)
    return Estimate(
        method=method,
        dataset=dataset.name,
        landmarks=len(dataset.names),
        training_cases=len(training),
        validation_cases=len(cases) - len(training),
        device=device,
        precision=precision,
        stages=stages,
        start_seconds=trained["start"],
        prepare_seconds=sum(trained["alignment"] + trained["element"] * math.prod(grid.shape) for grid in grids),
        finish_seconds=_finish_seconds(dataset, roles, trained, predicted) + left_out * predicted["seconds"],
        prediction_seconds=predicted["seconds"],
        training_bytes=training_bytes,
        prediction_bytes=predicted["peak"],
        free_bytes=facts.memory_bytes,
        folds=folds or 1,
    )


def _table(stages: Sequence[StageEstimate]) -> list[str]:
    rows = [("stage", "parameters", "steps", "training", "validation", "memory")]
    rows += [
        (
            s.name,
            f"{s.parameters:,}",
            f"{s.steps:,}",
            _minutes(s.least_seconds, s.seconds),
            _minutes(s.validation_seconds),
            _gib(s.bytes),
        )
        for s in stages
    ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join((f"  {first:{widths[0]}}", *(c.rjust(w) for c, w in zip(others, widths[1:], strict=True))))
        for first, *others in rows
    ]


def _chosen_images(cases: Sequence[Case], grids: Sequence[Grid]) -> dict[str, Any]:
    """A "typical" and the "largest" Grid, and the "images" that have them."""
    sizes = np.array([math.prod(grid.extent) for grid in grids])
    typical, largest = int(np.abs(sizes - sizes.mean()).argmin()), int(sizes.argmax())
    if typical == largest and len(cases) > 1:  # all alike: two images still tell more than one
        largest = (typical + 1) % len(cases) if sizes.min() == sizes.max() else largest
    images = [(str(cases[i].image_path), cases[i].reading) for i in dict.fromkeys((typical, largest))]
    return {"typical": grids[typical].to_dict(), "largest": grids[largest].to_dict(), "images": images}


def _stage(
    kind: Any, settings: Any, need: StageMemory, facts: DataFacts, measured: Mapping[str, Any], validation: int
) -> StageEstimate:
    """A stage's needs with the measured seconds of its parts times how often the training loop does them."""
    method = kind(settings, ndim=facts.grids[0].ndim, landmarks=facts.landmarks)
    steps = method.stage_plan(need.name).steps
    parts = measured[need.name]["most"]
    every = max(1, steps // settings.validations)
    validations = math.ceil(steps / every) + 1  # and once more, to tell the error of what was kept
    saved = math.ceil(steps / settings.checkpoint_every) * parts["checkpoint"]
    return StageEstimate(
        name=need.name,
        parameters=need.parameters,
        steps=steps,
        bytes=need.bytes,
        seconds=steps * parts["step"] + saved,
        least_seconds=steps * measured[need.name].get("least", parts)["step"] + saved,
        validation_seconds=validations * validation * parts["validation"],
    )


def _finish_seconds(
    dataset: Dataset, roles: Mapping[str, Sequence[Case]], trained: Mapping[str, Any], predicted: Mapping[str, Any]
) -> float:
    """Seconds after the last stage: presence and error bounds are learned from predictions of some cases."""
    from anatomark.methods.presence import telling_cases

    validation = len(roles["validation"])
    if not trained["stages"]:
        return trained["finish"] + 2 * validation * predicted["seconds"]  # for the error to tell, and for bounds
    states = np.stack([case.reference.select(dataset.names).states for role in roles for case in roles[role]])
    held_out = np.arange(len(states)) >= len(roles["train"])
    last = list(trained["stages"].values())[-1]["most"]
    return (len(telling_cases(states, held_out)) + validation) * last["validation"]


def _minutes(least: float, most: float | None = None) -> str:
    """Seconds as minutes: "0.4 min", "12 min", or "5.1 to 12 min" where the two differ."""
    low, high = _number(least / 60), _number((least if most is None else most) / 60)
    if high == "0.0":
        return "under 0.1 min"
    return f"{low} min" if low == high else f"{low} to {high} min"


def _number(value: float) -> str:
    return f"{value:.1f}" if value < 10 else f"{value:,.0f}"


def _gib(size: float) -> str:
    return f"{size / GIB:.2f} GiB" if size < 10 * GIB else f"{size / GIB:,.0f} GiB"

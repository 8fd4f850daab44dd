"""The training loop: one stage of a method, from its first step to the weights it keeps.

Where the loss diverges or is no number any more, the stage goes back to its last checkpoint, once, and on from there
with half the learning rate; no checkpoint and no model has weights that are not finite.

Randomness is drawn anew for each step from (seed, stage, step), and for each example from its place in the batch, so a
resumed run goes on exactly where the checkpoint was written, and examples are the same in any number of processes.

Where several processes train, all run this loop and are the same after each step: each learns from its part of the
batch and validates its part of the cases; what one of them measures by itself, it takes from process 0.
"""

from __future__ import annotations

import copy
import io
import json
import math
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, cast

import numpy as np
import torch
from torch import nn

from anatomark.data.cache import Cache
from anatomark.errors import ModelError
from anatomark.formats.atomic import replacing
from anatomark.methods.validation import mean_error
from anatomark.nets.weights import load_network, load_tensors, save_tensors, under_prefix, with_prefix
from anatomark.training.budget import Budget
from anatomark.training.checkpoint import optimizer_tensors, restore_optimizer
from anatomark.training.learner import Learner
from anatomark.training.log import RunLog
from anatomark.training.processes import ALONE, Processes
from anatomark.training.run_folder import RunFolder
from anatomark.training.schedule import shuffled
from anatomark.training.validation_picture import validation_picture

if TYPE_CHECKING:
    from lightning_fabric import Fabric
    from rich.progress import Progress

    from anatomark.core.grid import Floats
    from anatomark.methods.interface import Batch, Networks, Staged

LOG_EVERY = 10
DIVERGED = 1000.0  # a loss of so many times that of the stage's first steps
MIN_VALIDATION_CASES = 5  # to choose the best weights by, and to stop early


class DivergedError(Exception):
    """A stage whose loss or weights are no numbers any more, or whose loss has grown beyond all measure."""


@dataclass
class Progressed:
    """How far a stage is, as its checkpoint says: steps, validations, and seconds by the clock and of a CPU's cores.

    `first_loss` is the mean of its first steps, `rate` the part of the planned learning rate that it learns with.
    """

    stage: str
    steps: int
    step: int = 0
    best_score: float | None = None
    best_step: int = 0
    seconds: float = 0.0
    core_seconds: float = 0.0
    validated: list[float] = field(default_factory=list[float])  # seconds of each validation
    first_loss: float | None = None
    rate: float = 1.0


@dataclass(frozen=True, eq=False)
class RunContext:
    """What the stages of a run share: the device, the run folder with its log, the progress bar and the processes.

    `precision` is that of `fabric`.
    """

    fabric: Fabric
    run: RunFolder
    log: RunLog
    progress: Progress
    processes: Processes = ALONE
    precision: str = "32-true"


class StageLoop:
    """One stage in training: its network that learns, the best weights so far, and its progress.

    `networks` are of the stages before. With a `budget` the number of steps is corrected on the way, so that the stage
    ends when its time is over.
    """

    def __init__(
        self,
        context: RunContext,
        staged: Staged,
        stage: str,
        networks: Networks,
        cache: Cache,
        budget: Budget | None = None,
    ) -> None:
        self.staged, self.stage, self.networks, self.cache, self.budget = staged, stage, networks, cache, budget
        self.fabric, self.run_folder, self.log = context.fabric, context.run, context.log
        self.progress, self.training, self.processes = context.progress, staged.plan.training, context.processes
        self.drawing = self.training.validation_pictures and self.fabric.is_global_zero
        self._begin()
        self.bar = self.progress.add_task(stage, total=self.state.steps, status="")

    def _begin(self) -> None:
        """The stage as it is before its first step."""
        self.learner = Learner(self.fabric, self.staged, self.stage, self.networks, self.cache)
        self.plan, self.state = self.learner.plan, Progressed(self.stage, self.learner.plan.steps)
        self.best = copy.deepcopy(self.learner.network)
        self.sums: dict[str, torch.Tensor] = {}  # of the loss terms since the last line of the log

    def run(self) -> tuple[nn.Module, float | None]:
        """The network with the weights it is to keep, trained on the cache, and its error on validation cases.

        Kept are the averaged weights (EMA) of the validation with the lowest mean radial error; the last ones where
        fewer than MIN_VALIDATION_CASES cases validate, for so few choose by chance. Raises ModelError where the stage
        diverges with half the learning rate, too.
        """
        self._resume()
        while True:
            try:
                self._run_steps()
                break
            except DivergedError as error:
                self._step_back(error)
        return self.best if self.cache.validation else self.learner.candidate, self.state.best_score

    def _resume(self) -> None:
        """Go on from the checkpoint of the run, where it is of this stage."""
        if self.run_folder.checkpoint.exists():
            tensors, metadata = load_tensors(self.run_folder.checkpoint)
            saved = json.loads(metadata["state"])
            if saved["stage"] == self.stage:
                self.state = Progressed(**saved)
                for part, module in self._parts().items():
                    load_network(module, under_prefix(part, tensors), str(self.run_folder.checkpoint))
                restore_optimizer(self.learner.optimizer, under_prefix("optimizer", tensors))
                self.fabric.print(f"{self.stage}: resuming from step {self.state.step}")
        self.log.rewind(self.stage, self.state.step)

    def _step_back(self, error: DivergedError) -> None:
        """Go back to the last checkpoint or the beginning, with half the learning rate; ModelError the next time."""
        failed = self.state
        if failed.rate < 1:
            todo = "train again into another --out with a lower learning rate or precision=32-true"
            raise ModelError(f"{self.stage}: {error}, with half the learning rate, too; {todo}")
        self._begin()
        self._resume()
        spent = {"seconds": failed.seconds, "core_seconds": failed.core_seconds}
        self.state = replace(self.state, rate=0.5, **spent)
        self.log.add(self.stage, self.state.step, {"rate": self.state.rate})
        if self.state.step:
            self._save()
        self.fabric.print(f"{self.stage}: {error}; again from step {self.state.step} with half the learning rate")

    def _run_steps(self) -> None:
        """All steps that are left, with their validations, log and checkpoints."""
        reader = None if self.cache.in_memory else ThreadPoolExecutor(1)
        try:
            self._take_steps(reader)
        finally:
            if reader:
                reader.shutdown(cancel_futures=True)

    def _take_steps(self, reader: ThreadPoolExecutor | None) -> None:
        """`_run_steps`, in which `reader` draws the next batch during a step."""
        state, device = self.state, self.fabric.device
        upcoming = reader.submit(self._draw, state.step) if reader else None
        self.progress.update(self.bar, completed=state.step, total=state.steps)
        self.learner.network.train()
        began, worked = time.monotonic() - state.seconds, time.process_time() - state.core_seconds
        while state.step < state.steps:
            batch = upcoming.result() if upcoming else self._draw(state.step)
            upcoming = reader.submit(self._draw, state.step + 1) if reader and state.step + 1 < state.steps else None
            for name, value in self.learner.learn(batch, step=state.step, steps=state.steps, rate=state.rate).items():
                self.sums[name] = self.sums.get(name, torch.zeros((), device=device)) + value.detach()
            every = max(1, state.steps // (self.budget or self.training).validations)
            state.step += 1
            state.seconds, state.core_seconds = time.monotonic() - began, time.process_time() - worked
            self.progress.update(self.bar, completed=state.step)
            if state.step % LOG_EVERY == 0 or state.step == state.steps:
                self._log()
            if self.cache.validation and (state.step % every == 0 or state.step == state.steps):
                self._validate()
                if state.step - state.best_step >= self.training.patience * every:
                    since = f"no improvement since step {state.best_step}"
                    self.fabric.print(f"{self.stage}: early stopping at step {state.step}: {since}")
                    state.steps = state.step
            if self.budget is not None and state.step < state.steps:
                elapsed = time.monotonic() - began
                fitting = self.budget.corrected_steps(state.step, state.steps, elapsed, state.validated)
                state.steps = self.processes.share(fitting)
                self.progress.update(self.bar, total=state.steps)
            checkpoint_every = LOG_EVERY * max(1, self.training.checkpoint_every // LOG_EVERY)
            if state.step % checkpoint_every == 0 or state.step >= state.steps:
                self._save()
        self.progress.update(self.bar, completed=state.steps, status=self._score() if self.cache.validation else "")

    def _draw(self, step: int) -> Batch:
        batch, seed, cases = self.plan.batch, self.training.seed, self.cache.training
        rng = np.random.default_rng([seed, self.staged.stages.index(self.stage), step])
        places = self.processes.places(batch)
        chosen = [cases[shuffled(step * batch + place, len(cases), seed)] for place in places]
        mirrored, device = self.cache.mirrored, self.fabric.device
        return self.staged.batch(self.stage, chosen, mirrored, rng, device, first=places.start)

    def _log(self) -> None:
        """A line with the mean losses since the last one; DivergedError where they are beyond all measure."""
        state = self.state
        count = LOG_EVERY if state.step % LOG_EVERY == 0 else state.step % LOG_EVERY
        own = torch.stack(list(self.sums.values()))
        sums = cast("torch.Tensor", self.fabric.all_reduce(own, reduce_op="sum"))
        means = {name: round(value / count, 6) for name, value in zip(self.sums, sums.tolist(), strict=True)}
        self.sums = {}
        loss = means["loss"]
        if not math.isfinite(loss) or (state.first_loss and loss > DIVERGED * abs(state.first_loss)):
            raise DivergedError(f"the loss is {loss:g} at step {state.step}")
        state.first_loss = loss if state.first_loss is None else state.first_loss
        seen = _patches_seen(self.plan.patches, state.step, state.seconds)
        spent = {"seconds": round(state.seconds, 1), "core_seconds": round(state.core_seconds, 1)}
        self.log.add(self.stage, state.step, means, **seen, **spent)
        if seen:
            speed = f"{seen['patches'] / 1e6:.2f} M patches, {seen['patches_per_second']:,} a second"
            validated = [self._score()] if state.validated else []
            self.progress.update(self.bar, status="; ".join([speed, *validated]))

    def _validate(self) -> None:
        """The error of the weights of now; they are kept where it is the lowest, or where too few cases validate."""
        state, started = self.state, time.monotonic()
        self._require_finite()
        networks = {**self.networks, self.stage: self.learner.candidate}
        dealt = self.processes.deal(self.cache.validation)
        errors = self.processes.gather([*self.staged.errors(self.stage, networks, dealt, self.fabric.device)])
        score = self.processes.share(mean_error(np.array(errors)))
        seconds = {"validation_seconds": round(time.monotonic() - started, 3)}
        if self.drawing:
            self._draw_validation(networks, np.array(errors))
            seconds["picture_seconds"] = round(time.monotonic() - started - seconds["validation_seconds"], 3)
        self.learner.network.train()
        self.log.add(self.stage, state.step, {"validation_mre": round(score, 6)}, **seconds)
        self.progress.update(self.bar, status=f"validation {score:.2f}")
        few = len(self.cache.validation) < MIN_VALIDATION_CASES
        if few or state.best_score is None or not score >= state.best_score:
            state.best_score, state.best_step = score, state.step
            self.best.load_state_dict(self.learner.candidate.state_dict())
        state.validated.append(round(time.monotonic() - started, 3))

    def _draw_validation(self, networks: Networks, errors: Floats) -> None:
        """A picture of two validation cases, for TensorBoard and the run folder; what fails ends no training."""
        try:
            picture = validation_picture(self.staged, self.stage, networks, self.cache, errors, self.fabric.device)
            if picture is None:
                return
            data = io.BytesIO()
            picture.save(data, "JPEG", quality=85)
            with replacing(self.run_folder.picture(self.stage)) as partial:
                partial.write_bytes(data.getvalue())
            self.log.show(f"{self.stage}/validation", data.getvalue(), picture.size, self.state.step)
        except Exception as error:  # of any kind: the training is worth more than its pictures
            self.drawing = False
            self.fabric.print(f"{self.stage}: no more pictures of validation cases: {error}")

    def _score(self) -> str:
        return f"validation {self.state.best_score:.2f}"

    def _require_finite(self) -> None:
        """DivergedError where weights are no numbers any more."""
        for module in (self.learner.network, self.learner.averaged):
            if not all(torch.isfinite(tensor).all() for tensor in module.state_dict().values()):
                raise DivergedError(f"weights are not finite at step {self.state.step}")

    def _save(self) -> None:
        self._require_finite()
        tensors = {
            k: v for name, part in self._parts().items() for k, v in with_prefix(name, part.state_dict()).items()
        }
        tensors |= with_prefix("optimizer", optimizer_tensors(self.learner.optimizer))
        if self.fabric.is_global_zero:
            save_tensors(self.run_folder.checkpoint, tensors, {"state": json.dumps(asdict(self.state))})

    def _parts(self) -> dict[str, nn.Module]:
        return {"network": self.learner.network, "averaged": self.learner.averaged, "best": self.best}


def _patches_seen(each: int, steps: int, seconds: float) -> dict[str, int]:
    """Patches learned from so far, and per second; nothing for a stage that does not learn from patches."""
    return {"patches": each * steps, "patches_per_second": round(each * steps / max(seconds, 1e-9))} if each else {}

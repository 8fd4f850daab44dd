"""The engine for a Ray cluster: actors that each load the model once; where one ends, a fresh one takes its place.

Ray Core, not Ray Data: the ledger already says what is done, and no row may come twice. A part at which an actor ends
is predicted again by a fresh one, no images together; where that ends, too, each image is a task of its own. An image
at which two end is at fault, and its row says so. A manifest's paths have to be those that every node sees; URIs are.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from anatomark.cohort.work import Order, Predicted, Predictor, Task
from anatomark.errors import AnatomarkError, ModelError, SettingsError
from anatomark.outcome import Outcome
from anatomark.training.ray_cluster import connected, require_ray

_IN_FLIGHT = 2  # tasks of an actor: one at work, and one that waits
_POLL = 1.0  # seconds
_ATTEMPTS = 2
_STARTS = 3  # of actors, one after another, that end before they have loaded the model


@dataclass(frozen=True)
class RayActors:
    """`workers` actors on the cluster at `address` (auto: the running one, local: one of its own, on this machine).

    Each takes a core, so many `gpus` (a part of one, too) and so many bytes of memory, as far as Ray plans for it.
    """

    order: Order
    address: str
    workers: int
    gpus: float = 0.0
    memory_bytes: int | None = None

    def run(self, tasks: Iterator[Task | None]) -> Iterator[Predicted | None]:
        """As `work.Engine.run`. Raises SettingsError where there is no such cluster, or none that has so much, and
        ModelError or the error of an actor that cannot load the model."""
        require_ray()
        import ray  # pyright: ignore[reportMissingImports]

        with connected(ray, self.address):
            dealer = _Dealer(ray, self)
            try:
                _require(ray.cluster_resources(), {"CPU": 1, "GPU": self.gpus, "memory": self.memory_bytes or 0})
                yield from dealer.run(tasks)
            finally:
                dealer.end()

    def start(self, ray: Any, place: int) -> Any:
        """A fresh actor. The GPU that Ray gives it is its only one; without, the actors share those of a node."""
        needs = {"num_cpus": 1, "num_gpus": self.gpus, "max_restarts": 0}
        if self.memory_bytes is not None:
            needs["memory"] = self.memory_bytes
        return ray.remote(**needs)(_Actor).remote(self.order, 0 if self.gpus else place)


class _Actor:
    """A model in a process of the cluster. Errors come as values: Ray wraps what is raised."""

    def __init__(self, order: Order, place: int) -> None:
        self._given = (order, place)

    def load(self) -> AnatomarkError | None:
        try:
            self._predictor = Predictor(*self._given)
        except AnatomarkError as error:
            return error
        return None

    def predict(self, task: Task) -> list[Predicted] | AnatomarkError:
        try:
            return [
                predicted
                for entries in self._predictor.batches_of(task)
                for predicted in self._predictor.predict(task.number, entries)
            ]
        except AnatomarkError as error:
            return error


@dataclass(frozen=True)
class _Trial:
    """A task, and the number of actors that have ended at it."""

    task: Task
    failed: int = 0
    alone: bool = False  # an image of a part that ended two actors

    @property
    def suspect(self) -> bool:
        return self.alone or self.failed > 0


class _Dealer:
    """Deals tasks out to actors, and again where an actor ended."""

    def __init__(self, ray: Any, engine: RayActors) -> None:
        self.ray, self.engine = ray, engine
        self.actors: list[Any] = []
        self.calls: list[dict[Any, _Trial | None]] = [{} for _ in range(engine.workers)]  # None is the loading
        self.again: deque[_Trial] = deque()
        self.starts = 0  # without success

    def run(self, tasks: Iterator[Task | None]) -> Iterator[Predicted | None]:
        more = True
        while True:
            for place in range(self.engine.workers):
                more = self._deal(place, tasks, more)
            waiting = [call for calls in self.calls for call in calls]
            if not more and not self.again and not any(trial for calls in self.calls for trial in calls.values()):
                return
            self.ray.wait(waiting, timeout=_POLL)
            for place in range(self.engine.workers):
                yield from self._hear(place)
            yield None

    def end(self) -> None:
        for actor in self.actors:
            self.ray.kill(actor)

    def _deal(self, place: int, tasks: Iterator[Task | None], more: bool) -> bool:
        """Give an actor what it has room for; whether there may be more tasks. A suspect is alone with its actor."""
        if place == len(self.actors):
            self.actors.append(self._started(place))
        calls = self.calls[place]
        while len(calls) < _IN_FLIGHT and not any(trial and trial.suspect for trial in calls.values()):
            if self.again:
                if self.again[0].suspect and any(calls.values()):
                    break
                trial = self.again.popleft()
            elif more:
                try:
                    task = next(tasks)
                except StopIteration:
                    return False
                if task is None:
                    break
                trial = _Trial(task)
            else:
                break
            calls[self.actors[place].predict.remote(trial.task)] = trial
        return more

    def _started(self, place: int) -> Any:
        actor = self.engine.start(self.ray, place)
        self.calls[place] = {actor.load.remote(): None}
        return actor

    def _hear(self, place: int) -> Iterator[Predicted]:
        """The outcomes of the calls of an actor that are done, in their order; what follows where it has ended."""
        for call, trial in list(self.calls[place].items()):
            if not self.ray.wait([call], timeout=0)[0]:
                return
            try:
                answer = self.ray.get(call)
            except (self.ray.exceptions.RayActorError, self.ray.exceptions.OutOfMemoryError) as error:
                yield from self._ended(place, trial, error)
                return
            if isinstance(answer, AnatomarkError):
                raise answer
            del self.calls[place][call]
            if answer is None:
                self.starts = 0
            else:
                yield from answer

    def _ended(self, place: int, trial: _Trial | None, error: Exception) -> Iterator[Predicted]:
        """Try again what the actor was at; calls that only waited for it have no part in that."""
        waited = [other for other in self.calls[place].values() if other is not None and other is not trial]
        self.again.extendleft(reversed(waited))
        reason = " ".join(str(error).split())[:200]
        self.actors[place] = self._started(place)
        if trial is None:
            self.starts += 1
            if self.starts == _STARTS:
                raise ModelError(f"{_STARTS} actors ended while they loaded the model: {reason}; give fewer --workers")
            return
        task, failed = trial.task, trial.failed + 1
        if failed < _ATTEMPTS:
            self.again.append(_Trial(replace(task, alone=True), failed, trial.alone))
        elif len(task.entries) > 1:
            self.again.extend(_Trial(replace(task, entries=(entry,)), alone=True) for entry in task.entries)
        else:
            for entry in task.entries:
                line = f"{entry.place}: the actor that predicted it ended twice: {reason}"
                yield Predicted(task.number, Outcome.failed(entry.id, f"{line}; repair the image or leave it out"))


def _require(there: Mapping[str, float], needed: Mapping[str, float]) -> None:
    short = [f"{there.get(name, 0):g} {name}, {n:g} needed" for name, n in needed.items() if n > there.get(name, 0)]
    if short:
        raise SettingsError(f"the Ray cluster has {'; '.join(short)} for a worker; ask for less")

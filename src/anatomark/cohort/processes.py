"""The engine for one machine: processes that each load the model once, watched, and started again where they end.

An image at which a process ends is tried once more, in a fresh process, in which it is the first; where that ends,
too, the image is at fault, and its row says so. The other images of the part lose nothing. Where a process ends at
several images that it predicts together, what is left of the part is predicted one image at a time.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import connection, get_context
from typing import Any

from anatomark.cohort.memory import resident_bytes
from anatomark.cohort.work import Order, Predicted, Task
from anatomark.cohort.worker_process import Ready, Stopped, Together, main
from anatomark.errors import ModelError
from anatomark.outcome import Outcome

SECONDS = 1800.0  # for one image
_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
_POLL = 0.2  # seconds between looks at the processes' memory and time
_ATTEMPTS = 2
_START_SECONDS = 900.0  # to load the model
_STARTS = 3  # of a process that ends before it has loaded the model


@dataclass(frozen=True)
class Processes:
    """`workers` processes, each of which may take so much memory, and so many seconds for an image."""

    order: Order
    workers: int
    memory_bytes: int
    seconds: float = SECONDS

    def run(self, tasks: Iterator[Task | None]) -> Iterator[Predicted | None]:
        """As `work.Engine.run`. Raises the error of a process that cannot load the model."""
        team = [_Worker(self.order, place) for place in range(self.workers)]
        with _thread_share(max(1, _cores() // self.workers)):
            try:
                yield from self._run(team, tasks)
            finally:
                for worker in team:
                    worker.end()

    def _run(self, team: list[_Worker], tasks: Iterator[Task | None]) -> Iterator[Predicted | None]:
        more = True
        while True:
            for worker in team:
                if more and worker.idle:
                    more = worker.take(tasks)
            channels = {worker.channel: worker for worker in team if not worker.idle}
            if not channels:
                if not more:
                    return
                time.sleep(_POLL)
            for channel in connection.wait(list(channels), timeout=_POLL):
                yield from channels[channel].hear()
            for worker in channels.values():
                worker.watch(self.memory_bytes, self.seconds)
            yield None


class _Worker:
    """One process and its task; it is started when it gets its first, and again when it has ended."""

    def __init__(self, order: Order, place: int) -> None:
        self._given = (order, place)
        self._process: Any = None
        self.channel: Any = None
        self._task: Task | None = None
        self._done = 0  # images of the task
        self._together = 1  # images that it is at
        self._alone = False  # whether the task's images are predicted one at a time
        self._attempts = 0  # at the image that is next
        self._starts = 0  # without success
        self._ready = False
        self._since = 0.0
        self._killed_for = ""

    @property
    def idle(self) -> bool:
        return self._task is None

    def take(self, tasks: Iterator[Task | None]) -> bool:
        """Begin with the next of `tasks`, if there is one now; whether there may be more."""
        try:
            self._task = next(tasks)
        except StopIteration:
            return False
        if self._task is not None:
            self._done = self._attempts = 0
            self._alone = self._task.alone
            self._begin()
        return True

    def _begin(self) -> None:
        """Give the process, a new one where there is none, what is left of the task."""
        assert self._task is not None
        if self._process is None or not self._process.is_alive():
            self.end()
            context = get_context("spawn")
            self.channel, theirs = context.Pipe()
            self._process = context.Process(target=main, args=(theirs, *self._given), daemon=True)
            self._process.start()
            theirs.close()
            self._ready = False
        self._since, self._together = time.monotonic(), 1
        with suppress(OSError):  # it has just ended, which the channel tells
            self.channel.send(Task(self._task.number, self._task.entries[self._done :], self._alone))

    def hear(self) -> Iterator[Predicted]:
        """The next outcome that the process has; that of an image that killed it, too."""
        assert self._task is not None
        try:
            message = self.channel.recv()
        except (EOFError, OSError):
            yield from self._ended()
            return
        self._since = time.monotonic()
        if isinstance(message, Stopped):
            raise message.error
        if isinstance(message, Ready):
            self._ready, self._starts = True, 0
            return
        if isinstance(message, Together):
            self._together = message.images
            return
        yield message
        self._advance()

    def _advance(self) -> None:
        assert self._task is not None
        self._done, self._attempts, self._together = self._done + 1, 0, max(1, self._together - 1)
        if self._done == len(self._task.entries):
            self._task = None

    def _ended(self) -> Iterator[Predicted]:
        """Try the image again that the process was at; after the last attempt, the image is at fault."""
        assert self._task is not None
        self._process.join()
        reason, self._killed_for = self._killed_for or _how(self._process.exitcode), ""
        if not self._ready:
            self._starts += 1
            if self._starts == _STARTS:
                raise ModelError(
                    f"a process ended {_STARTS} times while it loaded the model: {reason}; give fewer --workers or "
                    "more --memory"
                )
        elif self._together > 1:
            self._alone = True
        else:
            self._attempts += 1
        if self._attempts == _ATTEMPTS:
            entry = self._task.entries[self._done]
            line = f"{entry.place}: the process that predicted it ended twice: {reason}"
            yield Predicted(self._task.number, Outcome.failed(entry.id, f"{line}; repair the image or leave it out"))
            self._advance()
        if self._task is not None:
            self._begin()

    def watch(self, memory_bytes: int, seconds: float) -> None:
        """End a process that takes too much; the channel tells then."""
        if self._process is None or self._killed_for:
            return
        if resident_bytes(self._process.pid) > memory_bytes:
            self._killed_for = f"it took more than {memory_bytes / 2**30:.3g} GiB of memory (--memory)"
        elif time.monotonic() - self._since > (seconds * self._together if self._ready else _START_SECONDS):
            self._killed_for = f"it took more than {seconds:g} s (--seconds)" if self._ready else "it took too long"
        if self._killed_for:
            self._process.kill()

    def end(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.join()
            self.channel.close()
            self._process = None


@contextmanager
def _thread_share(threads: int) -> Generator[None]:
    """Processes that are started meanwhile compute with so many threads, where the environment does not say."""
    if any(name in os.environ for name in _THREADS):
        yield
        return
    os.environ |= dict.fromkeys(_THREADS, str(threads))
    try:
        yield
    finally:
        for name in _THREADS:
            os.environ.pop(name, None)


def _cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _how(code: int | None) -> str:
    if code is not None and code < 0:
        return f"by {signal.Signals(-code).name}"
    return f"with exit code {code}"

"""The engine for one process: images are predicted in this one, which nothing protects from an image that kills it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

from anatomark.cohort.work import Order, Predicted, Predictor, Task

_POLL = 0.2  # seconds


@dataclass(frozen=True)
class ThisProcess:
    order: Order

    def run(self, tasks: Iterator[Task | None]) -> Iterator[Predicted | None]:
        """As `work.Engine.run`."""
        predictor: Predictor | None = None
        for task in tasks:
            if task is None:
                time.sleep(_POLL)
                yield None
                continue
            predictor = predictor or Predictor(self.order)
            for entries in predictor.batches_of(task):
                yield from predictor.predict(task.number, entries)

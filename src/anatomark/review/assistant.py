"""The model as an assistant: it predicts cases one after another beside the page, which goes on meanwhile."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from anatomark.data.cases import Case
from anatomark.errors import AnatomarkError
from anatomark.review.study import Answers

if TYPE_CHECKING:
    from anatomark.model import Model


@dataclass(frozen=True, eq=False)
class Job:
    """How a prediction stands: `told` is why it failed, or what a person should know of it."""

    state: Literal["none", "waiting", "done", "failed"]
    answers: Answers | None = None
    told: str = ""


class Assistant:
    """Predictions of `cases` for the landmarks `names` by `model`, asked for by number."""

    def __init__(self, model: Model, cases: Sequence[Case], names: Sequence[str]) -> None:
        self.model, self._cases, self._names = model, cases, names
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="assistant")
        self._jobs: dict[int, Future[Job]] = {}
        self._asking = threading.Lock()

    def ask(self, number: int) -> None:
        """Have case `number` predicted, unless that is waited for already."""
        with self._asking:
            job = self._jobs.get(number)
            if job is None or job.done():
                self._jobs[number] = self._worker.submit(self._predict, number)

    def job(self, number: int) -> Job:
        """How the prediction of case `number` stands."""
        job = self._jobs.get(number)
        if job is None:
            return Job("none")
        return job.result() if job.done() else Job("waiting")

    def close(self) -> None:
        """Let what runs end, and nothing else begin."""
        self._worker.shutdown(wait=False, cancel_futures=True)

    def _predict(self, number: int) -> Job:
        case = self._cases[number]
        try:
            found = self.model.predict(case.read_image(), source=str(case.image_path))
        except AnatomarkError as error:
            return Job("failed", told=str(error))
        return Job("done", Answers.of(found, self._names), found.remarks or "")

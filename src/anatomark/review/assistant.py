"""The model as an assistant: it predicts cases one after another while the page stays usable."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from anatomark.data.cases import Case
from anatomark.errors import AnatomarkError
from anatomark.review.study import CasePrediction

if TYPE_CHECKING:
    from anatomark.model import Model


@dataclass(frozen=True, eq=False)
class Job:
    """The state of a prediction: `message` is why it failed, or why a person should check it."""

    state: Literal["none", "waiting", "done", "failed"]
    prediction: CasePrediction | None = None
    message: str = ""


class Assistant:
    """Predictions of `cases` for the landmarks `names` by `model`, requested by number."""

    def __init__(self, model: Model, cases: Sequence[Case], names: Sequence[str]) -> None:
        self.model, self._cases, self._names = model, cases, names
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="assistant")
        self._jobs: dict[int, Future[Job]] = {}
        self._requesting = threading.Lock()

    def request(self, number: int) -> None:
        """Request the prediction of case `number`, unless it is waiting already."""
        with self._requesting:
            job = self._jobs.get(number)
            if job is None or job.done():
                self._jobs[number] = self._worker.submit(self._predict, number)

    def job(self, number: int) -> Job:
        """The state of the prediction of case `number`."""
        job = self._jobs.get(number)
        if job is None:
            return Job("none")
        return job.result() if job.done() else Job("waiting")

    def close(self) -> None:
        """Cancel waiting predictions; a running one ends by itself."""
        self._worker.shutdown(wait=False, cancel_futures=True)

    def _predict(self, number: int) -> Job:
        case = self._cases[number]
        try:
            prediction = self.model.predict(case.read_image(), source=str(case.image_path))
        except AnatomarkError as error:
            return Job("failed", message=str(error))
        return Job("done", CasePrediction.of(prediction, self._names), prediction.remarks or "")

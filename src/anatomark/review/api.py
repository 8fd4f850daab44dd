"""What the page requests, as JSON: one study with its review, its images and its assistant."""

from __future__ import annotations

from typing import Any

from anatomark.errors import AnatomarkError, UnknownNameError
from anatomark.review.assistant import Assistant
from anatomark.review.entries import CaseReview, Placement
from anatomark.review.image_cache import ImageCache
from anatomark.review.page_data import case_detail, case_summary, review_of
from anatomark.review.record import Record
from anatomark.review.study import CasePrediction, Study
from anatomark.review.view import viewer_from_world

ADAPT_FROM = 5  # accepted cases


class ReviewApi:
    """Answers, ready for JSON, about the cases of `study` by number.

    `adapt` is the command that adapts the model to the accepted cases, which the page shows once they are enough.
    """

    def __init__(self, study: Study, record: Record, assistant: Assistant | None = None, adapt: str = "") -> None:
        self.study, self.record, self.assistant, self.adapt = study, record, assistant, adapt
        self.images = ImageCache(study.cases)
        self._names = study.dataset.names

    def overview(self) -> dict[str, Any]:
        """The study and a summary of each of its cases."""
        dataset = self.study.dataset
        return {
            "name": dataset.name,
            "reviewer": self.record.reviewer,
            "file": str(self.record.table),
            "ndim": dataset.ndim,
            "unit": dataset.unit,
            "landmarks": list(self._names),
            "splits": list(dataset.splits),
            "assistant": None if self.assistant is None else self.assistant.model.dataset,
            "adapt": {"from": ADAPT_FROM, "command": self.adapt} if self.adapt else None,
            "cases": [self.summary(number) for number in range(len(self.study.cases))],
        }

    def summary(self, number: int) -> dict[str, Any]:
        """A case as the list shows it."""
        case = self.study.cases[number]
        return case_summary(case, self._names, self.record.case(case.id), self._prediction_of(number))

    def case(self, number: int) -> dict[str, Any]:
        """All of a case but its image: landmarks, review, and the map from world to the viewer's coordinates."""
        case = self.study.cases[number]
        review = self.record.case(case.id)
        image: dict[str, Any]
        try:
            grid = case.read_grid()
            image = {
                "viewer_from_world": viewer_from_world(grid).tolist(),
                "shape": list(grid.shape[::-1]),
                "spacing": list(grid.spacing[::-1]),
                "error": None,
            }
        except AnatomarkError as error:
            image = {"error": str(error)}
        return {
            "number": number,
            "id": case.id,
            "file": case.image_path.name,
            "image": image,
            "landmarks": case_detail(self._names, case.reference, review, self._prediction_of(number)),
            "review": review_of(review),
        }

    def change(
        self, number: int, base: int, placements: dict[str, Any], accepted: bool | None, note: str | None
    ) -> dict[str, Any]:
        """The review and the summary of a case after a change.

        Raises ValueError for an invalid change, UnknownNameError, and as `Record.change`.
        """
        unknown = [name for name in placements if name not in self._names]
        if unknown:
            raise UnknownNameError(f"there is no landmark {unknown[0]!r}; reload the page")
        ndim = self.study.dataset.ndim
        read = {n: None if p is None else Placement.from_dict(p, "", ndim) for n, p in placements.items()}
        review = self.record.change(self.study.cases[number].id, base, read, accepted=accepted, note=note)
        return self.changed(number, review)

    def changed(self, number: int, review: CaseReview) -> dict[str, Any]:
        """A review, the summary of its case, and why the table is out of date, if it is."""
        return {"review": review_of(review), "line": self.summary(number), "behind": self.record.table_out_of_date}

    def prediction(self, number: int) -> dict[str, Any]:
        """The state of the prediction of a case."""
        job = None if self.assistant is None else self.assistant.job(number)
        if job is None:
            raise UnknownNameError("no model was given; start the review with --model RUN")
        done = job.state == "done"
        case = self.study.cases[number]
        review = self.record.case(case.id)
        return {
            "state": job.state,
            "told": job.message,
            "landmarks": case_detail(self._names, case.reference, review, job.prediction) if done else [],
            "line": self.summary(number) if done else None,
        }

    def _prediction_of(self, number: int) -> CasePrediction | None:
        """The prediction by the assistant, if it was requested, else the one that the review was started with."""
        requested = None if self.assistant is None else self.assistant.job(number).prediction
        return requested or self.study.predictions.get(self.study.cases[number].id)

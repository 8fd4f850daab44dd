"""The desk: one study with its review, its images and its assistant; what the page asks for, it answers."""

from __future__ import annotations

from typing import Any

from anatomark.errors import AnatomarkError, UnknownNameError
from anatomark.review.assistant import Assistant
from anatomark.review.entries import CaseReview, Placement
from anatomark.review.images import Views
from anatomark.review.page_data import case_line, case_whole, review_of
from anatomark.review.record import Record
from anatomark.review.study import Answers, Study
from anatomark.review.view import viewer_from_world


class Desk:
    """Answers, ready for JSON, about the cases of `study` by number."""

    def __init__(self, study: Study, record: Record, assistant: Assistant | None = None) -> None:
        self.study, self.record, self.assistant = study, record, assistant
        self.views = Views(study.cases)
        self._names = study.dataset.names

    def overview(self) -> dict[str, Any]:
        """The study and a line for each of its cases."""
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
            "cases": [self.line(number) for number in range(len(self.study.cases))],
        }

    def line(self, number: int) -> dict[str, Any]:
        """A case as the list shows it."""
        case = self.study.cases[number]
        return case_line(case, self._names, self.record.case(case.id), self._answers(number))

    def case(self, number: int) -> dict[str, Any]:
        """All of a case but its image: landmarks, review, and how the viewer's world lies in ours."""
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
            "landmarks": case_whole(self._names, case.reference, review, self._answers(number)),
            "review": review_of(review),
        }

    def change(
        self, number: int, base: int, placements: dict[str, Any], accepted: bool | None, note: str | None
    ) -> dict[str, Any]:
        """The review and the line of a case after a change.

        Raises ValueError for what is no change, UnknownNameError, and as `Record.change`.
        """
        strange = [name for name in placements if name not in self._names]
        if strange:
            raise UnknownNameError(f"there is no landmark {strange[0]!r}; reload the page")
        ndim = self.study.dataset.ndim
        read = {n: None if p is None else Placement.from_dict(p, "", ndim) for n, p in placements.items()}
        review = self.record.change(self.study.cases[number].id, base, read, accepted=accepted, note=note)
        return self.changed(number, review)

    def changed(self, number: int, review: CaseReview) -> dict[str, Any]:
        """A review, the line of its case, and why the table lags behind, where it does."""
        return {"review": review_of(review), "line": self.line(number), "behind": self.record.behind}

    def prediction(self, number: int) -> dict[str, Any]:
        """How the prediction of a case stands."""
        job = None if self.assistant is None else self.assistant.job(number)
        if job is None:
            raise UnknownNameError("no model was given; start the review with --model RUN")
        done = job.state == "done"
        case = self.study.cases[number]
        review = self.record.case(case.id)
        return {
            "state": job.state,
            "told": job.told,
            "landmarks": case_whole(self._names, case.reference, review, job.answers) if done else [],
            "line": self.line(number) if done else None,
        }

    def _answers(self, number: int) -> Answers | None:
        """What the model says: that of the assistant where it was asked, else the predictions given."""
        asked = None if self.assistant is None else self.assistant.job(number).answers
        return asked or self.study.answers.get(self.study.cases[number].id)

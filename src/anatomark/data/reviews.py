"""Reviews: what people set in the review page (`anatomark review`), and how it takes the reference's place.

A review is a landmark table with a column `changed`, one file for each reviewer, and no observer: who corrects a
model's points is not independent of the model, and has no part in the mean of observers or in their statistics.
Landmark by landmark, the newest review of a case replaces the reference, also by `absent` and `not annotated`;
landmarks without a row keep the reference that they have.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from anatomark.data.annotations import TableSource, names_of, open_table
from anatomark.data.cases import Case
from anatomark.data.findings import Finding
from anatomark.data.reference import Review
from anatomark.data.schema import Annotations
from anatomark.errors import AnatomarkError, DescriptionError, ReviewError
from anatomark.formats.json_text import parsed
from anatomark.formats.text import composed, read_sheet

FOLDER = "annotations"
NO_REVIEWS = "none"  # as `reviews:` of a description


@dataclass(frozen=True, eq=False)
class ReviewSource:
    """The table of one reviewer."""

    reviewer: str
    table: TableSource

    def read(self, case: Case) -> Review | None:
        """What the reviewer set in a case, or None; raises as a table of annotations does."""
        rows = self.table.rows(case)
        landmarks = next(iter(self.table.read(case).values()), None)
        if landmarks is None or self.table.changed is None:
            return None
        changed = np.full(len(landmarks), "", dtype=self.table.changed.dtype)
        changed[self.table.landmark[rows]] = self.table.changed[rows]
        given = np.zeros(len(landmarks), dtype=bool)
        given[self.table.landmark[rows]] = True
        return Review(self.reviewer, landmarks, given, changed)


def review_folder(description: Path) -> Path:
    """Where the reviews of a description lie: annotations/ beside dataset.yaml, annotations/NAME beside NAME.yaml."""
    folder = description.absolute().parent / FOLDER
    return folder if description.stem == "dataset" else folder / description.stem


def is_review(path: Path) -> bool:
    """Whether the header of a table has the column `changed`."""
    try:
        return "changed" in map(str.lower, read_sheet(path).header)
    except AnatomarkError:
        return False


def find_reviews(rule: str | None, description: Path, sources: Sequence[Path]) -> list[Path]:
    """The review tables of a description whose `reviews:` is `rule`, None where it says nothing.

    Tables that are listed as annotations (`sources`) are those and no reviews. At the fixed place other tables are
    passed over; a rule that names a table without `changed` is a DescriptionError.
    """
    if rule == NO_REVIEWS:
        return []
    if rule is None:
        folder = review_folder(description)
        found = [path for path in sorted(folder.glob("*.csv")) if is_review(path)]
    else:
        whole = description.absolute().parent / rule
        found = sorted(Path(whole.anchor).glob(whole.relative_to(whole.anchor).as_posix()))
        strange = next((path for path in found if not is_review(path)), None)
        if strange is not None:
            raise DescriptionError(
                f"{description}: `reviews` finds {strange}, a table without a column `changed`; name the tables that "
                f"`anatomark review` wrote, or list this one in `annotations`"
            )
    listed = {path.resolve() for path in sources}
    return [path for path in found if path.resolve() not in listed]


def open_reviews(
    paths: Sequence[Path], cases: Sequence[Case], names: tuple[str, ...], ndim: int, *, strict: bool
) -> tuple[tuple[ReviewSource, ...], list[Finding]]:
    """The reviews in `paths`, and what is wrong with their names. A table that cannot be read is an error if `strict`,
    else a finding.
    """
    images = names_of(cases if paths else ())
    at = {case.id: k for k, case in enumerate(cases)}
    sources: list[ReviewSource] = []
    findings: list[Finding] = []
    for path in paths:
        part = Annotations(table=path.name, observer=path.stem, frame="LPS")  # an empty one does not say it
        try:
            sources.append(ReviewSource(path.stem, open_table(part, path, images, at, names, ndim, findings)))
        except AnatomarkError as error:
            if strict:
                raise
            advice = "correct the table, or move it away"
            findings.append(Finding("error", "review", str(error), advice, file=str(path)))
    return tuple(sources), findings


def accepted_cases(folder: Path) -> set[str]:
    """The cases that any reviewer has accepted, by the NAME.cases.json in a folder that `anatomark review` wrote.

    Raises ReviewError for a folder without an accepted case, or a damaged file.
    """
    accepted: set[str] = set()
    for path in sorted(folder.glob("*.cases.json")):
        try:
            cases = parsed(path.read_text(encoding="utf-8"))["cases"]
            accepted |= {composed(str(case)) for case, about in cases.items() if about["accepted"] is not None}
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            raise ReviewError(f"{path} is damaged; open the review again, which writes it anew") from None
    if not accepted:
        raise ReviewError(f"{folder} has no accepted case; give the folder of a review, and accept cases there (key A)")
    return accepted


def reviews_of(cases: Sequence[Case]) -> tuple[ReviewSource, ...]:
    """The reviews of the cases of a data set in which anything was set."""
    sources = cases[0].annotation.reviews if cases else ()
    return tuple(source for source in sources if isinstance(source, ReviewSource) and source.table.starts[-1])


def describe_reviews(cases: Sequence[Case]) -> list[str]:
    """A line for each review that takes part in the reference: who, how much, from which file."""
    lines: list[str] = []
    for source in reviews_of(cases):
        placed, touched = int(source.table.starts[-1]), int(np.count_nonzero(np.diff(source.table.starts)))
        lines.append(
            f"review of {source.reviewer}: {_count(placed, 'landmark')} in {_count(touched, 'case')} "
            f"replace{'s' * (placed == 1)} the reference ({source.table.path})"
        )
    return lines


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'s' * (number != 1)}"

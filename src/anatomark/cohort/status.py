"""What is there of a cohort, and what is missing."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from anatomark.cohort.extra import require_cohort
from anatomark.cohort.ledger import Ledger, open_ledger
from anatomark.cohort.store import Store

_SHOWN = 20


@dataclass(frozen=True)
class Status:
    """Of so many `images` in so many `parts`, `predicted` have points and `failed` do not; the parts with the numbers
    `missing` (from 1) are not there. `reasons` (id, reason) has the first of the failed images."""

    images: int
    parts: int
    predicted: int
    failed: int
    missing: tuple[int, ...]
    reasons: tuple[tuple[str, str], ...] = ()

    @property
    def complete(self) -> bool:
        return not self.missing

    def __str__(self) -> str:
        open_images = self.images - self.predicted - self.failed
        text = f"{self.images} images: {self.predicted} predicted, {self.failed} failed, {open_images} open"
        if self.missing:
            text += f"; {len(self.missing)} of {self.parts} parts are missing: {ranges(self.missing)}"
        return text


def ranges(numbers: tuple[int, ...]) -> str:
    """1-3, 7, 9-12: runs of consecutive numbers, the first few of them."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    texts = [str(first) if first == last else f"{first}-{last}" for first, last in runs[:_SHOWN]]
    return ", ".join(texts) + (" ..." if len(runs) > _SHOWN else "")


def cohort_status(out: str | Path) -> Status:
    """The Status of the cohort in a folder or URI. Raises OutputError where there is none."""
    require_cohort()
    return status_of(open_ledger(Store(str(out)), None))


def status_of(ledger: Ledger) -> Status:
    """The Status of all parts; one is read at a time."""
    present = ledger.present()
    predicted = failed = 0
    reasons: list[tuple[str, str]] = []
    for number in sorted(present):
        errors = [(id, error) for id, error in ledger.errors(number) if error]
        predicted += ledger.size(number) - len(errors)
        failed += len(errors)
        reasons += errors[: max(0, _SHOWN - len(reasons))]
    missing = tuple(number for number in range(1, ledger.parts + 1) if number not in present)
    return Status(ledger.record.images, ledger.parts, predicted, failed, missing, tuple(reasons))

"""Which cases a training learns from, and which validate it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from anatomark.data.splits import split_validation
from anatomark.errors import SettingsError, UnknownNameError

if TYPE_CHECKING:
    from anatomark.data.description import Case, Dataset

VALIDATION_NAMES = ("validation", "val", "valid")
FEWEST_SUBJECTS = 4  # for some of them to be set aside for validation


def training_roles(
    dataset: Dataset, train_split: str, validation_split: str | None, fraction: float, seed: int
) -> dict[str, Sequence[Case]]:
    """{"train": cases, "validation": cases} by the rules of `train`; cases without annotations are left out."""
    if not dataset.splits:
        cases = dataset.cases
    elif train_split in dataset.splits:
        cases = dataset.split(train_split)
    else:
        raise UnknownNameError(
            f"{dataset.path} has no split {train_split!r}; it has {', '.join(dataset.splits)}. "
            "Name the one to learn from with --train-split, or map it in `splits` of the description"
        )
    if validation_split is None:
        validation_split = next((name for name in VALIDATION_NAMES if name in dataset.splits), None)
    cases = tuple(case for case in cases if case.reference.annotated.any())
    if validation_split is not None:
        validation = tuple(c for c in dataset.split(validation_split) if c.reference.annotated.any())
        shared = {case.subject for case in cases} & {case.subject for case in validation}
        if shared:
            raise SettingsError(
                f"subjects in both {train_split} and {validation_split}: {', '.join(sorted(shared)[:5])}; "
                "a subject must be in one split only"
            )
        return {"train": cases, "validation": validation}
    if fraction == 0 or len({case.subject for case in cases}) < FEWEST_SUBJECTS:
        return {"train": cases, "validation": ()}
    training, validation = split_validation(cases, fraction, seed)
    return {"train": training, "validation": validation}

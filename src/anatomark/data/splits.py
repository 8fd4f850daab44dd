"""Splits of cases, always by subject: no subject may teach and examine at once."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Mapping, Sequence
from typing import Protocol, TypeVar

import numpy as np

from anatomark.data.did_you_mean import did_you_mean
from anatomark.errors import UnknownNameError
from anatomark.formats.text import composed

_WORDS = {
    "train": ("train", "training", "trn", "tr", "learn", "learning"),
    "validation": ("validation", "val", "valid", "validate", "validating", "dev", "development", "tune", "tuning"),
    "test": ("test", "testing", "tst", "ts", "te", "holdout", "eval", "evaluation"),
}
_NUMBERED = re.compile(r"(?P<word>[a-z]+?)(?:[ _-]*(?:set|data|split|cases|images))?[ _-]*(?P<number>[0-9]*)")


def our_split(word: str) -> str:
    """train, validation or test, if `word` is what people call one of these (Training, val, test2); else ""."""
    found = _NUMBERED.fullmatch(re.sub(r"(?<=hold)[ _-](?=out)", "", word.strip().lower()))
    return next((ours for ours, theirs in _WORDS.items() if found and found["word"] in theirs), "")


class _HasSubject(Protocol):
    @property
    def subject(self) -> str: ...


C = TypeVar("C", bound=_HasSubject)


def split_validation(cases: Sequence[C], fraction: float, seed: int = 0) -> tuple[tuple[C, ...], tuple[C, ...]]:
    """(training, validation): `cases` parted by subject, about `fraction` of them in validation.

    Both keep the order of `cases`. The choice depends on `seed` and the set of subjects, not on their order.
    At least one subject is in each part; ValueError where there are fewer than two subjects.
    """
    if not 0 < fraction < 1:
        raise ValueError(f"the fraction for validation lies between 0 and 1, got {fraction}")
    by_subject: dict[str, int] = {}
    for case in cases:
        by_subject[case.subject] = by_subject.get(case.subject, 0) + 1
    if len(by_subject) < 2:
        raise ValueError(f"validation needs at least two subjects, got {len(by_subject)}")
    chosen: set[str] = set()
    count = 0
    for subject in _shuffled(by_subject, seed)[:-1]:
        # stop where one more subject would lead farther from the wanted number of cases
        if chosen and abs(count + by_subject[subject] - fraction * len(cases)) >= abs(count - fraction * len(cases)):
            break
        chosen.add(subject)
        count += by_subject[subject]
    training = tuple(case for case in cases if case.subject not in chosen)
    validation = tuple(case for case in cases if case.subject in chosen)
    return training, validation


def subject_folds(cases: Sequence[C], folds: int, seed: int = 0) -> list[tuple[C, ...]]:
    """`cases` parted by subject into `folds` parts of about one size, each in the order of `cases`.

    The choice depends on `seed` and the subjects with their numbers of cases, not on the order. ValueError where there
    are fewer subjects than folds, or fewer than two folds.
    """
    by_subject: dict[str, int] = {}
    for case in cases:
        by_subject[case.subject] = by_subject.get(case.subject, 0) + 1
    if not 2 <= folds <= len(by_subject):
        raise ValueError(f"{folds} folds of {len(by_subject)} subjects; use between 2 and {len(by_subject)} folds")
    sizes = [0] * folds
    fold_of: dict[str, int] = {}
    for subject in sorted(_shuffled(by_subject, seed), key=lambda s: -by_subject[s]):  # large ones first, then fill up
        fold_of[subject] = sizes.index(min(sizes))
        sizes[fold_of[subject]] += by_subject[subject]
    return [tuple(case for case in cases if fold_of[case.subject] == fold) for fold in range(folds)]


def propose_splits(subjects: Sequence[str], fractions: Mapping[str, float], seed: int = 0) -> dict[str, list[str]]:
    """{split: sorted subjects}: distinct `subjects` dealt out at random by `fractions`, which sum to 1.

    Rounding goes to the split with the largest fraction.
    """
    order = _shuffled(dict.fromkeys(subjects), seed)
    largest = max(fractions, key=lambda name: fractions[name])
    result: dict[str, list[str]] = {}
    start = 0
    for name, fraction in fractions.items():
        if name != largest:
            size = round(fraction * len(order))
            result[name] = sorted(order[start : start + size])
            start += size
    result[largest] = sorted(order[start:])
    return {name: result[name] for name in fractions}


def assign_splits(
    cases: Sequence[str], subjects: Sequence[str], splits: Mapping[str, str | Sequence[str]]
) -> list[str | None]:
    """The split of each case (None: in no split) by the lists and shell patterns of a description.

    A list entry is a subject or a case. Lists go before patterns; of the patterns the first that fits counts.
    Raises UnknownNameError for entries that name no subject or case, and for an entry in two lists.
    """
    cases, subjects = [composed(case) for case in cases], [composed(subject) for subject in subjects]
    known_subjects, known_cases = set(subjects), set(cases)
    listed: dict[str, str] = {}
    faults: list[str] = []
    for name, entries in splits.items():
        if isinstance(entries, str):
            continue
        for entry in map(composed, entries):
            if entry not in known_subjects and entry not in known_cases:
                faults.append(
                    f"{entry!r} in split {name!r} is neither a subject nor a case" + did_you_mean(entry, cases)
                )
            elif listed.setdefault(entry, name) != name:
                faults.append(f"{entry!r} is listed in splits {listed[entry]!r} and {name!r}")
    if faults:
        more = f"; and {len(faults) - 5} more" if len(faults) > 5 else ""
        raise UnknownNameError("; ".join(faults[:5]) + more)
    patterns = [(name, composed(entry)) for name, entry in splits.items() if isinstance(entry, str)]
    result: list[str | None] = []
    for case, subject in zip(cases, subjects, strict=True):
        split = listed.get(case, listed.get(subject))
        if split is None:
            split = next(
                (
                    name
                    for name, pattern in patterns
                    if fnmatch.fnmatchcase(case, pattern) or fnmatch.fnmatchcase(subject, pattern)
                ),
                None,
            )
        result.append(split)
    return result


def _shuffled(subjects: Mapping[str, object], seed: int) -> list[str]:
    ordered = sorted(subjects)
    return [ordered[i] for i in np.random.default_rng(seed).permutation(len(ordered))]

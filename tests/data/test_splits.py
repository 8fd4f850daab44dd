"""Splits by subject."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anatomark.data.splits import assign_splits, propose_splits, split_validation, subject_folds
from anatomark.errors import UnknownNameError


@dataclass(frozen=True)
class Scan:
    id: int
    subject: str


@given(st.lists(st.integers(0, 20), min_size=2, max_size=60), st.floats(0.05, 0.6), st.integers(0, 5))
def test_carving_never_divides_a_subject(subjects, fraction, seed):
    scans = [Scan(k, f"p{s}") for k, s in enumerate(subjects)]
    if len(set(subjects)) < 2:
        with pytest.raises(ValueError, match="two subjects"):
            split_validation(scans, fraction, seed)
        return
    training, validation = split_validation(scans, fraction, seed)
    assert training
    assert validation
    assert not {s.subject for s in training} & {s.subject for s in validation}
    assert sorted(training + validation, key=lambda s: s.id) == scans
    assert list(training) == sorted(training, key=lambda s: s.id)
    backwards = split_validation(scans[::-1], fraction, seed)[1]
    assert {s.subject for s in backwards} == {s.subject for s in validation}


def test_carving_takes_the_wanted_part():
    scans = [Scan(k, f"p{k // 2}") for k in range(200)]
    assert len(split_validation(scans, 0.15)[1]) == 30
    assert split_validation(scans, 0.15, 0) != split_validation(scans, 0.15, 1)
    with pytest.raises(ValueError, match="between 0 and 1"):
        split_validation(scans, 1.0)


def test_proposal_deals_out_everybody_once():
    subjects = [f"p{k}" for k in range(40)]
    splits = propose_splits(subjects * 2, {"test": 0.15, "validation": 0.15, "train": 0.7}, seed=3)
    assert {name: len(s) for name, s in splits.items()} == {"test": 6, "validation": 6, "train": 28}
    assert sorted(s for names in splits.values() for s in names) == sorted(subjects)


def test_lists_go_before_patterns_and_the_first_pattern_counts():
    cases, subjects = ["a1", "a2", "b1", "c1"], ["A", "A", "B", "C"]
    splits = {"train": "a*", "test": ["A"], "rest": "*", "never": "b*"}
    assert assign_splits(cases, subjects, splits) == ["test", "test", "rest", "rest"]
    assert assign_splits(cases, subjects, {"test": ["a2"], "train": "a*"}) == ["train", "test", None, None]
    with pytest.raises(UnknownNameError, match="'a1' is listed in splits 'x' and 'y'"):
        assign_splits(cases, subjects, {"x": ["a1"], "y": ["a1"]})


@given(st.lists(st.integers(0, 20), min_size=2, max_size=60), st.integers(2, 6), st.integers(0, 5))
def test_folds_never_divide_a_subject(subjects, folds, seed):
    scans = [Scan(k, f"p{s}") for k, s in enumerate(subjects)]
    if len(set(subjects)) < folds:
        with pytest.raises(ValueError, match=f"{folds} folds of"):
            subject_folds(scans, folds, seed)
        return
    parts = subject_folds(scans, folds, seed)
    assert len(parts) == folds
    assert all(parts)
    assert sorted((s for part in parts for s in part), key=lambda s: s.id) == scans
    assert sum(len({s.subject for s in part}) for part in parts) == len(set(subjects))
    again = subject_folds(scans[::-1], folds, seed)
    assert [{s.subject for s in part} for part in again] == [{s.subject for s in part} for part in parts]


def test_folds_are_of_about_one_size():
    scans = [Scan(k, f"p{k // 2}") for k in range(100)]
    assert [len(part) for part in subject_folds(scans, 5)] == [20] * 5
    assert [len(part) for part in subject_folds(scans[:12], 4)] == [4, 4, 2, 2]
    assert subject_folds(scans, 5, 0) != subject_folds(scans, 5, 1)
    with pytest.raises(ValueError, match="1 folds"):
        subject_folds(scans, 1)

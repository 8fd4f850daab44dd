"""Presence: sensitivity, specificity and the area under the ROC curve, by hand and against counting pairs."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy.stats import mannwhitneyu

from anatomark.core.landmarks import State
from anatomark.evaluation.bootstrap import bootstrap_for
from anatomark.evaluation.presence import auroc, presence_scores
from anatomark.evaluation.rows import Rows

P, A, U = State.PRESENT, State.ABSENT, State.NOT_ANNOTATED


def make_rows(states, answers, presence=None):
    states, answers = np.array(states, dtype=np.uint8), np.array(answers, dtype=np.uint8)
    c, n = states.shape
    points = np.zeros((c, n, 2))
    nothing = np.full((c, n), np.nan)
    given = nothing if presence is None else np.array(presence, dtype=float)
    cases, names = tuple(f"c{i}" for i in range(c)), tuple("abcdefgh"[:n])
    return Rows(cases, names, points, states, points, answers, given)


def test_sensitivity_and_specificity_by_hand():
    # present: 2 of 4 said present, one missing; absent: 1 said present, 1 absent, 1 without a row; rest counts nowhere
    rows = make_rows([[P, P, P, P], [A, A, A, U]], [[2, 2, 1, 0], [2, 1, 0, 2]])
    told = presence_scores(rows)
    assert (told.n_present, told.n_absent) == (4, 3)
    assert told.sensitivity == 50
    assert told.specificity == pytest.approx(200 / 3)
    assert told.auroc is None
    assert told.auroc_note == "the predictions hold no presence probability"
    assert sum(n for line in told.confusion.values() for n in line.values()) == 8


def test_without_absent_landmarks_there_is_no_specificity():
    told = presence_scores(make_rows([[P, U]], [[2, 2]], [[0.9, 0.2]]))
    assert told.specificity is None
    assert "absent" in told.specificity_note
    assert told.sensitivity == 100
    assert told.auroc is None


def test_auroc_by_hand_with_a_tie():
    # pairs: (.9 > .4), (.9 > .1), (.4 = .4: half), (.4 > .1) -> 3.5 of 4
    assert auroc(np.array([0.9, 0.4]), np.array([0.4, 0.1])) == 3.5 / 4


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 5), min_size=1, max_size=12), st.lists(st.integers(0, 5), min_size=1, max_size=12))
def test_auroc_counts_pairs(positive, negative):
    p, n = np.array(positive, dtype=float), np.array(negative, dtype=float)
    pairs = np.mean([[(a > b) + (a == b) / 2 for b in n] for a in p])
    assert_allclose(auroc(p, n), pairs)
    assert_allclose(auroc(p, n), mannwhitneyu(p, n).statistic / (len(p) * len(n)))


def test_auroc_is_of_annotated_rows_that_have_a_probability():
    rows = make_rows([[P, P, A, A, U]], [[2, 0, 1, 2, 2]], [[0.9, np.nan, 0.1, 0.7, 0.0]])
    told = presence_scores(rows)
    assert told.auroc == 1
    assert told.auroc_n == 3


def test_intervals_are_by_subject():
    rows = make_rows([[P, P], [P, P], [A, A]], [[2, 2], [1, 1], [1, 1]])
    told = presence_scores(rows, bootstrap_for(rows.subjects))
    assert told.sensitivity == 50
    assert told.sensitivity_interval == (0, 100)
    assert told.specificity_interval is None  # one subject has absent landmarks

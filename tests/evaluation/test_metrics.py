"""Metrics of rows: what counts, what does not, and what a miss costs."""

import csv
import io
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from anatomark.core.landmarks import State
from anatomark.errors import SettingsError
from anatomark.evaluation.bootstrap import bootstrap_for
from anatomark.evaluation.metrics import (
    ErrorScores,
    LargeError,
    MissedLandmark,
    checked_radii,
    cumulative,
    describe,
    describe_landmarks,
    largest_errors,
    missed_landmarks,
)
from anatomark.evaluation.presence import confusion as presence_confusion
from anatomark.evaluation.rows import Answer, Rows, fingerprint, rows_csv

P, A, U = State.PRESENT, State.ABSENT, State.NOT_ANNOTATED


def make_rows(states, answers, radial=None, unit="mm"):
    """Rows whose predictions lie `radial` (C, N) to the right of the reference."""
    states, answers = np.array(states, dtype=np.uint8), np.array(answers, dtype=np.uint8)
    c, n = states.shape
    reference = np.where((states == P)[..., None], 10.0, np.nan) * np.ones((c, n, 2))
    offset = np.zeros((c, n, 2))
    offset[..., 0] = 0 if radial is None else radial
    predicted = np.where((answers != Answer.MISSING)[..., None], 10.0 + offset, np.nan)
    names = tuple("abcdefgh"[:n]) if n <= 8 else tuple(f"l{k}" for k in range(n))
    cases = tuple(f"case{i}" for i in range(c))
    return Rows(cases, names, reference, states, predicted, answers, np.full((c, n), np.nan), unit)


def test_three_of_three_exact_and_one_not_annotated_is_100_percent():
    rows = make_rows([[P, P, P, U]], [[Answer.PRESENT] * 4])
    overall = describe_landmarks(rows.scored, rows.names).overall
    assert overall.n == 3
    assert overall.sdr == {"2": 100, "2.5": 100, "3": 100, "4": 100}
    assert overall.mre == 0


def test_a_miss_lowers_the_rate_and_leaves_the_mean_alone():
    rows = make_rows([[P, P, P, P]], [[2, 2, 2, Answer.MISSING]], [[1.0, 2.0, 3.5, 0]])
    overall = describe(rows.scored.ravel())
    assert (overall.n, overall.n_missing) == (4, 1)
    assert_allclose(overall.mre, 6.5 / 3)
    assert overall.median == 2
    assert_allclose(overall.sd, np.std([1, 2, 3.5], ddof=1))
    assert overall.sdr == {"2": 50, "2.5": 50, "3": 50, "4": 75}  # 2 mm counts as within 2 mm
    assert missed_landmarks(rows) == [MissedLandmark("case0", "d", "no prediction")]


def test_a_present_landmark_said_absent_is_a_miss_even_if_its_point_is_right():
    rows = make_rows([[P, P]], [[Answer.ABSENT, Answer.PRESENT]], [[0, 1]])
    overall = describe(rows.scored.ravel())
    assert (overall.n, overall.n_missing, overall.mre) == (2, 1, 1)
    assert missed_landmarks(rows)[0].reason == "said absent"


def test_landmarks_that_are_absent_in_the_reference_have_no_error():
    rows = make_rows([[A, P]], [[Answer.PRESENT, Answer.PRESENT]], [[50, 1]])
    metrics = describe_landmarks(rows.scored, rows.names)
    assert metrics.overall.n == 1
    assert metrics.landmarks["a"] == ErrorScores(
        n=0, n_missing=0, mre=None, median=None, sd=None,
        percentiles={"25": None, "75": None, "90": None, "95": None},
        sdr={"2": None, "2.5": None, "3": None, "4": None}, bias=None,
    )  # fmt: skip


def test_presence_confusion_counts_every_row_once():
    rows = make_rows([[P, P, P], [A, A, U], [U, P, A]], [[2, 1, 0], [2, 1, 0], [1, 2, 0]])
    assert presence_confusion(rows) == {
        "present": {"present": 2, "absent": 1, "missing": 1},
        "absent": {"present": 1, "absent": 1, "missing": 1},
        "not annotated": {"present": 0, "absent": 1, "missing": 1},
    }


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_metrics_agree_with_a_loop_over_rows(data):
    shape = data.draw(st.tuples(st.integers(1, 4), st.integers(1, 4)))
    draw = lambda strategy: np.array(  # noqa: E731
        data.draw(st.lists(strategy, min_size=shape[0] * shape[1], max_size=shape[0] * shape[1]))
    ).reshape(shape)
    states, answers = draw(st.integers(0, 2)), draw(st.integers(0, 2))
    radial = draw(st.floats(0, 8).map(lambda v: round(v, 1)))
    rows = make_rows(states, answers, radial)
    n = missed = 0
    errors = []
    for i in range(shape[0]):
        for k in range(shape[1]):
            if states[i, k] == P:
                n += 1
                if answers[i, k] == Answer.PRESENT:
                    errors.append(rows.radial[i, k])
                else:
                    missed += 1
    overall = describe(rows.scored.ravel())
    assert (overall.n, overall.n_missing) == (n, missed)
    assert len(missed_landmarks(rows)) == missed
    if errors:
        assert_allclose(overall.mre, np.mean(errors))
        assert_allclose(overall.sdr["3"], 100 * sum(e <= 3 for e in errors) / n)


def test_rows_csv_has_a_line_for_each_case_and_landmark():
    rows = make_rows([[P, U], [P, A]], [[2, 2], [0, 1]], [[1.5, 0], [0, 0]], unit="px")
    lines = list(csv.DictReader(io.StringIO(rows_csv(rows))))
    assert len(lines) == 4
    assert lines[0] == {
        "case": "case0", "subject": "case0", "landmark": "a", "observer": "reference", "reference": "present",
        "predicted": "present", "error_x": "1.5000", "error_y": "0.0000", "radial_error": "1.5000", "presence": "",
        "spread": "", "error_bound": "", "unit": "px",
    }  # fmt: skip
    assert (lines[2]["predicted"], lines[2]["radial_error"]) == ("missing", "")
    assert (lines[3]["reference"], lines[3]["predicted"]) == ("absent", "absent")


def test_rows_refuse_blocks_that_disagree():
    rows = make_rows([[P]], [[2]])
    with pytest.raises(ValueError, match="presence must be 1 cases x 1 landmarks"):
        Rows(
            rows.cases,
            rows.names,
            rows.reference,
            rows.states,
            rows.predicted,
            rows.answers,
            np.zeros((2, 1)),
        )


def test_a_million_rows_are_counted_once_each():
    rng = np.random.default_rng(0)
    states = rng.integers(0, 3, (10_000, 100))
    rows = make_rows(states, rng.integers(0, 3, states.shape), rng.random(states.shape))
    described = describe_landmarks(rows.scored, tuple(map(str, range(100))))
    assert described.overall.n == (states == 2).sum() == sum(d.n for d in described.landmarks.values())
    assert sum(sum(told.values()) for told in presence_confusion(rows).values()) == states.size


def test_percentiles_bias_and_spread_by_hand():
    scored = np.array([1.0, 2.0, 3.0, 4.0, np.inf, np.nan])
    error = np.array([[1.0, 0], [0, 2], [-3, 0], [0, 4], [90, 90], [90, 90]])
    told = describe(scored, error, (2.5, 10.0))
    assert (told.n, told.n_missing) == (5, 1)
    assert told.percentiles == pytest.approx({"25": 1.75, "75": 3.25, "90": 3.7, "95": 3.85})
    assert told.bias == {"x": -0.5, "y": 1.5}  # of the found alone
    assert told.sdr == {"2.5": 40, "10": 80}
    assert told.sd == pytest.approx(np.sqrt(5 / 3))


def test_a_systematic_shift_is_found_by_the_bias_and_its_interval():
    random = np.random.default_rng(0)
    error = random.normal(0, 1, (200, 2, 2))
    error[:, 1, 1] += 0.6  # the second landmark lies 0.6 too low
    subjects = [f"s{i}" for i in range(200)]
    scored = np.sqrt((error**2).sum(-1))
    block = describe_landmarks(scored, ("a", "b"), error=error, subjects=subjects, bootstrap=bootstrap_for(subjects))
    lower, upper = block.landmarks["b"].bias_interval["y"]
    assert 0 < lower < 0.6 < upper
    for name, axis in (("a", "x"), ("a", "y"), ("b", "x")):
        lower, upper = block.landmarks[name].bias_interval[axis]
        assert lower < 0 < upper
    assert_allclose(np.ptp(block.landmarks["a"].bias_interval["x"]), 2 * 1.96 / np.sqrt(200), rtol=0.15)


def test_the_cumulative_curve_never_reaches_what_was_missed():
    scored = np.array([0.5, 1.0, 1.5, np.inf, np.nan])
    curve = cumulative(scored, (2.0,))
    assert curve.radius[0] == 0
    assert curve.radius[-1] == pytest.approx(2.2)
    assert (curve.percent[0], curve.percent[-1]) == (0, 75)
    at_one = int(np.searchsorted(curve.radius, 1.0))
    assert curve.percent[at_one - 1] == 25
    assert curve.percent[at_one + 1] == 50
    assert cumulative(np.array([np.nan])).percent == []


def test_the_worst_come_first_and_misses_are_not_among_them():
    rows = make_rows([[P, P], [P, A], [P, P]], [[2, 2], [2, 2], [0, 1]], [[1, 7], [3, 50], [0, 90]])
    assert largest_errors(rows) == [
        LargeError("case0", "b", 7),
        LargeError("case1", "a", 3),
        LargeError("case0", "a", 1),
    ]
    assert len(largest_errors(rows, 2)) == 2


@pytest.mark.parametrize("radii", [(), (0.0,), (-1.0, 2.0), (float("nan"),), (float("inf"),)])
def test_radii_are_positive(radii):
    with pytest.raises(SettingsError, match="radii"):
        checked_radii(radii)
    assert checked_radii((3, 2, 3)) == (2.0, 3.0)


def test_the_fingerprint_is_of_the_data():
    rows = make_rows([[P, U]], [[2, 2]], [[1, 1]])
    moved = make_rows([[P, U]], [[2, 2]], [[1.001, 1]])
    assert fingerprint(rows) == fingerprint(make_rows([[P, U]], [[2, 2]], [[1, 1]]))
    assert fingerprint(rows) != fingerprint(moved)
    assert fingerprint(rows) != fingerprint(make_rows([[P, A]], [[2, 2]], [[1, 1]]))


def test_rows_know_whose_they_are():
    rows = make_rows([[P]], [[2]])
    assert rows.subjects == rows.cases
    assert np.isnan(rows.spread).all()
    with pytest.raises(ValueError, match="as many subjects"):
        replace(rows, subjects=("a", "b"))

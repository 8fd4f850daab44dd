"""Metrics of rows: what counts, what does not, and what a miss costs."""

import csv
import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from anatomark.core.landmarks import State
from anatomark.evaluation.metrics import (
    describe,
    describe_block,
    missing,
)
from anatomark.evaluation.presence import confusion as presence_confusion
from anatomark.evaluation.rows import Answer, Rows, rows_csv

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
    overall = describe_block(rows.scored, rows.names)["overall"]
    assert overall["n"] == 3
    assert overall["sdr"] == {"2": 100, "2.5": 100, "3": 100, "4": 100}
    assert overall["mre"] == 0


def test_a_miss_lowers_the_rate_and_leaves_the_mean_alone():
    rows = make_rows([[P, P, P, P]], [[2, 2, 2, Answer.MISSING]], [[1.0, 2.0, 3.5, 0]])
    overall = describe(rows.scored.ravel())
    assert (overall["n"], overall["n_missing"]) == (4, 1)
    assert_allclose(overall["mre"], 6.5 / 3)
    assert overall["median"] == 2
    assert_allclose(overall["sd"], np.std([1, 2, 3.5], ddof=1))
    assert overall["sdr"] == {"2": 50, "2.5": 50, "3": 50, "4": 75}  # 2 mm counts as within 2 mm
    assert missing(rows) == [{"case": "case0", "landmark": "d", "reason": "no prediction"}]


def test_a_present_landmark_said_absent_is_a_miss_even_if_its_point_is_right():
    rows = make_rows([[P, P]], [[Answer.ABSENT, Answer.PRESENT]], [[0, 1]])
    overall = describe(rows.scored.ravel())
    assert (overall["n"], overall["n_missing"], overall["mre"]) == (2, 1, 1)
    assert missing(rows)[0]["reason"] == "said absent"


def test_landmarks_that_are_absent_in_the_reference_have_no_error():
    rows = make_rows([[A, P]], [[Answer.PRESENT, Answer.PRESENT]], [[50, 1]])
    metrics = describe_block(rows.scored, rows.names)
    assert metrics["overall"]["n"] == 1
    assert metrics["landmarks"]["a"] == {
        "n": 0, "n_missing": 0, "mre": None, "median": None, "sd": None,
        "percentiles": {"25": None, "75": None, "90": None, "95": None},
        "sdr": {"2": None, "2.5": None, "3": None, "4": None}, "bias": None,
    }  # fmt: skip


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
    assert (overall["n"], overall["n_missing"]) == (n, missed)
    assert len(missing(rows)) == missed
    if errors:
        assert_allclose(overall["mre"], np.mean(errors))
        assert_allclose(overall["sdr"]["3"], 100 * sum(e <= 3 for e in errors) / n)


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
    described = describe_block(rows.scored, tuple(map(str, range(100))))
    assert described["overall"]["n"] == (states == 2).sum() == sum(d["n"] for d in described["landmarks"].values())
    assert sum(sum(told.values()) for told in presence_confusion(rows).values()) == states.size

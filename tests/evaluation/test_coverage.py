"""Coverage of error bounds and of presence, by hand."""

from pathlib import Path

import numpy as np
import pytest

from anatomark.core.landmarks import State
from anatomark.errors import ModelError, UnknownNameError
from anatomark.evaluation.bootstrap import bootstrap_for
from anatomark.evaluation.coverage import bounds_of, coverage, coverage_by_model, presence_curve, with_bounds
from anatomark.evaluation.rows import Answer, Rows
from anatomark.methods.error_bound import ErrorBounds

NAMES = ("a", "b")


def rows(errors: np.ndarray, **fields) -> Rows:
    """2D rows whose references lie at the origin and predictions `errors` (C, 2) to the right of it; NaN: absent."""
    errors = np.asarray(errors, dtype=float)
    points = np.stack([errors, np.zeros_like(errors)], axis=-1)
    known = np.isfinite(errors)
    given = {
        "presence": np.full(errors.shape, np.nan),
        "answers": np.full(errors.shape, Answer.PRESENT, dtype=np.uint8),
        "states": np.where(known, State.PRESENT, State.ABSENT).astype(np.uint8),
        "reference": np.where(known[..., None], 0.0, np.nan) * np.ones(2),
        "predicted": np.nan_to_num(points),
    }
    return Rows(tuple(f"c{k}" for k in range(len(errors))), NAMES, **(given | fields))


def test_the_predictions_own_bounds_by_hand() -> None:
    """Of a, 1 <= 1 and 3 > 2 is half; of b, 5 <= 6, the other one has no bound; of all, 2 of 3."""
    found, note = coverage(rows([[1, 5], [3, 1]], bound=np.array([[1.0, 6.0], [2.0, np.nan]])), None)
    assert note is None
    assert found is not None
    assert (found.nominal, found.n, found.curve) == (0.9, 3, None)
    assert found.overall == pytest.approx(200 / 3)
    assert found.landmarks == {"a": 50.0, "b": 100.0}
    assert found.mean_bound == pytest.approx(3.0)


def test_only_present_references_with_a_point_count_also_if_said_absent() -> None:
    answers = np.array([[Answer.ABSENT, Answer.PRESENT], [Answer.PRESENT, Answer.MISSING]], dtype=np.uint8)
    predicted = np.array([[[3.0, 0], [1.0, 0]], [[0, 0], [np.nan, np.nan]]])
    held = rows([[3, 1], [np.nan, 2]], bound=np.full((2, 2), 2.0), answers=answers, predicted=predicted)
    found, _ = coverage(held, None)
    assert found is not None
    assert found.n == 2
    assert found.landmarks == {"a": 0.0, "b": 100.0}


def test_a_models_bounds_and_their_curve() -> None:
    """Errors of 1 ... 99 calibrate; at p % a bound is p, and of errors 1 ... 100 exactly p are within."""
    calibrated = np.repeat(np.arange(1.0, 100)[:, None], 2, axis=1)
    bounds = ErrorBounds.fitted(
        calibrated[:, ::-1], np.ones((99, 2)), subjects=[str(k) for k in range(99)], names=("b", "a")
    )
    errors = np.repeat(np.arange(1.0, 101)[:, None], 2, axis=1)
    held = rows(errors, spread=np.ones((100, 2)), bound=np.zeros((100, 2)))
    found, _ = coverage(held, bounds, nominal=0.8, bootstrap=bootstrap_for(held.subjects, 200))
    assert found is not None
    assert found.overall == pytest.approx(80)
    assert [(p.nominal, p.observed) for p in found.curve] == [(p, pytest.approx(p)) for p in range(50, 100, 5)]
    low, high = found.overall_interval
    assert 68 < low < 76 < 84 < high < 92, "two standard errors are 8 percent"
    assert found.withheld == {}


def test_bounds_that_predictions_lack_come_from_the_model() -> None:
    calibrated = np.repeat(np.arange(1.0, 100)[:, None], 2, axis=1)
    bounds = ErrorBounds.fitted(calibrated, np.ones((99, 2)), subjects=[str(k) for k in range(99)], names=NAMES)
    own = np.array([[7.0, np.nan], [np.nan, np.nan]])
    held = rows([[1, 5], [3, 1]], bound=own, spread=np.ones((2, 2)))
    assert with_bounds(held, bounds, nominal=0.8).bound == pytest.approx(np.array([[7.0, 80], [80, 80]]))
    np.testing.assert_array_equal(with_bounds(held, ErrorBounds.withheld(NAMES, "never"), nominal=0.8).bound, own)


def test_bounds_that_predictions_withhold_are_neither_refilled_nor_judged() -> None:
    calibrated = np.repeat(np.arange(1.0, 100)[:, None], 2, axis=1)
    bounds = ErrorBounds.fitted(calibrated, np.ones((99, 2)), subjects=[str(k) for k in range(99)], names=NAMES)
    withheld = np.array([[False, False], [True, True]])
    unsuitable = rows([[1, 5], [999, 999]], spread=np.ones((2, 2)), withheld=withheld)
    np.testing.assert_array_equal(with_bounds(unsuitable, bounds, nominal=0.8).bound, [[80, 80], [np.nan, np.nan]])
    found, _ = coverage(unsuitable, bounds, nominal=0.8)
    assert found is not None
    assert (found.n, found.overall) == (2, 100)
    assert {point.observed for point in found.curve or ()} == {100}
    nothing = rows([[1, 5]], spread=np.ones((1, 2)), withheld=np.ones((1, 2), dtype=bool))
    assert coverage(nothing, bounds) == (None, "the predictions withhold their error bounds")


def test_withheld_landmarks_are_named() -> None:
    errors = np.ones((20, 2))
    errors[1:, 1] = np.nan
    bounds = ErrorBounds.fitted(errors, np.ones((20, 2)), subjects=[str(k) for k in range(20)], names=NAMES)
    found, _ = coverage(rows([[1, 1], [2, 2]], spread=np.ones((2, 2))), bounds)
    assert found is not None
    assert found.landmarks == {"a": 50.0, "b": None}
    assert found.withheld == {"b": "b is present in 1 of the calibration subjects, wanted are 3"}


def test_nothing_to_judge_has_a_reason() -> None:
    plain = rows([[1, 5]])
    assert coverage(plain, None) == (None, "no error bound is in the predictions, and no model was given to make them")
    few = ErrorBounds.fitted(np.ones((2, 2)), np.ones((2, 2)), subjects=["x", "y"], names=NAMES)
    assert coverage(plain, few) == (None, "the predictions hold no spread, which bounds are made from")
    _, note = coverage(rows([[1, 5]], spread=np.ones((1, 2))), few)
    assert note == "the model's bounds are withheld: a is present in 2 of the calibration subjects, wanted are 3"
    old = ErrorBounds.withheld(NAMES, "never calibrated")
    _, note = coverage(rows([[1, 5]], spread=np.ones((1, 2))), old)
    assert note == "the model's bounds are withheld: never calibrated"


def test_a_model_of_other_landmarks_or_another_unit(tmp_path: Path) -> None:
    ones = np.ones((20, 2))
    subjects = [str(k) for k in range(20)]
    held = rows([[1, 5]], spread=np.ones((1, 2)))
    pixels = ErrorBounds.fitted(ones, ones, subjects=subjects, names=NAMES, unit="px")
    assert coverage_by_model(held, pixels) == (None, "the model's bounds are in px, the data in mm")
    with pytest.raises(UnknownNameError, match="finds 'c'"):
        coverage_by_model(held, ErrorBounds.fitted(ones, ones, subjects=subjects, names=("c", "d")))
    with pytest.raises(ModelError, match="not a run folder"):
        bounds_of(tmp_path)


def test_presence_said_and_true() -> None:
    """Bins of a tenth: 0.05 and 0.07 with none present, 0.72 and 0.78 with one, 1 with one."""
    presence = np.array([[0.05, 0.07], [0.72, 0.78], [1.0, 0.3]])
    states = np.array([[1, 1], [2, 1], [2, 0]]).astype(np.uint8)
    assert (State.ABSENT, State.PRESENT, State.NOT_ANNOTATED) == (1, 2, 0)
    found = presence_curve(rows(np.ones((3, 2)), presence=presence, states=states))
    assert [(b.predicted, b.observed, b.n) for b in found] == [
        (pytest.approx(6), 0.0, 2),
        (pytest.approx(75), 50.0, 2),
        (100.0, 100.0, 1),
    ]
    assert presence_curve(rows(np.ones((3, 2)), presence=presence)) is None, "nothing is absent"
    assert presence_curve(rows([[1, np.nan]])) is None, "nobody said a presence"

"""Error bounds: quantiles by hand, what is withheld and why, coverage by simulation, save and load."""

from pathlib import Path

import numpy as np
import pytest

from anatomark.errors import ModelError, SettingsError
from anatomark.methods import error_bound as subject
from anatomark.methods.error_bound import NAME, NONE_SAVED, OWN, ErrorBounds, Expected, corrected_quantiles


def fitted(errors: np.ndarray, spread: np.ndarray | None = None, **options) -> ErrorBounds:
    """Bounds of errors (M, N), each case a subject, landmarks called 0, 1, ..."""
    options.setdefault("subjects", [str(k) for k in range(len(errors))])
    names = [str(k) for k in range(errors.shape[1])]
    return ErrorBounds.fitted(errors, np.ones(errors.shape) if spread is None else spread, names=names, **options)


def alone(levels, scores, groups=None):
    scores = np.asarray(scores, dtype=float)
    return corrected_quantiles(scores, np.arange(len(scores)) if groups is None else np.asarray(groups), levels)


def test_quantiles_by_hand() -> None:
    """Rank ceil((n + 1) level) of n: of 9, the 5th, the 8th and the 9th; nothing beyond 9/10."""
    scores = [3, 1, 2, 9, 8, 7, 6, 5, 4]
    np.testing.assert_array_equal(alone([0.5, 0.8, 0.9, 0.91], scores), [5, 8, 9, np.inf])
    np.testing.assert_array_equal(alone([0.9], np.arange(1, 20)), [18])  # of 19, ceil(20 * 0.9)
    np.testing.assert_array_equal(alone([0.9, 0.95], np.arange(1, 101)), [91, 96])  # ceil(90.9), ceil(95.95)
    np.testing.assert_array_equal(alone([0.5], [5, np.nan, 1, 3]), [3])
    np.testing.assert_array_equal(alone([0.5], [np.nan, np.nan]), [np.inf])


def test_a_group_counts_once_however_many_scores_it_has() -> None:
    """Three groups count 1/4 each: of (1, 5), (2) and (8), 2 is reached at 3/8, 5 at 1/2, 8 at 3/4."""
    scores, groups = [1, 5, 2, 8], [7, 7, 1, 3]
    levels = [0.3, 0.375, 0.5, 0.51, 0.75, 0.76]
    np.testing.assert_array_equal(alone(levels, scores, groups), [2, 2, 5, 8, 8, np.inf])
    table = [[1, 5], [2, np.nan], [8, np.nan]]
    np.testing.assert_array_equal(alone(levels, table), [2, 2, 5, 8, 8, np.inf])


def test_a_landmark_with_many_subjects_has_the_quantile_of_its_own_errors() -> None:
    errors = np.arange(1.0, OWN + 1)[:, None] * [1, 10]
    bounds = fitted(errors)
    assert bounds.expected is not None
    assert bounds.expected.exponent == 0, "constant spreads say nothing"
    rank = int(np.ceil(0.9 * (OWN + 1)))
    np.testing.assert_allclose(bounds.bound(np.ones((3, 2))), [[rank, 10 * rank]] * 3)
    assert bounds.reason("0") is None
    assert bounds.levels == tuple(k / 100 for k in range(50, 99)), "of 55, none beyond 55/56"
    assert bounds.reason("0", 0.99) == "too few calibration subjects for 99%: wanted are 99"


def test_landmarks_with_few_subjects_share_a_quantile_in_proportion() -> None:
    rng = np.random.default_rng(0)
    errors = np.hypot(*rng.normal(size=(2, 20, 6)))
    large = fitted(errors * [1, 1, 1, 1, 1, 20]).bound(np.ones(6))
    plain = fitted(errors).bound(np.ones(6))
    assert np.isfinite(plain).all()
    assert large[5] > 10 * large[:5].max()
    assert fitted(errors).pooled is not None
    tenfold = fitted(errors * 10).bound(np.ones(6))
    np.testing.assert_allclose(tenfold, 10 * plain, err_msg="bounds are lengths, whatever their unit")


@pytest.mark.parametrize(("cases", "given"), [(8, False), (9, True)])
def test_too_few_subjects_for_the_level(cases: int, given: bool) -> None:
    bounds = fitted(np.ones((cases, 3)))
    assert np.isfinite(bounds.bound(np.ones(3), 0.9)).all() == given
    assert np.isnan(bounds.bound(np.ones(3), 0.9)).all() != given
    assert np.isfinite(bounds.bound(np.ones(3), 0.8)).all(), "at 80 % four are enough"
    told = bounds.reason("1", 0.9)
    assert (told is None) == given
    assert given or told == "too few calibration subjects of landmarks that share a quantile for 90%: wanted are 9"
    assert (0.9 in bounds.levels) == given


def test_cases_of_one_subject_do_not_count_twice() -> None:
    subjects = [str(k % 8) for k in range(200)]
    assert np.isnan(fitted(np.ones((200, 3)), subjects=subjects).bound(np.ones(3))).all()


def test_a_landmark_that_was_hardly_ever_there() -> None:
    errors = np.ones((20, 3))
    errors[2:, 1] = np.nan
    bounds = fitted(errors)
    np.testing.assert_array_equal(np.isnan(bounds.bound(np.ones(3))), [False, True, False])
    assert bounds.reason("1") == "1 is present in 2 of the calibration subjects, wanted are 3"
    assert bounds.reason("0") is None
    nothing = fitted(np.full((20, 3), np.nan), source="the cases")
    assert nothing.reason("0") == "the cases have no landmark with a known place"
    assert nothing.levels == ()


@pytest.mark.parametrize("coverage", [0, 1, -1, 90, float("nan")])
def test_a_coverage_that_is_no_share(coverage: float) -> None:
    with pytest.raises(SettingsError, match="between 0 and 1"):
        fitted(np.ones((20, 1))).bound(np.ones(1), coverage)


def test_more_coverage_never_gives_less_and_lies_on_the_safe_side_between_levels() -> None:
    rng = np.random.default_rng(1)
    bounds = fitted(rng.exponential(size=(200, 2)))
    limits = np.stack([bounds.bound(np.ones(2), c) for c in (0.1, 0.5, 0.6, 0.9, 0.901, 0.91, 0.95, 0.99)])
    assert (np.diff(limits, axis=0) >= 0).all()
    np.testing.assert_array_equal(limits[0], limits[1])
    np.testing.assert_array_equal(limits[4], limits[5])
    assert np.isnan(bounds.bound(np.ones(2), 0.995)).all()
    assert bounds.reason("0", 0.995) == "no bound is made for more than 99%"


# --- spread ------------------------------------------------------------------------------------------------------


def test_spreads_that_tell_the_error_are_followed_and_those_that_do_not_are_not() -> None:
    rng = np.random.default_rng(2)
    spread = np.exp(rng.normal(0, 0.5, (80, 5))) * [1, 2, 3, 4, 5]
    error = np.hypot(*rng.normal(size=(2, 80, 5)))
    three = 3 * 0.65 / (0.5 * 20)  # standard errors of a slope over 400: s.d. of log errors, of log spreads
    assert Expected.learned(spread * error, spread).exponent == pytest.approx(1, abs=three)
    assert Expected.learned(np.sqrt(spread) * error, spread).exponent == pytest.approx(0.5, abs=three)
    assert Expected.learned(error, spread).exponent < three
    assert Expected.learned(error / spread, spread).exponent == 0, "never the wrong way round"
    told = fitted(spread * error, spread)
    typical = np.median(spread, axis=0)
    assert (told.bound(3 * typical) > 2 * told.bound(typical)).all()


@pytest.mark.parametrize("spread", [0.0, 1e-300, 1e300])
def test_spreads_of_zero_and_beyond(spread: float) -> None:
    errors = np.random.default_rng(3).exponential(size=(20, 2))
    spreads = np.full((20, 2), spread)
    bounds = fitted(errors, spreads)
    assert np.isfinite(bounds.bound(spreads)).all()
    spreads[:10] = np.abs(np.random.default_rng(4).normal(size=(10, 2)))
    mixed = fitted(errors, spreads)
    assert (mixed.bound(np.zeros(2)) > 0).all()
    assert np.isnan(mixed.bound(np.array([np.nan, 1.0]))).tolist() == [True, False]


def test_errors_of_zero() -> None:
    assert fitted(np.zeros((20, 2))).bound(np.ones(2)).tolist() == [0, 0]


# --- coverage ----------------------------------------------------------------------------------------------------


def draw(
    rng: np.random.Generator, cases: int, scale: np.ndarray, outliers: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Errors and spreads (cases, N): cases are easy or hard as a whole, spreads tell the scale, outliers are large."""
    shape = (cases, len(scale))
    spread = np.exp(rng.normal(0, 0.3, shape))
    error = np.hypot(rng.normal(size=shape), rng.normal(size=shape)) * np.where(rng.random(shape) < outliers, 4, 1)
    return scale * error * spread * np.exp(rng.normal(0, 0.25, (cases, 1))), spread


@pytest.mark.parametrize(("cases", "most"), [(22, 0.95), (40, 0.935), (60, 0.92), (150, 0.915)])
def test_coverage_by_simulation(cases: int, most: float) -> None:
    """Mean coverage at 90 % over 60 calibrations of 10 landmarks, each judged by 400 new cases.

    Margins: the mean of 60 calibrations has a standard error of 0.0032 at most (one calibration has a s.d. of about
    0.0175 with 22 cases, less with more); three of it below 0.9 is 0.89. Above, the correction for n subjects may lift
    the coverage by 1/(n + 1), and again three standard errors.
    """
    rng = np.random.default_rng(cases)
    means = []
    for _ in range(60):
        scale, outliers = np.exp(rng.normal(0, 0.45, 10)), rng.uniform(0, 0.1, 10)
        bounds = fitted(*draw(rng, cases, scale, outliers))
        errors, spread = draw(rng, 400, scale, outliers)
        means.append((errors <= bounds.bound(spread)).mean())
    assert np.std(means) / np.sqrt(60) < 0.0032
    assert 0.89 <= np.mean(means) <= most


def test_each_landmark_is_covered_where_its_subjects_are_many() -> None:
    """Of 150 subjects the rank is ceil(151 * 0.9) = 136: coverage 136/151 = 0.9007, s.d. 0.0243 of one calibration.

    Over 80 calibrations, each judged by 2000 new cases, the standard error is 0.0028; of 4 landmarks, four of it.
    """
    rng = np.random.default_rng(9)
    scale, outliers = np.array([0.5, 1.0, 2.0, 4.0]), np.array([0.0, 0.05, 0.1, 0.2])
    covered = []
    for _ in range(80):
        bounds = fitted(*draw(rng, 150, scale, outliers))
        errors, spread = draw(rng, 2000, scale, outliers)
        covered.append((errors <= bounds.bound(spread)).mean(axis=0))
    np.testing.assert_allclose(np.mean(covered, axis=0), 136 / 151, atol=4 * 0.0028)
    assert np.std(covered, axis=0).mean() == pytest.approx(0.0243, abs=0.006)


# --- files -------------------------------------------------------------------------------------------------------


def test_saved_and_loaded_bounds_are_identical(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    errors = rng.exponential(size=(70, 4))
    errors[:50, 3] = np.nan
    bounds = fitted(errors, rng.exponential(size=(70, 4)), unit="px", source="somebody's cases")
    bounds.save(tmp_path)
    loaded = ErrorBounds.load(tmp_path, bounds.names, "px")
    spread = rng.exponential(size=(5, 4))
    for coverage in (0.5, 0.9, 0.97, 0.99):
        np.testing.assert_array_equal(loaded.bound(spread, coverage), bounds.bound(spread, coverage))
        assert [loaded.reason(n, coverage) for n in loaded.names] == [bounds.reason(n, coverage) for n in bounds.names]
    assert (loaded.levels, loaded.source, loaded.unit) == (bounds.levels, bounds.source, "px")


def test_withheld_bounds_keep_their_reason(tmp_path: Path) -> None:
    ErrorBounds.withheld(("a",), "no validation case").save(tmp_path)
    loaded = ErrorBounds.load(tmp_path, ("a",), "mm")
    assert loaded.reason("a") == "no validation case"
    assert np.isnan(loaded.bound(np.ones(1))).all()


def test_a_model_without_bounds(tmp_path: Path) -> None:
    assert ErrorBounds.load(tmp_path, ("a", "b"), "mm").reason("b") == NONE_SAVED


def test_bounds_of_another_model_or_damaged(tmp_path: Path) -> None:
    bounds = fitted(np.ones((20, 2)))
    bounds.save(tmp_path)
    for names, unit in ((("0", "2"), "mm"), (("0", "1"), "px")):
        with pytest.raises(ModelError, match="other landmarks or another unit"):
            ErrorBounds.load(tmp_path, names, unit)  # type: ignore[arg-type]
    whole = (tmp_path / NAME).read_bytes()
    (tmp_path / NAME).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ModelError, match=NAME):
        ErrorBounds.load(tmp_path, ("0", "1"), "mm")
    from anatomark.nets.weights import load_tensors, save_tensors

    (tmp_path / NAME).write_bytes(whole)
    tensors, metadata = load_tensors(tmp_path / NAME)
    save_tensors(tmp_path / NAME, {**tensors, "factor": tensors["factor"][:10].clone()}, metadata)
    with pytest.raises(ModelError, match="damaged or of another version"):
        ErrorBounds.load(tmp_path, ("0", "1"), "mm")


def test_some_landmarks_in_another_order() -> None:
    errors = np.ones((20, 3)) * [1, 2, 3]
    bounds = fitted(errors)
    chosen = bounds.select(("2", "other", "0"))
    limits = chosen.bound(np.ones(3))
    np.testing.assert_array_equal(limits[[0, 2]], bounds.bound(np.ones(3))[[2, 0]])
    assert np.isnan(limits[1])
    assert chosen.reason("other") is not None


def test_the_parts_that_are_left_out_hold_each_subject_once() -> None:
    groups = np.repeat(np.arange(130), 2)
    left_out = np.stack(subject._left_out(groups))
    assert (left_out.sum(axis=0) == 1).all()
    assert len(left_out) == subject.PARTS
    assert all(len(np.unique(left_out[:, groups == g], axis=1).T) == 1 for g in range(130))


def test_medians_are_numpys() -> None:
    values = np.random.default_rng(6).normal(size=(7, 40))
    values[np.random.default_rng(7).random(values.shape) < 0.4] = np.nan
    values[:, 0] = np.nan
    np.testing.assert_array_equal(subject._medians(values)[1:], np.nanmedian(values[:, 1:], axis=0))
    assert np.isnan(subject._medians(values)[0])
    assert np.isnan(subject._medians(values[:0])).all()

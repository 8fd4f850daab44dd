"""Bootstrap intervals: resampled by subject, exact, and covering as often as they say."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy import stats

from anatomark.errors import SettingsError
from anatomark.evaluation.bootstrap import Bootstrap, bootstrap_for, checked_samples
from anatomark.evaluation.metrics import describe_landmarks


def drawn_subjects(bootstrap):
    """(B, S) how often each subject was drawn."""
    return bootstrap.sums(np.eye(len(bootstrap.subjects)))


@pytest.mark.parametrize("q", [0.5, 0.25, 0.9, 0.0, 1.0])
def test_quantiles_are_those_of_the_repeated_values(q):
    rng = np.random.default_rng(1)
    bootstrap = Bootstrap(tuple("abcdefg"), samples=50, seed=3)
    subject = rng.integers(0, 7, 60)
    values = rng.exponential(size=60).round(1)  # with ties
    found = bootstrap.quantiles(values, subject, q)
    for weights, quantile in zip(drawn_subjects(bootstrap), found, strict=True):
        assert_allclose(quantile, np.quantile(np.repeat(values, weights[subject].astype(int)), q))


def test_quantiles_of_many_values_over_many_blocks():
    rng = np.random.default_rng(2)
    bootstrap = Bootstrap(tuple(map(str, range(300))), samples=100, seed=0)
    subject, values = rng.integers(0, 300, 5000), rng.normal(size=5000)
    found = bootstrap.quantiles(values, subject, 0.5)
    for weights, quantile in zip(drawn_subjects(bootstrap)[:20], found, strict=False):
        assert_allclose(quantile, np.median(np.repeat(values, weights[subject].astype(int))))


def test_a_resample_without_the_landmark_has_no_quantile():
    bootstrap = Bootstrap(("a", "b"), samples=100)
    found = bootstrap.quantiles(np.array([1.0]), np.array([0]), 0.5)
    never = drawn_subjects(bootstrap)[:, 0] == 0
    assert never.any()
    assert np.isnan(found[never]).all()
    assert (found[~never] == 1).all()


def test_every_resample_draws_as_many_subjects_as_there_are():
    drawn = drawn_subjects(Bootstrap(tuple("abcde"), samples=1000, seed=1))
    assert (drawn.sum(axis=1) == 5).all()
    assert_allclose(drawn.mean(axis=0), 1, atol=0.1)
    assert_allclose(drawn_subjects(Bootstrap(tuple("abcde"), samples=1000, seed=1)), drawn)
    assert (drawn_subjects(Bootstrap(tuple("abcde"), samples=1000, seed=2)) != drawn).any()


def test_resamples_are_the_same_whether_they_are_kept_or_drawn_again(monkeypatch):
    kept = drawn_subjects(Bootstrap(tuple("abcde"), samples=200))
    monkeypatch.setattr("anatomark.evaluation.bootstrap._KEPT", 0)
    assert_allclose(drawn_subjects(Bootstrap(tuple("abcde"), samples=200)), kept)
    monkeypatch.setattr("anatomark.evaluation.bootstrap._CHUNK", 100)
    assert drawn_subjects(Bootstrap(tuple("abcde"), samples=200)).shape == kept.shape


def test_the_interval_of_a_mean_is_scipys_where_each_case_is_a_subject():
    errors = np.random.default_rng(0).exponential(2.0, size=(80, 1))
    subjects = [f"s{i}" for i in range(80)]
    told = describe_landmarks(errors, ["a"], subjects=subjects, bootstrap=bootstrap_for(subjects, 20_000)).overall
    oracle = stats.bootstrap((errors[:, 0],), np.mean, n_resamples=20_000, method="percentile", rng=1)
    assert_allclose(told.mre_interval, list(oracle.confidence_interval), atol=0.02)
    oracle = stats.bootstrap((errors[:, 0],), np.median, n_resamples=20_000, method="percentile", rng=1)
    assert_allclose(told.median_interval, list(oracle.confidence_interval), atol=0.04)
    oracle = stats.bootstrap((errors[:, 0] <= 2,), lambda x, axis: x.mean(axis) * 100, method="percentile", rng=1)
    assert_allclose(told.sdr_interval["2"], list(oracle.confidence_interval), atol=1.3)


def test_cases_of_one_subject_stay_together():
    """Ten equal images of each person tell no more than one of each: the interval must not shrink."""
    errors = np.random.default_rng(0).exponential(2.0, size=(20, 1))
    people = [f"p{i}" for i in range(20)]
    once = describe_landmarks(errors, ["a"], subjects=people, bootstrap=bootstrap_for(people)).overall
    ten = describe_landmarks(
        errors.repeat(10, 0), ["a"], subjects=np.repeat(people, 10).tolist(), bootstrap=bootstrap_for(people)
    )
    assert_allclose(ten.overall.mre_interval, once.mre_interval)
    alone = [f"c{i}" for i in range(200)]
    apart = describe_landmarks(errors.repeat(10, 0), ["a"], subjects=alone, bootstrap=bootstrap_for(alone)).overall
    assert np.ptp(apart.mre_interval) < 0.5 * np.ptp(once.mre_interval)


def test_intervals_cover_the_truth_about_as_often_as_they_say():
    rng = np.random.default_rng(5)
    subjects = [f"s{i}" for i in range(60)]
    bootstrap = bootstrap_for(subjects, 400)
    errors = rng.gamma(4.0, 0.5, size=(60, 300))  # 300 landmarks, each of mean 2
    block = describe_landmarks(errors, [str(k) for k in range(300)], subjects=subjects, bootstrap=bootstrap)
    covered = [lo <= 2 <= hi for lo, hi in (line.mre_interval for line in block.landmarks.values())]
    assert 0.90 <= np.mean(covered) <= 0.98


def test_no_interval_for_a_single_subject():
    block = describe_landmarks(
        np.array([[1.0], [2.0]]), ["a"], subjects=["p", "p"], bootstrap=bootstrap_for(["p", "p"])
    )
    assert block.overall.mre == 1.5
    assert block.overall.mre_interval is None
    assert block.overall.n_subjects == 1


def test_a_landmark_that_one_subject_of_several_has_gets_none():
    errors = np.array([[1.0, 2.0], [2.0, np.nan], [1.5, np.nan]])
    block = describe_landmarks(errors, ["a", "b"], subjects=list("xyz"), bootstrap=bootstrap_for("xyz"))
    assert block.landmarks["a"].mre_interval is not None
    assert block.landmarks["b"].mre_interval is None
    assert block.landmarks["b"].sdr_interval == {"2": None, "2.5": None, "3": None, "4": None}


@pytest.mark.parametrize("samples", [-1, 5, 10**7])
def test_too_few_samples_for_tails_are_refused(samples):
    with pytest.raises(SettingsError, match="bootstrap samples"):
        checked_samples(samples)


def test_no_samples_no_intervals():
    block = describe_landmarks(
        np.array([[1.0], [2.0]]), ["a"], subjects=["p", "q"], bootstrap=bootstrap_for(["p", "q"], 0)
    )
    assert block.overall.mre_interval is None

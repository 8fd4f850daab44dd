"""The error that a method's own answers let expect."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.stats import rankdata

from anatomark.errors import ModelError
from anatomark.methods.error_scale import (
    FEWEST,
    NAME,
    WEIGHT,
    ErrorScale,
    evidence_of,
    evidence_size,
    unseen_scales,
)
from anatomark.methods.interface import Located

SHAPE = (40, 6)


def cases(seed: int, *, weight: float = 1.0, number: int = 4) -> tuple[np.ndarray, np.ndarray]:
    """Errors (M, N) of landmarks that differ, and evidence (M, N, F) of which the second says something."""
    rng = np.random.default_rng(seed)
    evidence = rng.normal(np.arange(number), 1 + np.arange(number), (*SHAPE, number))
    log = weight * (evidence[..., 1] - 1) / 2 + rng.normal(0, 0.4, SHAPE)
    return np.linspace(1, 3, SHAPE[1]) * np.exp(log), evidence


def test_errors_are_ranked_by_what_says_something() -> None:
    scale = ErrorScale.learned(*cases(0))
    assert scale is not None
    assert scale.weights[1] > 0.5
    assert np.abs(np.delete(scale.weights, 1)).max() < 0.15
    errors, evidence = cases(1)
    within = [np.corrcoef(rankdata(e), rankdata(s))[0, 1] for e, s in zip(errors.T, scale.of(evidence).T, strict=True)]
    assert min(within) > 0.7
    usual = scale.of(scale.middle)
    np.testing.assert_allclose(usual, scale.typical)
    assert usual[-1] > 2 * usual[0]


def test_evidence_without_a_say_gets_no_weight() -> None:
    scale = ErrorScale.learned(*cases(0, weight=0.0))
    assert scale is not None
    assert np.abs(scale.weights).max() < 0.1


def test_unseen_scales_are_learned_without_the_subject() -> None:
    errors, evidence = cases(0)
    subjects = [str(k // 2) for k in range(len(errors))]
    before = unseen_scales(errors, evidence, subjects)
    whole = ErrorScale.learned(errors, evidence)
    changed = errors.copy()
    changed[:2] = errors[:2][:, ::-1]
    after, other = unseen_scales(changed, evidence, subjects), ErrorScale.learned(changed, evidence)
    assert whole is not None
    assert other is not None
    np.testing.assert_allclose(before[:2] / whole.typical, after[:2] / other.typical)
    assert (before[2:] / whole.typical != after[2:] / other.typical).any()


def test_unseen_scales_rank_errors_as_seen_ones_do() -> None:
    """A case's own error does not make its scale smaller."""
    errors, evidence = cases(3)
    scale = ErrorScale.learned(errors, evidence)
    assert scale is not None
    seen, unseen = scale.of(evidence), unseen_scales(errors, evidence, [str(k) for k in range(len(errors))])
    by_seen, by_unseen = (
        np.mean([np.corrcoef(rankdata(e), rankdata(s))[0, 1] for e, s in zip(errors.T, scales.T, strict=True)])
        for scales in (seen, unseen)
    )
    assert by_unseen > by_seen - 0.05


def test_unknown_errors_and_evidence_count_for_nothing() -> None:
    errors, evidence = cases(0)
    errors[::3, 0] = np.nan
    evidence[::3, 0] = 1e6
    errors[:, 5] = np.nan
    scale = ErrorScale.learned(errors, evidence)
    assert scale is not None
    assert np.abs(scale.middle[0]).max() < 10
    assert np.isfinite(scale.typical).all()
    missing = np.where(np.arange(4) == 1, np.nan, scale.middle)
    np.testing.assert_allclose(scale.of(missing), scale.typical)


def test_too_few_cases_teach_nothing_and_few_are_drawn_to_none() -> None:
    errors, evidence = cases(0)
    assert ErrorScale.learned(errors[: FEWEST - 1], evidence[: FEWEST - 1]) is None
    assert np.isnan(unseen_scales(errors[:FEWEST], evidence[:FEWEST], list("abcdefgh"))).all()
    scale = ErrorScale.learned(errors[:FEWEST], evidence[:FEWEST])
    assert scale is not None
    assert np.abs(scale.weights).max() < 4 * WEIGHT


@pytest.mark.parametrize("stages", [1, 2])
def test_evidence_of_answers(stages: int) -> None:
    """Votes that scatter, little mass, stages that disagree and an unexpected place all mean less sure."""
    points = np.zeros((2, 3))
    first = Located(points + np.array([[0.0, 0, 0], [0, 4, 0]]), np.array([1.0, 2.0]), np.array([0.9, 0.1]))
    last = Located(points, np.array([1.0, 2.0]), np.array([0.9, 0.2]))
    located = [first, last][-stages:]
    evidence = evidence_of(located, points + np.array([[0.0, 0, 1], [0, 0, 5]]), 100.0)
    assert evidence.shape == (2, evidence_size(stages))
    assert (evidence[1] > evidence[0]).all()
    assert np.isfinite(evidence).all()
    assert np.isnan(evidence_of(located, np.full((2, 3), np.nan), 100.0)).any(axis=1).all()


def test_saved_and_loaded_it_is_the_same(tmp_path: Path) -> None:
    assert ErrorScale.load(tmp_path, SHAPE[1], 2) is None
    errors, evidence = cases(0, number=5)
    scale = ErrorScale.learned(errors, evidence)
    assert scale is not None
    scale.save(tmp_path)
    again = ErrorScale.load(tmp_path, SHAPE[1], 2)
    assert again is not None
    np.testing.assert_allclose(again.of(evidence), scale.of(evidence), rtol=1e-5)
    for landmarks, stages in ((SHAPE[1] + 1, 2), (SHAPE[1], 1)):
        with pytest.raises(ModelError, match=NAME):
            ErrorScale.load(tmp_path, landmarks, stages)

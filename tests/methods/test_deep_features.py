"""Features of a network as a measure of suitability: what is usual, and what a strange image deviates by."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from anatomark.errors import ModelError
from anatomark.methods.deep_features import DeepFeatures, UsualFeatures
from anatomark.methods.suitability import Suitability

CHANNELS, N = 12, 8


def image(seed: int, strange: float = 0.0) -> DeepFeatures:
    """Features that vary along two directions, and `strange` ones along a third."""
    basis = np.random.default_rng(0).normal(size=(3, CHANNELS))
    rng = np.random.default_rng(seed)
    mean = np.array([*rng.normal(size=2), strange]) @ basis + rng.normal(0, 0.1, CHANNELS)
    return DeepFeatures(mean, np.full(CHANNELS, 1.0) + 0.1 * mean**2, mean + rng.normal(0, 0.1, (N, CHANNELS)))


def summaries(first: int, count: int) -> np.ndarray:
    return np.stack([image(first + k).summary for k in range(count)])


def test_strange_features_lie_beyond_all_that_is_usual_and_others_do_not() -> None:
    usual = UsualFeatures.learned(summaries(0, 40), summaries(100, 12))
    assert usual is not None
    clean = [usual.apart(image(200 + k)) / usual.deviation for k in range(60)]
    strange = [usual.apart(image(300 + k, strange=6.0)) / usual.deviation for k in range(20)]
    assert max(clean) < 4
    assert min(strange) > 5
    assert UsualFeatures.learned(summaries(0, 40), summaries(100, 7)) is None, "too few validation cases"


def test_values_at_the_points_and_of_two_parts_of_an_image() -> None:
    features = torch.arange(24.0).reshape(1, 2, 3, 4)
    of = DeepFeatures.of(features, np.array([[0.2, 1.4], [9.0, -3.0]]))
    np.testing.assert_array_equal(of.at, [[1, 13], [8, 20]])  # outside: the next element
    np.testing.assert_allclose(of.mean, [5.5, 17.5])
    np.testing.assert_allclose(of.deviation, np.arange(12).std(), rtol=1e-6)
    both = of.joined(DeepFeatures(of.mean + 2, of.deviation, of.at + 1), np.array([True, False]))
    np.testing.assert_array_equal(both.at, [[2, 14], [8, 20]])
    np.testing.assert_allclose(both.mean, of.mean + 1)


@pytest.mark.parametrize("ndim", [2, 3])
def test_an_image_whose_points_lie_as_usual_is_unsuitable_by_its_features(ndim: int, tmp_path: Path) -> None:
    rng = np.random.default_rng(4)
    typical = rng.uniform(0, 100, (N, ndim))
    shapes = typical + rng.normal(0, 1, (52, N, ndim))
    suitability = Suitability.learned(shapes[:40], shapes[40:], shapes[40:] + 0.1)
    suitability = suitability.with_features(summaries(0, 40), summaries(100, 12))
    suitability.save(tmp_path)
    suitability = Suitability.load(tmp_path, N, ndim)
    points, presence = typical + rng.normal(0, 1, (N, ndim)), np.ones(N)
    assert suitability.judge(points, presence, features=image(7)).reason is None
    told = suitability.judge(points, presence, features=image(7, strange=6.0))
    assert told.reason is not None
    assert told.reason.startswith("the image looks strange to the network, unlike in the training images: look if")
    assert told.share < 1e-4
    assert suitability.judge(points, presence).reason is None, "without features, points alone are judged"
    foreign = replace(image(7), mean=np.ones(3), deviation=np.ones(3), at=np.ones((N, 3)))
    with pytest.raises(ModelError, match="knows 36 numbers of features, but the network has 9"):
        suitability.judge(points, presence, features=foreign)

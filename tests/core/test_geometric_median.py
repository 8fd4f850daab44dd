"""The geometric median is not pulled by what is far off, and knows what is missing."""

import numpy as np

from anatomark.core.geometric_median import geometric_median


def test_the_geometric_median_is_not_pulled_by_one_that_is_far_off() -> None:
    rng = np.random.default_rng(0)
    points = np.array([3.0, -2.0, 5.0]) + 0.1 * rng.normal(size=(5, 4, 3))
    points[0] += 1000
    points[1, 2] = np.nan
    median = geometric_median(points)
    assert np.abs(median - [3.0, -2.0, 5.0]).max() < 0.3
    directions = points - median
    directions /= np.linalg.norm(directions, axis=2, keepdims=True)
    np.testing.assert_allclose(np.nansum(directions, axis=0), 0, atol=0.02, err_msg="it balances the pulls of all")
    np.testing.assert_allclose(geometric_median(points[1:3, :2]), points[1:3, :2].mean(axis=0), atol=1e-9)


def test_it_may_stand_on_a_point_and_knows_what_is_missing() -> None:
    corners = np.array([[0, 0], [1, 0], [0, 1], [-1, -1], [0, 0]], dtype=float)[:, None]
    np.testing.assert_allclose(geometric_median(corners)[0], [0, 0], atol=1e-4)
    several = np.stack([corners, np.full_like(corners, np.nan)], axis=1)
    found = geometric_median(several)
    assert found.shape == (2, 1, 2)
    assert np.isnan(found[1]).all()
    np.testing.assert_allclose(geometric_median(np.tile([[[3.0, 4.0]]], (3, 1, 1))), [[3.0, 4.0]])
    assert geometric_median(np.zeros((2, 0, 3))).shape == (0, 3)


def test_scale_and_place_do_not_matter() -> None:
    points = np.random.default_rng(1).normal(size=(7, 3, 2))
    there = geometric_median(1e-3 * points + 500) - 500
    np.testing.assert_allclose(there, 1e-3 * geometric_median(points), atol=1e-8)

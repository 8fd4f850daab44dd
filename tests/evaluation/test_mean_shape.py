"""The mean-shape baseline: placed through the Grid, whatever the image's orientation and size."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from anatomark.core.grid import Grid
from anatomark.evaluation.mean_shape import FRACTION, FROM_MIDDLE, mean_shape


def grid(shape=(40, 50, 60), spacing=(1.0, 1.5, 2.0), origin=(5, -7, 11), direction=None):
    return Grid.from_geometry(shape, spacing=spacing, origin=origin, direction=direction)


def test_one_training_case_is_given_back_in_its_own_image():
    points = np.array([[[10, 20, 30], [40, 5, 60.0]]])
    assert_allclose(mean_shape([grid()], points).place(grid()), points[0])


@settings(max_examples=30, deadline=None)
@given(st.permutations([0, 1, 2]), st.tuples(*[st.sampled_from([-1.0, 1.0])] * 3))
def test_storage_order_and_flips_of_an_image_do_not_matter(order, signs):
    """The same image, its axes stored in any order and direction, gets the same world points."""
    base = grid()
    points = np.array([[[10, 20, 30], [40, 5, 60.0]]])
    affine = base.affine.copy()
    affine[:, :3] = affine[:, list(order)]
    shape = tuple(base.shape[k] for k in order)
    for axis, sign in enumerate(signs):
        if sign < 0:
            affine[:, 3] += affine[:, axis] * (shape[axis] - 1)
            affine[:, axis] *= -1
    stored = Grid(shape, affine)
    for train, test in ((base, stored), (stored, base)):
        for far in (base, grid(shape=(80, 50, 60))):  # both placements come to be chosen
            shape_ = mean_shape([train, far], np.concatenate([points, points]))
            assert_allclose(shape_.place(test), shape_.place(train), atol=1e-9)


def test_distance_from_the_middle_is_chosen_where_only_the_field_of_view_differs():
    small, large = grid(shape=(40, 40, 40), spacing=(1, 1, 1)), grid(shape=(80, 80, 80), spacing=(1, 1, 1))
    offset = np.array([[4.0, -3, 10], [0, 5, -8]])
    shape = mean_shape([small, large], np.stack([g.center + offset for g in (small, large)]))
    assert shape.placement == FROM_MIDDLE
    other = grid(shape=(50, 60, 70), spacing=(1, 1, 1))
    assert_allclose(shape.place(other), other.center + offset)


def test_fractions_are_chosen_where_only_the_zoom_differs():
    small = Grid.from_geometry((40, 60), spacing=(1, 1), unit="px")
    large = Grid.from_geometry((80, 120), spacing=(1, 1), unit="px")
    points = [np.array([[14.5, 9.5], [44.5, 29.5]]), np.array([[29.5, 19.5], [89.5, 59.5]])]
    shape = mean_shape([small, large], np.stack(points))
    assert shape.placement == FRACTION
    assert_allclose(shape.relative, [[0.25, 0.25], [0.75, 0.75]])
    assert_allclose(shape.place(large), points[1])


def test_unannotated_cases_are_left_out_and_an_unknown_landmark_stays_nan():
    points = np.full((2, 3, 3), np.nan)
    points[:, 0] = [[10, 20, 30], [14, 20, 30]]
    points[1, 1] = [1, 2, 3]
    placed = mean_shape([grid(), grid()], points).place(grid())
    assert_allclose(placed[:2], [[12, 20, 30], [1, 2, 3]])
    assert np.isnan(placed[2]).all()


@pytest.mark.parametrize("ndim", [2, 3])
def test_the_mean_is_the_best_constant_offset(ndim):
    rng = np.random.default_rng(ndim)
    g = Grid.from_geometry((30, 40, 50)[:ndim], spacing=(1.0, 2.0, 3.0)[:ndim])
    points = rng.normal(20, 4, (12, 5, ndim))
    assert_allclose(mean_shape([g] * 12, points).place(g), points.mean(axis=0), atol=1e-9)

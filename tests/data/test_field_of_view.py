"""Copies of a case with a smaller field of view: what is left lies where it was, what is cut off is absent."""

from __future__ import annotations

import numpy as np
import pytest

from anatomark import load_dataset, make_phantoms
from anatomark.core.landmarks import State
from anatomark.data.cache import prepare
from anatomark.data.field_of_view import cut, draw_cut
from anatomark.data.working import Sampling


@pytest.fixture(scope="module", params=[2, 3])
def case(request, tmp_path_factory):
    folder, ndim = tmp_path_factory.mktemp("cut"), request.param
    dataset = load_dataset(make_phantoms(folder / "phantoms", ndim=ndim, cases=1, landmarks=5, absent=False))
    roles = {"train": list(dataset.cases)}
    return prepare(dataset, roles, folder / "cache", sampling=Sampling((2.5,) * ndim, (3,) * ndim)).cases[0]


def cuts(case, depths):
    """Copies of `case` cut at each side and by each of `depths`."""
    return [cut(case, side, depth) for side in range(2 * case.image.coarse.ndim) for depth in depths]


def test_what_is_left_lies_where_it_was(case):
    whole = case.image
    for part in cuts(case, (0.05, 0.4)):
        for grid, array, before_grid, before in (
            (part.image.fine_grid, part.image.fine, whole.fine_grid, whole.fine),
            (part.image.coarse_grid, part.image.coarse, whole.coarse_grid, whole.coarse),
        ):
            assert array.shape == grid.shape
            assert array.size < before.size
            first = np.round(before_grid.world_to_index(grid.index_to_world(np.zeros(len(grid.shape))))).astype(int)
            assert np.array_equal(array, before[tuple(slice(f, f + n) for f, n in zip(first, grid.shape, strict=True))])


def test_exactly_the_landmarks_beyond_are_absent(case):
    counts = set()
    for part in cuts(case, (0.05, 0.4)):
        grid = part.image.fine_grid
        index = grid.world_to_index(case.points_world)
        inside = ((index >= -0.5) & (index < np.asarray(grid.shape) - 0.5)).all(axis=1)
        assert np.array_equal(part.states == State.PRESENT, inside)
        assert np.array_equal(part.states == State.ABSENT, ~inside)
        assert np.array_equal(part.points_world[inside], case.points_world[inside])
        assert np.isnan(part.points_world[~inside]).all()
        counts.add(int((~inside).sum()))
    assert max(counts) > 1


def test_not_annotated_stays_so_and_nothing_known_is_not_cut(case):
    from dataclasses import replace

    unknown = np.full_like(case.points_world, np.nan)
    states = np.full_like(case.states, State.NOT_ANNOTATED)
    bare = replace(case, points_world=unknown, states=states)
    assert cut(bare, 0, 0.3) is bare
    points, some = case.points_world.copy(), case.states.copy()
    points[0], some[0] = np.nan, State.NOT_ANNOTATED
    partly = replace(case, points_world=points, states=some)
    assert all(part.states[0] == State.NOT_ANNOTATED for part in cuts(partly, (0.4,)))


def test_every_side_is_drawn_and_the_given_case_stays(case):
    before = case.states.copy()
    shapes = {draw_cut(case, np.random.default_rng(seed)).image.coarse.shape for seed in range(40)}
    sides = {axis for shape in shapes for axis, n in enumerate(shape) if n < case.image.coarse.shape[axis]}
    assert sides == set(range(case.image.coarse.ndim))
    assert np.array_equal(case.states, before)

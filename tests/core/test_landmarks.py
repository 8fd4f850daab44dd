"""Landmarks: three states, unique names, no way to change them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from anatomark.core.landmarks import Landmarks, State

coordinate = st.floats(-1e6, 1e6)


@st.composite
def landmarks(draw):
    d = draw(st.sampled_from([2, 3]))
    names = draw(st.lists(st.text(min_size=1, max_size=8), unique=True, max_size=12))
    states = draw(st.lists(st.sampled_from(State), min_size=len(names), max_size=len(names)))
    point = st.lists(coordinate, min_size=d, max_size=d)
    points = np.array([draw(point) for _ in names]).reshape(-1, d)
    return Landmarks(tuple(names), points, np.array(states, dtype=np.uint8))


@given(landmarks())
def test_points_are_where_the_state_says_and_nowhere_else(marks):
    assert np.array_equal(np.isfinite(marks.points).all(axis=1), marks.present)
    assert np.isnan(marks.points[~marks.present]).all()
    assert (marks.present <= marks.annotated).all()


@given(landmarks(), st.data())
def test_select_orders_and_fills(marks, data):
    wanted = data.draw(st.lists(st.sampled_from([*marks.names, "not here at all"]), unique=True))
    chosen = marks.select(wanted)
    assert chosen.names == tuple(wanted)
    for name in wanted:
        if name in marks.names:
            np.testing.assert_array_equal(chosen[name], marks[name])
            assert chosen.states[wanted.index(name)] == marks.states[marks.names.index(name)]
        else:
            assert chosen.states[wanted.index(name)] == State.NOT_ANNOTATED
    assert marks.select(marks.names) == marks


@given(landmarks())
def test_with_points_moves_only_those_present(marks):
    moved = marks.with_points(marks.points + 1)
    assert np.array_equal(moved.states, marks.states)
    np.testing.assert_array_equal(moved.points[marks.present], marks.points[marks.present] + 1)


def test_from_points_takes_nan_as_not_annotated_and_refuses_infinity():
    marks = Landmarks.from_points(["a", "b"], [[1, 2], [np.nan, 3]])
    assert marks.states.tolist() == [State.PRESENT, State.NOT_ANNOTATED]
    with pytest.raises(ValueError, match="finite coordinates, these have none: b"):
        Landmarks.from_points(["a", "b"], [[1, 2], [np.inf, 3]])


def test_from_dict():
    marks = Landmarks.from_dict({"a": [1, 2, 3], "b": State.ABSENT, "c": State.NOT_ANNOTATED}, ndim=3)
    assert marks.states.tolist() == [State.PRESENT, State.ABSENT, State.NOT_ANNOTATED]
    assert marks == Landmarks.from_dict({"a": (1, 2, 3), "b": State.ABSENT, "c": State.NOT_ANNOTATED}, ndim=3)
    assert len(Landmarks.from_dict({}, ndim=2)) == 0


def test_states_units_and_names_tell_landmarks_apart():
    marks = Landmarks.from_dict({"a": [1, 2], "b": State.ABSENT}, ndim=2)
    assert marks != Landmarks.from_dict({"a": [1, 2], "b": State.NOT_ANNOTATED}, ndim=2)
    assert marks != Landmarks.from_dict({"a": [1, 2], "b": State.ABSENT}, ndim=2, unit="px")
    assert marks != Landmarks.from_dict({"a": [1, 2], "c": State.ABSENT}, ndim=2)


def test_an_unknown_name_is_told_with_the_known_ones():
    with pytest.raises(KeyError, match="no landmark 'c'; there are: a"):
        Landmarks.from_points(["a"], [[1, 2]])["c"]


@pytest.mark.parametrize(
    ("names", "points", "states", "message"),
    [
        (("a", "a"), np.zeros((2, 2)), [2, 2], "unique"),
        (("a",), np.zeros((2, 2)), [2, 2], "1 landmarks"),
        (("a",), np.zeros((1, 4)), [2], "shape"),
        (("a",), np.zeros((1, 2)), [3], "State"),
        (("a", "b"), np.array([[0, 0], [np.nan, 0]]), [2, 2], "these have none: b"),
    ],
)
def test_impossible_landmarks_are_refused(names, points, states, message):
    with pytest.raises(ValueError, match=message):
        Landmarks(names, points, states)


def test_arrays_are_read_only_and_apart_from_what_came_in():
    points = np.zeros((1, 2))
    marks = Landmarks.from_points(["a"], points)
    points[:] = 9
    assert marks["a"].tolist() == [0, 0]
    with pytest.raises(ValueError, match="read-only"):
        marks.points[0] = 1
    with pytest.raises(ValueError, match="read-only"):
        marks.states[0] = 1

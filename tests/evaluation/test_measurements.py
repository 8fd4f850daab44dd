"""Measurements: values by hand, signs, agreement, classes; and what a description may not say."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from anatomark.core.landmarks import State
from anatomark.data.measurements import Classes, Measurement, measure, measurement_faults
from anatomark.data.parse import parse
from anatomark.errors import DescriptionError
from anatomark.evaluation.bootstrap import bootstrap_for
from anatomark.evaluation.measurements import MeasuredCase, between_observers, classification, measurement_scores
from anatomark.evaluation.rows import Answer, Rows

NAMES = ("o", "x", "y", "d", "far")
FLAT = np.array([[[0.0, 0], [2, 0], [0, 3], [1, 1], [5, 3]]])
SOLID = np.array([[[0.0, 0, 0], [2, 0, 0], [0, 3, 0], [1, 0, 1], [0, 0, 4]]])


def value(at, **fields):
    m = Measurement(name="m", **fields)
    assert measurement_faults([m], NAMES, at.shape[-1]) == []
    return measure([m], NAMES, at)["m"][0]


@pytest.mark.parametrize(
    ("fields", "wanted"),
    [
        ({"kind": "distance", "points": ["x", "y"]}, np.sqrt(13)),
        ({"kind": "distance", "points": ["x", "y"], "along": "x"}, -np.sqrt(13)),
        ({"kind": "distance", "points": ["x", "y"], "along": "y"}, np.sqrt(13)),
        ({"kind": "angle", "points": ["x", "o", "y"]}, 90),
        ({"kind": "angle", "points": ["y", "o", "d"]}, 45),
        ({"kind": "angle of lines", "lines": [["o", "x"], ["y", "far"]]}, 0),
        ({"kind": "angle of lines", "lines": [["o", "x"], ["far", "y"]]}, 180),
        ({"kind": "angle of lines", "lines": [["o", "x"], ["o", "d"]], "signed": True}, 45),
        ({"kind": "angle of lines", "lines": [["o", "d"], ["o", "x"]], "signed": True}, -45),
        ({"kind": "ratio", "lines": [["o", "x"], ["o", "y"]]}, 2 / 3),
        ({"kind": "point to line", "point": "y", "line": ["o", "x"]}, 3),  # clockwise of o-x where y points down
        ({"kind": "point to line", "point": "y", "line": ["x", "o"]}, -3),
        ({"kind": "point to line", "point": "d", "line": ["x", "y"]}, 1 / np.sqrt(13)),
    ],
)
def test_values_by_hand_in_2d(fields, wanted):
    assert value(FLAT, **fields) == pytest.approx(wanted)


@pytest.mark.parametrize(
    ("fields", "wanted"),
    [
        ({"kind": "distance", "points": ["x", "far"]}, np.sqrt(20)),
        ({"kind": "angle", "points": ["x", "o", "d"]}, 45),
        ({"kind": "point to line", "point": "far", "line": ["x", "o"]}, 4),
        ({"kind": "angle of planes", "planes": [["o", "x", "y"], ["o", "x", "far"]]}, 90),
        ({"kind": "angle of planes", "planes": [["o", "x", "y"], ["o", "y", "d"]]}, 45),
        ({"kind": "angle of planes", "planes": [["o", "x", "y"], ["y", "o", "d"]]}, 45),  # planes have no direction
    ],
)
def test_values_by_hand_in_3d(fields, wanted):
    assert value(SOLID, **fields) == pytest.approx(wanted)


@settings(max_examples=30, deadline=None)
@given(st.floats(-3.1, 3.1), st.floats(-50, 50), st.floats(0.5, 3))
def test_turning_moving_and_scaling_an_image_leaves_angles_and_ratios(turn, shift, scale):
    matrix = scale * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    moved = FLAT @ matrix.T + shift
    for fields in (
        {"kind": "angle", "points": ["x", "o", "d"]},
        {"kind": "angle of lines", "lines": [["x", "y"], ["o", "far"]], "signed": True},
        {"kind": "ratio", "lines": [["o", "x"], ["x", "far"]]},
    ):
        assert_allclose(value(moved, **fields), value(FLAT, **fields), atol=1e-7)
    line = {"kind": "point to line", "point": "far", "line": ["x", "y"]}
    assert_allclose(value(moved, **line), scale * value(FLAT, **line), atol=1e-7)


def test_a_sum_adds_measurements_above_it():
    parts = [
        Measurement(name="a", kind="angle", points=["x", "o", "y"], hidden=True),
        Measurement(name="b", kind="angle", points=["x", "o", "d"], hidden=True),
        Measurement(name="c", kind="sum", of={"a": 1, "b": -2}),
    ]
    assert measure(parts, NAMES, FLAT)["c"][0] == pytest.approx(0)


def test_small_angles_are_exact_and_no_length_gives_no_value():
    points = np.array([[[0.0, 0], [1, 0], [1, 1e-9], [0, 0], [0, 0]]])
    assert value(points, kind="angle", points=["x", "o", "y"]) == pytest.approx(np.degrees(1e-9))
    assert np.isnan(value(points, kind="angle", points=["x", "o", "d"]))
    assert np.isnan(value(points, kind="ratio", lines=[["o", "x"], ["o", "d"]]))


def make_rows(lengths, predicted, answers=None):
    """Cases with the landmarks o and x, x a length away from o."""

    def points(values):
        return np.array([[[0, 0], [np.nan if v is None else v, 0]] for v in values], dtype=float)

    states = np.full((len(lengths), 2), State.PRESENT, dtype=np.uint8)
    said = np.full(states.shape, Answer.PRESENT, dtype=np.uint8) if answers is None else np.array(answers, np.uint8)
    cases = tuple(f"c{i}" for i in range(len(lengths)))
    return Rows(cases, ("o", "x"), points(lengths), states, points(predicted), said, np.full(states.shape, np.nan))


def test_agreement_by_hand():
    m = Measurement(name="width", kind="distance", points=["o", "x"])
    rows = make_rows([10, 12, 14, 16], [11, 12, 17, 16], [[2, 2], [2, 2], [2, 2], [2, Answer.ABSENT]])
    (told,) = measurement_scores([m], rows, bootstrap_for(rows.subjects))
    assert (told.unit, told.n, told.n_missing) == ("mm", 4, 1)
    assert told.bias == pytest.approx(4 / 3)
    assert told.mean_absolute_error == pytest.approx(4 / 3)
    sd = np.std([1, 0, 3], ddof=1)
    assert told.sd == pytest.approx(sd)
    assert_allclose(told.limits, [4 / 3 - 1.96 * sd, 4 / 3 + 1.96 * sd])
    assert told.rows[3] == MeasuredCase("c3", reference=16, predicted=None)
    assert told.bias_interval[0] <= 4 / 3 <= told.bias_interval[1]
    assert told.classes is None


def test_observers_measure_apart_by_hand():
    classes = Classes(names=["small", "large"], thresholds=[10])
    m = Measurement(name="width", kind="distance", points=["o", "x"], classes=classes)
    values = [np.array([9.0, 12, 14, np.nan]), np.array([11.0, 12, 11, 3])]
    told = between_observers(m, values)
    assert (told.n, told.bias) == (3, pytest.approx(-1 / 3))
    assert told.mean_absolute_error == pytest.approx(5 / 3)
    assert told.sd == pytest.approx(np.std([2, 0, -3], ddof=1))
    assert told.class_agreement == pytest.approx(200 / 3)
    three = between_observers(m, [*values, values[0]])
    assert (three.n, three.bias) == (9, None)
    assert between_observers(m, values[:1]) is None
    assert between_observers(m, [values[0], np.full(4, np.nan)]) is None


def test_classes_by_hand():
    classes = Classes(names=["low", "normal", "high"], thresholds=[1, 2])
    reference = np.array([0.5, 0.9, 1.0, 1.5, 2.0, 3.0])
    predicted = np.array([0.5, 1.2, 1.0, np.nan, 2.5, 1.9])
    told = classification(classes, reference, predicted)
    assert told.confusion == {
        "low": {"low": 1, "normal": 1, "high": 0, "missing": 0},
        "normal": {"low": 0, "normal": 1, "high": 0, "missing": 1},
        "high": {"low": 0, "normal": 1, "high": 1, "missing": 0},
    }
    assert told.rate == pytest.approx(50)
    assert told.mean_class_rate == pytest.approx(50)
    one = classification(classes, np.array([0.5, 0.6, 0.7, 1.5]), np.array([0.5, 0.6, 1.7, 1.5]))
    assert one.rate == pytest.approx(75)
    assert one.mean_class_rate == pytest.approx((200 / 3 + 100) / 2)


GOOD = {"name": "s", "dimension": 2, "landmarks": ["a", "b", "c"], "images": {}}


@pytest.mark.parametrize(
    ("measurement", "words"),
    [
        ({"name": "m", "kind": "angle", "points": ["a", "b"]}, "`points` needs 3 names"),
        ({"name": "m", "kind": "angle", "points": ["a", "b", "z"]}, "'z' is not in landmarks"),
        ({"name": "m", "kind": "angle"}, "needs points"),
        ({"name": "m", "kind": "ratio", "lines": [["a", "b"], ["a"]]}, "needs 2 times 2"),
        ({"name": "m", "kind": "sum", "of": {"other": 1}}, "'other' is not a measurement above"),
        ({"name": "m", "kind": "angle of planes", "planes": [["a", "b", "c"]] * 2}, "in 3D only"),
        ({"name": "m", "kind": "bend", "points": ["a", "b", "c"]}, "kind"),
        ({"name": "m", "kind": "distance", "points": ["a", "b"], "signed": True}, "signed"),
        (
            {"name": "m", "kind": "distance", "points": ["a", "b"], "classes": {"names": ["x"], "thresholds": [1]}},
            "distinct names",
        ),
        (
            {
                "name": "m",
                "kind": "distance",
                "points": ["a", "b"],
                "classes": {"names": list("xyz"), "thresholds": [2, 1]},
            },
            "must rise",
        ),
    ],
)
def test_faulty_measurements_are_one_line(measurement, words):
    with pytest.raises(DescriptionError, match=words) as caught:
        parse(GOOD | {"measurements": [measurement]}, "my.yaml")
    assert "\n" not in str(caught.value)


def test_a_sum_of_degrees_and_lengths_is_refused():
    parts = [
        {"name": "a", "kind": "angle", "points": ["a", "b", "c"]},
        {"name": "b", "kind": "distance", "points": ["a", "b"]},
        {"name": "c", "kind": "sum", "of": {"a": 1, "b": 1}},
    ]
    with pytest.raises(DescriptionError, match="one unit"):
        parse(GOOD | {"measurements": parts}, "my.yaml")


def test_the_documented_measurements_parse():
    import yaml

    from anatomark.data import measurements

    page = Path(__file__).parents[2] / "docs" / "dataset.md"
    text = page.read_text(encoding="utf-8").split("```yaml\n")[2].split("```")[0]
    named = [Measurement.model_validate(m) for m in yaml.safe_load(text)["measurements"]]
    assert {m.kind for m in named} == set(measurements._WANTS)

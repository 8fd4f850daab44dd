"""Charts: the numbers that are drawn, by hand; names are text; however many landmarks, a chart stays readable."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose

from anatomark.evaluation.chart_agreement import MOST_POINTS, bland_altman, coverage, farthest, reliability
from anatomark.evaluation.chart_bias import bias_arrows, bias_shape, centred_mean
from anatomark.evaluation.charts import MOST_BOXES, boxed, boxes, cumulative, curve, embed, label
from anatomark.evaluation.measurements import MeasuredCase, MeasurementScores
from anatomark.evaluation.metrics import CumulativeErrors, describe
from tests.evaluation.made import made_metrics, made_rows


def test_a_curve_counts_misses_and_leaves_out_what_is_not_annotated():
    drawn = curve(np.array([1.0, 3.0, np.inf, np.nan]), np.array([0.5, 1.0, 2.9, 3.0, 100]))
    assert_allclose(drawn.percent, [0, 100 / 3, 100 / 3, 200 / 3, 200 / 3])
    assert curve(np.array([np.nan]), np.array([1.0])).percent == [0]


def test_curves_keep_their_names_and_radii_are_marked():
    one = CumulativeErrors([0.0, 5.0], [0.0, 100.0])
    figure = cumulative({"prediction": one, "mean shape": one}, (2.0, 7.0), "px")
    assert [trace.name for trace in figure.data] == ["prediction", "mean shape"]
    assert [shape.x0 for shape in figure.layout.shapes] == [2, 7]
    assert figure.layout.xaxis.range[1] > 7
    assert "px" in figure.layout.xaxis.title.text
    assert len(cumulative({"prediction": CumulativeErrors([0.0, 1.0], [])}, (2.0,), "mm").data) == 1


def test_boxes_are_the_quartiles_and_95_percent_and_the_worst_has_its_case():
    rows, _ = made_rows(cases=41, names=3, absent=False, misses=False)
    figure = boxes(rows)
    k = boxed(rows)[-1]
    box, dots = figure.data
    wanted = np.quantile(rows.radial[:, k], (0.25, 0.5, 0.75, 0.95))
    got = [box.q1[-1], box.median[-1], box.q3[-1], box.upperfence[-1]]
    assert_allclose(got, wanted, atol=1e-3)
    assert list(box.median) == sorted(box.median)
    worst = int(rows.radial[:, k].argmax())
    drawn = list(zip(dots.x, dots.y, dots.text, strict=True))
    assert (round(float(rows.radial[worst, k]), 3), 2, rows.cases[worst]) in drawn


def test_the_observers_box_stands_beside_and_is_theirs():
    rows, _ = made_rows(cases=9, names=2, absent=False, misses=False)
    nothing = describe(np.array([]))
    known = replace(nothing, median=2.0, percentiles={"25": 1.0, "75": 3.0, "90": 4.0, "95": 5.0})
    figure = boxes(rows, {"landmark_0": known, "landmark_1": nothing})
    own, observers, _ = figure.data
    assert observers.name == "between observers"
    assert (*observers.q1, *observers.median, *observers.q3, *observers.upperfence) == (1, 2, 3, 5)
    at = [rows.names[k] for k in boxed(rows)].index("landmark_0")
    assert observers.y[0] < at < own.y[at]


def test_many_landmarks_leave_the_worst_boxes():
    rows, _ = made_rows(cases=3, names=200)
    kept = boxed(rows)
    assert len(kept) == MOST_BOXES
    medians = np.nanmedian(np.where(rows.found, rows.radial, np.nan), axis=0)
    assert medians[kept].min() >= np.sort(medians)[-MOST_BOXES]


def test_the_mean_shape_does_not_see_where_worlds_begin():
    shape = np.array([[0.0, 0], [10, 0], [4, 8]])
    moved = np.stack([shape, shape + np.array([100, -50]), shape + np.array([-3000, 7])])
    moved[1, 2] = np.nan  # a case without the third landmark must not pull the others
    assert_allclose(centred_mean(moved), shape - shape.mean(axis=0), atol=0.05)
    nowhere = moved.copy()
    nowhere[:, 1] = np.nan
    assert np.isnan(centred_mean(nowhere)[1]).all()
    assert np.isfinite(centred_mean(nowhere)[[0, 2]]).all()


@pytest.mark.parametrize("ndim", [2, 3])
def test_arrows_start_at_the_landmark_and_are_the_bias_times_the_factor(ndim):
    rows, _ = made_rows(ndim, cases=8, names=3, absent=False, misses=False)
    bias = dict(zip("xyz", (1.0, -0.5, 0.25)[:ndim], strict=False))
    landmarks = {}
    for (name, scores), clear in zip(made_metrics(rows).landmarks.items(), (True, False, False), strict=True):
        intervals = {a: (v - 0.1, v + 0.1) if clear else (-2, 2) for a, v in bias.items()}
        landmarks[name] = replace(scores, bias=bias, bias_interval=intervals)
    shape = bias_shape(rows, landmarks)
    assert shape is not None
    assert shape.clear.tolist() == [True, False, False]
    figure = bias_arrows(shape, "mm")
    grey, orange, points = figure.data[:3]
    assert len(figure.data) == 3 * (1 if ndim == 2 else 3)
    assert_allclose([orange.x[0], orange.y[0]], shape.points[0][:2], atol=1e-3)
    assert_allclose(
        [orange.x[1] - orange.x[0], orange.y[1] - orange.y[0]], [shape.factor, -0.5 * shape.factor], atol=2e-3
    )
    assert len(orange.x) == 3
    assert len(grey.x) == 6
    assert len(points.x) == 3
    assert figure.layout.yaxis.autorange == "reversed"  # y: downwards in a picture, backwards in an axial slice
    if ndim == 3:  # head up
        assert figure.layout.yaxis2.autorange is True
        assert_allclose(figure.data[4].y[1] - figure.data[4].y[0], 0.25 * shape.factor, atol=2e-3)


def test_without_bias_there_are_no_arrows():
    rows, _ = made_rows(cases=2, names=2)
    landmarks = made_metrics(rows).landmarks
    without = {name: replace(scores, bias=dict.fromkeys("xy")) for name, scores in landmarks.items()}
    assert bias_shape(rows, without) is None


def test_bland_altman_draws_differences_over_means():
    values = [("a", 10.0, 12.0), ("b", 20.0, 19.0), ("c", 5.0, None)]
    measured = MeasurementScores(
        name="width", kind="distance", unit="mm", n=3, n_missing=1, mean_absolute_error=1.5, bias=0.5,
        bias_interval=None, sd=2.12, limits=(-3.66, 4.66), rows=[MeasuredCase(*v) for v in values], classes=None,
        observers=None,
    )  # fmt: skip
    figure = bland_altman(measured)
    (dots,) = figure.data
    assert list(dots.x) == [11, 19.5]
    assert list(dots.y) == [2, -1]
    assert sorted(shape.y0 for shape in figure.layout.shapes) == [-3.66, 0, 0.5, 4.66]
    many = [MeasuredCase(str(i), 1.0, 1.0) for i in range(5 * MOST_POINTS)]
    figure = bland_altman(replace(measured, unit="", bias=0.0, limits=None, rows=many))
    assert len(figure.data[0].x) == MOST_POINTS


def test_coverage_shows_those_that_are_farthest_from_the_promise():
    known = {f"good{k}": 90.0 for k in range(80)} | {"poor": 40.0, "wide": 100.0, "none": None}
    rows = farthest(known, 90.0)
    assert len(rows) == 60
    assert (rows[0], rows[-1]) == (("poor", 40.0), ("wide", 100.0))
    figure = coverage(known, 90.0)
    assert figure.data[0].x[0] == 40
    assert figure.layout.shapes[0].x0 == 90
    line = reliability([50, 90], [45, 92], across="said", up="was")
    assert list(line.data[0].x) == list(line.data[0].y) == [0, 100]


def test_names_are_short_and_no_markup():
    assert label("<b>x</b>") == "&lt;b&gt;x&lt;/b&gt;"
    assert label("a" * 30 + "b" * 30).count("…") == 1
    assert len(label("a" * 300)) == 32
    figure = cumulative({"prediction": CumulativeErrors([0.0, 1.0], [0.0, 1.0])}, (2.0,), "mm")
    assert 'id="chart-x"' in embed(figure, "chart-x")

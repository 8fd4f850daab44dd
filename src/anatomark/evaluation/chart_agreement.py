"""Charts of trust: reliability of bounds and presence, coverage per landmark, Bland-Altman plots."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from anatomark.evaluation.charts import LINE, METHOD, SHAPE, label, name_axis
from anatomark.evaluation.measurements import MeasurementScores
from anatomark.evaluation.numbers import digits_of, signed

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

MOST_LANDMARKS = 60
MOST_POINTS = 2000


def reliability(
    predicted: Sequence[float], observed: Sequence[float], *, across: str, up: str, text: Sequence[str] = ()
) -> Figure:
    """Observed percentages over the predicted ones; what is well calibrated lies on the diagonal."""
    import plotly.graph_objects as go

    figure = go.Figure()
    figure.add_scatter(
        x=[0, 100], y=[0, 100], mode="lines", line={"color": SHAPE, "dash": "dot"}, hoverinfo="skip", showlegend=False
    )
    figure.add_scatter(
        x=list(predicted), y=list(observed), mode="lines+markers", line={"color": METHOD, "width": 2.5},
        marker={"size": 7}, text=list(text), showlegend=False,
        hovertemplate="%{y:.1f} % where %{x:.1f} % was predicted" + (", %{text}" if text else "") + "<extra></extra>",
    )  # fmt: skip
    figure.update_xaxes(title=across, range=[-2, 102], constrain="domain")
    figure.update_yaxes(title=up, range=[-2, 102], scaleanchor="x", scaleratio=1, constrain="domain")
    figure.update_layout(height=420)
    return figure


def farthest(landmarks: Mapping[str, float | None], nominal: float) -> list[tuple[str, float]]:
    """The landmarks whose coverage is farthest from `nominal` (percent), lowest first."""
    known = [(name, value) for name, value in landmarks.items() if value is not None]
    known.sort(key=lambda item: -abs(item[1] - nominal))
    return sorted(known[:MOST_LANDMARKS], key=lambda item: item[1])


def coverage(landmarks: Mapping[str, float | None], nominal: float) -> Figure:
    """Percentage of errors within their bound, a dot for each landmark; the line is the `nominal` coverage."""
    import plotly.graph_objects as go

    rows = farthest(landmarks, nominal)
    figure = go.Figure()
    figure.add_scatter(
        x=[value for _, value in rows], y=list(range(len(rows))), mode="markers", marker={"color": METHOD, "size": 9},
        text=[label(name) for name, _ in rows], hovertemplate="%{text}: %{x:.1f} %<extra></extra>", showlegend=False,
    )  # fmt: skip
    figure.add_vline(x=nominal, line={"color": SHAPE, "dash": "dot"})
    low = min([value for _, value in rows] + [nominal])
    figure.update_xaxes(title="errors within the bound (%)", range=[max(-2, low - 8), 102])
    name_axis(figure, [name for name, _ in rows])
    figure.update_layout(height=120 + 20 * len(rows))
    return figure


def bland_altman(measurement: MeasurementScores) -> Figure:
    """Predicted minus reference over their mean, a dot for each case, with the bias and the limits of agreement.

    Bland and Altman, Lancet 327(8476):307-310, 1986, doi:10.1016/S0140-6736(86)90837-8.
    """
    import plotly.graph_objects as go

    unit = measurement.unit
    points = [(row.case, row.reference, row.predicted) for row in measurement.rows if row.predicted is not None]
    if points:
        points = [points[i] for i in np.unique(np.linspace(0, len(points) - 1, MOST_POINTS).round().astype(int))]
    figure = go.Figure()
    figure.add_scatter(
        x=[round((reference + predicted) / 2, 4) for _, reference, predicted in points],
        y=[round(predicted - reference, 4) for _, reference, predicted in points],
        text=[label(case, 60) for case, _, _ in points],
        mode="markers", marker={"color": METHOD, "size": 5, "opacity": 0.7}, showlegend=False,
        hovertemplate="%{text}<br>mean %{x:.4~f}, difference %{y:.4~f}<extra></extra>",
    )  # fmt: skip
    figure.add_hline(y=0, line={"color": LINE, "width": 1})
    low, high = measurement.limits or (None, None)
    for value, dash in ((measurement.bias, "solid"), (low, "dash"), (high, "dash")):
        if value is not None:
            text = {"text": signed(value, digits_of(unit)), "xanchor": "right", "font": {"size": 11, "color": SHAPE}}
            figure.add_hline(y=value, line={"color": SHAPE, "width": 1.5, "dash": dash}, annotation=text)
    title = f" ({label(unit)})" if unit else ""
    figure.update_xaxes(title=f"mean of predicted and reference{title}")
    figure.update_yaxes(title=f"predicted − reference{title}")
    figure.update_layout(height=320)
    return figure

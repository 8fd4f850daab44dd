"""Charts of errors: cumulative curves and box plots; and how every chart of the report looks and is embedded.

Charts are Plotly figures. Plotly reads a subset of HTML in every label, so names go through `label` first.
"""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from anatomark.core.grid import Floats
from anatomark.evaluation.metrics import CumulativeErrors, ErrorScores
from anatomark.evaluation.numbers import short
from anatomark.evaluation.rows import Rows

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

INK, METHOD, SHAPE, OBSERVERS, LINE = "#1c2733", "#c2570c", "#8a97a6", "#0a7ea4", "#d5dce3"
MOST_BOXES = 40
_MOST_DOTS = 5


def label(text: str, most: int = 32) -> str:
    """A name for a chart: shortened and escaped, so that nothing in it is markup."""
    return html.escape(short(text, most))


def embed(figure: Figure, name: str) -> str:
    """The figure as HTML, in an element with the id `name`; plotly.js itself must be in the page."""
    figure.update_layout(
        template="plotly_white",
        font={"family": "system-ui, sans-serif", "size": 13, "color": INK},
        margin={"l": 64, "r": 20, "t": 34, "b": 56},
        hoverlabel={"namelength": -1},
    )
    config: dict[str, object] = {"displaylogo": False, "responsive": True, "doubleClick": "autosize"}
    config["modeBarButtons"] = [["toImage", "resetScale2d"]]
    return figure.to_html(full_html=False, include_plotlyjs=False, config=config, default_width="100%", div_id=name)


def curve(scored: Floats, radius: Floats) -> CumulativeErrors:
    """The cumulative distribution of scored errors within each `radius`; NaN does not count, infinity is a miss."""
    counted = np.sort(scored[~np.isnan(scored)])
    within = np.searchsorted(counted, radius, side="right") / max(counted.size, 1) * 100
    return CumulativeErrors(radius.tolist(), within.tolist())


def cumulative(curves: Mapping[str, CumulativeErrors], radii: Sequence[float], unit: str) -> Figure:
    """Cumulative error distributions by name ("prediction", "between observers", "mean shape"), each radius marked."""
    import plotly.graph_objects as go

    looks = {"between observers": (OBSERVERS, "dash"), "mean shape": (SHAPE, "dot")}
    figure = go.Figure()
    for name, drawn in curves.items():
        colour, dash = looks.get(name, (METHOD, "solid"))
        figure.add_scatter(
            x=np.round(drawn.radius, 3).tolist(), y=np.round(drawn.percent, 2).tolist(), name=name, mode="lines",
            line={"color": colour, "width": 2.5, "dash": dash},
            hovertemplate=f"%{{y:.1f}} % within %{{x:.2f}} {unit}",
        )  # fmt: skip
    for radius in radii:
        figure.add_vline(x=radius, line={"color": LINE, "width": 1})
    reach = max([1.1 * max(radii), *(max(drawn.radius) for drawn in curves.values())])
    figure.update_xaxes(title=f"radial error ({unit})", range=[0, reach])
    figure.update_yaxes(title="landmarks within (%)", range=[0, 101])
    figure.update_layout(height=420, legend={"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom"})
    return figure


def boxed(rows: Rows) -> list[int]:
    """The landmarks that are drawn, the largest median last so that it is drawn on top."""
    found = [k for k in range(len(rows.names)) if rows.found[:, k].any()]
    found.sort(key=lambda k: float(np.median(rows.radial[rows.found[:, k], k])))
    return found[-MOST_BOXES:]


def boxes(rows: Rows, observers: Mapping[str, ErrorScores] | None = None) -> Figure:
    """A box for each landmark: quartiles, median, a whisker to 95 %, and dots for the largest errors beyond it.

    Beside it stands that of the distances between observers, by their scores of each landmark.
    """
    import plotly.graph_objects as go

    columns = boxed(rows)
    names = [rows.names[k] for k in columns]
    others = [_quartiles((observers or {}).get(name)) for name in names]
    beside = any(others)
    shift = 0.2 if beside else 0.0
    figure, high = go.Figure(), 1.0
    lines, dots = [], []
    for at, k in enumerate(columns):
        errors = rows.radial[rows.found[:, k], k]
        lines.append([at + shift, *np.quantile(errors, (0.25, 0.5, 0.75, 0.95)).tolist()])
        own = np.where(rows.found[:, k], rows.radial[:, k], -1)
        largest = np.argsort(-own)[:_MOST_DOTS].tolist()
        dots += [(float(own[i]), at + shift, label(rows.cases[i], 60)) for i in largest if own[i] > lines[-1][-1]]
    between = [[at - shift, *quartiles] for at, quartiles in enumerate(others) if quartiles]
    for name, drawn, colour, fill in (
        ("prediction", lines, METHOD, "rgba(194,87,12,0.18)"),
        ("between observers", between, OBSERVERS, "rgba(10,126,164,0.14)"),
    ):
        if drawn:
            y, q1, median, q3, fence = np.round(np.array(drawn).T, 3).tolist()
            high = max(high, *fence)
            figure.add_box(
                y=y, lowerfence=q1, q1=q1, median=median, q3=q3, upperfence=fence, orientation="h", name=name,
                line={"color": colour, "width": 1.5}, fillcolor=fill, showlegend=beside, width=0.3 if beside else 0.5,
            )  # fmt: skip
    figure.add_scatter(
        x=[round(d[0], 3) for d in dots], y=[d[1] for d in dots], text=[d[2] for d in dots], mode="markers",
        marker={"color": METHOD, "size": 5}, showlegend=False, name="",
        hovertemplate=f"%{{text}}: %{{x:.2f}} {unit_of(rows)}<extra></extra>",
    )  # fmt: skip
    figure.update_xaxes(title=f"radial error ({unit_of(rows)})", range=[0, 1.15 * high], side="bottom")
    name_axis(figure, names)
    figure.update_layout(height=120 + (34 if beside else 24) * len(columns), boxmode="overlay")
    figure.update_layout(legend={"orientation": "h", "x": 0, "y": 1, "yanchor": "bottom", "traceorder": "normal"})
    return figure


def name_axis(figure: Figure, names: Sequence[str]) -> None:
    """Row k of a chart is called names[k]; rows are numbers, so that names that look alike stay apart."""
    ticks = {"tickvals": list(range(len(names))), "ticktext": [label(name) for name in names]}
    figure.update_yaxes(**ticks, range=[-0.7, len(names) - 0.3], automargin=True, zeroline=False)


def unit_of(rows: Rows) -> str:
    return str(rows.unit)


def _quartiles(scores: ErrorScores | None) -> list[float]:
    """First quartile, median, third quartile and 95 %; empty where one is not known."""
    if scores is None:
        return []
    values = [scores.percentiles["25"], scores.median, scores.percentiles["75"], scores.percentiles["95"]]
    known = [value for value in values if value is not None]
    return known if len(known) == len(values) else []

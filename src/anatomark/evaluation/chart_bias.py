"""The systematic error of each landmark as an arrow on the mean shape of the reference."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from anatomark.core.grid import Floats
from anatomark.evaluation.charts import INK, LINE, METHOD, SHAPE, label
from anatomark.evaluation.metrics import ErrorScores
from anatomark.evaluation.rows import Rows

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

AXES = "xyz"
_NAMED, _CROWD = 40, 200
_FACTORS = (1, 2, 5, 10, 20, 50, 100)
# world axes across and up the page, and whether up is reversed: as pictures.py shows them
_VIEWS = {
    2: (("", 0, 1, True),),
    3: (("axial", 0, 1, True), ("coronal", 0, 2, False), ("sagittal", 1, 2, False)),
}
_AXIS_TITLES = {
    "axial": ("right → left", "posterior → anterior"),
    "coronal": ("right → left", "inferior → superior"),
    "sagittal": ("anterior → posterior", "inferior → superior"),
}


@dataclass(frozen=True, eq=False)
class BiasShape:
    """Where landmarks lie on average and how far predictions are off tmarked.

    `points` and `bias` (N, d) world axes in the unit of the rows, NaN where unknown; `clear` (N,) true where the
    interval of at least one axis leaves out zero; `factor` by which arrows are drawn longer than they are.
    """

    names: tuple[str, ...]
    points: Floats
    bias: Floats
    clear: NDArray[np.bool_]
    factor: int


def bias_shape(rows: Rows, landmarks: Mapping[str, ErrorScores]) -> BiasShape | None:
    """The mean shape of the reference with the bias of `landmarks`; None where no bias is known."""
    d = rows.reference.shape[-1]
    bias = np.full((len(rows.names), d), np.nan)
    clear = np.zeros(len(rows.names), dtype=bool)
    for k, name in enumerate(rows.names):
        scores = landmarks[name]
        for axis, letter in enumerate(AXES[:d]):
            value = (scores.bias or {}).get(letter)
            limits = (scores.bias_interval or {}).get(letter)
            bias[k, axis] = np.nan if value is None else value
            clear[k] |= limits is not None and (limits[0] > 0 or limits[1] < 0)
    points = centred_mean(rows.reference)
    drawn = np.isfinite(points).all(axis=1) & np.isfinite(bias).all(axis=1)
    if not drawn.any():
        return None
    size = float(np.ptp(points[drawn], axis=0).max()) or 1.0
    longest = float(np.quantile(np.linalg.norm(bias[drawn], axis=1), 0.95))
    factor = max((f for f in _FACTORS if f * longest <= 0.15 * size), default=1)
    return BiasShape(rows.names, points, bias, clear, factor)


def centred_mean(points: Floats, rounds: int = 10) -> Floats:
    """(N, d) mean of shapes (C, N, d) that are moved, not turned, onto each other; NaN marks what is missing.

    Worlds of different images have different origins, so each case is moved first by the mean difference to the
    shape so far. Its middle lies at zero.
    """
    marked: NDArray[np.bool_] = np.asarray(np.isfinite(points).all(axis=-1))
    shape = np.zeros(points.shape[1:])
    known = np.asarray(marked.any(axis=0))
    count = np.maximum(marked.sum(axis=1), 1)[:, None]
    for _ in range(rounds):
        offsets = np.where(marked[..., None], points - shape, 0).sum(axis=1) / count
        moved = np.where(marked[..., None], points - offsets[:, None], 0).sum(axis=0)
        shape = moved / np.maximum(marked.sum(axis=0), 1)[:, None]
        shape -= shape[known].mean(axis=0) if known.any() else 0
    return np.where(known[:, None], shape, np.nan)


def bias_arrows(shape: BiasShape, unit: str) -> Figure:
    """2D: one picture, y downwards as in the image; 3D: axial, coronal and sagittal projections side by side."""
    from plotly.subplots import make_subplots

    d = shape.points.shape[1]
    views = _VIEWS[d]
    figure = make_subplots(
        1, len(views), subplot_titles=[v[0] for v in views] if d == 3 else None, horizontal_spacing=0.09
    )
    ends = shape.points + shape.factor * shape.bias
    for column, (title, a, b, down) in enumerate(views, start=1):
        for clear, colour in ((False, SHAPE), (True, METHOD)):
            chosen = (shape.clear == clear) & np.isfinite(ends).all(axis=1)
            if chosen.any():
                arrows = _arrows(shape.points[chosen][:, [a, b]], ends[chosen][:, [a, b]], colour)
                figure.add_scatter(**arrows, row=1, col=column, showlegend=False, hoverinfo="skip")
        figure.add_scatter(
            x=_numbers(shape.points[:, a]), y=_numbers(shape.points[:, b]), row=1, col=column,
            mode="markers+text" if len(shape.names) <= _NAMED and d == 2 else "markers",
            text=[label(n, 24) for n in shape.names], textposition="middle right",
            textfont={"size": 11, "color": SHAPE},
            customdata=[_bias_text(v, unit) for v in shape.bias],
            hovertemplate="%{text}<br>%{customdata}<extra></extra>",
            marker={"color": INK, "size": 5 if len(shape.names) <= _CROWD else 3}, showlegend=False,
        )  # fmt: skip
        across, up = _AXIS_TITLES.get(title, ("x", "y"))
        anchor = "" if column == 1 else str(column)
        look = {"gridcolor": LINE, "zeroline": False}
        figure.update_xaxes(title=f"{across} ({unit})", row=1, col=column, **look)
        figure.update_yaxes(
            title=f"{up} ({unit})", row=1, col=column, scaleanchor=f"x{anchor}", scaleratio=1,
            autorange="reversed" if down else True, **look,
        )  # fmt: skip
    figure.update_layout(height=620 if d == 2 else 480)
    return figure


def _arrows(start: Floats, end: Floats, colour: str) -> dict[str, object]:
    """One trace of all arrows: line, gap, line, gap; the head is a marker that looks along its line."""
    gap = np.full(len(start), np.nan)
    x, y = (np.stack([start[:, i], end[:, i], gap], axis=1).ravel() for i in (0, 1))
    head, width = (11, 1.8) if len(start) <= _CROWD else (6, 1)
    size = [0, head, 0] * len(start)
    marker = {"symbol": "arrow", "angleref": "previous", "size": size, "color": colour, "opacity": 1}
    line = {"color": colour, "width": width}
    return {"x": _numbers(x), "y": _numbers(y), "mode": "lines+markers", "marker": marker, "line": line}


def _numbers(values: Floats) -> list[float | None]:
    return [None if v != v else round(v, 3) for v in values.tolist()]


def _bias_text(vector: Floats, unit: str) -> str:
    parts = [f"{letter} {value:+.2f}" for letter, value in zip(AXES, vector.tolist(), strict=False) if value == value]
    return f"{', '.join(parts)} {unit}" if parts else "no prediction"

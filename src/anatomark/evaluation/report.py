"""The report: one self-contained page of tables, charts and pictures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from anatomark.core.grid import Floats
from anatomark.evaluation.gallery import case_errors, gallery
from anatomark.evaluation.metrics import RADII as THRESHOLDS
from anatomark.evaluation.rows import Rows

if TYPE_CHECKING:
    from anatomark.data.description import Case

_INK, _METHOD, _SHAPE, _OBSERVERS = "#1c2733", "#c2570c", "#8a97a6", "#0a7ea4"
_MOST_BOXES = 60
_MOST_LISTED = 100


def report_html(
    metrics: dict[str, Any],
    rows: Rows,
    cases: Sequence[Case],
    *,
    baseline: Rows | None = None,
    observers: Floats | None = None,
    command: str = "",
) -> str:
    """The page as text: plotly.js and pictures are inside, so it opens without a network.

    `baseline` are the rows of the mean shape, `observers` (M, N) distances between observers, `command` is
    what repeats the evaluation.
    """
    import jinja2
    from plotly.offline import get_plotlyjs

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters["number"] = _number
    return environment.get_template("report.html.j2").render(
        m=metrics | {"presence": metrics["presence"]["confusion"], "observers": _inter(metrics)},
        unit=rows.unit,
        thresholds=[f"{t:g}" for t in THRESHOLDS],
        summary=summary(metrics),
        landmarks=_landmark_table(metrics),
        worst_cases=_case_table(rows),
        most=_MOST_LISTED,
        cumulative=_chart(_cumulative(rows, baseline, observers)),
        boxes=_chart(_boxes(rows)),
        boxes_note=_boxes_note(rows),
        confusion_total=sum(sum(line.values()) for line in metrics["presence"]["confusion"].values()),
        gallery=gallery(rows, cases),
        command=command,
        plotly=get_plotlyjs(),
    )


def summary(metrics: dict[str, Any]) -> str:
    """The result in a few sentences."""
    o, unit = metrics["overall"], metrics["unit"]
    n_cases = metrics["n_cases"]
    where = f"{n_cases} case" + "s" * (n_cases != 1)
    where += f" of split {metrics['split']}" if metrics["split"] else ""
    if not o["n"]:
        return f"Nothing to score: no landmark is present in the reference of the {where}."
    found = o["n"] - o["n_missing"]
    if not found:
        return f"On {where}, none of {o['n']} landmarks was found."
    text = (
        f"On {where}, predictions lie {o['mre']:.2f} {unit} from the reference on average (median "
        f"{o['median']:.2f} {unit}); {o['sdr']['2']:.1f} % of {o['n']} landmarks are within 2 {unit} and "
        f"{o['sdr']['4']:.1f} % within 4 {unit}. "
    )
    text += f"{o['n_missing']} were not found and count as failures." if o["n_missing"] else "None was missed."
    shape = metrics["mean_shape"]
    if shape is not None and shape["overall"]["mre"] is not None:
        text += f" Without looking at the image, the mean shape is {shape['overall']['mre']:.2f} {unit} off."
    if metrics["observers"] is not None and metrics["observers"]["inter"] is not None:
        text += f" Observers are {metrics['observers']['inter']['overall']['mre']:.2f} {unit} apart."
    if metrics["n_training_cases"] and metrics["split"] is None:
        text += f" {metrics['n_training_cases']} of the cases are in split train: on them a model looks too good."
    return text


def _number(value: float | None, digits: int = 2) -> str:
    return "–" if value is None else f"{value:.{digits}f}"


def _inter(metrics: dict[str, Any]) -> dict[str, Any] | None:
    observers = metrics["observers"]
    return None if not observers or not observers["inter"] else {"names": observers["names"], **observers["inter"]}


def _landmark_table(metrics: dict[str, Any]) -> list[dict[str, Any]]:
    lines = []
    for name, line in metrics["landmarks"].items():
        others = {
            key: told["landmarks"][name]["mre"] if told else None
            for key, told in (("mean_shape", metrics["mean_shape"]), ("observers", _inter(metrics)))
        }
        lines.append({"name": name, **line, **others})
    return lines


def _case_table(rows: Rows, most: int = 10) -> list[dict[str, Any]]:
    """The cases with the largest mean radial error, those where nothing was found first."""
    errors = case_errors(rows)
    missed = (rows.counted & ~rows.found).sum(axis=1)
    key = np.where(np.isnan(errors) & rows.counted.any(axis=1), np.inf, np.nan_to_num(errors, nan=-1))
    lines = []
    for i in np.argsort(-key, kind="stable")[:most].tolist():
        radial = np.where(rows.found[i], rows.radial[i], -1.0)
        k = int(radial.argmax())
        worst = f"{rows.names[k]}, {radial[k]:.2f} {rows.unit}" if radial[k] >= 0 else "–"
        mre = None if np.isnan(errors[i]) else float(errors[i])
        lines.append(
            {
                "case": rows.cases[i],
                "n": int(rows.counted[i].sum()),
                "mre": mre,
                "missed": int(missed[i]),
                "worst": worst,
            }
        )
    return lines


def _cumulative(rows: Rows, baseline: Rows | None, observers: Floats | None) -> Any:
    import plotly.graph_objects as go

    curves = [("prediction", rows.scored.ravel(), _METHOD, "solid")]
    if observers is not None:
        curves.append(("between observers", observers.ravel(), _OBSERVERS, "dash"))
    if baseline is not None:
        curves.append(("mean shape", baseline.scored.ravel(), _SHAPE, "dot"))
    own = rows.radial[rows.found]
    reach = float(max(4.5, 1.2 * np.quantile(own, 0.98))) if own.size else 10.0
    figure = go.Figure()
    for name, scored, colour, dash in curves:
        counted = np.sort(scored[~np.isnan(scored)])
        if not counted.size:
            continue
        x = np.linspace(0, reach, 300)
        y = np.searchsorted(counted, x, side="right") / counted.size * 100
        line = {"color": colour, "width": 2.5, "dash": dash}
        hover = f"%{{y:.1f}} % within %{{x:.2f}} {rows.unit}"
        figure.add_scatter(
            x=x.round(3).tolist(),
            y=y.round(2).tolist(),
            name=name,
            mode="lines",
            line=line,
            hovertemplate=hover,
        )
    for t in THRESHOLDS:
        figure.add_vline(x=t, line={"color": "#d5dce3", "width": 1})
    figure.update_xaxes(title=f"radial error ({rows.unit})", range=[0, reach])
    figure.update_yaxes(title="landmarks within (%)", range=[0, 101])
    figure.update_layout(height=420, legend={"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom"})
    return figure


def _boxed(rows: Rows) -> list[int]:
    """Columns of the landmarks that are drawn, the largest median last so that it is drawn on top."""
    found = [k for k in range(len(rows.names)) if rows.found[:, k].any()]
    found.sort(key=lambda k: float(np.median(rows.radial[rows.found[:, k], k])))
    return found[-_MOST_BOXES:]


def _boxes_note(rows: Rows) -> str:
    note = "Boxes: quartiles and median; whiskers: 5 and 95 %; dots: the largest errors beyond, with their "
    note += "case. Double-click to zoom out to the farthest."
    drawn = len(_boxed(rows))
    if drawn < len(rows.names):
        note += f" Shown: {drawn} of {len(rows.names)} landmarks, those with the largest median."
    return note


def _boxes(rows: Rows) -> Any:
    import plotly.graph_objects as go

    columns = _boxed(rows)
    names = [rows.names[k] for k in columns]
    quantiles, dots = [], []
    for k, name in zip(columns, names, strict=True):
        errors = rows.radial[rows.found[:, k], k]
        quantiles.append(np.quantile(errors, (0.05, 0.25, 0.5, 0.75, 0.95)))
        for i in np.argsort(-np.where(rows.found[:, k], rows.radial[:, k], -1))[:5].tolist():
            if rows.found[i, k] and rows.radial[i, k] > quantiles[-1][-1]:
                dots += [(float(rows.radial[i, k]), name, rows.cases[i])]
    figure = go.Figure()
    if columns:
        low, q1, median, q3, high = np.round(np.array(quantiles).T, 3).tolist()
        figure.add_box(
            y=names, lowerfence=low, q1=q1, median=median, q3=q3, upperfence=high, orientation="h", name="",
            line={"color": _METHOD, "width": 1.5}, fillcolor="rgba(194,87,12,0.18)", showlegend=False,
        )  # fmt: skip
        figure.update_xaxes(range=[0, 1.15 * max(high)])
    figure.add_scatter(
        x=[round(d[0], 3) for d in dots], y=[d[1] for d in dots], text=[d[2] for d in dots], mode="markers",
        marker={"color": _METHOD, "size": 5}, showlegend=False,
        hovertemplate=f"%{{text}}: %{{x:.2f}} {rows.unit}<extra>%{{y}}</extra>",
    )  # fmt: skip
    figure.update_xaxes(title=f"radial error ({rows.unit})")
    figure.update_yaxes(type="category", categoryorder="array", categoryarray=names, automargin=True)
    figure.update_layout(height=120 + 24 * len(columns))
    return figure


def _chart(figure: Any) -> str:
    figure.update_layout(
        template="plotly_white",
        font={"family": "system-ui, sans-serif", "size": 13, "color": _INK},
        margin={"l": 60, "r": 20, "t": 34, "b": 56},
    )
    config: dict[str, Any] = {"displaylogo": False, "responsive": True, "doubleClick": "autosize"}
    config["modeBarButtons"] = [["toImage", "resetScale2d"]]
    return figure.to_html(full_html=False, include_plotlyjs=False, config=config, default_width="100%")

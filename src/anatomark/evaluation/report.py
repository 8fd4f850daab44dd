"""The report: one self-contained page of tables, charts and pictures, made from metrics, rows and cases."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup, escape

from anatomark.core.grid import Floats
from anatomark.data.cases import Case
from anatomark.evaluation import sections
from anatomark.evaluation.charts import embed
from anatomark.evaluation.numbers import NONE, digits_of, interval, number, p_value, signed
from anatomark.evaluation.pages import page_templates
from anatomark.evaluation.results import Evaluation
from anatomark.evaluation.rows import Rows
from anatomark.evaluation.sentences import between_observers, end_radii, interval_note, sentences


def report_html(
    metrics: Evaluation,
    rows: Rows,
    cases: Sequence[Case],
    *,
    baseline: Rows | None = None,
    observers: Floats | None = None,
) -> str:
    """The page as text: plotly.js and pictures are inside, and its policy forbids the browser any network.

    `cases` are those of `rows`. `baseline`, the rows of the mean shape, and
    `observers` (M, N), distances between observers, draw these two's cumulative curves. A part of
    `metrics` that is None is left out, or gives the reason in `<part>_note`.
    """
    from plotly.offline import get_plotlyjs

    environment = page_templates()
    environment.filters |= {
        "digits": digits_of,
        "number": number,
        "signed": signed,
        "interval": interval,
        "p_value": p_value,
    }
    environment.filters["name"] = _name
    environment.filters["percent"] = lambda value: NONE if value is None else f"{number(value, 1)} %"
    figures, context = sections.errors(metrics, rows, baseline, observers)
    for more, part in (
        sections.bias(metrics, rows),
        sections.of_observers(metrics),
        sections.measurements(metrics),
        sections.calibration(metrics),
        sections.of_cases(metrics, rows, cases),
    ):
        figures |= more
        context |= part
    return environment.get_template("report.html.j2").render(
        m=metrics,
        unit=rows.unit,
        radii=sorted(metrics.overall.sdr, key=float),
        ends=end_radii(metrics),
        inter=between_observers(metrics),
        sentences=sentences(metrics),
        interval_note=interval_note(metrics),
        sections=sections.shown(metrics, rows),
        charts={name: embed(figure, f"chart-{name}") for name, figure in figures.items()},
        plotly=get_plotlyjs(),
        **context,
    )


def _name(text: str) -> Markup:
    """A name, escaped, that may be broken after its underlines, so that long ones do not widen a table."""
    return Markup(escape(text).replace("_", Markup("_<wbr>")))

"""The tables a paper prints, as Markdown and as LaTeX: accuracy, observers, equivalence, measurements."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from anatomark.evaluation.equivalence import Equivalence, EquivalenceTest
from anatomark.evaluation.measurements import MeasurementScores
from anatomark.evaluation.metrics import ErrorScores
from anatomark.evaluation.numbers import NONE, digits_of, interval, number, p_value, signed
from anatomark.evaluation.observers import ObserverStatistics, PredictionScores
from anatomark.evaluation.results import Evaluation
from anatomark.evaluation.sentences import among_observers, between_observers, interval_note, level_of

_SMALL = r"\footnotesize\setlength{\tabcolsep}{3.5pt}"
_LONG = 40  # more rows than these do not fit on a page


@dataclass(frozen=True)
class PaperTable:
    """Cells as plain text, the first column names and the others numbers; `foot` stands below a line."""

    label: str
    caption: str
    heads: Sequence[str]
    rows: Sequence[Sequence[str]]
    foot: Sequence[Sequence[str]] = ()


def paper_tables(metrics: Evaluation) -> list[PaperTable]:
    """The tables that `metrics` has content for; the accuracy of each landmark always comes first."""
    tables = [_accuracy(metrics)]
    if metrics.observers and metrics.observers.model:
        tables.append(_observers(metrics.observers, metrics))
    if tested := among_observers(metrics):
        tables.append(_equivalence(*tested, metrics))
    if metrics.measurements:
        tables.append(_measurements(metrics.measurements))
    return tables


def markdown(metrics: Evaluation) -> str:
    """The tables as Markdown text, captions above."""
    parts = []
    for table in paper_tables(metrics):
        lines = [f"**{markdown_text(table.caption)}**", "", _markdown_line(table.heads)]
        lines.append("|" + "|".join(["---", *["---:"] * (len(table.heads) - 1)]) + "|")
        lines += [_markdown_line(row) for row in table.rows]
        lines += [_markdown_line([f"*{row[0]}*", *row[1:]], raw_first=True) for row in table.foot]
        parts.append("\n".join(lines))
    return "\n\n".join(parts) + "\n"


def latex(metrics: Evaluation) -> str:
    """The tables as LaTeX text, to be given to \\input; needs the packages booktabs and, for long ones, longtable."""
    parts = ["% needs \\usepackage{booktabs,longtable}; with letters beyond Latin, LuaLaTeX or XeLaTeX"]
    for table in paper_tables(metrics):
        heads = " & ".join(map(latex_text, table.heads)) + r" \\"
        rows = [" & ".join(map(latex_text, row)) + r" \\" for row in table.rows]
        foot = [" & ".join(map(latex_text, row)) + r" \\" for row in table.foot]
        columns = "l" + "r" * (len(table.heads) - 1)
        caption = rf"\caption{{{latex_text(table.caption)}}}", rf"\label{{tab:{table.label}}}"
        body = [*rows, *([r"\midrule", *foot] if foot else []), r"\bottomrule"]
        if len(table.rows) > _LONG:
            start = [rf"{{{_SMALL}", rf"\begin{{longtable}}{{{columns}}}", "".join(caption) + r" \\"]
            lines = [*start, r"\toprule", heads, r"\midrule", r"\endfirsthead", r"\toprule", heads, r"\midrule"]
            lines += [r"\endhead", *body, r"\end{longtable}", "}"]
        else:
            start = [r"\begin{table}", rf"\centering{_SMALL}", *caption, rf"\begin{{tabular}}{{{columns}}}"]
            lines = [*start, r"\toprule", heads, r"\midrule", *body, r"\end{tabular}", r"\end{table}"]
        parts.append("\n".join(lines))
    return "\n\n".join(parts) + "\n"


def _accuracy(metrics: Evaluation) -> PaperTable:
    unit = metrics.unit
    inter, shape = between_observers(metrics), metrics.mean_shape
    missed = metrics.overall.n_missing > 0
    foot = [("All", metrics.overall)]
    foot += [("Between observers", inter.overall)] if inter else []
    foot += [("Mean shape", shape.overall)] if shape else []
    where = metrics.dataset + (f", split {metrics.split}" if metrics.split else "")
    caption = f"Radial error of each landmark, {where}, {metrics.n_cases} cases. MRE: mean radial error; "
    caption += f"≤: percent within that distance (successful detection rate). {interval_note(metrics)}"
    return PaperTable(
        "accuracy",
        caption.strip(),
        ("Landmark", "n", *(("missed",) if missed else ()), *_score_heads(metrics.overall, unit)),
        [_score_row(name, scores, missed) for name, scores in metrics.landmarks.items()],
        [_score_row(name, scores, missed) for name, scores in foot],
    )


def _observers(observers: ObserverStatistics, metrics: Evaluation) -> PaperTable:
    lines = [("Between observers", observers.inter), ("Within observers", observers.intra)]
    lines += [(f"Prediction to {scores.against}", scores) for scores in observers.model]
    rows = [_score_row(name, scores.overall, missed=False) for name, scores in lines if scores]
    heads = ("Distance", "n", *_score_heads(metrics.overall, metrics.unit))
    caption = f"The prediction beside the observers {', '.join(observers.names)}. {interval_note(metrics)}"
    return PaperTable("observers", caption.strip(), heads, rows)


def _equivalence(scores: PredictionScores, test: Equivalence, metrics: Evaluation) -> PaperTable:
    unit = metrics.unit
    rows = [[*_test_row(name, line), p_value(line.p_holm)] for name, line in test.landmarks.items()]
    foot = [[*_test_row("All", test.overall), NONE]]
    caption = (
        f"Distance of the prediction to {scores.against} minus that of another observer to the same point, with its "
        f"{level_of(1 - 2 * test.alpha)} interval; p of a difference of {number(test.margin)} {unit} or more."
    )
    heads = ("Landmark", f"Difference ({unit})", "p", "Verdict", "p (Holm)")
    return PaperTable("equivalence", caption, heads, rows, foot)


def _measurements(measurements: Sequence[MeasurementScores]) -> PaperTable:
    classified, observed = any(m.classes for m in measurements), any(m.observers for m in measurements)
    heads = ["Measurement", "Unit", "n", "Bias", "SD", "Limits", "MAE"]
    heads += ["Observers"] if observed else []
    caption = "Derived measurements, predicted minus reference. Limits: limits of agreement; MAE: mean absolute error."
    caption += " Observers: mean absolute difference between observers." if observed else ""
    if classified:
        heads += ["Correct", "By class", *(["Observers agree"] if observed else [])]
        caption += " Correct: percent in the correct class; by class: mean of that over the classes."
    caption += " Observers agree: percent that observers put in the same class." if classified and observed else ""
    rows = [_measurement_row(m, classified, observed) for m in measurements]
    return PaperTable("measurements", caption, heads, rows)


def _measurement_row(m: MeasurementScores, classified: bool, observed: bool) -> list[str]:
    d = digits_of(m.unit)
    bias = f"{signed(m.bias, d)} {interval(m.bias_interval, d)}".strip()
    row = [m.name, m.unit or NONE, str(m.n), bias, number(m.sd, d)]
    row += [interval(m.limits, d) or NONE, number(m.mean_absolute_error, d)]
    row += [number(m.observers.mean_absolute_error if m.observers else None, d)] if observed else []
    if classified:
        rates = (m.classes.rate, m.classes.mean_class_rate) if m.classes else (None, None)
        row += [number(rate, 1) for rate in rates]
        row += [number(m.observers.class_agreement if m.observers else None, 1)] if observed else []
    return row


def _score_heads(scores: ErrorScores, unit: str) -> list[str]:
    return [f"MRE ({unit})", "Median", "SD", *(f"≤ {r} {unit}" for r in sorted(scores.sdr, key=float))]


def _score_row(name: str, scores: ErrorScores, missed: bool) -> list[str]:
    row = [name, str(scores.n), *([str(scores.n_missing)] if missed else [])]
    row.append(f"{number(scores.mre)} {interval(scores.mre_interval)}".strip())
    row += [number(scores.median), number(scores.sd)]
    return row + [number(scores.sdr[r], 1) for r in sorted(scores.sdr, key=float)]


def _test_row(name: str, test: EquivalenceTest) -> list[str]:
    difference = f"{signed(test.difference)} {interval(test.interval)}".strip()
    return [name, difference, p_value(test.p), test.verdict or NONE]


def _markdown_line(cells: Sequence[str], raw_first: bool = False) -> str:
    texts = [cell if raw_first and i == 0 else markdown_text(cell) for i, cell in enumerate(cells)]
    return "| " + " | ".join(texts) + " |"


def markdown_text(text: str) -> str:
    """Plain text as Markdown prints it; the brackets of an interval may stand as they are."""
    return re.sub(r"([\\`*_{}<>|#~&$]|\[(?![-\d])|\](?=[(\[:]))", r"\\\1", " ".join(text.split()))


_LATEX: dict[str, str] = {
    "\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "–": "--", "≤": r"$\le$",
    "<": r"$<$", ">": r"$>$", "−": "$-$", "…": r"\dots{}", "[": "{[}", "]": "{]}",
    **{c: f"\\{c}" for c in "&%$#_{}"},
}  # fmt: skip


def latex_text(text: str) -> str:
    """Plain text as LaTeX prints it: nothing in it is a command; [ cannot be taken for an option after a line's end."""
    text = re.sub(r"(?<![\w])-(?=\d)", "−", " ".join(text.split()))
    return "".join(_LATEX.get(c, c) for c in text)

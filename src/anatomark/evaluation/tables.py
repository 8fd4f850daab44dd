"""The tables a paper prints, as Markdown and as LaTeX: accuracy, observers, equivalence, measurements."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from anatomark.evaluation.numbers import NONE, digits_of, interval, number, p_value, signed
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


def paper_tables(metrics: Mapping[str, Any]) -> list[PaperTable]:
    """The tables that `metrics` has something for; the accuracy of each landmark always comes first."""
    tables = [_accuracy(metrics)]
    observers = metrics.get("observers")
    if observers and observers.get("model"):
        tables.append(_observers(metrics))
    if found := among_observers(metrics):
        tables.append(_equivalence(found, metrics))
    if metrics.get("measurements"):
        tables.append(_measurements(metrics))
    return tables


def markdown(metrics: Mapping[str, Any]) -> str:
    """The tables as Markdown text, captions above."""
    parts = []
    for table in paper_tables(metrics):
        lines = [f"**{markdown_text(table.caption)}**", "", _markdown_line(table.heads)]
        lines.append("|" + "|".join(["---", *["---:"] * (len(table.heads) - 1)]) + "|")
        lines += [_markdown_line(row) for row in table.rows]
        lines += [_markdown_line([f"*{row[0]}*", *row[1:]], raw_first=True) for row in table.foot]
        parts.append("\n".join(lines))
    return "\n\n".join(parts) + "\n"


def latex(metrics: Mapping[str, Any]) -> str:
    """The tables as LaTeX text, to be given to \\input; needs the packages booktabs and, for long ones, longtable."""
    parts = ["% needs \\usepackage{booktabs,longtable}; with letters beyond Latin, LuaLaTeX or XeLaTeX"]
    for table in paper_tables(metrics):
        heads = " & ".join(map(latex_text, table.heads)) + r" \\"
        rows = [" & ".join(map(latex_text, row)) + r" \\" for row in table.rows]
        foot = [" & ".join(map(latex_text, row)) + r" \\" for row in table.foot]
        columns = "l" + "r" * (len(table.heads) - 1)
        told = rf"\caption{{{latex_text(table.caption)}}}", rf"\label{{tab:{table.label}}}"
        body = [*rows, *([r"\midrule", *foot] if foot else []), r"\bottomrule"]
        if len(table.rows) > _LONG:
            start = [rf"{{{_SMALL}", rf"\begin{{longtable}}{{{columns}}}", "".join(told) + r" \\"]
            lines = [*start, r"\toprule", heads, r"\midrule", r"\endfirsthead", r"\toprule", heads, r"\midrule"]
            lines += [r"\endhead", *body, r"\end{longtable}", "}"]
        else:
            start = [r"\begin{table}", rf"\centering{_SMALL}", *told, rf"\begin{{tabular}}{{{columns}}}"]
            lines = [*start, r"\toprule", heads, r"\midrule", *body, r"\end{tabular}", r"\end{table}"]
        parts.append("\n".join(lines))
    return "\n\n".join(parts) + "\n"


def _accuracy(metrics: Mapping[str, Any]) -> PaperTable:
    unit = metrics["unit"]
    inter, shape = between_observers(metrics), metrics["mean_shape"]
    missed = metrics["overall"]["n_missing"] > 0
    foot = [("All", metrics["overall"])]
    foot += [("Between observers", inter["overall"])] if inter else []
    foot += [("Mean shape", shape["overall"])] if shape else []
    where = metrics["dataset"] + (f", split {metrics['split']}" if metrics["split"] else "")
    caption = f"Radial error of each landmark, {where}, {metrics['n_cases']} cases. MRE: mean radial error; "
    caption += f"≤: percent within that distance (successful detection rate). {interval_note(metrics)}"
    return PaperTable(
        "accuracy",
        caption.strip(),
        ("Landmark", "n", *(("missed",) if missed else ()), *_block_heads(metrics, unit)),
        [_block_row(name, block, missed) for name, block in metrics["landmarks"].items()],
        [_block_row(name, block, missed) for name, block in foot],
    )


def _observers(metrics: Mapping[str, Any]) -> PaperTable:
    observers = metrics["observers"]
    lines = [("Between observers", observers["inter"]), ("An observer again", observers["intra"])]
    lines += [(f"Prediction to {row['against']}", row) for row in observers["model"]]
    rows = [_block_row(name, block["overall"], missed=False) for name, block in lines if block]
    heads = ("Distance", "n", *_block_heads(metrics, metrics["unit"]))
    caption = f"The prediction beside the observers {', '.join(observers['names'])}. {interval_note(metrics)}"
    return PaperTable("observers", caption.strip(), heads, rows)


def _equivalence(entry: Mapping[str, Any], metrics: Mapping[str, Any]) -> PaperTable:
    test, unit = entry["equivalence"], metrics["unit"]
    rows = [[*_tested(name, line), p_value(line["p_holm"])] for name, line in test["landmarks"].items()]
    foot = [[*_tested("All", test["overall"]), NONE]]
    caption = (
        f"Distance of the prediction to {entry['against']} minus that of another observer to the same point, with its "
    )
    caption += (
        f"{level_of(1 - 2 * test['alpha'])} interval; p of a difference of {number(test['margin'])} {unit} or more."
    )
    heads = ("Landmark", f"Difference ({unit})", "p", "Verdict", "p (Holm)")
    return PaperTable("equivalence", caption, heads, rows, foot)


def _measurements(metrics: Mapping[str, Any]) -> PaperTable:
    every = metrics["measurements"]
    classified, observed = any(x["classes"] for x in every), any(x["observers"] for x in every)
    rows = []
    for x in every:
        d = digits_of(x["unit"])
        bias = f"{signed(x['bias'], d)} {interval(x['bias_interval'], d)}".strip()
        row = [x["name"], x["unit"] or NONE, str(x["n"]), bias, number(x["sd"], d)]
        row += [interval(x["limits"], d) or NONE, number(x["mean_absolute_error"], d)]
        theirs = x["observers"] or {}
        row += [number(theirs.get("mean_absolute_error"), d)] if observed else []
        if classified:
            row += [number((x["classes"] or {}).get(key), 1) for key in ("rate", "mean_class_rate")]
            row += [number(theirs.get("class_agreement"), 1)] if observed else []
        rows.append(row)
    heads = ["Measurement", "Unit", "n", "Bias", "SD", "Limits", "MAE"]
    heads += ["Observers"] if observed else []
    caption = "Derived measurements, predicted minus reference. Limits: limits of agreement; MAE: mean absolute error."
    caption += " Observers: mean absolute difference between observers." if observed else ""
    if classified:
        heads += ["Right", "By class", *(["Observers alike"] if observed else [])]
        caption += " Right: percent in the right class; by class: mean of that over the classes."
    caption += " Observers alike: percent that observers put in the same class." if classified and observed else ""
    return PaperTable("measurements", caption, heads, rows)


def _block_heads(metrics: Mapping[str, Any], unit: str) -> list[str]:
    radii = sorted(metrics["overall"]["sdr"], key=float)
    return [f"MRE ({unit})", "Median", "SD", *(f"≤ {r} {unit}" for r in radii)]


def _block_row(name: str, block: Mapping[str, Any], missed: bool) -> list[str]:
    row = [name, str(block["n"]), *([str(block["n_missing"])] if missed else [])]
    row.append(f"{number(block['mre'])} {interval(block.get('mre_interval'))}".strip())
    row += [number(block["median"]), number(block["sd"])]
    return row + [number(block["sdr"][r], 1) for r in sorted(block["sdr"], key=float)]


def _tested(name: str, line: Mapping[str, Any]) -> list[str]:
    difference = f"{signed(line['difference'])} {interval(line['interval'])}".strip()
    return [name, difference, p_value(line["p"]), line["verdict"] or NONE]


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

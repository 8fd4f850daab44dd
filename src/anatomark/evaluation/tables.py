"""The tables a paper prints, as Markdown and as LaTeX: accuracy, observers, equivalence, measurements."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from anatomark.evaluation.numbers import NONE, interval, number, p_value, signed
from anatomark.evaluation.sentences import between_observers, interval_note

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
    if observers and observers.get("equivalence"):
        tables.append(_equivalence(metrics))
    if metrics.get("measurements"):
        tables.append(_measurements(metrics))
    return tables


def markdown(metrics: Mapping[str, Any]) -> str:
    """The tables as Markdown text, captions above."""
    parts = []
    for table in paper_tables(metrics):
        lines = [f"**{_markdown_cell(table.caption)}**", "", _markdown_line(table.heads)]
        lines.append("|" + "|".join(["---", *["---:"] * (len(table.heads) - 1)]) + "|")
        lines += [_markdown_line(row) for row in table.rows]
        lines += [_markdown_line([f"*{row[0]}*", *row[1:]], raw_first=True) for row in table.foot]
        parts.append("\n".join(lines))
    return "\n\n".join(parts) + "\n"


def latex(metrics: Mapping[str, Any]) -> str:
    """The tables as LaTeX text, to be given to \\input; needs the packages booktabs and, for long ones, longtable."""
    parts = ["% needs \\usepackage{booktabs,longtable}"]
    for table in paper_tables(metrics):
        heads = " & ".join(map(latex_text, table.heads)) + r" \\"
        rows = [" & ".join(map(latex_text, row)) + r" \\" for row in table.rows]
        foot = [" & ".join(map(latex_text, row)) + r" \\" for row in table.foot]
        columns = "l" + "r" * (len(table.heads) - 1)
        told = rf"\caption{{{latex_text(table.caption)}}}", rf"\label{{tab:{table.label}}}"
        body = [*rows, *([r"\midrule", *foot] if foot else []), r"\bottomrule"]
        if len(table.rows) > _LONG:
            start = [rf"\begin{{longtable}}{{{columns}}}", "".join(told) + r" \\"]
            lines = [*start, r"\toprule", heads, r"\midrule", r"\endfirsthead", r"\toprule", heads, r"\midrule"]
            lines += [r"\endhead", *body, r"\end{longtable}"]
        else:
            start = [r"\begin{table}", r"\centering", *told, rf"\begin{{tabular}}{{{columns}}}"]
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
    caption = f"Radial error of each landmark, {where}, {metrics['n_cases']} cases. MRE: mean radial error; ≤: successful "
    caption += f"detection rate. {interval_note(metrics)}"
    return PaperTable(
        "accuracy",
        caption.strip(),
        ("Landmark", "n", *(("missed",) if missed else ()), *_block_heads(metrics, unit)),
        [_block_row(name, block, missed) for name, block in metrics["landmarks"].items()],
        [_block_row(name, block, missed) for name, block in foot],
    )


def _observers(metrics: Mapping[str, Any]) -> PaperTable:
    observers = metrics["observers"]
    lines = [("Between observers", between_observers(metrics)), ("An observer again", observers.get("intra"))]
    lines += [(f"Prediction to {row['against']}", row) for row in observers["model"]]
    rows = [_block_row(name, block["overall"], missed=False) for name, block in lines if block]
    heads = ("Distance", "n", *_block_heads(metrics, metrics["unit"]))
    caption = f"The prediction beside the observers {', '.join(observers['names'])}. {interval_note(metrics)}"
    return PaperTable("observers", caption.strip(), heads, rows)


def _equivalence(metrics: Mapping[str, Any]) -> PaperTable:
    found, unit = metrics["observers"]["equivalence"], metrics["unit"]
    rows = [_equivalence_row(name, line) for name, line in found["landmarks"].items() if line]
    foot = [_equivalence_row("All", found["overall"])] if found["overall"] else []
    caption = "Error of the prediction minus the distance between observers. Equivalent: below the margin of "
    caption += f"{number(found['margin'])} {unit}. {interval_note(metrics)}"
    return PaperTable(
        "equivalence", caption.strip(), ("Landmark", f"Difference ({unit})", "p", "Equivalent"), rows, foot
    )


def _measurements(metrics: Mapping[str, Any]) -> PaperTable:
    every = metrics["measurements"]
    classified = any(x.get("classes") for x in every)
    rows = []
    for x in every:
        row = [x["name"], x["unit"] or NONE, str(x["n"]), signed(x["bias"]), number(x["sd"])]
        row += [interval(x["limits"]) or NONE, number(x["mean_absolute_error"])]
        rows.append([*row, number((x.get("classes") or {}).get("rate"), 1)] if classified else row)
    heads = ["Measurement", "Unit", "n", "Bias", "SD", "Limits of agreement", "Mean absolute error"]
    heads += ["Classified alike (%)"] if classified else []
    return PaperTable("measurements", "Derived measurements, predicted minus reference.", heads, rows)


def _block_heads(metrics: Mapping[str, Any], unit: str) -> list[str]:
    radii = sorted(metrics["overall"]["sdr"], key=float)
    return [f"MRE ({unit})", "Median", "SD", *(f"≤ {r} {unit} (%)" for r in radii)]


def _block_row(name: str, block: Mapping[str, Any], missed: bool) -> list[str]:
    row = [name, str(block["n"]), *([str(block["n_missing"])] if missed else [])]
    row.append(f"{number(block['mre'])} {interval(block.get('mre_interval'))}".strip())
    row += [number(block["median"]), number(block["sd"])]
    return row + [number(block["sdr"][r], 1) for r in sorted(block["sdr"], key=float)]


def _equivalence_row(name: str, line: Mapping[str, Any]) -> list[str]:
    told = NONE if line["equivalent"] is None else "yes" if line["equivalent"] else "no"
    return [name, f"{signed(line['difference'])} {interval(line['interval'])}".strip(), p_value(line["p"]), told]


def _markdown_line(cells: Sequence[str], raw_first: bool = False) -> str:
    texts = [cell if raw_first and i == 0 else _markdown_cell(cell) for i, cell in enumerate(cells)]
    return "| " + " | ".join(texts) + " |"


def _markdown_cell(text: str) -> str:
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

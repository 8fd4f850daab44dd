"""A comparison as tables and sentences: CSV for other programs, Markdown for people."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping

from anatomark.evaluation.comparison import Comparison, MethodScores, PairComparison, PairedScores
from anatomark.evaluation.numbers import NONE, p_text, p_value
from anatomark.evaluation.tables import markdown_text


def compare_csv(comparison: Comparison) -> str:
    """A line for each pair of predictions and landmark, `all` for all landmarks together."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    radii = [f"{r:g}" for r in comparison.radii]
    writer.writerow(
        ["a", "b", "landmark", "n", "only_a", "only_b", "difference", "lower", "upper", "p", "p_holm", "better"]
        + [f"sdr_difference_{r}" for r in radii]
        + ["unit"]
    )
    for pair in comparison.pairs:
        for name, line in _lines(pair):
            lower, upper = line.interval or (None, None)
            numbers = [_cell(v, ".6g") for v in (line.difference, lower, upper, line.p, line.p_holm)]
            rates = [_cell(line.sdr_difference[r], ".4f") for r in radii]
            counts = [line.n, line.only_a, line.only_b]
            writer.writerow([pair.a, pair.b, name, *counts, *numbers, line.better or "", *rates, comparison.unit])
    return text.getvalue()


def compare_markdown(comparison: Comparison) -> str:
    """The sentences and a table for each pair."""
    unit, first = comparison.unit, f"{comparison.radii[0]:g}"
    lines = ["# " + markdown_text(f"{' against '.join(comparison.methods)} on {comparison.dataset}"), ""]
    for pair, text in zip(comparison.pairs, comparison.sentences, strict=True):
        a, b = markdown_text(pair.a), markdown_text(pair.b)
        lines += [markdown_text(text), ""]
        lines += [f"| landmark | n | {a} ({unit}) | {b} ({unit}) | {a} − {b} | 95 % interval | p (Holm) | nearer | "
                  f"within {first} {unit}: {a} − {b} (%) |", "|" + "---|" * 9]  # fmt: skip
        scores = [comparison.methods[name] for name in (pair.a, pair.b)]
        for name, line in _lines(pair):
            means = [(s.overall if line is pair.overall else s.landmarks[name]).mre for s in scores]
            interval = NONE if line.interval is None else "{:.2f} to {:.2f}".format(*line.interval)
            cells = [name, str(line.n), *(_number(mean) for mean in means), _number(line.difference), interval]
            cells += [p_value(line.p_holm), line.better or NONE, _number(line.sdr_difference[first], 1)]
            lines.append("| " + " | ".join(map(markdown_text, cells)) + " |")
        lines.append("")
    lines.append(f"Made by `{comparison.command}`.")
    return "\n".join([*lines, ""])


def sentence(pair: PairComparison, methods: Mapping[str, MethodScores], unit: str, samples: int) -> str:
    """The comparison of two predictions as a paper would print it."""
    o, a, b = pair.overall, pair.a, pair.b
    if o.difference is None:
        return f"{a} and {b} found no landmark in common."
    near, far = (a, b) if o.difference <= 0 else (b, a)
    text = (
        f"Over {o.n_subjects} subjects and {o.n} landmarks that both found, {near} was "
        f"{abs(o.difference):.2f} {unit} nearer to the reference than {far} ("
    )
    if o.interval:
        lower, upper = o.interval if near == b else (-o.interval[1], -o.interval[0])
        text += f"95 % confidence interval {lower:.2f} to {upper:.2f} {unit}, bootstrap by subject, {samples} samples; "
    corrected = ", Holm-corrected" if o.p_holm != o.p else ""
    text += f"Wilcoxon signed-rank test{corrected}, {p_text(o.p_holm)})"
    means = ", ".join(f"{name} {methods[name].overall.mre:.2f} {unit}" for name in (a, b))
    text += f"; mean radial errors: {means}. "
    better = [line.better for line in pair.landmarks.values()]
    tested = sum(line.p is not None for line in pair.landmarks.values())
    text += (
        f"After Holm's correction over {tested} landmarks, {a} was nearer at {better.count(a)} and {b} at "
        f"{better.count(b)}."
    )
    if o.only_a or o.only_b:
        text += f" {a} alone found {o.only_a} landmarks, {b} alone {o.only_b}; both count in the detection rates."
    return text


def _lines(pair: PairComparison) -> Iterator[tuple[str, PairedScores]]:
    """(landmark or "all", scores)."""
    yield "all", pair.overall
    yield from pair.landmarks.items()


def _cell(value: float | None, form: str) -> str:
    return "" if value is None else f"{value:{form}}"


def _number(value: float | None, digits: int = 2) -> str:
    return NONE if value is None else f"{value:.{digits}f}"

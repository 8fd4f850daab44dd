"""A comparison as tables: CSV for other programs, Markdown for people."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from typing import Any

from anatomark.evaluation.compare import p_text
from anatomark.evaluation.tables import markdown_text


def _lines(found: dict[str, Any]) -> Iterator[tuple[dict[str, Any], str, dict[str, Any]]]:
    """(pair, landmark or "all", numbers)."""
    for pair in found["pairs"]:
        yield pair, "all", pair["overall"]
        for name, line in pair["landmarks"].items():
            yield pair, name, line


def compare_csv(found: dict[str, Any]) -> str:
    """A line for each pair of predictions and landmark, `all` for all landmarks together."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    radii = [f"{r:g}" for r in found["radii"]]
    writer.writerow(
        ["a", "b", "landmark", "n", "only_a", "only_b", "difference", "lower", "upper", "p", "p_holm", "better"]
        + [f"sdr_difference_{r}" for r in radii]
        + ["unit"]
    )
    for pair, name, line in _lines(found):
        lower, upper = line["interval"] or (None, None)
        numbers = (line["difference"], lower, upper, line["p"], line["p_holm"])
        cells = ["" if v is None else f"{v:.6g}" for v in numbers]
        rates = ["" if line["sdr_difference"][r] is None else f"{line['sdr_difference'][r]:.4f}" for r in radii]
        counts = [line["n"], line["only_a"], line["only_b"]]
        writer.writerow([pair["a"], pair["b"], name, *counts, *cells, line["better"] or "", *rates, found["unit"]])
    return text.getvalue()


def compare_markdown(found: dict[str, Any]) -> str:
    """The sentences and a table for each pair."""
    unit, first = found["unit"], f"{found['radii'][0]:g}"
    lines = ["# " + markdown_text(f"{' against '.join(found['methods'])} on {found['dataset']}"), ""]
    for pair, said in zip(found["pairs"], found["sentences"], strict=True):
        a, b = markdown_text(pair["a"]), markdown_text(pair["b"])
        lines += [markdown_text(said), ""]
        lines += [f"| landmark | n | {a} ({unit}) | {b} ({unit}) | {a} − {b} | 95 % interval | p (Holm) | nearer | "
                  f"within {first} {unit}: {a} − {b} (%) |", "|" + "---|" * 9]  # fmt: skip
        for name, line in [("all", pair["overall"]), *pair["landmarks"].items()]:
            of = [found["methods"][pair[m]] for m in "ab"]
            means = [(m["overall"] if line is pair["overall"] else m["landmarks"][name])["mre"] for m in of]
            interval = "–" if line["interval"] is None else "{:.2f} to {:.2f}".format(*line["interval"])
            cells = [name, str(line["n"]), *(_number(m) for m in means), _number(line["difference"]), interval]
            cells += [p_text(line["p_holm"]).removeprefix("p ").removeprefix("= "), line["better"] or "–"]
            cells.append(_number(line["sdr_difference"][first], 1))
            lines.append("| " + " | ".join(map(markdown_text, cells)) + " |")
        lines.append("")
    lines.append(f"Made by `{found['command']}`.")
    return "\n".join([*lines, ""])


def _number(value: float | None, digits: int = 2) -> str:
    return "–" if value is None else f"{value:.{digits}f}"

"""Tables for papers: a Markdown reader and a LaTeX one find the cells again, whatever the names hold."""

import re
import shutil
import subprocess
from dataclasses import replace

import pytest
from markdown_it import MarkdownIt

from anatomark.evaluation.numbers import interval, number, p_value, short, signed
from anatomark.evaluation.tables import latex, latex_text, markdown
from tests.evaluation.made import made_metrics, made_rows

EVIL = r"a_b & 50% of $x^2$ | #1 {~} \end{table} *s* [l](http://x) `c` <i> ≤"


def cells_of(text):
    """Rows of plain text of every Markdown table."""
    tables, tokens = [], MarkdownIt("commonmark").enable("table").parse(text)
    for at, token in enumerate(tokens):
        if token.type == "table_open":
            tables.append([])
        elif token.type == "tr_open":
            tables[-1].append([])
        elif token.type in ("th_open", "td_open"):
            inline = tokens[at + 1]
            kinds = {child.type for child in inline.children or ()}
            assert not kinds & {"link_open", "html_inline", "code_inline", "strong_open"}
            tables[-1][-1].append("".join(child.content for child in inline.children or ()))
    return tables


def made():
    rows, _ = made_rows(names=("plain", EVIL, "c", "d"))
    metrics = made_metrics(rows)
    return replace(metrics, measurements=[replace(metrics.measurements[0], name=EVIL)])


def test_markdown_holds_the_numbers_of_the_metrics():
    metrics = made()
    accuracy, observers, equivalence, measurements = cells_of(markdown(metrics))
    assert accuracy[0][:4] == ["Landmark", "n", "missed", "MRE (mm)"]
    assert [row[0] for row in accuracy[1:]] == [*metrics.landmarks, "All", "Between observers", "Mean shape"]
    overall = metrics.overall
    low, high = overall.mre_interval
    assert accuracy[5][1:4] == [str(overall.n), "1", f"{overall.mre:.2f} [{low:.2f}, {high:.2f}]"]
    assert accuracy[5][-1] == f"{overall.sdr['4']:.1f}"
    assert observers[1][0] == "Between observers"
    assert "Prediction to junior" in [row[0] for row in observers]
    assert [row[0] for row in equivalence[1:]] == [*metrics.landmarks, "All"]
    assert measurements[1][0] == EVIL
    assert measurements[0][7:] == ["Observers", "Correct", "By class", "Observers agree"]
    assert (measurements[1][7], measurements[1][-1]) == ("1.25", "87.5")
    bare = replace(metrics.measurements[0], observers=None, classes=None)
    assert len(cells_of(markdown(replace(metrics, measurements=[bare])))[-1][0]) == 7
    widths = [{len(row) for row in table} for table in (accuracy, observers, equivalence, measurements)]
    assert [len(w) for w in widths] == [1] * 4


def test_parts_that_are_none_have_no_table():
    metrics = replace(made(), observers=None, measurements=None, mean_shape=None)
    (accuracy,) = cells_of(markdown(metrics))
    assert [row[0] for row in accuracy[-2:]] == ["d", "All"]
    assert latex(metrics).count(r"\begin{tabular}") == 1


def test_latex_is_balanced_and_names_are_no_commands():
    text = latex(made())
    for kind in ("table", "tabular"):
        assert text.count(rf"\begin{{{kind}}}") == text.count(rf"\end{{{kind}}}") == 4
    lines = [line for line in text.splitlines() if line.endswith(r"\\")]
    columns = {len(re.split(r"(?<!\\)&", line)) for line in lines if line.startswith(("plain", "All", "Landmark"))}
    assert columns == {10, 5}
    assert latex_text(r"50% & a_b") == r"50\% \& a\_b"
    assert latex_text(r"\end") == r"\textbackslash{}end"
    assert latex_text("[-1.5, x-y]") == "{[}$-$1.5, x-y{]}"


def test_many_landmarks_make_a_table_over_several_pages():
    rows, _ = made_rows(cases=2, names=60)
    text = latex(made_metrics(rows))
    assert text.count(r"\begin{longtable}") == text.count(r"\end{longtable}") == 2
    assert r"\endhead" in text
    assert len(cells_of(markdown(made_metrics(rows)))[0]) == 1 + 60 + 3


def test_latex_compiles(tmp_path):
    if shutil.which("pdflatex") is None:
        pytest.skip("needs pdflatex, on Debian: apt install texlive-latex-recommended")
    rows, _ = made_rows(cases=2, names=60)
    head = "\\documentclass[a4paper,landscape]{article}\n\\usepackage[T1]{fontenc}\\usepackage{booktabs,longtable}\n"
    body = latex(made()) + latex(made_metrics(rows)).replace("label{tab:", "label{tab:b")
    (tmp_path / "paper.tex").write_text(f"{head}\\begin{{document}}\n{body}\n\\end{{document}}\n", encoding="utf-8")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "paper.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, errors="replace")
    assert done.returncode == 0, done.stdout[-2000:]
    assert (tmp_path / "paper.pdf").stat().st_size > 10_000


def test_numbers():
    assert [number(None), number(float("nan")), number(-0.001), number(2.345, 1)] == ["–", "–", "0.00", "2.3"]
    assert [signed(0.5), signed(-0.5), signed(0.0001)] == ["+0.50", "-0.50", "0.00"]
    assert [interval([1, 2.5]), interval(None), interval([None, 1])] == ["[1.00, 2.50]", "", ""]
    assert [p_value(0.0004), p_value(0.0416), p_value(None)] == ["< 0.001", "0.042", "–"]
    assert short("abcdefghij", 6) == "abcd…j"

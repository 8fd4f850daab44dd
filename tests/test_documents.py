"""README and docs: their links lead somewhere, their commands exist, and their figures are those of the benchmarks."""

import re
import shlex
from pathlib import Path

import pytest
import typer

import anatomark
from anatomark.cli.main import VERBS, _load
from benchmarks.__main__ import SUBJECTS
from benchmarks.report import document
from benchmarks.results import read_all

ROOT = Path(__file__).parents[1]
DOCUMENTS = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "SECURITY.md",
    ROOT / "release" / "CHECKLIST.md",
    *sorted((ROOT / "docs").rglob("*.md")),
    ROOT / "slicer" / "README.md",
    ROOT / "benchmarks" / "README.md",
    *sorted((ROOT / "models").glob("*/README.md")),
]
GLOBAL_OPTIONS = {"--help", "-h", "--version"}


def named(path):
    return str(path.relative_to(ROOT))


def blocks(path):
    """The lines of all fenced blocks, those that end in a backslash joined with the next."""
    text = path.read_text(encoding="utf-8")
    for block in re.findall(r"^ *```\w*\n(.*?)^ *```", text, re.MULTILINE | re.DOTALL):
        yield from (line.strip() for line in block.replace("\\\n", " ").splitlines())


def commands(path, program):
    """The words of each command of `program`, from fenced blocks and from code in a line."""
    text = path.read_text(encoding="utf-8")
    in_lines = re.findall(rf"`({re.escape(program)} [^`]+)`", re.sub(r"^ *```.*?^ *```", "", text, flags=re.M | re.S))
    for line in [*blocks(path), *in_lines]:
        if line.startswith(f"{program} "):
            yield shlex.split(line, comments=True)[len(program.split()) :]


def anchor(heading):
    """The anchor that GitHub makes of a heading."""
    words = re.sub(r"[^\w\- ]", "", heading.strip().lower())
    return words.replace(" ", "-")


@pytest.mark.parametrize("path", DOCUMENTS, ids=named)
def test_links_lead_somewhere(path):
    for link in re.findall(r"\]\(([^)\s]+)\)", path.read_text(encoding="utf-8")):
        if link.startswith(("http://", "https://")):
            continue
        name, _, place = link.partition("#")
        target = path.parent / name if name else path
        assert target.exists(), link
        if place:
            lines = target.read_text(encoding="utf-8").splitlines()
            assert place in [anchor(line.lstrip("#")) for line in lines if line.startswith("#")], link


@pytest.mark.parametrize("path", DOCUMENTS, ids=named)
def test_commands_and_their_options_exist(path):
    for verb, *words in commands(path, "anatomark"):
        if verb in GLOBAL_OPTIONS or verb.isupper() or "[OPTIONS]" in words:  # `anatomark COMMAND --help`
            continue
        assert verb in VERBS, verb
        known = {option for parameter in _load(verb).params for option in (*parameter.opts, *parameter.secondary_opts)}
        given = {word.split("=")[0] for word in words if re.match(r"--?[a-z]", word)}
        assert given <= known | GLOBAL_OPTIONS, f"anatomark {verb}: {given - known}"


@pytest.mark.parametrize("path", DOCUMENTS, ids=named)
def test_commands_of_blocks_can_be_called_so(path):
    """What they need is given, and every value is one that the option takes; nothing is run."""
    for line in blocks(path):
        if line.startswith("anatomark ") and "[OPTIONS]" not in line:
            line = re.sub(r"\$\w+", "1", line)  # a shell's variable; those of the documents are numbers
            verb, *words = shlex.split(line, comments=True)[1:]
            try:
                _load(verb).make_context(verb, words)
            except typer.Exit:
                assert {"--help", "-h"} & set(words)


@pytest.mark.parametrize("path", DOCUMENTS, ids=named)
def test_benchmarks_exist(path):
    for subject, *_ in commands(path, "python -m benchmarks"):
        assert subject in SUBJECTS


def test_every_command_is_in_the_readme():
    found = {words[0] for words in commands(ROOT / "README.md", "anatomark")}
    assert found >= set(VERBS)


def test_python_of_the_readme_uses_exports():
    names = re.findall(r"anatomark\.(\w+)\(", "\n".join(blocks(ROOT / "README.md")))
    assert names
    assert set(names) <= set(anatomark.__all__)


def test_figures_of_the_results_page_are_those_of_the_benchmarks():
    page = (ROOT / "docs" / "results.md").read_text(encoding="utf-8")
    measured = [ROOT / "benchmarks" / "README.md", *(ROOT / "models").glob("*/README.md")]
    known = set(re.findall(r"\d+\.\d+", "\n".join(path.read_text(encoding="utf-8") for path in measured)))
    sections = [part for part in re.split(r"^## ", page, flags=re.MULTILINE) if not part.startswith("Error bounds")]
    figures = [
        figure
        for part in sections
        for line in part.splitlines()
        if line.startswith("|")
        for figure in re.findall(r"\d+\.\d+", re.sub(r"`[^`]*`|\([^)]*\.md[^)]*\)", "", line))
    ]
    assert len(figures) > 50
    rounded = {f"{float(number):.1f}" for number in known}  # such as the seconds to a first X-ray
    assert [figure for figure in figures if figure not in known | rounded] == []


def row_of(page, heading, label):
    """The cells of the row that begins with `label`, in the section of `heading`."""
    text = (ROOT / page).read_text(encoding="utf-8")
    section = re.split(rf"^#+ {re.escape(heading)}\n", text, flags=re.MULTILINE)[1]
    section = re.split(r"^#+ ", section, flags=re.MULTILINE)[0]
    rows = [line for line in section.splitlines() if line.startswith(f"| {label}")]
    assert len(rows) == 1, rows
    return [cell.strip() for cell in rows[0].strip("|").split("|")]


@pytest.mark.parametrize("result", read_all("accuracy"), ids=lambda result: f"{result['dataset']} {result['method']}")
def test_accuracy_is_as_measured(result):
    heading = {"isbi2015_ceph": "Cephalograms", "cmf_ct": "Craniomaxillofacial CT"}[result["dataset"]]
    cells = row_of("docs/results.md", heading, f"`{result['method']}`")
    column = 1 + ["isbi2015_ceph", "cmf_ct"].index(result["dataset"])
    short = row_of("README.md", "Accuracy", f"`{result['method']}`")[column]
    errors = []
    for split in result["splits"].values():
        last = list(split["answers"].values())[-1]
        errors += [f"{last['mre']:.2f} mm", f"{last['sdr']['2']:.1f} %"]
    assert cells[2 : 2 + len(errors)] == errors
    assert short == errors[0]


def test_the_learning_curve_is_as_measured():
    (result,) = read_all("limited")
    for method in ("two-stage", "global-to-local", "heatmap", "mean shape"):
        shown = row_of("docs/results.md", "Few training images", method if method == "mean shape" else f"`{method}`")
        rows = sorted((row["count"], row["mre"]) for row in result["rows"] if row["method"] == method)
        assert shown[1:] == [f"{mre:.2f} mm" for _, mre in rows]


def test_the_page_of_benchmarks_is_made_of_results_and_notes():
    notes = (ROOT / "benchmarks" / "notes.md").read_text(encoding="utf-8")
    assert (ROOT / "benchmarks" / "README.md").read_text(encoding="utf-8") == document(notes)

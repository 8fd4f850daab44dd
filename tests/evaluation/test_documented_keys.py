"""The JSON files: docs/evaluation.md explains every key that is written, and names none that is not."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

from anatomark import compare, compare_observers, evaluate
from anatomark.core.grid import Grid
from anatomark.core.image import Image
from anatomark.formats.images import write_image
from anatomark.methods.error_bound import ErrorBounds

DOCUMENT = Path(__file__).parents[2] / "docs" / "evaluation.md"
NAMES = ("tip", "base", "rim")
DESCRIPTION = """\
name: thing
dimension: 2
landmarks: [tip, base, rim]
images: {folder: images, pattern: "{case}.png", spacing: [1, 1]}
splits: {train: ["c0", "c1"]}
annotations: {table: points.csv, frame: LPS, columns: {observer: rater}}
observers: {session: '^(r[0-9]+)s[0-9]+$'}
measurements:
  - {name: width, kind: distance, points: [tip, base], classes: {names: [small, large], thresholds: [8]}}
"""
KEYED_BY_NAME = ("landmarks", "methods")  # {name: a part of the document}
VALUES_BY_NAME = (
    "percentiles", "sdr", "sdr_interval", "sdr_difference", "bias", "bias_interval", "confusion", "sessions",
    "withheld", "versions",
)  # fmt: skip


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """Every JSON file by its name, of data in which no part of an evaluation is without content."""
    folder = tmp_path_factory.mktemp("documents")
    random = np.random.default_rng(0)
    grid = Grid.from_geometry((30, 40), spacing=(1, 1))
    (folder / "images").mkdir()
    points, predictions = ["image,landmark,x,y,rater,state"], ["image,landmark,x,y,frame,presence,spread"]
    for c in range(8):
        write_image(Image(random.integers(0, 255, grid.shape).astype(np.uint8), grid), folder / "images" / f"c{c}.png")
        for k, name in enumerate(NAMES):
            place = np.array([5.0 + 9 * k, 6 + 8 * k])
            absent = k == 2 and c % 3 == 0
            for rater in ("r1s1", "r1s2", "r2", "r3"):
                x, y = ("", "") if absent else place + random.normal(0, 1, 2)
                points.append(f"c{c},{name},{x},{y},{rater},{'absent' if absent else 'present'}")
            x, y = place + random.normal(0, 1, 2)
            if (c, k) != (1, 1):
                predictions.append(f"c{c},{name},{x},{y},LPS,{0.3 if absent else 0.9},{random.uniform(1, 2)}")
    (folder / "dataset.yaml").write_text(DESCRIPTION)
    (folder / "points.csv").write_text("\n".join(points) + "\n")
    for name in ("a.csv", "b.csv"):
        (folder / name).write_text("\n".join(predictions) + "\n")
    errors = np.abs(random.normal(0, 2, (60, 3)))
    errors[2:, 1] = np.nan
    subjects = [str(k) for k in range(60)]
    bounds = ErrorBounds.fitted(errors, np.ones((60, 3)), subjects=subjects, names=NAMES)
    data, out = folder / "dataset.yaml", folder / "out"
    reports = {
        "metrics.json": evaluate(data, folder / "a.csv", model=bounds, samples=100, out=out),
        "compare.json": compare(data, [folder / "a.csv", folder / "b.csv"], samples=100, out=out),
        "observers.json": compare_observers(data, samples=100, out=out),
    }
    files = {name: json.loads((out / name).read_text(encoding="utf-8")) for name in reports}
    return reports, files


@pytest.fixture(scope="module")
def sections():
    """{heading: its text} of the document, headings without marks."""
    parts = re.split(r"^##+ (.+)$", DOCUMENT.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {heading.replace("`", ""): text for heading, text in zip(parts[1::2], parts[2::2], strict=True)}


def keys_of(value, section, inside=()):
    """(section that explains it, key) of every key of a document, names of the data left out."""
    if isinstance(value, list):
        for item in value:
            yield from keys_of(item, section, inside)
    elif isinstance(value, dict):
        for key, item in value.items():
            yield section, key
            below = section
            if key in ("presence", "measurements", "coverage") or (key == "observers" and section == "metrics.json"):
                below = key
            elif key in ("overall", "landmarks") and not {"equivalence", "pairs of predictions"} & set(inside):
                below = "A block" if section != "coverage" else section
            elif key == "pairs" and section == COMPARE:
                inside = (*inside, "pairs of predictions")
            elif key == "bootstrap":
                below = "metrics.json"
            if key in KEYED_BY_NAME:
                item = list(item.values())
            if key not in VALUES_BY_NAME and not (key == "landmarks" and section == "coverage"):
                yield from keys_of(item, below, (*inside, key))


COMPARE = "compare.json, compare.csv, compare.md"
SECTION = {"metrics.json": "metrics.json", "compare.json": COMPARE, "observers.json": "observers"}


def test_every_key_that_is_written_is_explained(written, sections):
    words = {heading: set(re.findall(r"`([a-z_]+)`", text)) for heading, text in sections.items()}
    words["observers"] |= words["observers.json and observer_pairs.csv"]
    unexplained = set()
    for name, document in written[1].items():
        for section, key in keys_of(document, SECTION[name]):
            known = words[section] | words["A block"] if section == "metrics.json" else words[section]
            if not {key, key.removesuffix("_note")} & known:
                unexplained.add((section, key))
    assert unexplained == set()


def test_every_key_that_is_explained_is_written(written, sections):
    keys = {pair for name, document in written[1].items() for pair in keys_of(document, SECTION[name])}
    explained = set()
    for section in {section for section, _ in keys}:
        for line in sections[section].splitlines():
            if line.startswith("| `"):
                explained |= {(section, key) for key in re.findall(r"`([a-z_]+)`", line.split("|")[1])}
    assert len(explained) > 60
    assert explained - keys == set()


def test_a_report_is_its_document(written):
    """As attributes, as a mapping, and as the file."""
    reports, files = written
    for name, report in reports.items():
        assert files[name] == report
        assert list(files[name]) == list(report) == list(report.to_dict())
    metrics = reports["metrics.json"]
    assert metrics.overall.mre == metrics["overall"]["mre"] == metrics.to_dict()["overall"]["mre"]
    assert metrics.coverage.curve[0].observed == metrics["coverage"]["curve"][0]["observed"]
    assert reports["observers.json"].statistics.inter.overall.n == reports["observers.json"]["inter"]["overall"]["n"]
    with pytest.raises(KeyError):
        metrics["overal"]

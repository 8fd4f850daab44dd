"""Evaluations of many cases: the same digits as before they were computed in blocks, and little memory."""

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from anatomark import compare, evaluate, load_dataset
from anatomark.evaluation import annotated, bootstrap, metrics, rows
from tests.evaluation import many_cases

HERE = Path(__file__).parent
BEFORE = HERE / "before_streaming.json"  # of the made set, by the code at 37a646a
FILES = ("rows.csv", "observer_rows.csv", "table.md", "table.tex")


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    return many_cases.make(tmp_path_factory.mktemp("made"))


def results(made: Path, out: Path) -> dict:
    told = evaluate(made, made.parent / "ours.csv", samples=200, out=out).to_dict()
    both = [made.parent / f"{name}.csv" for name in ("ours", "theirs")]
    compared = compare(made, both, samples=200, names=["ours", "theirs"]).to_dict()
    for document in (told, compared):
        del document["versions"], document["command"]
    del told["ced"]
    files = {name: hashlib.sha256((out / name).read_bytes()).hexdigest() for name in FILES}
    return json.loads(json.dumps({"evaluate": told, "compare": compared, "files": files}))


def same(found, expected) -> None:
    """Alike to 12 digits: products of matrices of another shape may add in another order."""
    if isinstance(expected, dict):
        assert list(found) == list(expected)
        for key, value in expected.items():
            same(found[key], value)
    elif isinstance(expected, list):
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            same(one, other)
    elif isinstance(expected, float):
        assert found == pytest.approx(expected, rel=1e-12, abs=1e-14)
    else:
        assert found == expected


def test_the_digits_are_those_from_before(made, tmp_path):
    same(results(made, tmp_path / "out"), json.loads(BEFORE.read_text()))


def test_blocks_change_no_digit(made, tmp_path, monkeypatch):
    monkeypatch.setattr(annotated, "KEPT", 3)
    monkeypatch.setattr(metrics, "_TOGETHER", 10)
    monkeypatch.setattr(rows, "_BLOCK", 12)
    monkeypatch.setattr(bootstrap, "_KEPT", 10)
    same(results(made, tmp_path / "out"), json.loads(BEFORE.read_text()))


def test_the_annotations_of_many_cases_are_not_kept(made, monkeypatch):
    monkeypatch.setattr(annotated, "KEPT", 3)
    data = load_dataset(made)
    evaluate(data, made.parent / "ours.csv", samples=0)
    assert not any("observers" in vars(case) or "reference" in vars(case) for case in data.cases)


MEASURED = """
import resource, sys
from anatomark import evaluate
from anatomark.evaluation import annotated
annotated.KEPT = 100
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
folder = sys.argv[1]
evaluate(f"{folder}/small/dataset.yaml", f"{folder}/small/ours.csv", samples=100)
before = peak()
evaluate(f"{folder}/large/dataset.yaml", f"{folder}/large/ours.csv", samples=100)
print(peak() - before)
"""


def test_memory_grows_by_little_with_the_cases(tmp_path):
    """Of 100,000 cases with 100 landmarks there are 10 million rows, and 4 GiB are 430 bytes for each."""
    many_cases.make(tmp_path / "small")
    many_cases.make(tmp_path / "large", cases=6000)
    command = [sys.executable, "-c", MEASURED, str(tmp_path)]
    grown = int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    points = np.prod((6000, len(many_cases.NAMES)))
    assert grown / points < 1200  # with two observers, and what a case takes is shared by five landmarks only

"""check_references and `check --model`: planted faults are named on the command line and on the page."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml

from anatomark import check_references, load_dataset
from anatomark.cli.main import run as command_line
from anatomark.errors import SettingsError, UnknownNameError
from anatomark.evaluation.suspects_page import leave_out
from anatomark.formats.table import write_table
from anatomark.methods.prediction import Prediction, prediction_table

FAR = 12.0


@pytest.fixture
def predicted(phantoms, tmp_path):
    """Writes a table of predictions close to the reference, changed by what is planted: {case: change of points}.

    The reference is as it is, so that what is planted in a prediction stands for the same fault in the reference.
    """
    dataset = load_dataset(phantoms)

    def write(planted=None, *, unsuitable=()) -> Path:
        rng = np.random.default_rng(2)
        results = {}
        for case in dataset.cases:
            reference = case.reference
            points = np.where(reference.present[:, None], reference.points, 0.0)
            points = points + rng.normal(0, 0.3, points.shape)
            points = (planted or {}).get(case.id, lambda p: p)(points)
            result = Prediction(
                replace(reference, points=points, states=np.full(len(points), 2, dtype=np.uint8)),
                reference.present.astype(float),
                np.ones(len(points)),
                error_bound=np.full(len(points), 1.5),
            )
            results[case.id] = replace(result, unsuitable="mirrored" if case.id in unsuitable else None)
        write_table(prediction_table(results), tmp_path / "predictions.csv")
        return tmp_path / "predictions.csv"

    return write


def moved(number):
    def change(points):
        points = points.copy()
        points[number, 0] += FAR
        return points

    return change


def first_present(phantoms, index):
    case = load_dataset(phantoms).cases[index]
    return case.id, int(np.flatnonzero(case.reference.present)[0])


def test_a_sound_set_has_no_suspect(phantoms, predicted):
    found = check_references(phantoms, folds=predicted())
    assert [f for f in found if f.level != "note"] == []


def test_faults_are_named_and_shown(phantoms, predicted, tmp_path):
    case, k = first_present(phantoms, 4)
    unusual = load_dataset(phantoms).cases[7].id
    table = predicted({case: moved(k)}, unsuitable=(unusual,))
    found = check_references(phantoms, folds=table, out=tmp_path / "page")
    name = load_dataset(phantoms).names[k]
    assert [(f.level, f.code, f.case, f.landmark) for f in found if f.level != "note"] == [
        ("warning", "unusual-image", unusual, ""),
        ("warning", "far-point", case, name),
    ]
    assert f"{name} lies 1" in found[1].message
    assert f"anatomark review {phantoms} --predictions {table}" in found[1].advice
    page = (tmp_path / "page" / "index.html").read_text()
    assert page.count("<section>") == page.count("data:image/jpeg") == 2
    assert page.index(unusual) < page.index(f"{case} ·")
    assert [p.name for p in (tmp_path / "page").iterdir()] == ["index.html"]


def test_the_command_prints_them(phantoms, predicted, tmp_path, capsys):
    case, k = first_present(phantoms, 4)
    table = predicted({case: moved(k)})
    assert command_line(["check", str(phantoms), "--folds", str(table), "--json"]) in (0, 1)
    found = json.loads(capsys.readouterr().out)
    assert [(f["case"], f["landmark"]) for f in found if f["code"] == "far-point"] == [
        (case, load_dataset(phantoms).names[k])
    ]
    command_line(["check", str(phantoms), "--folds", str(table), "--out", str(tmp_path / "page")])
    said = capsys.readouterr().out
    assert str(tmp_path / "page" / "index.html") in said.replace("\n", "")
    assert "from the" in said


@pytest.mark.slow
def test_a_trained_model_checks_its_data_set(phantoms, run, tmp_path, capsys):
    assert command_line(["check", str(phantoms), "--model", str(run), "--out", str(tmp_path / "page")]) in (0, 1)
    capsys.readouterr()
    assert (tmp_path / "page" / "index.html").is_file()
    seen = []
    found = check_references(phantoms, model=run, progress=lambda done, total, name: seen.append((done, total)))
    assert seen[0] == (0, 16)
    assert seen[-1] == (16, 16)
    assert any("learned from a data set of this name" in f.message for f in found)
    assert {f.level for f in found} <= {"warning", "note"}


def test_an_image_that_cannot_be_read_is_a_note(phantoms, run, tmp_path):
    dataset = load_dataset(phantoms)
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no image")
    cases = (replace(dataset.cases[0], image_path=broken), *dataset.cases[1:4])
    found = check_references(replace(dataset, cases=cases), model=run)
    assert [f.level for f in found if f.case == cases[0].id] == ["note"]


def test_what_leaves_a_case_out(phantoms, tmp_path):
    """Done as it says, the description has all cases but this one."""
    dataset = load_dataset(phantoms)
    case = dataset.cases[3]
    line, also = leave_out(dataset, case.id).split(", and ")
    assert also == f"take {case.id} out of splits"
    description = yaml.safe_load(phantoms.read_text()) | {"root": str(phantoms.parent)}
    description["images"] |= yaml.safe_load(line)
    description["splits"] = {
        split: [name for name in names if name != case.id] for split, names in description["splits"].items()
    }
    changed = tmp_path / "dataset.yaml"
    changed.write_text(yaml.safe_dump(description))
    assert [c.id for c in load_dataset(changed).cases] == [c.id for c in dataset.cases if c is not case]
    assert leave_out(load_dataset(changed), dataset.cases[4].id).startswith("exclude: [")


def test_what_leaves_a_row_of_a_table_out(phantoms, tmp_path):
    dataset = load_dataset(phantoms)
    description = yaml.safe_load(phantoms.read_text()) | {"root": str(phantoms.parent)}
    (tmp_path / "cases.csv").write_text("image\n" + "\n".join(case.image_path.name for case in dataset.cases))
    description["images"] = {"folder": description["images"]["folder"], "table": str(tmp_path / "cases.csv")}
    path = tmp_path / "dataset.yaml"
    path.write_text(yaml.safe_dump(description))
    listed = load_dataset(path)
    name = listed.cases[3].image_path.name
    assert leave_out(listed, listed.cases[3].id) == f"take the row of {name} out of {tmp_path / 'cases.csv'}"


def test_what_cannot_be_judged_is_said(phantoms, predicted):
    dataset = load_dataset(phantoms)
    few = replace(dataset, cases=dataset.cases[:3])
    table = predicted()
    text = table.read_text().splitlines()
    column = text[0].split(",").index("error_bound_mm")
    rows = [line.split(",") for line in text]
    table.write_text("\n".join(",".join(c for k, c in enumerate(row) if k != column) for row in rows) + "\n")
    found = check_references(few, folds=table)
    assert {f.level for f in found} == {"note"}
    assert any("without error bounds and in fewer than 8 predicted cases" in f.message for f in found)
    assert any("cases have fewer than 4 points" in f.message for f in found)


def test_either_a_model_or_folds(phantoms, run):
    with pytest.raises(SettingsError, match="either a model or a run with folds"):
        check_references(phantoms)
    with pytest.raises(SettingsError, match="either a model or a run with folds"):
        check_references(phantoms, model=run, folds=run)


def test_a_model_of_other_landmarks(phantoms, run):
    dataset = load_dataset(phantoms)
    with pytest.raises(UnknownNameError, match="the model finds no landmark of"):
        check_references(replace(dataset, names=("knee",)), model=run)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (("--out", "page"), "--out is for references"),
        (("--model", "RUN", "--folds", "RUN"), "--model and --folds are both given"),
        (("--folds", "RUN", "--out", "page"), "is a run without folds"),
        (("--model", "nowhere", "--out", "page"), "nowhere"),
    ],
)
def test_wrong_options(phantoms, run, tmp_path, monkeypatch, capsys, options, reason):
    monkeypatch.chdir(tmp_path)
    given = [str(run) if option == "RUN" else option for option in options]
    assert command_line(["check", str(phantoms), *given]) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: "), said
    assert said.count("\n") == 1
    assert reason in said
    assert list(tmp_path.iterdir()) == []

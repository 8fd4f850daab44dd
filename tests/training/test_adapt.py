"""Adaptation of a model to another place: a copy that puts its points as that place does; the first stays as it is."""

import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml

from anatomark import adapt, calibrate, load, load_dataset
from anatomark.cli.main import run as command
from anatomark.data.description import Dataset
from anatomark.data.phantoms import make_phantoms
from anatomark.errors import ModelError, OutputError, ReviewError, SettingsError
from anatomark.formats.table import read_table, write_table
from anatomark.methods.error_bound import ErrorBounds
from anatomark.methods.offsets import NAME
from anatomark.ready_made import ABOUT, ready_made
from anatomark.review.record import Record

SHIFT = 6.0


@pytest.fixture
def clinic(phantoms: Path, tmp_path: Path) -> Path:
    """The same images in another place, without splits, whose points all lie SHIFT farther along the first axis."""
    folder = Path(shutil.copytree(phantoms.parent, tmp_path / "clinic"))
    about = yaml.safe_load((folder / phantoms.name).read_text())
    path = folder / about["annotations"]["table"]
    table = read_table(path)
    moved = table.coordinates + SHIFT * np.eye(table.coordinates.shape[1])[0]
    write_table(replace(table, coordinates=moved), path)
    about["name"] = "clinic"
    about.pop("splits", None)
    (folder / phantoms.name).write_text(yaml.safe_dump(about))
    return folder / phantoms.name


def contents(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def test_the_copy_follows_the_place_and_the_first_stays(run: Path, clinic: Path, tmp_path: Path) -> None:
    before = contents(run)
    assert not load_dataset(clinic).splits
    adapted = adapt(run, clinic, out=tmp_path / "adapted", device="cpu")
    assert contents(run) == before
    assert adapted.cases == 16
    assert adapted.source == "cases of clinic"
    assert adapted.taught.after < adapted.taught.before
    old, new = load(run, device="cpu"), load(adapted.out, device="cpu")
    assert new.offsets is not None
    image = load_dataset(clinic).cases[0].read_image()
    found, first = new.predict(image), old.predict(image)
    expected = new.offsets.apply(first.landmarks.points, first.presence)
    np.testing.assert_allclose(found.landmarks.points, expected, atol=1e-6)
    assert not np.allclose(found.landmarks.points, first.landmarks.points)
    assert found.suitability == first.suitability or np.isnan(found.suitability)
    assert not list(tmp_path.glob(".adapted*"))


def test_nothing_is_overwritten_or_half_written(run: Path, clinic: Path, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").touch()
    with pytest.raises(OutputError, match="exists and is not an empty folder; choose another --out"):
        adapt(run, clinic, out=tmp_path / "full", device="cpu")
    (tmp_path / "empty").mkdir()
    assert (adapt(run, clinic, out=tmp_path / "empty", device="cpu").out / NAME).exists()


def test_cases_that_were_trained_on_are_refused(run: Path, phantoms: Path, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="have learned from the subjects of"):
        adapt(run, phantoms, split="train", out=tmp_path / "new", device="cpu")
    assert not list(tmp_path.iterdir())


def test_an_adapted_model_is_adapted_anew_not_calibrated(run: Path, clinic: Path, tmp_path: Path) -> None:
    once = adapt(run, clinic, out=tmp_path / "once", device="cpu")
    with pytest.raises(ModelError, match=r"was adapted to cases of clinic.*give --out FOLDER"):
        calibrate(once.out, clinic, device="cpu")
    twice = adapt(once.out, clinic, out=tmp_path / "twice", device="cpu")
    np.testing.assert_array_equal(once.taught.offsets.offset, twice.taught.offsets.offset)
    assert twice.taught.before == once.taught.before


def test_one_case_changes_nothing_and_says_so(
    run: Path, clinic: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = yaml.safe_load(clinic.read_text())
    ids = [case.id for case in load_dataset(clinic).cases]
    text["splits"] = {"few": ids[:1]}
    clinic.write_text(yaml.safe_dump(text))
    words = ["calibrate", str(run), str(clinic), "--out", str(tmp_path / "one"), "--device", "cpu"]
    assert command(words) == 2
    assert "clinic has the splits few; name one with --split" in capsys.readouterr().err
    assert command([*words, "--split", "few"]) == 0
    assert "no offset, and the error bounds as they were: 4 subjects" in capsys.readouterr().out
    image = load_dataset(clinic).cases[1].read_image()
    found, first = (load(model, device="cpu").predict(image) for model in (tmp_path / "one", run))
    np.testing.assert_array_equal(found.landmarks.points, first.landmarks.points)
    np.testing.assert_array_equal(found.error_bound, first.error_bound)


def test_the_command_says_what_it_changed(
    run: Path, clinic: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["calibrate", str(run), str(clinic), "--out", str(tmp_path / "new"), "--device", "cpu"]
    assert command(words) == 0
    said = capsys.readouterr().out
    assert "new: adapted by 16 cases (cases of clinic)" in said
    assert "of 5 landmarks have an offset, the largest: " in said
    assert "mean error of left-out subjects: " in said
    assert " mm before, " in said


def test_accepted_cases_of_a_review_adapt(run: Path, clinic: Path, tmp_path: Path) -> None:
    """Five of the cases are accepted, one with a landmark set anew; elsewhere than where the description looks."""
    dataset: Dataset = load_dataset(clinic)
    folder = tmp_path / "reviews"
    with pytest.raises(ReviewError, match="has no accepted case"):
        adapt(run, clinic, out=tmp_path / "new", reviews=folder, device="cpu")
    record = Record(folder, "anna", dataset=dataset.name, order=dataset.names, ndim=dataset.ndim, unit=dataset.unit)
    for case in dataset.cases[:6]:
        record.change(case.id, 0, {}, accepted=True)
    record.change(dataset.cases[5].id, record.case(dataset.cases[5].id).revision, {}, accepted=False)
    record.close()
    adapted = adapt(run, clinic, out=tmp_path / "new", reviews=folder, device="cpu")
    assert adapted.cases == 5
    assert adapted.source == "accepted cases of the review of clinic"
    (folder / "anna.cases.json").write_text("{}")
    with pytest.raises(ReviewError, match="is damaged; open the review again"):
        adapt(run, clinic, out=tmp_path / "other", reviews=folder, device="cpu")


def test_a_copied_ready_made_model_and_its_terms(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = load("ceph19", device="cpu").names
    data = make_phantoms(tmp_path / "set", ndim=2, cases=6, landmarks=len(names))
    renamed = dict(zip(load_dataset(data).names, names, strict=True))
    for file in (data, data.parent / "landmarks.csv"):
        file.write_text(re.sub(r"\bp\d\d\b", lambda found: renamed[found[0]], file.read_text()))
    copy = Path(shutil.copytree(ready_made()["ceph19"], tmp_path / "copy"))
    split = load_dataset(data).splits[0]
    words = [str(data), "--split", split, "--device", "cpu"]
    assert command(["calibrate", "ceph19", *words]) == 2
    assert "is ready-made and stays as it is; give --out FOLDER" in capsys.readouterr().err
    assert command(["calibrate", str(copy), *words]) == 0
    assert command(["calibrate", "ceph19", *words, "--out", str(tmp_path / "new")]) == 0
    assert (tmp_path / "new" / ABOUT).exists()
    assert not (tmp_path / "new" / "README.md").exists()
    named = yaml.safe_load(data.read_text()) | {"name": "isbi2015_ceph"}
    data.write_text(yaml.safe_dump(named))
    capsys.readouterr()
    assert command(["calibrate", str(copy), str(data), "--device", "cpu"]) == 2
    assert "nobody knows which cases the model has seen; name a --split" in capsys.readouterr().err
    assert command(["calibrate", "ceph19", *words, "--out", str(tmp_path / "newer")]) == 0
    assert "is not recorded: make sure that these cases were not" in capsys.readouterr().out


def test_scaled_bounds_hold_as_often_as_they_promise() -> None:
    rng = np.random.default_rng(1)
    errors, spread = rng.rayleigh(1.0, (200, 10)) * np.linspace(1, 3, 10), np.ones((200, 10))
    first = ErrorBounds.fitted(errors, spread, subjects=[str(k) for k in range(200)], names=list("abcdefghij"))
    elsewhere = 2.5 * rng.rayleigh(1.0, (400, 10)) * np.linspace(1, 3, 10)
    assert (elsewhere <= first.bound(np.ones((400, 10)))).mean() < 0.6
    none = ErrorBounds.withheld(first.names, "never made").scaled(elsewhere[:5], np.ones((5, 10)), source="five cases")
    assert none.reason("a") == "five cases are too few for error bounds"
    scaled = first.scaled(elsewhere[:5], np.ones((5, 10)), source="five cases")
    assert scaled.source == f"five cases; their errors scaled the bounds from {first.source}"
    shares = []
    for k in range(30):
        part = elsewhere[5 * k : 5 * k + 5]
        scaled = first.scaled(part, np.ones((5, 10)), source="five cases")
        shares.append((elsewhere[150:] <= scaled.bound(np.ones((250, 10)))).mean())
    assert np.mean(shares) == pytest.approx(0.9, abs=0.02)

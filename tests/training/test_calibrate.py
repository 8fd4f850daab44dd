"""Calibration of a finished run: by its validation cases, by others, and models that never were."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from anatomark import evaluate, load, load_dataset
from anatomark.cli.main import run as command
from anatomark.errors import ModelError, SettingsError, UnknownNameError
from anatomark.formats.table import read_table
from anatomark.methods.error_bound import NAME, NONE_SAVED
from anatomark.model import Model
from anatomark.predict import predict_to_folder
from anatomark.prediction_files import notes
from anatomark.training.calibrate import BY_VALIDATION, calibrate


@pytest.fixture
def copy(run: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(run, tmp_path / "copy"))


def test_training_calibrates_as_calibrate_does_afterwards(phantoms: Path, run: Path, copy: Path) -> None:
    (copy / NAME).unlink()
    calibrate(copy, phantoms, device="cpu")
    made, again = load(run, device="cpu").bounds, load(copy, device="cpu").bounds
    assert made.source == again.source == BY_VALIDATION
    assert made.expected is not None
    assert again.expected is not None
    assert made.factor is not None
    assert again.factor is not None
    np.testing.assert_allclose(made.factor, again.factor, rtol=1e-6)
    np.testing.assert_allclose(made.expected.typical, again.expected.typical, rtol=1e-6)


def test_a_model_without_bounds_predicts_as_ever(phantoms: Path, run: Path, copy: Path, tmp_path: Path) -> None:
    image = load_dataset(phantoms).split("test")[0].read_image()
    (copy / NAME).unlink()
    held = json.loads((copy / "model.json").read_text())
    del held["presence"]["learned_from"]
    (copy / "model.json").write_text(json.dumps(held))
    old, new = load(copy, device="cpu"), load(run, device="cpu")
    assert old.bounds.reason(old.names[0]) == NONE_SAVED
    before, now = old.predict(image), new.predict(image)
    assert before.landmarks == now.landmarks
    np.testing.assert_array_equal(before.presence, now.presence)
    assert np.isnan(before.error_bound).all()
    summary = predict_to_folder(copy, [phantoms], split="test", out=tmp_path / "out", overlays=False)
    assert set(summary.withheld.values()) == {NONE_SAVED}
    table = read_table(summary.table)
    assert table.bound is not None
    assert np.isnan(table.bound).all()


def test_few_validation_cases_withhold_what_they_cannot_tell(run: Path) -> None:
    model = load(run, device="cpu")
    assert len(json.loads((run / "request.json").read_text())["validation"]) == 3
    reasons = [model.bounds.reason(name) or "" for name in model.names]
    assert all("wanted are 9" in reason or "wanted are 3" in reason for reason in reasons)
    assert any("wanted are 9" in reason for reason in reasons)


def test_bounds_in_the_table_in_slicer_and_in_the_report(phantoms: Path, copy: Path, tmp_path: Path) -> None:
    dataset = load_dataset(phantoms)
    bounds = calibrate(copy, phantoms, split="test", device="cpu")
    given = [name for name in dataset.names if bounds.reason(name, 0.5) is None]
    assert given
    summary = predict_to_folder(
        copy, [phantoms], split="test", out=tmp_path, coverage=0.5, formats=("mrk.json", "fcsv"), overlays=True
    )
    table = read_table(summary.table)
    assert table.bound is not None
    of_first = dict(zip(table.landmark[: len(dataset.names)], table.bound.tolist(), strict=False))
    assert [name for name in dataset.names if np.isfinite(of_first[name])] == given
    case = dataset.split("test")[0]
    model = load(copy, device="cpu")
    assert isinstance(model, Model)
    prediction = model.predict(case.read_image(), coverage=0.5)
    at = model.names.index(given[0])
    assert of_first[given[0]] == pytest.approx(prediction.error_bound[at], abs=1e-4)
    wanted = f"error at most {prediction.error_bound[at]:.2f} mm in 50 %"
    assert wanted in notes(prediction)[at]
    points = json.loads((tmp_path / f"{case.id}.mrk.json").read_text())["markups"][0]["controlPoints"]
    assert wanted in points[at]["description"]
    assert wanted in (tmp_path / f"{case.id}.fcsv").read_text()

    found = evaluate(dataset, summary.table, split="test", model=copy, coverage=0.5, samples=0)["coverage"]
    assert found["calibrated_by"].startswith("cases of the split test")
    assert {name for name, share in found["landmarks"].items() if share is not None} == set(given)
    own = evaluate(dataset, summary.table, split="test", coverage=0.5, samples=0)["coverage"]
    assert own["overall"] == pytest.approx(found["overall"])


def test_cases_that_were_trained_on_are_refused(phantoms: Path, copy: Path) -> None:
    before = (copy / NAME).read_bytes()
    with pytest.raises(SettingsError, match="have learned from the subjects of"):
        calibrate(copy, phantoms, split="train", device="cpu")
    with pytest.raises(UnknownNameError, match="no split 'mine'"):
        calibrate(copy, phantoms, split="mine", device="cpu")
    (copy / "request.json").unlink()
    with pytest.raises(ModelError, match="nobody knows which cases"):
        calibrate(copy, phantoms, device="cpu")
    assert (copy / NAME).read_bytes() == before


def test_presence_is_learned_from_a_split_with_absent_landmarks(phantoms: Path, copy: Path, monkeypatch) -> None:
    from anatomark.training import calibrate as subject

    image = load_dataset(phantoms).split("test")[0].read_image()
    first = load(copy, device="cpu")
    before, mass = first.predict(image).presence, np.stack([s.mass for s in first.locate(image)], axis=-1)
    calibrate(copy, phantoms, split="test", device="cpu")
    absent = sum(int((~c.reference.present).sum()) for c in load_dataset(phantoms).split("test"))
    if not absent:
        pytest.skip("no landmark is absent in the test split of the 3D phantoms")
    assert absent < subject.ENOUGH_ABSENT
    np.testing.assert_array_equal(load(copy, device="cpu").predict(image).presence, before)
    monkeypatch.setattr(subject, "ENOUGH_ABSENT", absent)
    calibrate(copy, phantoms, split="test", device="cpu")
    model = load(copy, device="cpu")
    assert isinstance(model, Model)
    assert model.detector.presence.learned_from.startswith("cases of the split test")
    learned = model.detector.presence.probability(mass)
    assert (learned != first.detector.presence.probability(mass)).any()
    assert (model.predict(image).presence <= learned + 1e-9).all(), "what may lie outside of the image counts, too"


def test_the_command(phantoms: Path, copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command(["calibrate", str(copy), str(phantoms), "--split", "test", "--device", "cpu"]) == 0
    told = capsys.readouterr().out
    assert "calibrated by cases of the split test" in told
    assert "landmarks have an error bound at 90%" in told
    assert command(["predict", str(copy), str(phantoms), "--out", str(copy / "p"), "--coverage", "90"]) == 2
    assert "give a proportion between 0 and 1" in capsys.readouterr().err

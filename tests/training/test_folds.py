"""Cross-validation: who is left out by whom, going on after a stop, the average of the folds, and its bounds."""

import json
import math
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from anatomark import adapt, evaluate, load, load_dataset, train
from anatomark.cli.main import run as command
from anatomark.combined import Answer, trimmed_mean
from anatomark.core.grid import Grid
from anatomark.core.image import Image
from anatomark.errors import ModelError, SettingsError
from anatomark.formats.table import read_table
from anatomark.loading import load_model
from anatomark.methods.error_bound import NAME, ErrorBounds
from anatomark.methods.presence import PresenceModel
from anatomark.methods.suitability import Judgement
from anatomark.model import Model
from anatomark.predict import predict_to_folder
from anatomark.training import folds as subject
from anatomark.training.calibrate import calibrate, radial

QUICK: dict[str, Any] = {"global_steps": 10, "local_steps": 10, "validations": 1, "global_crop": [64, 64]}


@pytest.fixture(scope="module")
def flat(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The dataset.yaml of a 2D phantom set, of which some landmarks are absent."""
    from anatomark.data.phantoms import make_phantoms

    return make_phantoms(tmp_path_factory.mktemp("flat"), ndim=2, cases=20, landmarks=4, seed=4)


@pytest.fixture(scope="module")
def asked(tiny: dict[str, Any]) -> dict[str, Any]:
    return {"device": "cpu", "settings": {**tiny, **QUICK}}


@pytest.fixture(scope="module")
def ended(flat: Path, asked: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of three folds."""
    return train(flat, out=tmp_path_factory.mktemp("folds") / "run", folds=3, **asked)


def requests(run: Path) -> list[dict[str, Any]]:
    return [json.loads((fold / "request.json").read_text()) for fold in sorted(run.glob("fold?"))]


def test_each_case_is_left_out_once_and_seen_by_no_network_of_its_fold(flat: Path, ended: Path) -> None:
    dataset = load_dataset(flat)
    left_out = json.loads((ended / "folds.json").read_text())["left_out"]
    assert sorted(id for part in left_out for id in part) == sorted(case.id for case in dataset.split("train"))
    subjects = {case.id: case.subject for case in dataset.cases}
    for part, request in zip(left_out, requests(ended), strict=True):
        seen = {subjects[id] for id in (*request["train"], *request["validation"])}
        assert request["train"]
        assert request["validation"]
        assert not seen & {subjects[id] for id in part}
        assert not seen & {case.subject for case in dataset.split("test")}


def test_out_of_fold_predictions_are_those_of_the_fold_that_has_not_seen_the_case(flat: Path, ended: Path) -> None:
    dataset, table = load_dataset(flat), read_table(ended / "out_of_fold.csv")
    left_out = json.loads((ended / "folds.json").read_text())["left_out"]
    assert len(table) == len(dataset.split("train")) * len(dataset.names)
    for number, part in enumerate(left_out):
        found = load_model(ended / f"fold{number + 1}", device="cpu").predict(dataset.case(part[0]).read_image())
        mine = table.coordinates[table.image == part[0]]
        np.testing.assert_allclose(mine, found.landmarks.points, atol=1e-4)


def test_the_bounds_are_those_of_the_out_of_fold_errors(flat: Path, ended: Path) -> None:
    dataset, table = load_dataset(flat), read_table(ended / "out_of_fold.csv")
    ids = list(dict.fromkeys(table.image.tolist()))
    points = table.coordinates.reshape(len(ids), -1, 2)
    reference = np.stack([dataset.case(id).reference.points for id in ids])
    bounds = ErrorBounds.fitted(
        radial(points, reference),
        table.spread.reshape(len(ids), -1),
        subjects=[dataset.case(id).subject for id in ids],
        names=dataset.names,
    )
    model = load(ended, device="cpu")
    assert model.bounds.source == subject.BY_FOLDS
    spread = np.linspace(0, 5, len(dataset.names))
    np.testing.assert_array_equal(model.bounds.bound(spread, 0.8), bounds.bound(spread, 0.8))
    assert np.isfinite(bounds.bound(spread, 0.8)).all()


def test_a_stopped_run_goes_on_with_the_fold_that_was_stopped(
    flat: Path, ended: Path, asked: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, began = tmp_path / "run", []
    real = subject._predicted

    def stopped(folder: Path, *rest: Any) -> Any:
        if folder.name == "fold2":
            raise KeyboardInterrupt
        return real(folder, *rest)

    monkeypatch.setattr(subject, "_predicted", stopped)
    with pytest.raises(KeyboardInterrupt):
        train(flat, out=out, folds=3, **asked)
    assert not (out / "ensemble.json").exists()
    with pytest.raises(ModelError, match="its training has not finished"):
        load(out)
    monkeypatch.setattr(subject, "_predicted", real)
    before = {path: path.stat().st_mtime_ns for path in out.glob("fold[12]/model.safetensors")}
    before |= {path: path.stat().st_mtime_ns for path in out.glob("fold1/out_of_fold.csv")}
    assert len(before) == 3

    train(flat, out=out, folds=3, **asked, show=began.append)
    assert {path: path.stat().st_mtime_ns for path in before} == before, "what was done is not done again"
    assert sum("is finished" in line for line in began) == 2
    for name in ("out_of_fold.csv", "ensemble.json", NAME, "fold2/model.safetensors", "fold3/model.safetensors"):
        assert (out / name).read_bytes() == (ended / name).read_bytes(), name


def test_folds_trained_by_themselves_are_joined_by_the_whole_command(
    flat: Path, ended: Path, asked: dict[str, Any], tmp_path: Path
) -> None:
    out, said = tmp_path / "run", []
    out.mkdir()
    (out / ".folds.json.another").touch()  # the job of another fold is writing it
    train(flat, out=out, folds=3, fold=2, **asked, show=said.append)
    assert sorted(path.name for path in out.glob("fold?")) == ["fold2"]
    assert "leave out --fold to join them" in said[-1]
    for other in ("fold1", "fold3"):
        shutil.copytree(ended / other, out / other)
    assert not (out / "ensemble.json").exists()
    train(flat, out=out, folds=3, **asked)
    for name in ("out_of_fold.csv", "ensemble.json", NAME, "fold2/model.safetensors"):
        assert (out / name).read_bytes() == (ended / name).read_bytes(), name


def test_a_fold_that_is_none_is_refused(flat: Path, asked: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="with 3 folds, it is a number from 1 to 3"):
        train(flat, out=tmp_path / "run", folds=3, fold=4, **asked)
    with pytest.raises(SettingsError, match="give --folds, too"):
        train(flat, out=tmp_path / "run", fold=1, **asked)
    assert not (tmp_path / "run").exists()


def test_other_folds_and_other_folders_are_refused(
    flat: Path, ended: Path, asked: dict[str, Any], tmp_path: Path
) -> None:
    with pytest.raises(SettingsError, match=r"folds of another kind \(other folds, left_out\)"):
        train(flat, out=ended, folds=4, **asked)
    with pytest.raises(SettingsError, match="not a run folder"):
        train(flat, out=ended, **asked)
    with pytest.raises(SettingsError, match="no run with folds"):
        train(flat, out=ended / "fold1", folds=3, **asked)
    for folds in (0, 1, 100):
        with pytest.raises(SettingsError, match=rf"{folds} folds of \d+ subjects"):
            train(flat, out=tmp_path / "run", folds=folds, **asked)
    assert not (tmp_path / "run").exists()


def test_a_damaged_ensemble(ended: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(ended, tmp_path / "run"))
    for text in ("", "[]", '{"format": 1, "folds": [], "presence": null}', '{"format": 1, "folds": 3, "presence": 1}'):
        (run / "ensemble.json").write_text(text)
        with pytest.raises(ModelError, match=r"ensemble\.json"):
            load(run)


def test_the_average_of_the_folds(flat: Path, ended: Path, tmp_path: Path) -> None:
    image = load_dataset(flat).split("test")[0].read_image()
    model = load(ended, device="cpu")
    each = [load_model(ended / f"fold{number}", device="cpu").predict(image) for number in (1, 2, 3)]
    answer = model.predict(image, coverage=0.8)
    points = np.stack([p.landmarks.points for p in each])
    np.testing.assert_array_equal(answer.landmarks.points, trimmed_mean(points))
    apart2 = ((points - answer.landmarks.points) ** 2).sum(-1).mean(0)
    np.testing.assert_allclose(answer.spread**2, np.mean([p.spread**2 for p in each], axis=0) + apart2)
    assert model.presence is not None, "some landmarks are absent in the phantoms"
    told = [model.presence.probability(p.presence[:, None]) for p in each]
    np.testing.assert_allclose(answer.presence, np.mean(told, axis=0))
    np.testing.assert_array_equal(answer.error_bound, model.bounds.bound(answer.spread, 0.8))
    summary = predict_to_folder(ended, [flat], split="test", out=tmp_path, coverage=0.8)
    row = read_table(summary.table).rows(np.arange(4))
    assert row.bound is not None
    np.testing.assert_allclose(row.bound, answer.error_bound, atol=1e-4)


def test_a_split_that_the_folds_have_learned_from_calibrates_nothing(flat: Path, ended: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(ended, tmp_path / "run"))
    with pytest.raises(SettingsError, match="learned from the subjects"):
        calibrate(run, flat, split="train", device="cpu")
    with pytest.raises(SettingsError, match="out-of-fold cases; to do it by others"):
        calibrate(run, flat, device="cpu")
    bounds = calibrate(run, flat, split="test", device="cpu")
    assert load(run, device="cpu").bounds.source == bounds.source
    assert "split test" in bounds.source


def test_a_run_with_folds_is_evaluated_by_its_out_of_fold_predictions(flat: Path, ended: Path, tmp_path: Path) -> None:
    by_folder = evaluate(flat, ended, samples=0)
    by_table = evaluate(flat, ended / "out_of_fold.csv", samples=0)
    assert by_folder["overall"] == by_table["overall"]
    assert by_folder["n_cases"] == len(load_dataset(flat).split("train"))
    found = evaluate(flat, ended, model=ended, coverage=0.6, samples=0)
    told = found["coverage"] or {"calibrated_by": found["coverage_note"]}
    assert told["calibrated_by"] in (
        "the predictions' own bounds",
        "no error bound is in the predictions, and no model was given to make them",
    ), "the average's bounds are not judged by what calibrated them"
    elsewhere = predict_to_folder(ended, [flat], split="test", out=tmp_path, overlays=False).table
    assert (
        evaluate(flat, elsewhere, model=ended, coverage=0.8, samples=0)["coverage"]["calibrated_by"] == subject.BY_FOLDS
    )


def test_the_command_takes_folds(flat: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for more in ([], ["--estimate"]):
        arguments = ["train", str(flat), "--out", str(tmp_path / "run"), "--folds", "1", "--device", "cpu", *more]
        assert command(arguments) == 2
        assert "1 folds of" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_trimmed_mean_leaves_out_what_went_astray() -> None:
    near = np.array([[0.0, 0.0], [2.0, 0.0], [0.0, 2.0], [2.0, 2.0]])
    points = np.stack([*near, [60.0, 1.0]])[:, None]
    np.testing.assert_allclose(trimmed_mean(points), [[1, 1]])
    np.testing.assert_allclose(trimmed_mean(points[:4]), [[1, 1]])
    np.testing.assert_allclose(trimmed_mean(points[:2]), [[1, 0]], err_msg="of two, none can be called astray")
    np.testing.assert_allclose(trimmed_mean(np.repeat(points[:1], 3, axis=0)), [[0, 0]])


def member(x: float, spread: float, presence: float) -> Any:
    """A member that always gives the same answer."""
    answer = Answer(np.array([[x, 0.0]]), np.array([presence]), np.array([spread]), Judgement(math.nan))
    return SimpleNamespace(found=lambda images, device, sources: [(answer, []) for _ in images])


def test_an_average_by_hand() -> None:
    members = (member(-1, 2, 0.5), member(1, 4, 0.9))
    errors = np.full((20, 1), 3.0)
    bounds = ErrorBounds.fitted(errors, np.ones((20, 1)), subjects=[str(k) for k in range(20)], names=("tip",))
    image = Image(np.arange(16.0).reshape(4, 4), Grid.from_geometry((4, 4), spacing=(1.0, 1.0)))
    model = Model(("tip",), (), 2, "mm", "none", members, bounds)
    answer = model.predict(image)
    np.testing.assert_allclose(answer.landmarks.points, [[0, 0]])
    np.testing.assert_allclose(answer.presence, [0.7])
    np.testing.assert_allclose(answer.spread, [np.sqrt((4 + 16) / 2 + 1)])
    np.testing.assert_allclose(answer.error_bound, [3.0], err_msg="constant spreads say nothing")
    corrected = replace(model, presence=PresenceModel((0.0,), 0.0)).predict(image)
    np.testing.assert_allclose(corrected.presence, [0.5])


def test_a_run_with_folds_is_adapted_whole(flat: Path, ended: Path, tmp_path: Path) -> None:
    before = {file: file.read_bytes() for file in ended.rglob("*") if file.is_file()}
    dataset = replace(load_dataset(flat), name="clinic")
    adapted = adapt(ended, dataset, split="train", out=tmp_path / "new", device="cpu")
    assert {file: file.read_bytes() for file in ended.rglob("*") if file.is_file()} == before
    old, new = load(ended, device="cpu"), load(adapted.out, device="cpu")
    assert len(new.members) == 3
    assert new.offsets is not None
    image = dataset.cases[0].read_image()
    first = old.predict(image)
    expected = new.offsets.apply(first.landmarks.points, first.presence)
    np.testing.assert_allclose(new.predict(image).landmarks.points, expected, atol=1e-6)
    with pytest.raises(SettingsError, match="have learned from the subjects"):
        adapt(adapted.out, load_dataset(flat), split="train", out=tmp_path / "newer", device="cpu")

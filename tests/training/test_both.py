"""Both methods as members of one model: on the same cases, going on after a stop, their average and its bounds."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from anatomark import adapt, calibrate, check_references, evaluate, load, load_dataset, train
from anatomark.ensemble import Ensemble, methods_of, read_cards, read_ensemble
from anatomark.errors import ModelError, SettingsError
from anatomark.loading import load_members, load_model
from anatomark.methods.error_bound import ErrorBounds
from anatomark.methods.presence import PresenceModel
from anatomark.predict import predict_to_folder
from anatomark.service.serve import named_runs
from anatomark.service.worker import about
from anatomark.training import both as subject
from anatomark.training.calibrate import found_in, radial

TWO_STAGE: dict[str, Any] = {
    "channels": [[4, 4], [6]],
    "head_channels": [8],
    "joint_rank": 2,
    "stage1_steps": 6,
    "frozen_steps": 2,
    "stage2_steps": 6,
    "refine": False,
}
GLOBAL_TO_LOCAL: dict[str, Any] = {"global_steps": 8, "local_steps": 8, "global_crop": [32, 32]}


@pytest.fixture(scope="module")
def flat(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The dataset.yaml of a 2D phantom set, of which some landmarks are absent."""
    from anatomark.data.phantoms import make_phantoms

    return make_phantoms(tmp_path_factory.mktemp("flat"), ndim=2, cases=14, landmarks=4, shape=(64, 72), seed=4)


@pytest.fixture(scope="module")
def asked(tiny: dict[str, Any]) -> dict[str, Any]:
    settings = {**tiny, **TWO_STAGE, **GLOBAL_TO_LOCAL, "validations": 1}
    return {"method": "both", "device": "cpu", "settings": settings}


@pytest.fixture(scope="module")
def ended(flat: Path, asked: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of both methods."""
    return train(flat, out=tmp_path_factory.mktemp("both") / "run", **asked)


def copied(run: Path, to: Path) -> Path:
    return Path(shutil.copytree(run, to))


def test_both_learn_from_the_same_cases_each_with_its_settings(ended: Path) -> None:
    whole, *each = (
        json.loads((ended / part / "request.json").read_text()) for part in ("", "two-stage", "global-to-local")
    )
    assert [request["method"] for request in (whole, *each)] == ["both", "two-stage", "global-to-local"]
    for role in ("train", "validation"):
        assert whole[role] == each[0][role] == each[1][role]
        assert whole[role]
    assert "stage1_steps" in each[0]["settings"]
    assert "global_steps" not in each[0]["settings"]
    assert "stage1_steps" not in each[1]["settings"]
    assert each[0]["settings"]["precision"] == each[1]["settings"]["precision"] == "32-true"


def test_the_bounds_are_those_of_what_both_find_together(flat: Path, ended: Path) -> None:
    dataset = load_dataset(flat)
    request = json.loads((ended / "request.json").read_text())
    cases = [dataset.case(id) for id in request["validation"]]
    model = load(ended, device="cpu")
    alone = [load_model(ended / name, device="cpu") for name in ("two-stage", "global-to-local")]
    image = cases[0].read_image()
    answer, each = model.predict(image), [one.predict(image).landmarks.points for one in alone]
    np.testing.assert_allclose(answer.landmarks.points, np.mean(each, axis=0), atol=1e-6)
    assert (answer.spread >= np.linalg.norm(each[0] - each[1], axis=1) / 2).all(), "they disagree by that much"
    found = found_in(load_members([ended / "two-stage", ended / "global-to-local"]), cases, lambda *_: None)
    bounds = ErrorBounds.fitted(
        radial(found.points, found.references), found.spread, subjects=found.subjects, names=dataset.names
    )
    np.testing.assert_allclose(model.bounds.bound(answer.spread, 0.6), bounds.bound(answer.spread, 0.6), rtol=1e-5)
    assert not np.allclose(model.bounds.bound(answer.spread, 0.6), alone[0].bounds.bound(answer.spread, 0.6))


def test_a_stopped_run_goes_on_with_the_member_that_was_stopped(
    flat: Path, ended: Path, asked: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, said = copied(ended, tmp_path / "run"), list[str]()
    for name in ("ensemble.json", "error_bounds.safetensors"):
        (out / name).unlink()
    shutil.rmtree(out / "global-to-local")
    with pytest.raises(ModelError, match="its training has not finished"):
        load(out)
    with pytest.raises(SettingsError, match=r"another kind .*method was 'both', now 'two-stage'"):
        train(flat, out=out, method="two-stage", device="cpu")
    with monkeypatch.context() as stopped:
        stopped.setattr("anatomark.training.trainer.save_tensors", _stop)
        with pytest.raises(KeyboardInterrupt):
            train(flat, out=out, **asked)
    first = (out / "two-stage" / "model.safetensors").stat().st_mtime_ns
    train(flat, out=out, **asked, show=said.append)
    assert first == (out / "two-stage" / "model.safetensors").stat().st_mtime_ns
    for name in ("error_bounds.safetensors", "global-to-local/model.safetensors"):
        assert (out / name).read_bytes() == (ended / name).read_bytes(), name
    assert any(line.startswith("member 2 of 2: global-to-local") for line in said)
    assert any(line.startswith("both: mean radial error") for line in said)
    train(flat, out=out, **asked, show=said.append)
    assert "is finished" in said[-1]
    assert not any("fold" in line for line in said)


def _stop(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


def test_what_takes_a_model_takes_both(flat: Path, ended: Path, tmp_path: Path) -> None:
    dataset, run = load_dataset(flat), copied(ended, tmp_path / "run")
    table = predict_to_folder(run, [flat], split="test", out=tmp_path / "out", overlays=False).table
    assert evaluate(flat, table, model=run, split="test", samples=0)["n_cases"] == len(dataset.split("test"))
    check_references(flat, model=run, device="cpu")
    assert named_runs([run]) == {"run": run}
    told = about("run", load(run, device="cpu"), str(run))
    assert (told["method"], told["members"], told["folds"]) == ("two-stage, global-to-local", 2, 0)
    before = load(run, device="cpu").bounds
    again = calibrate(run, flat, device="cpu")
    np.testing.assert_allclose(again.bound(np.ones(4), 0.6), before.bound(np.ones(4), 0.6), err_msg="the same cases")
    assert "split test" in calibrate(run, flat, split="test", device="cpu").source
    with pytest.raises(SettingsError, match="learned from the subjects"):
        calibrate(run, flat, split="train", device="cpu")
    adapted = adapt(run, flat, split="test", out=tmp_path / "new", device="cpu")
    assert methods_of(read_cards(adapted.out)) == "two-stage, global-to-local"
    assert len(load(adapted.out, device="cpu").members) == 2


def test_what_cannot_be_trained_is_one_line_and_leaves_no_folder(
    flat: Path, asked: dict[str, Any], tmp_path: Path
) -> None:
    out = tmp_path / "run"

    def refused(message: str, *, settings: dict[str, Any], **more: Any) -> None:
        with pytest.raises(SettingsError, match=message):
            train(flat, out=out, **{**asked, "settings": {**asked["settings"], **settings}, **more})
        assert not out.exists()

    refused("3 folds of both methods", settings={}, folds=3)
    refused("preset 'noothout2020' is of one method", settings={}, preset="noothout2020")
    refused("no setting 'steps'", settings={"steps": 3})
    refused("stage local needs about .* set local_batch", settings={"local_batch": 10_000_000})


def test_each_has_half_of_the_time(
    flat: Path, asked: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[tuple[str, float, float]] = []
    monkeypatch.setattr(subject, "_seconds_together", lambda *_: 7.0)
    monkeypatch.setattr(subject, "_put_together", lambda *_: None)
    monkeypatch.setattr(
        subject,
        "train_from_cache",
        lambda data, request, out, show, began: given.append((out.name, request.settings.minutes, began)),
    )
    settings = {name: value for name, value in asked["settings"].items() if not name.endswith("_steps")}
    train(flat, out=tmp_path / "run", method="both", device="cpu", settings={**settings, "minutes": 1}, began=-1000.0)
    assert given == [("two-stage", 0.5, -1000.0), ("global-to-local", 0.5, -970.0 - 7.0)]


def test_an_ensemble_of_either_format(tmp_path: Path) -> None:
    ensemble = Ensemble((tmp_path / "a", tmp_path / "b"), "methods", PresenceModel((0.5,), 1.0, "x"))
    ensemble.save(tmp_path)
    assert read_ensemble(tmp_path) == ensemble
    (tmp_path / "ensemble.json").write_text('{"format": 1, "anatomark": "0.1", "folds": ["fold1"], "presence": null}')
    assert read_ensemble(tmp_path) == Ensemble((tmp_path / "fold1",), "folds")
    for text, said in (
        ('{"format": 3}', "has format 3, this version reads 2 and earlier"),
        ('{"format": 2, "kind": "sheep", "members": ["a"], "presence": null}', "does not describe an ensemble"),
    ):
        (tmp_path / "ensemble.json").write_text(text)
        with pytest.raises(ModelError, match=said):
            read_ensemble(tmp_path)
    assert read_ensemble(tmp_path / "elsewhere") is None

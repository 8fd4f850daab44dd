"""The method chosen by a short trial: by what, when there is none, and that a stopped run chooses once."""

import json
import math
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
import torch

from anatomark import load, load_dataset, train
from anatomark.cli.main import run as command
from anatomark.data.cache import open_cache
from anatomark.data.phantoms import make_phantoms
from anatomark.data.working import WorkingImage
from anatomark.errors import MissingExtraError, ModelError, SettingsError, UnknownNameError
from anatomark.methods import register
from anatomark.methods.interface import Located
from anatomark.training import auto as subject
from anatomark.training import estimates
from anatomark.training.choice import Trial, Tried, choose
from anatomark.training.data import data_of
from anatomark.training.estimate import Estimate
from anatomark.training.request import Request
from anatomark.training.roles import training_roles
from anatomark.training.run_folder import RunFolder
from anatomark.training.train import default_method
from tests.methods.nearest_case import NearestCase


class SameCase(NearestCase):
    """One that puts all landmarks where the first training case has them."""

    name: ClassVar[str] = "same-case"

    def locate(self, image: WorkingImage, device: torch.device, *, upto: str | None = None) -> list[Located]:
        (found,) = super().locate(image, device)
        return [replace(found, points_world=image.fine_grid.index_to_world(self.places[0] * image.fine.shape))]


register(SameCase)  # pyright: ignore[reportArgumentType]
QUICK = ("nearest-case", "same-case")  # methods that need no steps, for what does not depend on the methods
REASONS = {"first": "it is known to be better"}


@pytest.fixture(scope="module")
def flat(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_phantoms(tmp_path_factory.mktemp("flat"), ndim=2, cases=24, landmarks=3, shape=(40, 48), seed=4)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Only QUICK are tried, each of which is thought to take ten minutes."""
    assert NearestCase.name == QUICK[0]
    monkeypatch.setattr(subject, "CANDIDATES", QUICK)
    monkeypatch.setattr(subject, "REASONS", dict.fromkeys(QUICK, "it is preferred"))
    monkeypatch.setattr(subject, "estimate_cases", lambda *_: SimpleNamespace(seconds=600.0))
    return monkeypatch


def tried(method: str, *errors: float) -> Tried:
    return Tried(method, sum(errors) / len(errors), 1.0, {str(k): error for k, error in enumerate(errors)})


def stop(*_: object, **__: object) -> Any:
    raise KeyboardInterrupt


def test_the_lowest_error_is_chosen_unless_chance_explains_it() -> None:
    better = tried("second", 1.0, 1.2, 0.9, 1.1, 1.0, 1.3)
    clearly, hardly = (tried("first", *(e + d for e, d in zip(better.subjects.values(), more, strict=True)))
                       for more in ((0.5, 0.4, 0.6, 0.5, 0.4, 0.5), (0.5, -0.4, 0.6, -0.5, 0.4, -0.3)))  # fmt: skip
    assert choose([clearly, better], REASONS, 5.0) == ("second", "second goes on: it has the lowest error")
    name, because = choose([hardly, better], REASONS, 5.0)
    assert name == "first"
    assert "cannot be told from second" in because
    assert "it is known to be better" in because
    assert choose([better, clearly], REASONS, 5.0)[0] == "second", "the preferred one, which is the best as well"
    assert choose([hardly, better], REASONS, 1.09)[0] == "second", "the first one has learned nothing yet"
    assert choose([hardly, better], REASONS, 1.0)[1].startswith("first goes on: no method has learned more than")
    nowhere = Tried("first", math.nan, 1.0, {})
    assert choose([nowhere, better], REASONS, 5.0)[0] == "second"


def test_a_trial_decides_and_is_not_held_again(flat: Path, quick: pytest.MonkeyPatch, tmp_path: Path) -> None:
    out, said = tmp_path / "run", list[str]()
    real = subject._Trials._tried

    def second_stops(self: Any, request: Request, *rest: Any) -> Tried:
        return stop() if request.method.name == "same-case" else real(self, request, *rest)

    with quick.context() as stopped:
        stopped.setattr(subject._Trials, "_tried", second_stops)
        with pytest.raises(KeyboardInterrupt):
            train(flat, out=out, method="auto", device="cpu")
    first = Trial.read(out / "trial.json")
    assert [each.method for each in first.tried] == ["nearest-case"]
    assert first.seconds == pytest.approx(0.2 * 0.97 * 600 / 2)
    assert first.chosen is None
    with pytest.raises(SettingsError, match="method was 'auto', now 'same-case'"):
        train(flat, out=out, method="same-case", device="cpu")

    def goes_on(self: Any, request: Request, *rest: Any) -> Tried:
        assert request.method.name == "same-case", "the first one has been tried"
        return real(self, request, *rest)

    with quick.context() as stopped:
        stopped.setattr(subject._Trials, "_tried", goes_on)
        stopped.setattr(subject, "train_cases", stop)
        with pytest.raises(KeyboardInterrupt):
            train(flat, out=out, method="auto", device="cpu", show=said.append)
    trial = Trial.read(out / "trial.json")
    assert trial.tried[0] == first.tried[0]
    assert trial.chosen in QUICK
    assert sum("mean radial error" in line and "validation cases after" in line for line in said) == 2
    assert trial.because in said
    assert not (out / "trial").exists()
    assert (out / "cache" / "index.json").exists(), "the winner's images need not be prepared again"

    quick.setattr(subject._Trials, "_tried", stop)
    train(flat, out=out, method="auto", device="cpu")
    assert load(out, device="cpu").detector.name == trial.chosen
    assert Trial.read(out / "trial.json") == trial
    train(flat, out=out, method="auto", device="cpu", show=said.append)
    assert "is finished" in said[-1]


def test_what_cannot_be_tried_is_left_out(flat: Path, quick: pytest.MonkeyPatch, tmp_path: Path) -> None:
    said: list[str] = []
    plan, real = subject.plan_for, subject._Trials._tried

    def without_extra(request: Request, data: Any) -> Any:
        if request.method.name == "same-case":
            raise MissingExtraError("it needs a library")
        return plan(request, data)

    def diverged(self: Any, request: Request, *rest: Any) -> Tried:
        if request.method.name == "same-case":
            raise ModelError("the loss is nan")
        return real(self, request, *rest)

    with quick.context() as patched:
        patched.setattr(subject, "plan_for", without_extra)
        train(flat, out=tmp_path / "a", method="auto", device="cpu", show=said.append)
    assert "same-case is not tried: it needs a library" in said
    assert "nearest-case, without a trial: no other method can be tried" in said
    with quick.context() as patched:
        patched.setattr(subject._Trials, "_tried", diverged)
        train(flat, out=tmp_path / "b", method="auto", device="cpu", show=said.append)
    assert "  same-case: the loss is nan" in said
    assert {Trial.read(tmp_path / run / "trial.json").chosen for run in "ab"} == {"nearest-case"}


def test_a_method_that_begins_slowly_is_left_out_of_a_short_trial(
    flat: Path, quick: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    said: list[str] = []
    quick.setattr(subject, "LEAST_OF", {"nearest-case": 59.0})
    train(flat, out=tmp_path / "run", method="auto", device="cpu", show=said.append)
    assert "nearest-case is not tried: 58 s are too few for its trial; it takes 59" in said
    assert "same-case, without a trial: no other method can be tried" in said


@pytest.mark.parametrize(
    ("settings", "method", "words"),
    [
        ({"global_steps": 3}, "global-to-local", "no other method has these settings"),
        ({"joint_rank": 2}, "two-stage", "no other method has these settings"),
        ({"minutes": 1}, "unet-votes", r"2\.9 s for the trial of each are too few"),
        ({"validation_fraction": 0}, "unet-votes", "0 validation cases are too few"),
    ],
)
def test_where_there_is_nothing_to_choose_by(
    flat: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: dict[str, Any], method: str, words: str
) -> None:
    asked: list[Request] = []
    monkeypatch.setattr(subject, "train_cases", lambda dataset, roles, request, **_: asked.append(request))
    dataset, said = load_dataset(flat), list[str]()
    if "validation_fraction" in settings:
        dataset = replace(dataset, cases=dataset.split("train"))
    train(dataset, out=tmp_path / "run", method="auto", device="cpu", settings=settings, show=said.append)
    assert [(request.method.name, request.record()["method"]) for request in asked] == [(method, "auto")]
    assert re.search(f"{method}, without a trial: {words}", said[0])
    assert not list((tmp_path / "run").iterdir()), "nothing is begun before the training itself"


def test_a_stopped_trial_goes_on_within_its_time(
    flat: Path, tiny: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = load_dataset(flat)
    settings = {name: value for name, value in tiny.items() if not name.endswith("_steps")}
    request = Request.resolved("global-to-local", 2, preset=None, settings=settings, device="cpu")
    roles = training_roles(dataset, "train", None, 0.15, 0)
    data = data_of(dataset, roles, request.settings, cache=tmp_path)
    trials = subject._Trials(dataset, roles, data, RunFolder(tmp_path / "run"), 0.0, None)
    plans, failed = trials._plans([request])
    cache = trials._prepared([request], plans)["global-to-local"]
    assert not failed
    with monkeypatch.context() as stopped:
        stopped.setattr("anatomark.training.trainer.save_tensors", stop)
        with pytest.raises(KeyboardInterrupt):
            trials._tried(request, plans["global-to-local"], cache, 3.0)
    folder = trials.folder / "global-to-local"
    assert list(json.loads((folder / "budget.json").read_text())) == ["global"]
    found = trials._tried(request, plans["global-to-local"], cache, 3.0)
    assert found.method == "global-to-local"
    assert math.isfinite(found.error)
    assert (found.steps or 0) >= 2
    places = subject._guess(open_cache(cache))
    assert 0.5 < places < 20, "the phantoms lie alike, but not quite"
    assert set(found.subjects) == {case.subject for case in roles["validation"]}
    assert list(json.loads((folder / "budget.json").read_text())) == ["global", "local"]


def test_methods_that_cannot_be_had(flat: Path, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="auto chooses by cases that the folds then leave out"):
        train(flat, out=tmp_path / "run", method="auto", folds=3)
    with pytest.raises(UnknownNameError, match=r"no method 'bth'; there are: unet-votes, .*auto, both"):
        train(flat, out=tmp_path / "run", method="bth")
    with pytest.raises(SettingsError, match="no setting 'seeds', did you mean 'seed'"):
        train(flat, out=tmp_path / "run", method="auto", settings={"seeds": 1})
    assert not (tmp_path / "run").exists()


def test_a_command_without_a_method_takes_that_of_its_run(tmp_path: Path) -> None:
    assert default_method(tmp_path, None) == "auto"
    assert default_method(tmp_path, 5) == "unet-votes"
    for name, method in (("folds.json", "two-stage"), ("request.json", "same-case")):
        (tmp_path / name).write_text(json.dumps({"method": method}))
        assert default_method(tmp_path, None) == method
    (tmp_path / "request.json").write_text('{"method": 3}')
    assert default_method(tmp_path, None) == "two-stage"


def test_a_damaged_record(tmp_path: Path) -> None:
    path = tmp_path / "trial.json"
    for text in ("", "[]", '{"format": 9}', '{"format": 1, "tried": [3]}', '{"format": 1, "tried": [], "x": 1}'):
        path.write_text(text)
        with pytest.raises(SettingsError, match=r"trial\.json is damaged"):
            Trial.read(path)


@pytest.mark.parametrize(
    ("method", "tail"),
    [
        ("auto", "auto: 2.0 min for short trials, then one of these; with --minutes, 20% of them for the trials"),
        ("both", "both: 20 min all together, at most; a prediction takes 2 s"),
    ],
)
def test_an_estimate_has_a_part_for_each_method(
    flat: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    method: str,
    tail: str,
) -> None:
    monkeypatch.setattr(estimates, "estimate_cases", _ten_minutes)
    assert command(["train", str(flat), "--out", str(tmp_path / "run"), "--method", method, "--estimate"]) == 0
    shown = capsys.readouterr().out
    assert shown.strip().endswith(tail)
    assert ("estimate: global-to-local" in shown, "estimate: two-stage" in shown) == (True, True)
    assert ("heatmap is not tried: too large" in shown) == (method == "auto")
    assert not (tmp_path / "run").exists()


def _ten_minutes(dataset: Any, roles: Any, request: Request, show: Callable[[str], None]) -> Estimate:
    if request.method.name == "heatmap":
        raise SettingsError("too large")
    return Estimate(request.method.name, dataset.name, 3, 10, 5, "cpu", "32-true", (), 0, 0, 600, 1, 1, 1, 2)

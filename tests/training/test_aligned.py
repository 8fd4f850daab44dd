"""Training and prediction with alignment: a model carries its template, and what it says is in the image's world."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from anatomark import load, load_dataset, predict_to_folder, train
from anatomark.core.grid import Grid
from anatomark.core.image import Image
from anatomark.data import alignment
from anatomark.data.cache import CachedCase, open_cache, prepare
from anatomark.data.description import Dataset
from anatomark.data.phantoms import make_phantoms
from anatomark.data.working import working_image
from anatomark.errors import ModelError, RegistrationError, SettingsError
from anatomark.formats.images import write_image
from anatomark.methods.interface import Located
from anatomark.model import Model
from anatomark.training.own_predictions import radial
from anatomark.training.own_world import own_located, own_world


def failing(*_: object, **__: object) -> None:
    raise RegistrationError("they show other parts")


def stop(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


@pytest.fixture(scope="module", params=[2, 3], ids=["2D", "3D"])
def dataset(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    two = request.param == 2
    folder = tmp_path_factory.mktemp(f"aligned{request.param}")
    shape, spacing = ((80, 104), (2.0, 2.4)) if two else ((24, 32, 28), (5.0, 4.8, 7.0))
    options = {
        "shape": shape,
        "spacing": spacing,
        "absent": 0.0,
        "not_annotated": 0.0,
        "splits": {"train": 0.5, "val": 0.25, "test": 0.25},
    }
    return load_dataset(make_phantoms(folder, ndim=request.param, cases=4, landmarks=4, **options))


@pytest.fixture(scope="module")
def settings(tiny: dict[str, Any]) -> dict[str, Any]:
    return {**tiny, "global_steps": 10, "local_steps": 10, "validations": 1, "align": "affine"}


@pytest.fixture(scope="module")
def told() -> list[str]:
    return []


@pytest.fixture(scope="module")
def aligned_run(
    dataset: Dataset, settings: dict[str, Any], told: list[str], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    told.clear()
    out = tmp_path_factory.mktemp("aligned_runs") / "run"
    return train(dataset, out=out, device="cpu", settings=settings, show=told.append)


@pytest.fixture(scope="module")
def model(aligned_run: Path) -> Model:
    return load(aligned_run, device="cpu")


@pytest.fixture(scope="module")
def image(dataset: Dataset) -> Image:
    return dataset.split("test")[0].read_image()


def test_the_run_and_the_model_name_their_template(aligned_run: Path, model: Model, told: list[str]) -> None:
    chosen = json.loads((aligned_run / "settings.json").read_text())
    card = json.loads((aligned_run / "model.json").read_text())
    assert model.members[0].alignment is not None
    assert chosen["training"]["template"] == card["alignment"]["case"] == model.members[0].alignment.case
    assert chosen["network"]["align"] == card["network"]["align"] == "affine"
    assert chosen["training"]["template"] in ("case_000", "case_001")
    assert f"  template = {chosen['training']['template']}" in "\n".join(told)
    assert "of the template on 1 validation case" in "\n".join(told)
    assert not [line for line in told if "not aligned" in line]


def test_what_is_found_is_in_the_images_world(model: Model, image: Image) -> None:
    placed = model.members[0].place(image)
    assert placed.failure is None
    s = model.detector.network
    there = model.detector.locate(placed.working_image(s.sampling), torch.device("cpu"))
    here, found = model.locate(image), model.predict(image)
    assert found.warning is None
    assert len(here) == len(there) == 2
    for one, other in zip(here, there, strict=True):
        np.testing.assert_allclose(placed.to_template(one.points_world), other.points_world, rtol=0, atol=1e-6)
        np.testing.assert_array_equal(one.mass, other.mass)
    np.testing.assert_array_equal(found.landmarks.points, here[-1].points_world)
    np.testing.assert_array_equal(found.spread, here[-1].spread)
    (first,) = model.locate(image, upto="global")
    np.testing.assert_array_equal(first.points_world, here[0].points_world)


def test_a_turned_image_is_seen_as_the_straight_one(
    model: Model, image: Image, dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Turned by 25 degrees and moved, and sampled anew along the world's axes: only registration can bring it back."""
    d = model.ndim
    matrix = np.eye(d + 1)
    matrix[:d, :d] = Rotation.from_rotvec((0, 0, np.deg2rad(25))).as_matrix()[:d, :d]
    matrix[:d, d] = (30.0, -45.0, 12.0)[:d]
    content = Image(image.array, Grid(image.grid.shape, matrix @ image.grid.affine))
    turned = content.resampled(content.grid.enclosing(np.eye(d)[:, ::-1], min(image.grid.spacing)))
    assert model.members[0].alignment is not None
    case = next(case for case in dataset.cases if case.id == model.members[0].alignment.case)
    fixed = Located(case.reference.points, np.ones(len(model.names)), np.ones(len(model.names)))

    def located(_: object, images: Sequence[object], device: object) -> list[list[Located]]:
        return [[fixed, fixed] for _ in images]  # all it knows is the template

    monkeypatch.setattr(type(model.detector), "locate_together", located)

    straight, found = model.predict(image), model.predict(turned)
    assert straight.warning is found.warning is None
    expected = straight.landmarks.points @ matrix[:d, :d].T + matrix[:d, d]
    error = np.linalg.norm(found.landmarks.points - expected, axis=1)
    assert error.max() < max(image.grid.spacing)
    true = dataset.split("test")[0].reference.points
    assert np.linalg.norm(straight.landmarks.points - true, axis=1).mean() < 2 * max(image.grid.spacing)
    np.testing.assert_allclose(found.spread, straight.spread, rtol=0.03)


def test_a_saved_model_carries_its_template(model: Model, image: Image, tmp_path: Path) -> None:
    model.save(tmp_path)
    wanted = ["error_bounds.safetensors", "model.json", "model.safetensors", "suitability.safetensors"]
    assert sorted(p.name for p in tmp_path.iterdir()) == wanted
    again, expected = load(tmp_path, device="cpu").predict(image), model.predict(image)
    assert again.landmarks == expected.landmarks
    np.testing.assert_array_equal(again.presence, expected.presence)
    np.testing.assert_array_equal(again.spread, expected.spread)


def test_a_template_that_does_not_fit_is_no_model(model: Model, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    def saved(name: str) -> Path:
        (tmp_path / name).mkdir()
        model.save(tmp_path / name)
        return tmp_path / name

    def changed_card(name: str, **changes: Any) -> Path:
        card = json.loads((saved(name) / "model.json").read_text())
        (tmp_path / name / "model.json").write_text(json.dumps(card | changes))
        return tmp_path / name

    assert model.members[0].alignment is not None
    grid = model.members[0].alignment.template.grid
    for name, value in (
        ("none", None),
        ("kind", {"kind": "rigid", "case": "a", "grid": grid.to_dict()}),
        ("grid", {"kind": "affine", "case": "a", "grid": {"shape": [3]}}),
        ("unit", {"kind": "affine", "case": "a", "grid": grid.to_dict() | {"unit": "px"}}),
    ):
        with pytest.raises(ModelError, match="does not describe a model"):
            load(changed_card(name, alignment=value))
    for name, change in (("missing", None), ("float", torch.zeros(grid.shape)), ("small", torch.zeros(1).byte())):
        file = saved(name) / "model.safetensors"
        tensors = load_file(file)
        del tensors["alignment.template"]
        save_file(tensors if change is None else tensors | {"alignment.template": change}, file)
        with pytest.raises(ModelError, match="template"):
            load(tmp_path / name)
    strange = saved("strange") / "model.safetensors"
    save_file(load_file(strange) | {"alignment.other": torch.zeros(1)}, strange)
    with pytest.raises(ModelError, match="foreign tensors"):
        load(tmp_path / "strange")


def test_an_image_that_cannot_be_aligned_is_predicted_as_it_lies_and_told(
    aligned_run: Path, model: Model, image: Image, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from typer.testing import CliRunner

    from anatomark.cli.main import app

    noise = Image(np.random.default_rng(0).normal(0, 90, image.array.shape).astype(np.int16), image.grid)
    s = model.detector.network
    working = working_image(noise, s.sampling)
    expected = model.detector.locate(working, torch.device("cpu"))[-1]
    found = model.predict(noise)
    np.testing.assert_array_equal(found.landmarks.points, expected.points_world)
    np.testing.assert_array_equal(found.spread, expected.spread)
    assert found.warning is not None
    assert found.warning.startswith("not aligned to case_00")
    assert found.warning.endswith("; predicted unaligned")

    file = tmp_path / "noise.nii.gz" if model.ndim == 3 else tmp_path / "noise.mha"
    write_image(noise, file)
    summary = predict_to_folder(model, [file], out=tmp_path / "out", overlays=False)
    assert list(summary.warnings) == summary.predicted == ["noise"]
    assert summary.warnings["noise"] == f"{file}: {found.warning}"
    done = CliRunner().invoke(
        app, ["predict", str(aligned_run), str(file), "--out", str(tmp_path / "cli"), "--no-overlays"]
    )
    assert done.exit_code == 0
    assert f"warning: {file}: not aligned to" in " ".join(done.stderr.split())


def test_training_tells_which_cases_could_not_be_aligned(
    dataset: Dataset, settings: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(alignment, "register_linear", failing)
    told: list[str] = []
    few = {**settings, "align": "rigid", "template": "case_001", "global_steps": 1, "local_steps": 1}
    model = load(train(dataset, out=tmp_path / "run", device="cpu", settings=few, show=told.append), device="cpu")
    lines = [line for line in told if "not aligned" in line]
    assert lines == [f"case_00{k}: not aligned to case_001: they show other parts; used unaligned" for k in range(3)]
    assert model.members[0].alignment is not None
    assert (model.members[0].alignment.kind, model.members[0].alignment.case) == ("rigid", "case_001")


def test_a_stopped_run_keeps_its_template(
    dataset: Dataset, settings: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(alignment, "register_linear", lambda *_, **__: np.eye(dataset.ndim + 1))
    monkeypatch.setattr("anatomark.training.template.most_typical", lambda _: 1)
    few = {**settings, "global_steps": 1, "local_steps": 1}
    with monkeypatch.context() as stopped:
        stopped.setattr("anatomark.training.loop.StageLoop.run", stop)
        with pytest.raises(KeyboardInterrupt):
            train(dataset, out=tmp_path / "run", device="cpu", settings=few)
    monkeypatch.setattr(
        "anatomark.training.template.most_typical", lambda _: 0
    )  # as if annotations had changed meanwhile
    run = train(dataset, out=tmp_path / "run", device="cpu", settings=few)
    again = load(run, device="cpu")
    assert again.members[0].alignment is not None
    assert again.members[0].alignment.case == "case_001"


def test_an_unknown_template_makes_no_run(dataset: Dataset, settings: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(
        SettingsError, match=r"template='cas_001' is not a training case of .* did you mean 'case_001'\?"
    ):
        train(dataset, out=tmp_path / "run", device="cpu", settings={**settings, "template": "cas_001"})
    with pytest.raises(SettingsError, match="align='nearly'"):
        train(dataset, out=tmp_path / "run", device="cpu", settings={**settings, "align": "nearly"})
    assert not (tmp_path / "run").exists()


def test_images_that_were_prepared_unaligned_are_refused(dataset: Dataset, settings: dict[str, Any]) -> None:
    from anatomark.data.cache import Cache
    from anatomark.methods.global_to_local.plan import plan
    from anatomark.methods.global_to_local.settings import GlobalToLocalSettings
    from anatomark.methods.interface import DataFacts
    from anatomark.training.run import _require_alignment

    grid = dataset.cases[0].read_grid().canonical()
    planned = plan(GlobalToLocalSettings(**settings), DataFacts((grid,), len(dataset.names), False, 2**34))
    with pytest.raises(SettingsError, match="align='affine', but the prepared images are not"):
        _require_alignment(planned, Cache(dataset.names, (), (), True), print)


def test_calibration_measures_errors_and_spreads_in_the_images_own_world(
    model: Model, dataset: Dataset, tmp_path: Path
) -> None:
    """In the world of a template twice as large, all lengths are others; the bounds are of the image's."""
    case = dataset.split("val")[0]
    s = model.detector.network
    assert model.members[0].alignment is not None
    template = dataset.case(model.members[0].alignment.case)
    prepare(dataset, {"validation": [case]}, tmp_path, sampling=s.sampling, align="affine", template=template)
    (cached,) = open_cache(tmp_path).cases
    assert cached.matrix is not None
    found = model.predict(case.read_image())

    def own_lengths(case: CachedCase) -> tuple[np.ndarray, np.ndarray]:
        last = own_located(case, model.detector, torch.device("cpu"))[-1]
        return radial(last.points_world, own_world(case, case.points_world)), last.spread

    errors, spread = own_lengths(cached)
    np.testing.assert_allclose(errors, radial(found.landmarks.points, case.reference.points), rtol=1e-6)
    np.testing.assert_allclose(spread, found.spread, rtol=1e-6)

    twice = np.diag([2.0] * model.ndim + [1.0]) @ cached.matrix
    far = replace(cached, matrix=twice)
    np.testing.assert_allclose(own_lengths(far), (errors / 2, spread / 2), rtol=1e-6)

"""What an estimate says before a training, and what neither it nor a training begins."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from anatomark import load, load_dataset
from anatomark.cli.main import run as command
from anatomark.core.grid import Grid
from anatomark.data.phantoms import make_phantoms
from anatomark.errors import ImageError, SettingsError
from anatomark.methods import method_class
from anatomark.methods.interface import DataFacts
from anatomark.training.estimate import Estimate, estimate
from anatomark.training.memory import GIB, cache_bytes, require_room, stage_memory
from anatomark.training.request import resolve_settings
from anatomark.training.train import train

SHORT = {"global_steps": 12, "local_steps": 12}
TINY_TWO_STAGE = {"channels": [[4, 4], [6]], "hidden": [8], "rank": 2, "stage1_batch": 2, "stage2_batch": 1}


def needs(
    method: str, settings: dict[str, Any], *, ndim: int = 2, landmarks: int = 5, free: float = 64 * GIB
) -> dict[str, Any]:
    """{stage: StageMemory} of a training on images of a usual size."""
    kind: Any = method_class(method)
    facts = facts_of(ndim, landmarks, free)
    planned = kind.plan(resolve_settings(kind, ndim, None, settings), facts, on_gpu=False)
    return {need.name: need for need in stage_memory(kind, planned, facts, "cpu")}


def facts_of(ndim: int, landmarks: int, free: float) -> DataFacts:
    grid = Grid.from_geometry((160, 208) if ndim == 2 else (40, 56, 48), spacing=(1.0, 1.2, 2.0)[:ndim])
    return DataFacts((grid,) * 4, landmarks, False, free)


@pytest.fixture(scope="module", autouse=True)
def short_trials() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("anatomark.training.estimate.TRIAL_SECONDS", 0.3)
        yield


@pytest.fixture(scope="module")
def told(phantoms: Path, tiny: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> tuple[Estimate, list[str]]:
    """An estimate in 2D and in 3D, and what it said meanwhile."""
    said: list[str] = []
    return estimate(phantoms, settings=tiny | SHORT, device="cpu", show=said.append), said


def test_parameters_are_those_of_the_trained_networks(told: tuple[Estimate, list[str]], run: Path) -> None:
    networks = load(run, device="cpu").detector.networks
    found = {stage.name: stage.parameters for stage in told[0].stages}
    assert found["global"] == sum(p.numel() for p in networks["global"].parameters())
    assert found["local"] == sum(p.numel() for p in networks["local"].parameters())


def test_an_estimate_holds_together(told: tuple[Estimate, list[str]], phantoms: Path) -> None:
    found, said = told
    dataset = load_dataset(phantoms)
    assert (found.training_cases, found.validation_cases) == (len(dataset.split("train")), len(dataset.split("val")))
    assert [stage.steps for stage in found.stages] == [12, 12]
    assert len(said) == 3
    numbers = [v for v in dataclasses.asdict(found).values() if isinstance(v, float)]
    numbers += [v for s in found.stages for v in dataclasses.asdict(s).values() if isinstance(v, float)]
    assert all(0 <= value < float("inf") for value in numbers)
    parts = sum(stage.seconds + stage.validation_seconds for stage in found.stages)
    assert found.seconds > parts > 0
    assert found.free_bytes > found.training_bytes > found.prediction_bytes / 2 > 0.05 * GIB
    assert 0.5 < found.training_bytes / max(stage.bytes for stage in found.stages) < 2  # shapes alone, and measured


def test_a_person_reads_all_of_it(told: tuple[Estimate, list[str]]) -> None:
    text = told[0].text()
    for word in ("estimate: global-to-local on phantoms_", "parameters", "global ", "local ", "all together", "GiB"):
        assert word in text
    assert max(map(len, text.splitlines())) < 130


def test_folds_are_that_many_trainings_on_fewer_cases(
    told: tuple[Estimate, list[str]], phantoms: Path, tiny: dict[str, Any]
) -> None:
    one = told[0]
    found = estimate(phantoms, settings=tiny | SHORT, device="cpu", folds=4)
    assert (one.folds, found.folds) == (1, 4)
    assert found.training_cases == one.training_cases - one.training_cases // 4
    assert "all 4 folds" in found.text()
    assert "folds" not in one.text()
    hours = dataclasses.replace(one, stages=(), start_seconds=0, prepare_seconds=0, finish_seconds=3600, folds=5)
    lines = hours.text().splitlines()
    assert any("all 5 folds" in line and "300 min" in line for line in lines)
    assert any("all together" in line and "60 min" in line for line in lines)
    with pytest.raises(SettingsError, match="folds of"):
        estimate(phantoms, settings=tiny | SHORT, device="cpu", folds=1)


@pytest.mark.parametrize("method", ["global-to-local", "two-stage"])
@pytest.mark.parametrize("ndim", [2, 3])
def test_two_thousand_landmarks_need_more(method: str, ndim: int) -> None:
    settings = {"channels": [[4, 4], [6]]} if method == "two-stage" else {"local_landmarks_per_step": 5}
    few, many = (needs(method, settings, ndim=ndim, landmarks=n) for n in (5, 2000))
    for stage, need in few.items():
        assert many[stage].parameters > need.parameters
        assert many[stage].bytes > need.bytes


def test_memory_grows_with_the_batch_and_the_window() -> None:
    base = {"local_batch": 2, "local_window": (64, 64), "global_batch": 2}
    small = needs("global-to-local", base)
    batch = needs("global-to-local", base | {"local_batch": 8, "global_batch": 8})
    window = needs("global-to-local", base | {"local_window": (128, 128)})
    for stage in ("global", "local"):
        assert batch[stage].bytes > small[stage].bytes
        assert batch[stage].fixed_bytes == small[stage].fixed_bytes
    assert window["local"].bytes - window["local"].fixed_bytes > 3 * (
        small["local"].bytes - small["local"].fixed_bytes
    ), "four times the elements"
    assert window["global"].bytes == small["global"].bytes


def test_a_moment_of_the_optimizer_takes_as_much_as_the_weights() -> None:
    plain, more = (needs("global-to-local", {"amsgrad": on})["global"] for on in (False, True))
    assert more.bytes - plain.bytes == pytest.approx(4 * plain.parameters)


def test_frozen_weights_have_no_moments() -> None:
    found = needs("two-stage", TINY_TWO_STAGE)
    assert found["stage2_frozen"].parameters == found["stage2"].parameters
    assert found["stage2_frozen"].bytes < found["stage2"].bytes


def test_images_left_on_the_disk_take_no_memory() -> None:
    kind: Any = method_class("global-to-local")
    facts = facts_of(2, 5, GIB)
    planned = kind.plan(kind.Settings(), facts, on_gpu=False)
    assert cache_bytes(planned, facts.grids) == 4 * 2 * 160 * 208 * 2, "four images, two levels of float16"
    assert cache_bytes(planned.model_copy(update={"cache_memory_gib": 0.0}), facts.grids) == 0


TOO_LARGE = [
    (
        {"global_batch": 60},
        r"stage global needs about [\d.]+ GiB, 1\.0 GiB are free; set global_batch=(\d+) or a smaller",
    ),
    ({"local_batch": 600}, r"stage local needs .* set local_batch=(\d+) or a smaller local_window"),
    (
        {"local_landmarks_per_step": 400, "local_batch": 1},
        r"stage local needs .* set local_landmarks_per_step=(\d+) or ",
    ),
    (
        {"local_channels": [[300, 300], [600]], "local_batch": 1},
        r"stage local needs .* parameters are too many, set a smal",
    ),
]


@pytest.mark.parametrize(("settings", "message"), TOO_LARGE)
def test_what_cannot_fit_is_refused_and_the_setting_named(settings: dict[str, Any], message: str) -> None:
    kind: Any = method_class("global-to-local")
    facts = facts_of(2, 400, GIB)
    small = {"local_landmarks_per_step": 1, "global_batch": 1, "local_batch": 1, "local_window": (64, 64)}
    planned = kind.plan(kind.Settings(**{**small, "local_channels": [[2, 2]], **settings}), facts, on_gpu=False)
    with pytest.raises(SettingsError, match=message) as raised:
        require_room(kind, planned, facts, "cpu")
    assert "\n" not in str(raised.value)
    name, _, value = str(raised.value).partition("; set ")[2].partition(" ")[0].partition("=")
    if value:  # what it says to set fits, and one more does not
        require_room(kind, planned.model_copy(update={name: int(value)}), facts, "cpu")
        with pytest.raises(SettingsError):
            require_room(kind, planned.model_copy(update={name: int(value) + 1}), facts, "cpu")


def test_neither_begins_what_cannot_fit(phantoms: Path, tiny: dict[str, Any], tmp_path: Path) -> None:
    settings = {**tiny, "global_batch": 10_000_000}
    said: list[str] = []
    refused = r"training stage global needs about .* set global_batch=\d+ or a smaller"
    with pytest.raises(SettingsError, match=refused):
        estimate(phantoms, settings=settings, device="cpu", show=said.append)
    with pytest.raises(SettingsError, match=refused):
        train(phantoms, out=tmp_path / "run", settings=settings, device="cpu")
    assert not any("trying" in line for line in said), "no trial of what shapes alone tell"
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_image_is_told_in_one_line(tmp_path: Path, tiny: dict[str, Any]) -> None:
    dataset = make_phantoms(tmp_path / "set", ndim=3, cases=4, landmarks=3, shape=(16, 20, 18), splits={"train": 1.0})
    for path in (tmp_path / "set" / "images").iterdir():
        path.write_bytes(path.read_bytes()[:-900])
    with pytest.raises(ImageError, match="case_00"):
        estimate(dataset, settings=tiny, device="cpu")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "ndim", "settings"),
    [
        ("two-stage", 3, {**TINY_TWO_STAGE, "stage1_steps": 5, "frozen_steps": 5, "stage2_steps": 5}),
        ("two-stage", 2, {**TINY_TWO_STAGE, "align": "rigid", "cache_memory_gib": 0}),
        ("atlas", 2, {"registration": "affine", "atlases": 3, "nearest": 1}),
    ],
)
def test_the_command_prints_its_sections_and_leaves_no_folder(
    method: str, ndim: int, settings: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shape = (40, 48) if ndim == 2 else (16, 20, 18)
    dataset = make_phantoms(tmp_path / "set", ndim=ndim, cases=6, landmarks=3, shape=shape)
    sets = [text for name, value in settings.items() for text in ("--set", f"{name}={value}")]
    before = sorted(tmp_path.rglob("*"))
    arguments = ["train", str(dataset), "--out", str(tmp_path / "run"), "--method", method, "--device", "cpu", *sets]
    assert command([*arguments, "--estimate"]) == 0
    shown = capsys.readouterr().out
    for word in (f"estimate: {method}", "time", "preparing images", "all together", "memory", "a prediction"):
        assert word in shown
    assert ("stage2_frozen" in shown) == (method == "two-stage")
    assert sorted(tmp_path.rglob("*")) == before

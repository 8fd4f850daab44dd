"""What an estimate says before a training, and what neither it nor a training begins."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from anatomark import load, load_dataset
from anatomark.cli.main import run as command
from anatomark.core.grid import Grid
from anatomark.data.phantoms import make_phantoms
from anatomark.errors import ImageError, SettingsError
from anatomark.methods import detector_class
from anatomark.methods.interface import DataFacts, StagePlan
from anatomark.methods.memory import GIB, require_memory, too_large
from anatomark.training.estimate import Estimate, estimate
from anatomark.training.request import resolve_settings
from anatomark.training.train import train

SHORT = {"global_steps": 12, "local_steps": 12}
TINY_TWO_STAGE = {
    "channels": [[4, 4], [6]],
    "head_channels": [8],
    "joint_rank": 2,
    "stage1_batch": 2,
    "stage2_batch": 1,
}

TWO_D = pytest.mark.parametrize("phantoms", [2], ids=["2D"], indirect=True)  # 3D takes the same way, and long


def planned(method: str, settings: dict[str, Any], *, ndim: int = 2, landmarks: int = 5, free: float = 64 * GIB) -> Any:
    """The plan for images of a usual size; it raises where a stage does not fit into `free` bytes."""
    kind = detector_class(method)
    return kind.plan(resolve_settings(kind, ndim, None, settings), facts_of(ndim, landmarks, free))


def facts_of(ndim: int, landmarks: int, free: float) -> DataFacts:
    grid = Grid.from_geometry((160, 208) if ndim == 2 else (40, 56, 48), spacing=(1.0, 1.2, 2.0)[:ndim])
    return DataFacts((grid,) * 4, landmarks, False, free)


@pytest.fixture(scope="module", autouse=True)
def short_trials() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("anatomark.training.estimate.TRIAL_CASES", 2)
        yield


@pytest.fixture(scope="module")
def told(phantoms: Path, tiny: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> tuple[Estimate, list[str]]:
    """An estimate in 2D and in 3D, and what it said meanwhile."""
    said: list[str] = []
    return estimate(phantoms, settings=tiny | SHORT, device="cpu", show=said.append), said


@TWO_D
def test_parameters_are_those_of_the_trained_networks(told: tuple[Estimate, list[str]], run: Path) -> None:
    networks: Any = load(run, device="cpu").detector
    networks = networks.networks
    found = {stage.name: stage.parameters for stage in told[0].stages}
    assert found["global"] == sum(p.numel() for p in networks["global"].parameters())
    assert found["local"] == sum(p.numel() for p in networks["local"].parameters())


@TWO_D
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
    assert found.training_bytes >= max(stage.bytes for stage in found.stages)


@TWO_D
def test_a_person_reads_all_of_it(told: tuple[Estimate, list[str]]) -> None:
    text = told[0].text()
    for word in ("estimate: global-to-local on phantoms_", "parameters", "global ", "local ", "all together", "GiB"):
        assert word in text
    assert max(map(len, text.splitlines())) < 130


@TWO_D
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


TOO_LARGE = [
    (
        {"global_batch": 600},
        r"stage global needs about [\d.]+ GiB, 1\.0 GiB are free; set global_batch=(\d+) or a smaller global_crop",
    ),
    ({"local_batch": 600}, r"stage local needs .* set local_batch=(\d+) or a smaller local_landmarks_per_step"),
]


@pytest.mark.parametrize(("settings", "message"), TOO_LARGE)
def test_what_cannot_fit_is_refused_and_the_setting_named(settings: dict[str, Any], message: str) -> None:
    small = {"local_landmarks_per_step": 1, "global_batch": 1, "local_batch": 1, "local_window": (64, 64)}
    few = small | {"local_channels": [[2, 2]] if "global_batch" in settings else [[16, 16], [16]]}
    with pytest.raises(SettingsError, match=message) as raised:
        planned("global-to-local", few | settings, landmarks=400, free=GIB)
    assert "\n" not in str(raised.value)
    name, _, value = str(raised.value).partition("; set ")[2].partition(" ")[0].partition("=")
    planned("global-to-local", few | {name: int(value)}, landmarks=400, free=GIB)  # what it says to set fits,
    with pytest.raises(SettingsError):  # and one more does not
        planned("global-to-local", few | {name: int(value) + 1}, landmarks=400, free=GIB)


def test_where_not_even_one_case_fits_another_setting_is_named() -> None:
    stage = StagePlan(10, 4, 1e-3, "cosine", case_bytes=3 * GIB, smaller=("batch", "crop", "channels"))
    staged: Any = SimpleNamespace(stages=("one",), stage_plan=lambda name: stage)
    require_memory(staged, 12 * GIB)
    with pytest.raises(SettingsError, match=r"stage one needs about 12\.0 GiB, 2\.0 GiB are free; set batch=1 and a "):
        require_memory(staged, 2 * GIB)
    assert "set batch=3 or a smaller crop or channels" in str(too_large("one", 12 * GIB, 9 * GIB, stage))


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
        pytest.param(
            "two-stage",
            3,
            {**TINY_TWO_STAGE, "stage1_steps": 5, "frozen_steps": 5, "stage2_steps": 5},
            marks=pytest.mark.long,
        ),
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

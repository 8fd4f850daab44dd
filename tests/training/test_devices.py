"""Training by two processes: the same as by one, to be stopped and resumed as one, and started in several ways."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from anatomark.cli.main import run as command
from anatomark.data.phantoms import make_phantoms
from anatomark.errors import SettingsError
from anatomark.training.processes import Processes, device_counts
from tests.training.on_devices import planned

ROOT = Path(__file__).resolve().parents[2]
METHODS = ("unet-votes", "global-to-local", "two-stage", "heatmap")
STAGES = {
    "unet-votes": ("votes",),
    "global-to-local": ("global", "local"),
    "two-stage": ("stage1", "stage2_frozen", "stage2"),
    "heatmap": ("heatmap",),
}
PATIENCE = 900  # seconds on a busy machine
OF_CLUSTERS = ("SLURM", "LOCAL_", "RANK", "WORLD_SIZE", "MASTER_", "GROUP_", "NODE_RANK", "TORCHELASTIC")


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_phantoms(tmp_path_factory.mktemp("flat"), ndim=2, cases=12, landmarks=5, seed=4)


def environment(**more: str) -> dict[str, str]:
    """That of a program outside of any cluster, and `more`."""
    own = {name: value for name, value in os.environ.items() if not name.startswith(OF_CLUSTERS)}
    return {**own, "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)]), "OMP_NUM_THREADS": "1", **more}


def begun(*words: object, **more: str) -> subprocess.Popen[str]:
    """A Python program in which warnings are errors; its output has an end when all its processes have."""
    line = [sys.executable, "-W", "error", *map(str, words)]
    pipe = subprocess.PIPE
    return subprocess.Popen(line, stdout=pipe, stderr=pipe, text=True, cwd=ROOT, env=environment(**more))


def ended(*programs: subprocess.Popen[str]) -> list[tuple[int, str, str]]:
    """The exit status, output and errors of each."""
    try:
        said = [program.communicate(timeout=PATIENCE) for program in programs]
    finally:
        for program in programs:
            program.kill()
    return [(program.returncode, *each) for program, each in zip(programs, said, strict=True)]


def trained(dataset: Path, folder: Path, devices: int, *methods: str, **more: str) -> tuple[int, str, str]:
    folder.mkdir(exist_ok=True)
    return ended(begun("-m", "tests.training.on_devices", dataset, folder, devices, *methods, **more))[0]


def kept(folder: Path, method: str, stage: str, rank: int = 0) -> dict[str, dict[str, torch.Tensor]]:
    return torch.load(folder / f"{method}-{stage}-{rank}.pt", weights_only=True)


def log_of(run: Path) -> list[dict[str, Any]]:
    """The lines of a log, without times."""
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if "second" not in k} for line in lines]


def require_alike(
    found: Mapping[str, torch.Tensor], wanted: Mapping[str, torch.Tensor], tolerance: float = 0.0
) -> None:
    """All tensors are equal, up to a part of the largest number in any."""
    assert found.keys() == wanted.keys()
    largest = max(float(each.abs().max()) for each in wanted.values())
    for name, each in wanted.items():
        assert float((found[name] - each).abs().max()) <= tolerance * largest, name


@pytest.fixture(scope="module")
def by_two(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All methods trained by two processes."""
    folder = tmp_path_factory.mktemp("two")
    assert trained(dataset, folder, 2, *METHODS) == (0, "", "")
    return folder


@pytest.mark.slow
def test_two_processes_take_the_steps_of_one(dataset: Path, by_two: Path, tmp_path: Path) -> None:
    """Gradients, weights, choice of weights and log, of parts of a batch that are not of equal size, too."""
    status, _, errors = trained(dataset, tmp_path, 1, *METHODS)
    assert (status, errors) == (0, "")
    for method in METHODS:
        assert log_of(by_two / method) == log_of(tmp_path / method)
        for stage in STAGES[method]:
            one, first, second = kept(tmp_path, method, stage), *(kept(by_two, method, stage, k) for k in (0, 1))
            require_alike(second["weights"], first["weights"])
            require_alike(first["gradients"], one["gradients"], 1e-10)
            require_alike(first["weights"], one["weights"], 1e-9)


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.parametrize(("dies", "resuming"), [("0,11", 2), ("1,11", 1)])
def test_a_process_that_dies_ends_the_others_and_any_number_resumes(
    dataset: Path, by_two: Path, tmp_path: Path, dies: str, resuming: int
) -> None:
    status, _, errors = trained(dataset, tmp_path, 2, "unet-votes", DIES=dies)  # ends: no process is left
    assert status != 0
    if dies.startswith("1"):
        assert "another process of this training has ended" in errors or "terminated with code -9" in errors
    assert "Traceback" not in errors
    assert (tmp_path / "unet-votes" / "checkpoint.safetensors").exists()
    status, said, errors = trained(dataset, tmp_path, resuming, "unet-votes")
    assert (status, errors) == (0, "")
    assert "resuming from step 10" in said
    found, wanted = (kept(folder, "unet-votes", "votes")["weights"] for folder in (tmp_path, by_two))
    require_alike(found, wanted, 0.0 if resuming == 2 else 1e-9)
    assert log_of(tmp_path / "unet-votes") == log_of(by_two / "unet-votes")


@pytest.mark.slow
@pytest.mark.long
def test_slurm_tells_its_tasks_who_they_are(dataset: Path, by_two: Path, tmp_path: Path) -> None:
    """By its variables; srun itself is not there."""
    variables = {
        "SLURM_JOB_ID": str(10_000 + os.getpid() % 10_000),
        "SLURM_JOB_NAME": "landmarks",
        "SLURM_NTASKS": "2",
        "SLURM_NTASKS_PER_NODE": "2",
        "SLURM_STEP_NUM_TASKS": "2",
        "SLURM_STEP_NUM_NODES": "1",
        "SLURM_NNODES": "1",
        "SLURM_NODEID": "0",
        "SLURM_NODELIST": "127.0.0.1",
    }
    program = ("-m", "tests.training.on_devices", dataset, tmp_path, "auto", "unet-votes")
    tasks = [begun(*program, **variables, SLURM_PROCID=str(k), SLURM_LOCALID=str(k)) for k in range(2)]
    assert ended(*tasks) == [(0, "", "")] * 2
    for rank in range(2):
        wanted = kept(by_two, "unet-votes", "votes", rank)["weights"]
        require_alike(kept(tmp_path, "unet-votes", "votes", rank)["weights"], wanted)


@pytest.mark.slow
@pytest.mark.long
def test_the_command_trains_under_torchrun_to_one_model(dataset: Path, tmp_path: Path) -> None:
    settings = {"channels": [4, 6, 8], "crop": [48, 56], "batch": 3, "steps": 4, "validations": 2}
    given = [text for k, v in settings.items() for text in ("--set", f"{k}={json.dumps(v)}")]
    asked = ["train", dataset, "--out", tmp_path / "run", "--method", "unet-votes", "--device", "cpu", *given]
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", 2, "-m", "anatomark"]
    ((status, said, errors),) = ended(begun(*torchrun, *asked))
    assert status == 0, errors
    assert said.count(f"model: {tmp_path / 'run'}") == 1
    assert [line["step"] for line in log_of(tmp_path / "run")] == [2, 4, 4]
    assert (tmp_path / "run" / "model.json").exists()


# --- how many, and who says so ----------------------------------------------------------------------------------------


def test_the_number_of_devices_is_what_was_asked_for() -> None:
    assert device_counts("cpu", None, None, {}) == (1, 1)
    assert device_counts("cpu", "auto", None, {}) == (1, 1)
    assert device_counts("cpu", "3", None, {}) == device_counts("cpu", 3, 1, {}) == (3, 1)
    by_hand = {"MASTER_ADDR": "here", "MASTER_PORT": "29500", "NODE_RANK": "1"}
    assert device_counts("cpu", 2, 2, by_hand) == (2, 2)
    step = {"SLURM_STEP_NUM_TASKS": "8", "SLURM_STEP_NUM_NODES": "2", "SLURM_NTASKS_PER_NODE": "4"}
    assert device_counts("cpu", "auto", None, step) == device_counts("cpu", None, 2, step) == (4, 2)
    assert device_counts("cpu", None, None, step) == (1, 1), "tasks of a step may each train a model of their own"
    assert device_counts("cpu", 2, None, {"SLURM_NTASKS": "8"}) == (2, 1), "no step: a batch script by itself"


@pytest.mark.parametrize(
    ("devices", "nodes", "variables", "message"),
    [
        ("two", None, {}, "neither a number nor auto"),
        (0, None, {}, "at least one of each"),
        (2, 2, {}, "torchrun or srun, or with MASTER_ADDR, MASTER_PORT, NODE_RANK set"),
        (2, None, {"SLURM_STEP_NUM_TASKS": "8", "SLURM_STEP_NUM_NODES": "2"}, "--devices 4 --nodes 2, or start others"),
        (4, None, {"SLURM_STEP_NUM_TASKS": "4"}, "--ntasks-per-node=4"),
    ],
)
def test_devices_that_cannot_be_had_are_refused(
    devices: Any, nodes: int | None, variables: dict[str, str], message: str
) -> None:
    with pytest.raises(SettingsError, match=message):
        device_counts("cpu", devices, nodes, variables)


def test_more_gpus_than_there_are_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert device_counts("cuda", "auto", None, {}) == (2, 1)
    with pytest.raises(SettingsError, match="this machine has 2 GPUs"):
        device_counts("cuda", 3, None, {})


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["--method", "atlas", "--devices", "2"], "atlas takes no training steps"),
        (["--estimate", "--devices", "2"], "on one device; leave out --devices"),
    ],
)
def test_the_command_says_what_devices_cannot_share(
    dataset: Path, tmp_path: Path, given: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(["train", str(dataset), "--out", str(tmp_path / "run"), *given]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_every_process_needs_an_example(dataset: Path, tmp_path: Path) -> None:
    planned(dataset, "global-to-local", tmp_path, Processes(3))
    with pytest.raises(SettingsError, match=r"stage global has a batch of 3, which 4 devices .* set global_batch=4"):
        planned(dataset, "global-to-local", tmp_path, Processes(2, 2))


def test_the_parts_of_a_batch_and_of_the_cases_are_all_of_them() -> None:
    for count, batch in ((2, 5), (3, 4), (3, 3)):
        parts = [Processes(count, rank=rank).places(batch) for rank in range(count)]
        assert [place for part in parts for place in part] == list(range(batch))
        assert min(map(len, parts)) > 0

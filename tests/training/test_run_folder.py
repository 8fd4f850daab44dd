"""The run folder: what may be gone on with, and a log that tells each step once."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from anatomark.errors import OutputError, SettingsError
from anatomark.training.log import RunLog
from anatomark.training.run_folder import RunFolder, alone_in

REQUEST: dict[str, Any] = {"method": "global-to-local", "settings": {"seed": 1}, "train": ["a", "b"]}


def log_of(run: RunFolder) -> RunLog:
    return RunLog(run.log, lambda *_: None)


def logged(run: RunFolder) -> list[tuple[str, int]]:
    lines = run.log.read_text().splitlines()
    return [(record["stage"], record["step"]) for record in map(json.loads, lines)]


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    """A run stopped in its second stage, with validations among its lines."""
    run = RunFolder(tmp_path / "run")
    run.open(REQUEST)
    for stage, steps in (("global", (10, 20, 20, 30)), ("local", (10, 20, 20))):
        for step in steps:
            log_of(run).add(stage, step, {"loss": 1.5})
    return run


def test_a_new_folder_is_made_and_the_same_request_goes_on(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "deep" / "run")
    assert run.open(REQUEST) is False
    assert json.loads(run.request.read_text()) == REQUEST
    assert RunFolder(run.path).open(json.loads(json.dumps(REQUEST))) is True


def test_an_empty_folder_will_do(tmp_path: Path) -> None:
    assert RunFolder(tmp_path).open(REQUEST) is False


def test_another_request_is_told_what_differs(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    run.open(REQUEST)
    log_of(run).add("global", 10, {})
    other = {**REQUEST, "settings": {"seed": 2}, "preset": "noothout2020"}
    with pytest.raises(SettingsError) as caught:
        RunFolder(tmp_path).open(other)
    said = str(caught.value)
    assert "settings.seed was 1, now 2" in said
    assert "preset was None, now 'noothout2020'" in said
    assert "train" not in said
    assert json.loads((tmp_path / "request.json").read_text()) == REQUEST


def test_another_list_of_cases_is_told_in_short(tmp_path: Path) -> None:
    many = [f"case_{k:04d}" for k in range(500)]
    run = RunFolder(tmp_path)
    run.open({**REQUEST, "train": many})
    log_of(run).add("global", 10, {})
    with pytest.raises(SettingsError, match="train was") as caught:
        RunFolder(tmp_path).open({**REQUEST, "train": many[1:]})
    assert len(str(caught.value)) < 1000


def test_a_run_without_a_step_makes_way_for_another_request(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    run.open(REQUEST)
    run.settings.write_text("planned for that request")
    other = {**REQUEST, "settings": {"seed": 2}}
    run.open(other)
    assert json.loads(run.request.read_text()) == other
    assert not run.settings.exists()


@pytest.mark.parametrize("content", ["", '{"method": ', "[1]", "3", '"text"'])
def test_a_damaged_request(tmp_path: Path, content: str) -> None:
    (tmp_path / "request.json").write_text(content)
    with pytest.raises(SettingsError, match=r"request\.json .*choose another --out"):
        RunFolder(tmp_path).open(REQUEST)


def test_a_folder_of_other_things_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(SettingsError, match="not a run folder"):
        RunFolder(tmp_path).open(REQUEST)
    with pytest.raises(SettingsError, match="not a run folder"):
        RunFolder(tmp_path / "notes.txt").open(REQUEST)
    with pytest.raises(OutputError, match=r"notes\.txt"):
        RunFolder(tmp_path / "notes.txt" / "run").open(REQUEST)
    assert [p.name for p in tmp_path.iterdir()] == ["notes.txt"]


def test_finished_means_that_there_is_a_model(run: RunFolder) -> None:
    assert not run.finished
    run.model.write_text("{}")
    assert run.finished


def test_rewind_drops_the_steps_that_are_done_again(run: RunFolder) -> None:
    log_of(run).rewind("local", 10)
    assert logged(run) == [("global", 10), ("global", 20), ("global", 20), ("global", 30), ("local", 10)]
    log_of(run).add("local", 20, {})
    assert logged(run)[-1] == ("local", 20)


def test_rewind_keeps_the_validation_of_the_checkpointed_step(run: RunFolder) -> None:
    log_of(run).rewind("local", 20)
    assert logged(run)[-2:] == [("local", 20), ("local", 20)]
    assert len(logged(run)) == 7


def test_rewind_to_the_start_of_a_stage_keeps_the_stage_before(run: RunFolder) -> None:
    log_of(run).rewind("local", 0)
    assert logged(run) == [("global", 10), ("global", 20), ("global", 20), ("global", 30)]


def test_rewind_in_an_earlier_stage_drops_all_that_came_after(run: RunFolder) -> None:
    log_of(run).rewind("global", 20)
    assert logged(run) == [("global", 10), ("global", 20), ("global", 20)]


def test_rewind_of_everything(run: RunFolder) -> None:
    log_of(run).rewind(None, 0)
    assert run.log.read_text() == ""


@pytest.mark.parametrize(
    "tail", ['{"stage": "loc', '{"stage": "local", "step": 20, "lo', "\0\0\0", '{"stage": "local"}', "7"]
)
def test_rewind_drops_a_line_that_a_kill_has_cut(run: RunFolder, tail: str) -> None:
    whole = logged(run)
    with open(run.log, "a") as file:
        file.write(tail)
    log_of(run).rewind("local", 20)
    assert logged(run) == whole
    assert run.log.read_text().endswith("\n")


def test_rewind_without_a_log(tmp_path: Path) -> None:
    log_of(RunFolder(tmp_path)).rewind("global", 0)
    assert list(tmp_path.iterdir()) == []


def test_a_second_training_in_a_folder_is_refused(tmp_path: Path) -> None:
    """By the name of the folder; when the first has ended, even by a kill, another may."""
    program = "import sys; from pathlib import Path; from anatomark.training.run_folder import alone_in"
    program += "\nwith alone_in(Path(sys.argv[1])): print('in', flush=True); sys.stdin.readline()"
    call = [sys.executable, "-c", program, str(tmp_path / "run")]
    with subprocess.Popen(call, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as first:
        assert first.stdout is not None
        assert first.stdout.readline() == b"in\n"
        busy = r"another process is training in .*run; .*choose another --out"
        with pytest.raises(SettingsError, match=busy), alone_in(tmp_path / "run"):
            pass
        first.kill()
    with alone_in(tmp_path / "run"):
        pass


def test_what_a_finished_run_needs_no_more_goes(run: RunFolder) -> None:
    for path in (run.checkpoint, run.budget, run.stage("global"), run.model, run.weights):
        path.write_text("")
    run.cache.mkdir()
    run.tidy(keep_cache=True)
    assert sorted(path.name for path in run.path.iterdir()) == [
        "cache",
        "log.jsonl",
        "model.json",
        "model.safetensors",
        "request.json",
    ]
    run.tidy(keep_cache=False)
    assert not run.cache.exists()

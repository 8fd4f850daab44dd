"""Processes that predict: what kills them, and what kills the command that leads them."""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from anatomark.cohort.claims import Claims
from anatomark.cohort.status import cohort_status
from anatomark.cohort.store import Store
from anatomark.errors import ModelError, OutputError
from tests.cohort.conftest import SMALL, parts, predict

ROOT = Path(__file__).parents[2]
COMMAND = """
import signal, sys
from anatomark.cohort.run import predict_cohort
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell in the background has it ignored
model, manifest, out, loader = sys.argv[1:]
predict_cohort(model, manifest, out=out, workers=1, chunk=2, loader=loader, spacing=(2.5, 3), recursive=True)
"""


def command(model, manifest, out, seconds=0.02):
    """A command of its own that predicts with two processes, so many seconds an image."""
    environment = os.environ | {"SMALL_MODEL_SECONDS": str(seconds), "PYTHONPATH": str(ROOT)}
    words = [sys.executable, "-c", COMMAND, str(model), str(manifest), str(out), SMALL]
    with open(out.parent / "printed", "ab") as printed:
        return subprocess.Popen(words, env=environment, cwd=ROOT, stderr=printed)


def until(running, happens):
    """Wait until that happens, while the command runs."""
    while not happens():
        assert running.poll() is None
        time.sleep(0.01)


def named(pictures, folder, *names):
    """A copy of the pictures, with further ones of these names."""
    copied = shutil.copytree(pictures, folder)
    for name in names:
        shutil.copy(pictures / "x1.png", copied / name)
    return copied


def workers_of(process):
    """The processes that a command has started to predict."""
    started = Path(f"/proc/{process}/task/{process}/children").read_text().split()
    return [int(child) for child in started if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes()]


def reasons(out):
    return dict(cohort_status(out).reasons)


def test_a_command_killed_three_times(model, pictures, tmp_path):
    predict(model, pictures, tmp_path / "whole", chunk=2)
    out = tmp_path / "out"
    random.seed(3)
    for _ in range(3):
        running, there = command(model, pictures, out), len(parts(out))
        until(running, lambda there=there: len(parts(out)) > there)
        time.sleep(random.random() * 0.1)
        running.kill()
        running.wait()
    left = parts(out)
    assert 3 <= len(left) < 10
    finished = predict(model, pictures, out, chunk=2)
    assert (finished.predicted, finished.missing) == (20, ())
    assert parts(out).items() >= left.items()
    assert parts(out) == parts(tmp_path / "whole")


def test_two_commands_at_once(model, pictures, tmp_path):
    predict(model, pictures, tmp_path / "whole", chunk=2)
    both = [command(model, pictures, tmp_path / "out", 0.05) for _ in range(2)]
    assert [running.wait(60) for running in both] == [0, 0], (tmp_path / "printed").read_text()
    assert parts(tmp_path / "out") == parts(tmp_path / "whole")


def test_images_that_kill_their_process_are_named_and_the_others_lose_nothing(model, pictures, tmp_path):
    folder = named(pictures, tmp_path / "pictures", "kill_segv.png", "once.png")
    status = predict(model, folder, tmp_path / "out", workers=1)
    assert (status.predicted, status.failed, status.missing) == (21, 1, ())
    assert (folder / "died").exists()
    found = reasons(tmp_path / "out")
    assert list(found) == ["kill_segv.png"]
    assert "kill_segv.png: the process that predicted it ended twice: by SIGSEGV; repair" in found["kill_segv.png"]


def test_images_that_take_too_much_time_or_memory(model, pictures, tmp_path):
    folder = named(pictures, tmp_path / "pictures", "bloat.png", "hang.png")
    predict(model, folder, tmp_path / "out", workers=2, chunk=3, memory_bytes=400 << 20, seconds=2)
    assert {id: reason.split("twice: ")[1] for id, reason in reasons(tmp_path / "out").items()} == {
        "bloat.png": "it took more than 0.391 GiB of memory (--memory); repair the image or leave it out",
        "hang.png": "it took more than 2 s (--seconds); repair the image or leave it out",
    }


def test_images_predicted_together(model, pictures, tmp_path, monkeypatch):
    predict(model, pictures, tmp_path / "one")
    monkeypatch.setenv("SMALL_MODEL_TOLD", str(tmp_path / "told"))
    for workers in (0, 1):
        predict(model, pictures, tmp_path / f"out{workers}", workers=workers, batch=3)
        assert parts(tmp_path / f"out{workers}") == parts(tmp_path / "one")
    assert (tmp_path / "told").read_text().split() == ["3"] * 10  # parts of 4 images; the fourth is alone
    monkeypatch.setenv("SMALL_MODEL_ROOM", "2")
    predict(model, pictures, tmp_path / "halved", workers=1, batch=4)
    assert parts(tmp_path / "halved") == parts(tmp_path / "one")
    assert (tmp_path / "told").read_text().split()[10:] == ["4"] + ["2"] * 10


def test_images_predicted_together_of_which_one_kills_the_process_or_cannot_be_read(model, pictures, tmp_path):
    folder = named(pictures, tmp_path / "pictures", "kill.png", "once.png", "hang.png")
    (folder / "x0.png").write_bytes(b"no picture")
    status = predict(model, folder, tmp_path / "out", workers=1, batch=5, chunk=12, seconds=2)
    assert (status.predicted, status.failed, status.missing) == (20, 3, ())
    found = reasons(tmp_path / "out")
    assert sorted(found) == ["hang.png", "kill.png", "x0.png"]
    assert "kill.png: the process that predicted it ended twice: by SIGKILL; repair" in found["kill.png"]
    assert "it took more than 2 s (--seconds)" in found["hang.png"]


def test_a_process_that_is_killed_from_outside_costs_nothing(model, pictures, tmp_path):
    predict(model, pictures, tmp_path / "whole", chunk=2)
    running = command(model, pictures, tmp_path / "out", 0.05)
    until(running, lambda: parts(tmp_path / "out"))
    os.kill(workers_of(running.pid)[0], signal.SIGKILL)
    assert running.wait(60) == 0, (tmp_path / "printed").read_text()
    assert parts(tmp_path / "out") == parts(tmp_path / "whole")


def test_a_model_that_kills_its_process(own_model, pictures, tmp_path):
    (own_model / "dies").touch()
    with pytest.raises(ModelError, match="ended 3 times while it loaded the model: with exit code 3; give fewer"):
        predict(own_model, pictures, tmp_path / "out", workers=1)


def test_a_model_that_cannot_be_loaded(own_model, pictures, tmp_path):
    (own_model / "model.json").write_text("{}")
    with pytest.raises(ModelError, match=r"model\.json"):
        predict(own_model, pictures, tmp_path / "out", workers=1)


def test_pictures_for_which_there_is_no_room(model, pictures, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "overlays").write_text("in the way")
    with pytest.raises(OutputError, match="overlays"):
        predict(model, pictures, tmp_path / "out", workers=1, overlays=True)
    assert not list((tmp_path / "out").glob("parts/*"))


def test_claims_keep_others_away_while_their_process_lives(tmp_path):
    store = Store(str(tmp_path))
    first, second = Claims(store), Claims(store)
    assert first.take(1)
    assert first.take(1)
    assert not second.take(1)
    first.drop_all()
    assert second.take(1)
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    claim = tmp_path / "claims" / "000001.json"
    text = claim.read_text()
    claim.write_text(text.replace(f'"process": {os.getpid()}', f'"process": {ended.pid}'))
    assert first.take(1)
    old = text.replace('"time": 1', '"time": ')  # some decades ago
    later = text.replace('"time": 1', '"time": 9')  # by a clock that was set back since
    for content in (old, later, "", "{", "[]", '{"owner": 1}'):
        claim.write_text(content)
        assert first.take(1)


def test_a_part_that_another_seems_to_work_at_is_predicted_when_it_has_ended(model, pictures, tmp_path, monkeypatch):
    other = Claims(Store(str(tmp_path / "out")))
    assert other.take(2)
    monkeypatch.setattr("anatomark.cohort.run._AGAIN", 0.1)
    monkeypatch.setattr("anatomark.cohort.claims.EXPIRES", 0.5)
    assert predict(model, pictures, tmp_path / "out").complete


def test_an_interrupt_ends_the_processes(model, pictures, tmp_path):
    running = command(model, pictures, tmp_path / "out", 0.2)
    until(running, lambda: parts(tmp_path / "out"))
    running.send_signal(signal.SIGINT)
    assert running.wait(20) != 0
    assert not list((tmp_path / "out" / "claims").iterdir())

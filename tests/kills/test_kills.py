"""A few kills of a few commands; `make kills` does many of all."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.kills.points import Points
from tests.kills.scenarios import contents

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.skipif(not os.path.exists("/proc/self/fd"), reason="moments are told from /proc")


def kills(tmp_path, *options):
    """The results of `python -m tests.kills`, which forks and so is a process of its own."""
    call = [sys.executable, "-m", "tests.kills", "--out", str(tmp_path), *options]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)])}
    done = subprocess.run(call, capture_output=True, text=True, env=environment, cwd=ROOT, check=False, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(next(tmp_path.glob("*.json")).read_text())


@pytest.mark.slow
def test_killed_and_run_again_all_is_as_without_the_kill(tmp_path):
    found = kills(tmp_path, "--tries", "2", "--commands", "init", "convert", "cohort", "review")
    assert all(tally["tries"] == 2 and not tally["findings"] for tally in found.values())


def forked(work):
    """How a fork ended that did `work`, and what it said at its end."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(writing, repr(work()).encode())
        finally:
            os._exit(0)
    os.close(writing)
    with open(reading, "rb") as said:
        text = said.read().decode()
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), text


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of a fork with threads
def test_moments_are_seen_in_all_that_changes_a_folder(tmp_path):
    def work():
        points = Points(tmp_path)
        points.install()
        (tmp_path / "folder").mkdir()
        with open(tmp_path / "folder" / "a", "w") as file:
            file.write("x" * 20_000)
            file.flush()
            os.fsync(file.fileno())
        os.replace(tmp_path / "folder" / "a", tmp_path / "b")
        (tmp_path / "b").read_text()
        (tmp_path / "b").unlink()
        (tmp_path.parent / f"beside_{tmp_path.name}").write_text("not watched")
        return [each.split()[0] for each in points.seen]

    code, said = forked(work)
    assert code == 0
    assert said == repr(["os.mkdir", "open", "write", "sync", "os.rename", "os.remove"])


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_kill_cuts_a_write_in_half(tmp_path):
    def work():
        Points(tmp_path, 2, "kill").install()
        (tmp_path / "a").write_text("x" * 100)

    assert forked(work)[0] == -9
    assert contents(tmp_path, ()) == {"a": b"x" * 50}


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_full_disk_refuses_all_writes_from_a_moment_on(tmp_path):
    def work():
        Points(tmp_path, 3, "ENOSPC").install()
        (tmp_path / "a").write_text("whole")
        try:
            (tmp_path / "b").write_text("not")
        except OSError as error:
            (tmp_path / "a").unlink()
            return error.errno, os.path.exists(tmp_path / "b")

    assert forked(work) == (0, repr((28, False)))

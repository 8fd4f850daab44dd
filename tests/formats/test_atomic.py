"""Files and folders that are whole or not there, also after a kill."""

import os
import subprocess
import sys

import pytest

from anatomark.errors import OutputError
from anatomark.formats.atomic import replacing, replacing_folder, sweep, write_text

fcntl = pytest.importorskip("fcntl")
WRITER = """
import os, sys
from anatomark.formats.atomic import replacing, replacing_folder
with replacing(sys.argv[1] + "/a.png", ".png") as file, replacing_folder(sys.argv[1] + "/b") as folder:
    file.write_text("half")
    (folder / "c").write_text("half")
    print("writing", flush=True)
    sys.stdin.readline()
"""


@pytest.fixture
def writer(tmp_path):
    """A process that is writing a file and a folder to `tmp_path`."""
    call = [sys.executable, "-c", WRITER, str(tmp_path)]
    with subprocess.Popen(call, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"writing\n"
        yield process
        process.kill()


def test_what_a_killed_process_left_is_removed_by_the_next_one(tmp_path, writer):
    writer.kill()
    writer.wait()
    assert len(list(tmp_path.iterdir())) == 2
    for mine in (".a.png.notes", ".gitignore", ".a.abcdefgh.partially"):
        (tmp_path / mine).write_text("mine")
    write_text(tmp_path / "d", "whole")
    assert {path.name for path in tmp_path.iterdir()} == {".a.png.notes", ".gitignore", ".a.abcdefgh.partially", "d"}


def test_what_a_process_is_writing_stays(tmp_path, writer):
    sweep(tmp_path)
    assert len(list(tmp_path.iterdir())) == 2
    writer.communicate(b"\n")
    assert (tmp_path / "a.png").read_text() == "half"
    assert [path.name for path in (tmp_path / "b").iterdir()] == ["c"]
    assert len(list(tmp_path.iterdir())) == 2


def test_modes_are_those_of_this_users_files(tmp_path):
    """As the umask of the process has it, which is not changed on the way."""
    program = "import os; os.umask(0o077); from anatomark.formats import atomic as a; a.write_text('x', 'x')"
    program += "\nwith a.replacing_folder('y'): pass\nassert os.umask(0) == 0o077"
    subprocess.run([sys.executable, "-c", program], check=True, cwd=tmp_path)
    assert [oct((tmp_path / name).stat().st_mode)[-3:] for name in "xy"] == ["600", "700"]


def fill(path, error=None):
    """Make a folder with a file in it, and fail before it is whole where there is an `error`."""
    with replacing_folder(path) as part:
        (part / "a").write_text("content")
        if error is not None:
            raise error


def test_a_folder_is_there_when_it_is_whole(tmp_path):
    with pytest.raises(ZeroDivisionError):
        fill(tmp_path / "new" / "folder", ZeroDivisionError())
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "mine").touch()
    with pytest.raises(OutputError, match=r"folder cannot be written: .*; choose another"):
        fill(tmp_path / "folder")
    assert sorted(os.listdir(tmp_path)) == ["folder"]
    fill(tmp_path / "other")
    assert os.listdir(tmp_path / "other") == ["a"]


def test_files_are_replaced_where_nothing_can_be_locked(tmp_path, monkeypatch):
    def refused(*_):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(fcntl, "flock", refused)
    with replacing(tmp_path / "a") as file:
        file.write_text("whole")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]

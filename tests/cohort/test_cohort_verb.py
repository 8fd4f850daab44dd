"""anatomark cohort on the command line, and its script for SLURM."""

import os
import subprocess
from pathlib import Path

import pytest

from anatomark.cli.cohort import parse_part
from anatomark.cli.main import _load, run
from anatomark.cohort import extra
from anatomark.cohort.progress import Progress
from anatomark.errors import MissingExtraError, SettingsError
from tests.cohort.conftest import parts, predict

SCRIPT = Path(__file__).parents[2] / "docs" / "cohort.sbatch"


def test_status_and_collect(model, pictures, tmp_path, capsys):
    out = tmp_path / "out"
    predict(model, pictures, out, part=(1, 2))
    assert run(["cohort", "--out", str(out), "--status"]) == 1
    assert capsys.readouterr().out == ("20 images: 12 predicted, 0 failed, 8 open; 2 of 5 parts are missing: 2, 4\n")
    assert run(["cohort", "--out", str(out), "--collect"]) == 2
    assert "2 of 5 parts are missing: 2, 4; predict them first" in capsys.readouterr().err
    predict(model, pictures, out)
    assert run(["cohort", "--out", str(out), "--status"]) == 0
    assert run(["cohort", "--out", str(out), "--collect", "--table", "parquet"]) == 0
    assert capsys.readouterr().out.endswith(f"collected: {out}/predictions.parquet\n")


def test_what_is_done_is_only_told(model, pictures, tmp_path, capsys):
    out = tmp_path / "out"
    folder = tmp_path / "pictures"
    folder.mkdir()
    (folder / "cut.png").write_bytes((pictures / "x1.png").read_bytes()[:300])
    predict(model, folder, out, spacing=None, chunk=None)
    before = parts(out)
    assert run(["cohort", str(model), str(folder), "--out", str(out), "--recursive"]) == 1
    told = capsys.readouterr()
    assert told.out.startswith("1 images: 0 predicted, 1 failed, 0 open\none table of all: anatomark cohort --out")
    assert "error: cut.png: " in told.err
    assert parts(out) == before


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ([], "RUN and MANIFEST are missing"),
        (["--status", "--collect"], "give one of them"),
        (["model", "images", "--part", "3"], "--part is '3'; give I/N"),
        (["model", "images", "--spacing", "a"], "--spacing is 'a'"),
        (["model", "images"], "images: no such file or folder; give a manifest"),
    ],
)
def test_bad_calls(tmp_path, capsys, words, line):
    assert run(["cohort", *words, "--out", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert line in error
    assert not (tmp_path / "out").exists()


def test_parts_of_a_job_array():
    assert parse_part("3/20") == (3, 20)
    assert parse_part(None) == (1, 1)
    for text in ("", "3", "a/2", "1/2/3", "-1/2"):
        with pytest.raises(SettingsError):
            parse_part(text)


def test_a_package_that_is_missing_is_named(monkeypatch):
    monkeypatch.setattr("anatomark.errors.find_spec", lambda name: None if name == "pyarrow" else name)
    with pytest.raises(MissingExtraError, match=r"need pyarrow, which is not .* pip install 'anatomark\[cohort\]'"):
        extra.require_cohort()


def test_progress_in_words():
    assert str(Progress(0, 100, 0, 0.0)) == "0 of 100 images"
    assert str(Progress(40, 100, 2, 2.0)) == "40 of 100 images, 2 a second, 30 s left, 2 failed"
    assert str(Progress(0, 100_000, 0, 10.0)) == "0 of 100000 images, 10 a second, 2 h 47 min left"


def test_the_script_for_slurm_gives_its_part_and_options_that_exist(tmp_path):
    """With SLURM's variables, and a program in place of anatomark that prints what it is given."""
    program = tmp_path / "anatomark"
    program.write_text('#!/bin/sh\nprintf "%s\\n" "$OMP_NUM_THREADS" "$@"\n')
    program.chmod(0o755)
    slurm = {"SLURM_CPUS_PER_TASK": "4", "SLURM_ARRAY_TASK_ID": "3", "SLURM_ARRAY_TASK_COUNT": "20"}
    environment = os.environ | slurm | {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    command = ["sh", str(SCRIPT), "runs/a b", "list.csv", "out", "--spacing", "1,1"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    threads, verb, *words = done.stdout.splitlines()
    assert (threads, verb) == ("2", "cohort")
    assert words[:2] == ["runs/a b", "list.csv"]
    assert words[2:] == ["--out", "out", "--workers", "2", "--part", "3/20", "--spacing", "1,1"]
    known = {option for parameter in _load("cohort").params for option in parameter.opts}
    assert {word for word in words if word.startswith("--")} <= known

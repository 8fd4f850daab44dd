"""Machines as they are in a hospital: names in any bytes, no UTF-8, no home, folders that cannot be written to."""

import csv
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from anatomark.cli.main import run
from anatomark.core.grid import Grid
from anatomark.core.image import Image
from anatomark.core.landmarks import Landmarks
from anatomark.errors import AnatomarkError, OutputError
from anatomark.formats.images import image_name, read_image, write_image
from anatomark.formats.landmarks import read_landmarks, write_landmarks

ROOT = Path(__file__).parents[2]
OLD = ROOT / "tests" / "fixtures" / "old_models"
posix = pytest.mark.skipif(sys.platform != "linux", reason="names of files are bytes on Linux")
as_user = pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="the administrator may write anywhere")


def alone(*arguments, cwd, **environment):
    """The command in an environment of nothing but `environment`."""
    program = "from anatomark.cli.main import main; main()"
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1"} | environment
    call = [sys.executable, "-c", program, *arguments]
    return subprocess.run(call, capture_output=True, cwd=cwd, env=environment, check=False)


@posix
@pytest.mark.slow
def test_names_in_any_bytes_without_utf_8_and_without_a_home(tmp_path):
    image = (OLD / "image_2d.mha").read_bytes()
    (tmp_path / "in").mkdir()
    for name in (b"caf\xe9.mha", "größe 中\n.mha".encode()):
        with open(os.path.join(os.fsencode(tmp_path / "in"), name), "wb") as file:
            file.write(image)
    model = OLD / "6237412" / "global-to-local-2d"
    plain = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    words = ["predict", str(model), "in", "--out", "out", "--format", "mrk.json", "--device", "cpu"]
    done = alone(*words, cwd=tmp_path, **plain)
    assert done.returncode == 0, done.stderr
    with open(tmp_path / "out" / "images.csv", encoding="utf-8", newline="") as file:
        names = {row["image"] for row in csv.DictReader(file)}
    assert names == {"caf\\xe9", "gr\\xc3\\xb6\\xc3\\x9fe \\xe4\\xb8\\xad\n"}
    assert (tmp_path / "out" / "caf\\xe9.mrk.json").exists()


@posix
def test_bytes_that_are_no_text_are_told_as_what_they_are():
    assert image_name(os.fsdecode(b"caf\xe9.png")) == "caf\\xe9"
    assert image_name("caf\ud900.png") == "caf\\ud900"
    assert str(AnatomarkError(f"{os.fsdecode(b'caf')}\udce9 is wrong")) == "caf\\udce9 is wrong"


@posix
def test_init_describes_a_folder_with_such_names(tmp_path, capsys):
    for number, name in enumerate((b"a", b"caf\xe9", b"c")):
        image = Image(np.arange(48.0).reshape(6, 8) + number, Grid.from_geometry((6, 8), spacing=(1, 1)))
        write_image(image, tmp_path / "x.mha")
        (tmp_path / "x.mha").rename(tmp_path / os.fsdecode(name + b".mha"))
    with pytest.raises(OutputError, match=r"caf\\udce9.mha is a name that is no UTF-8"):
        write_image(image, tmp_path / os.fsdecode(b"caf\xe9.mha"))
    code = run(["init", str(tmp_path)])
    said = capsys.readouterr()
    assert code in (0, 2)
    assert "Traceback" not in said.err
    assert (tmp_path / "dataset.yaml").exists() == (code == 0)


@pytest.mark.parametrize("ending", ["mrk.json", "fcsv", "csv"])
def test_landmark_names_of_10_000_characters(tmp_path, ending):
    names = ("a" * 10_000, "b" * 9_999 + "ß")
    path = tmp_path / f"x.{ending}"
    write_landmarks(Landmarks.from_points(names, [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]), path)
    assert read_landmarks(path).names == names


@as_user
def test_folders_that_cannot_be_written_to(tmp_path, capsys):
    image = OLD / "image_2d.mha"
    tmp_path.chmod(0o500)
    try:
        assert run(["convert", str(image), str(tmp_path / "x.nii.gz")]) == 2
        assert run(["init", str(OLD), "--out", str(tmp_path / "dataset.yaml")]) == 2
    finally:
        tmp_path.chmod(0o700)
    said = capsys.readouterr().err
    assert said.count("Permission denied") == 2
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_vanishes_while_it_is_written_to(tmp_path, capsys, monkeypatch):
    """As a network drive does; the command says where."""
    import shutil

    image = read_image(OLD / "image_2d.mha")
    write_image(image, tmp_path / "in" / "x.mha")
    from anatomark.formats import atomic

    def vanish(source, target):
        shutil.rmtree(Path(source).parent)
        raise FileNotFoundError(2, "No such file or directory", str(source))

    monkeypatch.setattr(atomic.os, "replace", vanish)
    assert run(["convert", str(tmp_path / "in" / "x.mha"), str(tmp_path / "out" / "x.nii.gz")]) == 2
    assert "x.nii.gz cannot be written: No such file or directory" in capsys.readouterr().err

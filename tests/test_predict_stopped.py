"""A prediction that was stopped goes on, and gives what one that nobody stopped gives; one command writes at a time."""

import errno
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from anatomark import predict
from anatomark.cli.main import run as command_line
from anatomark.core.grid import Grid
from anatomark.core.image import Image
from anatomark.errors import OutputError, SettingsError
from anatomark.formats.images import load_image, read_image, write_image
from anatomark.loading import load
from anatomark.model import Model
from anatomark.prediction_journal import NAME, Journal

ROOT = Path(__file__).parents[1]
OLD = ROOT / "tests" / "fixtures" / "old_models"
MODEL = OLD / "6237412" / "global-to-local-2d"
OPTIONS = {"spacing": (2.5, 3.0), "device": "cpu"}
COMMAND = """
import sys, time
from anatomark import predict
model, images, out, seconds = sys.argv[1:]
class Slow(predict.ReaderProcesses):
    def load(self, path, **options):
        time.sleep(float(seconds))
        return super().load(path, **options)
predict.ReaderProcesses = Slow
predict.predict_to_folder(model, [images], out=out, spacing=(2.5, 3.0), device="cpu", formats=("csv", "fcsv"))
"""


def command(images: Path, out: Path, seconds: float = 0.02) -> subprocess.Popen[bytes]:
    """A command of its own, which takes so many seconds more for an image."""
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1"}
    words = [sys.executable, "-c", COMMAND, str(MODEL), str(images), str(out), str(seconds)]
    return subprocess.Popen(words, env=environment, stderr=subprocess.DEVNULL)


def until(running, happens) -> None:
    while not happens():
        assert running.poll() is None
        time.sleep(0.005)


def lines(out: Path) -> list[bytes]:
    """The whole lines for images in the journal, none where there is no journal."""
    path = out / NAME
    return [line for line in path.read_bytes().splitlines(True) if line.endswith(b"\n")][1:] if path.exists() else []


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


class ReadHere:
    """As ReaderProcesses, in this process, which starts at once; `names` are of the images that were read."""

    names: list[str] = []  # noqa: RUF012

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def load(self, path, **options):
        self.names.append(path.stem)
        return load_image(path, **options)


@pytest.fixture(scope="module", autouse=True)
def read_here():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(predict, "ReaderProcesses", ReadHere)
        yield


@pytest.fixture
def now_read() -> list[str]:
    """The names of the images that are read from now on."""
    ReadHere.names.clear()
    return ReadHere.names


@pytest.fixture(scope="module")
def pictures(tmp_path_factory) -> Path:
    """12 images, and one that cannot be read."""
    folder = tmp_path_factory.mktemp("pictures")
    whole = read_image(OLD / "image_2d.mha").array.astype(float)
    noise = np.random.default_rng(5)
    for k in range(12):
        array = np.clip(whole * 200 / whole.max() + noise.normal(0, 15, whole.shape), 0, 255).astype(np.uint8)
        write_image(Image(array, Grid.without_spacing(array.shape)), folder / f"x{k:02d}.png")
    (folder / "x05a.png").write_text("no picture")
    return folder


def predicted(images, out: Path, *, model: Path | Model = MODEL, stop: int | None = None, **options) -> predict.Summary:
    """`predict_to_folder`, interrupted when it comes to the image number `stop`."""

    def progress(done: int, total: int, name: str) -> None:
        if done == stop:
            raise KeyboardInterrupt

    inputs = images if isinstance(images, list) else [images]
    return predict.predict_to_folder(model, inputs, out=out, progress=progress, **{**OPTIONS, **options})


@pytest.fixture(scope="module")
def whole(pictures, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("whole")
    predicted(pictures, out, formats=("csv", "fcsv"))
    return out


@pytest.fixture(scope="module")
def begun(pictures, tmp_path_factory) -> Path:
    """The folder of a prediction that was stopped after four images or so."""
    out = tmp_path_factory.mktemp("begun")
    with pytest.raises(KeyboardInterrupt):
        predicted(pictures, out, stop=4, formats=("csv", "fcsv"))
    assert not (out / "predictions.lock").exists()
    assert 3 <= len(lines(out)) <= 4
    return out


@pytest.fixture
def stopped(begun, tmp_path) -> Path:
    return Path(shutil.copytree(begun, tmp_path / "out"))


def test_killed_at_three_random_points(pictures, whole, tmp_path, now_read):
    out = tmp_path / "out"
    random.seed(8)
    for attempt in range(3):
        running, before = command(pictures, out), len(lines(out))
        until(running, lambda before=before: len(lines(out)) > before)
        if attempt == 0:
            name = rf"written to by process {running.pid} of {socket.gethostname()} since 20"
            with pytest.raises(OutputError, match=name):
                predicted(pictures, out)
        time.sleep(random.random() * 0.04)
        running.send_signal(signal.SIGKILL)
        running.wait()
        assert not (out / "predictions.csv").exists()
        assert (out / "predictions.lock").exists()
    there = [line.split(b'"')[3].decode() for line in lines(out)]
    assert 3 <= len(there) < 12
    (out / ".predictions.csv.0a_b1c2d.partial").touch()  # as of a command that is killed while it writes the tables
    assert predicted(pictures, out, formats=("csv", "fcsv")).resumed == len(there)
    assert tree(out) == tree(whole)
    assert set(there).isdisjoint(now_read)


def test_the_summary_of_one_that_goes_on_is_that_of_the_whole(pictures, tmp_path, monkeypatch):
    original = Model.predict

    def doubtful(model, image, *, source, **options):
        found = original(model, image, source=source, **options)
        return replace(found, warning="odd" if "x01" in source else None, unsuitable="no" if "x11" in source else None)

    monkeypatch.setattr(Model, "predict", doubtful)
    with pytest.raises(KeyboardInterrupt):
        predicted(pictures, tmp_path / "out", stop=4, coverage=0.9999)
    there = len(lines(tmp_path / "out"))
    rest, whole = (predicted(pictures, tmp_path / name, coverage=0.9999) for name in ("out", "whole"))
    for name in ("predicted", "failed", "warnings", "withheld", "limits"):
        assert getattr(rest, name) == getattr(whole, name), name
    assert (rest.resumed, whole.resumed, len(rest.predicted), list(rest.failed)) == (there, 0, 12, ["x05a"])
    assert [line.split(": ")[1] for line in rest.warnings.values()] == ["odd", "doubtful points, no"]
    assert rest.withheld
    assert tree(tmp_path / "out") == tree(tmp_path / "whole")


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"coverage": 0.5}, r"coverage was 0\.9, now 0\.5"),
        ({"orient": "auto"}, "orient was keep, now auto"),
        ({"spacing": (1, 1)}, r"spacing was \[2\.5, 3\.0\], now \[1\.0, 1\.0\]"),
        ({"stack": True}, "stack was False, now True"),
    ],
)
def test_other_settings_are_refused(pictures, stopped, options, line):
    before, images = tree(stopped), [pictures / f"x{k:02d}.png" for k in range(12)]
    with pytest.raises(SettingsError, match=rf"unfinished prediction of something else: {line}.*; finish it by its"):
        predicted(images, stopped, **options)
    assert tree(stopped) == before


def test_another_model_is_refused(pictures, stopped, tmp_path):
    other = Path(shutil.copytree(MODEL, tmp_path / "other"))
    (other / "model.json").write_text((other / "model.json").read_text() + "\n")
    with pytest.raises(SettingsError, match=r"the model was .*2d, now .*other \(other content of model\.json\)"):
        predicted(pictures, stopped, model=other)


def test_a_loaded_model_begins_anew(pictures, stopped, now_read):
    assert predicted(pictures, stopped, model=load(MODEL, device="cpu")).resumed == 0
    assert len(now_read) == 13


def test_fewer_images_are_refused_and_more_are_welcome(pictures, stopped, tmp_path, now_read):
    there, images = len(lines(stopped)), [pictures / f"x{k:02d}.png" for k in range(12)]
    with pytest.raises(SettingsError, match=r"1 images were predicted that are not given now, such as .*x01\.png"):
        predicted([image for image in images if image.stem != "x01"], stopped)
    shutil.copy(images[1], tmp_path / "more.png")
    summary = predicted([*images, tmp_path / "more.png"], stopped)
    assert (summary.resumed, len(summary.predicted)) == (there, 13)
    assert "x01" not in now_read


def test_what_has_changed_or_lost_its_files_is_predicted_again(pictures, stopped, now_read):
    there = {line.split(b'"')[3].decode() for line in lines(stopped)}
    (stopped / "overlays" / "x01.png").unlink()
    before = (pictures / "x02.png").stat().st_mtime_ns
    try:
        os.utime(pictures / "x02.png")
        assert predicted(pictures, stopped, formats=("fcsv",)).resumed == len(there) - 2
    finally:
        os.utime(pictures / "x02.png", ns=(before, before))
    assert set(now_read) & there == {"x01", "x02"}


def test_other_files_are_written_for_all(pictures, stopped):
    assert predicted(pictures, stopped, formats=("mrk.json",)).resumed == 0
    assert len(list(stopped.glob("*.mrk.json"))) == 12


@pytest.mark.parametrize("torn", [-40, 1])
def test_a_line_that_is_half_written_is_dropped(pictures, whole, stopped, torn):
    left, there = (stopped / NAME).read_bytes(), len(lines(stopped))
    (stopped / NAME).write_bytes(left[:torn])
    assert predicted(pictures, stopped, formats=("csv", "fcsv")).resumed == (there - 1 if torn < 0 else 0)
    assert tree(stopped) == tree(whole)


def test_a_full_disk_stops_it_and_the_same_call_goes_on(pictures, tmp_path, monkeypatch):
    add = Journal.add

    def no_space(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    def full(journal, case, outcome):
        if case.id == "x04":
            monkeypatch.setattr(os, "fsync", no_space)
            monkeypatch.setattr(journal, "_synced", -100.0)
        add(journal, case, outcome)

    monkeypatch.setattr(Journal, "add", full)
    with pytest.raises(OutputError, match=rf"{NAME} cannot be written: No space left on device; make room, and the"):
        predicted(pictures, tmp_path / "out")
    monkeypatch.undo()
    assert predicted(pictures, tmp_path / "out").resumed >= 4


def test_the_command_says_what_was_there_and_points_to_cohort(pictures, stopped, monkeypatch, capfd):
    there = len(lines(stopped))
    words = ["predict", str(MODEL), str(pictures), "--out", str(stopped), "--spacing", "2.5,3", "--device", "cpu"]
    monkeypatch.setattr(predict, "COHORT_FROM", 13)
    monkeypatch.setattr("anatomark.errors.find_spec", lambda name: None)
    assert command_line(words) == 1
    said = capfd.readouterr()
    assert f"12 images predicted ({there} of them before it was stopped; per image: read" in said.out
    notes = [line for line in said.err.splitlines() if line.startswith("note: 13 images; anatomark cohort")]
    assert len(notes) == 1
    assert notes[0].endswith("(pip install 'anatomark[cohort]' first)")
    assert command_line([*words[:2], str(pictures / "x00.png"), *words[3:]]) == 0
    assert "note: " not in capfd.readouterr().err

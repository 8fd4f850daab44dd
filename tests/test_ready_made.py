"""The models that come with the package: described, loaded and used by their names."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from anatomark import calibrate, load, ready_made
from anatomark.cli.main import run
from anatomark.core.grid import Grid
from anatomark.core.image import Image
from anatomark.data.phantoms import make_phantoms
from anatomark.errors import ModelError
from anatomark.formats.images import write_image
from anatomark.formats.table import read_table
from anatomark.service.serve import named_runs
from benchmarks.ship import halved

MODELS = ready_made.ready_made()


def picture(folder: Path) -> Path:
    values = np.random.default_rng(0).integers(0, 255, (120, 100), dtype=np.uint8)
    write_image(Image(values, Grid.from_geometry((120, 100), spacing=(2.0, 2.0))), folder / "x.png")
    return folder / "x.png"


@pytest.mark.parametrize("name", MODELS)
def test_each_is_described_whole(name: str) -> None:
    about, folder = ready_made.described(name)
    model = load(name, device="cpu")
    assert set(about.landmarks) == set(model.names)
    assert (folder / "model.safetensors").stat().st_size <= 12e6
    card = (folder / ready_made.CARD).read_text()
    assert about.terms in card
    assert all(f"| {landmark} | {words} |" in card for landmark, words in about.landmarks.items())


def test_they_are_listed_and_their_cards_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["models"]) == 0
    listed = capsys.readouterr().out
    assert "ceph19  19 landmarks on lateral cephalograms" in listed
    assert "Research use only" in listed
    assert run(["models", "ceph19"]) == 0
    assert "## How far off it is" in capsys.readouterr().out
    assert run(["models", "ceph20"]) == 2
    assert "no ready-made model 'ceph20'; there are: ceph19" in capsys.readouterr().err


def test_an_installation_without_any_says_so(monkeypatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(ready_made, "PLACES", ())
    assert run(["models"]) == 0
    assert "no ready-made model" in capsys.readouterr().out


def test_a_name_predicts_at_once_and_tells_its_terms(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["predict", "ceph19", str(picture(tmp_path)), "--spacing", "2,2", "--out", str(tmp_path / "out")]
    assert run([*words, "--no-overlays", "--device", "cpu"]) == 0
    assert "ceph19: Research use only" in capsys.readouterr().err
    assert len(read_table(tmp_path / "out" / "predictions.csv").landmark) == 19


def test_a_folder_of_that_name_comes_first(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert ready_made.run_folder("ceph19") == MODELS["ceph19"]
    (tmp_path / "ceph19").mkdir()
    assert ready_made.run_folder("ceph19") == Path("ceph19")
    assert ready_made.about(Path("ceph19")) is None
    with pytest.raises(ModelError, match="it is not a run folder"):
        load("ceph19", device="cpu")


def test_they_can_be_served_and_stay_as_they_are(tmp_path: Path) -> None:
    assert named_runs(["ceph19"]) == {"ceph19": MODELS["ceph19"]}
    data = make_phantoms(tmp_path / "phantoms", ndim=2, cases=4, landmarks=3)
    before = {file.name: file.read_bytes() for file in MODELS["ceph19"].iterdir()}
    with pytest.raises(ModelError, match="ready-made and stays as it is"):
        calibrate("ceph19", data, split="test", device="cpu")
    assert {file.name: file.read_bytes() for file in MODELS["ceph19"].iterdir()} == before


def test_a_damaged_description_is_told(tmp_path: Path) -> None:
    shutil.copytree(MODELS["ceph19"], tmp_path / "m")
    (tmp_path / "m" / "about.yaml").write_text("title: [")
    with pytest.raises(ModelError, match="does not describe a model"):
        ready_made.about(tmp_path / "m")


def test_halved_weights_say_nearly_the_same(tmp_path: Path) -> None:
    for name in ("whole", "half"):
        shutil.copytree(MODELS["ceph19"], tmp_path / name)
    load(tmp_path / "whole", device="cpu").save(tmp_path / "whole")  # in float32 again
    size = halved(tmp_path / "whole", tmp_path / "half")
    assert size < 0.6 * (tmp_path / "whole" / "model.safetensors").stat().st_size
    values = np.random.default_rng(1).integers(0, 255, (120, 100), dtype=np.uint8)
    image = Image(values, Grid.from_geometry((120, 100), spacing=(2.0, 2.0)))
    whole, half = (load(tmp_path / name, device="cpu").predict(image).landmarks.points for name in ("whole", "half"))
    np.testing.assert_allclose(whole, half, atol=0.05)

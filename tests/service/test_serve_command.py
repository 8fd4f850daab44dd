"""`anatomark serve` that cannot start says so in one line, before any model is loaded."""

import socket

import numpy as np
import pytest

from anatomark.cli.main import run
from anatomark.core.grid import Grid
from anatomark.core.image import Image
from anatomark.core.landmarks import Landmarks, State
from anatomark.service.slices import as_picture
from tests.service.running import TOKEN


def told(capsys, *arguments):
    """The line on the standard error of a call that must fail with 2."""
    assert run(["serve", *map(str, arguments)]) == 2
    line = capsys.readouterr().err
    assert line.startswith("error: ")
    assert line.count("\n") == 1
    return line


@pytest.fixture(autouse=True)
def without_token(monkeypatch):
    monkeypatch.delenv("ANATOMARK_TOKEN", raising=False)


def test_what_is_no_run(capsys, made, tmp_path):
    assert "it is not a run folder" in told(capsys, tmp_path)
    assert "its training has not finished" in told(capsys, _begun(tmp_path))


def _begun(folder):
    (folder / "begun").mkdir()
    (folder / "begun" / "request.json").write_text("{}")
    return folder / "begun"


def test_a_damaged_model_is_told_when_it_is_loaded(capsys, made, tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "model.json").write_bytes((made / "flat" / "model.json").read_bytes())
    line = told(capsys, tmp_path / "model", "--port", 0)
    assert "model.safetensors" in line


def test_two_runs_of_one_name(capsys, made, tmp_path):
    (tmp_path / "flat").symlink_to(made / "deep")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "flat").mkdir()
    for path in (made / "flat").iterdir():
        if path.is_file():
            (tmp_path / "other" / "flat" / path.name).write_bytes(path.read_bytes())
    assert "two runs have the name 'flat'" in told(capsys, made / "flat", tmp_path / "other" / "flat")


def test_other_machines_need_a_token(capsys, made, tmp_path):
    assert "needs a token: set ANATOMARK_TOKEN" in told(capsys, made / "flat", "--host", "0.0.0.0")
    assert "16 or more" in told(capsys, made / "flat", "--host", "0.0.0.0", "--token", "short")
    (tmp_path / "token").write_text("short\n")
    assert "16 or more" in told(capsys, made / "flat", "--token-file", tmp_path / "token")
    assert "none: No such file" in told(capsys, made / "flat", "--token-file", tmp_path / "none")
    both = ("--token", TOKEN, "--token-file", tmp_path / "token")
    assert "both given" in told(capsys, made / "flat", *both)


def test_places_that_are_none(capsys, made, tmp_path):
    assert "is not a folder" in told(capsys, made / "flat", "--root", tmp_path / "none")
    (tmp_path / "file").write_text("")
    assert "cannot be written to" in told(capsys, made / "flat", "--corrections", tmp_path / "file")
    assert "is not an address of this machine" in told(
        capsys, made / "flat", "--host", "no.such.host.invalid", "--token", TOKEN
    )


def test_a_port_that_is_taken(capsys, made):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert f"cannot listen on 127.0.0.1, port {port} (Address already in use)" in told(
            capsys, made / "flat", "--port", port
        )


def test_limits_that_are_none(capsys, made):
    line = told(capsys, made / "flat", "--timeout", 0, "--queue", -1, "--max-voxels", 0, "--max-upload-mib", "nan")
    for name in ("--timeout", "--queue", "--max-voxels", "--max-upload-mib"):
        assert name in line


def test_without_the_extra(capsys, made, monkeypatch):
    monkeypatch.setattr("anatomark.web.server.find_spec", lambda name: None)
    assert "pip install 'anatomark[server]'" in told(capsys, made / "flat")


def test_a_model_in_pixels_takes_the_pixels_of_a_volume_of_one_slice():
    """Whatever spacing Slicer has put down for them; and the points come back where Slicer shows the pixels."""
    direction = np.array([[0.0, 1.0, 0.0], [0.0, 0.0, -1.0], [-1.0, 0.0, 0.0]])
    grid = Grid.from_geometry((7, 1, 5), spacing=(0.5, 9.0, 0.25), origin=(1.0, 2.0, 3.0), direction=direction)
    image = Image(np.arange(35).reshape(7, 1, 5), grid)
    held = as_picture(image, "px", None)
    assert held is not None
    picture, back = held
    assert (picture.grid.shape, picture.grid.unit, picture.grid.spacing) == ((7, 5), "px", (1.0, 1.0))
    assert np.array_equal(picture.array, np.arange(35).reshape(7, 5))
    points = Landmarks(("a", "b"), np.array([[4.0, 6.0], [np.nan] * 2]), np.array([State.PRESENT, State.ABSENT]), "px")
    world = back(points)
    assert np.allclose(world["a"], grid.index_to_world(np.array([6.0, 0.0, 4.0])))
    assert world.states.tolist() == [State.PRESENT, State.ABSENT]
    assert as_picture(image, "mm", None)[0].grid.spacing == (0.25, 0.5)
    assert as_picture(image, "px", (0.1, 0.2))[0].grid.spacing == (0.2, 0.1)
    assert as_picture(image, "mm", (0.1, 0.2, 0.3)) is None


@pytest.mark.parametrize("shape", [(7, 2, 5), (1, 1, 5)])
def test_a_volume_of_several_slices_stays_one(shape):
    grid = Grid.from_geometry(shape, spacing=(1.0, 1.0, 1.0))
    assert as_picture(Image(np.zeros(shape), grid), "mm", None) is None

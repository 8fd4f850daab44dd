"""The commands of the README, and the Python of all pages, do what they say: on a few small images, in few steps.

The tutorial of the first model is run by test_tutorial.py, notebooks by test_notebooks.py.
"""

import re
import shlex
from pathlib import Path

import numpy as np
import pytest

from anatomark import Grid, Image, load_dataset, write_image
from anatomark.cli.main import run
from anatomark.data.phantoms import make_phantoms

ROOT = Path(__file__).parents[2]
SHORT = {"steps": 4, "validations": 1}


def blocks(page, language):
    text = (ROOT / page).read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with my_xrays/, whose first landmark is sella, and new.png."""
    folder = tmp_path_factory.mktemp("pages")
    path = make_phantoms(folder / "my_xrays", ndim=2, cases=16, landmarks=4, shape=(64, 72), spacing=(2.5, 3), seed=3)
    dataset = load_dataset(path)
    for file in (path, path.parent / "landmarks.csv"):
        text = file.read_text(encoding="utf-8")
        file.write_text(re.sub(rf"\b{dataset.names[0]}\b", "sella", text), encoding="utf-8")
    array = np.asarray(dataset.split("test")[0].read_image().array)
    write_image(Image(array, Grid.from_geometry(array.shape, spacing=(0.25, 0.25))), folder / "new.png")
    return folder


@pytest.mark.slow
def test_the_readme(place, monkeypatch, capsys):
    monkeypatch.chdir(place)
    commands = next(block for block in blocks("README.md", "") if block.startswith("anatomark init"))
    for line in commands.splitlines():
        _, verb, *words = shlex.split(line, comments=True)
        if verb == "init":
            continue  # these images have a description already; tests/data/test_init.py
        if verb == "review":
            break  # tests/review
        if verb == "train":
            settings = [word for name, value in SHORT.items() for word in ("--set", f"{name}={value}")]
            words = [*words[: words.index("--minutes")], "--method", "unet-votes", "--device", "cpu", *settings]
        assert run([verb, *words]) == 0, capsys.readouterr().err
    (program,) = blocks("README.md", "python")
    assert program.count('settings={"minutes": 60}') == 1
    program = program.replace('settings={"minutes": 60}', f'method="unet-votes", settings={SHORT}')
    found = {}
    exec(program.replace("runs/first", "runs/python"), found)
    assert found["prediction"].landmarks["sella"].shape == (2,)
    assert found["metrics"].overall.n > 0

    (program,) = blocks("docs/api.md", "python")
    exec(program, found)
    assert len(found["prediction"].error_bound) == 4


def test_an_image_from_labels(tmp_path, monkeypatch):
    (tmp_path / "labels").mkdir()
    labels = np.zeros((24, 24, 24), dtype=np.uint8)
    labels[4:20, 4:20, 4:20] = 3
    labels[8:16, 8:16, 8:16] = 2
    grid = Grid.from_geometry(labels.shape, spacing=(1.0, 1.0, 1.0))
    write_image(Image(labels, grid), tmp_path / "labels" / "p01.nii.gz")
    monkeypatch.chdir(tmp_path)
    (program,) = blocks("docs/synthetic.md", "python")
    found = {}
    exec(program, found)
    assert found["image"].grid.shape == labels.shape


def test_no_page_has_python_that_is_not_run():
    pages = [path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").rglob("*.md")]
    having = {page for page in [*pages, "README.md"] if blocks(page, "python")}
    assert having == {"README.md", "docs/api.md", "docs/synthetic.md", "docs/tutorials/first_model.md"}

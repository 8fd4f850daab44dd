"""The notebooks do what they say, with fewer images and shorter trainings; and they are notebooks."""

from pathlib import Path

import pytest
from PIL import Image

NOTEBOOKS = Path(__file__).parents[2] / "examples" / "notebooks"
NAMES = sorted(path.name for path in NOTEBOOKS.iterdir() if path.suffix == ".py")
SHORTER = {
    "Image.open(": "shown(",
    "cases=60": "cases=12, shape=(64, 72), spacing=(2.5, 3)",
    'settings={"minutes": 2}': 'device="cpu", settings=few[method]',
    'settings={"minutes": 3}': 'device="cpu", settings=few["unet-votes"]',
    'settings={"minutes": 4}': 'device="cpu", settings=few["unet-votes"] | {"spacing": [5.0] * 3}',
}
FEW = {
    "unet-votes": {"steps": 2, "validations": 1, "channels": [4, 6, 8]},
    "global-to-local": {"global_steps": 2, "local_steps": 2, "validations": 1, "spacing": [6.0, 5.0]},
}


def shown(path):
    with Image.open(path) as picture:
        picture.verify()


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_runs(name, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    program = (NOTEBOOKS / name).read_text(encoding="utf-8")
    for long, short in SHORTER.items():
        program = program.replace(long, short)
    assert "minutes" not in program.replace("four minutes", "").replace("three minutes", "")
    exec(program, {"few": FEW, "shown": shown})
    assert capsys.readouterr().out


@pytest.mark.parametrize("name", NAMES)
def test_it_is_a_notebook(name):
    jupytext = pytest.importorskip("jupytext", reason="needs jupytext: pip install 'anatomark[docs]'")
    nbformat = pytest.importorskip("nbformat")
    notebook = jupytext.read(NOTEBOOKS / name)
    nbformat.validate(notebook)
    kinds = [cell["cell_type"] for cell in notebook["cells"]]
    assert kinds[0] == "markdown"
    assert notebook["cells"][0]["source"].startswith("# ")
    assert "code" in kinds

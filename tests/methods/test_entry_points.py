"""Methods that other packages bring by an entry point of the group `anatomark.methods`."""

import json
import shutil
import sys
import tomllib
from pathlib import Path

import pytest

from anatomark import load, load_dataset, make_phantoms, methods, train
from anatomark.cli.main import run
from anatomark.errors import UnknownNameError

EXAMPLES = Path(__file__).parents[2] / "examples"


def install(site: Path, entries: dict[str, str], name: str = "anatomark-nearest-case") -> None:
    """The files that pip leaves of a package with these entry points."""
    info = site / f"{name.replace('-', '_')}-0.1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 0.1.0\n")
    lines = [f"{key} = {value}" for key, value in entries.items()]
    (info / "entry_points.txt").write_text("\n".join(["[anatomark.methods]", *lines, ""]))


@pytest.fixture
def site(tmp_path, monkeypatch):
    """A folder that Python takes packages from; no method is registered by a call."""
    monkeypatch.setattr(methods, "_registered", {})
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    yield folder
    for example in ("nearest_case", "monai_unet"):
        sys.modules.pop(example, None)


def install_example(site: Path, folder: str) -> None:
    """The package in that folder of `examples`, as pip would install it."""
    declared = tomllib.loads((EXAMPLES / folder / "pyproject.toml").read_text())
    project, (module,) = declared["project"], declared["tool"]["hatch"]["build"]["targets"]["wheel"]["only-include"]
    install(site, project["entry-points"]["anatomark.methods"], project["name"])
    shutil.copy(EXAMPLES / folder / module, site)


def test_the_example_is_trained_and_used_like_any_other(site, tmp_path):
    install_example(site, "nearest_case")
    assert methods.known_methods()[-1] == "nearest-case"

    data = make_phantoms(tmp_path / "data", cases=8, landmarks=4, shape=(32, 40), spacing=(5, 5), absent=False)
    model = load(train(load_dataset(data), out=tmp_path / "run", method="nearest-case", device="cpu"))
    assert json.loads((tmp_path / "run" / "model.json").read_text())["method"] == "nearest-case"
    case = load_dataset(data).split("train")[0]
    found = model.predict(case.read_image())
    assert found.landmarks.points == pytest.approx(case.reference.points, abs=0.1)


def test_the_network_of_monai_is_found_by_its_entry_point(site):
    pytest.importorskip("monai")
    install_example(site, "monai_unet")
    assert methods.detector_class("monai-unet").__module__ == "monai_unet"


def test_an_unknown_method_is_told_which_there_are(site, tmp_path, capsys):
    install(site, {"theirs": "theirs:Theirs"})
    data = make_phantoms(tmp_path / "data", cases=3, shape=(32, 40), spacing=(5, 5))
    assert run(["train", str(data), "--out", str(tmp_path / "run"), "--method", "our"]) == 2
    error = capsys.readouterr().err
    assert "no method 'our'" in error
    assert "atlas, theirs, auto, both" in error


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (None, "'theirs' of other cannot be imported"),
        ("class Other: pass", "'theirs' of other cannot be imported"),
        ("class Theirs: name = 'other'", "'theirs' of other calls itself 'other'"),
        ("class Theirs: pass", "'theirs' of other calls itself None"),
    ],
)
def test_a_package_that_is_damaged_is_named(site, monkeypatch, text, told):
    install(site, {"theirs": "their_module:Theirs"}, name="other")
    if text is not None:
        (site / "their_module.py").write_text(text)
    monkeypatch.delitem(sys.modules, "their_module", raising=False)
    with pytest.raises(UnknownNameError, match=told):
        methods.detector_class("theirs")


def test_no_package_takes_the_place_of_a_method_that_is_here(site):
    install(site, {"atlas": "theirs:Theirs"})
    assert methods.detector_class("atlas").__module__ == "anatomark.methods.atlas.method"
    assert methods.known_methods().count("atlas") == 1

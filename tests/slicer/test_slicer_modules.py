"""The modules' files against what Slicer reads: its execution model's schema, its .ui form, its own names."""

import ast
import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
from PIL import Image

from anatomark import load, read_image, read_landmarks
from tests.slicer.conftest import SLICER

PREDICT = SLICER / "AnatomarkPredict"
PANEL = SLICER / "AnatomarkLandmarks"

# ModuleDescription.xsd of Slicer's execution model: the head in its order, and which elements a parameter has.
# `pointfile` came later (SlicerExecutionModel commit d7d3c9c, "Add the pointfile flag") and is read as `file` is, with
# a coordinateSystem; Slicer takes its first extension for the file that it asks for (vtkSlicerCLIModuleLogic).
HEAD = ["category", "title", "description", "version", "documentation-url", "license", "contributor"]
PLAIN = {"name", "flag", "longflag", "description", "label", "default"}
INDEXED = {"name", "label", "description", "channel", "index"}
ELEMENTS = {
    "double": PLAIN | {"constraints"},
    "string": PLAIN,
    "directory": PLAIN,
    "image": INDEXED,
    "pointfile": INDEXED,
}
ATTRIBUTES = {
    "double": {"multiple", "hidden"},
    "string": {"multiple", "hidden"},
    "directory": {"multiple", "hidden"},
    "image": {"fileExtensions", "reference", "type", "hidden"},
    "pointfile": {"fileExtensions", "coordinateSystem", "multiple", "type"},
}


@pytest.fixture
def executable():
    return ElementTree.parse(PREDICT / "AnatomarkPredict.xml").getroot()


def parameters(executable):
    return [p for group in executable.findall("parameters") for p in group if p.tag not in ("label", "description")]


def test_the_head_is_in_the_schemas_order(executable):
    assert executable.tag == "executable"
    tags = [child.tag for child in executable]
    assert tags[: len(HEAD)] == HEAD
    assert set(tags[len(HEAD) :]) == {"parameters"}
    for group in executable.findall("parameters"):
        assert [child.tag for child in group][:2] == ["label", "description"]
        assert not group.attrib


def test_every_parameter_is_of_the_schema(executable):
    for parameter in parameters(executable):
        children = [child.tag for child in parameter]
        assert set(children) <= ELEMENTS[parameter.tag], parameter.tag
        assert len(set(children)) == len(children)
        assert {"name", "label", "description"} <= set(children)
        assert set(parameter.attrib) <= ATTRIBUTES[parameter.tag]
        assert ("index" in children) != ("longflag" in children)
        if ELEMENTS[parameter.tag] == INDEXED:
            assert set(children) == INDEXED  # xsd:all
            assert parameter.findtext("channel") in ("input", "output")
        if "constraints" in children:
            assert children[-1] == "constraints"
            limits = parameter.find("constraints")
            assert [child.tag for child in limits] == ["minimum", "maximum", "step"]
            low, high, _ = (float(child.text) for child in limits)
            assert low <= float(parameter.findtext("default")) <= high
    names = [parameter.findtext("name") for parameter in parameters(executable)]
    assert len(set(names)) == len(names)
    assert all(re.fullmatch(r"[A-Za-z_]\w*", name) for name in names)
    indices = sorted(int(p.findtext("index")) for p in parameters(executable) if p.find("index") is not None)
    assert indices == list(range(len(indices)))


def test_the_version_is_the_packages(executable):
    import anatomark

    assert executable.findtext("version") == anatomark.__version__


def call(executable, *, environment=None, **values):
    """The command as Slicer makes it from the description: flags, then what has an index, in its order."""
    command = [sys.executable, str(PREDICT / "AnatomarkPredict.py")]
    indexed = {}
    for parameter in parameters(executable):
        value = str(values.get(parameter.findtext("name"), parameter.findtext("default") or ""))
        if parameter.find("index") is not None:
            indexed[int(parameter.findtext("index"))] = value
        elif value:
            command += [parameter.findtext("longflag"), value]
    command += [indexed[k] for k in sorted(indexed)]
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)


def test_the_command_does_what_the_description_says(executable, made, tmp_path):
    image = made / "ph3" / "images" / "case_001.nii.gz"
    (pointfile,) = [p for p in parameters(executable) if p.tag == "pointfile"]
    target = tmp_path / f"BJDHB_vtkMRMLMarkupsFiducialNodeB{pointfile.get('fileExtensions').split(',')[0]}"
    done = call(executable, run=made / "deep", image=image, landmarks=target, python=sys.executable)
    assert done.returncode == 0, done.stderr
    wanted = load(made / "deep", device="cpu").predict(read_image(image)).thresholded()
    landmarks = read_landmarks(target)
    assert landmarks.names == wanted.names
    assert np.allclose(landmarks.points, wanted.points, rtol=0, atol=1e-3, equal_nan=True)
    assert pointfile.get("coordinateSystem").upper() == "LPS"
    assert '"coordinateSystem": "LPS"' in target.read_text()


def test_the_command_tells_its_errors_in_a_line(executable, made, tmp_path):
    target = tmp_path / "out.mrk.json"
    done = call(executable, run=tmp_path, image=made / "ph3" / "images" / "case_001.nii.gz", landmarks=target)
    assert done.returncode == 2
    assert "it is not a run folder" in done.stderr
    assert "Traceback" not in done.stderr
    assert not target.exists()


def test_the_command_says_where_anatomark_may_be(executable, tmp_path):
    bare = {"PATH": str(tmp_path), "PYTHONNOUSERSITE": "1"}
    program = PREDICT / "AnatomarkPredict.py"
    done = subprocess.run(
        [sys.executable, "-S", "-E", program, "--run", "r", "in.nrrd", "out.mrk.json"],
        capture_output=True, text=True, env=bare, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert "give the one that has it with --python" in done.stderr


def test_the_command_shows_its_description(executable):
    done = subprocess.run([sys.executable, PREDICT / "AnatomarkPredict.py", "--xml"], capture_output=True, check=True)
    assert ElementTree.fromstring(done.stdout).findtext("title") == executable.findtext("title")


@pytest.fixture
def panel():
    return ElementTree.parse(PANEL / "Resources" / "UI" / "AnatomarkLandmarks.ui").getroot()


def test_the_panel_is_a_form_of_qt_designer(panel):
    assert (panel.tag, panel.get("version")) == ("ui", "4.0")
    names = [widget.get("name") for widget in panel.iter("widget")]
    assert len(set(names)) == len(names)
    own = {widget.get("class") for widget in panel.iter("widget") if not widget.get("class").startswith("Q")}
    assert own == {custom.findtext("class") for custom in panel.iter("customwidget")}
    for connection in panel.iter("connection"):
        assert {connection.findtext("sender"), connection.findtext("receiver")} <= set(names)
    for selector in (w for w in panel.iter("widget") if w.get("class") == "qMRMLNodeComboBox"):
        received = [
            c.findtext("receiver") for c in panel.iter("connection") if "mrmlSceneChanged" in c.findtext("signal")
        ]
        assert selector.get("name") in received


def test_the_module_names_only_what_its_panel_has(panel):
    source = (PANEL / "AnatomarkLandmarks.py").read_text()
    used = set(re.findall(r"self\.ui\.(\w+)", source))
    assert used
    assert used <= {widget.get("name") for widget in panel.iter("widget")}


def test_slicer_finds_the_classes_by_the_files_name():
    tree = ast.parse((PANEL / "AnatomarkLandmarks.py").read_text())
    classes = {node.name for node in tree.body if isinstance(node, ast.ClassDef)}
    assert {"AnatomarkLandmarks", "AnatomarkLandmarksWidget", "AnatomarkLandmarksLogic"} <= classes


def test_the_icon_is_one():
    with Image.open(PANEL / "Resources" / "Icons" / "AnatomarkLandmarks.png") as icon:
        assert (icon.format, icon.size, icon.mode) == ("PNG", (128, 128), "RGBA")
    assert os.path.getsize(PANEL / "Resources" / "Icons" / "AnatomarkLandmarks.png") < 20_000

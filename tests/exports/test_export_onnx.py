"""What ONNX Runtime finds by an exported model is what PyTorch finds, by every method, in 2D and 3D, at any size."""

import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from untrained import METHODS, SPACING, image_of, save_untrained

from anatomark import Dataset, adapt, calibrate, export_model, load, predict_to_folder
from anatomark.cli.main import run as command_line
from anatomark.errors import MissingExtraError, ModelError, OutputError, SettingsError, UnknownNameError
from anatomark.exports.description import NAME
from anatomark.formats.images import write_image
from anatomark.methods.networks import NetworkDetector

for package in ("onnx", "onnxscript", "onnxruntime"):
    pytest.importorskip(package)
ROOT = Path(__file__).parents[2]
OLD = ROOT / "tests" / "fixtures" / "old_models" / "6237412"
TOLERANCE_MM = 1e-3
QUICK = (*((method, 2) for method in METHODS), ("global-to-local", 3))
LONG = [pytest.param(method, 3, marks=pytest.mark.long) for method in METHODS if method != "global-to-local"]
Exported = Callable[[str, int], tuple[Path, Path]]


@pytest.mark.parametrize(("method", "ndim"), [*QUICK, *LONG])
def test_the_points_are_those_of_pytorch_in_images_of_any_size(method: str, ndim: int, exported: Exported) -> None:
    run, bundle = exported(method, ndim)
    other, own = load(bundle / "models"), load(run, device="cpu")
    assert isinstance(other.detector, NetworkDetector)
    assert not other.detector.networks
    for number, shape in enumerate(
        [(34, 28), (51, 70), (1, 40)] if ndim == 2 else [(20, 26, 22), (27, 41, 33), (1, 30, 2)]
    ):
        image = image_of(ndim, shape, seed=number)
        ours, theirs = own.predict(image), other.predict(image)
        assert np.isfinite(ours.landmarks.points).all()
        np.testing.assert_allclose(theirs.landmarks.points, ours.landmarks.points, rtol=0, atol=TOLERANCE_MM)
        np.testing.assert_allclose(theirs.spread, ours.spread, rtol=0, atol=TOLERANCE_MM)
        np.testing.assert_allclose(theirs.presence, ours.presence, rtol=0, atol=1e-4)


@pytest.mark.long
@pytest.mark.parametrize("method", ["global-to-local", "two-stage", "unet-votes", "heatmap"])
def test_one_landmark_is_found_too(method: str, tmp_path: Path) -> None:
    """And the local network that landmarks share."""
    settings = {"local_shared": True} if method == "global-to-local" else {}
    run = save_untrained(tmp_path / "run", method, 2, ("tip",), **settings)
    image = image_of(2, (51, 70))
    ours = load(run, device="cpu").predict(image)
    theirs = load(run, runtime="onnx").predict(image)
    np.testing.assert_allclose(theirs.landmarks.points, ours.landmarks.points, rtol=0, atol=TOLERANCE_MM)


def test_the_description_names_the_graphs_and_their_sizes(exported: Exported) -> None:
    import onnxruntime

    for method, ndim in QUICK:
        folder = exported(method, ndim)[1] / "models"
        told = json.loads((folder / NAME).read_text())
        assert told["landmarks"] == list("abcdef")
        assert told["points"] == {"frame": "LPS", "unit": "mm", "order": ["x", "y", "z"][:ndim]}
        assert {path.name for path in folder.glob("*.onnx")} == {graph["file"] for graph in told["graphs"].values()}
        for graph in told["graphs"].values():
            session = onnxruntime.InferenceSession(folder / graph["file"], providers=["CPUExecutionProvider"])
            shapes = {given.name: [str(n).replace(" ", "") for n in given.shape] for given in session.get_inputs()}
            assert shapes == {
                name: [str(n).replace(" ", "") for n in given["shape"]] for name, given in graph["inputs"].items()
            }
            assert [found.name for found in session.get_outputs()] == list(graph["outputs"])


def test_no_file_says_where_it_was_made(exported: Exported) -> None:
    for method, ndim in QUICK:
        for path in exported(method, ndim)[1].rglob("*"):
            content = path.read_bytes() if path.is_file() else b""
            for place in (str(ROOT).encode(), b"site-packages", b".py"):
                assert place not in content.replace(b"`anatomark predict", b""), f"{path.name} has {place!r}"


def test_predict_by_onnx_runtime_exports_a_run_folder_by_itself(
    tmp_path: Path, exported: Exported, capsys: pytest.CaptureFixture[str]
) -> None:
    run, bundle = exported("global-to-local", 2)
    write_image(image_of(2, (34, 28)), tmp_path / "image.mha")
    tables: list[str] = []
    for number, words in enumerate(([run], [run, "--runtime", "onnx"], [bundle / "models", "--runtime", "onnx"])):
        out = tmp_path / str(number)
        arguments = ["predict", *words, tmp_path / "image.mha", "--device", "cpu", "--no-overlays", "--out", out]
        assert command_line([str(word) for word in arguments]) == 0, capsys.readouterr().err
        tables.append((out / "predictions.csv").read_text())
    own, *others = ([line.split(",") for line in table.splitlines()[1:]] for table in tables)
    for other in others:
        assert [row[:2] for row in other] == [row[:2] for row in own]
        points = [np.array([row[2:4] for row in rows], dtype=float) for rows in (own, other)]
        np.testing.assert_allclose(points[1], points[0], rtol=0, atol=TOLERANCE_MM)


def test_what_cannot_be_exported_gets_one_line(tmp_path: Path, exported: Exported) -> None:
    run, bundle = exported("global-to-local", 2)
    out = tmp_path / "out"
    for source, error, words in (
        (OLD / "atlas-2d", ModelError, "the method atlas cannot be exported"),
        (OLD / "folds-2d", ModelError, "is an ensemble of 2 members; export one of them: .*fold1, .*fold2"),
        (tmp_path, ModelError, "it is not a run folder"),
        (bundle / "models", ModelError, "is exported already"),
    ):
        with pytest.raises(error, match=words):
            export_model(source, out=out)
    with pytest.raises(UnknownNameError, match="no export to 'tensorrt'; there are: onnx, monai"):
        export_model(run, out=out, to="tensorrt")  # pyright: ignore[reportArgumentType]
    assert not out.exists()

    taken = tmp_path / "taken"
    taken.mkdir()
    (taken / "mine.txt").write_text("mine")
    with pytest.raises(OutputError, match="taken has files already; choose another --out"):
        export_model(run, out=taken)
    with pytest.raises(OutputError, match=r"mine\.txt is not a folder"):
        export_model(run, out=taken / "mine.txt")
    assert [path.name for path in taken.iterdir()] == ["mine.txt"]


def test_an_exported_model_is_for_onnx_runtime_on_the_cpu(exported: Exported) -> None:
    folder = exported("global-to-local", 2)[1] / "models"
    with pytest.raises(SettingsError, match="without PyTorch's weights; leave out --runtime"):
        load(folder, runtime="torch")
    with pytest.raises(SettingsError, match="use --device cpu"):
        load(folder, device="cuda")


def test_an_exported_model_is_not_calibrated(exported: Exported) -> None:
    """Its export.json would no longer say what its bounds are."""
    folder = exported("global-to-local", 2)[1] / "models"
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    dataset = Dataset.from_images([], ndim=2, spacing=SPACING[2], names=("a", "b", "c"))
    for learn in (calibrate, partial(adapt, out=folder.parent / "adapted")):
        with pytest.raises(ModelError, match="is an exported model, which stays as it is; calibrate the run folder"):
            learn(folder, dataset, split="all")
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == files
    assert not (folder.parent / "adapted").exists()


def test_an_ensemble_is_answered_by_onnx_runtime_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its members are exported one by one; here that is seen without exporting them."""
    from anatomark.exports import sessions

    monkeypatch.setattr(sessions, "onnx_of", lambda graph: graph)
    monkeypatch.setattr(sessions, "Session", lambda graph: graph.call)
    own, other = load(OLD / "folds-2d", device="cpu"), load(OLD / "folds-2d", runtime="onnx")
    assert len(other.members) == 2
    image = image_of(2, (64, 56))
    np.testing.assert_array_equal(own.predict(image).landmarks.points, other.predict(image).landmarks.points)


@pytest.mark.parametrize("package", ["onnx", "onnxscript", "onnxruntime"])
def test_a_missing_package_is_named_with_its_extra(
    package: str, tmp_path: Path, exported: Exported, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, bundle = exported("global-to-local", 2)
    found = importlib.util.find_spec
    monkeypatch.setattr("anatomark.errors.find_spec", lambda name: None if name == package else found(name))
    line = rf"needs {package}, which is not installed; install the extra: pip install 'anatomark\[onnx\]'"
    with pytest.raises(MissingExtraError, match=line):
        export_model(run, out=tmp_path / "out")
    with pytest.raises(MissingExtraError, match=line):
        load(run, runtime="onnx")
    if package == "onnxruntime":
        with pytest.raises(MissingExtraError, match=line):
            load(bundle / "models")
    assert not (tmp_path / "out").exists()


def test_a_damaged_export_gets_one_line(tmp_path: Path, exported: Exported) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(exported("global-to-local", 2)[1] / "models", folder)
    whole = (folder / "global.onnx").read_bytes()
    (folder / "global.onnx").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ModelError, match=r"global\.onnx cannot be opened by ONNX Runtime"):
        load(folder)
    (folder / "global.onnx").unlink()
    with pytest.raises(ModelError, match=r"global\.onnx: no such file"):
        load(folder)
    told = json.loads((folder / NAME).read_text())
    for held, words in (
        (told | {"format": 99}, "has format 99, this version reads 1"),
        (told | {"graphs": {"global": {"file": "../global.onnx"}}}, "does not describe an exported model"),
        ([], "does not describe an exported model"),
    ):
        (folder / NAME).write_text(json.dumps(held))
        with pytest.raises(ModelError, match=words):
            load(folder)


def test_what_a_prediction_was_stopped_with_is_told_apart(tmp_path: Path, exported: Exported) -> None:
    run, _ = exported("global-to-local", 2)
    from anatomark.prediction_journal import Asked

    one = Asked(str(run), {}, 0.9, "keep", None, False)
    other = Asked(str(run), {}, 0.9, "keep", None, False, "onnx")
    assert one.differences(other) == ["runtime was None, now onnx"]


def test_a_killed_export_leaves_no_folder(tmp_path: Path) -> None:
    run = save_untrained(tmp_path / "run", "global-to-local", 2)
    out = tmp_path / "out"
    program = f"import anatomark; anatomark.export_model({str(run)!r}, out={str(out)!r})"
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1"}
    running = subprocess.Popen([sys.executable, "-c", program], env=environment, stderr=subprocess.DEVNULL)
    while not list(tmp_path.glob(".out.*.partial")):
        assert running.poll() is None
        time.sleep(0.01)
    running.send_signal(signal.SIGKILL)
    running.wait()
    assert not out.exists()
    write_image(image_of(2, (34, 28)), tmp_path / "image.mha")
    predict_to_folder(run, [tmp_path / "image.mha"], out=out, device="cpu", overlays=False)
    assert (out / "predictions.csv").exists()

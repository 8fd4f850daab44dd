"""What bad input gets: exit code 2, one line that names what came and what to do, and nothing half-written."""

import errno
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from anatomark import load_dataset
from anatomark.cli.main import run as command_line
from anatomark.core.grid import Grid
from anatomark.core.image import Image
from anatomark.data.description import Dataset
from anatomark.formats.images import write_image

Refused = Callable[..., str]


def tree(folder: Path) -> dict[str, bytes | None]:
    """Every path under a folder, hidden ones too, with the bytes of files."""
    return {str(p.relative_to(folder)): p.read_bytes() if p.is_file() else None for p in sorted(folder.rglob("*"))}


@pytest.fixture
def refused(capfd: pytest.CaptureFixture[str]) -> Refused:
    """Runs a command that must be refused without a trace in `out`; gives the line that it says."""

    def refuse(*arguments: object, out: Path | None = None) -> str:
        before = None if out is None or not out.is_dir() else tree(out)
        existed = out is not None and out.exists()
        capfd.readouterr()
        code = command_line([str(a) for a in (*arguments, *(() if out is None else ("--out", out)))])
        said = capfd.readouterr().err
        assert code == 2, said
        assert said.startswith("error: "), said
        assert said.count("\n") == 1, said
        if out is not None:
            assert out.exists() == existed
        if before is not None and out is not None:
            assert tree(out) == before
        return said.removeprefix("error: ").rstrip("\n")

    return refuse


@pytest.fixture
def dataset(phantoms: Path) -> Dataset:
    return load_dataset(phantoms)


@pytest.fixture
def image(dataset: Dataset) -> Image:
    return dataset.cases[0].read_image()


@pytest.fixture
def earlier(tmp_path: Path) -> Path:
    """An output folder with a table of an earlier prediction in it."""
    out = tmp_path / "out"
    out.mkdir()
    (out / "predictions.csv").write_text("of an earlier day\n")
    return out


@pytest.fixture
def described(phantoms: Path, tmp_path: Path) -> Callable[..., Path]:
    """Writes a description of the phantoms with some of it changed."""

    def describe(table: str | None = None, **changes: Any) -> Path:
        description = yaml.safe_load(phantoms.read_text()) | {"root": str(phantoms.parent)} | changes
        if table is not None:
            (tmp_path / "table.csv").write_text(table)
            description["annotations"] = {"table": str(tmp_path / "table.csv")}
        path = tmp_path / "dataset.yaml"
        path.write_text(yaml.safe_dump(description))
        return path

    return describe


# --- images ---------------------------------------------------------------------------------------------------------


def spoiled(image: Image, value: float) -> Image:
    array = image.array.astype(np.float32)
    array.flat[7] = value
    return Image(array, image.grid)


def cut(path: Path, image: Image) -> Path:
    write_image(image, path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    return path


def written(path: Path, image: Image) -> Path:
    write_image(image, path)
    return path


def of_bytes(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def flat(image: Image) -> Image:
    return Image(np.full(image.grid.shape, 7, np.int16), image.grid)


def one_voxel(image: Image) -> Image:
    d = image.grid.ndim
    return Image(np.full((1,) * d, 7, np.int16), image.grid.crop([0] * d, [1] * d))


def other_dimension(image: Image) -> Image:
    ndim = 5 - image.grid.ndim
    array = np.random.default_rng(0).integers(0, 200, (20,) * ndim).astype(np.uint8)
    return Image(array, Grid.from_geometry(array.shape, spacing=(1.0,) * ndim))


BAD_IMAGES: dict[str, tuple[Callable[[Path, Image], Path], str]] = {
    "a cut .nii": (lambda f, i: cut(f / "bad.nii", i), "cut short or damaged"),
    "a cut .nii.gz": (lambda f, i: cut(f / "bad.nii.gz", i), "cut short or damaged"),
    "a cut .nrrd": (lambda f, i: cut(f / "bad.nrrd", i), "again"),
    "a cut .mha": (lambda f, i: cut(f / "bad.mha", i), "again"),
    "nan": (lambda f, i: written(f / "bad.nii.gz", spoiled(i, np.nan)), "1 voxels that are NaN or infinite"),
    "infinite": (lambda f, i: written(f / "bad.nrrd", spoiled(i, -np.inf)), "1 voxels that are NaN or infinite"),
    "an empty .nii.gz": (lambda f, i: of_bytes(f / "bad.nii.gz", b""), "is empty (0 bytes)"),
    "an empty .png": (lambda f, i: of_bytes(f / "bad.png", b""), "is empty (0 bytes)"),
    "text for an image": (lambda f, i: of_bytes(f / "bad.png", b"x,y\n1,2\n" * 200), "bad.png"),
    "text": (lambda f, i: of_bytes(f / "bad.txt", b"x,y\n1,2\n" * 200), "is not a readable image"),
    "one voxel": (lambda f, i: written(f / "bad.nii.gz", one_voxel(i)), "a single voxel"),
    "constant": (lambda f, i: written(f / "bad.nii.gz", flat(i)), "same value, 7, in every voxel"),
    "another dimension": (lambda f, i: written(f / "bad.nii.gz", other_dimension(i)), "model was trained on"),
    "a missing file": (lambda f, i: f / "bad.nii.gz", "no such file or folder"),
}  # fmt: skip


@pytest.mark.parametrize("kind", BAD_IMAGES)
def test_a_bad_image(run: Path, image: Image, earlier: Path, tmp_path: Path, refused: Refused, kind: str) -> None:
    make, words = BAD_IMAGES[kind]
    bad = make(tmp_path, image)
    said = refused("predict", run, bad, out=earlier)
    assert str(bad) in said
    assert words in said


def test_a_bad_image_leaves_no_new_folder(run: Path, image: Image, tmp_path: Path, refused: Refused) -> None:
    bad = cut(tmp_path / "bad.nii.gz", image)
    refused("predict", run, bad, out=tmp_path / "new" / "out")
    assert not (tmp_path / "new").exists()


def test_an_image_of_another_dimension_is_told_both(
    run: Path, image: Image, earlier: Path, tmp_path: Path, refused: Refused
) -> None:
    ndim = image.grid.ndim
    bad = written(tmp_path / "bad.mha", other_dimension(image))
    said = refused("predict", run, bad, out=earlier)
    assert f"a {5 - ndim}D image" in said
    assert f"trained on {ndim}D images" in said


@pytest.mark.parametrize("phantoms", [2], indirect=True)
def test_a_png_needs_a_spacing_where_the_model_works_in_mm(
    run: Path, dataset: Dataset, earlier: Path, tmp_path: Path, refused: Refused, capfd: pytest.CaptureFixture[str]
) -> None:
    case = dataset.cases[0]
    assert case.spacing is not None
    said = refused("predict", run, case.image_path, out=earlier)
    assert str(case.image_path) in said
    assert "has no spacing, but the model works in mm; give --spacing" in said
    spacing = ",".join(map(str, case.spacing))
    assert command_line(["predict", str(run), str(case.image_path), "--out", str(earlier), "--spacing", spacing]) == 0
    rows = (earlier / "predictions.csv").read_text().splitlines()
    assert len(rows) == 1 + len(dataset.names)
    assert ",LPS,mm," in rows[1]
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("spacing", ["0.25", "0.25,0.25,1,1", "0.25,wide", "0,1", "nan,1", "1,-1", "", "0.25 0.25"])
def test_a_spacing_that_is_none(run: Path, dataset: Dataset, earlier: Path, refused: Refused, spacing: str) -> None:
    said = refused("predict", run, dataset.cases[0].image_path, f"--spacing={spacing}", out=earlier)
    assert repr(spacing) in said
    assert "0.25,0.25" in said


def test_a_spacing_of_the_other_dimension(run: Path, dataset: Dataset, earlier: Path, refused: Refused) -> None:
    spacing, wanted = ("1,1,1", "x,y in mm") if dataset.ndim == 2 else ("1,1", "x,y,z in mm")
    path = dataset.cases[0].image_path
    said = refused("predict", run, path, "--spacing", spacing, out=earlier)
    assert str(path) in said
    assert wanted in said


def test_a_spacing_that_the_file_contradicts(
    run: Path, image: Image, earlier: Path, tmp_path: Path, refused: Refused
) -> None:
    path = written(tmp_path / "a.nii.gz", image)
    said = refused("predict", run, path, "--spacing", ",".join("9" * image.grid.ndim), out=earlier)
    assert f"{path} states a spacing of" in said
    assert "correct one" in said


def test_the_others_of_a_batch_are_predicted(
    run: Path, dataset: Dataset, image: Image, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    images, out = tmp_path / "images", tmp_path / "out"
    images.mkdir()
    good = [written(images / f"{c.id}.nii.gz", c.read_image()) for c in dataset.cases[:2]]
    bad = cut(images / "bad.nii.gz", image)
    assert command_line(["predict", str(run), str(images), "--out", str(out), "--format", "fcsv"]) == 1
    told = capfd.readouterr().err
    assert sum(line.startswith("error: ") for line in told.splitlines()) == 1
    assert f"error: {bad} is cut short" in told
    assert "1 image" in told.splitlines()[-1]
    rows = (out / "predictions.csv").read_text().splitlines()[1:]
    assert {row.split(",")[0] for row in rows} == {c.id for c in dataset.cases[:2]}
    names = {p.name.removesuffix(".nii.gz") for p in good}
    expected = (
        {"predictions.csv", "images.csv", "overlays"}
        | {f"{n}.fcsv" for n in names}
        | {f"overlays/{n}.png" for n in names}
    )
    assert set(tree(out)) == expected


def test_a_batch_of_bad_images_only(run: Path, image: Image, earlier: Path, tmp_path: Path, refused: Refused) -> None:
    first, second = cut(tmp_path / "a.nii.gz", image), written(tmp_path / "b.nii.gz", flat(image))
    said = refused("predict", run, first, second, out=earlier)
    assert "none of 2 images" in said
    assert str(first) in said


def test_nothing_to_predict(run: Path, earlier: Path, tmp_path: Path, refused: Refused) -> None:
    (tmp_path / "empty").mkdir()
    assert "a folder without images" in refused("predict", run, tmp_path / "empty", out=earlier)


@pytest.mark.parametrize("phantoms", [2], indirect=True)
def test_a_program_of_its_own_says_the_same(run: Path, image: Image, earlier: Path, tmp_path: Path) -> None:
    bad = cut(tmp_path / "bad.nii.gz", image)
    before = tree(earlier)
    done = subprocess.run(
        [sys.executable, "-m", "anatomark", "predict", str(run), str(bad), "--out", str(earlier)],
        capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        f"error: {bad} is cut short or damaged: it ends before its image does; copy or export it again"
    ]
    assert tree(earlier) == before


@pytest.mark.parametrize("phantoms", [3], indirect=True)
def test_a_program_of_its_own_goes_through_a_batch(run: Path, image: Image, tmp_path: Path) -> None:
    files = [written(tmp_path / "images" / f"{name}.nii", image) for name in ("a", "c")]
    bad = cut(tmp_path / "images" / "b.nii", image)
    done = subprocess.run(
        [sys.executable, "-m", "anatomark", "predict", str(run), str(bad.parent), "--out", str(tmp_path / "out")],
        capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert [line for line in done.stderr.splitlines() if line.startswith("error: ")] == [
        f"error: {bad} is cut short or damaged: it ends before its image does; copy or export it again"
    ]
    assert "Traceback" not in done.stderr
    assert {p.name for p in (tmp_path / "out" / "overlays").iterdir()} == {f"{f.stem}.png" for f in files}


# --- frames and names -----------------------------------------------------------------------------------------------


def table_of(dataset: Dataset, **changes: str) -> str:
    """A table of one point without a frame; `changes` add columns or put other words."""
    row = {"image": dataset.cases[0].id, "landmark": dataset.names[0]}
    row |= dict.fromkeys("xyz"[: dataset.ndim], "1.5") | changes
    return ",".join(row) + "\n" + ",".join(row.values()) + "\n"


def test_evaluate_asks_for_the_frame(phantoms: Path, dataset: Dataset, tmp_path: Path, refused: Refused) -> None:
    table = of_bytes(tmp_path / "foreign.csv", table_of(dataset).encode())
    said = refused("evaluate", phantoms, "--predictions", table, out=tmp_path / "scores")
    assert str(table) in said
    assert all(frame in said for frame in ("LPS", "RAS", "pixel"))


def test_evaluate_refuses_a_frame_there_is_not(
    phantoms: Path, dataset: Dataset, tmp_path: Path, refused: Refused
) -> None:
    table = of_bytes(tmp_path / "foreign.csv", table_of(dataset, frame="MNI").encode())
    said = refused("evaluate", phantoms, "--predictions", table, out=tmp_path / "scores")
    assert str(table) in said
    assert "MNI" in said
    assert "LPS" in said


@pytest.mark.parametrize("phantoms", [3], indirect=True)
@pytest.mark.parametrize("name", ["foreign.csv", "foreign.fcsv", "foreign.mrk.json"])
def test_convert_refuses_an_unknown_frame(dataset: Dataset, tmp_path: Path, refused: Refused, name: str) -> None:
    content = {
        "foreign.csv": table_of(dataset),
        "foreign.fcsv": "# Markups fiducial file version = 4.10\n# CoordinateSystem = 7\n"
        "# columns = id,x,y,z,ow,ox,oy,oz,vis,sel,lock,label,desc,associatedNodeID\n1,1,2,3,0,0,0,1,1,1,0,a,,\n",
        "foreign.mrk.json": '{"markups": [{"type": "Fiducial", "coordinateSystem": "MNI",'
        '"controlPoints": [{"label": "a", "position": [1, 2, 3]}]}]}',
    }[name]
    source = of_bytes(tmp_path / name, content.encode())
    target = tmp_path / "made.csv" if name != "foreign.csv" else tmp_path / "made.fcsv"
    said = refused("convert", source, target)
    assert str(source) in said
    assert "LPS" in said
    assert not target.exists()


def test_training_asks_for_the_frame_of_its_table(
    dataset: Dataset, described: Callable[..., Path], tmp_path: Path, refused: Refused
) -> None:
    path = described(table_of(dataset))
    said = refused("train", path, out=tmp_path / "new")
    assert "table.csv" in said
    assert "LPS" in said


def test_evaluate_refuses_an_unknown_landmark(
    phantoms: Path, dataset: Dataset, tmp_path: Path, refused: Refused
) -> None:
    table = of_bytes(tmp_path / "foreign.csv", table_of(dataset, landmark="nasionn", frame="LPS").encode())
    said = refused("evaluate", phantoms, "--predictions", table, out=tmp_path / "scores")
    assert str(table) in said
    assert "nasionn" in said
    assert dataset.names[0] in said


def test_a_data_set_refuses_an_unknown_landmark(
    dataset: Dataset, described: Callable[..., Path], tmp_path: Path, refused: Refused
) -> None:
    near = dataset.names[0] + "x"
    path = described(table_of(dataset, landmark=near, frame="LPS"))
    said = refused("train", path, out=tmp_path / "new")
    assert "table.csv" in said
    assert repr(near) in said
    assert f"did you mean {dataset.names[0]!r}?" in said


@pytest.mark.parametrize("call", ["train", "predict", "evaluate", "check"])
def test_a_missing_description(run: Path, tmp_path: Path, refused: Refused, call: str) -> None:
    path = tmp_path / "nowhere" / "dataset.yaml"
    table = of_bytes(tmp_path / "a.csv", b"image,landmark,x,y,frame\na,b,1,2,LPS\n")
    arguments = {
        "train": ["train", path],
        "predict": ["predict", run, path],
        "evaluate": ["evaluate", path, "--predictions", table],
        "check": ["check", path],
    }[call]
    said = refused(*arguments, out=None if call == "check" else tmp_path / "new")
    assert str(path) in said
    assert "dataset.yaml" in said


def test_missing_predictions(phantoms: Path, tmp_path: Path, refused: Refused) -> None:
    said = refused("evaluate", phantoms, "--predictions", tmp_path / "none.csv", out=tmp_path / "scores")
    assert f"{tmp_path / 'none.csv'} cannot be read: No such file or directory" in said


# --- models ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def model(run: Path, tmp_path: Path) -> Path:
    """A copy of the trained model's files, to be damaged."""
    folder = tmp_path / "model"
    folder.mkdir()
    for name in ("model.json", "model.safetensors", "request.json", "settings.json"):
        shutil.copy(run / name, folder / name)
    return folder


def without_first(tensors: dict[str, Any]) -> dict[str, Any]:
    return dict(sorted(tensors.items())[1:])


def of_another_shape(tensors: dict[str, Any]) -> dict[str, Any]:
    name = sorted(tensors)[0]
    return tensors | {name: tensors[name].new_zeros(3, 1, 4, 1, 5)}


def with_nan(tensors: dict[str, Any]) -> dict[str, Any]:
    name = next(name for name, tensor in sorted(tensors.items()) if tensor.is_floating_point() and tensor.dim())
    spoiled = tensors[name].clone()
    spoiled.view(-1)[0] = float("nan")
    return tensors | {name: spoiled}


BAD_WEIGHTS: dict[str, tuple[Callable[[dict[str, Any]], dict[str, Any]], str]] = {
    "missing": (without_first, "1 tensors missing"),
    "foreign": (lambda t: t | {"global.extra": next(iter(t.values())).clone()}, "1 tensors foreign (extra)"),
    "of a foreign network": (lambda t: t | {"backbone.conv1": next(iter(t.values())).clone()}, "foreign tensors"),
    "of another shape": (of_another_shape, "1 tensors of another shape"),
    "not finite": (with_nan, "1 tensors not finite"),
    "none": (lambda t: {}, "missing"),
}


@pytest.mark.parametrize("kind", BAD_WEIGHTS)
def test_weights_that_do_not_fit(model: Path, dataset: Dataset, earlier: Path, refused: Refused, kind: str) -> None:
    from safetensors.torch import load_file, save_file

    change, words = BAD_WEIGHTS[kind]
    save_file(change(load_file(model / "model.safetensors")), model / "model.safetensors")
    said = refused("predict", model, dataset.cases[0].image_path, out=earlier)
    assert str(model / "model.safetensors") in said
    assert words in said


@pytest.mark.parametrize("length", [0, 5, 100, -1], ids=["empty", "5 bytes", "cut header", "cut end"])
def test_weights_cut_short(model: Path, dataset: Dataset, earlier: Path, refused: Refused, length: int) -> None:
    weights = model / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:length])
    said = refused("predict", model, dataset.cases[0].image_path, out=earlier)
    assert str(weights) in said
    assert "not a whole safetensors file" in said


@pytest.mark.parametrize("gone", ["model.safetensors", "model.json"])
def test_a_run_with_a_part_missing(model: Path, dataset: Dataset, earlier: Path, refused: Refused, gone: str) -> None:
    (model / gone).unlink()
    said = refused("predict", model, dataset.cases[0].image_path, out=earlier)
    assert str(model) in said
    assert gone in said


def test_an_unfinished_run(model: Path, dataset: Dataset, earlier: Path, refused: Refused) -> None:
    for name in ("model.json", "model.safetensors"):
        (model / name).unlink()
    said = refused("predict", model, dataset.cases[0].image_path, out=earlier)
    assert "its training has not finished" in said


def test_no_run(dataset: Dataset, earlier: Path, tmp_path: Path, refused: Refused) -> None:
    image = dataset.cases[0].image_path
    said = refused("predict", tmp_path / "nowhere", image, out=earlier)
    assert f"{tmp_path / 'nowhere'} has no model.json: it is not a run folder" in said
    assert str(image) in refused("predict", image, image, out=earlier)


def put(**changes: Any) -> Callable[[str], str]:
    return lambda text: json.dumps(json.loads(text) | changes)


def put_in_network(**changes: Any) -> Callable[[str], str]:
    def change(text: str) -> str:
        card = json.loads(text)
        card["network"] |= changes
        return json.dumps(card)

    return change


def drop(key: str) -> Callable[[str], str]:
    return lambda text: json.dumps({k: v for k, v in json.loads(text).items() if k != key})


BAD_CARDS: dict[str, tuple[Callable[[str], str], str]] = {
    "cut": (lambda text: text[: len(text) // 2], "cannot be read"),
    "empty": (lambda text: "", "cannot be read"),
    "no text": (lambda text: "\udcff\udcfe", "cannot be read"),
    "a list": (lambda text: "[1, 2]", "does not describe a model"),
    "a number": (lambda text: "3", "does not describe a model"),
    "another version": (put(format=99), "has format 99, this anatomark"),
    "no version": (drop("format"), "does not describe a model (format None)"),
    "another method": (put(method="mystery"), "'mystery'"),
    "no landmarks": (drop("landmarks"), "landmarks"),
    "landmarks that are none": (put(landmarks=5), "does not describe a model"),
    "an empty list of landmarks": (put(landmarks=[]), "does not describe a model"),
    "one landmark twice": (put(landmarks=["a", "a", "b", "c", "d"]), "does not describe a model"),
    "four dimensions": (put(ndim=4), "does not describe a model"),
    "dimensions in words": (put(ndim="two"), "does not describe a model"),
    "another unit": (put(unit="inch"), "does not describe a model"),
    "pairs that are none": (put(pairs=[["a"]]), "does not describe a model"),
    "no presence": (put(presence=None), "does not describe a model"),
    "presence of other stages": (put(presence={"weights": [1.0], "bias": 0.0}), "does not describe a model"),
    "presence not finite": (put(presence={"weights": [1.0, float("nan")], "bias": 0.0}), "does not describe"),
    "a network that is none": (put(network=[1]), "does not describe a model"),
    "an unknown setting": (put_in_network(colour="red"), "colour"),
    "a setting of another version": (
        lambda text: put(anatomark="9.1")(put_in_network(colour="red")(text)),
        "network.colour: extra inputs are not permitted",
    ),
    "a setting left out": (put_in_network(spacing=None), "does not describe a model"),
    "a spacing of another dimension": (put_in_network(spacing=[1.0] * 4), "does not describe a model"),
    "a window left out": (put_in_network(local_window=None), "network.local_window: input should be a valid tuple"),
    "a window of another dimension": (put_in_network(local_window=[16]), "network.local_window is not"),
    "other channels": (put_in_network(global_channels=[8, 16]), "does not describe a model"),
    "a value out of range": (put_in_network(pool=[-1, -1]), "network.pool.0: input should be greater"),
    "wider channels": (put_in_network(global_channels=[8, 16, 16, 64]), "of another shape"),
}


@pytest.mark.parametrize("kind", BAD_CARDS)
def test_a_damaged_model_json(model: Path, dataset: Dataset, earlier: Path, refused: Refused, kind: str) -> None:
    change, words = BAD_CARDS[kind]
    card = model / "model.json"
    card.write_bytes(change(card.read_text()).encode("utf-8", "surrogateescape"))
    said = refused("predict", model, dataset.cases[0].image_path, out=earlier)
    assert str(model / ("model.safetensors" if "shape" in words else "model.json")) in said
    assert words in said


def test_an_image_in_mm_for_a_model_in_px(
    model: Path, image: Image, earlier: Path, tmp_path: Path, refused: Refused
) -> None:
    card = model / "model.json"
    card.write_text(put(unit="px")(card.read_text()))
    path = written(tmp_path / "a.nii.gz", image)
    said = refused("predict", model, path, out=earlier)
    assert f"{path}: has a spacing in mm, but the model works in px" in said


# --- training -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("global_step=5", "no setting 'global_step', did you mean 'global_steps'?"),
        ("colour=red", "no setting 'colour'; there are: "),
        ("ema=2", "ema=2: input should be less than 1"),
        ("global_steps=0", "global_steps=0: input should be greater than 0"),
        ("global_steps=many", "global_steps='many'"),
        ("precision=16", "precision=16"),
        ("spacing=[1]", "spacing has 1 entries, the images have"),
        ("spacing=[1,-1,1]", "spacing=-1"),
        ("pool=[1,1,1,1]", "pool has 4 entries"),
        ("global_crop=[33,33]", "global_crop"),
        ("global_blocks=[1]", "global_blocks, global_channels and global_downsample need one entry"),
        ("local_channels=[]", "local_channels"),
        ("local_channels=[[8],[]]", "local_channels"),
        ("local_window=[3,3]", "local_window"),
        ("local_window=[0,0]", "local_window=0"),
        ("global_steps", "is not of the form key=value"),
        ("=5", "is not of the form key=value"),
        ("spacing=[1", "cannot be read"),
    ],
)
def test_a_setting_that_cannot_be(
    phantoms: Path, dataset: Dataset, tmp_path: Path, refused: Refused, setting: str, words: str
) -> None:
    if dataset.ndim == 3:
        setting = setting.replace("[33,33]", "[33,33,33]").replace("[3,3]", "[3,3,3]").replace("[0,0]", "[0,0,0]")
    few = ("--set", "global_steps=1", "--set", "local_steps=1")  # should it be taken, the test is soon over
    said = refused("train", phantoms, *few, "--set", setting, "--device", "cpu", out=tmp_path / "new")
    assert words in said


def test_all_settings_are_judged_at_once(phantoms: Path, tmp_path: Path, refused: Refused) -> None:
    said = refused("train", phantoms, "--set", "ema=2", "--set", "seeds=1", "--set", "noise=-1", out=tmp_path / "new")
    assert "ema=2" in said
    assert "did you mean 'seed'?" in said
    assert "noise=-1" in said


@pytest.mark.parametrize(
    ("option", "words"),
    [
        (("--method", "heatmp"), "no method 'heatmp'; there are: unet-votes, global-to-local"),
        (("--preset", "noothoft"), "no preset 'noothoft' for global-to-local; there are: noothout2020"),
        (("--train-split", "trian"), "no split 'trian'"),
        (("--validation-split", "valid8"), "no split 'valid8'"),
        (("--validation-split", "train"), "subjects in both train and train"),
    ],
)
def test_a_name_that_nobody_declared(
    phantoms: Path, tmp_path: Path, refused: Refused, option: tuple[str, str], words: str
) -> None:
    assert words in refused("train", phantoms, *option, out=tmp_path / "new")


def test_a_split_that_is_not_there(
    run: Path, phantoms: Path, dataset: Dataset, earlier: Path, tmp_path: Path, refused: Refused
) -> None:
    assert "no split 'tset', did you mean 'test'?" in refused("predict", run, phantoms, "--split", "tset", out=earlier)
    table = of_bytes(tmp_path / "a.csv", table_of(dataset, frame="LPS").encode())
    said = refused("evaluate", phantoms, "--predictions", table, "--split", "tset", out=tmp_path / "scores")
    assert "no split 'tset', did you mean 'test'?" in said
    said = refused("predict", run, dataset.cases[0].image_path, "--split", "test", out=earlier)
    assert "needs a dataset.yaml" in said


def test_an_unknown_format(run: Path, dataset: Dataset, earlier: Path, refused: Refused) -> None:
    said = refused("predict", run, dataset.cases[0].image_path, "--format", "xlsx", out=earlier)
    assert "unknown format 'xlsx'; use one of: csv, mrk.json, fcsv" in said


def test_an_out_that_holds_something_else(
    run: Path, phantoms: Path, dataset: Dataset, tmp_path: Path, refused: Refused
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "thesis.tex").write_text("years of work")
    file = of_bytes(tmp_path / "file", b"a file")
    assert f"{other} exists and is not a run folder; choose another --out" in refused("train", phantoms, out=other)
    assert f"{file} exists and is not a run folder" in refused("train", phantoms, out=file)
    assert str(file) in refused("train", phantoms, out=file / "below")
    assert str(file) in refused("predict", run, phantoms, "--split", "test", out=file)
    assert str(file) in refused("predict", run, phantoms, "--split", "test", out=file / "below")
    table = of_bytes(tmp_path / "a.csv", table_of(dataset, frame="LPS").encode())
    assert str(file) in refused("evaluate", phantoms, "--predictions", table, out=file)
    assert file.read_bytes() == b"a file"


def test_an_out_that_holds_another_run(run: Path, phantoms: Path, refused: Refused) -> None:
    said = refused("train", phantoms, "--set", "seed=3", out=run)
    assert f"{run} holds a run of another kind" in said
    assert "choose another --out" in said


def test_a_damaged_request_of_a_run(phantoms: Path, tmp_path: Path, refused: Refused) -> None:
    out = tmp_path / "run"
    out.mkdir()
    (out / "request.json").write_text('{"method": "global-')
    said = refused("train", phantoms, out=out)
    assert str(out / "request.json") in said
    assert "choose another --out" in said


def test_a_landmark_that_is_never_present(
    phantoms: Path, dataset: Dataset, described: Callable[..., Path], tmp_path: Path, refused: Refused
) -> None:
    rows = (phantoms.parent / "landmarks.csv").read_text().splitlines(keepends=True)
    kept = [row for row in rows if row.split(",")[1] != dataset.names[2]]
    said = refused("train", described("".join(kept)), out=tmp_path / "new")
    assert f"present in no training case: {dataset.names[2]}" in said
    assert "dataset.yaml" in said


def test_a_table_without_a_training_case(
    dataset: Dataset, described: Callable[..., Path], tmp_path: Path, refused: Refused
) -> None:
    test_case = dataset.split("test")[0].id
    path = described(table_of(dataset, image=test_case, frame="LPS"))
    assert "no training case has annotations" in refused("train", path, out=tmp_path / "new")


@pytest.fixture
def with_bad_case(phantoms: Path, tmp_path: Path) -> Callable[[Callable[[Path], object]], Path]:
    """A copy of the phantoms in which one training image is written anew by a function of its path."""

    def copy(spoil: Callable[[Path], object]) -> Path:
        folder = shutil.copytree(phantoms.parent, tmp_path / "phantoms")
        spoil(load_dataset(folder).split("train")[1].image_path)
        return folder / "dataset.yaml"

    return copy


def test_a_bad_image_in_training(
    with_bad_case: Callable[..., Path], tiny: dict[str, Any], tmp_path: Path, refused: Refused
) -> None:
    path = with_bad_case(lambda image: image.write_bytes(image.read_bytes()[:-500]))
    bad = load_dataset(path).split("train")[1].image_path
    settings = [t for k, v in tiny.items() for t in ("--set", f"{k}={json.dumps(v)}")]
    said = refused("train", path, *settings, "--device", "cpu", out=tmp_path / "new")
    assert str(bad) in said


def test_an_image_of_another_dimension_in_training(
    with_bad_case: Callable[..., Path], image: Image, tmp_path: Path, refused: Refused
) -> None:
    def spoil(path: Path) -> None:
        path.unlink()
        write_image(other_dimension(image), path.parent / f"{path.name.split('.')[0]}.nrrd")

    path = with_bad_case(spoil)
    said = refused("train", path, "--device", "cpu", out=tmp_path / "new")
    assert ".nrrd" in said
    assert f"{5 - image.grid.ndim}D" in said


def test_a_run_may_be_started_again_once_the_fault_is_mended(
    phantoms: Path, tiny: dict[str, Any], tmp_path: Path, refused: Refused
) -> None:
    """A call that was refused must not stand in the way of the right one."""
    out = tmp_path / "run"
    out.mkdir()  # an empty folder is welcome, and stays
    crop = [33] * load_dataset(phantoms).ndim
    refused("train", phantoms, "--set", f"global_crop={crop}", "--device", "cpu", out=out)
    assert list(out.iterdir()) == []


# --- a full disk ----------------------------------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[[int], Path]]:
    """Makes a folder on a disk of so many bytes."""
    mounted: list[Path] = []

    def mount(size: int) -> Path:
        folder = tmp_path / f"disk{len(mounted)}"
        folder.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
        try:
            subprocess.run(command, check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError):
            pytest.skip("needs the right to mount a small disk")
        mounted.append(folder)
        return folder

    yield mount
    for folder in mounted:
        subprocess.run(["umount", "-l", str(folder)], check=True, capture_output=True)


FULL = os.strerror(errno.ENOSPC)


@pytest.mark.parametrize("overlays", [True, False])
def test_predict_on_a_full_disk(
    run: Path, phantoms: Path, small_disk: Callable[[int], Path], refused: Refused, overlays: bool
) -> None:
    out = small_disk(4096)
    (out / "predictions.csv").write_text("of an earlier day\n")
    said = refused("predict", run, phantoms, "--overlays" if overlays else "--no-overlays", out=out)
    assert FULL in said
    assert str(out) in said
    assert (out / "predictions.csv").read_text() == "of an earlier day\n"


def test_evaluate_on_a_full_disk(
    run: Path, phantoms: Path, small_disk: Callable[[int], Path], dataset: Dataset, tmp_path: Path, refused: Refused
) -> None:
    out = small_disk(16384)
    (out / "metrics.json").write_text("{}")
    table = of_bytes(tmp_path / "a.csv", table_of(dataset, frame="LPS").encode())
    said = refused("evaluate", phantoms, "--predictions", table, out=out)
    assert FULL in said
    assert str(out) in said
    assert (out / "metrics.json").read_text() == "{}"


def test_convert_on_a_full_disk(
    phantoms: Path, small_disk: Callable[[int], Path], tmp_path: Path, refused: Refused
) -> None:
    out = small_disk(4096)
    (out / "filler").write_bytes(b"x" * 4096)
    said = refused("convert", phantoms.parent / "landmarks.csv", out / "a.csv")
    assert FULL in said
    assert str(out / "a.csv") in said
    assert [p.name for p in out.iterdir()] == ["filler"]


@pytest.fixture
def asked(phantoms: Path, tiny: dict[str, Any]) -> list[str]:
    """A short training, but for its --out."""
    settings = tiny | {"validations": 1, "global_steps": 10, "local_steps": 10}
    return ["train", str(phantoms), "--device", "cpu"] + [
        text for name, value in settings.items() for text in ("--set", f"{name}={json.dumps(value)}")
    ]


@pytest.mark.parametrize("size", [4096, 65536], ids=["settings", "images"])
def test_train_on_a_full_disk(asked: list[str], small_disk: Callable[[int], Path], refused: Refused, size: int) -> None:
    out = small_disk(size) / "run"
    said = refused(*asked, out=out)
    assert FULL in said
    assert str(out) in said


def test_a_disk_that_fills_up_in_training_costs_no_step(
    asked: list[str],
    run: Path,
    dataset: Dataset,
    small_disk: Callable[[int], Path],
    capfd: pytest.CaptureFixture[str],
) -> None:
    """The cache has room, the first checkpoint has not; with more room, the same command goes on and ends."""
    planned = json.loads((run / "settings.json").read_text())["network"]
    coarser = 1 + 1 / np.prod(planned["pool"])
    cases = [*dataset.split("train"), *dataset.split("val")]
    grids = [case.read_grid().canonical().respaced(planned["spacing"]) for case in cases]
    cache = sum(np.prod(grid.shape) for grid in grids) * coarser * (1 if dataset.ndim == 2 else 2)
    disk = small_disk(int(1.02 * cache) + 2 * (run / "model.safetensors").stat().st_size + 50_000)
    out = disk / "run"
    assert command_line([*asked, "--out", str(out)]) == 2
    said = capfd.readouterr().err
    assert said.count("\n") == 1, said
    assert said.startswith(f"error: {out / 'checkpoint.safetensors'} cannot be written: ")
    assert FULL in said
    assert not [p for p in tree(out) if p.startswith(".") or p in ("checkpoint.safetensors", "model.json")]

    subprocess.run(["mount", "-o", "remount,size=64m", str(disk)], check=True)
    assert command_line([*asked, "--out", str(out)]) == 0
    assert capfd.readouterr().err == ""
    assert {"model.json", "model.safetensors"} <= tree(out).keys()


def test_a_disk_that_fills_up_in_prediction_costs_no_image(
    run: Path, phantoms: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """What is predicted stays beside the tables that could not be written, and the same command ends them."""

    def full(source: object, target: object) -> None:
        raise OSError(errno.ENOSPC, FULL, str(target))

    out = tmp_path / "out"
    words = ["predict", str(run), str(phantoms), "--split", "test", "--no-overlays", "--out", str(out)]
    with monkeypatch.context() as patch:
        patch.setattr("anatomark.formats.atomic.os.replace", full)
        assert command_line(words) == 2
    said = capfd.readouterr().err
    assert said.count("\n") == 1, said
    assert FULL in said
    assert str(out) in said
    assert list(tree(out)) == ["predictions.partial.jsonl"]
    assert command_line(words) == 0
    assert "before it was stopped)" in capfd.readouterr().out
    assert set(tree(out)) == {"predictions.csv", "images.csv"}


@pytest.mark.parametrize("verb", ["train", "evaluate", "convert"])
def test_a_refusal_of_the_system(
    asked: list[str], run: Path, phantoms: Path, dataset: Dataset, tmp_path: Path, refused: Refused,
    monkeypatch: pytest.MonkeyPatch, verb: str,
) -> None:  # fmt: skip
    """As on a full disk, where none can be made."""
    table = of_bytes(tmp_path / "a.csv", table_of(dataset, frame="LPS").encode())

    def full(source: object, target: object) -> None:
        raise OSError(errno.ENOSPC, FULL, str(target))

    monkeypatch.setattr("anatomark.formats.atomic.os.replace", full)
    out = tmp_path / "out"
    if verb == "convert":
        said = refused("convert", phantoms.parent / "landmarks.csv", out / "a.csv")
    else:
        arguments = {
            "train": asked,
            "evaluate": ["evaluate", phantoms, "--predictions", table],
        }[verb]
        said = refused(*arguments, out=out)
    assert FULL in said
    assert str(out) in said
    assert not out.exists() or not tree(out)

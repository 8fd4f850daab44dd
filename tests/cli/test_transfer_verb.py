"""`anatomark landmarks` and `anatomark transfer`, from files to files."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from anatomark import init_dataset, load_dataset, read_landmarks, write_image, write_landmarks
from anatomark.cli.main import run as command_line
from anatomark.core.grid import Grid
from anatomark.core.image import Image
from anatomark.core.landmarks import Landmarks, State
from anatomark.data.phantoms import PhantomSpec, phantom
from anatomark.formats.table import read_table

SPEC = PhantomSpec(ndim=2, landmarks=40, shape=(100, 120), spacing=(1.7, 1.9))


@dataclass(frozen=True)
class Set:
    """A template with landmarks, and two images with the truth of theirs."""

    template: Path
    landmarks: Path
    images: Path
    truth: dict[str, Landmarks]


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> Set:
    folder = tmp_path_factory.mktemp("transfer")
    image, landmarks = phantom(3, 0, SPEC)
    write_image(image, folder / "template.nii.gz")
    write_landmarks(landmarks, folder / "template.mrk.json")
    (folder / "images").mkdir()
    truth = {}
    for k in (1, 2):
        image, truth[f"case{k}"] = phantom(3, k, SPEC)
        write_image(image, folder / "images" / f"case{k}.nii.gz")
    return Set(folder / "template.nii.gz", folder / "template.mrk.json", folder / "images", truth)


def call(*arguments: object) -> int:
    return command_line([str(a) for a in arguments])


def refused(capfd: pytest.CaptureFixture[str], *arguments: object) -> str:
    capfd.readouterr()
    assert call(*arguments) == 2
    said = capfd.readouterr().err
    assert said.startswith("error: "), said
    assert said.count("\n") == 1, said
    return said


@pytest.fixture(scope="module")
def transferred(given: Set, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The output for two images and one that is cut short."""
    folder = tmp_path_factory.mktemp("inputs")
    for path in given.images.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    (folder / "broken.nii.gz").write_bytes((folder / "case1.nii.gz").read_bytes()[:300])
    out = tmp_path_factory.mktemp("out") / "new"
    code = call(
        "transfer", given.template, given.landmarks, folder, "--out", out, "--backend", "simpleitk",
        "--tolerance", "1.5", "--format", "mrk.json",
    )  # fmt: skip
    assert code == 1
    return out


def test_the_table_has_every_landmark_of_every_good_image(given: Set, transferred: Path) -> None:
    table = read_table(transferred / "transferred.csv")
    assert sorted(set(table.image)) == ["case1", "case2"]
    assert (table.frame, table.unit, len(table)) == ("LPS", "mm", 80)
    assert np.isnan(table.presence).all()
    assert np.isfinite(table.spread).all()
    for name, truth in given.truth.items():
        rows = table.rows(table.image == name)
        assert tuple(rows.landmark) == truth.names
        kept = rows.states == State.PRESENT
        assert np.mean(kept) > 0.85
        error = np.linalg.norm(rows.coordinates - truth.points, axis=1)
        assert np.nanmean(error) < 0.6
        one = read_landmarks(transferred / f"{name}.mrk.json")
        assert np.array_equal(one.present, kept)
        assert np.allclose(one.points[kept], rows.coordinates[kept], atol=1e-4)
    assert {p.name for p in transferred.iterdir()} == {"transferred.csv", "case1.mrk.json", "case2.mrk.json"}


def test_a_line_an_image_and_one_for_what_failed(given: Set, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    bad = tmp_path / "broken.nii.gz"
    bad.write_bytes(b"no image")
    inputs = (given.images / "case1.nii.gz", bad)
    out = tmp_path / "out"
    out.mkdir()
    (out / "transferred.csv").write_text("of an earlier day\n")
    assert call("transfer", given.template, given.landmarks, *inputs, "--out", out, "--backend", "simpleitk") == 1
    said = capfd.readouterr()
    assert "case1: kept " in said.out
    assert " of 40 (" in said.out
    assert "median inconsistency 0." in said.out
    assert "landmarks on 1 image: " in said.out
    assert said.err.splitlines()[0].startswith(f"error: {bad}")
    assert said.err.splitlines()[1:] == ["1 image failed"]
    assert set(read_table(out / "transferred.csv").image) == {"case1"}


def test_it_can_be_the_annotation_of_a_data_set(given: Set, transferred: Path, tmp_path: Path) -> None:
    """`anatomark init` finds the table, and the data set gives back what was transferred, doubtful ones too."""
    (tmp_path / "images").mkdir()
    for path in given.images.iterdir():
        (tmp_path / "images" / path.name).write_bytes(path.read_bytes())
    text = (transferred / "transferred.csv").read_text().splitlines()
    doubtful = text[1].split(",")
    doubtful[2:4] = "", ""
    (tmp_path / "transferred.csv").write_text("\n".join([text[0], ",".join(doubtful), *text[2:]]) + "\n")
    dataset = load_dataset(init_dataset(tmp_path))
    table = read_table(tmp_path / "transferred.csv")
    for case in dataset.cases:
        rows = table.rows(table.image == case.id)
        (found,) = case.observers.values()
        assert found.names == tuple(rows.landmark)
        assert np.array_equal(found.states, rows.states)
        assert np.array_equal(found.points, rows.coordinates, equal_nan=True)
    first = next(case for case in dataset.cases if case.id == doubtful[0])
    (found,) = first.observers.values()
    assert found.states[0] == State.NOT_ANNOTATED


def test_pictures_in_px_or_with_a_spacing(given: Set, tmp_path: Path) -> None:
    truths = []
    for k in (0, 1):
        image, truth = phantom(3, k, SPEC)
        write_image(Image(image.array.astype(np.uint8), image.grid), tmp_path / f"{k}.png")
        truths.append(Landmarks(truth.names, truth.points / (1.7, 1.9), truth.states, "px"))
    write_landmarks(truths[0], tmp_path / "points.csv", frame="pixel")
    arguments = ("transfer", tmp_path / "0.png", tmp_path / "points.csv", tmp_path / "1.png", "--backend", "simpleitk")
    assert call(*arguments, "--out", tmp_path / "px") == 0
    assert call(*arguments, "--spacing", "1.7,1.9", "--out", tmp_path / "mm") == 0
    for unit, scale in (("px", (1.0, 1.0)), ("mm", (1.7, 1.9))):
        table = read_table(tmp_path / unit / "transferred.csv")
        assert table.unit == unit
        error = np.linalg.norm(table.coordinates / scale - truths[1].points, axis=1)
        assert np.nanmedian(error) < 0.4


def test_bad_input_is_one_line(given: Set, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    image = given.images / "case1.nii.gz"
    out = tmp_path / "out"

    def told(template: Path, landmarks: Path, *more: object) -> str:
        inputs = () if more and isinstance(more[0], Path) else (image,)
        said = refused(capfd, "transfer", template, landmarks, *inputs, *more, "--out", out)
        assert not out.exists()
        return said

    nothing = tmp_path / "nothing"
    assert "nothing.nii.gz does not exist" in told(tmp_path / "nothing.nii.gz", given.landmarks)
    assert "cannot be read" in told(given.template, tmp_path / "none.csv")
    assert f"{nothing}: no such file" in told(given.template, given.landmarks, nothing)
    nothing.mkdir()
    assert "without images" in told(given.template, given.landmarks, nothing)
    assert "two images have the name 'case1'" in told(given.template, given.landmarks, image, given.images)
    assert "ants" in refused_usage(capfd, given, image, out)
    assert "no format 'xml'" in told(given.template, given.landmarks, "--format", "xml")
    assert "tolerance is -1.0" in told(given.template, given.landmarks, "--tolerance", "-1")
    assert "--spacing" in told(given.template, given.landmarks, "--spacing", "wide")

    solid = tmp_path / "solid.csv"
    solid.write_text("landmark,x,y,z,frame\na,1,2,3,LPS\nb,1,2,40,LPS\n")
    assert "its image is 2D" in told(given.template, solid)
    unstated = tmp_path / "unstated.csv"
    unstated.write_text("landmark,x,y\na,100,100\n")
    assert "does not state its coordinate frame" in told(given.template, unstated)
    assert "outside of the template (a)" in told(given.template, unstated, "--frame", "RAS")
    pixels = tmp_path / "pixels.csv"
    pixels.write_text("landmark,x,y,frame\na,500,3,pixel\nb,20,20,pixel\n")
    said = told(given.template, pixels)
    assert "outside of the template (a)" in said
    assert str(pixels) in said


def refused_usage(capfd: pytest.CaptureFixture[str], given: Set, image: Path, out: Path) -> str:
    """A choice that the command line itself refuses."""
    assert call("transfer", given.template, given.landmarks, image, "--out", out, "--backend", "ants") == 2
    return capfd.readouterr().err


def test_where_no_image_takes_the_landmarks(given: Set, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    flat, solid = tmp_path / "flat.nii.gz", tmp_path / "solid.nii.gz"
    grid = Grid.from_geometry((20, 24), spacing=(5.0, 5.0))
    write_image(Image(np.full(grid.shape, 7.0, np.float32), grid), flat)
    write_image(Image(np.arange(4096.0).reshape(16, 16, 16), Grid((16,) * 3, np.eye(4))), solid)
    out = tmp_path / "out"
    arguments = ("transfer", given.template, given.landmarks, "--backend", "simpleitk", "--out", out)
    assert f"{flat} has the same value" in refused(capfd, *arguments, flat)
    assert f"{solid}: images of two kinds" in refused(capfd, *arguments, solid)
    assert "none of 2 images received the landmarks; the first error: " in refused(capfd, *arguments, flat, solid)
    assert not out.exists()


@pytest.mark.parametrize("name", ["points.csv", "points.mrk.json", "points.fcsv"])
def test_proposed_landmarks_are_written(
    given: Set, tmp_path: Path, name: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert call("landmarks", given.template, "--count", 30, "--out", tmp_path / name) == 0
    assert "30 landmarks: " in capfd.readouterr().out
    image, _ = phantom(3, 0, SPEC)
    found = read_landmarks(tmp_path / name, grid=image.grid)
    assert found.names[::29] == ("L0001", "L0030")
    assert image.grid.contains(found.points).all()


def test_landmarks_that_cannot_be_proposed(given: Set, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    solid = tmp_path / "solid.nii.gz"
    write_image(Image(np.arange(512.0).reshape(8, 8, 8), Grid((8,) * 3, np.eye(4))), solid)
    for arguments, what in (
        ((given.template, "--count", 9999, "--out", tmp_path / "a.csv"), "9999 landmarks were asked for"),
        ((given.template, "--count", 9, "--out", tmp_path / "a.doc"), "is not a landmark file"),
        ((given.template, "--count", 9, "--scale", "-2", "--out", tmp_path / "a.csv"), "scale is -2"),
        ((given.template, "--count", 9, "--mask", solid, "--out", tmp_path / "a.csv"), "the mask is 3D"),
        ((tmp_path / "none.nii", "--count", 9, "--out", tmp_path / "a.csv"), "does not exist"),
    ):
        assert what in refused(capfd, "landmarks", *arguments)
    assert [p.name for p in tmp_path.iterdir()] == ["solid.nii.gz"]

"""Conversion from any format to any, with frames, images and folders."""

import inspect
import json

import numpy as np
import pytest

from anatomark.core.grid import Grid
from anatomark.core.image import Image
from anatomark.core.landmarks import Landmarks, State
from anatomark.errors import AnatomarkError, FrameError, ImageError, LandmarkFileError, SpacingError
from anatomark.formats.convert import convert
from anatomark.formats.images import read_image, write_image
from anatomark.formats.landmarks import landmarks_table, read_landmarks, table_landmarks, write_landmarks
from anatomark.formats.table import read_table, write_table

MARKS = Landmarks.from_dict({"a": [1.1, -2.2, 3.3], "b": State.ABSENT, "c": State.NOT_ANNOTATED}, ndim=3)
GRID = Grid.from_geometry((5, 6, 7), spacing=(0.5, 1, 2), origin=(1, 2, 3), direction=np.diag([-1, 1, -1]))
WRITTEN = (".mrk.json", ".fcsv", ".csv", ".tsv")


@pytest.mark.parametrize("source", WRITTEN)
@pytest.mark.parametrize("target", WRITTEN)
@pytest.mark.parametrize("frame", ["LPS", "RAS"])
@pytest.mark.parametrize("ndim", [2, 3])
def test_any_landmark_file_to_any_is_exact(tmp_path, source, target, frame, ndim):
    marks = Landmarks(MARKS.names, MARKS.points[:, :ndim], MARKS.states)
    write_landmarks(marks, tmp_path / f"in{source}")
    written = convert(tmp_path / f"in{source}", tmp_path / f"out{target}", to_frame=frame)
    assert written == [tmp_path / f"out{target}"]
    assert read_landmarks(written[0]) == marks


def test_pixels_of_an_image_and_back(tmp_path):
    rng = np.random.default_rng(0)
    write_image(Image(rng.normal(size=GRID.shape), GRID), tmp_path / "case.nrrd")
    marks = Landmarks.from_points(["a"], GRID.index_to_world([[1, 2, 3]]))
    write_landmarks(marks, tmp_path / "case.mrk.json")
    convert(tmp_path / "case.mrk.json", tmp_path / "px.csv", to_frame="pixel", image=tmp_path / "case.nrrd")
    table = read_table(tmp_path / "px.csv")
    assert (table.image[0], table.frame, table.unit) == ("case", "pixel", "px")
    np.testing.assert_allclose(table.coordinates, [[3, 2, 1]], atol=1e-9)
    convert(tmp_path / "px.csv", tmp_path / "again.fcsv", image=tmp_path / "case.nrrd")
    np.testing.assert_allclose(read_landmarks(tmp_path / "again.fcsv").points, marks.points, atol=1e-9)


def test_a_challenge_file_with_its_spacing(tmp_path):
    lines = [f"{100 + k},{200 + k}" for k in range(19)]
    (tmp_path / "001.txt").write_text("\n".join(lines))
    write_image(
        Image(np.eye(300, dtype=np.uint8), Grid.from_geometry((300, 300), spacing=(1, 1))), tmp_path / "001.png"
    )
    convert(tmp_path / "001.txt", tmp_path / "a.csv")
    assert read_table(tmp_path / "a.csv").unit == "px"
    convert(tmp_path / "001.txt", tmp_path / "b.csv", image=tmp_path / "001.png", spacing=(0.1, 0.2))
    table = read_table(tmp_path / "b.csv")
    assert (table.frame, table.unit, table.image[0]) == ("LPS", "mm", "001")
    np.testing.assert_allclose(table.coordinates[1], [10.1, 40.2])


def several():
    other = MARKS.with_points(MARKS.points + 1)
    return {("one", "XY"): MARKS, ("two", "XY"): other, ("one", "AB"): other}


@pytest.mark.parametrize("format", ["mrk.json", "fcsv", "csv", ".tsv", "json"])
def test_a_table_to_a_folder_and_back(tmp_path, format):
    write_table(landmarks_table(several()), tmp_path / "all.csv")
    written = convert(tmp_path / "all.csv", f"{tmp_path}/files/", format=format)
    suffix = {"json": ".mrk.json"}.get(format, "." + format.lstrip("."))
    names = {str(path.relative_to(tmp_path / "files")) for path in written}
    assert names == {f"XY/one{suffix}", f"XY/two{suffix}", f"AB/one{suffix}"}
    convert(tmp_path / "files", tmp_path / "again.csv", to_frame="RAS")
    assert table_landmarks(read_table(tmp_path / "again.csv")) == several()
    assert read_table(tmp_path / "again.csv").frame == "RAS"
    for _ in range(2):  # a table among its sources is not read as one of them
        convert(tmp_path / "files", tmp_path / "files" / "all.csv")
        assert table_landmarks(read_table(tmp_path / "files" / "all.csv")) == several()


def test_a_table_keeps_presence_spread_and_order(tmp_path):
    text = "image,landmark,x,y,z,frame,unit,presence,spread,observer\n"
    text += "B,b,1,2,3,LPS,mm,0.25,1.5,m\nA,a,4,5,6,LPS,mm,0.75,2.5,m\n"
    (tmp_path / "a.csv").write_text(text)
    convert(tmp_path / "a.csv", tmp_path / "b.csv", to_frame="RAS")
    table = read_table(tmp_path / "b.csv")
    assert table.image.tolist() == ["B", "A"]
    assert (table.presence.tolist(), table.spread.tolist()) == ([0.25, 0.75], [1.5, 2.5])
    assert table.coordinates.tolist() == [[-1, -2, 3], [-4, -5, 6]]
    convert(tmp_path / "b.csv", tmp_path / "c.csv")
    assert read_table(tmp_path / "c.csv").coordinates.tolist() == [[1, 2, 3], [4, 5, 6]]


def test_images_of_a_table_come_from_a_folder_by_name(tmp_path):
    images = tmp_path / "images"
    images.mkdir()
    for name, size in [("one", 20), ("two", 30)]:
        write_image(
            Image(np.eye(size, dtype=np.uint8), Grid.from_geometry((size,) * 2, spacing=(1, 1))), images / f"{name}.png"
        )
    text = "image,landmark,x,y,frame,spread,error_bound_px\none,a,4,6,pixel,2,6\ntwo.png,a,8,2,pixel,4,\n"
    (tmp_path / "a.csv").write_text(text)
    convert(tmp_path / "a.csv", tmp_path / "b.csv", image=images, spacing=(0.5, 0.5))
    table = read_table(tmp_path / "b.csv")
    assert (table.unit, table.coordinates.tolist(), table.spread.tolist()) == ("mm", [[2, 3], [4, 1]], [1, 2])
    convert(tmp_path / "b.csv", tmp_path / "c.csv", image=images, spacing=(0.5, 0.5), to_frame="pixel")
    again = read_table(tmp_path / "c.csv")
    assert (again.unit, again.coordinates.tolist(), again.spread.tolist()) == ("px", [[4, 6], [8, 2]], [2, 4])
    (images / "two.png").unlink()
    with pytest.raises(FrameError, match=r"no image was given for two\.png"):
        convert(tmp_path / "a.csv", tmp_path / "d.csv", image=images, spacing=(0.5, 0.5))


def test_images_to_images(tmp_path):
    image = Image(np.random.default_rng(0).normal(size=GRID.shape).astype(np.float32), GRID)
    write_image(image, tmp_path / "a.nrrd")
    convert(tmp_path / "a.nrrd", tmp_path / "b.nii.gz")
    again = read_image(tmp_path / "b.nii.gz")
    np.testing.assert_array_equal(again.array, image.array)
    assert again.grid.same_as(GRID, 1e-5)
    with pytest.raises(ImageError, match="3D float32"):
        convert(tmp_path / "a.nrrd", tmp_path / "b.png")


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (("missing.csv", "out.csv"), LandmarkFileError, "does not exist"),
        (("all.csv", "out.fcsv"), LandmarkFileError, "holds 3 images or observers, out.fcsv takes one"),
        (("all.csv", "folder/"), LandmarkFileError, "format must be one of mrk.json, fcsv, .*csv.*; got None"),
        (("all.csv", "all.csv"), LandmarkFileError, "the source itself"),
        (("plain.csv", "out.csv"), FrameError, "does not state its coordinate frame"),
        (("all.csv", "out.csv", {"to_frame": "pixel"}), FrameError, "need their images"),
        (("all.csv", "out.csv", {"to_frame": "MNI"}), FrameError, "'MNI' is unknown"),
        (("all.csv", "out.csv", {"format": "fcsv"}), LandmarkFileError, r"a name that ends in \.fcsv; rename it"),
        (("all.csv", "out.csv", {"format": "xls"}), LandmarkFileError, "no format that is written is called 'xls'"),
        (("empty", "out.csv"), LandmarkFileError, "no landmark files"),
        (("escape.csv", "folder/", {"format": "csv"}), LandmarkFileError, "cannot name a file"),
        (("shared.csv", "folder/", {"format": "csv"}), LandmarkFileError, "'A' and 'A.png' would share"),
        (("all.csv", "out.nii.gz"), LandmarkFileError, "not a landmark file by its name"),
    ],
)
def test_what_cannot_be_converted_is_one_line_and_writes_nothing(tmp_path, monkeypatch, arguments, error, message):
    monkeypatch.chdir(tmp_path)
    write_table(landmarks_table(several()), "all.csv")
    (tmp_path / "plain.csv").write_text("image,landmark,x,y\nA,a,1,2\n")
    (tmp_path / "escape.csv").write_text("image,landmark,x,y,frame\nA/..,a,1,2,LPS\n")
    (tmp_path / "shared.csv").write_text("image,landmark,x,y,frame\nA,a,1,2,LPS\nA.png,a,1,2,LPS\n")
    (tmp_path / "empty").mkdir()
    before = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*")}
    source, target, *rest = arguments
    with pytest.raises(error, match=message) as told:
        convert(source, target, **(rest[0] if rest else {}))
    assert "\n" not in str(told.value)
    assert isinstance(told.value, AnatomarkError)
    assert {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*")} == before


def test_a_landmark_that_is_there_twice_is_refused(tmp_path):
    """Two point lists of one file may each have an F-1."""
    point = {"label": "F-1", "position": [1, 2, 3], "positionStatus": "defined"}
    node = {"type": "Fiducial", "coordinateSystem": "LPS", "controlPoints": [point]}
    (tmp_path / "case.mrk.json").write_text(json.dumps({"@schema": "markups", "markups": [node, node]}))
    with pytest.raises(LandmarkFileError, match=r"holds 'F-1' several times in case; keep one"):
        convert(tmp_path / "case.mrk.json", tmp_path / "out.csv")
    assert not (tmp_path / "out.csv").exists()


def test_to_an_image_the_source_is_judged_as_an_image(tmp_path):
    """The reason is that of the source (no picture that is read, DICOM files without places), not the target's name."""
    (tmp_path / "a.gif").write_bytes(b"GIF89a" + bytes(20))
    with pytest.raises(ImageError, match=r"a\.gif is not a readable image; expected DICOM or one of \.nii"):
        convert(tmp_path / "a.gif", tmp_path / "a.nrrd")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ImageError, match="empty holds no DICOM series"):
        convert(tmp_path / "empty", tmp_path / "a.nrrd")
    write_landmarks(MARKS, tmp_path / "marks.fcsv")
    for source in (tmp_path / "marks.fcsv", tmp_path):
        with pytest.raises(LandmarkFileError, match=r"a\.nrrd is not a landmark file by its name"):
            convert(source, tmp_path / "a.nrrd")
    assert not (tmp_path / "a.nrrd").exists()


def test_the_verb_is_a_thin_face(tmp_path, capsys):
    from anatomark.cli.convert import convert as verb

    assert set(inspect.signature(verb).parameters) == set(inspect.signature(convert).parameters)
    write_landmarks(MARKS, tmp_path / "a.fcsv")
    verb(tmp_path / "a.fcsv", str(tmp_path / "b.csv"), to_frame="RAS", spacing="1,1,1")
    assert read_landmarks(tmp_path / "b.csv") == MARKS
    assert capsys.readouterr().out == f"wrote {tmp_path / 'b.csv'}\n"
    with pytest.raises(SpacingError, match="two or three lengths in mm"):
        verb(tmp_path / "a.fcsv", str(tmp_path / "b.csv"), spacing="1;1")

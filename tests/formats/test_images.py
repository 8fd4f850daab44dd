"""Images in and out: every format, its geometry with SimpleITK as the oracle, and hostile files."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import SimpleITK as sitk

from anatomark.core.grid import Grid
from anatomark.core.image import Image, require_usable
from anatomark.errors import AnatomarkError, ImageError, OutputError, SpacingError
from anatomark.formats.images import (
    image_name,
    is_image,
    list_images,
    read_grid,
    read_image,
    write_image,
)
from anatomark.formats.picture_files import photos

C, S = np.cos(0.4), np.sin(0.4)
OBLIQUE = {
    2: [C, -S, S, C],
    3: (np.array([[C, -S, 0], [S, C, 0], [0, 0, 1]]) @ np.array([[1, 0, 0], [0, C, S], [0, -S, C]])).ravel(),
}


def make(d=3, dtype=np.int16, seed=0):
    rng = np.random.default_rng(seed)
    shape = (5, 7, 9)[-d:]
    if np.issubdtype(dtype, np.floating):
        array = rng.normal(size=shape).astype(dtype)
    else:
        info = np.iinfo(dtype)
        array = rng.integers(max(info.min, -3000), min(info.max, 40000), size=shape).astype(dtype)
    grid = Grid.from_geometry(shape, spacing=(0.3, 0.7, 2.5)[:d], origin=(-40.5, 9.25, 13)[:d], direction=OBLIQUE[d])
    return Image(array, grid)


def one_line(error):
    text = str(error.value)
    assert "\n" not in text
    assert isinstance(error.value, AnatomarkError)
    return text


@pytest.mark.parametrize("d", [2, 3])
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".nrrd", ".mha"])
@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16, np.float32, np.float64])
def test_volumes_come_back_with_voxels_and_grid(tmp_path, d, suffix, dtype):
    image = make(d, dtype)
    path = tmp_path / f"case{suffix}"
    write_image(image, path)
    again = read_image(path)
    assert again.array.dtype == dtype
    np.testing.assert_array_equal(again.array, image.array)
    tolerance = 1e-4 if "nii" in suffix else 1e-9  # NIfTI keeps its affine in single precision
    assert again.grid.same_as(image.grid, tolerance)
    assert read_grid(path) == again.grid
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("suffix", [".nii.gz", ".nrrd", ".mha"])
def test_world_positions_are_those_of_itk(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    write_image(make(), path)
    itk = sitk.ReadImage(str(path))
    for index in [(0, 0, 0), (8, 6, 4), (3, 1, 2)]:
        expected = itk.TransformIndexToPhysicalPoint(index)
        np.testing.assert_allclose(read_grid(path).index_to_world(index[::-1]), expected, atol=1e-9)


@pytest.mark.parametrize(("suffix", "dtype"), [(".png", np.uint8), (".png", np.uint16), (".tif", np.float32)])
def test_photos_are_2d_in_px_whatever_their_dpi(tmp_path, suffix, dtype):
    array = make(2, dtype).array
    path = tmp_path / f"a{suffix}"
    PIL.Image.fromarray(array).save(path, dpi=(254, 254))
    image = read_image(path)
    np.testing.assert_array_equal(image.array, array)
    assert image.grid == Grid.from_geometry(array.shape, spacing=(1, 1), unit="px")
    assert read_grid(path) == image.grid
    written = tmp_path / f"b{suffix}"
    write_image(image, written)
    np.testing.assert_array_equal(read_image(written).array, array)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif", ".bmp"])
def test_a_photo_takes_the_spacing_given(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    PIL.Image.fromarray(make(2, np.uint8).array).save(path)
    grid = read_image(path, spacing=(0.25, 0.5)).grid
    assert grid == Grid.from_geometry((7, 9), spacing=(0.25, 0.5))
    assert read_grid(path, spacing=(0.25, 0.5)) == grid


def test_colour_becomes_luma_and_grey_in_colour_stays_exact(tmp_path):
    rng = np.random.default_rng(0)
    colour = rng.integers(0, 256, size=(6, 8, 4), dtype=np.uint8)
    PIL.Image.fromarray(colour).save(tmp_path / "rgba.png")
    expected = np.rint(colour[..., :3] @ [0.299, 0.587, 0.114])
    np.testing.assert_array_equal(read_image(tmp_path / "rgba.png").array, expected)
    grey = colour[..., 0]
    PIL.Image.fromarray(np.stack([grey] * 3, axis=-1)).save(tmp_path / "rgb.bmp")
    np.testing.assert_array_equal(read_image(tmp_path / "rgb.bmp").array, grey)


@pytest.mark.parametrize("mode", ["LA", "P", "1", "CMYK", "I;16"])
@pytest.mark.parametrize("suffix", [".png", ".tif", ".jpg", ".bmp"])
def test_rare_photo_modes_read_like_pillow(tmp_path, mode, suffix):
    ramp = np.linspace(0, 255, 8 * 6).reshape(8, 6).astype(np.uint8)
    path = tmp_path / f"a{suffix}"
    if mode == "I;16":
        picture = PIL.Image.fromarray(ramp.astype(np.uint16) * 257)
    elif mode == "LA":
        picture = PIL.Image.merge("LA", [PIL.Image.fromarray(ramp)] * 2)
    else:
        picture = PIL.Image.fromarray(ramp).convert(mode)
    try:
        picture.save(path)
    except OSError:
        pytest.skip(f"there is no {mode} {suffix}")
    got = read_image(path).array.astype(float)
    with PIL.Image.open(path) as opened:
        expected = np.asarray(opened if mode == "I;16" else opened.convert("L"), dtype=float)
    np.testing.assert_allclose(got, expected, atol=3)


def test_headers_without_a_spacing_are_px_and_take_one(tmp_path):
    nrrd = tmp_path / "a.nrrd"
    nrrd.write_bytes(b"NRRD0004\ntype: uchar\ndimension: 3\nsizes: 2 3 4\nencoding: raw\n\n" + bytes(range(24)))
    mha = tmp_path / "a.mha"
    mha.write_bytes(
        b"ObjectType = Image\nNDims = 2\nDimSize = 4 6\nElementType = MET_UCHAR\nElementDataFile = LOCAL\n"
        + bytes(range(24))
    )
    assert read_image(nrrd).grid == Grid.from_geometry((4, 3, 2), spacing=(1, 1, 1), unit="px")
    assert read_image(mha).grid.unit == "px"
    assert read_image(nrrd, spacing=(1, 2, 3)).grid == Grid.from_geometry((4, 3, 2), spacing=(1, 2, 3))


def test_a_slice_of_a_volume_stays_3d(tmp_path):
    image = make()
    one = Image(image.array[:1], image.grid.crop((0, 0, 0), (1, 7, 9)))
    write_image(one, tmp_path / "a.nii.gz")
    assert read_image(tmp_path / "a.nii.gz").grid.shape == (1, 7, 9)


def test_a_spacing_that_contradicts_the_file_is_refused(tmp_path):
    path = tmp_path / "a.nrrd"
    write_image(make(), path)
    assert read_image(path, spacing=(0.3015, 0.7, 2.5)).grid == read_grid(path)
    with pytest.raises(SpacingError, match=r"0\.3 x 0\.7 x 2\.5 mm, but 0\.3 x 0\.7 x 5"):
        read_image(path, spacing=(0.3, 0.7, 5))
    for wrong in [(1, 1), (1, 1, 0), (1, 1, float("nan"))]:
        with pytest.raises(SpacingError, match="x,y,z in mm above 0"):
            read_grid(path, spacing=wrong)


@pytest.mark.parametrize(
    "suffix", [".nii", ".nii.gz", ".nrrd", ".mha", ".png", ".jpg", ".tif", ".bmp", ".dcm", ".nii.gz2"]
)
@pytest.mark.parametrize("left", [0.05, 0.5, 0.95, 0.999])
def test_a_file_cut_short_is_an_error_of_one_line(tmp_path, suffix, left):
    whole = tmp_path / f"whole{suffix.rstrip('2')}"
    rng = np.random.default_rng(0)
    if suffix.startswith((".png", ".jpg", ".tif", ".bmp", ".dcm")):
        array = rng.integers(0, 255, size=(60, 50), dtype=np.uint8)
        sitk.WriteImage(sitk.GetImageFromArray(array), str(whole))
    else:
        array = rng.integers(0, 255, size=(20, 30, 40), dtype=np.uint8)
        write_image(Image(array, Grid.from_geometry(array.shape, spacing=(1, 1, 1))), whole)
    data = whole.read_bytes()
    if suffix.endswith("2"):  # two gzip members, as some compressors write
        import gzip

        raw = gzip.decompress(data)
        data = gzip.compress(raw[:9000]) + gzip.compress(raw[9000:])
        whole.write_bytes(data)
        np.testing.assert_array_equal(read_image(whole).array, array)
    cut = tmp_path / f"cut{suffix.rstrip('2')}"
    cut.write_bytes(data[: min(int(len(data) * left), len(data) - 9)])
    if suffix == ".tif" and left > 0.99:  # what ends a TIFF may be of no weight; the voxels must be right then
        np.testing.assert_array_equal(read_image(cut).array, array)
        return
    with pytest.raises(ImageError) as error:
        read_image(cut)
    assert str(cut) in one_line(error)


def test_what_is_no_image_is_said_so(tmp_path):
    (tmp_path / "empty.nii.gz").touch()
    (tmp_path / "text.png").write_text("hello")
    (tmp_path / "notes.txt").write_text("hello")
    (tmp_path / "folder").mkdir()
    for name, message in [
        ("empty.nii.gz", "empty"),
        ("text.png", "cannot be read"),
        ("notes.txt", "not a readable image"),
        ("missing.mha", "does not exist"),
        ("folder", "no DICOM series"),
    ]:
        with pytest.raises(ImageError, match=message) as error:
            read_image(tmp_path / name)
        assert name in one_line(error)


def test_4d_and_vectors_are_refused_and_a_single_volume_in_4d_is_not(tmp_path):
    sitk.WriteImage(sitk.GetImageFromArray(np.zeros((3, 4, 5, 6), np.float32), isVector=False), tmp_path / "4.nii")
    with pytest.raises(ImageError, match=r"4D \(6 x 5 x 4 x 3\)"):
        read_image(tmp_path / "4.nii")
    sitk.WriteImage(sitk.GetImageFromArray(np.zeros((1, 4, 5, 6), np.float32), isVector=False), tmp_path / "1.nii")
    assert read_image(tmp_path / "1.nii").grid.shape == (4, 5, 6)
    sitk.WriteImage(sitk.GetImageFromArray(np.zeros((4, 5, 6, 3), np.float32), isVector=True), tmp_path / "v.nii")
    with pytest.raises(ImageError, match="vectors of 3"):
        read_image(tmp_path / "v.nii")


def test_a_sheared_nifti_is_read_as_its_sform_says(tmp_path):
    import struct

    path = tmp_path / "a.nii"
    write_image(make(), path)
    data = bytearray(path.read_bytes())
    data[252:256] = struct.pack("<hh", 0, 2)  # the sform alone
    data[280:296] = struct.pack("<4f", 1, 0.5, 0, 0)
    data[296:312] = struct.pack("<4f", 0, 1, 0, 0)
    data[312:328] = struct.pack("<4f", 0, 0, 1, 0)
    path.write_bytes(data)
    image = read_image(path)
    np.testing.assert_array_equal(image.array, make().array)
    np.testing.assert_allclose(image.grid.index_to_world([3, 2, 1]), [-(1 + 0.5 * 2), -2, 3])  # index z, y, x


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.array([[1, np.nan], [2, 3]]), "1 voxels that are NaN"),
        (np.array([[1, np.inf], [-np.inf, 3]]), "2 voxels that are NaN"),
        (np.full((3, 3), 7, np.uint8), "same value, 7"),
        (np.zeros((1, 1), np.uint8), "single voxel"),
    ],
)
def test_images_that_say_nothing_are_refused(array, message):
    image = Image(array, Grid.from_geometry(array.shape, spacing=(1, 1)))
    with pytest.raises(ImageError, match=message) as error:
        require_usable(image, "case 7")
    assert "case 7" in one_line(error)


def test_a_good_image_is_usable():
    require_usable(make(), "good")
    require_usable(make(dtype=np.float32), "good")


def test_what_a_format_cannot_hold_is_not_written(tmp_path):
    with pytest.raises(ImageError, match="2D uint8 or uint16"):
        write_image(make(), tmp_path / "a.png")
    with pytest.raises(ImageError, match="not one of"):
        write_image(make(), tmp_path / "a.jpg")
    px = Image(make(2).array, Grid.from_geometry((7, 9), spacing=(1, 1), unit="px"))
    with pytest.raises(SpacingError, match="would call pixels mm"):
        write_image(px, tmp_path / "a.nii.gz")
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="cannot be written"):
        write_image(make(), tmp_path / "file" / "a.nii.gz")
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_a_full_disk_is_one_line_and_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "a.nii.gz"
    write_image(make(), path)
    before = path.read_bytes()
    monkeypatch.setattr(sitk, "WriteImage", lambda *a, **k: (_ for _ in ()).throw(RuntimeError("x\nNo space left")))
    with pytest.raises(OutputError, match="No space left") as error:
        write_image(make(seed=1), path)
    one_line(error)
    assert path.read_bytes() == before

    def cut_short(image, name, **_):  # what ITK's NIfTI writer does on a full disk: half a file, and no error
        whole(image, name)
        os.truncate(name, os.path.getsize(name) // 2)

    monkeypatch.undo()
    whole = sitk.WriteImage
    monkeypatch.setattr(sitk, "WriteImage", cut_short)
    with pytest.raises(OutputError, match="No space left"):
        write_image(make(seed=1), path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_lists_are_in_natural_order_and_names_lose_their_endings(tmp_path):
    for name in ["case10.png", "case2.png", "case1.nii.gz", ".hidden.png", "notes.txt", "table.csv"]:
        (tmp_path / name).write_bytes(b"x")
    assert [p.name for p in list_images(tmp_path)] == ["case1.nii.gz", "case2.png", "case10.png"]
    assert [image_name(p) for p in list_images(tmp_path)] == ["case1", "case2", "case10"]
    assert image_name("a/b.c.nrrd") == "b.c"
    assert image_name("1.2.840.113") == "1.2.840.113"
    assert not is_image(tmp_path / "table.csv")
    with pytest.raises(ImageError, match="not a folder"):
        list_images(tmp_path / "notes.txt")


def test_nothing_is_printed_and_standard_error_comes_back(tmp_path):
    write_image(make(), tmp_path / "a.mha")
    cut = tmp_path / "cut.mha"
    cut.write_bytes((tmp_path / "a.mha").read_bytes()[:-200])
    code = (
        "import sys, threading\n"
        "from anatomark.errors import ImageError\n"
        "from anatomark.formats.images import read_image\n"
        "refused = []\n"
        "def read():\n"
        "    for path in sys.argv[1:] * 10:\n"
        "        try:\n"
        "            read_image(path)\n"
        "        except ImageError:\n"
        "            refused.append(path)\n"
        "threads = [threading.Thread(target=read) for _ in range(4)]\n"
        "[t.start() for t in threads]; [t.join() for t in threads]\n"
        "print(len(refused), 'refused', file=sys.stderr)\n"
    )
    (tmp_path / "folder").mkdir()
    command = [sys.executable, "-c", code, str(cut), str(tmp_path / "folder")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "80 refused"
    assert done.stdout == ""


def test_reading_in_threads_gives_the_same(tmp_path):
    image = make()
    write_image(image, tmp_path / "a.nii.gz")
    same = []

    def read():
        same.extend(np.array_equal(read_image(tmp_path / "a.nii.gz").array, image.array) for _ in range(10))

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert same == [True] * 40


@pytest.mark.data
def test_real_images_read():
    root = Path(os.environ.get("ANATOMARK_DATA", Path(__file__).parents[2] / "../shared/data"))
    if not root.is_dir():
        pytest.skip("the real data are not here: set ANATOMARK_DATA")
    brain = read_image(root / "afids_multirater/images/Colin27.nii.gz")
    assert brain.grid.shape == (181, 217, 181)
    assert brain.grid.spacing == (1, 1, 1)
    require_usable(brain, "Colin27")
    ray = root / "isbi2015_ceph"
    first = next(iter(sorted(ray.rglob("001.jpg"))))
    assert read_image(first, spacing=(0.25, 0.25)).grid.extent == (240.0, 193.5)


@pytest.mark.parametrize("ending", ["nii", "nii.gz"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_voxels_of_nifti_that_are_not_finite_are_read_as_such(tmp_path, ending, dtype):
    array = np.random.default_rng(0).normal(size=(5, 6, 7)).astype(dtype)
    image = sitk.GetImageFromArray(array)
    sitk.WriteImage(image, tmp_path / f"good.{ending}")
    assert np.isfinite(read_image(tmp_path / f"good.{ending}").array).all()
    array[1, 2, 3], array[4, 0, 6] = np.nan, np.inf
    sitk.WriteImage(sitk.GetImageFromArray(array), tmp_path / f"bad.{ending}")
    read = read_image(tmp_path / f"bad.{ending}")
    assert np.argwhere(~np.isfinite(read.array)).tolist() == [[1, 2, 3], [4, 0, 6]]
    with pytest.raises(ImageError, match="2 voxels that are NaN or infinite"):
        require_usable(read, "bad")


def test_postscript_is_no_picture_by_another_name(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(
        b'%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n\n%ImageData: 9 9 8 4 0 1 1 "x"\n%%EOF\n'
    )
    with PIL.Image.open(path) as picture:
        assert picture.mode == "CMYK"  # what would be handed to Pillow
    for read in (photos.read, photos.read_header, photos.declared):
        with pytest.raises(ImageError, match="by its content it is a PostScript document; export it as PNG"):
            read(path)

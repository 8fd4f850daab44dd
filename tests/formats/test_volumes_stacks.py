"""Pages of stacks of X-rays in one file, and only these read."""

import gzip
import zlib
from itertools import pairwise

import nibabel
import nrrd
import numpy as np
import pytest
import SimpleITK as sitk
import tifffile

from anatomark.core.grid import Grid
from anatomark.errors import ImageError
from anatomark.formats.images import load_image, read_grid, read_header, read_image
from anatomark.formats.volume_files import packed

PAGES, ROWS, COLUMNS = 7, 20, 30


def pages(components=1, dtype=np.uint8):
    shape = (PAGES, ROWS, COLUMNS, *([components] if components > 1 else []))
    return np.random.default_rng(0).integers(0, 256, shape).astype(dtype)


def grey(array):
    red, green, blue = (array[..., k] for k in range(3))
    return np.rint(0.299 * red + 0.587 * green + 0.114 * blue) if array.ndim == 4 else array


def write_mha(path, array, spacing=(0.1, 0.2, 1.0), compressed=False):
    image = sitk.GetImageFromArray(array, isVector=array.ndim == 4)
    image.SetSpacing(spacing)
    sitk.WriteImage(image, str(path), useCompression=compressed)
    return path


def write_nrrd(path, array, encoding):
    header = {
        "space": "LPS",
        "space directions": np.diag([0.1, 0.2, 1]),
        "space origin": [5, 6, 7],
        "encoding": encoding,
    }
    if array.ndim == 4:
        header |= {
            "space directions": np.vstack([np.full((1, 3), np.nan), np.diag([0.1, 0.2, 1])]),
            "kinds": ["RGB-color", *["domain"] * 3],
        }
    nrrd.write(str(path), array.T if array.ndim == 3 else array.transpose(3, 2, 1, 0), header)
    return path


def write_nifti(path, array):
    data = array.T
    if array.ndim == 4:
        data = np.ascontiguousarray(array).view([(c, "u1") for c in "RGB"])[..., 0].T
    nibabel.save(nibabel.Nifti1Image(data, np.diag([0.1, 0.2, 1, 1])), path)
    return path


WRITERS = {
    "raw.mha": write_mha,
    "packed.mha": lambda path, array: write_mha(path, array, compressed=True),
    "packed.mhd": lambda path, array: write_mha(path, array, compressed=True),
    "raw.mhd": write_mha,
    "raw.nrrd": lambda path, array: write_nrrd(path, array, "raw"),
    "packed.nrrd": lambda path, array: write_nrrd(path, array, "gzip"),
    "text.nrrd": lambda path, array: write_nrrd(path, array, "ascii"),
    "a.nii": write_nifti,
    "a.nii.gz": write_nifti,
}


@pytest.mark.parametrize("components", [1, 3])
@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize("order", [(1, 2, 3, 4, 5, 6, 7), (7, 3, 1, 5, 5, 2)])
def test_pages_are_those_that_were_written(tmp_path, name, components, order):
    array = pages(components)
    path = WRITERS[name](tmp_path / name, array)
    for page in order:
        image, header = load_image(path, page=page)
        np.testing.assert_array_equal(image.array, grey(array)[page - 1])
        assert image.grid.same_as(Grid.from_geometry((ROWS, COLUMNS), spacing=(0.1, 0.2)), 1e-6)
        assert header.pages == PAGES
        assert read_grid(path, page=page) == image.grid
    np.testing.assert_array_equal(read_image(path).array, grey(array))
    for wrong in (0, PAGES + 1, -1):
        with pytest.raises(ImageError, match=f"has {PAGES} pages, page {wrong} was requested"):
            read_image(path, page=wrong)


@pytest.mark.parametrize("name", ["packed.mha", "packed.nrrd", "a.nii.gz"])
def test_what_lies_before_a_page_is_unpacked_once(tmp_path, name, monkeypatch):
    array = np.random.default_rng(0).integers(0, 256, (40, 100, 100)).astype(np.uint8)
    path = WRITERS[name](tmp_path / name, array)
    unpacked = []
    real = zlib.decompressobj

    class Counting:
        def __init__(self, wbits, held=None):
            self.held = held or real(wbits)

        def decompress(self, data, most):
            block = self.held.decompress(data, most)
            unpacked.append(len(block))
            return block

        def copy(self):
            return Counting(0, self.held.copy())

        def __getattr__(self, name):
            return getattr(self.held, name)

    monkeypatch.setattr(packed.zlib, "decompressobj", Counting)
    for page in range(1, 41):
        np.testing.assert_array_equal(read_image(path, page=page).array, array[page - 1])
    assert sum(unpacked) < 1.5 * array.size + 45 * 4096  # and the beginnings, by which the kind is known


def test_an_uncompressed_page_takes_no_more_than_itself(tmp_path, monkeypatch):
    path = write_mha(tmp_path / "a.mha", pages())
    taken = []
    real = packed.read_bytes
    monkeypatch.setattr(
        "anatomark.formats.volume_files.raw.read_bytes", lambda *a, **k: taken.append(a[2]) or real(*a, **k)
    )
    read_image(path, page=4)
    assert taken == [ROWS * COLUMNS]


def test_a_changed_file_is_read_anew(tmp_path):
    path = tmp_path / "a.nii.gz"
    for seed in range(3):
        array = np.random.default_rng(seed).integers(0, 99, (5, 20, 20)).astype(np.uint8)
        write_nifti(path, array)
        for page in (1, 4, 2):
            np.testing.assert_array_equal(read_image(path, page=page).array, array[page - 1])


def test_a_spacing_of_1_that_nobody_stated_is_none(tmp_path):
    path = write_mha(tmp_path / "a.mha", pages(3), spacing=(1, 1, 1))
    assert read_header(path, page=2).grid == Grid.without_spacing((ROWS, COLUMNS))
    assert read_grid(path, page=2, spacing=(0.1, 0.1)) == Grid.from_geometry((ROWS, COLUMNS), spacing=(0.1, 0.1))
    assert read_header(path).grid.unit == "mm"


def test_pages_of_a_tiff(tmp_path):
    sizes = [(20, 30), (18, 30), (20, 30)]  # X-rays need not be of one size
    arrays = [np.random.default_rng(k).integers(0, 60000, size).astype(np.uint16) for k, size in enumerate(sizes)]
    with tifffile.TiffWriter(tmp_path / "a.tif") as writer:
        for array in arrays:
            writer.write(array, photometric="minisblack")
    for page, array in enumerate(arrays, 1):
        image, header = load_image(tmp_path / "a.tif", page=page)
        np.testing.assert_array_equal(image.array, array)
        assert header.pages == 3
    with pytest.raises(ImageError, match="has 3 pages, page 4 was requested"):
        read_image(tmp_path / "a.tif", page=4)
    with pytest.raises(ImageError, match="stack: true"):
        read_image(tmp_path / "a.tif")


def test_a_single_picture_is_its_first_page(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", pages()[0])
    sitk.WriteImage(sitk.GetImageFromArray(pages()[0]), str(tmp_path / "a.png"))
    sitk.WriteImage(sitk.GetImageFromArray(pages()[0]), str(tmp_path / "a.mha"))
    for name in ("a.tif", "a.png", "a.mha"):
        np.testing.assert_array_equal(read_image(tmp_path / name, page=1).array, pages()[0])
        with pytest.raises(ImageError, match="has 1 page"):
            read_image(tmp_path / name, page=2)


@pytest.mark.parametrize("name", ["packed.mha", "packed.nrrd", "a.nii.gz", "raw.mha"])
def test_a_stack_cut_short_or_damaged_is_a_line(tmp_path, name):
    path = WRITERS[name](tmp_path / name, pages())
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 2 // 3])
    read_image(path, page=1)
    for page in (PAGES, None):
        with pytest.raises(ImageError, match="cut short") as error:
            read_image(path, page=page)
        assert "\n" not in str(error.value)


def test_members_of_gzip_one_after_another(tmp_path):
    write_nifti(tmp_path / "a.nii", pages())
    data = (tmp_path / "a.nii").read_bytes()
    cuts = [0, 1000, 1600, 3000, len(data)]
    members = b"".join(gzip.compress(data[a:b]) for a, b in pairwise(cuts))
    (tmp_path / "b.nii.gz").write_bytes(members + bytes(64))
    for page in (7, 1, 3, None):
        wanted = pages() if page is None else pages()[page - 1]
        np.testing.assert_array_equal(read_image(tmp_path / "b.nii.gz", page=page).array, wanted)

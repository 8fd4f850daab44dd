"""Images that are read in another process: the same values, and one that ends the process costs only itself."""

import logging
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from anatomark.core.grid import Grid
from anatomark.core.image import Image
from anatomark.errors import ImageError, NativeReaderError, SpacingError
from anatomark.formats.images import load_image, write_image
from anatomark.formats.reader_process import AVAILABLE, ReaderProcesses

pytestmark = pytest.mark.skipif(not AVAILABLE, reason="needs a system that passes memory between processes")
BAD = "tests.formats.bad_reader"


@pytest.fixture(scope="module")
def bad():
    """A reader of images whose names say what goes wrong."""
    with ReaderProcesses(seconds=4, memory_bytes=4 << 30, module=BAD) as readers:
        yield readers


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("crash", "a library crashed at it .SIGSEGV."),
        ("header", "a library crashed at it .SIGSEGV."),
        ("leave", "a library crashed at it .exit code 3."),
        ("hang", "could not be read within 4 s"),
        ("bloat", "takes too much memory for the 16 voxels"),
        ("huge", "takes too much memory for the 1000000000000 voxels"),
    ],
)
def test_an_image_that_ends_its_reader_costs_only_itself(bad, name, told):
    began = time.monotonic()
    with pytest.raises(NativeReaderError, match=told) as error:
        bad.load(Path(f"{name}.nii"))
    assert f"{name}.nii" in str(error.value)
    assert "\n" not in str(error.value)
    assert time.monotonic() - began < 30
    image, header = bad.load("good.nii")
    np.testing.assert_array_equal(image.array, np.arange(16).reshape(4, 4))
    assert (image.array.dtype, header.stored, header.pages) == (np.dtype(">i2"), 6, 2)
    assert header.remarks == ("good.nii: a remark",)


def test_what_is_refused_is_refused_and_a_bug_keeps_its_traceback(bad):
    with pytest.raises(ImageError, match=r"^refuse.nii is refused; do not$") as error:
        bad.load("refuse.nii")
    assert type(error.value) is ImageError
    with pytest.raises(RuntimeError, match="KeyError: 'bug'"):
        bad.load("bug.nii")


def test_what_libraries_print_is_one_line_in_the_log(bad, caplog, capfd):
    with caplog.at_level(logging.INFO, logger="anatomark.native"):
        bad.load("print.nii")
        bad.load("good.nii")
    assert [record.getMessage() for record in caplog.records] == [
        "print.nii: its libraries print 'Corrupt JPEG data' and 2 more lines"
    ]
    assert capfd.readouterr().err == ""


def test_the_images_are_the_same(tmp_path):
    rng = np.random.default_rng(1)
    volume = Image(rng.integers(-9, 999, (5, 7, 9)).astype(np.int16), Grid.from_geometry((5, 7, 9), spacing=(1, 2, 3)))
    for name in ("a.nii.gz", "a.nrrd", "a.mha"):
        write_image(volume, tmp_path / name)
    picture = rng.integers(0, 255, (12, 10)).astype(np.uint8)
    sitk.WriteImage(sitk.GetImageFromArray(picture), str(tmp_path / "a.png"))
    sitk.WriteImage(sitk.GetImageFromArray(rng.random((6, 5)).astype(np.float32)), str(tmp_path / "a.tif"))
    with ReaderProcesses(2) as readers, ThreadPoolExecutor(4) as pool:
        paths = sorted(tmp_path.iterdir()) * 3
        for path, (image, header) in zip(paths, pool.map(readers.load, paths), strict=True):
            wanted, its_header = load_image(path)
            np.testing.assert_array_equal(image.array, wanted.array)
            assert image.array.dtype == wanted.array.dtype
            assert image.grid == wanted.grid
            assert header == its_header.on(header.grid)
        assert readers.load(tmp_path / "a.png", spacing=(0.5, 0.25))[0].grid.spacing == (0.25, 0.5)
        with pytest.raises(SpacingError):
            readers.load(tmp_path / "a.nrrd", spacing=(9, 9, 9))
        with pytest.raises(ImageError, match="does not exist"):
            readers.load(tmp_path / "b.nii")
        kept = readers.load(tmp_path / "a.nrrd")[0]
    np.testing.assert_array_equal(kept.array, volume.array)


def test_a_reader_that_was_killed_between_images_starts_again(tmp_path):
    write_image(Image(np.eye(8, dtype=np.uint8), Grid.without_spacing((8, 8))), tmp_path / "a.png")
    with ReaderProcesses() as readers:
        readers.load(tmp_path / "a.png")
        assert readers._all[0]._process is not None
        readers._all[0]._process.kill()
        readers._all[0]._process.wait()
        assert readers.load(tmp_path / "a.png")[0].array.sum() == 8

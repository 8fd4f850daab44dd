"""Folders of DICOM slices: which files are one volume, and what is said of the others."""

import numpy as np
import pytest
from pydicom.uid import generate_uid

from anatomark.errors import ImageError
from anatomark.formats.images import is_image, list_images, load_image, read_header, read_image
from tests.formats.dicom_objects import (
    CT,
    ENHANCED_CT,
    PET,
    an_object,
    assert_same_voxels,
    by_pydicom,
    enhanced,
    nested,
    oblique,
    save,
)

TURNED, NORMAL = oblique()
FLAT = [1, 0, 0, 0, 1, 0]


def slices(places, *, orientation=FLAT, normal=(0, 0, 1), sop=CT, **tags):
    """A slice of random values at each place (mm along the normal, or as it is to be written)."""
    made = []
    for k, place in enumerate(places):
        array = np.random.default_rng(k).integers(0, 2000, size=(6, 8)).astype(np.int16)
        if isinstance(place, str):
            position = ["0", "0", place]
        else:
            position = [f"{x:.9g}" for x in np.array([1.0, 2.0, 3.0]) + place * np.asarray(normal)]
        stated = {
            "PixelSpacing": [0.7, 0.5],
            "ImageOrientationPatient": orientation,
            "ImagePositionPatient": position,
            "RescaleSlope": "1",
            "RescaleIntercept": "-1024",
        }
        made.append(an_object(sop, array, **stated | tags))
    return made


def folder_of(tmp_path, made, name="ct"):
    """The slices in a folder, their names in a random order."""
    for name_of, k in enumerate(np.random.default_rng(1).permutation(len(made))):
        save(made[k], tmp_path / name / f"{name_of}.dcm")
    return tmp_path / name


@pytest.mark.parametrize(
    ("step", "decimals"), [(0.25, 1), (0.35, 1), (1.25, 1), (0.625, 2), (3.3333, 0), (0.4, 1), (0.299, 2), (1.25, 0)]
)
@pytest.mark.parametrize("start", [0.0, -17.31, 230.06])
def test_rounded_positions_are_even_within_their_rounding(tmp_path, step, decimals, start):
    count = 24
    written = [f"{start + k * step:.{decimals}f}" for k in range(count)]
    folder = folder_of(tmp_path, slices(written))
    image = read_image(folder)
    assert image.array.shape == (count, 6, 8)
    half = 0.5 * 10.0**-decimals
    expected = start + np.arange(count) * step
    np.testing.assert_allclose([image.grid.index_to_world((k, 0, 0))[2] for k in range(count)], expected, atol=2 * half)
    assert abs(image.grid.spacing[0] - step) <= 2 * half / (count - 1)
    assert_same_voxels(image, [frame for one in slices(written) for frame in by_pydicom(one)], within=2 * half)


@pytest.mark.parametrize("gap", [1, 5, 11, 21])
@pytest.mark.parametrize(("step", "decimals"), [(0.25, 1), (0.25, 2), (1.25, 1), (2.0, 0)])
def test_a_missing_slice_is_named_in_spite_of_rounding(tmp_path, gap, step, decimals):
    kept = [k for k in range(24) if k != gap]
    made = slices([f"{k * step:.{decimals}f}" for k in kept])
    folder = tmp_path / "ct"
    for k, one in zip(kept, made, strict=True):
        save(one, folder / f"{k:02}.dcm")
    for read in (read_image, read_header):
        with pytest.raises(ImageError, match=rf"between {gap - 1:02}\.dcm and {gap + 1:02}\.dcm") as error:
            read(folder)
        assert "\n" not in str(error.value)


def test_too_coarse_a_rounding_is_no_licence_to_guess(tmp_path):
    folder = folder_of(tmp_path, slices(["0", "1", "3", "4"]))  # 1.25 mm apart, or one missing
    with pytest.raises(ImageError, match="rounded to 1 mm, too coarsely to tell whether a slice is missing"):
        read_image(folder)


def test_every_slice_has_its_own_slope(tmp_path):
    made = slices(3.0 * np.arange(6), sop=PET, orientation=TURNED, normal=NORMAL, RescaleIntercept="0")
    for k, one in enumerate(made):
        one.RescaleSlope = "1" if k == 0 else f"{0.05 * k:.6g}"
    image = read_image(folder_of(tmp_path, made))
    assert image.array.dtype == float
    assert_same_voxels(image, [frame for one in made for frame in by_pydicom(one)])


def test_slices_of_the_enhanced_class_are_a_stack(tmp_path):
    made = []
    for k in range(5):
        array = np.random.default_rng(k).integers(0, 2000, size=(1, 6, 8)).astype(np.int16)
        one = enhanced(array, [1.5 * k * NORMAL], [0], sop=ENHANCED_CT, orientation=TURNED, rescale=(1 + k, 3))
        made.append(one)
    folder = folder_of(tmp_path, made)
    assert_same_voxels(read_image(folder), [frame for one in made for frame in by_pydicom(one)])
    assert is_image(folder)


@pytest.mark.parametrize("share", ["all", "one"])
def test_copies_of_a_slice_count_once(tmp_path, share):
    made = slices(0.25 * np.arange(6))
    folder = folder_of(tmp_path, made)
    for path in sorted(folder.iterdir())[: 6 if share == "all" else 1]:
        (folder / f"{path.stem} - Copy.dcm").write_bytes(path.read_bytes())
    image, header = load_image(folder)
    assert_same_voxels(image, [frame for one in made for frame in by_pydicom(one)])
    assert f"left out {'6 copies' if share == 'all' else '1 copy'} of slices (" in header.remarks[0]
    assert " - Copy.dcm of " in header.remarks[0]
    assert read_header(folder) == header


def test_other_slices_at_one_place_are_no_copies(tmp_path):
    made = slices(2.0 * (np.arange(6) // 2))
    for k, one in enumerate(made):
        one.EchoTime = str(10 + 5 * (k % 2))
    with pytest.raises(ImageError, match=r"several slices at one place .*EchoTime 1[05], 1[05]"):
        read_image(folder_of(tmp_path, made))


@pytest.mark.parametrize("image_type", [["ORIGINAL", "PRIMARY", "LOCALIZER"], ["ORIGINAL", "PRIMARY"]])
@pytest.mark.parametrize("shape", [(6, 8), (20, 10)])
def test_a_scout_in_the_series_is_left_out_and_named(tmp_path, image_type, shape):
    made = slices(2.0 * np.arange(6))
    folder = folder_of(tmp_path, made)
    scout = slices([50.0], orientation=[1, 0, 0, 0, 0, -1])[0]
    scout.Rows, scout.Columns, scout.PixelData = *shape, np.zeros(shape, np.int16).tobytes()
    scout.ImageType = image_type
    save(scout, folder / "scout.dcm")
    image, header = load_image(folder)
    assert_same_voxels(image, [frame for one in made for frame in by_pydicom(one)])
    (remark,) = header.remarks
    assert f"{folder}: left out scout.dcm" in remark


def test_slices_without_a_common_orientation_are_refused(tmp_path):
    made = slices(2.0 * np.arange(4)) + slices(2.0 * np.arange(4), orientation=[1, 0, 0, 0, 0, -1])
    with pytest.raises(ImageError, match="differ in orientation"):
        read_image(folder_of(tmp_path, made))


def own_series(places, **tags):
    made = slices(places, **tags)
    for one in made:
        one.SeriesInstanceUID = generate_uid()
    return made


def test_a_series_of_its_own_for_every_slice(tmp_path):
    made = own_series(0.25 * np.arange(6))
    folder = folder_of(tmp_path, made)
    image, header = load_image(folder)
    assert_same_voxels(image, [frame for one in made for frame in by_pydicom(one)])
    assert "has its own SeriesInstanceUID" in header.remarks[0]
    assert list_images(tmp_path) == [folder]


@pytest.mark.parametrize(
    ("name", "held", "reason"),
    [
        ("StudyInstanceUID", "9.9", "they do not share a StudyInstanceUID"),
        ("FrameOfReferenceUID", "9.9", "they do not share a FrameOfReferenceUID"),
        ("FrameOfReferenceUID", "", "they do not share a FrameOfReferenceUID"),
        ("ImagePositionPatient", [1, 2, 40], "not evenly spaced"),
        ("ImagePositionPatient", None, "some do not state their position"),
        ("ImageOrientationPatient", [1, 0, 0, 0, 0, -1], "differ in orientation"),
    ],
)
def test_slices_of_several_series_that_are_not_plainly_one_volume_stay_apart(tmp_path, name, held, reason):
    made = own_series(0.25 * np.arange(6))
    setattr(made[3], name, held)
    folder = folder_of(tmp_path, made)
    with pytest.raises(ImageError, match=rf"6 DICOM series, expected one: each slice has its own.* \(.*{reason}"):
        read_image(folder)
    assert not is_image(folder)
    assert len(list_images(folder)) == 6


def test_reports_and_directories_beside_the_slices_are_passed_over(tmp_path):
    made = slices(2.0 * np.arange(4))
    folder = folder_of(tmp_path, made)
    report = nested(**{name: made[0][name].value for name in ("StudyInstanceUID", "SOPInstanceUID")})
    report.SOPClassUID, report.Modality, report.SeriesInstanceUID = "1.2.840.10008.5.1.4.1.1.88.34", "SR", "1.2.9"
    report.file_meta = made[0].file_meta
    report.file_meta.MediaStorageSOPClassUID = report.SOPClassUID
    report.save_as(folder / "report.dcm", enforce_file_format=True)
    (folder / "DICOMDIR").write_bytes(b"\0" * 200)
    (folder / "notes.txt").write_text("nothing")
    assert_same_voxels(read_image(folder), [frame for one in made for frame in by_pydicom(one)])


def test_a_damaged_slice_is_named_and_does_not_go_missing(tmp_path):
    folder = folder_of(tmp_path, slices(2.0 * np.arange(4)))
    content = (folder / "3.dcm").read_bytes()
    (folder / "3.dcm").write_bytes(content[:-20])
    with pytest.raises(
        ImageError, match=r"3\.dcm cannot be read, for element \(7fe0,0010\) states a length of 96 bytes"
    ):
        read_image(folder)
    assert is_image(folder)


def test_headers_are_enough(tmp_path, monkeypatch):
    """No pixel is decoded for a Header, and a listing stops at the second slice."""
    folder = folder_of(tmp_path, slices(2.0 * np.arange(30)))
    grid = read_image(folder).grid
    opened = []
    module = __import__("anatomark.formats.dicom_files.dicom_series", fromlist=["open_dicom"])
    real = module.open_dicom
    monkeypatch.setattr(module, "open_dicom", lambda path: (opened.append(path), real(path))[1])
    monkeypatch.setattr("anatomark.formats.dicom_files.dicom_pixels.Pixels.frame", None)
    assert is_image(folder)
    assert len(opened) == 2
    assert read_header(folder).grid == grid
    assert len(opened) == 32

"""DICOM: single X-rays and slices, stacks, multi-frame files, and folders that are no volume."""

import numpy as np
import pytest
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from anatomark.core.grid import Grid
from anatomark.errors import ImageError, SpacingError
from anatomark.formats.images import image_name, is_image, list_images, read_grid, read_image

CT = "1.2.840.10008.5.1.4.1.1.2"
ENHANCED_CT = "1.2.840.10008.5.1.4.1.1.2.1"
DX = "1.2.840.10008.5.1.4.1.1.1.1"
XA = "1.2.840.10008.5.1.4.1.1.12.1"
TURN = 0.3
ROW = np.array([np.cos(TURN), np.sin(TURN), 0.0])
COLUMN = np.array([0.0, 0.0, -1.0])
NORMAL = np.cross(ROW, COLUMN)


def write(path, array, *, sop=CT, series=None, **tags):
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = sop
    meta.MediaStorageSOPInstanceUID = generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    file = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    file.SOPClassUID, file.SOPInstanceUID = sop, meta.MediaStorageSOPInstanceUID
    file.SeriesInstanceUID, file.StudyInstanceUID = series or generate_uid(), generate_uid()
    file.Modality, file.SamplesPerPixel = "CT", 1
    file.Rows, file.Columns = array.shape[-2:]
    if array.ndim == 3:
        file.NumberOfFrames = len(array)
    file.PhotometricInterpretation = "MONOCHROME2"
    file.BitsAllocated = file.BitsStored = 16
    file.HighBit, file.PixelRepresentation = 15, 0
    file.PixelData = array.astype("<u2").tobytes()
    for name, value in tags.items():
        setattr(file, name, value)
    file.save_as(path)


def pixels(shape=(6, 8), seed=0):
    return np.random.default_rng(seed).integers(0, 4000, size=shape)


def stack(folder, steps=(0, 2.5, 5, 7.5), *, series=None, drift=0.0, description="Axial"):
    """Slices in a random order of names and instance numbers."""
    folder.mkdir(exist_ok=True)
    series = series or generate_uid()
    arrays = [pixels(seed=k) for k in range(len(steps))]
    for name, k in enumerate(np.random.default_rng(1).permutation(len(steps))):
        position = np.array([1.0, 2.0, 3.0]) + NORMAL * steps[k] + ROW * drift * k
        write(
            folder / f"{description}_{name}.dcm",
            arrays[k],
            series=series,
            SeriesDescription=description,
            PixelSpacing=[0.7, 0.5],
            ImageOrientationPatient=[*ROW, *COLUMN],
            ImagePositionPatient=[round(float(v), 6) for v in position],
            InstanceNumber=name + 1,
            RescaleSlope=1,
            RescaleIntercept=-1024,
        )
    return np.stack(arrays) - 1024


def test_an_oblique_stack_reads_in_the_order_of_its_slices(tmp_path):
    folder = tmp_path / "ct.2020"
    array = stack(folder)
    image = read_image(folder)
    np.testing.assert_array_equal(image.array, array)
    expected = Grid.from_geometry(
        (4, 6, 8), spacing=(0.5, 0.7, 2.5), origin=(1, 2, 3), direction=np.stack([ROW, COLUMN, NORMAL], axis=1)
    )
    assert image.grid.same_as(expected, 1e-5)
    assert read_grid(folder) == image.grid
    assert is_image(folder)
    assert image_name(folder) == "ct.2020"
    assert list_images(folder) == [folder]
    assert list_images(tmp_path) == [folder]


@pytest.mark.parametrize(
    ("steps", "drift", "message"),
    [
        ((0, 2.5, 7.5, 10), 0.0, r"not evenly spaced \(5\.000 mm between Axial_\d.dcm and Axial_\d.dcm, 2\.500"),
        ((0, 2.5, 2.5, 5), 0.0, "several slices at one place"),
        ((0, 2.5, 5, 7.5), 0.4, "gantry tilt"),
    ],
)
def test_a_stack_that_is_no_straight_grid_is_refused(tmp_path, steps, drift, message):
    stack(tmp_path / "ct", steps, drift=drift)
    with pytest.raises(ImageError, match=message):
        read_image(tmp_path / "ct")


def test_a_folder_with_several_series_names_them(tmp_path):
    stack(tmp_path / "ct", description="Bone")
    stack(tmp_path / "ct", description="Scout")
    with pytest.raises(ImageError, match="2 DICOM series") as error:
        read_image(tmp_path / "ct")
    assert "'Bone' (4 files" in str(error.value)
    assert "'Scout' (4 files" in str(error.value)


def test_slices_of_different_size_are_refused(tmp_path):
    series = generate_uid()
    stack(tmp_path / "ct", series=series)
    write(
        tmp_path / "ct" / "z.dcm",
        pixels((5, 8)),
        series=series,
        PixelSpacing=[0.7, 0.5],
        ImageOrientationPatient=[*ROW, *COLUMN],
        ImagePositionPatient=[50, 50, 50],
    )
    with pytest.raises(ImageError, match="differ in orientation, size or spacing"):
        read_image(tmp_path / "ct")


def test_two_views_of_one_series_are_two_images_not_a_volume(tmp_path):
    series = generate_uid()
    for name in ("front", "side"):
        write(tmp_path / f"{name}.dcm", pixels(), sop=DX, series=series, ImagerPixelSpacing=[0.2, 0.1])
    assert [p.name for p in list_images(tmp_path)] == ["front.dcm", "side.dcm"]
    assert not is_image(tmp_path)
    with pytest.raises(ImageError, match="ImagePositionPatient"):
        read_image(tmp_path)


@pytest.mark.parametrize(
    ("tags", "spacing"),
    [
        ({"ImagerPixelSpacing": [0.2, 0.1]}, (0.2, 0.1)),
        ({"PixelSpacing": [0.18, 0.09], "ImagerPixelSpacing": [0.2, 0.1]}, (0.18, 0.09)),
        ({"NominalScannedPixelSpacing": [0.3, 0.4]}, (0.3, 0.4)),
    ],
)
def test_an_xray_is_2d_with_its_spacing(tmp_path, tags, spacing):
    write(tmp_path / "ray", pixels(), sop=DX, **tags)  # without an ending, as scanners write it
    image = read_image(tmp_path / "ray")
    np.testing.assert_array_equal(image.array, pixels())
    assert image.grid == Grid.from_geometry((6, 8), spacing=spacing[::-1])
    assert read_grid(tmp_path / "ray") == image.grid
    assert is_image(tmp_path / "ray")
    with pytest.raises(SpacingError):
        read_image(tmp_path / "ray", spacing=(1, 1))


def test_an_xray_without_a_spacing_is_in_px(tmp_path):
    write(tmp_path / "a.dcm", pixels(), sop=DX)
    assert read_image(tmp_path / "a.dcm").grid.unit == "px"
    assert read_image(tmp_path / "a.dcm", spacing=(0.1, 0.2)).grid.spacing == (0.2, 0.1)


@pytest.mark.parametrize("bits", [12, 16])
def test_monochrome1_is_turned_round_once(tmp_path, bits):
    stored = {"PhotometricInterpretation": "MONOCHROME1", "BitsStored": bits, "HighBit": bits - 1}
    write(tmp_path / "a.dcm", pixels(), sop=DX, **stored)
    np.testing.assert_array_equal(read_image(tmp_path / "a.dcm").array, 2**bits - 1 - pixels())


def test_a_single_axial_slice_keeps_its_place_and_another_has_none(tmp_path):
    tags = {"PixelSpacing": [0.7, 0.5], "ImagePositionPatient": [-100, -120, 50]}
    write(tmp_path / "axial.dcm", pixels(), ImageOrientationPatient=[-1, 0, 0, 0, -1, 0], **tags)
    write(tmp_path / "side.dcm", pixels(), ImageOrientationPatient=[0, 1, 0, 0, 0, -1], **tags)
    axial = read_grid(tmp_path / "axial.dcm")
    np.testing.assert_allclose(axial.index_to_world((2, 3)), [-100 - 3 * 0.5, -120 - 2 * 0.7])
    assert read_grid(tmp_path / "side.dcm") == Grid.from_geometry((6, 8), spacing=(0.5, 0.7))


def test_frames_are_a_volume_only_where_the_file_says_so(tmp_path):
    frames = pixels((3, 6, 8))
    write(tmp_path / "film.dcm", frames, sop=XA)
    with pytest.raises(ImageError, match="3 frames of a film"):
        read_image(tmp_path / "film.dcm")
    placed = {"ImageOrientationPatient": [*ROW, *COLUMN], "ImagePositionPatient": [1, 2, 3]}
    write(tmp_path / "ct.dcm", frames, sop=XA, SpacingBetweenSlices=2.0, PixelSpacing=[0.7, 0.5], **placed)
    assert read_image(tmp_path / "ct.dcm").array.shape == (3, 6, 8)


def test_a_cut_dicom_is_one_line(tmp_path):
    write(tmp_path / "a.dcm", pixels((60, 80)), sop=DX)
    (tmp_path / "b.dcm").write_bytes((tmp_path / "a.dcm").read_bytes()[:-2000])
    with pytest.raises(ImageError) as error:
        read_image(tmp_path / "b.dcm")
    assert "\n" not in str(error.value)

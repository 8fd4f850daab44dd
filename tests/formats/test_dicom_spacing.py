"""In which plane the millimetres of a projection lie, and the spacing of ultrasound and of scanned film."""

import numpy as np
import pytest

from anatomark.errors import ImageError
from anatomark.formats.images import read_header
from tests.formats.dicom_objects import CAPTURE, CR, DX, US, XA, an_object, nested, save

PIXELS = np.arange(48, dtype=np.uint16).reshape(6, 8)
DETECTOR, OBJECT = "plane of the detector", "plane of the object"


def header_of(tmp_path, sop, **tags):
    return read_header(save(an_object(sop, PIXELS, **tags), tmp_path / "a.dcm"))


IMAGER = {"ImagerPixelSpacing": [0.2, 0.1]}
FACTOR = {"EstimatedRadiographicMagnificationFactor": "1.25"}
DISTANCES = {"DistanceSourceToDetector": "1800", "DistanceSourceToPatient": "1500"}


@pytest.mark.parametrize("sop", [DX, CR, XA])
@pytest.mark.parametrize(
    ("tags", "spacing", "told"),
    [
        (IMAGER, (0.2, 0.1), (DETECTOR, "unknown factor")),
        (IMAGER | FACTOR, (0.16, 0.08), (OBJECT, "0.1 x 0.2 mm at the detector / 1.25 (Estimated")),
        (
            IMAGER | DISTANCES,
            (0.2 / 1.2, 0.1 / 1.2),
            (OBJECT, "DistanceSourceToDetector 1800 / DistanceSourceToPatient 1500"),
        ),
        (IMAGER | DISTANCES | FACTOR, (0.16, 0.08), (OBJECT, "its distances to the source would give 1.2")),
        (IMAGER | {"EstimatedRadiographicMagnificationFactor": "1"}, (0.2, 0.1), (OBJECT,)),
        # factors and distances that cannot be, and those that are not known
        (IMAGER | {"EstimatedRadiographicMagnificationFactor": "0.5"}, (0.2, 0.1), (DETECTOR, "0.5 cannot be")),
        (IMAGER | DISTANCES | {"DistanceSourceToPatient": "1900"}, (0.2, 0.1), (DETECTOR, "1900 cannot be")),
        (IMAGER | DISTANCES | {"DistanceSourceToPatient": "0"}, (0.2, 0.1), (DETECTOR,)),
        (IMAGER | {"DistanceSourceToDetector": "1800"}, (0.2, 0.1), (DETECTOR,)),
        # calibrated
        (IMAGER | {"PixelSpacing": [0.16, 0.08]}, (0.16, 0.08), ()),
        (IMAGER | FACTOR | {"PixelSpacing": [0.15, 0.075]}, (0.15, 0.075), ()),
        (IMAGER | {"PixelSpacing": [0.2, 0.1], "PixelSpacingCalibrationType": "FIDUCIAL"}, (0.2, 0.1), ()),
        ({"PixelSpacing": [0.2, 0.1]}, (0.2, 0.1), ()),
        ({"PixelSpacing": [0.2, 0.1]} | FACTOR, (0.2, 0.1), (OBJECT, "which is not applied")),
        # PS3.3 10.7.1.3: equal ones without a type of calibration are both at the detector
        (IMAGER | {"PixelSpacing": [0.2, 0.1]}, (0.2, 0.1), (DETECTOR,)),
        (IMAGER | FACTOR | {"PixelSpacing": [0.2, 0.1]}, (0.16, 0.08), (OBJECT,)),
    ],
)
def test_the_plane_of_the_millimetres(tmp_path, sop, tags, spacing, told):
    header = header_of(tmp_path, sop, **tags)
    assert header.grid.unit == "mm"
    np.testing.assert_allclose(header.grid.spacing, spacing, rtol=1e-12)
    assert len(header.remarks) == bool(told)
    for words in told:
        assert words in header.remarks[0]
    assert all(str(tmp_path / "a.dcm") in remark and "\n" not in remark for remark in header.remarks)


def test_scanned_film_says_that_it_is(tmp_path):
    header = header_of(tmp_path, CR, NominalScannedPixelSpacing=[0.3, 0.4])
    assert header.grid.spacing == (0.3, 0.4)
    assert "scanned film" in header.remarks[0]


@pytest.mark.parametrize("words", [[2, 1], [1, 2]])
def test_pixels_that_are_not_square_are_told(tmp_path, words):
    header = header_of(tmp_path, CAPTURE, PixelAspectRatio=words)
    assert header.grid.unit == "px"
    assert f"PixelAspectRatio {words[0]}:{words[1]}" in header.remarks[0]
    assert header_of(tmp_path, CAPTURE, PixelAspectRatio=[1, 1]).remarks == ()
    assert header_of(tmp_path, CAPTURE, PixelAspectRatio=words, PixelSpacing=[0.2, 0.1]).remarks == ()


@pytest.mark.parametrize("name", ["PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing"])
@pytest.mark.parametrize("held", [[0, 0.1], [-0.2, 0.1], [0.2]])
def test_an_impossible_spacing_is_refused(tmp_path, name, held):
    with pytest.raises(ImageError, match=f"impossible {name}"):
        header_of(tmp_path, CR, **{name: held})


def region(x=0.02, y=0.03, box=(0, 0, 7, 5), format=1, units=(3, 3)):
    return nested(
        RegionSpatialFormat=format, RegionDataType=1, RegionFlags=0,
        PhysicalUnitsXDirection=units[0], PhysicalUnitsYDirection=units[1], PhysicalDeltaX=x, PhysicalDeltaY=y,
        RegionLocationMinX0=box[0], RegionLocationMinY0=box[1], RegionLocationMaxX1=box[2], RegionLocationMaxY1=box[3],
    )  # fmt: skip


@pytest.mark.parametrize(
    ("regions", "told"),
    [
        ([region()], None),
        ([region(y=-0.03)], None),  # upwards
        ([region(), region(x=0.5, format=3, units=(4, 7))], None),  # a spectrum below
        ([region(box=(1, 1, 6, 4))], "columns 1 to 6, rows 1 to 4"),
        ([region(box=(0, 0, 3, 5)), region(box=(4, 0, 7, 5))], "columns 0 to 3, rows 0 to 5 and columns 4 to 7"),
    ],
)
def test_ultrasound_has_the_spacing_of_its_regions(tmp_path, regions, told):
    header = header_of(tmp_path, US, SequenceOfUltrasoundRegions=regions)
    assert header.grid.unit == "mm"
    np.testing.assert_allclose(header.grid.spacing, (0.3, 0.2))
    assert len(header.remarks) == (told is not None)
    assert told is None or told in header.remarks[0]


@pytest.mark.parametrize(
    ("regions", "told"),
    [
        ([region(box=(0, 0, 3, 5)), region(x=0.04, y=0.06, box=(4, 0, 7, 5))], "differ in spacing"),
        ([region(format=3, units=(4, 7))], "none of its 1 ultrasound regions"),
        ([region(units=(0, 0))], "none of its 1 ultrasound regions"),
    ],
)
def test_ultrasound_without_one_spacing_is_in_px_and_says_why(tmp_path, regions, told):
    header = header_of(tmp_path, US, SequenceOfUltrasoundRegions=regions)
    assert header.grid.unit == "px"
    assert told in header.remarks[0]

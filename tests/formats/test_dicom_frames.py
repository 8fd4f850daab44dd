"""Multi-frame DICOM objects: every value and place against pydicom, and a line where they are no volume."""

import numpy as np
import pytest

from anatomark.errors import ImageError
from anatomark.formats.images import load_image, read_grid, read_header, read_image
from tests.formats.dicom_objects import (
    CT,
    DOSE,
    ENHANCED_CT,
    ENHANCED_MR,
    ENHANCED_PET,
    MR,
    NUCLEAR,
    SEGMENTATION,
    STORED,
    TOMO,
    XA,
    XA_3D,
    an_object,
    assert_same_voxels,
    by_pydicom,
    enhanced,
    nested,
    oblique,
    save,
)

TURNED, NORMAL = oblique()
PLACE = np.array([10.0, -20.0, 30.0])
UP, DOWN, SHUFFLED = range(6), range(5, -1, -1), (3, 0, 5, 1, 4, 2)


def values(shape=(6, 7, 9), seed=0, dtype=np.int16):
    return np.random.default_rng(seed).integers(0, 2000, size=shape).astype(dtype)


def positions(count=6, step=2.0):
    return [PLACE + k * step * NORMAL for k in range(count)]


@pytest.mark.parametrize("sop", [ENHANCED_CT, ENHANCED_MR, ENHANCED_PET, XA_3D, TOMO])
@pytest.mark.parametrize("order", [UP, DOWN, SHUFFLED], ids=["up", "down", "shuffled"])
@pytest.mark.parametrize("between", [None, 2.0, 7.0], ids=["none", "right", "wrong"])
def test_frames_lie_where_their_positions_say(tmp_path, sop, order, between):
    made = enhanced(values(), positions(), order, sop=sop, orientation=TURNED, between=between)
    path = save(made, tmp_path / "a.dcm")
    image = read_image(path)
    assert_same_voxels(image, by_pydicom(made))
    np.testing.assert_allclose(image.grid.spacing, (2.0, 0.7, 0.5), atol=1e-6)
    assert read_grid(path) == image.grid
    assert read_header(path).remarks == ()


@pytest.mark.parametrize("where", ["frame", "shared", "top"])
def test_geometry_and_rescale_are_found_wherever_the_object_keeps_them(tmp_path, where):
    array = values()
    turned, measures = nested(ImageOrientationPatient=TURNED), nested(PixelSpacing=[0.7, 0.5])
    transformation = nested(RescaleSlope="2", RescaleIntercept="-7")
    held = {
        "PlaneOrientationSequence": [turned],
        "PixelMeasuresSequence": [measures],
        "PixelValueTransformationSequence": [transformation],
    }
    made = an_object(ENHANCED_CT, array[list(SHUFFLED)])
    made.PerFrameFunctionalGroupsSequence = [
        nested(
            PlanePositionSequence=[nested(ImagePositionPatient=[round(float(x), 9) for x in positions()[k]])],
            **(held if where == "frame" else {}),
        )
        for k in SHUFFLED
    ]
    if where == "shared":
        made.SharedFunctionalGroupsSequence = [nested(**held)]
    if where == "top":
        for one in (turned, measures, transformation):
            made.update(one)
    assert_same_voxels(read_image(save(made, tmp_path / "a.dcm")), by_pydicom(made))


def test_every_frame_has_its_own_rescale(tmp_path):
    made = enhanced(values(), positions(), SHUFFLED, orientation=TURNED, rescale=lambda k: (0.25 + k, -3 * k))
    image = read_image(save(made, tmp_path / "a.dcm"))
    assert image.array.dtype.kind == "f"
    assert_same_voxels(image, by_pydicom(made))
    assert image.array[1, 2, 3] == values()[1, 2, 3] * 1.25 - 3


def test_intercepts_that_differ_by_frame_keep_whole_numbers(tmp_path):
    made = enhanced(values(), positions(), DOWN, orientation=TURNED, rescale=lambda k: (1, -1000 + k))
    image = read_image(save(made, tmp_path / "a.dcm"))
    assert image.array.dtype.kind == "i"
    assert_same_voxels(image, by_pydicom(made))


def test_real_world_values_are_left_alone(tmp_path):
    mapping = [nested(RealWorldValueSlope=0.5, RealWorldValueIntercept=3.0)]
    made = enhanced(values(), positions(), UP, orientation=TURNED, shared={"RealWorldValueMappingSequence": mapping})
    assert_same_voxels(read_image(save(made, tmp_path / "a.dcm")), by_pydicom(made))


def top_level(sop, array, **tags):
    """A multi-frame object with the place of its first frame alone, as dental programs write it."""
    stated = {
        "PixelSpacing": [0.7, 0.5],
        "ImageOrientationPatient": TURNED,
        "ImagePositionPatient": PLACE.tolist(),
        "RescaleSlope": "1",
        "RescaleIntercept": "-1000",
    }
    return an_object(sop, array, **{name: value for name, value in (stated | tags).items() if value is not None})


def assert_from_first(image, array, offsets):
    """Slice k of the image is frame order[k], which lies offsets[order[k]] mm along the normal."""
    for k, frame in enumerate(np.argsort(offsets)):
        np.testing.assert_array_equal(image.array[k], array[frame])
        for row, column in ((0, 0), (6, 8), (2, 5)):
            world = (
                PLACE + offsets[frame] * NORMAL + column * 0.5 * np.array(TURNED[:3]) + row * 0.7 * np.array(TURNED[3:])
            )
            np.testing.assert_allclose(image.grid.index_to_world((k, row, column)), world, atol=1e-6)


@pytest.mark.parametrize("sop", [CT, ENHANCED_CT, MR, XA])
def test_one_place_and_a_spacing_between_slices_make_a_volume(tmp_path, sop):
    path = save(top_level(sop, values(), SpacingBetweenSlices=0.4, SliceThickness=5), tmp_path / "a.dcm")
    image, header = load_image(path)
    assert_from_first(image, values() - 1000, np.arange(6) * 0.4)
    assert header.remarks == ()


@pytest.mark.parametrize("sop", [CT, ENHANCED_CT])
def test_touching_slices_of_ct_follow_their_thickness_and_say_so(tmp_path, sop):
    path = save(top_level(sop, values(), SliceThickness=0.3), tmp_path / "dolphin.dcm")
    image, header = load_image(path)
    assert_from_first(image, values() - 1000, np.arange(6) * 0.3)
    (remark,) = header.remarks
    assert str(path) in remark
    assert "SliceThickness 0.3 mm" in remark


@pytest.mark.parametrize(
    ("sop", "changes", "missing"),
    [
        (MR, {"SliceThickness": 3}, "does not state SpacingBetweenSlices"),  # slices of MR have gaps
        (CT, {}, "does not state SpacingBetweenSlices"),
        (CT, {"SliceThickness": 3, "ImageOrientationPatient": None}, "does not state ImageOrientationPatient,"),
        (CT, {"SliceThickness": 3, "ImagePositionPatient": None}, "does not state ImagePositionPatient,"),
        (CT, {"SliceThickness": 3, "PixelSpacing": None}, "does not state PixelSpacing,"),
        (CT, {"PixelSpacing": None, "ImagePositionPatient": None}, "ImagePositionPatient and PixelSpacing"),
        (XA, {"ImagePositionPatient": None}, "film, not a volume .it does not state ImagePositionPatient"),
        (CT, {"SpacingBetweenSlices": 0}, "SpacingBetweenSlices of 0"),
        (CT, {"SliceThickness": 3, "PixelSpacing": [0, 0.5]}, "impossible PixelSpacing"),
        (CT, {"SliceThickness": 3, "ImageOrientationPatient": [1, 0, 0, 1, 0, 0]}, "impossible ImageOrientation"),
    ],
)
def test_a_geometry_that_is_not_stated_is_named(tmp_path, sop, changes, missing):
    path = save(top_level(sop, values(), **changes), tmp_path / "a.dcm")
    for read in (read_image, read_header):
        with pytest.raises(ImageError, match=missing) as error:
            read(path)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("first", [0.0, 30.0], ids=["from the first", "as z"])
@pytest.mark.parametrize("sign", [1, -1])
def test_dose_follows_its_offsets_and_its_scaling(tmp_path, first, sign):
    array = values(dtype=np.uint16)
    offsets = sign * 2.5 * np.arange(6)
    made = top_level(
        DOSE, array, RescaleSlope=None, RescaleIntercept=None, GridFrameOffsetVector=(offsets + first).tolist(),
        DoseGridScaling="0.0125",
    )  # fmt: skip
    image = read_image(save(made, tmp_path / "dose.dcm"))
    assert_from_first(image, array * 0.0125, offsets)


@pytest.mark.parametrize("between", [4.0, -4.0])
def test_nuclear_medicine_keeps_its_place_with_the_detector(tmp_path, between):
    made = top_level(NUCLEAR, values(), ImageOrientationPatient=None, ImagePositionPatient=None,
                     SpacingBetweenSlices=between)  # fmt: skip
    detector = nested(ImageOrientationPatient=TURNED, ImagePositionPatient=PLACE.tolist())
    made.DetectorInformationSequence = [detector]
    image = read_image(save(made, tmp_path / "spect.dcm"))
    assert_from_first(image, values() - 1000, between * np.arange(6))


def two_of_each(per_frame):
    """Two frames at each of three places."""
    places = [PLACE + (k // 2) * 2 * NORMAL for k in range(6)]
    return enhanced(values(), places, SHUFFLED, orientation=TURNED, per_frame=per_frame)


@pytest.mark.parametrize(
    ("per_frame", "told"),
    [
        (
            lambda k: {"MREchoSequence": [nested(EffectiveEchoTime=10.0 + 5 * (k % 2))]},
            "EffectiveEchoTime 1[05].0, 1[05].0",
        ),
        (
            lambda k: {"FrameContentSequence": [nested(TemporalPositionIndex=1 + k % 2)]},
            "TemporalPositionIndex [12], [12]",
        ),
        (lambda k: {"MRDiffusionSequence": [nested(DiffusionBValue=1000.0 * (k % 2))]}, "DiffusionBValue"),
        (
            lambda k: {"FrameContentSequence": [nested(StackID=str(k % 2))]},
            "2 stacks, expected one .StackID 1: 3 frames",
        ),
        (lambda k: {}, "several slices at one place"),
    ],
)
def test_several_volumes_in_one_file_are_named(tmp_path, per_frame, told):
    path = save(two_of_each(per_frame), tmp_path / "a.dcm")
    with pytest.raises(ImageError, match=told) as error:
        read_image(path)
    assert "\n" not in str(error.value)


def test_a_missing_frame_is_named(tmp_path):
    places = [PLACE + k * 2 * NORMAL for k in (0, 1, 2, 4, 5, 6)]
    path = save(enhanced(values(), places, SHUFFLED, orientation=TURNED), tmp_path / "a.dcm")
    # slices 2 and 3 are the frames 6 and 1
    with pytest.raises(
        ImageError, match=r"4\.000 mm between frame 6 and frame 1, 2\.000 mm elsewhere: 1 slice is missing"
    ):
        read_image(path)


def test_frames_that_are_turned_differently_are_no_volume(tmp_path):
    other, _ = oblique(turn=0.5)
    made = enhanced(
        values(), positions(), UP,
        per_frame=lambda k: {"PlaneOrientationSequence": [nested(ImageOrientationPatient=TURNED if k < 4 else other)]},
    )  # fmt: skip
    with pytest.raises(ImageError, match=r"frame 1: .*frame 5: .*orientation"):
        read_image(save(made, tmp_path / "a.dcm"))


def test_fewer_descriptions_than_frames_are_refused(tmp_path):
    made = enhanced(values(), positions(), UP, orientation=TURNED)
    made.PerFrameFunctionalGroupsSequence = made.PerFrameFunctionalGroupsSequence[:5]
    with pytest.raises(ImageError, match="6 frames, but describes 5"):
        read_image(save(made, tmp_path / "a.dcm"))


def test_an_ultrasound_volume_has_axes_of_its_own(tmp_path):
    made = enhanced(values(), positions(), SHUFFLED, sop=f"{STORED}6.2", rescale=(1, 0))
    for group, place in zip(made.PerFrameFunctionalGroupsSequence, made.PerFrameFunctionalGroupsSequence, strict=True):
        position = place.PlanePositionSequence[0].ImagePositionPatient
        del group.PlanePositionSequence
        group.PlanePositionVolumeSequence = [nested(ImagePositionVolume=[float(x) for x in position])]
    common = made.SharedFunctionalGroupsSequence[0]
    common.PlaneOrientationVolumeSequence = [nested(ImageOrientationVolume=TURNED)]
    image, header = load_image(save(made, tmp_path / "a.dcm"))
    np.testing.assert_array_equal(image.array, values())
    np.testing.assert_allclose(image.grid.index_to_world((2, 0, 0)), positions()[2], atol=1e-6)
    assert "does not state the patient's position" in header.remarks[0]


def test_a_segmentation_is_no_image(tmp_path):
    made = enhanced(values(dtype=np.uint8), positions(), UP, sop=SEGMENTATION, orientation=TURNED)
    with pytest.raises(ImageError, match="segmentation"):
        read_image(save(made, tmp_path / "a.dcm"))


def test_one_enhanced_frame_is_a_slice_with_its_spacing(tmp_path):
    made = enhanced(values((1, 7, 9)), positions(1), [0], orientation=[-1, 0, 0, 0, -1, 0])
    image = read_image(save(made, tmp_path / "a.dcm"))
    assert image.grid.spacing == (0.7, 0.5)
    np.testing.assert_allclose(image.grid.index_to_world((2, 3)), PLACE[:2] - [3 * 0.5, 2 * 0.7])
    np.testing.assert_array_equal(image.array, by_pydicom(made)[0][0])

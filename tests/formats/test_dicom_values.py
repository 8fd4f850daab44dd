"""Grey values of DICOM files, each against pydicom, and bright is high."""

import io

import numpy as np
import pytest
import SimpleITK as sitk
from PIL import Image as Picture
from pydicom.encaps import encapsulate
from pydicom.pixels import apply_modality_lut
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLSLossless,
    RLELossless,
)

from anatomark.errors import ImageError
from anatomark.formats.images import load_image, read_image
from tests.formats.dicom_objects import CAPTURE, CT, DX, PET, an_object, nested, save

RAMP = np.add.outer(np.arange(40) * 37, np.arange(60) * 29)
KINDS = {
    "8 bit": (RAMP % 256).astype(np.uint8),
    "12 bit": (RAMP % 4096).astype(np.uint16),
    "16 bit": (RAMP * 20 % 65536).astype(np.uint16),
    "12 bit signed": (RAMP % 4096 - 2048).astype(np.int16),
    "16 bit signed": (RAMP * 7 - 9000).astype(np.int16),
}


def stored_bits(kind):
    return int(kind.split()[0])


def made_of(kind, **tags):
    return an_object(DX, KINDS[kind], stored=stored_bits(kind), PixelSpacing=[0.2, 0.1], **tags)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "syntax", [ImplicitVRLittleEndian, DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian], ids=lambda s: s.name
)
def test_every_uncompressed_syntax(tmp_path, kind, syntax):
    made = made_of(kind, syntax=syntax)
    if syntax == ExplicitVRBigEndian:
        swapped = KINDS[kind] if KINDS[kind].dtype.itemsize == 2 else KINDS[kind].reshape(-1).view("u2")
        made.PixelData = swapped.byteswap().tobytes()
        made["PixelData"].VR = "OW"
    image = read_image(save(made, tmp_path / "a.dcm"))
    np.testing.assert_array_equal(image.array, KINDS[kind])
    assert image.grid.spacing == (0.2, 0.1)


def test_a_file_without_its_first_part_is_read(tmp_path):
    made = made_of("12 bit", syntax=ImplicitVRLittleEndian)
    del made.file_meta
    for name in ("a.dcm", "IM0001"):
        made.save_as(tmp_path / name, implicit_vr=True, little_endian=True)
        np.testing.assert_array_equal(read_image(tmp_path / name).array, KINDS["12 bit"])


def compressed(made, syntax, *frames):
    made.file_meta.TransferSyntaxUID = syntax
    made.PixelData = encapsulate(list(frames))
    made["PixelData"].VR = "OB"
    return made


def by_pillow(array, kind, **options):
    held = io.BytesIO()
    Picture.fromarray(array).save(held, kind, **options)
    return held.getvalue()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("syntax", [RLELossless, JPEGLSLossless], ids=lambda s: s.name)
def test_lossless_compression_by_pydicom_gives_what_was_stored(tmp_path, kind, syntax):
    made = made_of(kind)
    made.compress(syntax)
    np.testing.assert_array_equal(read_image(save(made, tmp_path / "a.dcm")).array, KINDS[kind])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("compressor", ["JPEG", "JPEG2000"])
def test_lossless_compression_by_gdcm_gives_what_was_stored(tmp_path, kind, compressor):
    writer = sitk.ImageFileWriter()
    writer.SetImageIO("GDCMImageIO")
    writer.SetCompressor(compressor)
    writer.UseCompressionOn()
    writer.SetFileName(str(tmp_path / "a.dcm"))
    writer.Execute(sitk.GetImageFromArray(KINDS[kind]))
    np.testing.assert_array_equal(read_image(tmp_path / "a.dcm").array, KINDS[kind])


@pytest.mark.parametrize(
    ("at", "held"), [(0, 203), (2, 77), (4, 77), (5, 3)], ids=["bits", "rows", "columns", "colours"]
)
def test_a_compressed_image_that_says_other_than_the_header_is_refused(tmp_path, at, held):
    """GDCM believes the compressed image, and ends the whole process where that states 203 bits."""
    path = tmp_path / "a.dcm"
    writer = sitk.ImageFileWriter()
    writer.SetImageIO("GDCMImageIO")
    writer.SetCompressor("JPEG")
    writer.UseCompressionOn()
    writer.SetFileName(str(path))
    writer.Execute(sitk.GetImageFromArray(KINDS["16 bit signed"]))
    content = bytearray(path.read_bytes())
    content[content.index(b"\xff\xc3") + 4 + at] = held
    path.write_bytes(content)
    with pytest.raises(ImageError, match=rf"but its compressed image has .*{held}.*: damaged"):
        read_image(path)


@pytest.mark.parametrize("kind", ["8 bit", "12 bit", "16 bit"])
def test_jpeg_2000_by_pillow_gives_what_was_stored(tmp_path, kind):
    frame = by_pillow(KINDS[kind], "JPEG2000", no_jp2=True, irreversible=False)
    made = compressed(made_of(kind), JPEG2000Lossless, frame)
    np.testing.assert_array_equal(read_image(save(made, tmp_path / "a.dcm")).array, KINDS[kind])


def test_a_rescale_is_applied_once_to_compressed_values(tmp_path):
    """GDCM would apply it too, and turn MONOCHROME1 round too."""
    stored = KINDS["12 bit"]
    frame = by_pillow(stored, "JPEG2000", no_jp2=True, irreversible=False)
    made = compressed(made_of("12 bit", RescaleSlope="2", RescaleIntercept="-1024"), JPEG2000Lossless, frame)
    np.testing.assert_array_equal(read_image(save(made, tmp_path / "a.dcm")).array, stored.astype(int) * 2 - 1024)
    made.PhotometricInterpretation = "MONOCHROME1"
    turned = (4095 - stored.astype(int)) * 2 - 1024
    np.testing.assert_array_equal(read_image(save(made, tmp_path / "b.dcm")).array, turned)


@pytest.mark.parametrize("pieces", ["one each", "cut in two"])
def test_the_frames_of_a_compressed_volume_stay_in_their_places(tmp_path, pieces):
    array = np.stack([KINDS["12 bit"], KINDS["12 bit"][::-1], KINDS["12 bit"][:, ::-1]])
    place = {"ImageOrientationPatient": [1, 0, 0, 0, 1, 0], "ImagePositionPatient": [0, 0, 0]}
    made = an_object(CT, array, stored=12, PixelSpacing=[1, 1], SpacingBetweenSlices=1, **place)
    frames = [by_pillow(frame, "JPEG2000", no_jp2=True, irreversible=False) for frame in array]
    made = compressed(made, JPEG2000Lossless, *frames)
    if pieces == "cut in two":
        made.PixelData = encapsulate(frames, fragments_per_frame=2)
    np.testing.assert_array_equal(read_image(save(made, tmp_path / "a.dcm")).array, array)


def test_colours_become_grey(tmp_path):
    smooth = (RAMP * 255 // RAMP.max()).astype(np.uint8)
    colours = np.stack([smooth, smooth[::-1], smooth[:, ::-1]], axis=-1)
    luma = colours @ [0.299, 0.587, 0.114]
    plain = an_object(CAPTURE, colours, photometric="RGB")
    planes = an_object(CAPTURE, colours, photometric="RGB", PlanarConfiguration=1)
    planes.PixelData = np.ascontiguousarray(np.moveaxis(colours, -1, 0)).tobytes()
    rle = an_object(CAPTURE, colours, photometric="RGB")
    rle.compress(RLELossless)
    jpeg = compressed(
        an_object(CAPTURE, colours, photometric="YBR_FULL_422"), JPEGBaseline8Bit,
        by_pillow(colours, "JPEG", quality=100, subsampling=0),
    )  # fmt: skip
    j2k = compressed(
        an_object(CAPTURE, colours, photometric="RGB", PhotometricInterpretation="YBR_RCT"), JPEG2000Lossless,
        by_pillow(colours, "JPEG2000", no_jp2=True, irreversible=False, mct=1),
    )  # fmt: skip
    for name, made, within in (
        ("a", plain, 0.51),
        ("b", planes, 0.51),
        ("c", rle, 0.51),
        ("d", jpeg, 4),
        ("e", j2k, 1),
    ):
        image = read_image(save(made, tmp_path / f"{name}.dcm"))
        np.testing.assert_allclose(image.array, luma, rtol=0, atol=within)


@pytest.mark.parametrize("bits", [8, 16])
def test_a_palette_becomes_grey(tmp_path, bits):
    entries = np.random.default_rng(0).integers(0, 2**bits, size=(256, 3))
    made = an_object(CAPTURE, KINDS["8 bit"], photometric="PALETTE COLOR")
    for k, colour in enumerate(("Red", "Green", "Blue")):
        setattr(made, f"{colour}PaletteColorLookupTableDescriptor", [256, 0, bits])
        table = entries[:, k].astype(np.uint16 if bits == 16 else np.uint8).tobytes()
        setattr(made, f"{colour}PaletteColorLookupTableData", table)
    expected = entries[KINDS["8 bit"]] @ [0.299, 0.587, 0.114]
    np.testing.assert_allclose(read_image(save(made, tmp_path / "a.dcm")).array, expected, rtol=0, atol=0.51)


SPOT = np.full((40, 60), 300)
SPOT[5:8, 50:53] = 3000


def assert_bright(image):
    assert image.array.max() == image.array[6, 51]
    assert (image.array == image.array.max()).sum() == 9


@pytest.mark.parametrize(
    ("stored", "bits", "expected"),
    [
        ((255 - SPOT // 16).astype(np.uint8), 8, SPOT // 16),
        ((4095 - SPOT).astype(np.uint16), 12, SPOT),
        ((16383 - SPOT).astype(np.uint16), 14, SPOT),
        ((65535 - SPOT * 20).astype(np.uint16), 16, SPOT * 20),
        ((-SPOT).astype(np.int16), 16, SPOT - 1),
        ((2000 - SPOT).astype(np.int16), 12, SPOT - 2001),
    ],
    ids=["8", "12", "14", "16", "16 signed", "12 signed"],
)
@pytest.mark.parametrize("tags", [{}, {"RescaleSlope": "1", "RescaleIntercept": "-7"}, {"RescaleSlope": "0.5"}])
@pytest.mark.parametrize("rle", [False, True])
def test_monochrome1_ends_with_bright_as_high(tmp_path, stored, bits, expected, tags, rle):
    """The value is turned round within what its bits can hold, then rescaled."""
    made = an_object(DX, stored, stored=bits, photometric="MONOCHROME1", **tags)
    if rle:
        made.compress(RLELossless)
    image = read_image(save(made, tmp_path / "a.dcm"))
    slope, intercept = float(tags.get("RescaleSlope", 1)), float(tags.get("RescaleIntercept", 0))
    np.testing.assert_array_equal(image.array, expected * slope + intercept)
    assert_bright(image)


def test_low_is_bright_after_the_rescale(tmp_path):
    """PS3.3 C.7.6.3.1.2: with a slope of -1 the lowest rescaled value, which is the highest stored one, is white."""
    made = an_object(DX, SPOT.astype(np.uint16), stored=12, photometric="MONOCHROME1",
                     RescaleSlope="-1", RescaleIntercept="4095")  # fmt: skip
    assert_bright(read_image(save(made, tmp_path / "a.dcm")))
    made.PhotometricInterpretation = "MONOCHROME2"
    np.testing.assert_array_equal(read_image(save(made, tmp_path / "b.dcm")).array, 4095 - SPOT)


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_an_inverse_presentation_counts_once(tmp_path, photometric):
    made = an_object(DX, (4095 - SPOT).astype(np.uint16), stored=12, photometric=photometric,
                     PresentationLUTShape="INVERSE")  # fmt: skip
    np.testing.assert_array_equal(read_image(save(made, tmp_path / "a.dcm")).array, SPOT)


@pytest.mark.parametrize("sop", [CT, PET])
def test_quantities_are_not_turned_round(tmp_path, sop):
    made = an_object(sop, SPOT.astype(np.uint16), stored=12, photometric="MONOCHROME1",
                     RescaleSlope="1", RescaleIntercept="-1024")  # fmt: skip
    image, header = load_image(save(made, tmp_path / "a.dcm"))
    np.testing.assert_array_equal(image.array, SPOT - 1024)
    assert any("MONOCHROME1" in remark and "quantities" in remark for remark in header.remarks)


@pytest.mark.parametrize("signed", [False, True])
def test_overlays_above_the_stored_bits_are_cut_off(tmp_path, signed):
    array = (SPOT - (1000 if signed else 0)).astype(np.int16 if signed else np.uint16)
    stored = (array.view(np.uint16) & 0x0FFF) | (np.eye(40, 60, dtype=np.uint16) << 15)
    made = an_object(DX, stored.view(array.dtype), stored=12)
    np.testing.assert_array_equal(read_image(save(made, tmp_path / "a.dcm")).array, array)


def test_bits_that_begin_higher_up_are_moved_down(tmp_path):
    made = an_object(DX, (SPOT << 4).astype(np.uint16), stored=12)
    made.HighBit = 15
    np.testing.assert_array_equal(read_image(save(made, tmp_path / "a.dcm")).array, SPOT)


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_a_modality_table_is_followed(tmp_path, photometric):
    made = an_object(DX, SPOT.astype(np.uint16), stored=12, photometric=photometric)
    table = (np.arange(4096, dtype=np.int64) ** 2 // 300).astype(np.uint16)
    made.ModalityLUTSequence = [nested(LUTDescriptor=[4096, 0, 16], LUTData=table.tolist(), ModalityLUTType="US")]
    for one in made.ModalityLUTSequence:
        one["LUTDescriptor"].VR = one["LUTData"].VR = "US"
    expected = apply_modality_lut(SPOT.astype(np.uint16), made)
    assert expected[6, 51] == 30000
    image = read_image(save(made, tmp_path / "a.dcm"))
    turned = 65535 - expected.astype(int) if photometric == "MONOCHROME1" else expected
    np.testing.assert_array_equal(image.array, turned)


@pytest.mark.parametrize(
    ("tags", "kind"),
    [
        ({}, "uint16"),
        ({"RescaleSlope": "1", "RescaleIntercept": "0"}, "uint16"),
        ({"RescaleSlope": "1", "RescaleIntercept": "-1024"}, "int16"),
        ({"RescaleSlope": "1", "RescaleIntercept": "-1024.5"}, "float64"),
        ({"RescaleSlope": "2.5", "RescaleIntercept": "3"}, "float64"),
        ({"RescaleSlope": "-1", "RescaleIntercept": "4095"}, "int16"),
        ({"RescaleSlope": "-1", "RescaleIntercept": "65535", "BitsStored": 16, "HighBit": 15}, "uint16"),
        ({"RescaleSlope": "3", "RescaleIntercept": "-40000"}, "int32"),
    ],
)
def test_values_are_those_of_pydicom_and_whole_where_they_can_be(tmp_path, tags, kind):
    made = an_object(CT, SPOT.astype(np.uint16), stored=12, **tags)
    image = read_image(save(made, tmp_path / "a.dcm"))
    np.testing.assert_array_equal(image.array, apply_modality_lut(made.pixel_array, made))
    assert image.array.dtype == kind


def test_float_pixels_are_kept(tmp_path):
    array = np.random.default_rng(0).normal(size=(6, 9)).astype(np.float32)
    made = an_object(CAPTURE, array.view(np.uint32))
    del made.PixelData
    made.FloatPixelData = array.tobytes()
    np.testing.assert_array_equal(read_image(save(made, tmp_path / "a.dcm")).array, array)


def test_what_cannot_be_decoded_is_one_line(tmp_path):
    made = compressed(made_of("8 bit"), "1.2.840.10008.1.2.4.102", b"\0" * 100)  # a film in MPEG-4
    with pytest.raises(ImageError, match=r"MPEG-4 .* not decoded here; write it uncompressed"):
        read_image(save(made, tmp_path / "a.dcm"))
    made = made_of("8 bit")
    for tag in ("PixelData", "Rows", "Columns"):
        del made[tag]
    with pytest.raises(ImageError, match="DICOM without an image"):
        read_image(save(made, tmp_path / "b.dcm"))

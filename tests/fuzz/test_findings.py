"""What the fuzzer has found, each kind once: read in one line, without a traceback, a crash or gigabytes."""

import io
import json
import struct
import zipfile

import numpy as np
import pytest
from pydicom.uid import JPEGBaseline8Bit

from anatomark.errors import AnatomarkError, DescriptionError, ImageError, LandmarkFileError, ModelError, SpacingError
from anatomark.formats.images import read_header, read_image
from anatomark.formats.landmarks import read_placements
from tests.formats.dicom_objects import CT, DX, an_object, save
from tests.fuzz.image_doors import mha_seeds, mhd_seeds, nhdr_seeds, nrrd_seeds, picture_seeds, tiff_seeds
from tests.fuzz.model_doors import folder_of
from tests.fuzz.text_changes import BOMB


def refused(kind, call, match=None):
    with pytest.raises(kind, match=match) as told:
        call()
    assert "\n" not in str(told.value)
    return str(told.value)


@pytest.mark.parametrize(
    ("was", "now"),
    [
        (b"NDims = 3", b"NDims = -1"),
        (b"NDims = 3", b"NDims = 0"),
        (b"NDims = 3", b"NDims = 99999999"),
        (b"DimSize = 8 6 4", b"DimSize = 8 6"),
        (b"DimSize = 8 6 4", b"DimSize = -8 6 4"),
        (b"Offset = 10", b"Offset = x"),
        (b"ElementDataFile = LOCAL", b"ElementDataFile = LOCAM"),
        (b"TransformMatrix = 1", b"TransformMatrix = nan"),
        (b"TransformMatrix = 1 0 0", b"TransformMatrix = 0 0 0"),
    ],
)
def test_numbers_of_a_metaimage_that_end_itks_process(tmp_path, was, now):
    content = mha_seeds()[0]["a.mha"]
    assert was in content
    (tmp_path / "a.mha").write_bytes(content.replace(was, now))
    refused(ImageError, lambda: read_image(tmp_path / "a.mha"), "a.mha")
    if b"Data" not in was:
        refused(ImageError, lambda: read_header(tmp_path / "a.mha"), "a.mha")


@pytest.mark.parametrize("field", ["encoding: ", "endian: ", "space directions: ", "type: "])
def test_words_of_an_nrrd_too_long_for_itks_buffers(tmp_path, field):
    content = nrrd_seeds()[0]["a.nrrd"]
    at = content.index(field.encode()) + len(field)
    (tmp_path / "a.nrrd").write_bytes(content[:at] + b"a" * 200_000 + content[at:])
    refused(ImageError, lambda: read_image(tmp_path / "a.nrrd"), "a.nrrd")


def test_strips_of_a_tiff_that_lie_nowhere(tmp_path):
    content = bytearray(tiff_seeds()[0]["a.tif"])
    (directory,) = struct.unpack("<I", content[4:8])
    (count,) = struct.unpack("<H", content[directory : directory + 2])
    entries = [directory + 2 + 12 * k for k in range(count)]
    offsets = next(at for at in entries if content[at : at + 2] == struct.pack("<H", 273))
    content[offsets : offsets + 12] = struct.pack("<HHIi", 273, 9, 1, -8)  # a signed number
    (tmp_path / "a.tif").write_bytes(content)
    refused(ImageError, lambda: read_image(tmp_path / "a.tif"), "a.tif")


def test_a_page_of_a_tiff_without_pixels(tmp_path):
    content = bytearray(tiff_seeds()[2]["a.tif"])
    (directory,) = struct.unpack("<I", content[4:8])
    content[directory + 2 + 12 + 8 : directory + 2 + 12 + 12] = bytes(4)
    (tmp_path / "a.tif").write_bytes(content)
    for page in (None, 1):
        refused(AnatomarkError, lambda page=page: read_image(tmp_path / "a.tif", page=page), "a.tif")


def test_a_frame_of_dicom_of_another_size_than_stated(tmp_path):
    """The codec gives colours where one number a pixel is stated."""
    from PIL import Image
    from pydicom.encaps import encapsulate

    target = io.BytesIO()
    Image.fromarray(np.zeros((12, 10, 3), np.uint8)).save(target, "JPEG")
    made = an_object(DX, np.zeros((12, 10), np.uint8), PixelSpacing=[0.2, 0.1])
    made.file_meta.TransferSyntaxUID, made.PixelData = JPEGBaseline8Bit, encapsulate([target.getvalue()])
    made["PixelData"].VR = "OB"
    refused(ImageError, lambda: read_image(save(made, tmp_path / "a.dcm")), "a.dcm")


def test_a_dicom_file_with_values_of_twelve_bits(tmp_path):
    made = an_object(CT, np.zeros((6, 8), np.uint16), PixelSpacing=[1, 1])
    made.BitsAllocated = made.BitsStored = 12
    refused(ImageError, lambda: read_image(save(made, tmp_path / "a.dcm")), "a.dcm")


def test_a_landmark_that_is_nowhere(tmp_path):
    """A number of JSON may be infinite."""
    value = {"x": 25, "y": 50, "keypointlabels": ["a"]}
    result = {"type": "keypointlabels", "original_width": 120, "original_height": 10**400, "value": value}
    path = tmp_path / "x.json"
    for height in ("1e999", "1e308"):
        text = json.dumps([{"data": {"image": "p1.png"}, "annotations": [{"result": [result]}]}])
        path.write_text(text.replace(str(10**400), height).replace('"y": 50', '"y": 1e300'))
        refused(LandmarkFileError, lambda: read_placements(path, frame="pixel"), "x.json")


@pytest.mark.parametrize(
    "line",
    [
        "x: !!timestamp 2001-99-99",
        "x: !!int a",
        "x: !!int [a]",
        "x: !!python/name:os.system",
        "x: !!binary '@@'",
        "x: !!set {a}",
        "x: &a [*a]",
        "? [a]\n: b",
        "? {a: 1}\n: b",
        "x: " + "[" * 1200,
    ],
)
def test_yaml_that_means_more_than_text(tmp_path, line):
    from anatomark.data.description import load_dataset

    (tmp_path / "dataset.yaml").write_text(f"name: a\n{line}\n")
    refused(DescriptionError, lambda: load_dataset(tmp_path / "dataset.yaml"), "dataset.yaml")


def test_yaml_that_unfolds_to_gigabytes(tmp_path):
    from anatomark.data.description import load_dataset

    (tmp_path / "dataset.yaml").write_text(f"{BOMB}name: a\nlandmarks: *a8\n")
    refused(DescriptionError, lambda: load_dataset(tmp_path / "dataset.yaml"), "stands for more than")


def test_anchors_that_people_write_are_known():
    from anatomark.data.yaml_file import load_yaml

    assert load_yaml("a: &b [x, 001, no]\nc: *b\n") == {"a": ["x", "001", "no"], "c": ["x", "001", "no"]}


def model_in(folder, **changed):
    for name, content in {**folder_of("global-to-local-2d"), **changed}.items():
        (folder / name).write_bytes(content)
    return folder


def test_a_model_that_would_take_all_memory_is_compared_first(tmp_path):
    from anatomark.card import read_card
    from anatomark.loading import load

    card = read_card(model_in(tmp_path)).model_dump(mode="json")
    card["network"]["global_channels"] = [1 << 30] * 4
    refused(ModelError, lambda: load(model_in(tmp_path, **{"model.json": json.dumps(card).encode()}), device="cpu"))


@pytest.mark.parametrize("name", ["model.json", "ensemble.json"])
def test_a_model_nested_too_deep(tmp_path, name):
    from anatomark.loading import load

    refused(ModelError, lambda: load(model_in(tmp_path, **{name: b'{"a": ' + b"[" * 100_000}), device="cpu"))


@pytest.mark.parametrize("seeds", [mha_seeds, mhd_seeds, nhdr_seeds])
def test_voxels_in_a_file_whose_name_no_disk_has(tmp_path, seeds):
    for file, content in seeds()[-1].items():
        named = content.replace(b"LOCAL", b"a" * 5000).replace(b"a.zraw", b"a" * 5000).replace(b"a.raw", b"a" * 5000)
        (tmp_path / file).write_bytes(named)
    path = next(path for path in tmp_path.iterdir() if path.suffix in (".mha", ".mhd", ".nhdr"))
    refused(ImageError, lambda: read_image(path), "is not beside it")


@pytest.mark.parametrize("spacing", [1e-320, 1e300, float("nan")])
def test_a_spacing_that_no_image_has(tmp_path, spacing):
    (tmp_path / "a.png").write_bytes(picture_seeds("png")[0]["a.png"])
    refused(SpacingError, lambda: read_image(tmp_path / "a.png", spacing=(1.0, spacing)), "needs a spacing x,y")


def test_a_tiff_whose_directory_lies_beyond_all_files(tmp_path):
    (tmp_path / "a.tif").write_bytes(struct.pack("<2sHHHQ", b"II", 43, 8, 0, (1 << 64) - 8))
    refused(ImageError, lambda: read_image(tmp_path / "a.tif"))


def test_images_and_tables_whose_names_no_disk_has(tmp_path):
    from anatomark.data.description import load_dataset
    from tests.fuzz.data_doors import description_seeds

    refused(ImageError, lambda: read_image(tmp_path / ("a" * 5000)), "shorter name")
    for file, content in description_seeds()[0].items():
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / file).write_bytes(content)
    text = description_seeds()[0]["dataset.yaml"].decode()
    long = "a" * 5000
    for was, now in (
        ("landmarks.csv", long),
        ("folder: images", f"folder: {long}"),
        ("{table: landmarks.csv}", f"{{files: '{long}/{{case}}.csv'}}"),
        ("pairs: []", f"reviews: {long}/*.csv"),
    ):
        (tmp_path / "dataset.yaml").write_text(text.replace(was, now))
        refused(DescriptionError, lambda: load_dataset(tmp_path / "dataset.yaml"), "no disk has names that long")


@pytest.mark.parametrize("name", ["a%n", "a%s%s%s", "a%d%n 1 4 1", "a%5000d 1 4 1"])
@pytest.mark.parametrize("seeds", [mhd_seeds, nhdr_seeds])
def test_names_of_voxel_files_that_itk_would_print_by(tmp_path, seeds, name):
    """ITK gives such a name to printf: %n ends the process, or worse."""
    for file, content in seeds()[0].items():
        (tmp_path / file).write_bytes(content.replace(b"a.raw", name.encode()))
    path = next(path for path in tmp_path.iterdir() if path.suffix in (".mhd", ".nhdr"))
    refused(ImageError, lambda: read_image(path), "keeps its voxels in a%")


@pytest.mark.parametrize("seeds", [mhd_seeds, nhdr_seeds])
def test_voxels_in_numbered_files_are_read(tmp_path, seeds):
    head, whole = seeds()[0].items()
    for number in range(4):
        (tmp_path / f"a{number}.raw").write_bytes(whole[1][number * 96 : (number + 1) * 96])
    (tmp_path / head[0]).write_bytes(head[1].replace(b"a.raw", b"a%d.raw 0 3 1"))
    (tmp_path / "whole").mkdir()
    for file, content in (head, whole):
        (tmp_path / "whole" / file).write_bytes(content)
    assert np.array_equal(read_image(tmp_path / head[0]).array, read_image(tmp_path / "whole" / head[0]).array)


@pytest.mark.parametrize("name", ["a" * 5000, "a\0b", "\ud800", "loop"])
def test_a_member_whose_name_no_disk_has(tmp_path, name):
    from anatomark.loading import load

    for file, content in folder_of("folds-2d").items():
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / file).write_bytes(content)
    (tmp_path / "loop").symlink_to("loop")
    about = json.loads((tmp_path / "ensemble.json").read_text())
    key = "folds" if "folds" in about else "members"
    (tmp_path / "ensemble.json").write_text(json.dumps(about | {key: [name, *about[key][1:]]}))
    refused(ModelError, lambda: load(tmp_path, device="cpu"), "cannot be read")


def test_a_journal_whose_revision_is_no_number(tmp_path):
    from anatomark.errors import ReviewError
    from anatomark.review.record import Record
    from tests.fuzz.data_doors import journal_seeds

    text = journal_seeds()[0]["anna.journal.jsonl"].replace(b'"revision": 2', b'"revision": 1e999')
    (tmp_path / "anna.journal.jsonl").write_bytes(text)
    given = {"dataset": "small", "order": ("p01",), "ndim": 2, "unit": "mm"}
    refused(ReviewError, lambda: Record(tmp_path, "anna", **given), "line 3 is damaged")


def test_a_zip_archive_with_a_file_without_a_name(tmp_path):
    from anatomark.service.unpack import unpack

    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr(zipfile.ZipInfo("x"), b"1")
    (tmp_path / "a.zip").write_bytes((tmp_path / "a.zip").read_bytes().replace(b"x", b"\0"))
    refused(AnatomarkError, lambda: unpack(tmp_path / "a.zip", tmp_path / "to", max_bytes=1000))

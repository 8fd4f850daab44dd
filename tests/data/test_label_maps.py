"""Label maps and masks beside images: told by name, content and Grid, and never by one of these alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from anatomark import load_dataset
from anatomark.core.grid import Grid
from anatomark.core.image import Image
from anatomark.core.landmarks import Landmarks
from anatomark.data.check import check
from anatomark.data.init import init_dataset
from anatomark.data.inputs import find_inputs
from anatomark.data.label_maps import find_label_maps
from anatomark.errors import DescriptionError
from anatomark.formats.images import list_images, write_image
from anatomark.formats.landmarks import write_landmarks

SHAPE = {2: (40, 50), 3: (10, 12, 14)}


def grid(ndim: int, spacing: float = 2.0) -> Grid:
    if ndim == 2:
        return Grid.from_geometry(SHAPE[2], spacing=(1, 1), unit="px")
    return Grid.from_geometry(SHAPE[3], spacing=(1, 1.5, spacing), origin=(3, -7, 11))


def real(path: Path, seed: int = 0, spacing: float = 2.0) -> None:
    ndim = 2 if path.suffix.lower() == ".png" else 3
    path.parent.mkdir(parents=True, exist_ok=True)
    array = np.random.default_rng(seed).integers(0, 255 if ndim == 2 else 900, SHAPE[ndim])
    write_image(Image(array.astype(np.uint8 if ndim == 2 else np.int16), grid(ndim, spacing)), path)


def labels(path: Path, seed: int = 0, dtype: type = np.uint8, spacing: float = 2.0) -> None:
    ndim = 2 if path.suffix.lower() == ".png" else 3
    path.parent.mkdir(parents=True, exist_ok=True)
    array = np.random.default_rng(seed).integers(0, 4, SHAPE[ndim]) * (60 if ndim == 2 else 1)
    write_image(Image(array.astype(dtype), grid(ndim, spacing)), path)


def points(path: Path, seed: int) -> None:
    made = np.random.default_rng(seed).uniform(4, 9, (2, 3))
    write_landmarks(Landmarks.from_points(("a", "b"), made), path)


@pytest.mark.parametrize(
    ("image", "label"),
    [
        ("case{k}.nii.gz", "case{k}_seg.nii.gz"),
        ("case{k}.nrrd", "case{k}.seg.nrrd"),
        ("case{k}.nii.gz", "case{k}-label.nrrd"),
        ("case{k}.mha", "case{k}-Segmentation.mha"),
        ("img_{k}.png", "mask_{k}.png"),
        ("volume-{k}.nii", "segmentation-{k}.nii"),
        ("p{k}/image.nii.gz", "p{k}/label.nii.gz"),
        ("p{k}/ct.nii.gz", "p{k}/liver.nii.gz"),
        ("case{k}.nii.gz", "case{k}_liver.nii.gz"),
        ("images/{k}.png", "masks/{k}.png"),
        ("imagesTr/c_{k}_0000.nii.gz", "labelsTr/c_{k}.nii.gz"),
        ("CASE{k}.PNG", "CASE{k}_MASK.PNG"),
    ],
)
def test_init_takes_the_images_and_leaves_the_label_maps(tmp_path, image, label, caplog):
    for k in range(4):
        real(tmp_path / image.format(k=k), k)
        labels(tmp_path / label.format(k=k), k)
        if not image.lower().endswith("png"):
            points(tmp_path / (image.format(k=k).split(".")[0] + ".mrk.json"), k)
    path = init_dataset(tmp_path)
    text = path.read_text()
    assert "# 4 found" in text
    assert "4 files" in text
    assert "label maps or masks" in text
    assert sum("label maps or masks" in record.getMessage() for record in caplog.records) == 1
    path.write_text(text.replace("spacing: ???", "spacing: [1, 1]").replace("landmarks: ???", "landmarks: [a, b]"))
    dataset = load_dataset(path)
    assert {c.image_path for c in dataset.cases} == {tmp_path / image.format(k=k) for k in range(4)}


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float32])
def test_the_number_type_does_not_matter(tmp_path, dtype):
    real(tmp_path / "a.nii.gz")
    labels(tmp_path / "a_mask.nii.gz", dtype=dtype)
    assert [p.name for p in find_label_maps(list_images(tmp_path)).files] == ["a_mask.nii.gz"]


def test_a_name_alone_is_no_proof(tmp_path):
    for k in range(3):
        real(tmp_path / f"patient{k}.png", k)
        real(tmp_path / f"mask_patient{k}.png", 10 + k)  # with a mask on the face
    real(tmp_path / "label.png", 99)
    assert find_label_maps(list_images(tmp_path)).files == ()


def test_few_values_alone_are_no_proof(tmp_path):
    labels(tmp_path / "phantom.nii.gz")
    real(tmp_path / "scan.nii.gz")
    labels(tmp_path / "other.nii.gz", spacing=3.0)
    labels(tmp_path / "scan_b.nii.gz", spacing=3.0)
    assert find_label_maps(list_images(tmp_path)).files == (), "no name says so, or on another Grid"


def test_only_label_maps_are_all_there_is(tmp_path):
    for k in range(3):
        labels(tmp_path / f"{k}_seg.nii.gz", k)
    assert find_label_maps(list_images(tmp_path)).files == ()


def test_patterns_fit_no_image(tmp_path):
    for k in range(6):
        real(tmp_path / f"c{k}.nii.gz", k)
    labels(tmp_path / "c0_seg.nii.gz")
    labels(tmp_path / "c1_seg.nii.gz")
    real(tmp_path / "late_seg.nii.gz", 50)
    maps = find_label_maps(list_images(tmp_path))
    assert maps.patterns == ("c0_seg.nii.gz", "c1_seg.nii.gz"), "late_seg is an image that a pattern would take"


def test_predict_leaves_them_out_of_a_folder_and_says_so(tmp_path, caplog):
    for k in range(3):
        real(tmp_path / f"c{k}.nii.gz", k)
        labels(tmp_path / f"c{k}_seg.nii.gz", k)
    assert [image.id for image in find_inputs([tmp_path])] == ["c0", "c1", "c2"]
    (record,) = caplog.records
    assert "3 files (*_seg.nii.gz) are label maps or masks, no images: not predicted" in record.getMessage()
    assert str(tmp_path) in record.getMessage()
    named = [tmp_path / "c0_seg.nii.gz"]
    assert [image.id for image in find_inputs(named)] == ["c0_seg"], "who names a file means it"


def test_check_says_which_cases_look_like_label_maps(tmp_path):
    for k in range(3):
        real(tmp_path / f"c{k}.nii.gz", k)
        labels(tmp_path / f"c{k}_seg.nii.gz", k)
        points(tmp_path / f"c{k}.mrk.json", k)
    path = tmp_path / "dataset.yaml"
    text = (
        "name: n\ndimension: 3\nlandmarks: [a, b]\nimages: {pattern: '*.nii.gz'}\n"
        "annotations: {files: '{case}.mrk.json'}\n"
    )
    path.write_text(text)
    told = [f for f in check(path) if f.code == "label-map"]
    assert [f.case for f in told] == ["c0_seg", "c1_seg", "c2_seg"]
    assert 'exclude: ["*_seg.nii.gz"]' in told[0].advice
    path.write_text(text.replace("'*.nii.gz'", "'*.nii.gz', exclude: ['*_seg.nii.gz']"))
    assert not [f for f in check(path) if f.code == "label-map"]
    assert len(load_dataset(path).cases) == 3


@pytest.mark.parametrize("exclude", ["masks/*", "'*/masks/*'", "[masks/*, '*_x.png']"])
def test_exclude(tmp_path, exclude):
    for name in ("set/images/a.png", "set/masks/b.png", "set/images/.hidden.png"):
        real(tmp_path / name)
    path = tmp_path / "dataset.yaml"
    path.write_text(
        f"name: n\ndimension: 2\nlandmarks: [a]\nimages: {{folder: set, pattern: '*/*.png', exclude: {exclude}}}\n"
    )
    assert [case.id for case in load_dataset(path).cases] == ["a"]
    path.write_text("name: n\ndimension: 2\nlandmarks: [a]\nimages: {table: t.csv, exclude: '*'}\n")
    with pytest.raises(DescriptionError, match="exclude is for images found by a pattern"):
        load_dataset(path)


@pytest.mark.parametrize("name", ["mask", "segmentation_study", "Labels"])
@pytest.mark.parametrize("below", ["", "images/"])
def test_the_name_of_the_folder_of_all_files_says_nothing(tmp_path, name, below):
    for k in range(3):
        real(tmp_path / name / f"{below}p{k}.png", k)
        labels(tmp_path / name / f"{below}p{k}_mask.png", k)
    files = list_images(tmp_path / name / below)
    assert [file.name for file in find_label_maps(files).files] == [f"p{k}_mask.png" for k in range(3)]

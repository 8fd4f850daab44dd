"""A set with pictures that are stored turned: points, `init`, `check`, `orientation: stored`, the review page."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import nibabel
import numpy as np
import PIL.Image
import PIL.ImageOps
import pytest

from anatomark.data.cache import fingerprint
from anatomark.data.check import check
from anatomark.data.description import Dataset, load_dataset
from anatomark.data.init import init_dataset
from anatomark.data.working import Sampling
from anatomark.errors import DescriptionError
from anatomark.pictures import overlay
from anatomark.review.image_cache import ImageCache

KINDS = (".jpg", ".png", ".tif", ".webp")
MARK = (40, 9)  # column, row as people see it, of the bright spot in a picture of 60 x 44


def turned(path: Path, orientation: int, seed: int) -> None:
    """A picture of 60 x 44 as people see it, with a bright spot, that is stored in one of the eight orientations."""
    rng = np.random.default_rng(seed)
    grey = rng.integers(0, 60, (44, 60), dtype=np.uint8)
    grey[MARK[1] - 1 : MARK[1] + 2, MARK[0] - 1 : MARK[0] + 2] = 250
    back = {6: 8, 8: 6}.get(orientation, orientation)  # what undoes a turn
    picture = PIL.Image.fromarray(grey)
    picture.getexif()[274] = back
    stored = PIL.ImageOps.exif_transpose(picture)
    exif = PIL.Image.Exif()
    exif[274] = orientation
    path.parent.mkdir(parents=True, exist_ok=True)
    options = {".webp": {"lossless": True}, ".jpg": {"quality": 95}, ".tif": {"compression": "tiff_lzw"}}
    stored.save(path, exif=exif, **options.get(path.suffix, {}))


@pytest.fixture
def folder(tmp_path):
    """Sixteen pictures, all eight orientations; the points of `shown.csv` are as people see them."""
    shown, stored = ["image,landmark,x,y,frame"], ["image,landmark,x,y,frame"]
    for k in range(16):
        name, orientation = f"p{k:02d}{KINDS[k % 4]}", k // 2 + 1
        turned(tmp_path / "images" / name, orientation, k)
        shown.append(f"{name},tip,{MARK[0]},{MARK[1]},pixel")
        with PIL.Image.open(tmp_path / "images" / name) as picture:
            picture.load()
            if picture.format == "TIFF":  # which Pillow turns on loading
                picture.getexif()[274] = {6: 8, 8: 6}.get(orientation, orientation)
                picture = PIL.ImageOps.exif_transpose(picture)
            rows, columns = np.nonzero(np.asarray(picture.convert("L")) > 150)
        stored.append(f"{name},tip,{columns.mean()},{rows.mean()},pixel")
    (tmp_path / "shown.csv").write_text("\n".join(shown) + "\n")
    (tmp_path / "stored.csv").write_text("\n".join(stored) + "\n")
    return tmp_path


def describe(folder: Path, table: str, more: str = "") -> Path:
    path = folder / f"{table}.yaml"
    path.write_text(
        f"name: turned\ndimension: 2\nlandmarks: [tip]\nannotations: {{table: {table}.csv}}\n"
        f"images:\n  folder: images\n  spacing: [0.5, 0.25]\n{more}"
    )
    return path


def brightness_at(dataset: Dataset) -> list[int]:
    """The grey value of each case at its landmark."""
    found = []
    for case in dataset.cases:
        image = case.read_image()
        assert image.grid == case.read_grid()
        row, column = np.rint(image.grid.world_to_index(case.reference.points[0])).astype(int)
        found.append(int(image.array[row, column]))
    return found


def test_points_in_pixels_refer_to_the_picture_as_people_see_it(folder):
    assert min(brightness_at(load_dataset(describe(folder, "shown")))) > 200
    assert min(brightness_at(load_dataset(describe(folder, "stored", "  orientation: stored\n")))) > 200
    assert min(brightness_at(load_dataset(describe(folder, "shown", "  orientation: shown\n")))) > 200
    dataset = load_dataset(describe(folder, "shown"))
    assert {case.read_grid().shape for case in dataset.cases} == {(44, 60)}
    dataset = load_dataset(describe(folder, "stored", "  orientation: stored\n"))
    assert {case.read_grid().shape for case in dataset.cases} == {(44, 60), (60, 44)}
    with pytest.raises(DescriptionError, match=r"`images\.orientation`"):
        load_dataset(describe(folder, "shown", "  orientation: sideways\n"))


def test_from_images_takes_the_key_too(folder):
    paths = sorted((folder / "images").iterdir())
    for orientation, shapes in (("shown", {(44, 60)}), ("stored", {(44, 60), (60, 44)})):
        dataset = Dataset.from_images(paths, ndim=2, orientation=orientation)
        assert {case.read_image().grid.shape for case in dataset.cases} == shapes


def test_a_prepared_cache_is_of_one_orientation(folder):
    made = [load_dataset(describe(folder, "shown", more)) for more in ("", "  orientation: stored\n")]
    first, second = (fingerprint(d, {"train": d.cases}, Sampling((1, 1), (2, 2))) for d in made)
    assert first != second
    assert json.loads(json.dumps(made[1].cases[0].reading))["orientation"] == "stored"


def test_check_names_the_turned_pictures_and_what_to_do(folder):
    for more, advice in (
        ("", "write `orientation: stored` under `images`"),
        ("  orientation: stored\n", "take `orientation: stored` out of `images`"),
    ):
        found = [f for f in check(describe(folder, "stored" if more else "shown", more)) if f.code == "turned"]
        assert [finding.case for finding in found] == [f"p{k:02d}" for k in range(2, 16)]
        assert {finding.level for finding in found} == {"note"}
        assert all(advice in finding.advice for finding in found)
        assert [f"(orientation {k // 2 + 1})" in f.message for k, f in enumerate(found, 2)] == [True] * 14


def test_check_lists_remarks_on_files_and_does_not_log_them_too(folder, caplog):
    picture = PIL.Image.open(folder / "images" / "p01.png").convert("LA")
    picture.putalpha(PIL.Image.linear_gradient("L").resize(picture.size))
    picture.save(folder / "images" / "p01.png")
    path = describe(folder, "shown")
    with caplog.at_level(logging.WARNING, "anatomark"):
        (finding,) = [f for f in check(path) if f.code == "remark"]
    assert (finding.level, finding.case) == ("warning", "p01")
    assert "p01.png is transparent in part" in finding.message
    assert not caplog.records
    load_dataset(path).case("p01").read_image()  # elsewhere it is logged
    assert ["p01.png" in record.getMessage() for record in caplog.records] == [True]


def test_init_says_which_pictures_are_stored_turned_and_names_the_key(folder):
    (folder / "stored.csv").unlink()
    path = init_dataset(folder)
    text = path.read_text()
    assert "# 14 of 16 pictures are stored turned (p02.tif, p03.webp, p04.jpg, ...)." in text
    assert "  # orientation: stored" in text
    path.write_text(text.replace("spacing: ???", "spacing: [0.5, 0.25]"))
    assert min(brightness_at(load_dataset(path))) > 200
    path.write_text(path.read_text().replace("# orientation: stored", "orientation: stored"))
    assert {case.orientation for case in load_dataset(path).cases} == {"stored"}


def test_init_is_silent_on_upright_pictures(tmp_path):
    for k in range(3):
        turned(tmp_path / f"{k}.jpg", 1, k)
    text = init_dataset(tmp_path).read_text()
    assert "turned" not in text
    assert "orientation" not in text


def test_the_review_page_and_overlays_show_what_the_points_refer_to(folder):
    dataset = load_dataset(describe(folder, "shown"))
    views = ImageCache(dataset.cases)
    for number in (3, 7, 10, 13):
        case = dataset.cases[number]
        view = views.view(number)
        shown = nibabel.Nifti1Image.from_bytes(view.nifti)
        point = view.viewer_from_world @ [*case.reference.points[0], 0, 1]
        voxel = np.rint(np.linalg.inv(shown.affine) @ point)[:3].astype(int)
        assert np.asarray(shown.dataobj)[tuple(voxel)] > 200
        picture = overlay(case.read_image(), size=600)
        assert picture.size == (600, 220)  # 30 x 11 mm
        x, y = ((at + 0.5) * 10 for at in (case.reference.points[0] / [0.5, 0.25] * [1, 0.5]).tolist())
        assert np.asarray(picture.convert("L"))[round(y), round(x)] > 200

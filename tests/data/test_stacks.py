"""Sets whose files are stacks of X-rays: every page a case."""

import json

import numpy as np
import pytest
import SimpleITK as sitk
from PIL import Image

from anatomark.data.check import check
from anatomark.data.description import Dataset, load_dataset
from anatomark.data.init import propose
from anatomark.errors import AnatomarkError, DescriptionError, ImageError
from anatomark.evaluation.evaluate import evaluate

PAGES = np.random.default_rng(0).integers(0, 256, (12, 20, 30, 3)).astype(np.uint8)


@pytest.fixture
def folder(tmp_path):
    """A stack of 12 X-rays, as CL-Detection 2023 has 400."""
    (tmp_path / "images").mkdir()
    sitk.WriteImage(sitk.GetImageFromArray(PAGES, isVector=True), str(tmp_path / "images" / "train_stack.mha"))
    return tmp_path


def describe(folder, images="{folder: images, stack: true}", annotations="[]", more="", dimension=2):
    path = folder / "dataset.yaml"
    head = f"name: rays\ndimension: {dimension}\nlandmarks: ['1', '2']\n"
    path.write_text(f"{head}images: {images}\nannotations: {annotations}\n{more}")
    return path


def test_every_page_is_a_case(folder):
    dataset = load_dataset(describe(folder, "{folder: images, stack: true, spacing: [0.1, 0.1]}"))
    assert [case.id for case in dataset.cases] == [f"train_stack_{k}" for k in range(1, 13)]
    assert [case.page for case in dataset.cases] == list(range(1, 13))
    for page, case in zip(PAGES, dataset.cases, strict=True):
        image = case.read_image()
        np.testing.assert_array_equal(
            image.array, np.rint(0.299 * page[..., 0] + 0.587 * page[..., 1] + 0.114 * page[..., 2])
        )
        assert image.grid.spacing == (0.1, 0.1)
    assert load_dataset(describe(folder)).unit == "px"


@pytest.mark.parametrize("name", ["{k}", "train_stack_{k}", "{k}.mha"])
def test_tables_call_pages_by_number_or_name(folder, name):
    rows = [f"{name.format(k=k)},1,{k},{2 * k}" for k in (1, 2, 12)]
    (folder / "points.csv").write_text("image,landmark,x,y\n" + "\n".join(rows) + "\n")
    dataset = load_dataset(describe(folder, annotations="{table: points.csv, frame: pixel}"))
    found = {case.page: case.reference.points[0].tolist() for case in dataset.cases if case.reference.present[0]}
    assert found == {k: [k, 2 * k] for k in (1, 2, 12)}


def test_a_number_alone_says_nothing_where_there_are_two_stacks(folder):
    sitk.WriteImage(sitk.GetImageFromArray(PAGES[:3], isVector=True), str(folder / "images" / "more.mha"))
    (folder / "points.csv").write_text("image,landmark,x,y\n2,1,3,4\nmore_2,1,5,6\n")
    dataset = load_dataset(describe(folder, annotations="{table: points.csv, frame: pixel}"))
    assert len(dataset.cases) == 15
    found = {case.id: case.reference.points[0].tolist() for case in dataset.cases if case.reference.present[0]}
    assert found == {"more_2": [5, 6]}


def test_a_table_may_list_the_pages(folder):
    rows = [f"train_stack.mha,{k},p{k},0.{k},0.{k}" for k in (3, 1, 2)]
    (folder / "cases.csv").write_text("image,number,person,sx,sy\n" + "\n".join(rows) + "\n")
    images = "{folder: images, table: cases.csv, stack: true, columns: {page: number, spacing: [sx, sy]}}"
    dataset = load_dataset(describe(folder, images, more="subjects: {column: person}\n"))
    assert [(c.id, c.page, c.subject, c.read_grid().spacing) for c in dataset.cases] == [
        (f"train_stack_{k}", k, f"p{k}", (k / 10, k / 10)) for k in (3, 1, 2)
    ]
    (folder / "cases.csv").write_text("image,number\ntrain_stack.mha,0\n")
    with pytest.raises(DescriptionError, match="row 2: the page '0' is not a whole number"):
        load_dataset(describe(folder, "{folder: images, table: cases.csv, stack: true, columns: {page: number}}"))


@pytest.mark.parametrize(
    ("images", "dimension", "message"),
    [
        ("{stack: true}", 3, "pages of a stack are 2D"),
        ("{stack: true, table: cases.csv}", 2, "column of pages"),
        ("{table: cases.csv, columns: {page: n}}", 2, r"goes with `stack: true`"),
        ("{stack: true, cases: annotations}", 2, "counts the pages"),
    ],
)
def test_descriptions_that_do_not_hold_together(folder, images, dimension, message):
    with pytest.raises(DescriptionError, match=message):
        load_dataset(describe(folder, images, dimension=dimension))


def test_without_the_key_a_line_names_it(folder):
    path = describe(folder, "{folder: images}")
    (finding,) = [f for f in check(path) if f.code == "image-dimension"]
    assert "stack: true" in finding.advice


def test_check_looks_at_each_page(folder):
    findings = check(describe(folder))
    assert not [f for f in findings if f.code in ("image", "image-dimension", "image-twice", "spacing")]
    twice = PAGES.copy()
    twice[7] = twice[2]
    sitk.WriteImage(sitk.GetImageFromArray(twice, isVector=True), str(folder / "images" / "train_stack.mha"))
    (finding,) = [f for f in check(describe(folder)) if f.code == "image-twice"]
    assert finding.case == "train_stack_8"


def test_cl_detection_json_with_its_stack(folder):
    points = [{"name": n, "point": [3 * k, 2 * k + int(n), k]} for k in (1, 5) for n in ("1", "2")]
    labels = {"name": "Orthodontic landmarks", "type": "Multiple points", "points": points, "version": {"major": 1}}
    (folder / "labels.json").write_text(json.dumps(labels))
    try:
        dataset = load_dataset(describe(folder, annotations="{table: labels.json}"))
        found = {c.page: c.reference.points.tolist() for c in dataset.cases if c.reference.present.all()}
    except AnatomarkError as error:
        pytest.fail(str(error))
    assert found == {k: [[3 * k, 2 * k + 1], [3 * k, 2 * k + 2]] for k in (1, 5)}
    metrics = evaluate(dataset, folder / "labels.json", samples=0)  # as predictions they are called alike
    assert (metrics["overall"]["n"], metrics["overall"]["mre"]) == (4, 0)


@pytest.mark.parametrize("spacing", [(1, 1, 1), (0.1, 0.1, 1)])
def test_init_knows_a_stack_by_its_landmarks(folder, spacing):
    stack = sitk.GetImageFromArray(PAGES, isVector=True)
    stack.SetSpacing(spacing)
    sitk.WriteImage(stack, str(folder / "images" / "train_stack.mha"))
    plain = propose(folder)
    assert "dimension: 3" in plain  # nothing says that it is no volume
    assert "stack: true" not in plain
    points = [{"name": n, "point": [2 * k, k + int(n), k]} for k in range(1, 13) for n in ("1", "2")]
    (folder / "labels.json").write_text(json.dumps({"type": "Multiple points", "points": points}))
    text = propose(folder)
    assert "dimension: 2" in text
    if spacing[0] == 1:
        assert "spacing: ???" in text
        text = text.replace("spacing: ???", "spacing: [0.1, 0.1]")
    (folder / "dataset.yaml").write_text(text)
    dataset = load_dataset(folder)
    assert sum(len(dataset.split(name)) for name in dataset.splits) == 12
    assert dataset.case("train_stack_7").reference.points[1].tolist() == pytest.approx([1.4, 0.9])
    assert not [f for f in check(folder) if f.level == "error"]


def test_images_alone(folder):
    file = folder / "images" / "train_stack.mha"
    dataset = Dataset.from_images([file], ndim=2, stack=True, spacing=(0.1, 0.1))
    assert [case.id for case in dataset.cases][:2] == ["train_stack_1", "train_stack_2"]
    with pytest.raises(ImageError, match="does not exist"):
        Dataset.from_images([folder / "none.mha"], ndim=2, stack=True)


def test_init_says_why_no_image_can_be_read(tmp_path):
    for k in range(2):
        Image.fromarray(PAGES[0]).save(tmp_path / f"s{k}.tif", save_all=True, append_images=[Image.fromarray(PAGES[1])])
    with pytest.raises(DescriptionError, match=r"none of the 2 images.*s0\.tif holds 2 pages.*write `stack: true`"):
        propose(tmp_path)

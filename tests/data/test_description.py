"""The description, its loader and the reference rule."""

from __future__ import annotations

import os
import re
import textwrap
from pathlib import Path

import numpy as np
import pytest
import yaml

from anatomark.core.grid import Grid
from anatomark.core.image import Image
from anatomark.core.landmarks import Landmarks, State
from anatomark.data import schema
from anatomark.data.description import Dataset, load_dataset
from anatomark.data.parse import parse
from anatomark.data.reference import mean_of_observers
from anatomark.data.yaml_file import read_yaml
from anatomark.errors import AnatomarkError, DescriptionError, FrameError, SpacingError, UnknownNameError
from anatomark.formats.images import write_image
from anatomark.formats.landmarks import write_landmarks

SHIPPED = Path(__file__).parents[2] / "datasets"
DOCS = Path(__file__).parents[2] / "docs"
DATA = Path(os.environ.get("ANATOMARK_DATA") or Path(__file__).parents[2] / "../shared/data")


def picture(path: Path, shape=(20, 30), value=0) -> None:
    array = (np.arange(np.prod(shape)).reshape(shape) + value).astype(np.uint8)
    write_image(Image(array, Grid.from_geometry(shape, spacing=(1,) * len(shape), unit="px")), path)


def write(folder: Path, text: str, name: str = "dataset.yaml") -> Path:
    path = folder / name
    path.write_text(textwrap.dedent(text))
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three pictures and a pixel table of them."""
    (tmp_path / "images").mkdir()
    for k, name in enumerate(["a1", "a2", "a10"]):
        picture(tmp_path / "images" / f"{name}.png", value=k)
    write(
        tmp_path,
        """\
        image,landmark,x,y,who
        a1.png,tip,3,4,eve
        a1.png,tip,5,4,bob
        a1.png,base,7,8,eve
        a10,tip,1,2,eve
        """,
        "points.csv",
    )
    return tmp_path


GOOD = """\
name: small
dimension: 2
landmarks: [tip, base]
images: {folder: images, spacing: [0.5, 0.25]}
annotations: {table: points.csv, frame: pixel, columns: {observer: who}}
"""


def test_the_documented_example_parses():
    text = (DOCS / "dataset.md").read_text(encoding="utf-8").split("```yaml\n")[1].split("```")[0]
    description = parse(yaml.safe_load(text), "example")
    assert description.split_column == "split"
    assert [source.observer for source in description.annotations] == ["senior", "junior"]


def test_points_become_world_millimetres(folder):
    dataset = load_dataset(write(folder, GOOD))
    assert [case.id for case in dataset.cases] == ["a1", "a2", "a10"], "natural order"
    assert dataset.unit == "mm"
    first = dataset.case("a1")
    np.testing.assert_allclose(first.observers["eve"]["tip"], [1.5, 1.0])
    np.testing.assert_allclose(first.reference["tip"], [2.0, 1.0])
    assert list(first.observers["bob"].states) == [State.PRESENT, State.NOT_ANNOTATED]
    assert first.read_image().grid.spacing == (0.25, 0.5)
    assert dataset.case("a2").observers == {}
    assert not dataset.case("a2").reference.annotated.any()
    assert dataset.case("a10").reference["tip"].tolist() == [0.5, 0.5], "a table may leave out the ending"


def test_missing_may_mean_absent(folder):
    dataset = load_dataset(write(folder, GOOD + "missing: absent\n"))
    assert dataset.case("a10").reference.states[1] == State.ABSENT
    assert not dataset.case("a2").reference.annotated.any(), "nobody saw this case"


def test_without_spacing_the_unit_is_px(folder):
    dataset = load_dataset(write(folder, GOOD.replace(", spacing: [0.5, 0.25]", "")))
    assert dataset.unit == "px"
    assert dataset.case("a1").reference.unit == "px"
    assert dataset.case("a1").reference["base"].tolist() == [7, 8]


def test_ras_table_without_spacing_is_refused(folder):
    dataset = load_dataset(write(folder, GOOD.replace(", spacing: [0.5, 0.25]", "").replace("pixel", "RAS")))
    with pytest.raises(SpacingError, match="unknown"):
        _ = dataset.case("a1").reference


def test_one_observer_as_reference(folder):
    dataset = load_dataset(write(folder, GOOD + "reference: bob\n"))
    assert dataset.case("a1").reference["tip"].tolist() == [2.5, 1.0]
    with pytest.raises(DescriptionError, match="did you mean 'bob'"):
        load_dataset(write(folder, GOOD + "reference: bobb\n"))


def test_all_faults_at_once():
    data = yaml.safe_load(GOOD) | {"dimension": 4, "imags": {}, "pairs": [["tip", "bse"]]}
    data["images"]["spacings"] = 1
    data["annotations"]["frame"] = "???"
    del data["name"]
    with pytest.raises(DescriptionError) as caught:
        parse(data, "my.yaml")
    message = str(caught.value)
    for part in (
        "my.yaml: 6 faults", "`name` is missing", "`dimension`", "`imags`, did you mean 'images'",
        "`images.spacings`, did you mean 'spacing'", "still ???", "'bse' is not in landmarks, did you mean 'base'",
    ):  # fmt: skip
        assert part in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"landmarks": ["tip", "tip"]}, "duplicate landmarks: tip"),
        ({"landmarks": "???"}, "list them"),
        ({"pairs": [["tip", "tip"]]}, "duplicate landmark 'tip'"),
        ({"images": {"spacing": [1, 1, 1]}}, "needs 2 values"),
        ({"images": {"spacing": "???"}}, "still ???"),
        ({"images": {"spacing": 0.5}}, "is one number, 0.5; write mm along each of x, y[, z], such as [0.5, 0.5]"),
        ({"images": {"spacing": [0, 1]}}, "greater than 0"),
        ({"splits": {"column": "split"}}, "needs `images.table`"),
        ({"splits": {"train": 3}}, "shell pattern or a list"),
        ({"subjects": {"pattern": "p[0-9]"}}, "exactly one group"),
        ({"annotations": {"files": "a.fcsv"}}, "{case}"),
        ({"annotations": {"table": "a.csv", "files": "{case}.fcsv"}}, "either `table` or `files`"),
        ({"missing": "maybe"}, "absent"),
        ({"reference": "anna", "annotations": {"files": "{case}.fcsv", "observer": "ann"}}, "did you mean 'ann'"),
    ],
)
def test_each_fault_is_named(change, says):
    with pytest.raises(DescriptionError, match="1 fault") as caught:
        parse(yaml.safe_load(GOOD) | change, "d")
    assert says in str(caught.value)


def test_yaml_keeps_what_was_written(tmp_path):
    path = write(tmp_path, "a: [001, no, on, 12, 1.5, true, 1:30]")
    assert read_yaml(path) == {"a": ["001", "no", "on", 12, 1.5, True, "1:30"]}
    with pytest.raises(DescriptionError, match=r"line 2.*duplicate key 'a'"):
        read_yaml(write(tmp_path, "a: 1\na: 2"))
    with pytest.raises(DescriptionError, match="no valid YAML"):
        read_yaml(write(tmp_path, "a: [1"))
    with pytest.raises(DescriptionError, match="anatomark init"):
        read_yaml(tmp_path / "nothing.yaml")


def test_unknown_name_in_table_names_file_line_and_near_match(folder):
    table = folder / "points.csv"
    table.write_text(table.read_text() + "a2,tpi,1,1,eve\n")
    with pytest.raises(UnknownNameError, match=r"points.csv: unknown landmark 'tpi', did you mean 'tip'\?.*line 6"):
        load_dataset(write(folder, GOOD))


def test_duplicate_rows_are_refused(folder):
    table = folder / "points.csv"
    original = table.read_text()
    for name in ("a10", "a10.png"):
        table.write_text(original + f"{name},tip,1,1,eve\n")
        with pytest.raises(AnatomarkError, match="duplicate"):
            load_dataset(write(folder, GOOD))


def test_missing_things_are_refused(folder):
    for old, new, says in (
        ("folder: images", "folder: imgs", "image folder"),
        ("points.csv", "pointz.csv", "landmark table"),
        ("folder: images", "folder: images, pattern: '*.jpg'", "no image found"),
        ("table: points.csv, frame: pixel, columns: {observer: who}", "files: 'lm/{case}.fcsv'", "annotation folder"),
    ):
        with pytest.raises(DescriptionError, match=says):
            load_dataset(write(folder, GOOD.replace(old, new)))
    with pytest.raises(FrameError):
        load_dataset(write(folder, GOOD.replace("frame: pixel, ", "")))
    (folder / "points.csv").write_text("image,landmark,x,y\nother,tip,1,2\n")
    with pytest.raises(DescriptionError, match="none of its 1 images"):
        load_dataset(write(folder, GOOD.replace(", columns: {observer: who}", "")))


def test_duplicate_cases_are_refused(folder):
    picture(folder / "images" / "a1.bmp.png")
    (folder / "images" / "a1.bmp.png").rename(folder / "images" / "a1.tif")
    with pytest.raises(DescriptionError, match="'a1'"):
        load_dataset(write(folder, GOOD))


def test_case_table(folder):
    write(
        folder,
        "file;person;part;sx;sy\na1.png;p1;train;0.5;0.5\na2.png;p1;test;0.2;0.2\na10.png;;;1;2\n",
        "cases.csv",
    )
    text = """\
        name: small
        dimension: 2
        landmarks: [tip, base]
        images: {folder: images, table: cases.csv, columns: {image: file, spacing: [sx, sy]}}
        subjects: {column: person}
        splits: {column: part}
        """
    dataset = load_dataset(write(folder, text))
    assert [(c.id, c.subject, c.split, c.spacing) for c in dataset.cases] == [
        ("a1", "p1", "train", (0.5, 0.5)), ("a2", "p1", "test", (0.2, 0.2)), ("a10", "a10", None, (1.0, 2.0)),
    ]  # fmt: skip
    assert dataset.splits == ("train", "test")
    with pytest.raises(UnknownNameError, match="did you mean 'test'"):
        dataset.split("tests")
    with pytest.raises(UnknownNameError, match="no case 'a3'"):
        dataset.case("a3")
    with pytest.raises(DescriptionError, match="no column 'persn', did you mean 'person'"):
        load_dataset(write(folder, text.replace("column: person", "column: persn")))


def test_splits_by_list_and_pattern_and_subjects_by_pattern(folder):
    text = GOOD + 'splits: {test: [a2], train: "*"}\n' + "subjects: {pattern: '^(a[0-9])'}\n"
    dataset = load_dataset(write(folder, text))
    assert [(c.subject, c.split) for c in dataset.cases] == [("a1", "train"), ("a2", "test"), ("a1", "train")]
    with pytest.raises(UnknownNameError, match="'a3' in split 'test'"):
        load_dataset(write(folder, text.replace("[a2]", "[a3]")))
    with pytest.raises(DescriptionError, match="does not fit"):
        load_dataset(write(folder, text.replace("a[0-9]", "b[0-9]")))


def test_root_order(folder, monkeypatch, tmp_path_factory):
    away = tmp_path_factory.mktemp("away")
    path = write(away, GOOD + f"root: {folder.name}\n")
    monkeypatch.delenv("ANATOMARK_DATA", raising=False)
    with pytest.raises(DescriptionError, match="ANATOMARK_DATA"):
        load_dataset(path)
    monkeypatch.setenv("ANATOMARK_DATA", str(folder.parent))
    assert load_dataset(path).root == folder
    monkeypatch.setenv("ANATOMARK_DATA", str(away))
    assert load_dataset(path, root=folder.parent).root == folder, "an explicit root wins"
    assert load_dataset(write(folder, GOOD)).root == folder, "without root: the yaml's own folder"
    assert load_dataset(write(away, GOOD), root=folder).root == folder


def test_one_file_a_case_with_oblique_grids(tmp_path):
    names = ("tip", "base")
    angle = np.deg2rad(20)
    direction = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    truth = {}
    for k in (1, 2):
        grid = Grid.from_geometry((6, 7, 8), spacing=(1, 2, 3), origin=(5, -k, 9), direction=direction)
        (tmp_path / f"s{k}").mkdir()
        write_image(
            Image(np.random.default_rng(k).random((6, 7, 8), dtype=np.float32), grid), tmp_path / f"s{k}/ct.nii.gz"
        )
        truth[f"s{k}"] = Landmarks.from_points(names, grid.index_to_world([[1, 2, 3], [2, 3, 4.5]]))
        write_landmarks(truth[f"s{k}"], tmp_path / f"s{k}/eve.mrk.json", frame="RAS")
        index = grid.world_to_index(truth[f"s{k}"].points)
        rows = "".join(f"s{k},{n},{p[2]},{p[1]},{p[0]}\n" for n, p in zip(names, index, strict=True))
        with (tmp_path / "pixels.csv").open("a") as file:
            file.write(("" if k > 1 else "image,landmark,x,y,z\n") + rows)
    text = """\
        name: volumes
        dimension: 3
        landmarks: [base, tip]
        images: {pattern: "{case}/ct.nii.gz"}
        annotations:
          - {files: "{case}/eve.mrk.json", observer: eve}
          - {table: pixels.csv, frame: pixel, observer: bob}
        """
    dataset = load_dataset(write(tmp_path, text))
    for case in dataset.cases:
        for observer in ("eve", "bob"):
            expected = truth[case.id].select(("base", "tip")).points
            np.testing.assert_allclose(case.observers[observer].points, expected, atol=1e-5)
    one = write(tmp_path, text.replace("landmarks: [base, tip]", "landmarks: [tip, bse]").replace("- {table", "# {"))
    with pytest.raises(UnknownNameError, match="unknown landmark 'base', did you mean 'bse'"):
        _ = load_dataset(one).cases[0].observers


def test_sources_of_one_observer_are_joined(folder):
    write(folder, "image,landmark,x,y\na1,base,9,9\na2,tip,1,1\n", "more.csv")
    text = GOOD.split("annotations")[0] + (
        "annotations:\n  - {table: points.csv, frame: pixel, columns: {observer: who}}\n"
        "  - {table: more.csv, frame: pixel, observer: bob}\n"
    )
    dataset = load_dataset(write(folder, text))
    assert dataset.case("a1").observers["bob"].present.all()
    assert dataset.case("a2").observers["bob"].present.tolist() == [True, False]
    clash = load_dataset(write(folder, text.replace("observer: bob", "observer: eve")))
    with pytest.raises(DescriptionError, match="'base' of observer 'eve' comes from two sources"):
        _ = clash.case("a1").observers


def test_mean_of_observers_majority_and_tie():
    p, a, n = State.PRESENT, State.ABSENT, State.NOT_ANNOTATED
    table = [(p, p, a), (p, a, a), (p, a, n), (p, n, n), (n, n, n)]
    observers = []
    for k in range(3):
        states = np.array([row[k] for row in table])
        points = np.where((states == p)[:, None], [[k * 3.0, 1.0]], np.nan)
        observers.append(Landmarks(tuple("abcde"), points, states))
    mean = mean_of_observers(observers)
    assert mean.states.tolist() == [p, a, n, p, n]
    assert mean["a"].tolist() == [1.5, 1.0]
    assert mean["d"].tolist() == [0.0, 1.0]


def test_dataset_from_images_alone(folder):
    files = sorted((folder / "images").iterdir())
    dataset = Dataset.from_images(files, ndim=2, spacing=(0.5, 0.5), names=("tip",))
    assert (dataset.unit, len(dataset.cases), dataset.splits) == ("mm", 3, ())
    assert dataset.cases[0].read_grid().spacing == (0.5, 0.5)
    assert dataset.cases[0].observers == {}
    assert Dataset.from_images(files, ndim=2).unit == "px"


def test_a_hundred_thousand_cases_load(tmp_path):
    count, names = 100_000, ["tip", "base"]
    lines = ["image,part"] + [f"{k:06d}.png,train" for k in range(count)]
    (tmp_path / "cases.csv").write_text("\n".join(lines))
    rows = ["image,landmark,x,y,frame"] + [f"{k:06d},{n},{k},1,LPS" for k in range(count) for n in names]
    (tmp_path / "points.csv").write_text("\n".join(rows))
    path = write(
        tmp_path,
        """\
        name: many
        dimension: 2
        landmarks: [tip, base]
        images: {table: cases.csv, spacing: [1, 1]}
        splits: {column: part}
        annotations: {table: points.csv}
        """,
    )
    dataset = load_dataset(path)
    assert dataset.case("099999").reference["base"].tolist() == [99999.0, 1.0]


def test_shipped_descriptions_hold_together():
    for path in sorted(SHIPPED.glob("*.yaml")):
        description = parse(read_yaml(path), str(path))
        assert description.name == path.stem == description.root


@pytest.mark.data
def test_shipped_descriptions_reach_the_real_data():
    if not (DATA / "isbi2015_ceph").is_dir() or not (DATA / "cmf_ct").is_dir():
        pytest.skip(f"no isbi2015_ceph and cmf_ct under {DATA}; set ANATOMARK_DATA")
    ceph = load_dataset(SHIPPED / "isbi2015_ceph.yaml", root=DATA)
    assert {s: len(ceph.split(s)) for s in ceph.splits} == {"train": 150, "test1": 150, "test2": 100}
    assert set(ceph.cases[0].observers) == {"senior", "junior"}
    np.testing.assert_allclose(ceph.case("001").observers["senior"]["sella"], [333.70 * 0.25, 398.10 * 0.25])
    cmf = load_dataset(SHIPPED / "cmf_ct.yaml", root=DATA)
    assert {s: len(cmf.split(s)) for s in cmf.splits} == {"test": 15, "train": 82, "validation": 14}
    assert sum(int(case.reference.present.sum()) for case in cmf.cases) == 2392
    np.testing.assert_allclose(cmf.case("case_100_ct_patient").reference["S"], [108.8, 142.4, 99.2])


@pytest.mark.parametrize("name", ["../a", "sub/a", "..", "a\\b"])
def test_a_case_name_that_would_be_a_path(folder, name):
    write(folder, f"image,case\na1.png,{name}\n", "cases.csv")
    images = "{folder: images, table: cases.csv, columns: {case: case}}"
    text = f"name: x\ndimension: 2\nlandmarks: [tip]\nimages: {images}\n"
    with pytest.raises(DescriptionError, match="cannot name a file"):
        load_dataset(write(folder, text))


@pytest.mark.parametrize("page", sorted(DOCS.rglob("*.md")), ids=lambda page: page.stem)
def test_the_descriptions_of_the_documentation_hold_together(page):
    for block in re.findall(r"```yaml\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL):
        content = yaml.safe_load(block)
        if "dimension" in content:  # a whole one; others show a few keys
            assert parse(content, page.name).name == content["name"]
        else:
            assert set(content) <= set(schema.Description.model_fields) | set(schema.Images.model_fields)

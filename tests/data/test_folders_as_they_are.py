"""Folders as people have them: a Mac's names, Excel's tables, folders that are splits, what systems leave behind."""

from __future__ import annotations

import csv
import io
import unicodedata
from pathlib import Path

import numpy as np
import pytest

from anatomark import evaluate, load_dataset
from anatomark.cli.main import run as command_line
from anatomark.core.grid import Grid
from anatomark.core.image import Image
from anatomark.core.landmarks import Landmarks
from anatomark.data.init import init_dataset
from anatomark.data.splits import our_split
from anatomark.errors import AnatomarkError, DescriptionError, LandmarkFileError, UnknownNameError
from anatomark.formats.images import write_image
from anatomark.formats.landmarks import write_landmarks
from anatomark.formats.table import read_table
from anatomark.training.roles import training_roles

FORMS = ["NFC", "NFD"]


def picture(path: Path, seed: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    array = np.random.default_rng(seed).integers(0, 255, (40, 50), dtype=np.uint8)
    write_image(Image(array, Grid.from_geometry(array.shape, spacing=(1, 1), unit="px")), path)


def rows(images: list[str], landmarks: list[str], separator: str = ",") -> str:
    """A table of points at (10 + case, 5 + landmark)."""
    text = io.StringIO()
    writer = csv.writer(text, delimiter=separator)
    writer.writerow(["image", "landmark", "x", "y"])
    writer.writerows([i, n, 10 + k, 5 + m] for k, i in enumerate(images) for m, n in enumerate(landmarks))
    return text.getvalue()


def filled(path: Path) -> Path:
    """The description with what only a person can know."""
    text = path.read_text(encoding="utf-8")
    text = text.replace("frame: ???", "frame: pixel").replace("spacing: ???", "spacing: [0.5, 0.5]")
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("disk", FORMS)
@pytest.mark.parametrize("table", FORMS)
def test_names_of_a_mac_and_a_table_in_either_form(tmp_path, disk, table):
    names = ["Müller é", "Ångström", "Nguyễn"]
    for k, name in enumerate(names):
        picture(tmp_path / (unicodedata.normalize(disk, name) + ".png"), k)
    landmarks = ["größte Höhe", "tip"]
    text = rows([unicodedata.normalize(table, n + ".png") for n in names], landmarks)
    (tmp_path / "points.csv").write_text(text, encoding="utf-8")
    path = filled(init_dataset(tmp_path))
    assert "table: points.csv" in path.read_text(encoding="utf-8")
    dataset = load_dataset(path)
    assert [case.id for case in dataset.cases] == sorted(names), "one form, whatever the disk has"
    assert dataset.case("Nguyễn").reference["tip"].tolist() == [6.0, 3.0]

    # landmark names in the other form, in the description and in predictions
    other = "NFD" if table == "NFC" else "NFC"
    path.write_text(unicodedata.normalize(other, path.read_text(encoding="utf-8")), encoding="utf-8")
    again = load_dataset(path)
    assert again.cases[0].reference.present.all()
    read = read_table(tmp_path / "points.csv", frame="pixel")
    assert evaluate(again, read, samples=0)["overall"]["mre"] == 0


@pytest.mark.parametrize("disk", FORMS)
@pytest.mark.parametrize("listed", FORMS)
def test_case_tables_lists_of_splits_and_landmark_files_in_either_form(tmp_path, disk, listed):
    names = ["Jürgen", "Zoë", "Chloé"]
    for k, name in enumerate(names):
        picture(tmp_path / "images" / (unicodedata.normalize(disk, name) + ".png"), k)
        marks = tmp_path / "marks" / (unicodedata.normalize(listed, name) + ".csv")
        write_landmarks(Landmarks.from_points(("tip",), np.array([[3.0, 4.0]]), unit="px"), marks, frame="pixel")
    base = "name: n\ndimension: 2\nlandmarks: [tip]\nannotations: {files: 'marks/{case}.csv', frame: pixel}\n"
    path = tmp_path / "d.yaml"
    test = unicodedata.normalize(listed, "Zoë")
    path.write_text(f"{base}images: {{folder: images}}\nsplits: {{test: [{test}], train: '*'}}\n", encoding="utf-8")
    dataset = load_dataset(path)
    assert [case.id for case in dataset.split("test")] == ["Zoë"]
    assert all(case.reference.present.all() for case in dataset.cases)

    table = "image,split\n" + "".join(f"{unicodedata.normalize(listed, n)}.png,train\n" for n in names)
    _save(tmp_path / "cases.csv", table)
    path.write_text(
        f"{base}images: {{folder: images, table: cases.csv}}\nsplits: {{column: split}}\n", encoding="utf-8"
    )
    assert all(case.image_path.is_file() for case in load_dataset(path).cases)


def _save(path: Path, text: str, encoding: str = "utf-8") -> Path:
    path.write_bytes(text.encode(encoding))
    return path


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_tables_of_excel(tmp_path, encoding, separator):
    names = [f"a {k}.png" for k in range(3)]
    for k, name in enumerate(names):
        picture(tmp_path / "images" / name, k)
    _save(tmp_path / "points.csv", f"sep={separator}\r\n" + rows(names, ["tip"], separator), encoding)
    cases = f"sep={separator}\r\nimage;patient;split;spacing_x;spacing_y;\r\n".replace(";", separator)
    cases += "".join(f"{name};p{k};Training;0.5;0.25;\r\n".replace(";", separator) for k, name in enumerate(names))
    _save(tmp_path / "cases.csv", cases, encoding)
    path = filled(init_dataset(tmp_path))
    assert "splits: {column: split, train: Training}" in path.read_text()
    dataset = load_dataset(path)
    assert [(c.subject, c.split, c.spacing) for c in dataset.cases][2] == ("p2", "train", (0.5, 0.25))
    assert dataset.case("a 1").reference["tip"].tolist() == [11 * 0.5, 5 * 0.25]


def test_a_workbook_and_a_table_that_cannot_be_read_are_told(tmp_path, caplog):
    picture(tmp_path / "a.png")
    (tmp_path / "points.xlsx").write_bytes(b"PK\x03\x04")
    (tmp_path / "old.csv").write_bytes("image,landmark,x,y\na,größe,1,2\n".encode("cp1252"))
    (tmp_path / "ragged.csv").write_text("image,landmark,x,y\na,tip,1\n")
    text = init_dataset(tmp_path).read_text()
    told = [record.getMessage() for record in caplog.records]
    for part in ("points.xlsx is a spreadsheet's own file", "'CSV UTF-8'", "Windows ANSI", "3 fields, expected 4"):
        assert any(part in line for line in told), part
        assert part in text


def test_files_that_systems_leave_behind_are_no_cases(tmp_path):
    for k in range(3):
        picture(tmp_path / f"x {k}.png", k)
        (tmp_path / f"._x {k}.png").write_bytes(b"\0\5\x16\7")
    for name in (".DS_Store", "Thumbs.db", "desktop.ini", "._points.csv", "~$points.csv"):
        (tmp_path / name).write_bytes(b"\0\1")
    (tmp_path / "points.csv").write_text(rows([f"x {k}.png" for k in range(3)], ["tip"]))
    for pattern in ('"*.png"', '"*"'):
        path = filled(init_dataset(tmp_path, tmp_path / f"{len(pattern)}.yaml"))
        path.write_text(path.read_text().replace('"*.png"', pattern))
        assert [case.id for case in load_dataset(path).cases] == ["x 0", "x 1", "x 2"]


@pytest.mark.parametrize("endings", [(".png", ".png"), (".png", ".PNG"), (".PNG", ".PNG"), (".JPG", ".jpeg")])
def test_upper_case_endings(tmp_path, endings):
    for k in range(4):
        path = tmp_path / f"i{k}{endings[k % 2]}"
        picture(tmp_path / f"i{k}.png", k)
        (tmp_path / f"i{k}.png").rename(path)
    _save(tmp_path / "points.csv", rows([f"I{k}.Png" if k else "i0" for k in range(4)], ["tip"]))
    dataset = load_dataset(filled(init_dataset(tmp_path)))
    assert [case.id for case in dataset.cases] == [f"i{k}" for k in range(4)]
    assert all(case.reference.present.all() for case in dataset.cases)


def test_folders_that_are_splits(tmp_path):
    names = {"Training": ["a", "b", "c", "d"], "val": ["e"], "test1": ["f", "g"]}
    for folder, held in names.items():
        for k, name in enumerate(held):
            picture(tmp_path / folder / f"{name}.png", k + len(folder))
    _save(tmp_path / "points.csv", rows([f"{f}\\{n}.png" for f, held in names.items() for n in held], ["tip"]))
    dataset = load_dataset(filled(init_dataset(tmp_path)))
    assert {s: [c.id for c in dataset.split(s)] for s in dataset.splits} == {
        "test": ["f", "g"], "validation": ["e"], "train": ["a", "b", "c", "d"],
    }  # fmt: skip
    assert all(case.reference.present.all() for case in dataset.cases)


def test_the_same_names_in_folders_of_splits_are_no_cases_called_train_and_test(tmp_path):
    for folder in ("train", "val", "test"):
        for k in range(3):
            picture(tmp_path / folder / f"{k}.png", k)
    text = init_dataset(tmp_path).read_text()
    assert "{case}" not in text.split("# No landmark file")[0]
    assert "# 3 found" in text
    assert "left aside: images in" in text


def test_numbers_that_have_lost_their_zeros(tmp_path, caplog):
    for k in (1, 2, 10):
        picture(tmp_path / f"{k:03d}.png", k)
    _save(tmp_path / "points.csv", rows(["1", "2", "10"], ["tip"]))
    path = filled(init_dataset(tmp_path))
    caplog.clear()
    dataset = load_dataset(path)
    assert [case.reference["tip"][0] for case in dataset.cases] == [5.0, 5.5, 6.0]
    (line,) = [record.getMessage() for record in caplog.records]
    assert "1 for 001, 2 for 002, 10 for 010" in line
    # where another image is called so, the name is that image's
    picture(tmp_path / "1.png", 77)
    assert not load_dataset(path).case("001").observers


def test_a_case_table_with_a_row_too_many_is_told(tmp_path, caplog):
    for k in range(3):
        picture(tmp_path / "images" / f"i{k}.png", k)
    table = "image,split\n" + "".join(f"i{k},train\n" for k in range(3))
    _save(tmp_path / "cases.csv", table)
    assert "splits: {column: split}" in init_dataset(tmp_path).read_text(), "without its ending"
    (tmp_path / "dataset.yaml").unlink()
    _save(tmp_path / "cases.csv", table + "Total,3\n")
    text = init_dataset(tmp_path).read_text()
    assert "table: cases.csv" not in text
    assert any("'Total' is not an image" in record.getMessage() for record in caplog.records)


def test_a_column_twice_is_refused(tmp_path):
    picture(tmp_path / "a.png")
    _save(tmp_path / "cases.csv", "image,split,split\na.png,train,test\n")
    path = tmp_path / "d.yaml"
    path.write_text("name: n\ndimension: 2\nlandmarks: [tip]\nimages: {table: cases.csv}\nsplits: {column: split}\n")
    with pytest.raises(DescriptionError, match="has a duplicate column 'split'"):
        load_dataset(path)
    _save(tmp_path / "m.csv", "image,landmark,x,y,X\na,tip,1,2,3\n")
    with pytest.raises(LandmarkFileError, match="duplicate column 'X'"):
        read_table(tmp_path / "m.csv", frame="pixel")


@pytest.mark.parametrize("spacing", ["1_0", "infinity", "0", "-1", "nan", "1e999"])
def test_no_spacing(tmp_path, spacing, capfd):
    picture(tmp_path / "a.png")
    _save(tmp_path / "cases.csv", f"image,sx,sy\n\na.png,{spacing},1\n")
    path = tmp_path / "d.yaml"
    path.write_text(
        "name: n\ndimension: 2\nlandmarks: [tip]\nimages: {table: cases.csv, columns: {spacing: [sx, sy]}}\n"
    )
    with pytest.raises(DescriptionError, match="not a list of positive lengths in mm"):
        load_dataset(path)
    if spacing == "1_0":
        arguments = ["convert", str(tmp_path / "a.png"), str(tmp_path / "b.nii.gz"), "--spacing", f"{spacing},1"]
        assert command_line(arguments) == 2
        assert "--spacing is '1_0,1'" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("words", "ours"),
    [
        (["train", "Training", "TRN", "tr", "train set", "training_data", "TrainingData"], "train"),
        (["val", "valid", "Validation", "dev", "validation set"], "validation"),
        (["test", "testing", "Test1", "test_2", "Test1Data", "tst", "holdout", "hold-out"], "test"),
        (["0", "1", "fold1", "", "attest", "training case 3", "trainer"], ""),
    ],
)
def test_words_for_splits(words, ours):
    assert {our_split(word) for word in words if word != "Test1Data"} == {ours}


def described_by_column(folder: Path, words: list[str], rule: str) -> Path:
    for k in range(len(words)):
        picture(folder / f"i{k}.png", k)
    _save(folder / "cases.csv", "image,set\n" + "".join(f"i{k}.png,{word}\n" for k, word in enumerate(words)))
    _save(folder / "m.csv", rows([f"i{k}.png" for k in range(len(words))], ["tip"]))
    path = folder / "dataset.yaml"
    path.write_text(
        f"name: n\ndimension: 2\nlandmarks: [tip]\nimages: {{table: cases.csv}}\nsplits: {rule}\n"
        "annotations: {table: m.csv, frame: pixel}\n"
    )
    return path


def test_words_of_a_split_column_may_have_other_names(tmp_path):
    words = ["training", "training", "dev", "test1", "test2", "", "extra"]
    rule = "{column: set, train: training, validation: dev, test: [test1, test2]}"
    dataset = load_dataset(described_by_column(tmp_path, words, rule))
    assert [case.split for case in dataset.cases] == [
        "train", "train", "validation", "test", "test", None, "extra",
    ]  # fmt: skip
    roles = training_roles(dataset, "train", None, 0.2, 0)
    assert [len(cases) for cases in roles.values()] == [2, 1]


@pytest.mark.parametrize(
    ("rule", "says"),
    [
        ("{column: set, train: trainning}", "has no 'trainning', did you mean 'training'"),
        ("{column: set, train: training, test: training}", "'training' has two names"),
        ("{column: sett}", "no column 'sett', did you mean 'set'"),
    ],
)
def test_wrong_words_are_told(tmp_path, rule, says):
    with pytest.raises(DescriptionError, match=says):
        load_dataset(described_by_column(tmp_path, ["training", "test"], rule))


def test_train_names_the_option(tmp_path):
    dataset = load_dataset(described_by_column(tmp_path, ["training", "test"], "{column: set}"))
    with pytest.raises(UnknownNameError, match=r"it has training, test.*--train-split") as caught:
        training_roles(dataset, "train", None, 0.2, 0)
    assert "\n" not in str(caught.value)


def test_folds_are_no_splits(tmp_path):
    described_by_column(tmp_path, ["0", "1", "2"] * 3, "{}").unlink()
    (tmp_path / "cases.csv").write_text((tmp_path / "cases.csv").read_text().replace("image,set", "image,fold"))
    path = filled(init_dataset(tmp_path))
    assert "no word for training (it has 0, 1, 2)" in path.read_text()
    assert "train" in load_dataset(path).splits


def test_every_refusal_is_one_line(tmp_path):
    path = described_by_column(tmp_path, ["training", "test"], "{column: set, train: nothing}")
    with pytest.raises(AnatomarkError) as caught:
        load_dataset(path)
    assert "\n" not in str(caught.value)

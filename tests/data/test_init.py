"""`anatomark init`: a first description from what a folder holds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from anatomark.core.grid import Grid
from anatomark.core.image import Image
from anatomark.core.landmarks import Landmarks
from anatomark.data.description import load_dataset
from anatomark.data.discover import find_images
from anatomark.data.init import init_dataset
from anatomark.data.pairs import guess_pairs
from anatomark.errors import DescriptionError, OutputError
from anatomark.formats.images import write_image
from anatomark.formats.landmarks import write_landmarks

NAMES = ("nasion", "eye_left", "eye_right", "Go-R", "Go-L")


def volume(path: Path, seed: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    array = np.random.default_rng(seed).integers(0, 99, (5, 6, 7), dtype=np.uint8)
    write_image(Image(array, Grid.from_geometry(array.shape, spacing=(1, 2, 3))), path)


def picture(path: Path, seed: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    array = np.random.default_rng(seed).integers(0, 99, (9, 8), dtype=np.uint8)
    write_image(Image(array, Grid.from_geometry(array.shape, spacing=(1, 1), unit="px")), path)


def points(seed: int = 0) -> Landmarks:
    return Landmarks.from_points(NAMES, np.random.default_rng(seed).random((len(NAMES), 3)))


def test_slicer_files_beside_volumes_load_at_once(tmp_path):
    for k in range(20):
        volume(tmp_path / f"p{k}.nii.gz", k)
        write_landmarks(points(k), tmp_path / f"p{k}.mrk.json")
    path = init_dataset(tmp_path)
    assert "???" not in "".join(line.split("#")[0] for line in path.read_text().splitlines())
    dataset = load_dataset(path)
    assert dataset.names == NAMES
    assert dataset.pairs == (("eye_left", "eye_right"), ("Go-L", "Go-R"))
    assert {name: len(dataset.split(name)) for name in dataset.splits} == {"test": 3, "validation": 3, "train": 14}
    np.testing.assert_allclose(dataset.case("p7").reference.points, points(7).points, atol=1e-6)
    again = tmp_path / "again.yaml"
    assert init_dataset(tmp_path, again).read_text() == path.read_text(), "seeded"


def test_a_folder_for_each_case_with_two_observers(tmp_path):
    for k in range(3):
        volume(tmp_path / f"sub-{k}/ct.nii.gz", k)
        write_landmarks(points(k), tmp_path / f"sub-{k}/points_eve.fcsv")
        write_landmarks(points(k), tmp_path / f"sub-{k}/points_bob.fcsv")
    dataset = load_dataset(init_dataset(tmp_path))
    assert [case.id for case in dataset.cases] == ["sub-0", "sub-1", "sub-2"]
    assert set(dataset.cases[0].observers) == {"eve", "bob"}
    assert dataset.splits == ("train",)


def test_a_table_is_asked_for_its_frame_and_pictures_for_their_spacing(tmp_path):
    for k in range(3):
        picture(tmp_path / f"pictures/{k:03d}.png", k)
    rows = [f"{k:03d}.png,{n},1,2,eve" for k in range(3) for n in ("tip", "base")]
    (tmp_path / "marks.csv").write_text("\n".join(["File,Label,X,Y,Rater", *rows]))
    path = init_dataset(tmp_path)
    with pytest.raises(DescriptionError) as caught:
        load_dataset(path)
    assert "2 faults" in str(caught.value)
    assert "the frame of the coordinates is still ???" in str(caught.value)
    assert "the spacing is still ???" in str(caught.value)
    path.write_text(path.read_text().replace("frame: ???", "frame: pixel").replace("spacing: ???", "spacing: [2, 3]"))
    dataset = load_dataset(path)
    assert dataset.case("001").observers["eve"]["base"].tolist() == [2.0, 6.0]


def test_case_table_gives_subjects_splits_and_spacing(tmp_path):
    for k in range(4):
        picture(tmp_path / f"images/i{k}.png", k)
    rows = [f"i{k}.png,p{k // 2},{'test' if k > 1 else 'train'},0.5,0.5" for k in range(4)]
    (tmp_path / "list.csv").write_text("\n".join(["image,patient,split,spacing_x,spacing_y", *rows]))
    (tmp_path / "m.csv").write_text("image,landmark,x,y,frame\ni0,tip,1,2,LPS\n")
    dataset = load_dataset(init_dataset(tmp_path))
    assert [(c.subject, c.split, c.spacing) for c in dataset.cases][1:3] == [
        ("p0", "train", (0.5, 0.5)), ("p1", "test", (0.5, 0.5)),
    ]  # fmt: skip


def test_predictions_are_left_aside(tmp_path):
    for k in range(3):
        volume(tmp_path / f"images/i{k}.nii.gz", k)
    row = "image,landmark,x,y,z,frame\ni0,tip,1,2,3,LPS\n"
    (tmp_path / "points.csv").write_text(row)
    (tmp_path / "predictions.csv").write_text(row)
    path = init_dataset(tmp_path)
    assert "# left aside: predictions.csv" in path.read_text()
    assert set(load_dataset(path).case("i0").observers) == {""}


def test_the_cephalometric_challenge(tmp_path):
    for k, part in enumerate(["TrainingData", "TrainingData", "Test1Data", "Test2Data"], 1):
        picture(tmp_path / f"RawImage/{part}/{k:03d}.png", k)
        for who in ("400_senior", "400_junior"):
            file = tmp_path / f"AnnotationsByMD/{who}/{k:03d}.txt"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text("\n".join([f"{n + k},{n}" for n in range(19)] + ["1"] * 8))
    path = init_dataset(tmp_path)
    path.write_text(path.read_text().replace("spacing: ???", "spacing: [0.1, 0.1]"))
    dataset = load_dataset(path)
    assert [case.id for case in dataset.cases] == ["001", "002", "003", "004"]
    assert set(dataset.cases[0].observers) == {"senior", "junior"}
    np.testing.assert_allclose(dataset.case("003").reference["nasion"], [0.4, 0.1])


def test_nothing_found(tmp_path):
    with pytest.raises(DescriptionError, match="no image found"):
        init_dataset(tmp_path)
    with pytest.raises(DescriptionError, match="not a folder"):
        init_dataset(tmp_path / "nowhere")
    volume(tmp_path / "a.nii.gz")
    path = init_dataset(tmp_path)
    with pytest.raises(DescriptionError, match=r"landmark names are still \?\?\?"):
        load_dataset(path)
    with pytest.raises(OutputError, match="exists already"):
        init_dataset(tmp_path)


def test_description_elsewhere_finds_the_data(tmp_path):
    volume(tmp_path / "data/a.nii.gz")
    write_landmarks(points(), tmp_path / "data/a.fcsv")
    dataset = load_dataset(init_dataset(tmp_path / "data", tmp_path / "sets/mine.yaml"))
    assert dataset.cases[0].reference.present.all()


def test_command_line(tmp_path, capsys):
    from anatomark.cli.main import run

    picture(tmp_path / "a.png")
    assert run(["init", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert "dataset.yaml" in out
    assert "fill in the ???" in out
    assert run(["init", str(tmp_path)]) == 2
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize(
    ("names", "pairs"),
    [
        (["Go-R", "Go-L", "S"], [("Go-L", "Go-R")]),
        (["left eye", "right eye", "left ear"], [("left eye", "right eye")]),
        (["eyeLeft", "eyeRight"], [("eyeLeft", "eyeRight")]),
        (["L_hip", "R_hip", "L"], [("L_hip", "R_hip")]),
        (["GoL", "GoR", "Lpo", "Rpo"], [("GoL", "GoR"), ("Lpo", "Rpo")]),
        (["p1_left", "p1_right", "p2_right", "p2_left"], [("p1_left", "p1_right"), ("p2_left", "p2_right")]),
        (["Ear-l-upper", "Ear-r-upper"], [("Ear-l-upper", "Ear-r-upper")]),
        (["nasion", "sella", "lip", "rip"], []),
        (["L", "R", "AL", "PR"], []),
    ],
)
def test_pairs_from_names(names, pairs):
    assert guess_pairs(names) == pairs


@pytest.mark.parametrize("name", ["T1.NII.GZ", "{case}_T1w.nii.gz"])
def test_one_image_deep_in_a_folder_of_each_subject(tmp_path, name):
    for case in ("sub-1", "sub-2", "sub-10"):
        path = tmp_path / "raw" / case / "anat" / name.replace("{case}", case)
        path.parent.mkdir(parents=True)
        path.write_bytes(b"")
    found = find_images(tmp_path)
    assert (found.folder, found.pattern) == ("raw", f"{{case}}/anat/{name}")
    assert list(found.cases) == ["sub-1", "sub-2", "sub-10"]

"""The real data set that comes with the package: whole, small, copied by a function and a command, and made again."""

import numpy as np
import pytest

from anatomark import check, copy_fetal_mr, load_dataset, read_image
from anatomark.cli import demo
from anatomark.cli.main import run
from anatomark.data.fetal_mr import PLACES
from anatomark.errors import OutputError
from tests.methods.nearest_case import NearestCase

FOLDER = next(place / "fetal_mr" for place in PLACES if place.is_dir())


def test_a_copy_is_whole_and_small_and_few_cases_are_its_one_finding(tmp_path):
    path = copy_fetal_mr(tmp_path / "new" / "fetal")
    files = [file for file in path.parent.rglob("*") if file.is_file()]
    assert len(files) == len([file for file in FOLDER.rglob("*") if file.is_file()]) == 15 + 4
    assert sum(file.stat().st_size for file in files) < 3e6
    dataset = load_dataset(path)
    assert (len(dataset.cases), len(dataset.names)) == (15, 7)
    assert {split: len(dataset.split(split)) for split in dataset.splits} == {"train": 8, "test": 4, "validation": 3}
    assert [finding.code for finding in check(dataset)] == ["too-few-cases"]
    for case in dataset.cases:
        assert case.reference.present.all()
        assert case.read_image().grid.contains(case.reference.points).all()


def test_points_lie_on_the_same_sides_as_their_names(tmp_path):
    """In LPS, left is where x is larger; the anterior horns lie before the tectum, where y is smaller."""
    for case in load_dataset(copy_fetal_mr(tmp_path / "fetal")).cases:
        point = dict(zip(case.reference.names, case.reference.points, strict=True))
        for place in ("ant_horn_lat_ventricle", "cerebellar_brainstem_junction", "deep_grey_border_at_FOM"):
            assert point[f"{place}_left"][0] > point[f"{place}_right"][0]
        assert point["ant_horn_lat_ventricle_left"][1] < point["posterior_tectum_edge"][1]


def test_a_folder_that_holds_something_is_left_alone(tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(OutputError, match="already exists; name a new folder"):
        copy_fetal_mr(tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["mine.txt"]


@pytest.mark.slow
def test_the_demo_runs_on_it(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(demo, "REAL", (NearestCase.name, {"spacing": [5.0, 5.0, 5.0]}))
    assert run(["demo", "--real", "--out", str(tmp_path / "demo")]) == 0, capsys.readouterr().err
    assert "copied 15 images with 7 landmarks" in capsys.readouterr().out
    assert (tmp_path / "demo" / "evaluation" / "report.html").is_file()


def test_the_demo_has_one_kind_of_images(tmp_path, capsys):
    assert run(["demo", "--real", "--ndim", "3", "--out", str(tmp_path / "demo")]) == 2
    assert "leave it or --real out" in capsys.readouterr().err
    assert not (tmp_path / "demo").exists()


@pytest.mark.data
def test_the_script_makes_it_again(data_root, tmp_path):
    from release.fetal_mr import main

    main(data_root / "fetal_mr", tmp_path)
    for path in sorted((FOLDER / "images").iterdir()):
        made, shipped = read_image(tmp_path / "images" / path.name), read_image(path)
        assert np.array_equal(made.array, shipped.array)
        assert made.grid == shipped.grid
    for table in ("landmarks.csv", "images.csv"):
        assert (tmp_path / table).read_bytes() == (FOLDER / table).read_bytes()

"""The first steps with real sets in a plain folder: init, only the ??? filled in, check, train."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path
from typing import Any

import pytest

from anatomark import load_dataset, train
from anatomark.cli.main import run as command_line

COUNT = 6  # images, of all splits together; with 8, check judges 166 landmarks, which takes its time


@pytest.fixture(params=["jsrt_chest", "aasce_spine"])
def plain(request: pytest.FixtureRequest, data_root: Path, tmp_path: Path) -> Path:
    """A copy of a few images of each split, with the tables cut to them; what else lies there is copied, too."""
    source, folder = data_root / request.param, tmp_path / request.param
    if not source.is_dir():
        pytest.skip(f"needs {source}")
    with (source / "images.csv").open(newline="") as file:
        cases = list(csv.DictReader(file))
    splits = list(dict.fromkeys(case["split"] for case in cases))
    kept = {
        case["image"]
        for split in splits
        for case in [case for case in cases if case["split"] == split][: COUNT // len(splits)]
    }
    (folder / "images").mkdir(parents=True)
    for name in kept:
        shutil.copy(source / "images" / name, folder / "images" / name)
    for file in source.iterdir():
        if file.is_file() and file.suffix != ".csv":
            shutil.copy(file, folder / file.name)
        elif file.is_file():
            lines = file.read_text().splitlines(keepends=True)
            named = [line for line in lines[1:] if line.split(",")[0] in kept]
            (folder / file.name).write_text("".join([lines[0], *(named or lines[1:])]))
    return folder


@pytest.mark.data
def test_init_check_and_train_with_only_the_question_marks_filled_in(
    plain: Path, tmp_path: Path, tiny: dict[str, Any], capfd: pytest.CaptureFixture[str]
) -> None:
    assert command_line(["init", str(plain)]) == 0
    path = plain / "dataset.yaml"
    asked = [line for line in path.read_text().splitlines() if "???" in line.split("#")[0]]
    assert [line.strip() for line in asked] == ["frame: ???"]
    path.write_text(path.read_text().replace("frame: ???", "frame: pixel"))
    dataset = load_dataset(path)
    assert dataset.unit == ("mm" if plain.name == "jsrt_chest" else "px")
    assert {"train", "test"} <= set(dataset.splits)
    assert set(dataset.splits) <= {"train", "validation", "test"}
    assert all(case.reference.present.any() for case in dataset.cases)

    capfd.readouterr()
    assert command_line(["check", str(path)]) in (0, 1)  # so few cases are said to be too few
    said = capfd.readouterr()
    assert "missing-code" not in said.out
    assert "label map" not in said.out
    assert "Traceback" not in said.err
    few = {"global_steps": 2, "local_steps": 2, "validations": 1, "global_batch": 1, "local_batch": 1}
    settings = {**tiny, **few, "local_landmarks_per_step": 8}
    run = train(path, out=tmp_path / "run", device="cpu", settings=settings)
    assert (run / "model.json").is_file()

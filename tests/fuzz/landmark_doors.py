"""The doors of landmark files: every format that `formats.known` lists, read and written again."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

from tests.fuzz.door import Door, Files, tried


def enter_landmarks(path: Path) -> None:
    """What `convert` and descriptions do with a landmark file."""
    from anatomark.core.grid import Grid
    from anatomark.formats.known import FORMATS
    from anatomark.formats.landmarks import read_landmarks, read_placements, write_placements
    from anatomark.formats.placements import landmarks_table, table_landmarks

    grid = Grid.from_geometry((80, 120), spacing=(1, 1), unit="px")
    own = next(known for known in FORMATS if known.name == "csv")

    def converted(frame: str | None) -> None:
        table = read_placements(path, frame=frame, grid_of=lambda _: grid)
        by_image = table_landmarks(table)
        write_placements(landmarks_table(by_image, frame=table.frame), path.parent / "again.csv", own)

    tried(
        lambda: converted(None),
        lambda: converted("pixel"),
        lambda: converted("LPS"),
        lambda: read_landmarks(path, grid=grid, names=("a", "b")),
    )


def seeds_of(name: str) -> list[Files]:
    """The examples of a format in the tests of formats."""
    from tests.formats.test_damaged_text import SAMPLES
    from tests.formats.test_every_format import EXAMPLES

    file, text, *_ = EXAMPLES[name]
    more = [{file: sample} for known, sample in SAMPLES if known.name == name]
    return [{file: text.encode()}, *more]


def report_seeds() -> list[Files]:
    """A structured report about a radiograph."""
    from anatomark.core.landmarks import Landmarks
    from anatomark.formats.images import read_grid
    from anatomark.formats.landmark_files.dicom_sr import write_dicom_sr
    from tests.formats.dicom_objects import DX, an_object, save

    with tempfile.TemporaryDirectory() as folder:
        made = an_object(DX, np.arange(120, dtype=np.uint16).reshape(12, 10), PixelSpacing=[0.3, 0.2], Modality="DX")
        made.StudyID, made.StudyDate, made.StudyTime, made.AccessionNumber = "S1", "20200101", "120000", ""
        made.PatientBirthDate, made.PatientSex, made.ReferringPhysicianName = "", "", ""
        made.SeriesNumber, made.InstanceNumber = 1, 1
        source = save(made, Path(folder) / "a.dcm")
        marks = Landmarks.from_points(["a", "b"], np.array([[1.0, 1.5], [2.0, 2.5]]), "mm")
        target = Path(folder) / "x.sr.dcm"
        write_dicom_sr(marks, target, source=source, grid=read_grid(source), model="m", presence=np.array([0.9, 0.8]))
        return [{"x.sr.dcm": target.read_bytes()}]


def _door(name: str) -> Door:
    if name == "dicom-sr":
        return Door("landmarks dicom-sr", report_seeds, lambda folder: enter_landmarks(folder / "x.sr.dcm"))
    from tests.formats.test_every_format import EXAMPLES

    file = EXAMPLES[name][0]
    return Door(f"landmarks {name}", lambda: seeds_of(name), lambda folder: enter_landmarks(folder / file))


def doors() -> list[Door]:
    from anatomark.formats.known import FORMATS

    return [_door(known.name) for known in FORMATS]

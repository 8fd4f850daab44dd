"""The predictions that a user names: a landmark file of any known format, or the folder that holds it."""

from __future__ import annotations

import shlex
from dataclasses import replace
from pathlib import Path

import numpy as np

from anatomark.core.grid import Grid
from anatomark.data.annotations import names_of
from anatomark.data.description import Dataset
from anatomark.errors import FrameError, LandmarkFileError
from anatomark.formats.landmark_table import LandmarkTable
from anatomark.formats.landmarks import landmark_name, read_placements
from anatomark.formats.missing import NOTHING
from anatomark.training.run_folder import OUT_OF_FOLD, RunFolder

PREDICTIONS = "predictions.csv"


def predictions_file(path: Path) -> Path:
    """The file of predictions: `path`, or the table in a folder that predict has written or in a run with folds.

    Raises `LandmarkFileError` for a folder that has neither.
    """
    if not path.is_dir():
        return path
    table = next((path / name for name in (OUT_OF_FOLD, PREDICTIONS) if (path / name).is_file()), None)
    if table is None and RunFolder(path).finished:
        raise LandmarkFileError(
            f"{path} is a run without folds, which holds no predictions; make some with: "
            f"anatomark predict {shlex.quote(str(path))} DATASET.yaml --out FOLDER"
        )
    if table is None:
        raise LandmarkFileError(
            f"{path} holds no {PREDICTIONS} and no {OUT_OF_FOLD}; give the table of predictions, or make one of "
            f"landmark files with: anatomark convert {shlex.quote(str(path))} table.csv"
        )
    return table


def read_predictions(
    path: Path | str, *, frame: str | None = None, dataset: Dataset | None = None, stated_wins: bool = False
) -> LandmarkTable:
    """The table of predictions in a file or folder (`predictions_file`).

    `frame` is for files that do not state theirs, and an error for those that state another, unless `stated_wins`. A
    file that names no image is of the image that is called as the file is. `dataset` has the images, for formats that
    need them, names for formats that have only an order, and the `missing_values` of its description.
    Raises `LandmarkFileError` and `FrameError`.
    """
    path = predictions_file(Path(path))
    cases = [] if dataset is None else list(dataset.cases)
    images = names_of(cases)

    def grid_of(name: str) -> Grid | None:
        candidates = images.candidates(name or landmark_name(path))
        return cases[candidates[0]].read_grid() if len(candidates) == 1 else None

    names = None if dataset is None else dataset.names
    missing = (None if dataset is None else dataset.missing_values) or NOTHING
    try:
        table = read_placements(
            path, frame=None if stated_wins else frame, grid_of=grid_of, names=names, missing=missing
        )
    except FrameError:
        if frame is None or not stated_wins:
            raise
        table = read_placements(path, frame=frame, grid_of=grid_of, names=names, missing=missing)
    if len(table) and (table.image == "").all():
        table = replace(table, image=np.full(len(table), landmark_name(path)))
    flat = dataset is not None and dataset.ndim == 2 and table.ndim == 3
    if flat and not np.nan_to_num(table.coordinates[:, 2]).any():  # Slicer has no 2D points, it puts them at z = 0
        table = replace(table, coordinates=table.coordinates[:, :2])
    return table

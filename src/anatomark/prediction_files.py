"""The files of predicted images: the tables of all, and landmark files, DICOM report and overlay picture of each."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TextIO

import numpy as np

from anatomark.core.grid import Grid
from anatomark.core.image import Image
from anatomark.formats.atomic import replacing
from anatomark.formats.landmark_files.dicom_sr import write_dicom_sr
from anatomark.formats.landmark_table import LandmarkTable
from anatomark.formats.landmarks import write_landmarks
from anatomark.formats.table import write_rows
from anatomark.methods.prediction import Prediction
from anatomark.outcome import Outcome, Points, landmark_table
from anatomark.picture_sheets import stacked
from anatomark.pictures import overlay, worst_planes

TABLE, IMAGES, OVERLAY = "predictions.csv", "images.csv", "overlay"
IMAGE_COLUMNS = ("image", "suitability", "unsuitable", "taken_for", "warning", "error")
FORMATS = ("csv", "mrk.json", "fcsv", "dicom-sr")
_BLOCK = 512  # images whose rows are held at once
_ENDINGS = {"dicom-sr": "sr.dcm"}


def write_tables(folder: Path, outcomes: Iterable[Outcome], points: Points) -> None:
    """Write predictions.csv, a row for each landmark of each predicted image, and images.csv, a row for each image."""
    with (
        replacing(folder / TABLE) as rows,
        open(rows, "w", encoding="utf-8", newline="") as table,
        replacing(folder / IMAGES) as lines,
        open(lines, "w", encoding="utf-8", newline="") as images,
    ):
        remaining = iter(outcomes)
        blocks = iter(lambda: list(islice(remaining, _BLOCK)), [])
        write_rows(each_table(blocks, points, images), table)


def each_table(blocks: Iterable[Sequence[Outcome]], points: Points, images: TextIO) -> Iterator[LandmarkTable]:
    """The rows of predictions.csv, block by block; on the way, each image gets its row in the file `images`.

    There, `suitability` is the proportion of suitable images that deviate more, empty where the model cannot judge;
    `unsuitable` the reason, empty for a suitable image; `taken_for` what it was predicted as with --orient auto;
    `error` why it has no points.
    """
    writer = csv.writer(images, lineterminator="\n")
    writer.writerow(IMAGE_COLUMNS)
    for outcomes in blocks:
        for o in outcomes:
            suitability = "" if math.isnan(o.suitability) else f"{o.suitability:.4g}"
            writer.writerow((o.id, suitability, o.unsuitable, o.taken_for, o.warning, " ".join(o.error.split())))
        yield landmark_table(outcomes, points)


def file_name(image: str, format: str) -> str:
    """The name of the file in `format` for the image of that name."""
    return f"{image}.{_ENDINGS.get(format, format)}"


def files_of(folder: Path, image: str, formats: Sequence[str], *, overlays: bool) -> dict[str, Path]:
    """{format or OVERLAY: path} of the files for the image of that name, beside the tables."""
    paths = {name: folder / file_name(image, name) for name in formats if name != "csv"}
    return paths | ({OVERLAY: folder / "overlays" / f"{image}.png"} if overlays else {})


def write_prediction(prediction: Prediction, path: Path, format: str, *, source: Path, grid: Grid, model: str) -> None:
    """Write what `model` predicted for the image file `source` on `grid`, in a format that holds one image.

    A landmark with a presence below PRESENCE_THRESHOLD is absent there.
    """
    landmarks = prediction.thresholded()
    if format == "dicom-sr":
        write_dicom_sr(
            landmarks,
            path,
            source=source,
            grid=grid,
            model=model,
            presence=prediction.presence,
            error_bound=prediction.error_bound,
            coverage=prediction.coverage,
            remark=prediction.remarks,
        )
    else:
        write_landmarks(landmarks, path, notes=notes(prediction))


def notes(prediction: Prediction) -> list[str]:
    """A line for each landmark to stand beside it: its presence, its error bound, and what is doubtful in the image."""
    unit, coverage = prediction.landmarks.unit, f"{100 * prediction.coverage:g} %"
    bounds = [
        "" if np.isnan(bound) else f"; error at most {bound:.2f} {unit} in {coverage}"
        for bound in prediction.error_bound.tolist()
    ]
    doubt = f"; {prediction.remarks}" if prediction.remarks else ""
    return [f"presence {p:.2f}{bound}{doubt}" for p, bound in zip(prediction.presence.tolist(), bounds, strict=True)]


def write_overlay(image: Image, prediction: Prediction, path: Path) -> None:
    """Write a picture of `image` with its predicted landmarks and their error bounds.

    Of a volume, the planes through its least certain landmarks are below: those with the largest error bounds, or
    without these the largest spread.
    """
    bounds = prediction.error_bound if np.isfinite(prediction.error_bound).any() else None
    landmarks = prediction.thresholded()
    picture = overlay(image, predicted=landmarks, radius=bounds, remark=prediction.remarks)
    if image.grid.ndim == 3:
        worst, what = (prediction.spread, "spread") if bounds is None else (bounds, "error bound")
        planes = worst_planes(image, worst=worst, predicted=landmarks, radius=bounds, what=what)
        picture = picture if planes is None else stacked([picture, planes])
    with replacing(path, suffix=".png") as temporary:
        picture.save(temporary, compress_level=1)  # the default takes longer than many a prediction

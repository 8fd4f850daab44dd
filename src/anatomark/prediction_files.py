"""The files of predicted images: the tables of all, and landmark files, DICOM report and overlay picture of each."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from anatomark.core.grid import Grid
from anatomark.core.image import Image
from anatomark.formats.atomic import replacing
from anatomark.formats.landmark_files.dicom_sr import write_dicom_sr
from anatomark.formats.landmarks import write_landmarks
from anatomark.formats.table import write_table
from anatomark.methods.prediction import Prediction, prediction_table
from anatomark.pictures import overlay

TABLE = "predictions.csv"
IMAGE_COLUMNS = ("image", "suitability", "unsuitable", "taken_for", "warning", "error")
FORMATS = ("csv", "mrk.json", "fcsv", "dicom-sr")
_ENDINGS = {"dicom-sr": "sr.dcm"}


def write_tables(folder: Path, predictions: Mapping[str, Prediction], failed: Mapping[str, str]) -> None:
    """Write predictions.csv, a row for each landmark of each predicted image, and images.csv (`_write_images`)."""
    write_table(prediction_table(predictions), folder / TABLE)
    _write_images(folder / "images.csv", predictions, failed)


def _write_images(path: Path, predictions: Mapping[str, Prediction], failed: Mapping[str, str]) -> None:
    """Write images.csv: a row for each image, with its suitability, and why it should be checked or has no points.

    `suitability` is the proportion of suitable images that deviate more, empty where the model cannot judge;
    `unsuitable` the reason, empty for a suitable image; `taken_for` what it was predicted as with --orient auto.
    """
    rows = [
        (
            name,
            "" if math.isnan(p.suitability) else f"{p.suitability:.4g}",
            p.unsuitable or "",
            p.taken_for or "",
            p.warning or "",
            "",
        )
        for name, p in predictions.items()
    ]
    rows += [(name, "", "", "", "", " ".join(reason.split())) for name, reason in failed.items()]
    with replacing(path) as partial, open(partial, "w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([IMAGE_COLUMNS, *rows])


def file_name(image: str, format: str) -> str:
    """The name of the file in `format` for the image of that name."""
    return f"{image}.{_ENDINGS.get(format, format)}"


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
    """Write a picture of `image` with its predicted landmarks and their error bounds."""
    bounds = prediction.error_bound if np.isfinite(prediction.error_bound).any() else None
    picture = overlay(image, predicted=prediction.thresholded(), radius=bounds, remark=prediction.remarks)
    with replacing(path, suffix=".png") as temporary:
        picture.save(temporary, compress_level=1)  # the default takes longer than many a prediction

"""The files of one predicted image: landmark files, the DICOM report, the overlay picture."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from anatomark.core.grid import Grid
from anatomark.core.image import Image
from anatomark.formats.atomic import replacing
from anatomark.formats.landmark_files.dicom_sr import write_dicom_sr
from anatomark.formats.landmarks import write_landmarks
from anatomark.methods.prediction import Prediction
from anatomark.pictures import overlay

FORMATS = ("csv", "mrk.json", "fcsv", "dicom-sr")
_ENDINGS = {"dicom-sr": "sr.dcm"}


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
        )
    else:
        write_landmarks(landmarks, path, notes=notes(prediction))


def notes(prediction: Prediction) -> list[str]:
    """A line for each landmark to stand beside it: its presence and its error bound."""
    unit, coverage = prediction.landmarks.unit, f"{100 * prediction.coverage:g} %"
    bounds = [
        "" if np.isnan(bound) else f"; error at most {bound:.2f} {unit} in {coverage}"
        for bound in prediction.error_bound.tolist()
    ]
    return [f"presence {p:.2f}{bound}" for p, bound in zip(prediction.presence.tolist(), bounds, strict=True)]


def write_overlay(image: Image, prediction: Prediction, path: Path) -> None:
    """Write a picture of `image` with its predicted landmarks and their error bounds."""
    bounds = prediction.error_bound if np.isfinite(prediction.error_bound).any() else None
    picture = overlay(image, predicted=prediction.thresholded(), radius=bounds)
    with replacing(path, suffix=".png") as temporary:
        picture.save(temporary, compress_level=1)  # the default takes longer than many a prediction

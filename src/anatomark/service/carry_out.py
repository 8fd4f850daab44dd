"""One prediction of the service, from a file or folder on disk to a file with the result."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anatomark.core.landmarks import State
from anatomark.errors import ImageError
from anatomark.formats.atomic import write_json
from anatomark.formats.images import image_name, read_image
from anatomark.formats.landmark_files.dicom_sr import require_reportable
from anatomark.formats.table import STATE_WORDS, write_table
from anatomark.methods.prediction import prediction_table
from anatomark.prediction_files import file_name, write_prediction
from anatomark.service.header_limits import require_within_limit
from anatomark.service.job import Job
from anatomark.service.slices import as_picture
from anatomark.service.unpack import is_zip, unpack

if TYPE_CHECKING:
    from anatomark.core.grid import Grid
    from anatomark.methods.prediction import Prediction
    from anatomark.model import Model


def carry_out(job: Job, model: Model) -> Path:
    """The file with the result of `job`. Raises AnatomarkError as `anatomark predict` does, and RequestRejected."""
    path, folder = Path(job.path), Path(job.folder)
    if path.is_file() and is_zip(path):
        path = unpack(path, folder / "unpacked", max_bytes=job.max_bytes)
    before = _status(path)
    require_within_limit(path, max_voxels=job.max_voxels)
    image = read_image(path)
    if job.format == "dicom-sr":
        require_reportable(path, image.grid.ndim)
    picture = as_picture(image, model.unit, job.spacing) if model.ndim == 2 else None
    if picture is not None:
        image = picture[0]
    elif job.spacing is not None:
        image = read_image(path, spacing=job.spacing)
    if _status(path) != before:  # it may have become one beyond the limits, or be half of two
        raise ImageError(f"{path} changed while it was read; send the request again once it is written")
    result = model.predict(image, source=str(path), coverage=job.coverage, orient=job.orient)
    if picture is not None:
        result = replace(result, landmarks=picture[1](result.landmarks))
    name = image_name(Path(job.path).name)
    target = folder / file_name(name, job.format)
    _write(result, target, job, path, image.grid)
    return target


def _status(path: Path) -> list[tuple[int, ...]]:
    """What differs once a file, or one of the files of a folder, is written again or replaced; empty if it is gone."""
    try:
        files = sorted(path.iterdir()) if path.is_dir() else [path]
        found = [file.stat() for file in files if file.is_file()]
    except OSError:
        return []
    return [(one.st_dev, one.st_ino, one.st_size, one.st_mtime_ns) for one in found]


def _write(result: Prediction, target: Path, job: Job, source: Path, grid: Grid) -> None:
    name = image_name(Path(job.path).name)
    if job.format == "json":
        write_json(target, as_json(result, job.model, name))
    elif job.format == "csv":
        write_table(prediction_table({name: result}), target)
    else:
        write_prediction(result, target, job.format, source=source, grid=grid, model=job.model)


def as_json(result: Prediction, model: str, image: str) -> dict[str, Any]:
    """A prediction as JSON: every landmark with its point, and null for an error bound that is not available."""
    landmarks = result.landmarks
    each = zip(
        landmarks.names,
        landmarks.points.round(4).tolist(),
        result.presence.round(4).tolist(),
        result.thresholded().states.tolist(),
        result.spread.round(4).tolist(),
        result.error_bound.round(4).tolist(),
        strict=True,
    )
    return {
        "model": model,
        "image": image,
        "frame": "LPS",
        "unit": landmarks.unit,
        "coverage": result.coverage,
        "warning": result.remarks,
        "suitability": None if math.isnan(result.suitability) else round(result.suitability, 6),
        "unsuitable": result.unsuitable,
        "taken_for": result.taken_for,
        "landmarks": [
            {
                "name": name,
                "point": point,
                "presence": presence,
                "said": STATE_WORDS[State(state)],
                "spread": spread,
                "error_bound": None if math.isnan(bound) else bound,
            }
            for name, point, presence, state, spread, bound in each
        ],
    }

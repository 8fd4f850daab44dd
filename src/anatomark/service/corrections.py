"""Corrected landmarks, saved as Slicer markups: every version, and the newest for a data set to read."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from anatomark.core.grid import Unit
from anatomark.core.landmarks import Landmarks, State
from anatomark.errors import LandmarkFileError, OutputError, UnknownNameError
from anatomark.formats.atomic import replacing
from anatomark.formats.frames import to_dimension
from anatomark.formats.landmark_files.slicer_json import read_slicer_json, write_slicer_json


@dataclass(frozen=True)
class Expected:
    """The landmarks that a correction may have: those of a model."""

    names: tuple[str, ...]
    ndim: int
    unit: Unit
    model: str


def store(markups: Path, folder: Path, *, case: str, reviewer: str, expected: Expected) -> dict[str, Any]:
    """Save a .mrk.json of Slicer as a correction of `case` by `reviewer`; the result says where.

    folder/REVIEWER/CASE.mrk.json is the newest, which a dataset.yaml reads by `files: REVIEWER/{case}.mrk.json`;
    folder/REVIEWER/versions/CASE.TIME.mrk.json are all versions, which are never changed. In both, a property
    `anatomark` records case, reviewer, time and model. Points that have not been placed are not annotated.

    Raises `LandmarkFileError`, `FrameError`, `UnknownNameError` for damaged markups or other landmarks.
    """
    landmarks = _read(markups, expected)
    when = datetime.now(UTC)
    about = {
        "case": case,
        "reviewer": reviewer,
        "time": when.isoformat(timespec="milliseconds"),
        "model": expected.model,
    }
    version = _write_new(landmarks, folder / reviewer / "versions", f"{case}.{when:%Y%m%dT%H%M%S}", about)
    newest = folder / reviewer / f"{case}.mrk.json"
    with replacing(newest) as temporary:
        temporary.write_bytes(version.read_bytes())
    count = Counter(landmarks.states.tolist())
    return {
        "newest": newest.relative_to(folder).as_posix(),
        "version": version.relative_to(folder).as_posix(),
        "present": count[State.PRESENT],
        "absent": count[State.ABSENT],
        "not_annotated": count[State.NOT_ANNOTATED],
    }


def _read(markups: Path, expected: Expected) -> Landmarks:
    points = read_slicer_json(markups)
    unknown = sorted(set(points.names) - set(expected.names))
    if unknown:
        raise UnknownNameError(
            f"{markups} contains unknown landmarks: {', '.join(unknown)[:200]}; correct their names, or choose "
            "the model with these landmarks"
        )
    twice = sorted({name for name in points.names if points.names.count(name) > 1})
    if twice:
        raise LandmarkFileError(f"{markups} has duplicate landmarks: {', '.join(twice)[:200]}; keep one of each")
    if (points.states == State.NOT_ANNOTATED).all():
        raise LandmarkFileError(f"{markups} contains no placed landmark; place some before sending")
    coordinates = to_dimension(points.coordinates, expected.ndim, markups)
    states = np.asarray(points.states, dtype=np.uint8)
    return Landmarks(points.names, coordinates, states, expected.unit).select(expected.names)


def _write_new(landmarks: Landmarks, folder: Path, stem: str, about: dict[str, Any]) -> Path:
    """A new file with the landmarks; an existing file is never replaced."""
    for number in range(1, 10_000):
        path = folder / (f"{stem}.mrk.json" if number == 1 else f"{stem}-{number}.mrk.json")
        whole = folder / f".{path.name}.{os.getpid()}"
        write_slicer_json(landmarks, whole, about=about)
        try:
            os.link(whole, path)  # unlike a rename, it never replaces a file
            return path
        except FileExistsError:
            continue
        except OSError as error:
            raise OutputError(f"{path} cannot be written: {error.strerror}; choose another folder") from error
        finally:
            whole.unlink(missing_ok=True)
    raise OutputError(f"{folder} has no free file name for {stem}; move its old versions elsewhere")

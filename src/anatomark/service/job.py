"""A request for one prediction, as a line between two processes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Literal

from anatomark.methods.prediction import Orient

Format = Literal["json", "csv", "mrk.json", "fcsv", "dicom-sr"]
MEDIA_TYPES: Mapping[str, str] = {
    "json": "application/json",
    "csv": "text/csv",
    "mrk.json": "application/vnd.slicer.mrk+json",
    "fcsv": "text/plain",
    "dicom-sr": "application/dicom",
}


@dataclass(frozen=True)
class Job:
    """One prediction to make: `path` is the image, `folder` a new folder for all files that are written."""

    model: str
    path: str
    folder: str
    format: Format = "json"
    coverage: float = 0.9
    spacing: tuple[float, ...] | None = None
    orient: Orient = "keep"
    max_voxels: int = 2**28
    max_bytes: int = 2**31

    def line(self) -> bytes:
        return json.dumps(asdict(self)).encode() + b"\n"

    @classmethod
    def of_line(cls, line: bytes) -> Job:
        values = json.loads(line)
        return cls(**values | {"spacing": None if values["spacing"] is None else tuple(values["spacing"])})

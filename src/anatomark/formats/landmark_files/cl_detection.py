"""CL-Detection 2023 (JSON): points called 1 to 38, each with the number of its X-ray in the challenge's stack.

It is grand-challenge.org's "Multiple points", whose third number is the image, counted from 1, and no z; x and y are
pixels of the image before its border was filled up to the stack's size, below and to the right.
"""

from __future__ import annotations

from pathlib import Path

from anatomark.core.landmarks import State
from anatomark.errors import LandmarkFileError
from anatomark.formats.frames import settle_frame
from anatomark.formats.landmark_files.json_file import dicts_in, name_in, numbers_in, read_json, shortened
from anatomark.formats.landmark_format import GridOf, Head, LandmarkFormat
from anatomark.formats.landmark_table import LandmarkTable
from anatomark.formats.placements import pixel_table

_EXPECTED = "the .json of CL-Detection 2023"


def _recognises(head: Head) -> bool:
    return "points[].point" in head.json or ("points" in head.json and '"Multiple points"' in head.text)


def read_cl_detection(path: Path, *, frame: str | None, grid_of: GridOf) -> LandmarkTable:
    """The points of all images, which are called 1, 2, ..., in pixel coordinates."""
    settle_frame("pixel", frame, f"{path} (CL-Detection 2023)")
    data = read_json(path, _EXPECTED)
    if not isinstance(data, dict):
        raise LandmarkFileError(f"{path} is not a file of CL-Detection 2023 but {shortened(data)}; give {_EXPECTED}")
    rows: dict[tuple[str, str], tuple[str, str, str, State, float, float]] = {}
    for point in dicts_in(data.get("points"), "`points` of CL-Detection 2023", path):
        name = name_in(point.get("name"), "the name of a point of CL-Detection 2023", path)
        x, y, image = numbers_in(point.get("point"), 3, f"point {name!r}", path)
        if image < 1 or image != int(image) or not name.isdecimal():
            raise LandmarkFileError(
                f"{path} has the point {name!r} at {x:g}, {y:g}, {image:g}, which is not one of CL-Detection 2023 "
                "(points 1, 2, ... at x, y, number of the image); other points of grand-challenge.org are not read"
            )
        key = str(int(image)), name
        if key in rows:
            raise LandmarkFileError(f"{path}: duplicate point {name} of image {int(image)}; keep one")
        rows[key] = (*key, "", State.PRESENT, x, y)
    return pixel_table(rows.values())


CL_DETECTION = LandmarkFormat(
    name="cl-detection",
    title="CL-Detection 2023 (JSON)",
    endings=(".json",),
    recognises=_recognises,
    read=read_cl_detection,
    frame="pixel",
    missing="has no word for it; what is not there is not annotated",
    many_images=True,
    unnamed=True,
)

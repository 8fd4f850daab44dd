"""CVAT for images 1.1 (XML): points and skeletons, by their labels, in pixels.

A point of a skeleton that lies `outside` is absent: its annotator has set that it is not in the image. `occluded` ones
are placed. A `points` element with several points has them in order: `label_1`, `label_2`, ...
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from anatomark.core.landmarks import State
from anatomark.errors import LandmarkFileError
from anatomark.formats.annotated_size import tell_other_sizes
from anatomark.formats.frames import settle_frame
from anatomark.formats.header import tell
from anatomark.formats.landmark_files.json_file import names_in_groups
from anatomark.formats.landmark_files.point_lines import coordinates
from anatomark.formats.landmark_files.xml_file import Element, read_xml
from anatomark.formats.landmark_format import GridOf, Head, LandmarkFormat
from anatomark.formats.landmark_table import LandmarkTable
from anatomark.formats.placements import pixel_table

_EXPECTED = "an XML file of 'CVAT for images 1.1'"
_OTHERS = ("box", "polygon", "polyline", "ellipse", "cuboid", "mask", "tag")
Found = tuple[str, str, State, list[float]]  # group ("" for points of their own), point, state, x and y


def _recognises(head: Head) -> bool:
    return "<annotations" in head.text and (
        "<image " in head.text or "<track" in head.text or "<meta" in head.text or "<version>1." in head.text
    )


def read_cvat(path: Path, *, frame: str | None, grid_of: GridOf) -> LandmarkTable:
    """The points of all images, in pixel coordinates."""
    settle_frame("pixel", frame, f"{path} (CVAT)")
    root = read_xml(path, _EXPECTED)
    if root.tag != "annotations":
        raise LandmarkFileError(f"{path} is XML of another kind (<{root.tag[:40]}>), not of CVAT; give {_EXPECTED}")
    if root.first("track") is not None:
        raise LandmarkFileError(f"{path} is a 'CVAT for video' file; export the task as 'CVAT for images 1.1'")
    shapes: dict[str, list[Found]] = {}
    others: Counter[str] = Counter()
    images = list(root.all("image"))
    for image in images:
        name = image.attributes.get("name", "").strip()
        if not name:
            raise LandmarkFileError(f"{path}, line {image.line}: an image of CVAT has no name; export it again")
        if name in shapes:
            raise LandmarkFileError(f"{path}, line {image.line}: duplicate image {name!r} in CVAT's file; keep one")
        shapes[name] = list(_points(image, path))
        others.update(child.tag for child in image.children if child.tag in _OTHERS)
    ignored = ", ".join(f"{count} {kind}" for kind, count in others.items())
    if others and not any(shapes.values()):
        raise LandmarkFileError(f"{path} is a file of CVAT without points ({ignored}); mark the landmarks as points")
    if others:
        tell([f"{path}: only points and skeletons are landmarks; ignored: {ignored}"])
    groups: dict[str, dict[str, None]] = {}
    for group, point, _, _ in (found for image in shapes.values() for found in image):
        groups.setdefault(group, {})[point] = None
    called = names_in_groups({group: list(points) for group, points in groups.items()}, path)
    rows: dict[tuple[str, str], tuple[str, str, str, State, float, float]] = {}
    for image, found in shapes.items():
        for group, point, state, (x, y) in found:
            key = image, called[group, point]
            if key in rows:
                raise LandmarkFileError(f"{path}: duplicate landmark {key[1]!r} in CVAT's image {image}; delete one")
            rows[key] = (*key, "", state, x, y)
    sizes = (
        (i.attributes.get("name", "").strip(), i.attributes.get("width"), i.attributes.get("height")) for i in images
    )
    tell_other_sizes(path, (size for size in sizes if shapes[size[0]]), grid_of)
    return pixel_table(rows.values())


def _points(image: Element, path: Path) -> Iterator[Found]:
    for shape in image.children:
        if shape.tag == "points":
            label, places = _label(shape, path), _places(shape, path)
            for number, xy in enumerate(places, start=1):
                yield "", label if len(places) == 1 else f"{label}_{number}", State.PRESENT, xy
        elif shape.tag == "skeleton":
            label = _label(shape, path)
            for point in shape.all("points"):
                state = State.ABSENT if point.attributes.get("outside") == "1" else State.PRESENT
                places = _places(point, path)
                if len(places) != 1:
                    raise LandmarkFileError(
                        f"{path}, line {point.line}: a point of the skeleton {label!r} has {len(places)} places, "
                        "expected one; export it again"
                    )
                yield label, _label(point, path), state, places[0]


def _label(shape: Element, path: Path) -> str:
    label = shape.attributes.get("label", "").strip()
    if not label:
        raise LandmarkFileError(f"{path}, line {shape.line}: a <{shape.tag}> of CVAT has no label; name it")
    return label


def _places(shape: Element, path: Path) -> list[list[float]]:
    place = f"{path}, line {shape.line}"
    text = shape.attributes.get("points", "")
    found = [coordinates(pair.split(","), place) for pair in text.split(";") if pair.strip()]
    if not found or any(len(xy) != 2 for xy in found):
        raise LandmarkFileError(
            f"{place}: points is {text[:60]!r}, expected x,y;x,y as CVAT writes it; export it again"
        )
    return found


CVAT = LandmarkFormat(
    name="cvat",
    title="CVAT for images 1.1 (XML)",
    endings=(".xml",),
    recognises=_recognises,
    read=read_cvat,
    frame="pixel",
    missing="a skeleton's point that is `outside` is absent; what has no point is not annotated",
    many_images=True,
)

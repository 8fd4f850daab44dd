"""labelme (JSON, one file an image): the shapes that are points, by their labels, in pixels.

labelme has no word for a point that is missing: what has no shape is not annotated. Files that are written here say
what is absent, and the order of landmarks, in a property `anatomark` that labelme keeps when it saves the file again.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from anatomark.core.landmarks import State
from anatomark.errors import LandmarkFileError
from anatomark.formats.annotated_size import tell_other_sizes
from anatomark.formats.atomic import write_json
from anatomark.formats.frames import settle_frame
from anatomark.formats.header import tell
from anatomark.formats.landmark_files.json_file import JsonValue, dicts_in, name_in, numbers_in, read_json, shortened
from anatomark.formats.landmark_format import GridOf, Head, LandmarkFormat
from anatomark.formats.landmark_table import LandmarkTable
from anatomark.formats.placements import one_image, pixel_table
from anatomark.formats.table import STATE_WORDS

_EXPECTED = "a .json of labelme"
_OWN = "anatomark"
_STATES = {word: state for state, word in STATE_WORDS.items()}


def _recognises(head: Head) -> bool:
    return "shapes" in head.json and bool(
        {"imagePath", "imageData", "flags", "version", "shapes[].shape_type", "shapes[].points"} & head.json
    )


def read_labelme(path: Path, *, frame: str | None, grid_of: GridOf) -> LandmarkTable:
    """The points of the image, in pixel coordinates."""
    settle_frame("pixel", frame, f"{path} (labelme)")
    data = read_json(path, _EXPECTED)
    if not isinstance(data, dict):
        raise LandmarkFileError(f"{path} is not a labelme file but {shortened(data)}; give {_EXPECTED}")
    named = data.get("imagePath")
    image = name_in(named, "labelme's imagePath", path) if named else ""
    places: dict[str, tuple[float, float]] = {}
    others: Counter[str] = Counter()
    for shape in dicts_in(data.get("shapes"), "labelme's `shapes`", path):
        points = shape.get("points")
        kind = shape.get("shape_type") or ("point" if isinstance(points, list) and len(points) == 1 else "polygon")
        if kind != "point":
            others[shortened(kind).strip("'")] += 1
            continue
        name = name_in(shape.get("label"), "a label in labelme's `shapes`", path)
        if name in places:
            groups = " with different group_id" if shape.get("group_id") is not None else ""
            raise LandmarkFileError(f"{path}: {name!r} occurs several times{groups}, expected one; delete or rename")
        if not isinstance(points, list) or len(points) != 1:
            raise LandmarkFileError(f"{path}: the point {name!r} has the points {shortened(points)}, expected one x, y")
        x, y = numbers_in(points[0], 2, f"the point {name!r}", path)
        places[name] = x, y
    if others:
        listed = ", ".join(f"{count} of type {kind}" for kind, count in others.items())
        tell([f"{path}: only points are landmarks; ignored: {listed}"])
    states = _own_states(data.get(_OWN), path)
    rows: list[tuple[str, str, str, State, float, float]] = []
    for name in dict.fromkeys([*states, *places]):
        state = State.PRESENT if name in places else states[name]
        if state == State.PRESENT and name not in places:  # somebody has deleted the shape
            state = State.NOT_ANNOTATED
        rows.append((image, name, "", state, *places.get(name, (0.0, 0.0))))
    tell_other_sizes(path, [(image, data.get("imageWidth"), data.get("imageHeight"))] if rows else [], grid_of)
    return pixel_table(rows)


def _own_states(own: JsonValue, path: Path) -> dict[str, State]:
    states = own.get("states") if isinstance(own, dict) else None
    if states is None:
        return {}
    if not isinstance(states, dict) or not all(word in _STATES for word in map(str, states.values())):
        raise LandmarkFileError(
            f"{path}: {_OWN}.states is {shortened(states)}; expected present, absent, not annotated"
        )
    return {name_in(name, f"a name in {_OWN}.states", path): _STATES[str(word)] for name, word in states.items()}


def write_labelme(table: LandmarkTable, path: Path, *, grid_of: GridOf) -> None:
    """A file of labelme 5 without the image in it; `imagePath` is the table's image."""
    points = one_image(table, path)
    if table.ndim != 2:
        raise LandmarkFileError(f"{path}: labelme's points are 2D, the landmarks 3D; write .mrk.json or .csv")
    image = table.image[0].item() if len(table) else ""
    grid = grid_of(image)
    rows = zip(points.names, points.coordinates.tolist(), points.states.tolist(), strict=True)
    shapes: list[dict[str, object]] = [
        {"label": name, "points": [xy], "group_id": None, "description": "", "shape_type": "point", "flags": {}}
        for name, xy, state in rows
        if state == State.PRESENT
    ]
    words = {name: STATE_WORDS[State(s)] for name, s in zip(points.names, points.states.tolist(), strict=True)}
    write_json(
        path,
        {
            "version": "5.5.0",
            "flags": {},
            "shapes": shapes,
            "imagePath": image,
            "imageData": None,
            "imageHeight": None if grid is None else grid.shape[0],
            "imageWidth": None if grid is None else grid.shape[1],
            **({} if len(shapes) == len(words) else {_OWN: {"states": words}}),
        },
    )


LABELME = LandmarkFormat(
    name="labelme",
    title="labelme (JSON)",
    endings=(".json",),
    recognises=_recognises,
    read=read_labelme,
    write=write_labelme,
    frame="pixel",
    written_frame="pixel",
    missing="a point that has no shape is not annotated; our own files record absent in a property that labelme keeps",
    image_files=True,
)

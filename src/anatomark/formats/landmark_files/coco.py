"""COCO keypoints (JSON): images, categories with the names of their keypoints, annotations with x, y, visibility.

A visibility of 0 is not annotated. 2 is present, and so is 1 (labelled, but hidden) where it has coordinates; 1 at 0, 0
is absent: somebody has looked and given no place. Coordinates are pixels as they come. One annotation a category and
image: of several, nobody knows which is the patient's.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from anatomark.core.landmarks import State
from anatomark.errors import LandmarkFileError
from anatomark.formats.annotated_size import tell_other_sizes
from anatomark.formats.atomic import write_json
from anatomark.formats.frames import settle_frame
from anatomark.formats.landmark_files.json_file import (
    JsonObject,
    JsonValue,
    dicts_in,
    name_in,
    names_in_groups,
    numbers_in,
    read_json,
    shortened,
)
from anatomark.formats.landmark_format import GridOf, Head, LandmarkFormat
from anatomark.formats.landmark_table import LandmarkTable
from anatomark.formats.placements import pixel_table, table_points

_EXPECTED = "a COCO file with images, categories and annotations"
_CATEGORY = "landmarks"
Row = tuple[str, str, str, State, float, float]


def _recognises(head: Head) -> bool:
    results = "[].image_id" in head.json and bool({"[].keypoints", "[].bbox", "[].segmentation"} & head.json)
    parts = {"images[].file_name", "annotations[].image_id", "annotations[].keypoints", "categories[].keypoints"}
    return results or bool(parts & head.json) or {"images", "annotations", "categories"} <= head.json


def read_coco(path: Path, *, frame: str | None, grid_of: GridOf) -> LandmarkTable:
    """The keypoints of all images of a COCO file, in pixel coordinates."""
    settle_frame("pixel", frame, f"{path} (COCO)")
    data = read_json(path, _EXPECTED)
    if isinstance(data, list):
        raise LandmarkFileError(
            f"{path} is a list of COCO results, which names images by number only; put it as `annotations` into the "
            "COCO file that has the images and categories"
        )
    if not isinstance(data, dict):
        raise LandmarkFileError(f"{path} is not a COCO file but {shortened(data)}; give {_EXPECTED}")
    listed = dicts_in(data.get("images"), "COCO's `images`", path)
    images = _images(listed, path)
    annotations = dicts_in(data.get("annotations"), "COCO's `annotations`", path)
    with_points = [item for item in annotations if item.get("keypoints")]
    if annotations and not with_points:
        kinds = ", ".join(k for k in ("bbox", "segmentation", "caption") if any(k in item for item in annotations))
        raise LandmarkFileError(f"{path} is COCO without keypoints ({kinds or 'none'} only); give one with keypoints")
    used = {str(item.get("category_id")) for item in with_points}
    keypoints = _keypoints(dicts_in(data.get("categories"), "COCO's `categories`", path), used, path)
    table = pixel_table(_rows(with_points, images, keypoints, path))
    annotated = {str(item.get("image_id")) for item in with_points}
    sizes = (
        (images[str(i.get("id"))], i.get("width"), i.get("height")) for i in listed if str(i.get("id")) in annotated
    )
    tell_other_sizes(path, sizes, grid_of)
    return table


def _images(images: list[JsonObject], path: Path) -> dict[str, str]:
    """{id: file name}."""
    found: dict[str, str] = {}
    for image in images:
        number = str(image.get("id"))
        name = name_in(image.get("file_name"), f"the file_name of COCO's image {number}", path)
        if found.setdefault(number, name) != name:
            raise LandmarkFileError(
                f"{path}: COCO's images {found[number]} and {name} share the id {number}; correct it"
            )
    return found


def _keypoints(categories: list[JsonObject], used: set[str], path: Path) -> dict[str, list[str]]:
    """{id of a category in use: names of its landmarks}."""
    points: dict[str, list[str]] = {}
    called: dict[str, str] = {}
    for category in categories:
        number = str(category.get("id"))
        if number not in used:
            continue
        listed = category.get("keypoints")
        called[number] = str(category.get("name") or number).strip()
        if not isinstance(listed, list) or not listed:
            raise LandmarkFileError(f"{path}: COCO's category {called[number]!r} has no names of keypoints; name them")
        points[number] = [name_in(point, f"a keypoint of COCO's category {called[number]!r}", path) for point in listed]
        twice = [point for point, count in Counter(points[number]).items() if count > 1]
        if twice:
            raise LandmarkFileError(
                f"{path}: COCO's category {called[number]!r} has the duplicate keypoint {twice[0]!r}; rename one"
            )
    if len(set(called.values())) < len(called):
        called = {number: number for number in called}
    names = names_in_groups({called[number]: points[number] for number in points}, path)
    return {number: [names[called[number], point] for point in listed] for number, listed in points.items()}


def _rows(
    annotations: list[JsonObject], images: dict[str, str], keypoints: dict[str, list[str]], path: Path
) -> Iterator[Row]:
    found: dict[tuple[str, str], list[Row]] = {}
    ids: dict[str, str] = {}
    for item in annotations:
        image, category = str(item.get("image_id")), str(item.get("category_id"))
        if image not in images:
            raise LandmarkFileError(f"{path}: an annotation is of image {image}, which COCO's `images` lack; add it")
        if category not in keypoints:
            raise LandmarkFileError(f"{path}: an annotation is of category {category}, which `categories` lack; add it")
        if ids.setdefault(images[image], image) != image:
            raise LandmarkFileError(
                f"{path}: COCO's `images` have a duplicate {images[image]} with keypoints; keep one"
            )
        rows = list(_points(item["keypoints"], images[image], keypoints[category], path))
        if all(row[3] == State.NOT_ANNOTATED for row in rows) and found.get((images[image], category)):
            continue
        before = found.get((images[image], category), [])
        if any(row[3] != State.NOT_ANNOTATED for row in before):
            raise LandmarkFileError(
                f"{path}: {images[image]} has several COCO annotations with keypoints of one category; keep one, or "
                "give each instance a category of its own"
            )
        found[images[image], category] = rows
    for rows in found.values():
        yield from rows


def _points(listed: JsonValue, image: str, names: list[str], path: Path) -> Iterator[Row]:
    values = listed if isinstance(listed, list) else []
    if len(values) != 3 * len(names):
        raise LandmarkFileError(
            f"{path}: {image} has {len(values)} numbers for its keypoints, expected 3 for each of {len(names)}; "
            "correct it"
        )
    for k, name in enumerate(names):
        x, y, seen = numbers_in(values[3 * k : 3 * k + 3], 3, f"keypoint {name!r} of {image}", path)
        if seen not in (0, 1, 2):
            raise LandmarkFileError(f"{path}: the visibility of {name!r} in {image} is {seen:g}; expected 0, 1 or 2")
        state = State.NOT_ANNOTATED if seen == 0 else State.PRESENT
        if seen == 1 and x == 0 and y == 0:
            state = State.ABSENT
        yield image, name, "", state, x, y


def write_coco(table: LandmarkTable, path: Path, *, grid_of: GridOf) -> None:
    """One category with all landmarks, one annotation an image. Landmarks that an image lacks are not annotated."""
    if table.ndim != 2:
        raise LandmarkFileError(f"{path}: COCO keypoints are 2D, the landmarks 3D; write .mrk.json or .csv")
    if len(set(table.observer.tolist())) > 1:
        raise LandmarkFileError(f"{path}: COCO has no place for several observers; write to a folder, or a .csv")
    names = list(dict.fromkeys(table.landmark.tolist()))
    images: list[dict[str, object]] = []
    annotations: list[dict[str, object]] = []
    for number, ((image, _), points) in enumerate(table_points(table).items(), start=1):
        grid = grid_of(image)
        extent = {} if grid is None else {"width": grid.shape[1], "height": grid.shape[0]}
        images.append({"id": number, "file_name": image, **extent})
        at = {name: k for k, name in enumerate(points.names)}
        keypoints: list[float] = []
        for name in names:
            state = State(points.states[at[name]]) if name in at else State.NOT_ANNOTATED
            place = points.coordinates[at[name]].tolist() if state == State.PRESENT else [0, 0]
            keypoints += [*place, {State.PRESENT: 2, State.ABSENT: 1, State.NOT_ANNOTATED: 0}[state]]
        place = points.coordinates[points.states == State.PRESENT]
        low, high = (place.min(axis=0), place.max(axis=0)) if len(place) else (np.zeros(2), np.zeros(2))
        with np.errstate(over="ignore"):
            size = high - low
            area = np.nan_to_num(np.prod(size))
        annotations.append(
            {
                "id": number,
                "image_id": number,
                "category_id": 1,
                "keypoints": keypoints,
                "num_keypoints": int((points.states != State.NOT_ANNOTATED).sum()),
                "bbox": [*low.tolist(), *np.nan_to_num(size).tolist()],
                "area": float(area),
                "iscrowd": 0,
            }
        )
    category = {"id": 1, "name": _CATEGORY, "supercategory": "", "keypoints": names, "skeleton": []}
    write_json(path, {"images": images, "annotations": annotations, "categories": [category]})


COCO = LandmarkFormat(
    name="coco",
    title="COCO keypoints (JSON)",
    endings=(".json",),
    recognises=_recognises,
    read=read_coco,
    write=write_coco,
    frame="pixel",
    written_frame="pixel",
    missing="visibility 0 is not annotated; 1 at 0, 0 is absent; 1 elsewhere (hidden) and 2 are present",
    many_images=True,
    image_files=True,
)

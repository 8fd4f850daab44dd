"""Label Studio (JSON and JSON-MIN): keypoints, in percent of the image, made pixels of it.

Cancelled annotations are passed over, and so are predictions. Where somebody else has annotated an image too, the
annotators (`completed_by`) are the observers. Images are called as at the end of their address, with folders where the
same name is in several. The eight characters that Label Studio puts before the name of an uploaded file stay, and are
passed over where images are looked for by name.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

from anatomark.core.landmarks import State
from anatomark.errors import LandmarkFileError
from anatomark.formats.annotated_size import tell_other_sizes
from anatomark.formats.frames import settle_frame
from anatomark.formats.header import tell
from anatomark.formats.images import SUFFIXES as IMAGE_SUFFIXES
from anatomark.formats.landmark_files.json_file import (
    JsonObject,
    JsonValue,
    dicts_in,
    name_in,
    numbers_in,
    read_json,
    shortened,
)
from anatomark.formats.landmark_format import GridOf, Head, LandmarkFormat
from anatomark.formats.landmark_table import LandmarkTable
from anatomark.formats.placements import pixel_table

_EXPECTED = "a JSON export of Label Studio"
_PICTURES = (*IMAGE_SUFFIXES, ".webp", ".gif")


def _recognises(head: Head) -> bool:
    ends = ("annotations[].result", "completions[].result", "predictions[].result", "[].keypointlabels")
    return any(place.endswith(ends) for place in head.json) or {"[].annotation_id", "[].annotator"} <= head.json


def read_label_studio(path: Path, *, frame: str | None, grid_of: GridOf) -> LandmarkTable:
    """The keypoints of all images, in pixel coordinates; the observers are the annotators where there are several."""
    settle_frame("pixel", frame, f"{path} (Label Studio)")
    data = read_json(path, _EXPECTED)
    tasks = dicts_in([data] if isinstance(data, dict) else data, "Label Studio's list of tasks", path)
    keypoints: dict[tuple[str, str], list[JsonObject]] = {}
    for number, task in enumerate(tasks, start=1):
        image, annotations = _task(task, number, path)
        for annotation, results in annotations:
            key = image, _annotator(annotation)
            if key in keypoints:
                by = f" by {key[1]!r}" if key[1] else ""
                raise LandmarkFileError(
                    f"{path}: {image} has several annotations{by} in Label Studio; keep one, or cancel the others there"
                )
            keypoints[key] = results
    one_observer = len({image for image, _ in keypoints}) == len(keypoints)
    called = _short({image for image, _ in keypoints})
    others: Counter[str] = Counter()
    rows = [
        (called[image], name, "" if one_observer else observer, State.PRESENT, x, y)
        for (image, observer), results in keypoints.items()
        for name, x, y in _points(results, called[image], others, path, grid_of)
    ]
    sizes = {
        called[image]: (result.get("original_width"), result.get("original_height"))
        for (image, _), results in keypoints.items()
        for result in results
        if _labels(result)
    }
    tell_other_sizes(path, ((image, *size) for image, size in sizes.items()), grid_of)
    ignored = ", ".join(f"{count} {kind}" for kind, count in others.items())
    if others and not rows:
        raise LandmarkFileError(
            f"{path} is a Label Studio file without keypoints ({ignored}); mark the landmarks as keypoints"
        )
    if others:
        tell([f"{path}: only keypoints with a label are landmarks; ignored: {ignored}"])
    return pixel_table(rows)


def _short(images: set[str]) -> dict[str, str]:
    """{path of an image: its last part, or the whole path where several have the same last part}."""
    count = Counter(image.split("/")[-1] for image in images)
    return {image: image if count[image.split("/")[-1]] > 1 else image.split("/")[-1] for image in images}


def _task(task: JsonObject, number: int, path: Path) -> tuple[str, list[tuple[JsonObject, list[JsonObject]]]]:
    """The image of a task, and its annotations with their results."""
    listed = task.get("annotations", task.get("completions"))
    if listed is None:  # JSON-MIN: an annotation a task, its results under the names of the project's tags
        found = [
            item
            for value in task.values()
            if isinstance(value, list)
            for item in value
            if isinstance(item, dict) and ("keypointlabels" in item or {"x", "y"} <= item.keys())
        ]
        results: list[JsonObject] = [{"type": "keypointlabels", "value": item, **item} for item in found]
        return _image(task, number, path), [(task, results)]
    what = f"the annotations of task {number} of Label Studio"
    annotations = [item for item in dicts_in(listed, what, path) if not item.get("was_cancelled")]
    data = task.get("data")
    image = _image(data if isinstance(data, dict) else {}, number, path)
    return image, [(item, dicts_in(item.get("result"), f"the result of task {number}", path)) for item in annotations]


def _image(data: JsonObject, number: int, path: Path) -> str:
    """The path of the image that a task is about, from its address."""
    texts = {key: value for key, value in data.items() if isinstance(value, str) and value.strip()}
    usual = [value for key, value in texts.items() if key.lower() in ("image", "img", "image_url", "url")]
    pictures = [value for value in texts.values() if _path(value).lower().endswith(_PICTURES)]
    found = list(dict.fromkeys(usual[:1] or pictures))
    if len(found) != 1:
        stated = f"several ({', '.join(found[:3])})" if found else "none"
        raise LandmarkFileError(
            f"{path}: task {number} of Label Studio has {stated}, expected one image; call it `image`"
        )
    return _path(found[0])


def _path(address: str) -> str:
    """data/upload/1/p1.png of /data/upload/1/p1.png, p1.png of s3://bucket/p1.png?x=1, folder/p1.png of
    /data/local-files/?d=folder/p1.png."""
    address = address.replace("\\", "/").strip()
    if "://" not in address and not address.startswith("/data/"):
        return address
    try:
        parts = urlsplit(address)
    except ValueError:
        return address
    inside = parse_qs(parts.query).get("d")
    return (inside[0] if inside else unquote(parts.path)).strip("/ ") or address


def _annotator(annotation: JsonObject) -> str:
    annotator = annotation.get("completed_by", annotation.get("annotator"))
    if isinstance(annotator, dict):
        annotator = annotator.get("email") or annotator.get("username") or annotator.get("id")
    return "" if annotator is None or isinstance(annotator, list | dict | bool) else str(annotator).strip()


def _points(
    results: list[JsonObject], image: str, others: Counter[str], path: Path, grid_of: GridOf
) -> Iterator[tuple[str, float, float]]:
    """Name and pixel of each keypoint; what is none is counted in `others`."""
    labels = {r.get("id"): _labels(r) for r in results if isinstance(r.get("id"), str) and _labels(r)}
    seen: set[str] = set()
    for result in results:
        kind, value = result.get("type"), result.get("value")
        if kind not in ("keypointlabels", "keypoint"):
            others.update([shortened(kind).strip("'")] * (kind != "labels"))
            continue
        key = result.get("id")
        found = _labels(result) or (labels.get(key, []) if isinstance(key, str) else [])
        if not found:
            others["keypoint without a label"] += 1
            continue
        if len(found) > 1 or not isinstance(value, dict):
            raise LandmarkFileError(f"{path}: a keypoint in {image} has the labels {shortened(found)}, expected one")
        name = name_in(found[0], f"the label of a keypoint in {image}", path)
        what = f"the keypoint {name!r} in {image}"
        if name in seen:
            raise LandmarkFileError(f"{path}: duplicate landmark {name!r} in {image}; delete one in Label Studio")
        seen.add(name)
        if result.get("image_rotation") not in (None, 0):
            raise LandmarkFileError(f"{path}: {image} was turned in Label Studio, which is not read; turn it back")
        x, y = numbers_in([value.get("x"), value.get("y")], 2, what, path)
        width, height = _size(result, image, what, path, grid_of)
        yield name, x * width / 100, y * height / 100


def _size(result: JsonObject, image: str, what: str, path: Path, grid_of: GridOf) -> tuple[float, float]:
    size = [result.get("original_width"), result.get("original_height")]
    grid = grid_of(image) if None in size else None
    if grid is not None:
        return float(grid.shape[-1]), float(grid.shape[-2])
    if None in size:
        raise LandmarkFileError(f"{path}: {what} is in percent of an unknown size; give the image")
    width, height = numbers_in(size, 2, f"original_width, original_height of {what}", path)
    if width <= 0 or height <= 0:
        raise LandmarkFileError(f"{path}: {what} is in an image of {width:g} x {height:g}; export it again")
    return width, height


def _labels(result: JsonObject) -> list[JsonValue]:
    value = result.get("value")
    if not isinstance(value, dict):
        return []
    found = value.get("keypointlabels") or value.get("labels") or []
    return found if isinstance(found, list) else [found]


LABEL_STUDIO = LandmarkFormat(
    name="label-studio",
    title="Label Studio (JSON, JSON-MIN)",
    endings=(".json",),
    recognises=_recognises,
    read=read_label_studio,
    frame="pixel, made from percent of the image",
    missing="has no word for it; what has no keypoint is not annotated",
    many_images=True,
)

"""COCO, labelme, Label Studio, CVAT and CL-Detection 2023: what their words mean, and what is refused in a line."""

import copy
import json
import logging

import numpy as np
import pytest

from anatomark.core.grid import Grid
from anatomark.core.landmarks import Landmarks, State
from anatomark.errors import FrameError, LandmarkFileError
from anatomark.formats.convert import convert
from anatomark.formats.image_names import ImageNames
from anatomark.formats.landmarks import read_landmarks, read_placements, write_landmarks
from anatomark.formats.table import read_table

NOT, ABSENT, PRESENT = State.NOT_ANNOTATED, State.ABSENT, State.PRESENT


def save(folder, value, name="x.json"):
    path = folder / name
    path.write_text(value if isinstance(value, str) else json.dumps(value), encoding="utf-8")
    return path


def held(table):
    """{(image, landmark, observer): (state, x, y)}"""
    keys = zip(table.image.tolist(), table.landmark.tolist(), table.observer.tolist(), strict=True)
    values = zip(table.states.tolist(), table.coordinates.tolist(), strict=True)
    return {key: (state, *xy) for key, (state, xy) in zip(keys, values, strict=True)}


def places(path, **options):
    table = read_placements(path, **options)
    assert (table.frame, table.unit) == ("pixel", "px")
    return {key[:2]: tuple(value[1:]) for key, value in held(table).items() if value[0] == PRESENT}


def refused(path, told, **options):
    with pytest.raises((LandmarkFileError, FrameError), match=told) as error:
        read_placements(path, **options)
    assert "\n" not in str(error.value)


COCO = {
    "images": [
        {"id": 1, "file_name": "a/p1.png"},
        {"id": "2", "file_name": "p2.png"},
        {"id": 3, "file_name": "p3.png"},
    ],
    "annotations": [
        {"image_id": 1, "category_id": 5, "keypoints": [1.5, 2, 2, 3, 4, 1, 0, 0, 1, 0, 0, 0]},
        {"image_id": 2, "category_id": 5, "keypoints": [0, 0, 2, 7, 8, 0, 0, 0, 0, 9.25, 10, 2.0]},
        {"image_id": 2, "category_id": 6, "bbox": [1, 2, 3, 4]},
    ],
    "categories": [{"id": 5, "name": "skull", "keypoints": ["a", "b", "c", "d"]}, {"id": 6, "name": "box"}],
}


def test_visibility_of_coco(tmp_path):
    found = held(read_placements(save(tmp_path, COCO)))
    states = {key[:2]: value[0] for key, value in found.items()}
    assert [states["a/p1.png", name] for name in "abcd"] == [PRESENT, PRESENT, ABSENT, NOT]
    assert [states["p2.png", name] for name in "abcd"] == [
        PRESENT,
        NOT,
        NOT,
        PRESENT,
    ]  # 0, 0 may be a place: check says
    assert found["a/p1.png", "b", ""][1:] == (3, 4)
    assert found["p2.png", "d", ""][1:] == (9.25, 10)


def changed(**changes):
    value = copy.deepcopy(COCO)
    for key, change in changes.items():
        value[key] = change(value[key])
    return value


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (changed(annotations=lambda a: [*a, a[0]]), "a/p1.png has several COCO annotations"),
        (changed(annotations=lambda a: [{**a[0], "keypoints": a[0]["keypoints"][:9]}]), "has 9 numbers .* each of 4"),
        (changed(annotations=lambda a: [{**a[0], "keypoints": [1, 2, 0.9] * 4}]), "visibility of 'a' .* is 0.9"),
        (
            changed(annotations=lambda a: [{**a[0], "keypoints": ["1", 2, 2] * 4}]),
            "'a' of a/p1.png is .*expected 3 numbers",
        ),
        (changed(annotations=lambda a: [{**a[0], "keypoints": "abc"}]), "has 0 numbers"),
        (changed(annotations=lambda a: [{**a[0], "image_id": 9}]), "image 9, which COCO's `images` lack"),
        (changed(annotations=lambda a: [{**a[0], "category_id": 9}]), "category 9"),
        (changed(annotations=lambda a: 3), "`annotations` is 3, expected a list"),
        (changed(categories=lambda c: [{"id": 5, "name": "skull"}]), "no names of keypoints"),
        (changed(categories=lambda c: [{"id": 5, "keypoints": ["a", "a", "c", "d"]}]), "duplicate keypoint 'a'"),
        (changed(categories=lambda c: [{"id": 5, "keypoints": ["a", "", "c", "d"]}]), "expected a name"),
        (changed(images=lambda i: [{"id": 1}]), "file_name .*expected a name"),
        (
            changed(images=lambda i: [{**image, "file_name": "p.png"} for image in i]),
            "duplicate a/p.png|duplicate p.png",
        ),
        (changed(annotations=lambda a: a[2:]), "COCO without keypoints"),
    ],
)
def test_what_coco_cannot_mean_is_one_line(tmp_path, value, told):
    refused(save(tmp_path, value), told)


def test_categories_of_coco_are_taken_together_and_told_apart_by_name(tmp_path, caplog):
    value = copy.deepcopy(COCO)
    value["categories"] = [{"id": k, "name": f"L{k}", "keypoints": ["left", "right"]} for k in (4, 5)]
    value["annotations"] = [{"image_id": 1, "category_id": k, "keypoints": [k, 1, 2, k, 2, 2]} for k in (4, 5)] + [
        {"image_id": 1, "category_id": 4, "keypoints": [0] * 6}
    ]  # an empty second one says nothing
    with caplog.at_level(logging.WARNING, logger="anatomark"):
        found = places(save(tmp_path, value))
    assert {name: xy for (_, name), xy in found.items()} == {
        "L4_left": (4, 1), "L4_right": (4, 2), "L5_left": (5, 1), "L5_right": (5, 2),
    }  # fmt: skip
    assert "called as L4_left" in caplog.text
    value["categories"][1]["keypoints"] = ["top", "bottom"]
    assert {name for _, name in places(save(tmp_path, value))} == {"left", "right", "top", "bottom"}


def shape(label, *points, kind="point", **more):
    return {"label": label, "points": [list(p) for p in points], "shape_type": kind, **more}


def labelme(*shapes, **more):
    return {"version": "5.4.1", "flags": {}, "shapes": list(shapes), "imagePath": "..\\im\\p1.png", **more}


def test_labelme_takes_points_and_tells_what_it_leaves(tmp_path, caplog):
    value = labelme(shape(" Ä, 1", (1.5, 2)), shape("box", (0, 0), (1, 1), kind="rectangle"), shape("b", (3, 4)))
    with caplog.at_level(logging.WARNING, logger="anatomark"):
        found = places(save(tmp_path, value))
    assert found == {("..\\im\\p1.png", "Ä, 1"): (1.5, 2), ("..\\im\\p1.png", "b"): (3, 4)}
    assert "ignored: 1 of type rectangle" in caplog.text
    del value["shapes"][0]["shape_type"]  # as labelme before version 4 wrote a point
    assert ("..\\im\\p1.png", "Ä, 1") in places(save(tmp_path, value))
    twice = labelme(shape("a", (1, 2), group_id=1), shape("a", (3, 4), group_id=2))
    refused(save(tmp_path, twice), "'a' occurs several times with different group_id")
    refused(save(tmp_path, labelme(shape("a", (1, 2), (3, 4)))), "the points .*expected one")
    refused(save(tmp_path, labelme(shape("a", (1, None)))), "expected 2 numbers")
    refused(save(tmp_path, labelme(shape(None, (1, 2)))), "expected a name")
    refused(save(tmp_path, labelme(shape("a", (1, 2)))), "states the frame pixel, but LPS was given", frame="LPS")


def test_labelme_keeps_what_is_absent_until_somebody_sets_it(tmp_path):
    marks = Landmarks(("a", "b", "c"), np.array([[1, 2], [0, 0], [0, 0.0]]), np.array([PRESENT, ABSENT, NOT]), "px")
    write_landmarks(marks, tmp_path / "p1.json", format="labelme")
    assert read_landmarks(tmp_path / "p1.json") == marks
    value = json.loads((tmp_path / "p1.json").read_text())
    assert [item["label"] for item in value["shapes"]] == ["a"]  # no 0, 0 for a point that is not there
    value["shapes"] = [shape("b", (5, 6))]  # set in labelme, and a deleted
    again = read_landmarks(save(tmp_path, value))
    assert again == Landmarks(
        ("a", "b", "c"), np.array([[0, 0], [5, 6], [0, 0.0]]), np.array([NOT, PRESENT, NOT]), "px"
    )


def keypoint(label, x, y, **more):
    size = {"original_width": 200, "original_height": 80, "image_rotation": 0}
    return {"type": "keypointlabels", **size, "value": {"x": x, "y": y, "keypointlabels": [label]}, **more}


def task(image, *annotations):
    return {"id": 1, "data": {"image": image}, "annotations": list(annotations)}


def by(who, *results, **more):
    return {"completed_by": who, "was_cancelled": False, "result": list(results), **more}


def test_label_studio_percent_and_names(tmp_path):
    value = [
        task("/data/upload/3/0a1b2c3d-p1.png", by(1, keypoint("a", 50, 25), keypoint("b", 0.5, 100))),
        task("s3://bucket/case%207/p2.png?X=1", by(1, keypoint("a", 10, 10), was_cancelled=True), by(1)),
        task("/data/local-files/?d=set/p3.png", by({"id": 3, "email": "x@y"}, keypoint("a", 1, 1))),
    ]
    found = places(save(tmp_path, value))
    assert found == {("0a1b2c3d-p1.png", "a"): (100, 20), ("0a1b2c3d-p1.png", "b"): (1, 80), ("p3.png", "a"): (2, 0.8)}
    named = ImageNames(["p1", "p3"], [tmp_path / "p1.png", tmp_path / "p3.png"])
    assert named.match(["0a1b2c3d-p1.png", "p3.png"]).images == (0, 1)


def test_annotators_of_label_studio_are_observers_where_there_are_several(tmp_path):
    value = [
        task("p1.png", by(7, keypoint("a", 50, 50)), by({"email": "ben@x"}, keypoint("a", 51, 50))),
        task("p2.png", by(7, keypoint("a", 10, 10))),
    ]
    found = held(read_placements(save(tmp_path, value)))
    assert set(found) == {("p1.png", "a", "7"), ("p1.png", "a", "ben@x"), ("p2.png", "a", "7")}
    value[0]["annotations"][1]["completed_by"] = 7
    refused(save(tmp_path, value), "p1.png has several annotations by '7'")


def test_label_studio_min_and_folders(tmp_path):
    size = {"original_width": 200, "original_height": 80}
    value = [
        {"image": f"s3://b/{folder}/x.png", "id": k, "annotator": 1, "annotation_id": k,
         "kp": [{"x": 50, "y": 50, "width": 1, "keypointlabels": ["a"], **size}]}
        for k, folder in enumerate(["one", "two"])
    ]  # fmt: skip
    assert places(save(tmp_path, value)) == {("one/x.png", "a"): (100, 40), ("two/x.png", "a"): (100, 40)}


@pytest.mark.parametrize(
    ("result", "told"),
    [
        (keypoint("a", 1, 1, image_rotation=90), "was turned in Label Studio"),
        (keypoint("a", "1", 1), "expected 2 numbers"),
        (keypoint("a", 1, 1, original_width=None), "in percent of an unknown size"),
        (keypoint("a", 1, 1, original_width=-3), "-3 x 80"),
        ({"type": "keypointlabels", "value": {"x": 1, "y": 1, "keypointlabels": ["a", "b"]}}, "expected one"),
        ({"type": "rectanglelabels", "value": {"x": 1}}, "without keypoints .1 rectanglelabels"),
    ],
)
def test_what_label_studio_cannot_mean_is_one_line(tmp_path, result, told):
    refused(save(tmp_path, [task("p1.png", by(1, result))]), told)


def test_label_studio_without_sizes_takes_the_image(tmp_path):
    path = save(tmp_path, [task("p1.png", by(1, keypoint("a", 50, 25, original_width=None)))])
    grid = Grid.from_geometry((80, 120), spacing=(1, 1), unit="px")
    assert places(path, grid_of=lambda _: grid) == {("p1.png", "a"): (60, 20)}


def cvat(*images):
    parts = (
        f'<image id="{k}" name="{name}" width="9" height="9">{inside}</image>'
        for k, (name, inside) in enumerate(images)
    )
    return f'<?xml version="1.0" encoding="utf-8"?><annotations><version>1.1</version>{"".join(parts)}</annotations>'


def skeleton(label, *points):
    inside = "".join(f'<points label="{n}" outside="{o}" occluded="{c}" points="{xy}"/>' for n, o, c, xy in points)
    return f'<skeleton label="{label}" z_order="0">{inside}</skeleton>'


def test_cvat_points_and_skeletons(tmp_path, caplog):
    first = '<points label="Ä &amp; b" occluded="1" points="1.50,2.00"/><points label="rim" points="1,2;3,4"/>'
    first += '<box label="x"/>'
    second = skeleton("skull", ("a", 0, 0, "5,6"), ("b", 1, 0, "7,8"), ("c", 0, 1, "9,10"))
    path = save(tmp_path, cvat(("f/p1.png", first), ("p2.png", second)), "x.xml")
    with caplog.at_level(logging.WARNING, logger="anatomark"):
        table = read_placements(path)
    assert places(path) == {
        ("f/p1.png", "Ä & b"): (1.5, 2), ("f/p1.png", "rim_1"): (1, 2), ("f/p1.png", "rim_2"): (3, 4),
        ("p2.png", "a"): (5, 6), ("p2.png", "c"): (9, 10),
    }  # fmt: skip
    assert held(table)["p2.png", "b", ""][0] == ABSENT
    assert "ignored: 1 box" in caplog.text


def test_skeletons_that_share_names_are_told_apart(tmp_path):
    inside = skeleton("L4", ("top", 0, 0, "1,2")) + skeleton("L5", ("top", 0, 0, "3,4"))
    found = places(save(tmp_path, cvat(("p1.png", inside)), "x.xml"))
    assert found == {("p1.png", "L4_top"): (1, 2), ("p1.png", "L5_top"): (3, 4)}
    twice = skeleton("L4", ("top", 0, 0, "1,2")) * 2
    refused(save(tmp_path, cvat(("p1.png", twice)), "x.xml"), "duplicate landmark 'top'")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (cvat(("p1.png", '<points label="a" points="1;2"/>')), "points is '1;2', expected x,y"),
        (cvat(("p1.png", '<points label="a" points="1,x"/>')), "'x' is not a coordinate"),
        (cvat(("p1.png", '<points points="1,2"/>')), "has no label"),
        (cvat(("", '<points label="a" points="1,2"/>')), "has no name"),
        (cvat(("p1.png", ""), ("p1.png", "")), "duplicate image 'p1.png'"),
        (cvat(("p1.png", '<box label="x"/>')), "without points .1 box"),
        (cvat(("p1.png", "<points")), "is not valid XML"),
        (
            '<!DOCTYPE a [<!ENTITY x "ha">]><annotations><version>1.1</version><image id="0"/></annotations>',
            "document type",
        ),
    ],
)
def test_what_cvat_cannot_mean_is_one_line(tmp_path, text, told):
    refused(save(tmp_path, text, "x.xml"), told)


def test_cl_detection_in_the_order_of_the_description(tmp_path):
    points = [{"name": str(n), "point": [10.0 * n, n + 0.5, image]} for image in (1, 2) for n in (1, 2)]
    path = save(tmp_path, {"name": "Orthodontic landmarks", "type": "Multiple points", "points": points})
    assert places(path)["2", "2"] == (20, 2.5)
    assert set(places(path, names=["sella", "nasion"])) == {(i, n) for i in "12" for n in ("sella", "nasion")}
    refused(path, "no names but 2 points in order, expected 3", names=["a", "b", "c"])
    refused(save(tmp_path, {"points": [*points, points[0]]}), "duplicate point")
    general = {"type": "Multiple points", "points": [{"name": "x", "point": [1.5, 2.5, -30.25]}]}
    refused(save(tmp_path, general), "not one of CL-Detection 2023")


@pytest.mark.parametrize(
    "text", ["[" * 100_000, '{"shapes":' * 50_000, '{"images": [], "annotations": ' + "[" * 90_000]
)
def test_deep_nesting_is_one_line(tmp_path, text):
    refused(save(tmp_path, text), "nested too deeply|no known format|not valid JSON")


def test_half_a_character_is_one_line(tmp_path):
    refused(save(tmp_path, labelme(shape("a", (1, 2))) | {"imagePath": "\ud800.png"}), "is not text")


def test_slicers_table_of_control_points(tmp_path):
    text = "label,r,a,s,defined,selected,visible,locked,description\nNa,1,2,3,1,0,1,0,\nS,0,0,0,0,1,1,0,not found\n"
    path = save(tmp_path, text, "F.csv")
    marks = read_landmarks(path)
    assert marks == Landmarks(("Na", "S"), np.array([[-1, -2, 3], [0, 0, 0.0]]), np.array([PRESENT, NOT]))
    refused(save(tmp_path, text.replace("3,1,0", "3,maybe,0"), "G.csv"), "defined is 'maybe'")
    convert(path, tmp_path / "again.csv", format="slicer-csv", to_frame="RAS")
    lines = (tmp_path / "again.csv").read_text().splitlines()
    assert lines[0] == "label,r,a,s,defined,selected,visible,locked,description"
    assert lines[1].startswith("Na,1.0,2.0,3.0,1,")
    assert read_landmarks(tmp_path / "again.csv") == marks


def test_convert_asks_for_the_format_where_an_ending_is_shared(tmp_path):
    path = save(tmp_path, COCO)
    with pytest.raises(
        LandmarkFileError, match=r"unless the format is named, as --format mrk\.json or coco or labelme"
    ):
        convert(path, tmp_path / "o.json")
    with pytest.raises(FrameError, match="is in the frame pixel, not LPS"):
        convert(path, tmp_path / "o.json", format="coco", to_frame="LPS")
    convert(path, tmp_path / "o.json", format="coco")
    assert repr(held(read_placements(tmp_path / "o.json"))) == repr(held(read_placements(path)))
    written = convert(path, f"{tmp_path}/files/", format="labelme")
    assert sorted(p.name for p in written) == ["p1.json", "p2.json"]  # without the folder that COCO names
    convert(path, tmp_path / "t.csv")
    assert read_table(tmp_path / "t.csv").frame == "LPS"


def made_on(program, width, height):
    """A file of the program with one point of p.png, which had this size when it was annotated."""
    if program == "COCO":
        images = [{"id": 1, "file_name": "p.png", "width": width, "height": height}]
        points = [{"image_id": 1, "category_id": 1, "keypoints": [3, 4, 2]}]
        return {"images": images, "annotations": points, "categories": [{"id": 1, "name": "c", "keypoints": ["a"]}]}
    if program == "labelme":
        shapes = [{"label": "a", "points": [[3, 4]], "shape_type": "point"}]
        return {"version": "5", "shapes": shapes, "imagePath": "p.png", "imageWidth": width, "imageHeight": height}
    if program == "CVAT":
        image = f'<image id="0" name="p.png" width="{width}" height="{height}">'
        return f'<annotations><version>1.1</version>{image}<points label="a" points="3,4"/></image></annotations>'
    value = {"x": 50, "y": 50, "keypointlabels": ["a"]}
    result = {"type": "keypointlabels", "original_width": width, "original_height": height, "value": value}
    return [{"data": {"image": "p.png"}, "annotations": [{"completed_by": 1, "result": [result]}]}]


@pytest.mark.parametrize("program", ["COCO", "labelme", "CVAT", "Label Studio"])
@pytest.mark.parametrize(
    ("size", "told"), [((60, 40), None), ((120, 80), "give the images that were"), ((40, 60), "`orientation: stored`")]
)
def test_an_image_of_another_size_than_was_annotated_is_told(tmp_path, caplog, program, size, told):
    """A resized copy, or a picture that was annotated as it is stored: points lie elsewhere, and only this tells."""
    path = save(tmp_path, made_on(program, *size), "x.xml" if program == "CVAT" else "x.json")
    grid = Grid.from_geometry((40, 60), spacing=(1, 1), unit="px")
    with caplog.at_level(logging.WARNING, "anatomark"):
        assert len(read_placements(path, grid_of=lambda name: grid if name == "p.png" else None)) == 1
    if told is None:
        assert not caplog.messages
        return
    (message,) = caplog.messages
    assert f"{path} was made on {size[0]} x {size[1]} pixels of p.png, which has 60 x 40, so" in message
    assert told in message


@pytest.mark.parametrize("program", ["COCO", "labelme", "CVAT"])
@pytest.mark.parametrize("size", [(0, 0), ("", ""), (-1, 5), (None, None)])
def test_a_size_that_is_none_is_passed_over(tmp_path, caplog, program, size):
    path = save(tmp_path, made_on(program, *size), "x.xml" if program == "CVAT" else "x.json")
    grid = Grid.from_geometry((40, 60), spacing=(1, 1), unit="px")
    with caplog.at_level(logging.WARNING, "anatomark"):
        assert places(path, grid_of=lambda _: grid)["p.png", "a"] == (3, 4)
    assert not caplog.messages

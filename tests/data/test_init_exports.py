"""init and check on folders as annotation programs leave them: through to a data set with only the ??? filled in."""

import json

import numpy as np
import pytest
from PIL import Image

from anatomark import init_dataset, load_dataset
from anatomark.formats.convert import convert

CASES = {f"p{k}": [[10.0 + k, 20.0], [30.0, 12.5 + k]] for k in range(1, 8)}
NAMES = ["sella", "nasion"]


def images(folder):
    folder.mkdir()
    for k, case in enumerate(CASES):
        noise = np.random.default_rng(k).integers(0, 255, (64, 48), dtype=np.uint8)
        Image.fromarray(noise).save(folder / f"{case}.png")
    return folder


def coco(folder, ids=CASES, name="points.json"):
    data = {
        "images": [{"id": k, "file_name": f"images/{case}.png"} for k, case in enumerate(ids)],
        "annotations": [
            {"image_id": k, "category_id": 1, "keypoints": [v for xy in ids[case] for v in (*xy, 2)]}
            for k, case in enumerate(ids)
        ],
        "categories": [{"id": 1, "name": "skull", "keypoints": NAMES}],
    }
    (folder / name).write_text(json.dumps(data))


def labelme(folder):
    for case, points in CASES.items():
        shapes = [{"label": n, "points": [xy], "shape_type": "point"} for n, xy in zip(NAMES, points, strict=True)]
        data = {"version": "5.4.1", "flags": {}, "shapes": shapes, "imagePath": f"{case}.png", "imageData": None}
        (folder / f"{case}.json").write_text(json.dumps(data))
        (folder / f"{case}_meta.json").write_text('{"camera": 1}')  # no landmark file, though called after a case


def label_studio(folder):
    tasks = [
        {
            "data": {"image": f"/data/upload/3/0a1b2c3d-{case}.png"},
            "annotations": [
                {
                    "completed_by": 1,
                    "result": [
                        {
                            "type": "keypointlabels",
                            "original_width": 48,
                            "original_height": 64,
                            "value": {"x": x / 48 * 100, "y": y / 64 * 100, "keypointlabels": [name]},
                        }
                        for name, (x, y) in zip(NAMES, points, strict=True)
                    ],
                }
            ],
        }
        for case, points in CASES.items()
    ]
    (folder / "project-3.json").write_text(json.dumps(tasks))


def cvat(folder):
    parts = [
        f'<image id="{k}" name="{case}.png" width="48" height="64">'
        + "".join(
            f'<points label="{name}" occluded="0" points="{x},{y}"/>'
            for name, (x, y) in zip(NAMES, points, strict=True)
        )
        + "</image>"
        for k, (case, points) in enumerate(CASES.items())
    ]
    (folder / "annotations.xml").write_text(f"<annotations><version>1.1</version>{''.join(parts)}</annotations>")


def deeplabcut(folder):
    head = "scorer,me,me,me,me\nbodyparts,sella,sella,nasion,nasion\ncoords,x,y,x,y\n"
    rows = [f"labeled-data/{case}.png,{a[0]},{a[1]},{b[0]},{b[1]}" for case, (a, b) in CASES.items()]
    (folder / "CollectedData_me.csv").write_text(head + "\n".join(rows) + "\n")


def tps(folder):
    texts = []
    for case, points in CASES.items():
        rows = "".join(f"{x} {64 - y}\n" for x, y in points)
        texts.append(f"LM=2\n{rows}IMAGE={case}.png\n")
    (folder / "points.tps").write_text("".join(texts))


@pytest.mark.parametrize(
    ("make", "line", "names"),
    [
        (coco, "table: points.json", NAMES),
        (labelme, 'files: "{case}.json"', NAMES),
        (label_studio, "table: project-3.json", NAMES),
        (cvat, "table: annotations.xml", NAMES),
        (deeplabcut, "table: CollectedData_me.csv", NAMES),
        (tps, "table: points.tps", ["1", "2"]),
    ],
)
def test_init_finds_the_landmarks_and_asks_for_nothing_but_the_spacing(tmp_path, make, line, names):
    images(tmp_path / "images")
    make(tmp_path)
    text = init_dataset(tmp_path).read_text()
    assert line in text
    assert [part for part in text.splitlines() if part.strip().endswith("???")] == ["  spacing: ???"]
    assert "frame:" not in text
    (tmp_path / "dataset.yaml").write_text(text.replace("spacing: ???", "spacing: [0.5, 0.25]"))
    dataset = load_dataset(tmp_path / "dataset.yaml")
    assert list(dataset.names) == names
    for case in dataset.cases:
        np.testing.assert_allclose(case.reference.points, np.array(CASES[case.id]) * [0.5, 0.25], atol=1e-9)


def test_exports_of_different_images_are_no_observers_and_those_of_the_same_are(tmp_path):
    images(tmp_path / "images")
    ids = list(CASES)
    coco(tmp_path, {case: CASES[case] for case in ids[:4]}, "train.json")
    coco(tmp_path, {case: CASES[case] for case in ids[4:]}, "val.json")
    text = init_dataset(tmp_path, tmp_path / "a.yaml").read_text()
    assert "table: train.json" in text
    assert "table: val.json" in text
    assert "observer:" not in text
    coco(tmp_path, CASES, "val.json")
    assert "observer: val" in init_dataset(tmp_path, tmp_path / "b.yaml").read_text()


@pytest.mark.parametrize("format", ["coco", "labelme", "tps", "wide"])
def test_what_convert_writes_is_a_data_set(tmp_path, format):
    """The files go back into the program that people came from, and from there into a description again."""
    images(tmp_path / "images")
    coco(tmp_path)
    ending = {"coco": ".json", "labelme": "/", "tps": ".tps", "wide": ".csv"}[format]
    target = f"{tmp_path}/again{ending}"
    convert(tmp_path / "points.json", target, format=format, image=tmp_path / "images", to_frame="pixel")
    (tmp_path / "points.json").unlink()
    text = init_dataset(tmp_path).read_text().replace("spacing: ???", "spacing: [1, 1]")
    (tmp_path / "dataset.yaml").write_text(text)
    dataset = load_dataset(tmp_path / "dataset.yaml")
    assert list(dataset.names) == NAMES
    for case in dataset.cases:
        np.testing.assert_allclose(case.reference.points, CASES[case.id], atol=1e-9)


def test_the_images_that_an_export_names_are_the_cases(tmp_path):
    images(tmp_path / "images")
    coco(tmp_path, {case: CASES[case] for case in ("p2", "p5")})
    text = "name: x\ndimension: 2\nlandmarks: [sella, nasion]\nsplits: {train: '*'}\n"
    text += "images: {folder: images, pattern: '{case}.png', cases: annotations}\nannotations: [{table: points.json}]\n"
    (tmp_path / "d.yaml").write_text(text)
    assert [case.id for case in load_dataset(tmp_path / "d.yaml").cases] == ["p2", "p5"]


def test_a_landmark_file_that_cannot_be_read_is_told(tmp_path, caplog):
    """Without the line, `init` says that there are no landmarks, and nobody looks at the table."""
    folder = images(tmp_path / "set")
    rows = [f"{case}.png,1_0,20,30,12" for case in CASES]
    (folder / "points.csv").write_text("\n".join(["image,sella_x,sella_y,nasion_x,nasion_y", *rows]))
    init_dataset(folder)
    assert any("not taken" in message and "points.csv, line 2" in message for message in caplog.messages)


def test_a_table_of_the_images_in_other_words_is_told(tmp_path, caplog):
    folder = images(tmp_path / "set")
    rows = [f"{case};{n};{x};{y}" for case, xys in CASES.items() for n, (x, y) in zip(NAMES, xys, strict=True)]
    (folder / "points.csv").write_text("\n".join(["Bild;Punkt;X;Y", *rows]))
    (folder / "weather.csv").write_text("day,rain\n1,2\n")
    path = init_dataset(folder)
    (message,) = caplog.messages
    assert "names the images in its column 'Bild'" in message
    assert "Bild, Punkt, X, Y" in message
    written = path.read_text().replace("landmarks: ???", f"landmarks: {NAMES}")
    written = written.replace("spacing: ???", "spacing: [1, 1]")
    source = "[{table: points.csv, columns: {image: Bild, landmark: Punkt, x: X, y: Y}, frame: pixel}]"  # as it says
    path.write_text(written.replace("annotations: []", f"annotations: {source}"))
    (placed,) = load_dataset(path).case("p1").observers.values()
    assert placed.points.tolist() == CASES["p1"]


def test_a_table_of_other_images_is_told(tmp_path, caplog):
    folder = images(tmp_path / "set")
    rows = [f"{case}_0000,{n},1,2" for case in CASES for n in NAMES]  # an ending that the files do not have
    (folder / "points.csv").write_text("\n".join(["image,landmark,x,y", *rows]))
    init_dataset(folder)
    (message,) = caplog.messages
    assert "(p1_0000, p2_0000, p3_0000) are none of those found (p1, p2, p3)" in message


def test_folders_of_images_that_are_left_aside_are_told(tmp_path, caplog):
    """The same names in train/ and test/: only one folder can be taken, and a table of bare names fits both."""
    for part in ("train", "test"):
        (tmp_path / "set").mkdir(exist_ok=True)
        images(tmp_path / "set" / part)
    init_dataset(tmp_path / "set")
    (message,) = caplog.messages
    assert "the images in it are taken; those in train are left aside" in message

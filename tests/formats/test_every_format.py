"""What holds for every format of landmark files: it is known by its content, read, and what is written comes back."""

import json
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anatomark.core.grid import Grid
from anatomark.core.landmarks import Landmarks, State
from anatomark.errors import AnatomarkError, LandmarkFileError
from anatomark.formats.known import FORMATS, formats_table
from anatomark.formats.landmark_format import LandmarkFormat
from anatomark.formats.landmarks import frame_to_write, read_placements, write_placements
from anatomark.formats.placements import landmarks_table, table_landmarks
from anatomark.formats.recognise import FOREIGN, format_of

GRID = Grid.from_geometry((80, 120), spacing=(1, 1), unit="px")
WRITTEN = [known for known in FORMATS if known.write is not None]
DOCS = Path(__file__).parents[2] / "docs" / "formats.md"


def challenge():
    return "\n".join(f"{10 + k},{20 + k}" for k in range(19)) + "\n1\n2\n"


def as_json(value):
    return json.dumps(value)


LABEL_STUDIO = [
    {
        "data": {"image": "/data/upload/1/abcd1234-p1.png"},
        "annotations": [
            {
                "result": [
                    {
                        "type": "keypointlabels",
                        "original_width": 120,
                        "original_height": 80,
                        "image_rotation": 0,
                        "value": {"x": 25, "y": 50, "width": 0.5, "keypointlabels": ["a"]},
                    }
                ]
            }
        ],
    }
]
COCO = {
    "images": [{"id": 7, "file_name": "p1.png", "width": 120, "height": 80}],
    "annotations": [{"image_id": 7, "category_id": 3, "keypoints": [30, 40, 2, 0, 0, 0]}],
    "categories": [{"id": 3, "name": "x", "keypoints": ["a", "b"]}],
}
LABELME = {"version": "5.4", "flags": {}, "shapes": [{"label": "a", "points": [[30, 40]], "shape_type": "point"}]}
MARKUPS = {
    "markups": [
        {"type": "Fiducial", "coordinateSystem": "RAS", "controlPoints": [{"label": "a", "position": [1, 2, 3]}]}
    ]
}
FCSV = "# Markups fiducial file version = 4.11\n# CoordinateSystem = RAS\n# columns = id\n1,1,2,3,0,0,0,1,1,1,0,a,,\n"
CVAT = '<?xml version="1.0"?><annotations><version>1.1</version><image id="0" name="p1.png" width="120" height="80">'
CVAT += '<points label="a" occluded="0" points="30.00,40.00"/></image></annotations>'
CL = {"type": "Multiple points", "points": [{"name": "1", "point": [30, 40, 1]}], "version": {"major": 1, "minor": 0}}
MITK = '<?xml version="1.0"?><point_set_file><file_version>0.1</file_version><point_set><time_series><point><id>0</id>'
MITK += "<x>-1</x><y>-2</y><z>3</z></point></time_series></point_set></point_set_file>"
AMIRA = '# Avizo 3D ASCII 2.0\n\ndefine Markers 1\n\nParameters {\n NumSets 1,\n ContentType "LandmarkSet"\n}\n\n'
AMIRA += "Markers { float[3] Coordinates } @1\n\n@1\n-1 -2 3\n"
PIXEL, WORLD = [30, 40], [-1, -2, 3]
# format: (name of the file, its text, the frame to give, name of the first landmark, where it is in LPS or pixel)
EXAMPLES = {
    "mrk.json": ("x.json", as_json(MARKUPS), None, "a", WORLD),
    "fcsv": ("x.fcsv", FCSV, None, "a", WORLD),
    "coco": ("x.json", as_json(COCO), None, "a", PIXEL),
    "labelme": ("x.json", as_json(LABELME), None, "a", PIXEL),
    "label-studio": ("x.json", as_json(LABEL_STUDIO), None, "a", PIXEL),
    "cvat": ("x.xml", CVAT, None, "a", PIXEL),
    "cl-detection": ("x.json", as_json(CL), None, "1", PIXEL),
    "isbi": ("x.txt", challenge(), None, "sella", [10, 20]),
    "tps": ("x.tps", "LM=1\n30 40\nIMAGE=p1.jpg\n", None, "1", PIXEL),
    "pts": ("x.pts", "Version 1.0\n1\nS000 -1 -2 3\n", "LPS", "S000", WORLD),
    "elastix": ("x.txt", "point\n1\n-1 -2 3\n", None, "1", WORLD),
    "mitk": ("x.mps", MITK, None, "1", WORLD),
    "amira": ("x.landmarkAscii", AMIRA, "LPS", "1", WORLD),
    "slicer-csv": (
        "x.csv",
        "label,r,a,s,defined,selected,visible,locked,description\na,1,2,3,1,1,1,0,\n",
        None,
        "a",
        WORLD,
    ),
    "deeplabcut": ("x.csv", "scorer,me,me\nbodyparts,a,a\ncoords,x,y\nlabeled-data/p1.png,30,40\n", None, "a", PIXEL),
    "wide": ("x.csv", "image,a_x,a_y\np1.png,30,40\n", "pixel", "a", PIXEL),
    "csv": ("x.csv", "image,landmark,x,y\np1.png,a,30,40\n", "pixel", "a", PIXEL),
}
ELSEWHERE = {"dicom-sr"}  # tests/formats/test_dicom_sr.py makes its files

# what the formats cannot hold; the rest is drawn
ONLY_PRESENT = {"elastix"}
ONLY_2D = {"coco", "labelme", "tps"}


def save(folder, name, text):
    path = Path(folder) / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def test_every_format_is_tried():
    assert set(EXAMPLES) | ELSEWHERE == {known.name for known in FORMATS}
    assert len({known.name for known in FORMATS}) == len(FORMATS)


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_is_recognised_and_read(tmp_path, name):
    file, text, frame, landmark, where = EXAMPLES[name]
    path = save(tmp_path, file, text)
    assert format_of(path).name == name
    table = read_placements(path, frame=frame, grid_of=lambda _: GRID)
    assert table.landmark[0] == landmark
    place = table.coordinates[0] * (np.array([-1, -1, 1][: table.ndim]) if table.frame == "RAS" else 1)
    assert place.tolist() == where
    assert table.states[0] == State.PRESENT
    assert (table.frame == "pixel") == (where is PIXEL or name == "isbi")
    with pytest.raises(AnatomarkError, match="MNI"):
        read_placements(path, frame="MNI", grid_of=lambda _: GRID)


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_ending_does_not_matter_but_for_plain_tables(tmp_path, name):
    _, text, *_ = EXAMPLES[name]
    if name in ("isbi", "csv", "elastix"):
        pytest.skip("known by its ending too")
    assert format_of(save(tmp_path, "export.dat", text)).name == name


label = st.text(
    st.characters(blacklist_categories=("Cs", "Cc")) | st.sampled_from(',";#=\'"\t<>&{}[]'), min_size=1, max_size=12
).filter(lambda text: text.strip() == text and text)
odd = st.sampled_from(['LM 1, "left" Ä', "中-2", "1", "007", "a_x", "a b", "true", "-1", "x,y", "A\tB", "#1", "LM=3"])


@st.composite
def tables(draw, known: LandmarkFormat):
    """A table of one image or, where the format takes them, of some, in the frame that the format is written in."""
    frame = frame_to_write(known, draw(st.sampled_from([None, "LPS"])) if known.written_frame is None else None, "x")
    d = 2 if known.name in ONLY_2D else draw(st.sampled_from([2, 3]))
    names = draw(st.lists(label | odd, unique=True, min_size=1, max_size=6))
    images = draw(st.lists(st.sampled_from(["p1.png", "Müller 2.png", "3"]), unique=True, min_size=1, max_size=3))
    images = images if known.many_images else images[:1]
    whole = st.integers(-4000, 4000).map(lambda k: k / 8)
    number = whole if known.name == "tps" else st.floats(allow_nan=False, allow_infinity=False, width=64)
    placements = {}
    for image in images:
        states = draw(st.lists(st.sampled_from(State), min_size=len(names), max_size=len(names)))
        states = [State.PRESENT] * len(names) if known.name in ONLY_PRESENT else states
        points = [draw(st.lists(number, min_size=d, max_size=d)) for _ in names]
        unit = "px" if frame == "pixel" else "mm"
        placements[image, ""] = Landmarks(tuple(names), np.array(points), np.array(states), unit)
    return landmarks_table(placements, frame=frame)


def by_image(table, names):
    """{image: landmarks in one order}; what is not in the table is not annotated."""
    return {image: landmarks.select(names) for (image, _), landmarks in table_landmarks(table).items()}


@pytest.mark.parametrize("known", WRITTEN, ids=[known.name for known in WRITTEN])
def test_what_is_written_is_read_to_the_last_bit(known):
    @settings(max_examples=25, deadline=None)
    @given(tables(known))
    def round_trip(table):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / f"x{known.endings[0]}"
            write_placements(table, path, known, grid_of=lambda _: GRID)
            assert format_of(path) is known
            again = read_placements(path, grid_of=lambda _: GRID)
            assert [p.name for p in Path(folder).iterdir()] == [path.name]
        assert (again.frame, again.unit, again.ndim) == (table.frame, table.unit, table.ndim)
        names = list(dict.fromkeys(table.landmark.tolist()))
        assert set(again.landmark.tolist()) <= set(names)
        found, wanted = by_image(again, names), by_image(table, names)
        if known.many_images:
            assert found == {**dict.fromkeys(wanted), **found} == wanted
        else:
            assert list(found.values()) == list(wanted.values())

    round_trip()


@pytest.mark.parametrize("known", WRITTEN, ids=[known.name for known in WRITTEN])
def test_five_thousand_landmarks_in_five_seconds(tmp_path, known):
    d = 2 if known.name in ONLY_2D else 3
    names = tuple(f"landmark {k}" for k in range(5000))
    points = np.random.default_rng(0).uniform(0, 1000, (5000, d)).round(3)
    frame = frame_to_write(known, None, "x")
    marks = Landmarks.from_points(names, points, "px" if frame == "pixel" else "mm")
    table = landmarks_table({("p1.png", ""): marks}, frame=frame)
    path = tmp_path / f"x{known.endings[0]}"
    began = time.perf_counter()
    write_placements(table, path, known, grid_of=lambda _: GRID)
    again = read_placements(path, grid_of=lambda _: GRID)
    (found,) = table_landmarks(again).values()
    assert time.perf_counter() - began < 5
    assert found.names == names
    np.testing.assert_allclose(found.points, table_landmarks(table)["p1.png", ""].points, atol=1e-9, rtol=0)


@pytest.mark.parametrize("known", WRITTEN, ids=[known.name for known in WRITTEN])
def test_what_a_format_cannot_hold_is_one_line_and_leaves_no_file(tmp_path, known):
    """3D points in a 2D format, several observers or images where there is one, or a point without a place."""
    frame = frame_to_write(known, None, "x")
    marks = Landmarks.from_points(["a"], [[1, 2, 3]], "px" if frame == "pixel" else "mm")
    several = landmarks_table({("p1.png", "anna"): marks, ("p1.png", "ben"): marks}, frame=frame)
    path = tmp_path / f"x{known.endings[0]}"
    if known.name in ("csv", "wide"):
        write_placements(several, path, known, grid_of=lambda _: GRID)
        assert set(read_placements(path).observer.tolist()) == {"anna", "ben"}
        return
    with pytest.raises(LandmarkFileError) as told:
        write_placements(several, path, known, grid_of=lambda _: GRID)
    assert "\n" not in str(told.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", EXAMPLES)
def test_damaged_files_are_one_line(tmp_path, name):
    """Cut short, with bytes changed, with lines doubled: read, or refused in a line, never anything else."""
    file, text, frame, *_ = EXAMPLES[name]
    rng = np.random.default_rng(sum(name.encode()))
    content, told = text.encode(), set()
    for _ in range(60):
        changed = bytearray(content)
        for _ in range(rng.integers(1, 4)):
            at = int(rng.integers(len(changed)))
            kind = rng.integers(4)
            if kind == 0:
                changed[at] = rng.integers(256)
            elif kind == 1:
                del changed[at : at + int(rng.integers(1, 12))]
            elif kind == 2:
                changed[at:at] = rng.choice(
                    [b"[", b"{", b"null", b"-1", b'"', b"1e999", b",", b"\n", b"NaN", b"<a>", b"\xff"]
                )
            else:
                changed = changed[:at]
            if not changed:
                changed = bytearray(b" ")
        path = save(tmp_path, file, bytes(changed))
        try:
            read_placements(path, frame=frame, grid_of=lambda _: GRID)
        except AnatomarkError as error:
            told.add(str(error))
    assert told
    assert not any("\n" in line for line in told)


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("x.fcsv", "# Fiducial List file F.fcsv\n# version = 2\nLE,31.5,71.25,0.5,1,1\n", "fiducial list of Slicer 3"),
        ("x.json", '{"_via_settings": {}, "_via_img_metadata": {}}', "VGG Image Annotator"),
        ("x.csv", "filename,file_size,file_attributes,region_count,region_id,region_shape_attributes\n", "VGG Image"),
        ("x.txt", '(Transform "EulerTransform")\n(NumberOfParameters 6)\n', "parameter file of elastix"),
        ("x.mrml", '<MRML  version="Slicer5"></MRML>', "scene of Slicer"),
        ("x.txt", "<shapes type=list>\n", "StereoMorph"),
        ("x.roi", "Iout\0\xe3\n\0", "region of ImageJ"),
        ("x.am", "# AmiraMesh BINARY-LITTLE-ENDIAN 2.1\n", "binary|Amira"),
        ("x.xml", "<annotation><object><name>a</name></object></annotation>", "Pascal VOC"),
        ("x.json", '{"a": 1}', "no known format; known are .*COCO.*labelme.*TPS"),
        ("x.xyz", "hello", "no known format"),
        ("x.json", "", "is empty"),
        ("x.json", '[{"image_id": 1, "category_id": 1, "keypoints": [1, 2, 0.9], "score": 1}]', "list of COCO results"),
        ("x.json", '{"images": [], "annotations": [{"image_id": 1, "bbox": [1, 2, 3, 4]}]}', "COCO without keypoints"),
        ("x.xml", "<annotations><track id='0' label='a'></track></annotations>", "CVAT for video"),
    ],
)
def test_what_is_not_read_is_named(tmp_path, name, text, told):
    with pytest.raises(LandmarkFileError, match=told) as error:
        read_placements(save(tmp_path, name, text), frame="pixel")
    assert "\n" not in str(error.value)


def test_no_example_is_taken_for_a_foreign_file(tmp_path):
    from anatomark.formats.recognise import head_of

    for file, text, *_ in EXAMPLES.values():
        head = head_of(save(tmp_path, file, text))
        assert not any(recognises(head) for recognises, _ in FOREIGN)


def test_the_table_in_the_documentation_is_that_of_the_registry():
    assert formats_table() in DOCS.read_text(encoding="utf-8")

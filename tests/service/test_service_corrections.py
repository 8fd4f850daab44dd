"""Corrections that come back are kept for good, and a dataset.yaml reads the newest."""

import json

import numpy as np
import pytest

from anatomark import load_dataset, read_landmarks
from anatomark.core.landmarks import State
from tests.service.running import detail

WHO = {"model": "deep", "reviewer": "anna"}


def slicer_markups(names, points, statuses=None, system="LPS"):
    """A .mrk.json as Slicer 5 saves it, with what we do not read."""
    points = [
        {"id": str(k), "label": name, "description": "presence 0.98", "associatedNodeID": "vtkMRMLScalarVolumeNode1",
         "position": point, "orientation": [-1.0, 0.0, 0.0, 0.0, -1.0, 0.0, 0.0, 0.0, 1.0], "selected": True,
         "locked": False, "visibility": True, "positionStatus": status}
        for k, (name, point, status) in enumerate(
            zip(names, points, statuses or ["defined"] * len(names), strict=True), 1
        )
    ]  # fmt: skip
    return {
        "@schema": "https://raw.githubusercontent.com/Slicer/Slicer/main/Modules/Loadable/Markups/Resources/Schema/"
        "markups-schema-v1.0.3.json#",
        "markups": [
            {"type": "Fiducial", "coordinateSystem": system, "coordinateUnits": "mm", "locked": False,
             "fixedNumberOfControlPoints": False, "labelFormat": "%N-%d", "lastUsedControlPointNumber": len(points),
             "controlPoints": points, "measurements": [], "display": {"visibility": True}}
        ],
    }  # fmt: skip


def send(service, markups, **query):
    return service.client.post("/v1/corrections", json=markups, params=WHO | query)


@pytest.fixture
def names(made):
    return load_dataset(made / "ph3" / "dataset.yaml").names


def test_a_correction_is_kept_and_read_by_a_data_set(service, made, names):
    points = np.random.default_rng(0).uniform(-50, 50, (5, 3)).round(3)
    statuses = ["defined", "defined", "missing", "undefined", "defined"]
    answer = send(service, slicer_markups(names, points.tolist(), statuses), case="case_003")
    assert answer.status_code == 201, answer.text
    told = answer.json()
    assert (told["present"], told["absent"], told["not_annotated"]) == (3, 1, 1)
    assert told["newest"] == "anna/case_003.mrk.json"
    description = (made / "ph3" / "dataset.yaml").read_text()
    described = description.replace(
        "annotations: {table: landmarks.csv}",
        "annotations: [{table: landmarks.csv, observer: first}, "
        f"{{files: '{made}/corrections/anna/{{case}}.mrk.json', observer: anna}}]\nreference: anna",
    )
    assert described != description
    (made / "ph3" / "corrected.yaml").write_text(described)
    dataset = load_dataset(made / "ph3" / "corrected.yaml")
    (case,) = [case for case in dataset.cases if case.id == "case_003"]
    read = case.reference
    assert read.states.tolist() == [State.PRESENT, State.PRESENT, State.ABSENT, State.NOT_ANNOTATED, State.PRESENT]
    assert np.allclose(read.points[read.present], points[read.present], rtol=0, atol=1e-9)


def test_a_newer_one_never_takes_the_place_of_an_older_one(service, made, names):
    folder = made / "corrections"
    versions = []
    for k in range(4):
        answer = send(service, slicer_markups(names, [[k, 0.0, 0.0]] * 5), case="case_004")
        assert answer.status_code == 201
        versions.append(answer.json()["version"])
    assert len(set(versions)) == 4
    for k, version in enumerate(versions):
        assert read_landmarks(folder / version).points[0].tolist() == [k, 0, 0]
        about = json.loads((folder / version).read_text())["markups"][0]["anatomark"]
        assert (about["reviewer"], about["case"], about["model"]) == ("anna", "case_004", "deep")
        assert about["time"].startswith("20")
        assert about["time"].endswith("+00:00")
    assert read_landmarks(folder / "anna" / "case_004.mrk.json").points[0].tolist() == [3, 0, 0]
    assert sorted(p.name for p in (folder / "anna").iterdir() if p.name.startswith(".")) == []


def test_reviewers_do_not_meet(service, made, names):
    for k, reviewer in enumerate(("ben", "cleo")):
        assert send(service, slicer_markups(names, [[k, 0, 0]] * 5), case="c", reviewer=reviewer).status_code == 201
    folder = made / "corrections"
    assert [read_landmarks(folder / who / "c.mrk.json").points[0, 0] for who in ("ben", "cleo")] == [0, 1]


def test_ras_markups_are_turned(service, made, names):
    markups = slicer_markups(names, [[1.0, 2.0, 3.0]] * 5, system="RAS")
    told = send(service, markups, case="ras").json()
    assert read_landmarks(made / "corrections" / told["newest"]).points[0].tolist() == [-1, -2, 3]


def test_points_of_a_picture_lose_their_z(service, made):
    names = load_dataset(made / "ph2" / "dataset.yaml").names
    told = send(service, slicer_markups(names, [[10.0, 20.0, 0.0]] * 5), case="p", model="flat").json()
    landmarks = read_landmarks(made / "corrections" / told["newest"])
    assert (landmarks.ndim, landmarks.unit) == (2, "mm")
    assert landmarks.points[0].tolist() == [10, 20]


def test_some_landmarks_are_enough(service, made, names):
    told = send(service, slicer_markups(names[:2], [[1.0, 2.0, 3.0]] * 2), case="some").json()
    assert (told["present"], told["not_annotated"]) == (2, 3)


WRONG = [
    ({"markups": []}, "no point list"),
    ({}, "no Slicer markups"),
    ([], "no Slicer markups"),
    ("text", "no Slicer markups"),
    (slicer_markups(["strange"], [[1, 2, 3]]), "unknown landmarks: strange"),
    (slicer_markups(["m01", "m01"], [[1, 2, 3]] * 2), "duplicate landmarks: m01"),
    (slicer_markups(["m01"], [[1, 2, 3]], ["undefined"]), "no placed landmark"),
    (slicer_markups(["m01"], [[1, 2]]), "expected three numbers"),
    (slicer_markups(["m01"], [["1", 2, 3]]), "expected three numbers"),
    (slicer_markups(["m01"], [[1, 2, 3]], system="XYZ"), "coordinate system"),
]


@pytest.mark.parametrize(("markups", "told"), WRONG)
def test_what_are_no_landmarks_of_the_model_is_refused(service, made, markups, told):
    assert told in detail(send(service, markups, case="wrong"), 422)
    assert not (made / "corrections" / "anna" / "wrong.mrk.json").exists()


@pytest.mark.parametrize("body", [b"{", b"\xff", b"[" * 200_000, b"NaN", b""])
def test_bodies_that_are_no_json_are_refused(service, body):
    headers = {"content-type": "application/json"}
    answer = service.client.post("/v1/corrections", content=body, headers=headers, params=WHO | {"case": "wrong"})
    assert "markups" in detail(answer, 422)


@pytest.mark.parametrize("name", ["", "..", ".", "../x", "a/b", "a\\b", ".hidden", "x" * 65, "é", "a b", "a\n"])
@pytest.mark.parametrize("which", ["case", "reviewer"])
def test_names_that_are_no_names_are_refused(service, made, names, which, name):
    before = sorted((made / "corrections").rglob("*"))
    answer = send(service, slicer_markups(names, [[1, 2, 3]] * 5), **{"case": "c", which: name})
    assert which in detail(answer, 422)
    assert sorted((made / "corrections").rglob("*")) == before


def test_another_kind_of_body_is_refused(service):
    answer = service.client.post(
        "/v1/corrections", content=b"x", headers={"content-type": "text/plain"}, params=WHO | {"case": "c"}
    )
    detail(answer, 415)


def test_without_a_folder_none_are_taken(made, start):
    service = start(made / "deep")
    detail(send(service, slicer_markups(["m01"], [[1, 2, 3]]), case="c"), 404)
    assert "/v1/corrections" not in service.client.get("/openapi.json").json()["paths"]

"""What the server answers, asked as the page asks: the study, cases, images, changes, and refusals in one line."""

import json
import shlex
from dataclasses import replace

import numpy as np
import pytest

from anatomark.core.landmarks import State
from anatomark.data.description import load_dataset
from anatomark.formats.table import read_table
from anatomark.review.api import ReviewApi
from anatomark.review.app import PAGE, make_app
from anatomark.review.assistant import Assistant
from anatomark.review.record import Record
from anatomark.review.serve import adapt_command
from anatomark.review.study import open_study
from anatomark.web.access import decide_access
from tests.review.made import Client, made_set, without_annotations, without_bounds

TOKEN = "a-token-for-the-tests"


class Opened:
    """The app over a study, with a client that may ask."""

    def __init__(self, folder, ndim=3, bare=False, assistant=None, **given):
        self.described, predictions = made_set(folder, ndim, shape=(20, 26, 24)[3 - ndim :], **given)
        self.truth = load_dataset(self.described).cases[0].reference
        if bare:
            without_annotations(self.described)
        self.study = open_study(self.described, reviewer="anna", predictions=predictions)
        about = self.study.dataset
        self.record = Record(
            self.study.folder, "anna", dataset=about.name, order=about.names, ndim=about.ndim, unit=about.unit
        )
        helper = None if assistant is None else Assistant(assistant, self.study.cases, about.names)
        self.app = make_app(ReviewApi(self.study, self.record, helper), decide_access(token=TOKEN))
        self.client = Client(self.app, TOKEN)

    def get(self, path):
        answer = self.client.get(path)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def change(self, number, **body):
        return self.client.post(f"/api/cases/{number}/changes", json=body)


@pytest.fixture(params=[2, 3], ids=["2D", "3D"])
def opened(request, tmp_path):
    made = Opened(tmp_path, request.param)
    yield made
    made.record.close()


def test_the_study_and_a_case(opened):
    study = opened.get("/api/study")
    dataset = opened.study.dataset
    assert study["landmarks"] == list(dataset.names)
    assert [line["id"] for line in study["cases"]] == [case.id for case in dataset.cases]
    letters = study["cases"][0]["states"]
    assert [letter == "p" for letter in letters] == opened.truth.present.tolist()
    case = opened.get("/api/cases/0")
    for k, mark in enumerate(case["landmarks"]):
        if opened.truth.present[k]:
            assert mark["reference"] == {"state": "present", "point": opened.truth.points[k].tolist()}
        assert mark["model"]["bound"] > 0
        assert mark["mine"] is None
    bounds = [mark["model"]["bound"] for mark in case["landmarks"] if mark["model"]["state"] == "present"]
    assert study["cases"][0]["need"] == max(bounds)


def test_an_image_without_bounds_for_being_unsuitable_is_told(tmp_path):
    described, path = made_set(tmp_path, 2, cases=3, shape=(20, 26))
    without_bounds(path, "case_001")
    study = open_study(described, reviewer="anna", predictions=path)
    record = Record(study.folder, "anna", dataset="set", order=study.dataset.names, ndim=2, unit="mm")
    lines = ReviewApi(study, record).overview()["cases"]
    assert [line["unsuitable"] for line in lines] == [False, True, False]
    assert lines[1]["need"] is None
    record.close()


def test_the_command_that_adapts_the_model_is_offered(opened, tmp_path):
    assert opened.get("/api/study")["adapt"] is None
    study = opened.study
    command = adapt_command("runs/first", study, None, None)
    words = shlex.split(command)
    assert words[:4] == ["anatomark", "calibrate", "runs/first", str(study.dataset.path)]
    assert words[words.index("--reviews") + 1] == str(study.folder)
    assert words[words.index("--out") + 1] == f"runs/first_{study.dataset.name}"
    assert adapt_command("ceph19", study, "test", "my data").endswith("--split test --root 'my data'")
    assert adapt_command("ceph19", replace(study, dataset=replace(study.dataset, path=None)), None, None) == ""
    offered = ReviewApi(study, opened.record, adapt=command).overview()["adapt"]
    assert offered == {"from": 5, "command": command}


def test_a_change_is_answered_when_it_is_in_the_file(opened):
    name, ndim = opened.study.dataset.names[1], opened.study.dataset.ndim
    point = [1.25, -2.5, 3.0][:ndim]
    answer = opened.change(0, base=0, set={name: {"state": "present", "point": point, "how": "placed"}})
    assert answer.status_code == 200
    review, line = answer.json()["review"], answer.json()["line"]
    assert review["placements"][name]["point"] == point
    assert line["states"][1] == "P"
    table = read_table(opened.record.table)
    np.testing.assert_array_equal(table.coordinates, [point])
    answer = opened.change(0, base=review["revision"], set={name: None}, note="hm")
    assert answer.json()["review"]["placements"] == {}
    assert len(read_table(opened.record.table, frame="LPS")) == 0
    assert load_dataset(opened.described).cases[0].reference == opened.truth
    assert opened.get("/api/cases/0")["review"]["note"] == "hm"


def test_a_stale_change_is_answered_with_what_there_is(opened):
    name = opened.study.dataset.names[0]
    first = opened.change(0, base=0, set={name: {"state": "absent"}}).json()
    answer = opened.change(0, base=0, set={name: {"state": "not annotated"}})
    assert answer.status_code == 409
    assert answer.json()["review"] == first["review"]
    assert "changed in another window" in answer.json()["detail"]


def test_the_corrections_become_the_reference(opened):
    name = opened.study.dataset.names[0]
    ndim = opened.study.dataset.ndim
    opened.change(1, base=0, set={name: {"state": "present", "point": [5.0, 6.0, 7.0][:ndim]}})
    reference = load_dataset(opened.described).cases[1].reference
    np.testing.assert_array_equal(reference[name], [5.0, 6.0, 7.0][:ndim])
    # opened anew by the same reviewer, the reference beside the review is the one before
    again = open_study(opened.described, reviewer="anna").cases[1].reference
    assert again.states[0] == opened.study.cases[1].reference.states[0]
    other = open_study(opened.described, reviewer="ben").cases[1].reference
    np.testing.assert_array_equal(other[name], [5.0, 6.0, 7.0][:ndim])


WRONG = {
    "a landmark there is not": {"base": 0, "set": {"nobody": {"state": "absent"}}},
    "no state": {"base": 0, "set": {"NAME": {"point": [1, 2, 3]}}},
    "a state there is not": {"base": 0, "set": {"NAME": {"state": "lost"}}},
    "a present one without a point": {"base": 0, "set": {"NAME": {"state": "present", "point": []}}},
    "an absent one with a point": {"base": 0, "set": {"NAME": {"state": "absent", "point": [1, 2, 3]}}},
    "too many coordinates": {"base": 0, "set": {"NAME": {"state": "present", "point": [1, 2, 3, 4]}}},
    "words for numbers": {"base": 0, "set": {"NAME": {"state": "present", "point": ["1", "2", "3"]}}},
    "no base": {"set": {}},
    "a key there is not": {"base": 0, "overwrite": True},
    "a list": [],
}


@pytest.mark.parametrize("what", WRONG)
def test_what_is_no_change_is_one_line_and_changes_nothing(opened, what):
    body = WRONG[what]
    if isinstance(body, dict) and "NAME" in body.get("set", {}):
        body = {"base": 0, "set": {opened.study.dataset.names[0]: body["set"]["NAME"]}}
    answer = opened.client.post("/api/cases/0/changes", json=body)
    assert answer.status_code == 422
    assert "\n" not in answer.json()["detail"]
    assert not opened.record.table.exists()


def test_infinity_is_no_coordinate(opened):
    name = opened.study.dataset.names[0]
    text = json.dumps({"base": 0, "set": {name: {"state": "present", "point": ["BIG", 2, 3]}}}).replace(
        '"BIG"', "1e999"
    )
    answer = opened.client.post("/api/cases/0/changes", content=text, headers={"content-type": "application/json"})
    assert answer.status_code == 422


def test_nothing_beyond_the_cases(opened):
    for path in ("/api/cases/99", "/api/cases/-1", "/api/cases/99/image.nii"):
        assert opened.client.get(path).status_code == 404
    for path in ("/nothing", "/../app.py", "/..%2fapp.py", "/%2e%2e/app.py", "/vendor/niivue"):
        assert opened.client.get(path).status_code in (404, 405)
    assert opened.client.get("/api/cases/x").status_code == 422
    assert opened.client.post("/api/cases/0/prediction").status_code == 422  # no model was given


def test_only_who_has_the_token_and_the_own_page_may(opened):
    stranger = Client(opened.app)
    assert stranger.get("/api/study").status_code == 401
    assert stranger.get("/").status_code == 401
    assert stranger.get(f"/?token={TOKEN}").status_code == 200  # and from there on by its cookie
    assert stranger.get("/api/study").status_code == 200
    body = {"base": 0, "note": "x"}
    foreign = {"origin": "http://evil.example"}
    assert opened.client.post("/api/cases/0/changes", json=body, headers=foreign).status_code == 403
    assert opened.client.get("/api/study", headers={"host": "evil.example"}).status_code == 403


def test_the_page_has_a_policy_and_all_its_files(opened):
    answer = opened.client.get("/")
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert "http" not in answer.headers["content-security-policy"]
    for path in sorted(PAGE.rglob("*.js")):
        got = opened.client.get("/" + path.relative_to(PAGE).as_posix())
        assert got.headers["content-type"].startswith("text/javascript")
    for path in ("style.css", "icon.svg", "vendor/niivue/LICENSE", "vendor/niivue/VERSION"):
        assert opened.client.get("/" + path).status_code == 200


def test_a_broken_image_is_told_and_its_landmarks_are_there(opened):
    image = opened.study.cases[2].image_path
    image.write_bytes(image.read_bytes()[:100])
    case = opened.get("/api/cases/2")
    answer = opened.client.get("/api/cases/2/image.nii")
    assert answer.status_code == 422
    assert image.name in answer.json()["detail"]
    assert len(case["landmarks"]) == len(opened.study.dataset.names)


def test_the_assistant_predicts_while_the_page_goes_on(tmp_path, run, phantoms):
    from anatomark.loading import load

    model = load(run, device="cpu")
    study = open_study(phantoms, reviewer="anna", model=model, out=tmp_path)
    record = Record(tmp_path, "anna", dataset="x", order=model.names, ndim=model.ndim, unit="mm")
    assistant = Assistant(model, study.cases, study.dataset.names)
    api = ReviewApi(study, record, assistant)
    client = Client(make_app(api, decide_access(token=TOKEN)), TOKEN)
    assert client.get("/api/cases/3/prediction").json()["state"] == "none"
    answer = client.post("/api/cases/3/prediction")
    assert answer.status_code == 202
    while answer.json()["state"] == "waiting":
        answer = client.get("/api/cases/3/prediction")
    assert answer.json()["state"] == "done"
    wanted = model.predict(study.cases[3].read_image()).landmarks
    for mark in client.get("/api/cases/3").json()["landmarks"]:
        np.testing.assert_allclose(mark["model"]["point"], wanted[mark["name"]], atol=1e-6)
    broken = study.cases[4]
    image = broken.image_path.read_bytes()
    broken.image_path.write_bytes(image[:50])
    try:
        client.post("/api/cases/4/prediction")
        while (job := client.get("/api/cases/4/prediction").json())["state"] == "waiting":
            pass
        assert job["state"] == "failed"
        assert broken.image_path.name in job["told"]
    finally:
        broken.image_path.write_bytes(image)
    assistant.close()
    record.close()


def test_states_of_a_set_without_a_reference(tmp_path):
    opened = Opened(tmp_path, 3, bare=True)
    letters = opened.get("/api/study")["cases"][0]["states"]
    assert set(letters) <= {"m", "x"}
    name = opened.study.dataset.names[0]
    opened.change(0, base=0, set={name: {"state": "absent"}})
    assert opened.get("/api/study")["cases"][0]["states"][0] == "A"
    assert load_dataset(opened.described).cases[0].reference.states[0] == State.ABSENT
    opened.record.close()

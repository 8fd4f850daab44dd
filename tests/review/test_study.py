"""What can be reviewed, and what is refused in one line."""

import re
import shutil

import numpy as np
import pytest

from anatomark.cli.main import run as command
from anatomark.core.landmarks import State
from anatomark.data.description import load_dataset
from anatomark.errors import AnatomarkError
from anatomark.review.serve import free_socket
from anatomark.review.study import open_study
from tests.review.made import made_set


@pytest.fixture
def made(tmp_path):
    return made_set(tmp_path, 2, cases=3, landmarks=4, shape=(20, 26))


def test_a_description_with_predictions(made, tmp_path):
    described, predictions = made
    study = open_study(described, reviewer="anna", predictions=predictions)
    assert study.folder == described.parent / "annotations"
    assert [case.id for case in study.cases] == ["case_000", "case_001", "case_002"]
    assert set(study.predictions) == {"case_000", "case_001", "case_002"}
    assert open_study(described.parent, reviewer="anna").dataset.path == described
    assert open_study(described, reviewer="anna", out=tmp_path / "out").folder == tmp_path / "out"
    train = open_study(described, reviewer="anna", split="train").cases
    assert [case.split for case in train] == ["train"] * len(train)


def test_a_folder_of_images_takes_its_landmarks_from_who_says_them(made):
    described, predictions = made
    images = described.parent / "images"
    study = open_study(images, reviewer="anna", landmarks=["apex", "base"])
    assert study.dataset.names == ("apex", "base")
    assert (study.dataset.unit, study.folder) == ("px", images / "annotations")
    assert study.cases[0].reference.states.tolist() == [State.NOT_ANNOTATED] * 2
    study = open_study(images, reviewer="anna", predictions=predictions, spacing=(1.2, 1.0))
    assert study.dataset.names == load_dataset(described).names
    assert study.dataset.unit == "mm"


def test_answers_are_in_the_order_of_the_set(made, run, phantoms):
    from anatomark.loading import load
    from anatomark.review.study import CasePrediction

    model = load(run, device="cpu")
    case = load_dataset(phantoms).cases[0]
    prediction = model.predict(case.read_image())
    names = [model.names[2], "another", model.names[0]]
    answers = CasePrediction.of(prediction, names)
    np.testing.assert_array_equal(answers.points[[0, 2]], prediction.landmarks.points[[2, 0]])
    assert np.isnan(answers.points[1]).all()
    np.testing.assert_array_equal(answers.presence, [prediction.presence[2], np.nan, prediction.presence[0]])


REFUSED = {
    "nobody says which landmarks": (["IMAGES"], "is a folder of images without a list of landmarks"),
    "a landmark twice": (["IMAGES", "--landmarks", "a,b,a"], "has a duplicate landmark: 'a'"),
    "landmarks of a set": (["DATASET", "--landmarks", "a"], "lists its own landmarks"),
    "a split of a folder": (["IMAGES", "--landmarks", "a", "--split", "train"], "has no splits"),
    "a split there is not": (["DATASET", "--split", "tset"], "did you mean 'test'"),
    "no such folder": (["nowhere"], "no such file or folder"),
    "a folder without images": (["EMPTY", "--landmarks", "a"], "without images directly in it"),
    "no predictions": (["DATASET", "--predictions", "nothing.csv"], "nothing.csv cannot be read"),
    "a folder without predictions": (["DATASET", "--predictions", "EMPTY"], "holds no predictions.csv"),
    "a name that is no file's": (["DATASET", "--reviewer", "a/b"], "cannot be a file name"),
    "no model": (["DATASET", "--model", "EMPTY"], "model.json"),
    "a host that others reach": (["DATASET", "--host", "256.1.1.1", "--port", "0"], "is not an address of this"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_it_is_refused_in_one_line(made, tmp_path, capsys, monkeypatch, what):
    arguments, line = REFUSED[what]
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path)
    described, _ = made
    places = {"DATASET": described, "IMAGES": described.parent / "images", "EMPTY": tmp_path / "empty"}
    assert command(["review", *(str(places.get(a, a)) for a in arguments), "--no-browser"]) == 2
    said = capsys.readouterr().err
    assert line in said
    assert said.startswith("error: ")
    assert said.count("\n") == 1
    assert not (described.parent / "annotations").exists()  # nothing was made before it could begin


def test_without_the_extra_it_says_what_to_install(made, capsys, monkeypatch):
    from anatomark.web import server

    monkeypatch.setattr(server, "find_spec", lambda name: None if name == "uvicorn" else True)
    assert command(["review", str(made[0]), "--no-browser"]) == 2
    assert "pip install 'anatomark[server]'" in capsys.readouterr().err


def test_a_port_that_is_taken(made, capsys):
    import socket

    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert command(["review", str(made[0]), "--port", port, "--no-browser"]) == 2
    assert re.search(rf"cannot listen on 127\.0\.0\.1, port {port} .*give another --port", capsys.readouterr().err)
    with free_socket("127.0.0.1", None) as first, free_socket("127.0.0.1", None) as second:
        assert first.getsockname()[1] != second.getsockname()[1]


def test_a_review_that_is_open_elsewhere(made, capsys):
    from anatomark.review.record import Record

    described, _ = made
    record = Record(described.parent / "annotations", "anna", dataset="x", order=("p01",), ndim=2, unit="mm")
    assert command(["review", str(described), "--reviewer", "anna", "--no-browser"]) == 2
    assert "is open in another review" in capsys.readouterr().err
    record.close()


def test_a_model_of_other_landmarks_or_another_dimension(made, run, tmp_path):
    from anatomark.loading import load

    model = load(run, device="cpu")
    described = made[0]
    text = described.read_text()
    shutil.copy(described, tmp_path / "copy.yaml")
    for name in load_dataset(described).names:
        text = text.replace(name, f"other_{name}")
        table = described.parent / "landmarks.csv"
        table.write_text(table.read_text().replace(name, f"other_{name}"))
    described.write_text(text)
    with pytest.raises(AnatomarkError, match=r"has none of the landmarks|is for 3D images"):
        open_study(described, reviewer="anna", model=model)

"""What uses no network works where PyTorch is not installed; all else says in a line what is missing."""

import json
import re
import subprocess
import sys
from importlib.metadata import requires
from pathlib import Path
from types import SimpleNamespace

import pytest

from anatomark.batches import Batches
from anatomark.cohort.ledger import Asked
from anatomark.cohort.manifest import Entry
from anatomark.cohort.work import Predictor
from anatomark.data.phantoms import make_phantoms
from anatomark.errors import MissingExtraError

ROOT = Path(__file__).parents[1]
INSTALL = ROOT / "docs" / "index.md"
TRAINING = {"torch", "lightning-fabric", "safetensors", "tensorboardx"}
WORK = ("init", "check", "convert", "evaluate", "compare", "observers", "landmarks", "show", "models")


@pytest.fixture(scope="module")
def answers(tmp_path_factory):
    """{verb: (exit code, what it said)} of a call of each verb, all in one process without PyTorch."""
    folder = tmp_path_factory.mktemp("without_torch")
    data = make_phantoms(folder / "data", ndim=2, cases=12, landmarks=4, seed=1)
    table, images = data.parent / "landmarks.csv", data.parent / "images"
    image = images / "case_000.png"
    calls = {
        "init": [images, "--out", folder / "new.yaml"],
        "check": [data],
        "convert": [table, folder / "points.tsv"],
        "evaluate": [data, "--predictions", table, "--out", folder / "evaluation"],
        "compare": [data, table, folder / "points.tsv", "--out", folder / "comparison"],
        "observers": [observed_twice(data), "--out", folder / "observers"],
        "landmarks": [image, "--count", 5, "--out", folder / "proposed.csv"],
        "show": [image, table, "--spacing", "1,1", "--out", folder / "shown.png"],
        "models": [],
        "train": [data, "--out", folder / "run"],
        "predict": ["ceph19", image, "--spacing", "0.1,0.1", "--out", folder / "predicted"],
    }
    lines = "\n".join(json.dumps([verb, *map(str, rest)]) for verb, rest in calls.items())
    script = [sys.executable, str(ROOT / "tests" / "without_torch.py")]
    done = subprocess.run(script, input=lines, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=300)
    said = re.split(r"exit code (\d)\n", done.stdout)
    assert len(said) == 2 * len(calls) + 1, done.stdout
    return {verb: (int(code), text) for verb, text, code in zip(calls, said[::2], said[1::2], strict=False)}


def observed_twice(data):
    """The data set with each placement by two observers."""
    lines = (data.parent / "landmarks.csv").read_text().splitlines()
    both = [f"{lines[0]},observer", *(f"{line},{who}" for who in ("A", "B") for line in lines[1:])]
    (data.parent / "twice.csv").write_text("\n".join(both))
    described = data.parent / "twice.yaml"
    described.write_text(data.read_text().replace("table: landmarks.csv", "table: twice.csv"))
    return described


@pytest.mark.parametrize("verb", WORK)
def test_what_needs_no_network_works(answers, verb):
    assert answers[verb][0] == 0, answers[verb][1]


@pytest.mark.parametrize("verb", ["train", "predict"])
def test_all_else_says_what_to_install(answers, verb):
    code, said = answers[verb]
    assert (code, said.count("error:")) == (2, 1), said
    assert "training and prediction need " in said
    assert said.endswith("with: pip install torch lightning-fabric safetensors tensorboardX\n")


def test_the_documented_installation_is_all_but_what_trains():
    line = next(line for line in INSTALL.read_text().splitlines() if line.startswith("pip install --no-deps"))
    after = INSTALL.read_text().split(line)[1].split("```")[0]
    documented = {as_package(word) for word in after.split()} - {"pip", "install"}
    needed = {as_package(each) for each in requires("anatomark") or [] if "extra ==" not in each}
    assert documented == needed - TRAINING


def as_package(requirement):
    """The name of a package as pip compares them."""
    return re.split(r"[>=<;\[ ]", requirement)[0].lower().replace("_", "-")


def test_a_cohort_does_not_take_it_for_a_fault_of_an_image(tmp_path):
    class Model:
        def predict(self, image, **asked):
            raise ModuleNotFoundError("No module named 'torch'", name="torch")

    image = make_phantoms(tmp_path, ndim=2, cases=1, landmarks=3).parent / "images" / "case_000.png"
    predictor = object.__new__(Predictor)  # without loading a model
    predictor.order = SimpleNamespace(asked=Asked(0.9, "as-is"))
    predictor.batches = Batches(Model(), 1)
    with pytest.raises(MissingExtraError, match="need torch"):
        list(predictor.predict(0, [Entry("case_000", str(image), image.name)]))

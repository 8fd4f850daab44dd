"""Folds as tasks of a Ray cluster: the same run as one after another. Skipped without the extra `cluster`."""

import importlib.util
import os
import subprocess
import sys

import pytest

from anatomark import load_dataset, train
from anatomark.data.phantoms import make_phantoms
from anatomark.errors import MissingExtraError, SettingsError
from anatomark.training.folds_on_ray import _shares
from anatomark.training.ray_cluster import connected

with_ray = pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="needs the extra cluster")
TINY = {"max_voxels": 2000, "atlases": 2, "nearest": 1}
COMMAND = """
import sys
from anatomark import train
train(sys.argv[1], out=sys.argv[2], method="atlas", settings={"max_voxels": 2000, "atlases": 2, "nearest": 1},
      folds=2, ray="local", device="cpu", show=print)
"""


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_phantoms(tmp_path_factory.mktemp("folds_on_ray"), ndim=2, cases=12, landmarks=4, seed=2)


@with_ray
@pytest.mark.long
def test_they_are_the_folds_of_one_command(data, tmp_path):
    command = [sys.executable, "-W", "ignore", "-c", COMMAND, str(data), str(tmp_path / "on_ray")]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    assert "fold 1 of 2: trained" in done.stdout
    train(data, out=tmp_path / "alone", method="atlas", settings=TINY, folds=2, device="cpu")
    for name in ("out_of_fold.csv", "ensemble.json", "folds.json"):
        assert (tmp_path / "on_ray" / name).read_bytes() == (tmp_path / "alone" / name).read_bytes()


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({}, "trains the folds of --folds"),
        ({"folds": 2, "fold": 1}, "leave out --fold"),
        ({"folds": 2, "devices": 2}, "leave out --fold, --devices"),
    ],
)
def test_only_folds_are_trained_there(data, tmp_path, asked, words):
    with pytest.raises(SettingsError, match=words):
        train(data, out=tmp_path / "run", method="atlas", device="cpu", ray="auto", **asked)
    assert not (tmp_path / "run").exists()


def test_each_reads_the_data_set_by_itself(data, tmp_path):
    with pytest.raises(SettingsError, match=r"give the path of its dataset\.yaml"):
        train(load_dataset(data), out=tmp_path / "run", method="atlas", folds=2, ray="auto")


@pytest.mark.skipif(importlib.util.find_spec("ray") is not None, reason="the extra cluster is there")
def test_without_the_extra_a_line_names_it(data, tmp_path):
    with pytest.raises(MissingExtraError, match=r"pip install 'anatomark\[cluster\]'"):
        train(data, out=tmp_path / "run", method="atlas", folds=2, ray="auto")


def test_a_task_has_its_share_of_the_cores_and_a_gpu():
    machines = [{"Alive": True, "Resources": {"CPU": 8.0}}, {"Alive": True, "Resources": {"CPU": 4.0}}]
    machines.append({"Alive": False, "Resources": {}})
    assert _shares({"CPU": 12}, machines, 5, "auto") == {"num_cpus": 2}
    assert _shares({"CPU": 12}, machines, 2, "auto") == {"num_cpus": 4}
    assert _shares({"CPU": 12, "GPU": 2}, machines, 20, "auto") == {"num_cpus": 1, "num_gpus": 1}
    assert _shares({"CPU": 12, "GPU": 2}, machines, 5, "cpu") == {"num_cpus": 2}


def test_it_says_where_there_is_no_cluster():
    class Ray:
        def is_initialized(self):
            return False

        def init(self, **options):
            raise ConnectionError("could not find any running Ray instance")

    with pytest.raises(SettingsError, match="no cluster there"), connected(Ray(), "auto"):
        pass

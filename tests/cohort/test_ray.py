"""Actors on a Ray cluster of two: the same result, also where one is killed. Skipped without the extra `cluster`."""

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from anatomark.cohort.run import predict_cohort
from anatomark.cohort.status import cohort_status
from anatomark.errors import MissingExtraError
from tests.cohort.conftest import SMALL, parts, predict

ROOT = Path(__file__).parents[2]
COMMAND = """
import sys
from anatomark.cohort.run import predict_cohort
model, manifest, out, loader = sys.argv[1:]
options = {"workers": 2, "chunk": 4, "loader": loader, "spacing": (2.5, 3), "recursive": True}
predict_cohort(model, manifest, out=out, ray="local", **options)
"""
with_ray = pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="needs the extra cluster")


def on_two_actors(model, manifest, out):
    path = os.pathsep.join([str(ROOT), *filter(None, sys.path)])
    environment = os.environ | {"PYTHONPATH": path, "RAY_worker_niceness": "0"}  # else any other work stops the actors
    command = [sys.executable, "-W", "ignore", "-c", COMMAND, str(model), str(manifest), str(out), SMALL]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-4000:]


@with_ray
@pytest.mark.slow
def test_two_actors_give_what_one_process_gives_also_where_images_kill_them(model, pictures, tmp_path):
    predict(model, pictures, tmp_path / "whole")
    on_two_actors(model, pictures, tmp_path / "out")
    assert parts(tmp_path / "out") == parts(tmp_path / "whole")

    folder = shutil.copytree(pictures, tmp_path / "pictures")
    for name in ("once.png", "kill.png"):  # one actor dies once, for nobody's fault, and others at an image
        shutil.copy(pictures / "x1.png", folder / name)
    on_two_actors(model, folder, tmp_path / "killed")
    status = cohort_status(tmp_path / "killed")
    assert (folder / "died").exists()
    assert (status.predicted, status.failed, status.missing) == (21, 1, ())
    assert status.reasons[0][0] == "kill.png"
    assert "kill.png: the actor that predicted it ended twice" in status.reasons[0][1]


@pytest.mark.skipif(importlib.util.find_spec("ray") is not None, reason="the extra cluster is there")
def test_without_the_extra_a_line_names_it(model, pictures, tmp_path):
    with pytest.raises(MissingExtraError, match=r"needs Ray, .* pip install 'anatomark\[cluster\]'"):
        predict_cohort(model, pictures, out=tmp_path / "out", ray="auto")
    assert not (tmp_path / "out").exists()

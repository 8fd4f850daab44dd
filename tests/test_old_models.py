"""Models of earlier commits, frozen in fixtures/old_models: today's code loads them and gives the points they gave."""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from anatomark import load
from anatomark.formats.images import read_image
from anatomark.methods.prediction import Prediction

FOLDER = Path(__file__).parent / "fixtures" / "old_models"
SUMS = FOLDER / "SHA256SUMS"
OWN = ("SHA256SUMS", "README.md")  # these grow when the models of another commit join; the others never change
MODELS = sorted(path.parent.relative_to(FOLDER).as_posix() for path in FOLDER.glob("*/*/expected.json"))
POINTS_MM, PRESENCE = 1e-3, 1e-4


def listed() -> dict[str, str]:
    """{path in the folder: SHA-256} as SHA256SUMS has them."""
    lines = SUMS.read_text(encoding="utf-8").splitlines()
    return {path: digest for digest, path in (line.split("  ", 1) for line in lines)}


def found() -> dict[str, str]:
    """{path in the folder: SHA-256} of the files that there are."""
    paths = [p for p in FOLDER.rglob("*") if p.is_file() and p.name not in OWN and "__pycache__" not in p.parts]
    return {path.relative_to(FOLDER).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


def test_no_file_is_edited_added_or_lost() -> None:
    assert found() == listed(), "models of earlier commits stay as they are; make code that reads them"


def test_every_method_is_there_in_2d_and_3d_for_each_commit() -> None:
    methods = ("global-to-local", "two-stage", "heatmap", "atlas")
    commits = {name.split("/")[0] for name in MODELS}
    assert commits >= {"b19d10e", "613a859", "767c825", "6237412"}
    assert set(MODELS) >= {f"{c}/{method}-{d}d" for c in commits for method in methods for d in (2, 3)}


@pytest.fixture(scope="module")
def answers() -> dict[str, tuple[Prediction, dict[str, Any]]]:
    """What the models that were asked already say today, and what they said then."""
    return {}


@pytest.fixture(params=MODELS)
def answer(
    request: pytest.FixtureRequest, answers: dict[str, tuple[Prediction, dict[str, Any]]]
) -> tuple[Prediction, dict[str, Any]]:
    """What a model says today of the image, and what it said then."""
    name: str = request.param
    if name not in answers:
        expected = json.loads((FOLDER / name / "expected.json").read_text(encoding="utf-8"))
        image = read_image(FOLDER / expected["image"])
        answers[name] = load(FOLDER / name, device="cpu").predict(image, coverage=0.9), expected
    return answers[name]


def numbers(values: list[float | None]) -> np.ndarray[Any, np.dtype[np.float64]]:
    return np.array([np.nan if value is None else value for value in values])


def test_points_and_presence_are_those_of_the_commit(answer: tuple[Prediction, dict[str, Any]]) -> None:
    today, then = answer
    assert list(today.landmarks.names) == then["landmarks"]
    assert today.landmarks.unit == "mm"
    np.testing.assert_allclose(today.landmarks.points, then["points"], rtol=0, atol=POINTS_MM)
    np.testing.assert_allclose(today.presence, then["presence"], rtol=0, atol=PRESENCE)


def test_spread_and_bounds_are_those_of_the_commit(answer: tuple[Prediction, dict[str, Any]]) -> None:
    today, then = answer
    np.testing.assert_allclose(today.spread, numbers(then["spread"]), rtol=1e-4, atol=POINTS_MM)
    np.testing.assert_allclose(today.error_bound, numbers(then["error_bound_90"]), rtol=1e-4, atol=POINTS_MM)


def test_a_landmark_that_is_not_in_the_image_is_among_them() -> None:
    """Else presence would be compared where it says nothing."""
    expected = [json.loads((FOLDER / name / "expected.json").read_text(encoding="utf-8")) for name in MODELS]
    assert min(value for one in expected for value in one["presence"]) < 0.5

"""Presence in smaller fields of view: learned at the end of a training without any absent landmark."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from anatomark import load, load_dataset, make_phantoms, train
from anatomark.core.image import Image
from anatomark.training.calibrate import calibrate
from anatomark.training.cut_copies import COPIES, copies_of_each, number_of_copies


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A run, and its data: phantoms that lack no landmark."""
    folder = tmp_path_factory.mktemp("whole")
    data = make_phantoms(folder / "phantoms", ndim=2, cases=24, landmarks=8, absent=False, seed=3)
    settings = {"spacing": [2.0, 2.0], "steps": 200, "batch": 4, "validations": 2, "cut_fraction": 0.3}
    train(data, method="heatmap", settings=settings, out=folder / "run", device="cpu")
    return folder / "run", data


@pytest.mark.slow
def test_what_is_cut_off_is_absent_and_the_side_is_told(whole: tuple[Path, Path]) -> None:
    run, data = whole
    model, dataset = load(run, device="cpu"), load_dataset(data)
    assert model.members[0].in_view is not None
    found, kept, told = [], [], []
    for case in dataset.split("test"):
        image, reference = case.read_image().canonical(), case.reference.select(model.names).points
        assert (model.predict(image).presence >= 0.5).mean() > 0.9
        rows = image.grid.world_to_index(reference)[:, 0]
        start = int(np.quantile(rows, 0.3))
        part = Image(
            image.array[start:], image.grid.crop((start, 0), (image.array.shape[0] - start, image.array.shape[1]))
        )
        prediction = model.predict(part)
        inside = part.grid.contains(reference)
        found += (prediction.presence[~inside] < 0.5).tolist()
        kept += (prediction.presence[inside] >= 0.5).tolist()
        told.append("cut off at the top" in (prediction.warning or ""))
    assert np.mean(found) > 0.7
    assert np.mean(kept) > 0.8
    assert np.mean(told) > 0.5


@pytest.mark.slow
def test_calibrate_learns_the_same_and_a_model_without_it_keeps_its_presence(whole: tuple[Path, Path]) -> None:
    run, data = whole
    before = load(run, device="cpu").members[0].in_view
    calibrate(run, data, device="cpu")
    after = load(run, device="cpu").members[0].in_view
    assert before is not None
    assert after is not None
    np.testing.assert_allclose(
        [*after.weights, after.depth, after.bias], [*before.weights, before.depth, before.bias], 1e-3
    )


def test_the_number_of_copies_is_bounded() -> None:
    for cases in (1, 2, 10, 22, 59, 60, 1000):
        assert 1 <= copies_of_each(cases) <= 6
        assert number_of_copies(cases) <= COPIES
    assert number_of_copies(22) == 44

"""The method of `examples/monai_unet`, registered in this process: it learns, and is like any other in 2D and 3D."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from anatomark import load, load_dataset, make_phantoms, methods, train
from anatomark.data.description import Dataset
from anatomark.methods import register
from anatomark.model import Model

pytest.importorskip("monai")
SHAPE = {2: {"shape": (40, 48), "spacing": (5, 5)}, 3: {"shape": (32, 36, 30), "spacing": (7, 6, 8)}}


@pytest.fixture(autouse=True)
def known(monkeypatch: pytest.MonkeyPatch) -> None:
    from examples.monai_unet.monai_unet import MonaiUNet

    monkeypatch.setattr(methods, "_registered", {})
    register(MonaiUNet)


def trained(folder: Path, ndim: int, cases: int, **settings: Any) -> tuple[Dataset, Model]:
    data = make_phantoms(folder / "data", ndim=ndim, cases=cases, landmarks=3, absent=False, **SHAPE[ndim])
    few = {"spacing": list(SHAPE[ndim]["spacing"][::-1]), "validations": 1, "ema": 0, "augmentation": "none"}
    dataset = load_dataset(data)
    run = train(dataset, out=folder / "run", method="monai-unet", device="cpu", settings=few | settings)
    assert (run / "validation_unet.jpg").is_file()
    return dataset, load(run, device="cpu")


@pytest.mark.slow
def test_a_network_of_monai_learns(tmp_path: Path) -> None:
    dataset, model = trained(tmp_path, 2, 8, features=[8, 8, 16, 16, 16, 8], steps=60, learning_rate=5e-3)
    cases = dataset.split("train")
    reference = np.array([case.reference.points for case in cases])
    found = np.array([model.predict(case.read_image()).landmarks.points for case in cases])
    error, scatter = (np.linalg.norm(r, axis=2).mean() for r in (found - reference, reference - reference.mean(axis=0)))
    assert error < 0.5 * scatter


@pytest.mark.slow
def test_it_takes_volumes(tmp_path: Path) -> None:
    dataset, model = trained(tmp_path, 3, 5, features=[4, 4, 4, 4, 4, 4], steps=3)
    image = dataset.split("train")[0].read_image()
    found = model.predict(image)
    assert image.grid.contains(found.landmarks.points).all()
    assert found.presence.shape == (3,)

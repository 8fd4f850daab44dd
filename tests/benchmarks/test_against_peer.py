"""The other package gets the images and points that our methods get, and is scored like them."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from anatomark import load_dataset
from anatomark.data.phantoms import make_phantoms
from benchmarks.against_peer import scored_peer
from benchmarks.limited import chosen_cases


def test_points_that_come_back_right_have_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = load_dataset(make_phantoms(tmp_path / "data", ndim=2, cases=20, landmarks=4, seed=2))
    part = chosen_cases(dataset, 8, seed=0, train_split="train")
    asked: list[list[str]] = []
    off = np.zeros(2)

    def answer(command: list[str], **_: object) -> None:
        asked.append(command)
        folder = Path(command[-1])
        images = np.load(folder / "images.npz")
        count = sum(name.startswith("score_points") for name in images.files)
        points = np.stack([images[f"score_points_{k}"] for k in range(count)])
        np.savez(folder / "points.npz", points=np.nan_to_num(points) + off)

    monkeypatch.setattr(subprocess, "run", answer)
    given = {"python": sys.executable, "score": "rest", "spacing": 2.0, "minutes": 1.0, "seed": 0}
    metrics, table = scored_peer(part, tmp_path / "right", **given)
    assert metrics["overall"]["mre"] < 1e-3
    assert metrics["overall"]["n"] == sum(int(case.reference.present.sum()) for case in part.split("rest"))
    images = np.load(tmp_path / "right" / "images.npz")
    roles = {name.split("_")[0] for name in images.files}
    assert roles == {"train", "validation", "score"}
    assert sum("_values_" in name for name in images.files) == 8 + len(part.split("rest"))
    assert -0.5 < images["train_values_0"].mean() < 1.5
    off = np.array([3.0, 0.0])  # rows
    metrics, _ = scored_peer(part, tmp_path / "wrong", **given)
    assert metrics["overall"]["mre"] == pytest.approx(6.0, abs=1e-3)
    assert len(asked) == 2
    scored_peer(part, table.parent, **given)
    assert len(asked) == 2, "what is there is kept"
    assert json.loads((table.parent / "spec.json").read_text())["spacing"] == [2.0, 2.0]


def test_points_go_where_the_image_goes() -> None:
    pytest.importorskip("monai")
    from benchmarks.peer_training import changes

    change = changes(seed=3)
    image = torch.zeros(1, 80, 64)
    image[0, 28:33, 38:43] = 1
    farthest = torch.zeros(2)
    for _ in range(5):
        values, points = change(image, torch.tensor([[30.0, 40.0]]))
        mass = values[0].clamp(min=0) * (values[0] > 0.1 * values.max())
        rows = (mass.sum(1) * torch.arange(80)).sum() / mass.sum()
        columns = (mass.sum(0) * torch.arange(64)).sum() / mass.sum()
        torch.testing.assert_close(points[0], torch.stack([rows, columns]), rtol=0, atol=0.4)
        farthest = torch.maximum(farthest, (points[0] - torch.tensor([30.0, 40.0])).abs())
    assert (farthest > 1).all()

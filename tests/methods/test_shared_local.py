"""A local stage whose landmarks share one network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from anatomark import load, load_dataset, make_phantoms, train
from anatomark.core.landmarks import State
from anatomark.methods.vote_loss import vote_loss
from anatomark.nets.shared import SharedNet
from anatomark.votes import decode, patch_centers, weighted_mean


def spots(rng: np.random.Generator, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Windows (count, 2, 16, 16) that all hold a bright and a dark spot, and the places (count, 2, 2) of these."""
    places = rng.uniform(3, 12, (count, 2, 2))
    at = np.stack(np.meshgrid(np.arange(16), np.arange(16), indexing="ij"), axis=-1)
    near = np.exp(-((at - places[:, :, None, None]) ** 2).sum(axis=-1) / 4)
    image = near[:, 0] - near[:, 1] + rng.normal(0, 0.05, (count, 16, 16))
    return torch.from_numpy(np.stack([image] * 2, axis=1)).float(), torch.from_numpy(places).float()


def test_told_which_landmark_it_finds_that_one() -> None:
    """The same window holds both; only the number of the landmark tells which of them is meant."""
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    net = SharedNet(2, 2, channels=((8, 8), (16, 16)), head=16)
    states = torch.full((8, 2), State.PRESENT, dtype=torch.uint8)
    optimizer = torch.optim.Adam(net.parameters(), 5e-3)
    for _ in range(120):
        windows, places = spots(rng, 8)
        logits, encoded = net(windows)
        how = {"class_weight": 64.0, "coordinate_weight": 1.0}
        terms = vote_loss(logits, encoded, places, states, stride=[2, 2], **how)
        optimizer.zero_grad()
        sum(terms.values(), torch.zeros(())).backward()
        optimizer.step()
    windows, places = spots(rng, 20)
    with torch.inference_mode():
        logits, encoded = net.eval()(windows)
        centers = patch_centers(logits.shape[2:], (2, 2), logits.device).flatten(1)
        found, _ = weighted_mean(decode(encoded.flatten(3)) + centers, logits.sigmoid().flatten(2))
    errors = (found - places).norm(dim=-1)
    apart = (places[:, 0] - places[:, 1]).norm(dim=-1)
    assert errors.median() < 1.0
    assert apart.median() > 3.0


@pytest.mark.slow
def test_it_is_trained_in_parts_saved_and_loaded(tiny: dict[str, Any], tmp_path: Path) -> None:
    data = make_phantoms(tmp_path / "phantoms", ndim=2, cases=12, landmarks=6, absent=False, seed=2)
    few = {"global_steps": 5, "local_steps": 5, "validations": 1, "local_shared": True, "local_landmarks_per_step": 4}
    train(data, method="global-to-local", settings={**tiny, **few}, out=tmp_path / "run", device="cpu")
    model = load(tmp_path / "run", device="cpu")
    assert model.detector.network.local_shared
    image = load_dataset(data).split("test")[0].read_image()
    found = model.predict(image)
    assert np.isfinite(found.landmarks.points).all()
    kept = sum(tensor.numel() for name, tensor in model.detector.tensors().items() if name.startswith("local"))
    settings = {**tiny, **few, "local_shared": False}
    train(data, method="global-to-local", settings=settings, out=tmp_path / "apart", device="cpu")
    apart = load(tmp_path / "apart", device="cpu").detector.tensors()
    assert 0 < kept < sum(tensor.numel() for name, tensor in apart.items() if name.startswith("local"))

"""unet-votes: its plan, its windows, its votes, and which of both answers is taken."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from anatomark import votes
from anatomark.core.grid import Grid
from anatomark.core.landmarks import State
from anatomark.data.working import WorkingImage
from anatomark.errors import ModelError, SettingsError
from anatomark.methods.interface import DataFacts
from anatomark.methods.joint_choice import ShapeModel
from anatomark.methods.presence import PresenceModel
from anatomark.methods.search import found
from anatomark.methods.unet_votes import stages as subject
from anatomark.methods.unet_votes.calls import calls_of
from anatomark.methods.unet_votes.locate import search, windows_around
from anatomark.methods.unet_votes.method import UNetVotes
from anatomark.methods.unet_votes.plan import UNetVotesPlan, plan
from anatomark.methods.unet_votes.settings import UNetVotesSettings
from anatomark.methods.unet_votes.stages import STAGE, UNetVotesStages, make_network
from anatomark.methods.vote_loss import vote_loss
from anatomark.nets.vote_unet import VoteUNet, Windows, windows_of

CPU = torch.device("cpu")


def facts(shape: tuple[int, ...], spacing: tuple[float, ...], *, landmarks: int = 3, memory: int = 2**34) -> DataFacts:
    return DataFacts((Grid.from_geometry(shape, spacing=spacing),) * 4, landmarks, False, memory)


def asked(**settings: Any) -> UNetVotesSettings:
    return UNetVotesSettings(**settings)


def small(shape: tuple[int, ...], **settings: Any) -> UNetVotesPlan:
    given = asked(spacing=(1.0,) * len(shape), channels=(4, 6, 8), augmentation="none", **settings)
    return plan(given, facts(shape, (1.0,) * len(shape)))


# --- the plan ---------------------------------------------------------------------------------------------------------


def test_the_plan_of_an_x_ray() -> None:
    planned = plan(asked(), facts((2400, 1935), (0.1, 0.1), landmarks=166))
    network = planned.network
    assert max(network.crop) >= 512 > max(network.crop) - math.prod(s[0] for s in network.strides)
    assert network.stride == (2, 2)
    assert network.window == (16, 16)
    assert 16 < 512 / network.coarse_stride[0] <= 32, "patches that vote from all over the image"
    assert planned.training.local_landmarks_per_step == 48


def test_thick_slices_are_not_halved_before_they_are_as_coarse() -> None:
    network = plan(asked(), facts((20, 128, 128), (5.0, 1.0, 1.0))).network
    assert network.stride == (1, 2, 2)
    assert network.local_window == (10, 20, 20), "as many patches along each axis"


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"local_window": (31, 32)}, r"local_window \(31, 32\) must be multiples of \(2, 2\)"),
        ({"coarse_level": 9}, "coarse_level is 9, strides has"),
        ({"crop": (70, 64)}, r"crop \(70, 64\) must be multiples"),
        ({"channels": (8, 8)}, "channels has 2 levels, at least 3"),
        ({"channels": (8, 8, 8), "strides": ((2, 2),) * 4}, "channels has 3 levels, strides has 4"),
        ({"local_window": (32,), "pool": (2, 2)}, r"local_window has 1 entries, .*; pool is \(2, 2\)"),
    ],
)
def test_settings_that_do_not_fit(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        plan(asked(**settings), facts((256, 256), (1.0, 1.0)))


def test_a_crop_that_no_memory_holds() -> None:
    with pytest.raises(SettingsError, match=r"one training example needs about .* GiB"):
        plan(asked(crop=(256, 256)), facts((256, 256), (1.0, 1.0), memory=2**20))


# --- windows ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(9, 7), (6, 5, 8)])
def test_windows_are_the_features_at_their_places(shape: tuple[int, ...]) -> None:
    d, rng = len(shape), np.random.default_rng(0)
    features = torch.from_numpy(rng.standard_normal((2, 3, *shape)))
    size = (4, 3, 2)[:d]
    first = [rng.integers(0, n - w + 1, (2, 5)) for n, w in zip(shape, size, strict=True)]
    corners = torch.from_numpy(np.stack(first, -1))
    seen = windows_of(features, corners, size)
    for image in range(2):
        for k in range(5):
            at = tuple(slice(int(c), int(c) + w) for c, w in zip(corners[image, k], size, strict=True))
            expected = features[(image, slice(None), *at)].flatten(1).T
            torch.testing.assert_close(seen[image, k], expected)


def test_windows_lie_around_their_middles_and_inside() -> None:
    network = small((64, 48), local_window=(16, 16)).network
    middles = torch.tensor([[[31.5, 23.5], [0.0, 0.0], [63.0, 47.0], [math.nan, 900.0]]])
    windows = windows_around(middles, middles, torch.arange(4), network, (32, 24))
    assert windows.corners[0].tolist() == [[12, 8], [0, 0], [24, 16], [0, 16]]
    torch.testing.assert_close(windows.expected[0, 0], torch.tensor([15.5, 11.5]))
    larger = windows_around(middles, middles, torch.arange(4), network, (6, 24))
    assert (larger.corners[..., 0] == 0).all(), "a window that is larger than the image begins with it"


def test_training_windows_hold_their_landmark_wherever_the_global_votes_are(monkeypatch: pytest.MonkeyPatch) -> None:
    planned = small((64, 48), local_window=(16, 16))
    staged, rng = UNetVotesStages(planned), np.random.default_rng(1)
    points = torch.from_numpy(rng.uniform(0, (64, 48), (2, 3, 2))).float()
    seen: list[Windows] = []
    batch = {
        "values": torch.zeros(2, 1, *planned.network.crop),
        "points": points,
        "states": torch.tensor([[State.PRESENT] * 3, [State.PRESENT, State.PRESENT, State.ABSENT]]),
        "chosen": torch.arange(3),
        "offset": torch.full((2, 3, 2), 0.4),
        "anywhere": torch.tensor([[False, True, False]] * 2),
    }
    monkeypatch.setattr(subject, "_found", lambda cast_votes, stride: torch.full((2, 3, 2), 500.0))
    network = make_network(planned.network)
    closely = network.look_closely

    def look_closely(features: torch.Tensor, windows: Windows) -> Any:
        seen.append(windows)
        return closely(features, windows)

    monkeypatch.setattr(network, "look_closely", look_closely)
    terms = staged.loss("votes", network, batch)
    inside = points / 2 - seen[0].corners
    held = ((inside > -0.5) & (inside < 8.5)).all(-1)
    assert held[batch["states"] == State.PRESENT].all()
    names = ("displacement", "class", "coordinate")
    assert set(terms) == {*names, *(f"local_{name}" for name in names)}
    torch.stack(list(terms.values())).sum().backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in network.parameters())


# --- votes ------------------------------------------------------------------------------------------------------------


def test_patches_near_the_global_answer_are_likelier() -> None:
    network = make_network(small((64, 48), local_window=(16, 16)).network).eval()
    windows = Windows(torch.arange(3), torch.tensor([[[4, 4]] * 3]), torch.tensor([[[6.0, 7.0]] * 3]))
    with torch.no_grad():
        network.near_presence.zero_()
        logits = network.look_closely(torch.zeros(1, 4, 32, 24), windows).logits[0]
        network.near_precision.fill_(0.5)
        narrow = network.look_closely(torch.zeros(1, 4, 32, 24), windows).logits[0]
    assert logits.shape == (3, 8, 8)
    assert (logits.flatten(1).argmax(1) == 2 * 8 + 3).all()
    assert (narrow[:, 7, 7] - narrow[:, 2, 3] < logits[:, 7, 7] - logits[:, 2, 3]).all()


def test_soft_classes_and_displacements_within_reach() -> None:
    points = torch.tensor([[[8.0, 5.5]]])
    logits, encoded = torch.zeros(1, 1, 10, 10, requires_grad=True), torch.zeros(1, 1, 2, 10, 10, requires_grad=True)
    terms = vote_loss(
        logits,
        encoded,
        points,
        torch.tensor([[State.PRESENT]]),
        stride=(2, 2),
        class_weight=1.0,
        coordinate_weight=0.0,
        sigma=0.7,
        reach=2.0,
    )
    torch.stack(list(terms.values())).sum().backward()
    assert logits.grad is not None
    assert encoded.grad is not None
    target = 0.5 - 100 * logits.grad[0, 0]  # of sigmoid(0) - target, a mean over 100 patches
    at = torch.arange(10.0) * 2 + 0.5
    off = ((at[:, None] - 8.0) / 2 / 0.7) ** 2 + ((at[None] - 5.5) / 2 / 0.7) ** 2
    torch.testing.assert_close(target, torch.exp(-off / 2), rtol=1e-4, atol=1e-5)
    near = ((at[:, None] - 8.0).abs() < 4) & ((at[None] - 5.5).abs() < 4)
    assert ((encoded.grad[0, 0] != 0).any(0) <= near).all()
    assert (encoded.grad[0, 0] != 0).any()


def test_a_window_without_a_landmark_keeps_the_global_answer() -> None:
    planned = small((64, 48), local_window=(16, 16))
    network = make_network(planned.network).eval()
    array = np.random.default_rng(0).integers(0, 255, (64, 48)).astype(np.float32)
    grid = Grid.from_geometry((64, 48), spacing=(1.0, 1.0))
    image = WorkingImage(array, grid, array, grid, (0.0, 255.0))
    with torch.no_grad():
        network.near_presence_bias.fill_(-30.0)
    first, second = found(search(planned.network, None, image, CPU), calls_of(network))
    np.testing.assert_array_equal(second.points_world, first.points_world)
    assert (second.mass < 0.01).all()
    with torch.no_grad():
        network.near_presence_bias.fill_(0.0)
    _, moved = found(search(planned.network, None, image, CPU), calls_of(network))
    assert (moved.points_world != first.points_world).any()


def test_crops_of_a_large_image_are_answered_in_its_own_place() -> None:
    planned = small((64, 48), local_window=(16, 16))
    network: VoteUNet = make_network(planned.network).eval()
    config = planned.network.model_copy(update={"crop": (32, 32)})
    array = np.random.default_rng(0).integers(0, 255, (64, 48)).astype(np.float32)
    grid = Grid.from_geometry((64, 48), spacing=(1.0, 1.0))
    far = replace(grid, affine=grid.affine + np.array([[0, 0, 100.0], [0, 0, 50.0], [0, 0, 0]]))
    near_by, far_off = (
        found(search(config, None, WorkingImage(array, at, array, at, (0.0, 255.0)), CPU), calls_of(network))[-1]
        for at in (grid, far)
    )
    np.testing.assert_allclose(far_off.points_world - near_by.points_world, [[100.0, 50.0]] * 3, atol=1e-6)


def test_the_shape_is_kept_beside_the_network() -> None:
    planned = small((64, 48))
    shapes = np.random.default_rng(0).normal(0, 2, (12, 6, 2)) + np.random.default_rng(1).uniform(0, 50, (6, 2))
    config = planned.network.model_copy(update={"landmarks": 6})
    alone = UNetVotes(config, {STAGE: make_network(config)}, PresenceModel.unfitted(2))
    together = replace(alone, shape=ShapeModel.learned(shapes))
    for detector in (alone, together):  # the first as models from before there was a joint choice
        loaded = UNetVotes.load(config, detector.tensors(), alone.presence, device=CPU, source="x")
        assert loaded.tensors().keys() == detector.tensors().keys()
    assert together.tensors().keys() - alone.tensors().keys() == {
        f"shape.{name}" for name in ("mean", "axes", "noise", "size")
    }
    foreign = {**together.tensors(), "shape.mean": torch.zeros(3, 2)}
    with pytest.raises(ModelError, match="x: a typical shape of other landmarks"):
        UNetVotes.load(config, foreign, alone.presence, device=CPU, source="x")


def test_a_landmark_that_fits_nowhere_is_looked_for_where_the_others_expect_it() -> None:
    """Six landmarks whose global votes all lie in their places, but that of one, which lies in another's."""
    grid = Grid.from_geometry((64, 64), spacing=(1.0, 1.0))
    points = np.array([[8.0, 8.0], [56.0, 8.0], [8.0, 56.0], [56.0, 56.0], [32.0, 20.0], [32.0, 44.0]])
    rng = np.random.default_rng(0)
    shape = ShapeModel.learned(points + rng.normal(0, 1, (20, 6, 2)))
    planned = small((64, 64), local_window=(16, 16))
    config = planned.network.model_copy(update={"landmarks": 6})
    network = make_network(config).eval()
    stride = config.coarse_stride
    patches = [n // s for n, s in zip(grid.shape, stride, strict=True)]
    seen = points.copy()
    seen[5] = points[0]
    logits = torch.full((1, 6, *patches), -12.0)
    encoded = torch.zeros(1, 6, 2, *patches)
    for k, point in enumerate(grid.world_to_index(seen)):
        at = votes.patch_index(torch.tensor(point), stride)
        logits[(0, k, *at.tolist())] = 6.0
        middle = at * torch.tensor(stride) + (torch.tensor(stride) - 1) / 2
        encoded[(0, k, slice(None), *at.tolist())] = votes.encode(torch.tensor(point).float() - middle)
    calls = {**calls_of(network)}
    own = calls["global"]
    calls["global"] = lambda values: (logits, encoded, *own(values)[2:])
    with torch.no_grad():
        network.near_presence_bias.fill_(-30.0)  # close looks find nothing, and leave the answers before them
    array = rng.integers(0, 255, grid.shape).astype(np.float32)
    image = WorkingImage(array, grid, array, grid, (0.0, 255.0))
    alone, _ = found(search(config, None, image, CPU), calls)
    first, last = found(search(config, shape, image, CPU), calls)
    assert np.linalg.norm(alone.points_world[5] - points[5]) > 40
    assert (np.linalg.norm(first.points_world - points, axis=1) < 6).all()
    np.testing.assert_allclose(last.points_world, first.points_world, atol=6)

"""The close look of two-stage: windows of finer features around voted points."""

from typing import Any

import numpy as np
import pytest
import torch

from anatomark import Grid, State, votes
from anatomark.data.cache import CachedCase
from anatomark.data.working import WorkingImage
from anatomark.methods.two_stage.joint import JointNet
from anatomark.methods.two_stage.look import CloseLook, Seen, cut_out
from anatomark.methods.two_stage.method import TwoStage
from anatomark.methods.two_stage.settings import TwoStageSettings
from anatomark.nets.ladder import LadderNet

CPU = torch.device("cpu")
IMAGE = {2: (40, 56), 3: (24, 32, 16)}
WINDOW = {2: (16, 24), 3: (8, 16, 8)}  # unequal along the axes, so that no transposition goes unnoticed


def ladder(ndim: int) -> LadderNet:
    torch.manual_seed(0)
    net = LadderNet(ndim, 3, channels=((4, 4), (5,), (6, 6)), context=(2,), hidden=(8,))
    net.train()
    for _ in range(5):
        net(torch.randn(2, 1, *(net.patch + 8,) * ndim))
    return net.eval()


def look_of(patches: LadderNet, level: int) -> CloseLook:
    look = CloseLook(patches, level=level, window=WINDOW[patches.ndim], channels=((4,), (6,)), prior=0.1)
    for parameter in look.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return look.eval()


def image_of(patches: LadderNet, batch: int = 2) -> torch.Tensor:
    size = [n + 2 * patches.margin for n in IMAGE[patches.ndim]]
    return torch.rand((batch, 1, *size), generator=torch.Generator().manual_seed(1))


def places(ndim: int, batch: int = 2) -> torch.Tensor:
    """Inside, at a corner and outside of the image."""
    size = torch.tensor(IMAGE[ndim])
    return torch.stack([size * 0.43, torch.zeros(ndim), size + 9.0]).float().expand(batch, 3, ndim)


@pytest.mark.parametrize("level", [0, 1])
@pytest.mark.parametrize("ndim", [2, 3])
def test_looks_at_the_image_are_looks_at_the_features_of_the_whole(ndim: int, level: int) -> None:
    patches = ladder(ndim)
    look, image, points = look_of(patches, level), image_of(patches), places(ndim)
    with torch.no_grad():
        whole = look(patches.level_features(image, level), points, patches.margin)
        parts = look.at_image(patches, image, points)
    assert whole.logits.std() > 1e-3
    for a, b in zip(whole, parts, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("level", [0, 1])
@pytest.mark.parametrize("ndim", [2, 3])
def test_the_first_element_of_a_window_is_where_it_is_said_to_be(ndim: int, level: int) -> None:
    """A feature depends on the elements around the place that the window's `first` gives it, and on no others."""
    patches = ladder(ndim)
    look, image, points = look_of(patches, level), image_of(patches, batch=1), places(ndim, batch=1)
    with torch.no_grad():
        features = patches.level_features(image, level)
        first = look.first_features(points, features.shape[2:], patches.margin)
        said = look(features, points, patches.margin).first[0, 0]
        changed = image.clone()
        changed[(0, 0, *(said.int() + patches.margin).tolist())] += 5
        before, after = (
            cut_out(f, first, look.window)[0, 0] for f in (features, patches.level_features(changed, level))
        )
    moved = (before - after).abs().sum(0)
    assert moved[(0,) * ndim] > 0
    assert moved[tuple(slice(-2, None) for _ in range(ndim))].sum() == 0


def test_features_of_a_level_lead_to_those_of_the_whole() -> None:
    patches = ladder(2)
    image = image_of(patches)
    with torch.no_grad():
        for level in (0, 1, 2):
            finer = patches.level_features(image, level)
            assert finer.shape[1] == patches.width_of(level)
            torch.testing.assert_close(patches.features_after(finer, level), patches.features(image))


def test_windows_stay_in_the_image_and_small_images_are_filled_up() -> None:
    patches = ladder(2)
    look = look_of(patches, 0)
    image = torch.rand(1, 1, 8 + 2 * patches.margin, 4 + 2 * patches.margin)
    with torch.no_grad():
        features = patches.level_features(image, 0)
        assert features.shape[2] >= WINDOW[2][0]
        seen = look(features, torch.tensor([[[0.0, 0.0], [7.0, 3.0], [90.0, 90.0]]]), patches.margin)
        narrow = look(features[..., :10], torch.zeros(1, 3, 2), patches.margin)
        first = look.first_features(torch.full((1, 3, 2), 999.0), features.shape[2:], patches.margin)
    assert (first >= 0).all()
    assert (first + torch.tensor(look.window) <= torch.tensor(features.shape[2:])).all()
    for found in (seen, narrow):
        assert found.logits.shape[2:] == (8, 12)
        assert torch.isfinite(found.logits).all()


def joint_with(look_answer: Any) -> JointNet:
    patches = ladder(2)
    look = look_of(patches, 0)
    joint = JointNet(patches, spacing=(0.7, 1.3), rank=4, look=look).eval()
    look.net.forward = look_answer  # type: ignore[method-assign]
    return joint


@pytest.mark.parametrize(
    ("sure", "off", "taken"),
    [(5.0, (2.0, -3.0), True), (-20.0, (2.0, -3.0), False), (5.0, (30.0, 0.0), False)],
    ids=["seen", "seen nowhere", "out of the window"],
)
def test_a_look_counts_where_it_sees_the_landmark_in_its_window(sure: float, off: Any, taken: bool) -> None:
    spacing = torch.tensor((0.7, 1.3))
    aim = torch.tensor(WINDOW[2]) / 2 + torch.tensor(off)  # elements, from the window's first

    def answer(windows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        centers = votes.patch_centers((8, 12), (2, 2))
        encoded = votes.encode(aim.view(2, 1, 1) - centers).expand(1, 3, 2, 8, 12)
        return torch.full((1, 3, 8, 12), sure), encoded

    joint = joint_with(answer)
    assert joint.look is not None
    joint.look.share.fill_(1.0)
    with torch.no_grad():
        found = joint(image_of(joint.patches, batch=1))
    assert found.seen is not None
    expected = (found.seen.first + aim) * spacing if taken else found.voted
    torch.testing.assert_close(found.points, expected, rtol=1e-4, atol=1e-3)


def test_a_look_is_taken_where_it_is_told_else_at_the_votes() -> None:
    patches = ladder(2)
    joint = JointNet(patches, spacing=(0.7, 1.3), rank=4, look=look_of(patches, 0))
    image = image_of(patches)
    at = torch.tensor([[[5.0, 60.0], [20.0, 10.0], [10.0, 30.0]]]).expand(2, 3, 2)
    with torch.no_grad():
        told, voted = joint.train()(image, look_at=at), joint.eval()(image)
    middle = torch.tensor(WINDOW[2]) / 2 - 0.5
    for answer, place in ((told, at), (voted, voted.voted)):
        torch.testing.assert_close((answer.seen.first + middle) * torch.tensor((0.7, 1.3)), place, rtol=0, atol=1.3)


def method_and_case(states: list[State]) -> tuple[TwoStage, CachedCase]:
    grid = Grid.from_geometry((40, 56), spacing=(1.3, 0.7))
    array = np.random.default_rng(0).integers(0, 255, (40, 56)).astype(np.uint8)
    points = grid.index_to_world(np.array([[12.0, 40.0], [30.0, 9.0], [20.0, 20.0]]))
    points[[state != State.PRESENT for state in states]] = np.nan
    image = WorkingImage(array, grid, array, grid, (0.0, 255.0))
    case = CachedCase("a", "a", "train", image, points, np.array(states, dtype=np.uint8))
    settings = TwoStageSettings(
        spacing=(0.7, 1.3),
        channels=((4,), (4,), (4,)),
        hidden=(4,),
        near=10.0,
        far_weight=0.1,
        displacement_weight=1.0,
        image=(40, 56),
        stage1_crop=(16, 16),
        look=True,
        look_level=0,
        look_window=(16, 24),
        look_channels=((4,), (4,)),
        look_jitter=2.0,
        mirror=False,
    )
    method = TwoStage(settings, ndim=2, landmarks=3)
    method.make_networks()
    return method, case


def test_present_landmarks_are_looked_at_nearby_and_others_anywhere() -> None:
    method, case = method_and_case([State.PRESENT, State.ABSENT, State.PRESENT])
    offsets, elsewhere = [], []
    for seed in range(40):
        batch = method.example_batch("stage2", [case], np.arange(3), np.random.default_rng(seed), CPU)
        offset = (batch["look_at"] - batch["points"])[0] / batch["spacing"]
        offsets.append(offset[0])
        elsewhere.append(batch["look_at"][0, 1])
    far = torch.stack(offsets).abs()
    assert (far <= torch.tensor([8.0, 12.0])).all()
    assert far.max() > 3
    assert torch.isfinite(torch.stack(elsewhere)).all()
    assert torch.stack(elsewhere).std(0).min() > 5


def test_absent_landmarks_teach_the_look_that_nothing_is_there_and_unannotated_ones_nothing() -> None:
    method, case = method_and_case([State.PRESENT, State.ABSENT, State.NOT_ANNOTATED])
    network = method.networks["stage2"]
    batch = method.example_batch("stage2", [case], np.arange(3), np.random.default_rng(0), CPU)
    terms = method.loss("stage2", network.train(), batch)
    sum(value for name, value in terms.items() if name.startswith("look")).backward()  # type: ignore[union-attr]
    classes, displacements = (
        chain[-1].weight.grad.flatten(1).abs().sum(1)
        for chain in (network.look.net.presence, network.look.net.displacement)
    )
    assert [bool(g > 0) for g in classes] == [True, True, False]
    assert [bool(g > 0) for g in displacements.view(3, 2).sum(1)] == [True, False, False]
    reached = [p.grad is not None and bool(p.grad.abs().sum() > 0) for p in network.patches.ladder[0].parameters()]
    assert all(reached)


def test_both_answers_are_told_and_both_tell_presence() -> None:
    method, case = method_and_case([State.PRESENT] * 3)
    located = method.locate(case.image, CPU)
    assert len(located) == len(method.presence.weights) == 2
    assert all(np.isfinite(part.points_world).all() for part in located)


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_both_kinds_of_votes_make_one_answer_and_one_spread(share: float) -> None:
    """They are as of all votes thrown together, those of the look with `share` of the weight."""
    patches = ladder(2)
    look = look_of(patches, 0)
    look.share.fill_(share)
    cast = torch.tensor([[4.0, 9.0], [6.0, 11.0]])  # of two cells that are sure, elements from the window's first
    centers = votes.patch_centers((8, 12), (2, 2)).flatten(1)
    encoded = torch.zeros(1, 1, 2, 96)
    encoded[0, 0, :, :2] = votes.encode(cast.T - centers[:, :2])
    logits = torch.full((1, 1, 96), -40.0)
    logits[..., :2] = 40.0
    seen = Seen(logits.view(1, 1, 8, 12), encoded.view(1, 1, 2, 8, 12), torch.tensor([[[3, 5]]]))
    spacing = torch.tensor([0.5, 2.0])
    voted, spread = torch.tensor([[[2.0, 31.0]]]), torch.tensor([[1.5]])
    points, both = look.together(seen, voted, spread, spacing)
    places = (cast + torch.tensor([3, 5])) * spacing
    mean = (1 - share) * voted[0, 0] + share * places.mean(0)
    second = (1 - share) * (spread[0, 0] ** 2 + (voted[0, 0] - mean).square().sum())
    second = second + share * (places - mean).square().sum(-1).mean()
    torch.testing.assert_close(points[0, 0], mean)
    torch.testing.assert_close(both[0, 0], second.sqrt(), rtol=1e-4, atol=1e-4)


def test_looks_count_as_much_as_they_are_right_and_one_half_where_little_is_known() -> None:
    rng = torch.Generator().manual_seed(0)
    look = look_of(ladder(2), 0)
    points = torch.rand(4000, 2, generator=rng) * 50
    noise = torch.randn(2, 4000, 2, generator=rng)
    shares = {}
    for name, (votes_off, looks_off, count) in {
        "looks": (3.0, 1.0, 4000),
        "votes": (1.0, 3.0, 4000),
        "few": (3.0, 1.0, 3),
        "none": (3.0, 1.0, 0),
    }.items():
        voted, looked = points + votes_off * noise[0], points + looks_off * noise[1]
        look.learn_share(voted[:count], looked[:count], points[:count])
        shares[name] = float(look.share)
    assert shares["looks"] == pytest.approx(0.9, abs=0.04)
    assert shares["votes"] == pytest.approx(0.1, abs=0.04)
    assert shares["few"] == pytest.approx(0.5, abs=0.05)
    assert shares["none"] == 0.5


@pytest.mark.parametrize("ndim", [2, 3])
def test_prediction_makes_what_training_sees(ndim: int) -> None:
    """Features kept from the whole image, or made again in the windows alone."""
    patches = ladder(ndim)
    joint = JointNet(patches, spacing=(1.5, 0.7, 1.3)[:ndim], rank=4, look=look_of(patches, 1)).eval()
    assert joint.look is not None
    joint.look.share.fill_(0.5)
    image = image_of(patches, batch=1)
    with torch.no_grad():
        again = joint(image)
        joint.training = True
        kept = joint(image)
    assert (kept.points - kept.voted).abs().max() > 0.01
    for a, b in zip((*kept[:4], *kept.seen), (*again[:4], *again.seen), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-3)

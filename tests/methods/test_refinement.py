"""The refinement of two-stage: windows of finer features around voted points."""

from typing import Any

import numpy as np
import pytest
import torch

from anatomark import Grid, State, votes
from anatomark.data.cache import CachedCase
from anatomark.data.working import WorkingImage
from anatomark.methods.interface import DataFacts
from anatomark.methods.presence import PresenceModel
from anatomark.methods.two_stage.joint import JointNet
from anatomark.methods.two_stage.method import TwoStage
from anatomark.methods.two_stage.refinement import (
    RefinementHead,
    RefinementOutput,
    extract_windows,
    fit_blend_weight,
)
from anatomark.methods.two_stage.settings import TwoStageSettings
from anatomark.methods.two_stage.stages import TwoStageStages, make_joint, make_patches
from anatomark.nets.patch_net import PatchNet

CPU = torch.device("cpu")
IMAGE = {2: (40, 56), 3: (24, 32, 16)}
WINDOW = {2: (16, 24), 3: (8, 16, 8)}  # unequal along the axes, so that no transposition goes unnoticed


def patch_net(ndim: int) -> PatchNet:
    torch.manual_seed(0)
    net = PatchNet(ndim, 3, channels=((4, 4), (5,), (6, 6)), dilations=(2,), head_channels=(8,))
    net.train()
    for _ in range(5):
        net(torch.randn(2, 1, *(net.patch + 8,) * ndim))
    return net.eval()


def head_of(patches: PatchNet, level: int) -> RefinementHead:
    head = RefinementHead(patches, level=level, window=WINDOW[patches.ndim], channels=((4,), (6,)), prior=0.1)
    for parameter in head.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return head.eval()


def image_of(patches: PatchNet, batch: int = 2) -> torch.Tensor:
    size = [n + 2 * patches.margin for n in IMAGE[patches.ndim]]
    return torch.rand((batch, 1, *size), generator=torch.Generator().manual_seed(1))


def places(ndim: int, batch: int = 2) -> torch.Tensor:
    """Inside, at a corner and outside of the image."""
    size = torch.tensor(IMAGE[ndim])
    return torch.stack([size * 0.43, torch.zeros(ndim), size + 9.0]).float().expand(batch, 3, ndim)


@pytest.mark.parametrize("level", [0, 1])
@pytest.mark.parametrize("ndim", [2, 3])
def test_windows_of_the_image_give_what_windows_of_the_features_of_the_whole_give(ndim: int, level: int) -> None:
    patches = patch_net(ndim)
    head, image, points = head_of(patches, level), image_of(patches), places(ndim)
    with torch.no_grad():
        whole = head(patches.level_features(image, level), points, patches.margin)
        parts = head.from_image(patches, image, points)
    assert whole.logits.std() > 1e-3
    for a, b in zip(whole, parts, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("level", [0, 1])
@pytest.mark.parametrize("ndim", [2, 3])
def test_the_first_element_of_a_window_lies_at_its_corner(ndim: int, level: int) -> None:
    """A feature depends on the elements around the window's `corner`, and on no others."""
    patches = patch_net(ndim)
    head, image, points = head_of(patches, level), image_of(patches, batch=1), places(ndim, batch=1)
    with torch.no_grad():
        features = patches.level_features(image, level)
        first = head.first_features(points, features.shape[2:], patches.margin)
        corner = head(features, points, patches.margin).corner[0, 0]
        changed = image.clone()
        changed[(0, 0, *(corner.int() + patches.margin).tolist())] += 5
        before, after = (
            extract_windows(f, first, head.window)[0, 0] for f in (features, patches.level_features(changed, level))
        )
    moved = (before - after).abs().sum(0)
    assert moved[(0,) * ndim] > 0
    assert moved[tuple(slice(-2, None) for _ in range(ndim))].sum() == 0


def test_features_of_a_level_lead_to_those_of_the_whole() -> None:
    patches = patch_net(2)
    image = image_of(patches)
    with torch.no_grad():
        for level in (0, 1, 2):
            level_features = patches.level_features(image, level)
            assert level_features.shape[1] == patches.levels[level].channels
            torch.testing.assert_close(patches.features_after(level_features, level), patches.features(image))


def test_windows_stay_in_the_image_and_small_images_are_filled_up() -> None:
    patches = patch_net(2)
    head = head_of(patches, 0)
    image = torch.rand(1, 1, 8 + 2 * patches.margin, 4 + 2 * patches.margin)
    with torch.no_grad():
        features = patches.level_features(image, 0)
        assert features.shape[2] >= WINDOW[2][0]
        whole = head(features, torch.tensor([[[0.0, 0.0], [7.0, 3.0], [90.0, 90.0]]]), patches.margin)
        narrow = head(features[..., :10], torch.zeros(1, 3, 2), patches.margin)
        first = head.first_features(torch.full((1, 3, 2), 999.0), features.shape[2:], patches.margin)
    assert (first >= 0).all()
    assert (first + torch.tensor(head.window) <= torch.tensor(features.shape[2:])).all()
    for output in (whole, narrow):
        assert output.logits.shape[2:] == (8, 12)
        assert torch.isfinite(output.logits).all()


def joint_with(window_output: Any) -> JointNet:
    patches = patch_net(2)
    head = head_of(patches, 0)
    joint = JointNet(patches, spacing=(0.7, 1.3), rank=4, refinement=head).eval()
    head.net.forward = window_output  # type: ignore[method-assign]
    return joint


@pytest.mark.parametrize(
    ("sure", "off", "taken"),
    [(5.0, (2.0, -3.0), True), (-20.0, (2.0, -3.0), False), (5.0, (30.0, 0.0), False)],
    ids=["found", "found nowhere", "out of the window"],
)
def test_a_refinement_counts_where_it_finds_the_landmark_in_its_window(sure: float, off: Any, taken: bool) -> None:
    spacing = torch.tensor((0.7, 1.3))
    aim = torch.tensor(WINDOW[2]) / 2 + torch.tensor(off)  # elements, from the window's first

    def answer(windows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        centers = votes.patch_centers((8, 12), (2, 2))
        encoded = votes.encode(aim.view(2, 1, 1) - centers).expand(1, 3, 2, 8, 12)
        return torch.full((1, 3, 8, 12), sure), encoded

    joint = joint_with(answer)
    assert joint.refinement is not None
    joint.refinement.blend_weight.fill_(1.0)
    with torch.no_grad():
        output = joint(image_of(joint.patches, batch=1))
    assert output.refinement is not None
    expected = (output.refinement.corner + aim) * spacing if taken else output.joint_points
    torch.testing.assert_close(output.points_grid_mm, expected, rtol=1e-4, atol=1e-3)


def test_windows_lie_around_the_given_points_else_around_the_voted_ones() -> None:
    patches = patch_net(2)
    joint = JointNet(patches, spacing=(0.7, 1.3), rank=4, refinement=head_of(patches, 0))
    image = image_of(patches)
    at = torch.tensor([[[5.0, 60.0], [20.0, 10.0], [10.0, 30.0]]]).expand(2, 3, 2)
    with torch.no_grad():
        given, voted = joint.train()(image, refine_at=at), joint.eval()(image)
    middle = torch.tensor(WINDOW[2]) / 2 - 0.5
    for output, place in ((given, at), (voted, voted.joint_points)):
        found = (output.refinement.corner + middle) * torch.tensor((0.7, 1.3))
        torch.testing.assert_close(found, place, rtol=0, atol=1.3)


def stages_and_case(states: list[State]) -> tuple[TwoStageStages, CachedCase]:
    grid = Grid.from_geometry((40, 56), spacing=(1.3, 0.7))
    array = np.random.default_rng(0).integers(0, 255, (40, 56)).astype(np.uint8)
    points = grid.index_to_world(np.array([[12.0, 40.0], [30.0, 9.0], [20.0, 20.0]]))
    points[[state != State.PRESENT for state in states]] = np.nan
    image = WorkingImage(array, grid, array, grid, (0.0, 255.0))
    case = CachedCase("a", "a", "train", image, points, np.array(states, dtype=np.uint8))
    asked = TwoStageSettings(
        spacing=(0.7, 1.3),
        channels=((4,), (4,), (4,)),
        head_channels=(4,),
        distance_decay=10.0,
        displacement_weight=1.0,
        stage2_crop=(40, 56),
        stage1_crop=(16, 16),
        refine=True,
        refine_level=0,
        refine_window=(16, 24),
        refine_channels=((4,), (4,)),
        mirror=False,
    )
    facts = DataFacts((grid,), 3, has_pairs=False, memory_bytes=8e9)
    return TwoStageStages(TwoStage.plan(asked, facts)), case


def test_training_windows_lie_near_present_landmarks_and_anywhere_for_others() -> None:
    stages, case = stages_and_case([State.PRESENT, State.ABSENT, State.PRESENT])
    offsets, elsewhere = [], []
    for seed in range(40):
        batch = stages.batch("stage2", [case], np.arange(3), np.random.default_rng(seed), CPU)
        offset = (batch["refine_at"] - batch["points"])[0] / batch["spacing"]
        offsets.append(offset[0])
        elsewhere.append(batch["refine_at"][0, 1])
    far = torch.stack(offsets).abs()
    assert (far <= torch.tensor([8.0, 12.0])).all()
    assert far.max() > 3
    assert torch.isfinite(torch.stack(elsewhere)).all()
    assert torch.stack(elsewhere).std(0).min() > 5


def test_absent_landmarks_teach_the_refinement_that_nothing_is_there_and_unannotated_ones_nothing() -> None:
    stages, case = stages_and_case([State.PRESENT, State.ABSENT, State.NOT_ANNOTATED])
    network = make_joint(stages.plan.network, make_patches(stages.plan.network))
    batch = stages.batch("stage2", [case], np.arange(3), np.random.default_rng(0), CPU)
    terms = stages.loss("stage2", network.train(), batch)
    sum(value for name, value in terms.items() if name.startswith("refine")).backward()  # type: ignore[union-attr]
    classes, displacements = (
        chain[-1].weight.grad.flatten(1).abs().sum(1)
        for chain in (network.refinement.net.presence, network.refinement.net.displacement)
    )
    assert [bool(g > 0) for g in classes] == [True, True, False]
    assert [bool(g > 0) for g in displacements.view(3, 2).sum(1)] == [True, False, False]
    reached = [p.grad is not None and bool(p.grad.abs().sum() > 0) for p in network.patches.body[0].parameters()]
    assert all(reached)


def test_both_answers_are_given_and_presence_is_learned_from_both() -> None:
    stages, case = stages_and_case([State.PRESENT] * 3)
    network = stages.plan.network
    networks = {"stage1": make_patches(network), "stage2": make_joint(network, make_patches(network))}
    detector = TwoStage(network, networks, PresenceModel.unfitted(network.answers))
    located = detector.locate(case.image, CPU)
    assert len(located) == len(detector.presence.weights) == 2
    assert all(np.isfinite(part.points_world).all() for part in located)


@pytest.mark.parametrize("weight", [0.0, 0.3, 1.0])
def test_both_kinds_of_votes_make_one_answer_and_one_spread(weight: float) -> None:
    """They are as of all votes thrown together, those of the window with `weight` of the whole weight."""
    patches = patch_net(2)
    head = head_of(patches, 0)
    head.blend_weight.fill_(weight)
    window_votes = torch.tensor(
        [[4.0, 9.0], [6.0, 11.0]]
    )  # of two cells that are sure, elements from the window's first
    centers = votes.patch_centers((8, 12), (2, 2)).flatten(1)
    encoded = torch.zeros(1, 1, 2, 96)
    encoded[0, 0, :, :2] = votes.encode(window_votes.T - centers[:, :2])
    logits = torch.full((1, 1, 96), -40.0)
    logits[..., :2] = 40.0
    output = RefinementOutput(logits.view(1, 1, 8, 12), encoded.view(1, 1, 2, 8, 12), torch.tensor([[[3, 5]]]))
    spacing = torch.tensor([0.5, 2.0])
    voted, spread = torch.tensor([[[2.0, 31.0]]]), torch.tensor([[1.5]])
    points, both = head.blend(output, voted, spread, spacing)
    places = (window_votes + torch.tensor([3, 5])) * spacing
    mean = (1 - weight) * voted[0, 0] + weight * places.mean(0)
    second = (1 - weight) * (spread[0, 0] ** 2 + (voted[0, 0] - mean).square().sum())
    second = second + weight * (places - mean).square().sum(-1).mean()
    torch.testing.assert_close(points[0, 0], mean)
    torch.testing.assert_close(both[0, 0], second.sqrt(), rtol=1e-4, atol=1e-4)


def test_the_refinement_counts_as_much_as_it_is_right_and_one_half_where_little_is_known() -> None:
    rng = torch.Generator().manual_seed(0)
    points = torch.rand(4000, 2, generator=rng) * 50
    noise = torch.randn(2, 4000, 2, generator=rng)
    weights = {}
    for name, (votes_off, refined_off, count) in {
        "refinement": (3.0, 1.0, 4000),
        "votes": (1.0, 3.0, 4000),
        "few": (3.0, 1.0, 3),
        "none": (3.0, 1.0, 0),
    }.items():
        voted, refined = points + votes_off * noise[0], points + refined_off * noise[1]
        given = (part[:count].double().numpy() for part in (voted, refined, points))
        weights[name] = fit_blend_weight(*given)
    assert weights["refinement"] == pytest.approx(0.9, abs=0.04)
    assert weights["votes"] == pytest.approx(0.1, abs=0.04)
    assert weights["few"] == pytest.approx(0.5, abs=0.05)
    assert weights["none"] == 0.5


@pytest.mark.parametrize("ndim", [2, 3])
def test_prediction_computes_what_training_sees(ndim: int) -> None:
    """Features kept from the whole image, or computed again in the windows alone."""
    patches = patch_net(ndim)
    joint = JointNet(patches, spacing=(1.5, 0.7, 1.3)[:ndim], rank=4, refinement=head_of(patches, 1)).eval()
    assert joint.refinement is not None
    joint.refinement.blend_weight.fill_(0.5)
    image = image_of(patches, batch=1)
    with torch.no_grad():
        again = joint(image)
        joint.training = True
        kept = joint(image)
    assert (kept.points_grid_mm - kept.joint_points).abs().max() > 0.01
    for a, b in zip((*kept[:4], *kept.refinement), (*again[:4], *again.refinement), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-3)

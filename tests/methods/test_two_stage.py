"""The identities that make two networks one method (doi 10.1109/TIP.2017.2721106), and what the losses leave out."""

from typing import Any

import numpy as np
import pytest
import torch

from anatomark import Grid, State, votes
from anatomark.data.cache import Cache, CachedCase
from anatomark.data.working import WorkingImage
from anatomark.errors import SettingsError
from anatomark.methods.interface import DataFacts
from anatomark.methods.two_stage.joint import JointNet, displacements, patch_centers
from anatomark.methods.two_stage.look import CloseLook
from anatomark.methods.two_stage.loss import displacement_loss, joint_loss
from anatomark.methods.two_stage.method import TwoStage
from anatomark.methods.two_stage.settings import TwoStageSettings
from anatomark.nets.ladder import AT_ONCE, LadderNet

CPU = torch.device("cpu")
SHAPE = {2: (5, 7), 3: (3, 4, 2)}  # patches: unequal along the axes, so that no transposition goes unnoticed
SPACING = {2: (0.7, 1.3), 3: (2.0, 0.9, 1.1)}


def ladder(ndim: int, landmarks: int = 3) -> LadderNet:
    """A small network whose normalisation has seen data, so that it does something."""
    torch.manual_seed(0)
    net = LadderNet(ndim, landmarks, channels=((4, 4), (5,), (6, 6)), context=(2,), hidden=(8,))
    torch.nn.init.normal_(net.fine.weight, std=0.5)
    net.train()
    for _ in range(5):
        net(torch.randn(2, 1, *(net.patch + 8,) * ndim))
    return net.eval()


def padded(net: LadderNet, ndim: int, batch: int = 2) -> torch.Tensor:
    size = [n * net.stride + 2 * net.margin for n in SHAPE[ndim]]
    return torch.rand((batch, 1, *size), generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("ndim", [2, 3])
def test_the_whole_image_says_at_each_place_what_the_patch_there_says(ndim: int) -> None:
    net = ladder(ndim)
    image = padded(net, ndim)
    with torch.no_grad():
        whole = net(image)
        assert whole.shape == (2, 3, ndim, *SHAPE[ndim])
        assert whole.std() > 1e-3
        for k in np.ndindex(*SHAPE[ndim]):
            cut = tuple(slice(n * net.stride, n * net.stride + net.patch) for n in k)
            one = net(image[(slice(None), slice(None), *cut)])
            assert one.shape[3:] == (1,) * ndim
            torch.testing.assert_close(whole[(..., *k)], one.flatten(3).squeeze(-1), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("ndim", [2, 3])
def test_slabs_change_nothing(ndim: int, monkeypatch: pytest.MonkeyPatch) -> None:
    net = ladder(ndim)
    image = padded(net, ndim)
    with torch.no_grad():
        plain = net.hidden(net.ladder(image))
        for most in (1, 2000, 10**9):
            monkeypatch.setitem(AT_ONCE, ndim, most)
            torch.testing.assert_close(net.features(image), plain, rtol=1e-5, atol=1e-6)


def test_no_slab_is_larger_than_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    net = ladder(3)
    image = padded(net, 3)
    taken: list[int] = []
    net.ladder[0].register_forward_hook(lambda _layer, given, _made: taken.append(given[0].shape[2]))
    *_, cut, widest = net.parts[0]
    monkeypatch.setitem(AT_ONCE, 3, 4 * widest * image[:, :, 0].numel())
    with torch.no_grad():
        net.features(image)
    assert max(taken) == 4 + 2 * cut
    assert len(taken) > 3


def test_normalisation_folded_into_the_convolution_changes_nothing() -> None:
    net = ladder(2)
    layer = net.ladder[0].body[0]
    x = torch.randn(1, 1, 9, 11)
    expected = torch.relu(layer.norm(layer.convolve(x)))
    torch.testing.assert_close(layer(x), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("looking", [False, True])
@pytest.mark.parametrize("ndim", [2, 3])
def test_stage_2_starts_at_the_mean_vote_of_stage_1(ndim: int, looking: bool) -> None:
    net = ladder(ndim)
    image = padded(net, ndim)
    look = CloseLook(net, level=0, window=(8,) * ndim, channels=((4,),), prior=0.1) if looking else None
    joint = JointNet(net, spacing=SPACING[ndim], rank=4, mean_shape=torch.randn(3, ndim), look=look).eval()
    with torch.no_grad():
        spacing = torch.tensor(SPACING[ndim])
        cast = patch_centers(SHAPE[ndim], net.stride, spacing) + displacements(net(image), spacing)
        answer = joint(image)
    for points in (answer.points, *answer.earlier):
        torch.testing.assert_close(points, cast.mean(-1), rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("ndim", [2, 3])
def test_gradients_reach_stage_1_end_to_end_and_stop_before_it_when_frozen(ndim: int) -> None:
    image = padded(ladder(ndim), ndim)
    where = {"spacing": torch.tensor(SPACING[ndim]), "stride": 4}
    points = torch.rand(2, 3, ndim) * 5
    states = torch.full((2, 3), State.PRESENT)
    for frozen in (False, True):
        joint = JointNet(ladder(ndim), spacing=SPACING[ndim], rank=4)
        if frozen:
            joint.freeze()
        before = {k: v.clone() for k, v in joint.patches.state_dict().items()}
        joint.train()
        terms = joint_loss(joint(image), points, states, say_weight=0.0, class_weight=0.0, **where)
        (terms["coordinate"] + terms["earlier"]).backward()
        reached = [p.grad is not None and bool(p.grad.abs().sum() > 0) for p in joint.patches.parameters()]
        assert not any(reached) if frozen else all(reached)
        assert joint.rounds[0].weight.weight.grad is not None
        assert joint.rounds[0].weight.weight.grad.abs().sum() > 0
        if frozen:
            assert all(torch.equal(v, before[k]) for k, v in joint.patches.state_dict().items())


def test_fixed_normalisation_is_the_same_in_training_and_in_prediction() -> None:
    joint = JointNet(ladder(2), spacing=SPACING[2], rank=4, fixed_normalisation=True).train()
    image = padded(joint.patches, 2)
    before = {k: v.clone() for k, v in joint.patches.state_dict().items()}
    learning = joint(image).points
    learning.sum().backward()
    assert all(p.grad is not None and bool(p.grad.abs().sum() > 0) for p in joint.patches.parameters())
    assert all(torch.equal(v, before[k]) for k, v in joint.patches.state_dict().items())
    with torch.no_grad():
        torch.testing.assert_close(joint.eval()(image).points, learning, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kept", [0, 10**9])
def test_parts_of_the_landmarks_give_what_all_give(monkeypatch: pytest.MonkeyPatch, kept: int) -> None:
    joint = JointNet(ladder(2, landmarks=5), spacing=SPACING[2], rank=4).eval()
    for parameter in joint.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    image = padded(joint.patches, 2)
    with torch.no_grad():
        whole = joint(image)
        monkeypatch.setattr("anatomark.methods.two_stage.joint.VOTES_AT_ONCE", 300)
        monkeypatch.setattr("anatomark.methods.two_stage.joint.VOTES_KEPT", kept)
        parts = joint(image)
    assert parts.displacement is None
    for a, b in zip(whole[:4], parts[:4], strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)


def test_only_present_landmarks_pull_at_displacements_and_far_patches_pull_less() -> None:
    spacing = torch.tensor(SPACING[2])
    points = torch.tensor([[[3.0, 4.0], [float("nan")] * 2, [1.0, 1.0]]])
    states = torch.tensor([[State.PRESENT, State.ABSENT, State.NOT_ANNOTATED]])
    centers = votes.patch_centers(SHAPE[2], (4, 4)) * spacing.view(2, 1, 1)
    exact = (points.nan_to_num().view(1, 3, 2, 1, 1) - centers) / min(SPACING[2])
    given: dict[str, Any] = {"spacing": spacing, "stride": 4, "near": 8.0, "far_weight": 0.1}
    assert displacement_loss(exact, points, states, **given) < 1e-6
    for silent in (1, 2):
        wrong = exact.clone()
        wrong[0, silent] += 5
        assert displacement_loss(wrong, points, states, **given) < 1e-6
    near, far = exact.clone(), exact.clone()
    near[0, 0, :, 0, 0] += 1
    far[0, 0, :, -1, -1] += 1
    assert displacement_loss(near, points, states, **given) > 2 * displacement_loss(far, points, states, **given) > 0
    alike = {**given, "near": 1e9}  # the same error of a long displacement counts less by its logarithm alone
    assert displacement_loss(near, points, states, **alike) > displacement_loss(far, points, states, **alike) > 0


def test_absent_landmarks_teach_the_classifier_alone_and_unannotated_ones_nothing() -> None:
    joint = JointNet(ladder(2), spacing=SPACING[2], rank=4)
    image = padded(joint.patches, 2, batch=1)
    states = torch.tensor([[State.PRESENT, State.ABSENT, State.NOT_ANNOTATED]])
    points = torch.tensor([[[3.0, 4.0], [float("nan")] * 2, [1.0, 1.0]]])
    terms = joint_loss(
        joint.train()(image),
        points,
        states,
        say_weight=1.0,
        class_weight=1.0,
        spacing=torch.tensor(SPACING[2]),
        stride=4,
    )
    sum(terms.values()).backward()  # pyright: ignore
    grad = joint.posterior.weight.grad
    assert grad is not None
    assert [bool(g.abs().sum() > 0) for g in grad] == [True, True, False]
    grad = joint.rounds[0].weight.weight.grad
    assert grad is not None
    assert [bool(g.abs().sum() > 0) for g in grad] == [True, False, False]


def a_case(ndim: int, shape: tuple[int, ...], points_index: np.ndarray) -> CachedCase:
    grid = Grid.from_geometry(shape, spacing=SPACING[ndim][::-1], origin=(5.0, -7.0, 11.0)[:ndim])
    array = np.random.default_rng(0).integers(0, 255, shape).astype(np.uint8)
    image = WorkingImage(array, grid, array, grid, (0.0, 255.0))
    states = np.full(len(points_index), State.PRESENT, dtype=np.uint8)
    return CachedCase("a", "a", "train", image, grid.index_to_world(points_index), states)


@pytest.mark.parametrize("ndim", [2, 3])
def test_the_method_says_in_the_world_what_the_patches_say_of_the_array(ndim: int) -> None:
    """Votes that all point at one element of an image of odd size come out at its world position."""
    shape = (23, 38, 17)[:ndim]
    target = np.array([[7.0, 11.0, 3.0], [20.5, 2.25, 9.0], [0.0, 37.0, 16.0]])[:, :ndim]
    case = a_case(ndim, shape, target)
    settings = TwoStageSettings(
        spacing=SPACING[ndim], channels=((4,), (4,), (4,)), hidden=(4,), near=10.0, image=(24,) * ndim
    )
    method = TwoStage(settings, ndim=ndim, landmarks=3)
    method.make_networks()

    class Exact(LadderNet):
        def displacements(self, features: torch.Tensor, part: slice | None = None) -> torch.Tensor:
            centers = votes.patch_centers(features.shape[2:], (self.stride,) * ndim)
            aim = torch.from_numpy(target).float().view(1, 3, ndim, *(1,) * ndim)
            far = (aim - centers) * torch.tensor(SPACING[ndim]).view(ndim, *(1,) * ndim)
            return (far / min(SPACING[ndim]))[:, part or slice(3)]

    for network in (method.networks["stage1"], method.networks["stage2"].patches):
        network.__class__ = Exact
    for stage in ("stage1", "stage2"):
        (found,) = method.locate(case.image, CPU, upto=stage)
        np.testing.assert_allclose(found.points_world, case.points_world, atol=1e-3)
        np.testing.assert_allclose(found.spread, 0, atol=1e-2)
    for found_points in method.fixed_votes(case.image, CPU).values():
        np.testing.assert_allclose(found_points, case.points_world, atol=1e-3)


def test_stage_1_is_chosen_by_single_votes_next_to_the_landmark() -> None:
    """Far votes and the mean vote may be anything; votes that cancel out around the landmark are no merit."""
    case = a_case(2, (40, 48), np.array([[12.0, 20.0], [30.0, 9.0], [np.nan, np.nan]]))
    settings = TwoStageSettings(spacing=SPACING[2], channels=((4,), (4,), (4,)), hidden=(4,), near=10.0, image=(40, 48))
    method = TwoStage(settings, ndim=2, landmarks=3)
    method.make_networks()
    centers = votes.patch_centers((10, 12), (4, 4))

    class Told(LadderNet):
        off = 0.0

        def displacements(self, features: torch.Tensor, part: slice | None = None) -> torch.Tensor:
            aim = torch.tensor([[12.0, 20.0], [30.0, 9.0], [5.0, 5.0]]).view(1, 3, 2, 1, 1)
            far = (aim - centers) * torch.tensor(SPACING[2]).view(2, 1, 1)
            wrong = 100.0 * (far.square().sum(2, keepdim=True) > 15**2) + self.off * far.sign()
            return (far + wrong) / min(SPACING[2])

    network = method.networks["stage1"]
    network.__class__ = Told
    assert method.validate("stage1", [case], CPU) < 1e-3
    network.off = 2.0
    assert method.validate("stage1", [case], CPU) == pytest.approx(2 * np.sqrt(2), rel=0.3)


def test_examples_show_the_landmark_where_they_say_it_is() -> None:
    target = np.array([[30.0, 12.0]])
    case = a_case(2, (60, 44), target)
    array = np.zeros((60, 44), dtype=np.uint8)
    array[30, 12] = 255
    image = WorkingImage(array, case.image.fine_grid, array, case.image.fine_grid, (0.0, 255.0))
    case = CachedCase("a", "a", "train", image, case.points_world, case.states)
    quiet = dict.fromkeys(
        ("rotation_degrees", "scale", "shear", "elastic", "ripple", "gain", "shift", "gamma", "noise"), 0.0
    )
    settings = TwoStageSettings(
        spacing=SPACING[2], channels=((4,), (4,), (4,)), near=10.0, stage1_crop=(24, 16), image=(60, 44), **quiet
    )
    method = TwoStage(settings, ndim=2, landmarks=1)
    cache = Cache(("a",), (), (case,), True)
    method.begin("stage1", cache, CPU)
    margin = method.networks["stage1"].margin
    seen = 0
    for seed in range(30):
        batch = method.example_batch("stage1", [case], cache.mirrored, np.random.default_rng(seed), CPU)
        assert batch["values"].shape == (1, 1, 24 + 2 * margin, 16 + 2 * margin)
        index = batch["points"][0, 0] / batch["spacing"] + margin
        if (index > 1).all() and (index < torch.tensor(batch["values"].shape[2:]) - 2).all():
            seen += 1
            values = batch["values"][0, 0]
            mass = values / values.sum()
            rows = (mass.sum(1) * torch.arange(len(values))).sum()
            columns = (mass.sum(0) * torch.arange(values.shape[1])).sum()
            np.testing.assert_allclose([rows, columns], index, atol=0.05)
    assert seen > 15


def facts(ndim: int, memory: float = 8e9, landmarks: int = 5) -> DataFacts:
    grid = Grid.from_geometry((300, 200, 90)[:ndim], spacing=(0.5, 0.4, 0.3)[:ndim])
    return DataFacts((grid,) * 3, landmarks, has_pairs=False, memory_bytes=memory)


@pytest.mark.parametrize("ndim", [2, 3])
def test_the_plan_completes_what_the_data_decide(ndim: int) -> None:
    planned = TwoStage.plan(TwoStageSettings(), facts(ndim), on_gpu=False)
    assert planned.pool == (1,) * ndim
    assert all(getattr(planned, name) is not None for name in type(planned).model_fields if name != "template")
    stride = 2 ** (len(planned.channels) - 1)
    assert all(n % stride == 0 for n in (*planned.stage1_crop, *planned.image))


def test_patches_of_many_landmarks_lie_farther_apart() -> None:
    few, many = (TwoStage.plan(TwoStageSettings(), facts(3, 1e12, n), on_gpu=False) for n in (10, 10_000))
    assert len(many.channels) == len(few.channels) + 1
    assert TwoStage.plan(TwoStageSettings(channels=((8,), (8,))), facts(3), on_gpu=False).context == ()
    assert (few.look, many.look) == (True, False)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"pool": (2, 2)}, "pool"),
        ({"stage1_crop": (30, 32)}, "stage1_crop"),
        ({"image": (32,)}, "image"),
        ({"look_level": 3}, "look_level"),
        ({"look_window": (30, 30)}, "look_window"),
        ({"look_channels": ((8,), ())}, "look_channels"),
        ({"channels": ((8,), ())}, "channels"),
    ],
)
def test_settings_that_do_not_fit_are_named(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        TwoStage.plan(TwoStageSettings(**settings), facts(2), on_gpu=False)


def test_an_image_too_large_for_the_memory_is_refused_with_what_to_set() -> None:
    with pytest.raises(SettingsError, match="spacing"):
        TwoStage.plan(TwoStageSettings(spacing=(0.3, 0.3, 0.3)), facts(3, memory=1e8), on_gpu=False)

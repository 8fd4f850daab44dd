"""The identities that make two networks one method (doi 10.1109/TIP.2017.2721106), and what the losses leave out."""

from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from anatomark import Grid, State, votes
from anatomark.data.cache import Cache, CachedCase
from anatomark.data.working import WorkingImage
from anatomark.errors import SettingsError
from anatomark.methods.interface import DataFacts, Networks, StagedT
from anatomark.methods.presence import PresenceModel
from anatomark.methods.two_stage.config import TwoStageNetwork
from anatomark.methods.two_stage.joint import JointNet, displacements_grid_mm, patch_centers_grid_mm
from anatomark.methods.two_stage.loss import displacement_loss, joint_loss
from anatomark.methods.two_stage.method import TwoStage
from anatomark.methods.two_stage.plan import TwoStagePlan
from anatomark.methods.two_stage.refinement import RefinementHead
from anatomark.methods.two_stage.settings import TwoStageSettings
from anatomark.methods.two_stage.stages import TwoStageStages, make_joint, make_patches
from anatomark.nets.patch_net import AT_ONCE, PatchNet

CPU = torch.device("cpu")
SHAPE = {2: (5, 7), 3: (3, 4, 2)}  # patches: unequal along the axes, so that no transposition goes unnoticed
SPACING = {2: (0.7, 1.3), 3: (2.0, 0.9, 1.1)}


def patch_net(ndim: int, landmarks: int = 3) -> PatchNet:
    """A small network whose normalisation has seen data, so that it does something."""
    torch.manual_seed(0)
    net = PatchNet(ndim, landmarks, channels=((4, 4), (5,), (6, 6)), dilations=(2,), head_channels=(8,))
    torch.nn.init.normal_(net.fine.weight, std=0.5)
    net.train()
    for _ in range(5):
        net(torch.randn(2, 1, *(net.patch + 8,) * ndim))
    return net.eval()


def padded(net: PatchNet, ndim: int, batch: int = 2) -> torch.Tensor:
    size = [n * net.stride + 2 * net.margin for n in SHAPE[ndim]]
    return torch.rand((batch, 1, *size), generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("ndim", [2, 3])
def test_the_whole_image_gives_at_each_place_what_the_patch_there_gives(ndim: int) -> None:
    net = patch_net(ndim)
    image = padded(net, ndim)
    with torch.no_grad():
        whole = net(image)
        assert whole.shape == (2, 3, ndim, *SHAPE[ndim])
        assert whole.std() > 1e-3
        for k in np.ndindex(*SHAPE[ndim]):
            crop = tuple(slice(n * net.stride, n * net.stride + net.patch) for n in k)
            one = net(image[(slice(None), slice(None), *crop)])
            assert one.shape[3:] == (1,) * ndim
            torch.testing.assert_close(whole[(..., *k)], one.flatten(3).squeeze(-1), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("ndim", [2, 3])
def test_slabs_change_nothing(ndim: int, monkeypatch: pytest.MonkeyPatch) -> None:
    net = patch_net(ndim)
    image = padded(net, ndim)
    with torch.no_grad():
        plain = net.head(net.body(image))
        for most in (1, 2000, 10**9):
            monkeypatch.setitem(AT_ONCE, ndim, most)
            torch.testing.assert_close(net.features(image), plain, rtol=1e-5, atol=1e-6)


def test_no_slab_is_larger_than_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    net = patch_net(3)
    image = padded(net, 3)
    taken: list[int] = []
    net.body[0].register_forward_hook(lambda _layer, given, _output: taken.append(given[0].shape[2]))
    *_, crop, widest = net.parts[0]
    monkeypatch.setitem(AT_ONCE, 3, 4 * widest * image[:, :, 0].numel())
    with torch.no_grad():
        net.features(image)
    assert max(taken) == 4 + 2 * crop
    assert len(taken) > 3


def test_normalisation_folded_into_the_convolution_changes_nothing() -> None:
    net = patch_net(2)
    layer = net.body[0].body[0]
    x = torch.randn(1, 1, 9, 11)
    expected = torch.relu(layer.norm(layer.convolve(x)))
    torch.testing.assert_close(layer(x), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("refined", [False, True])
@pytest.mark.parametrize("ndim", [2, 3])
def test_stage_2_starts_at_the_mean_vote_of_stage_1(ndim: int, refined: bool) -> None:
    net = patch_net(ndim)
    image = padded(net, ndim)
    refinement = RefinementHead(net, level=0, window=(8,) * ndim, channels=((4,),), prior=0.1) if refined else None
    joint = JointNet(net, spacing=SPACING[ndim], rank=4, mean_shape=torch.randn(3, ndim), refinement=refinement).eval()
    with torch.no_grad():
        spacing = torch.tensor(SPACING[ndim])
        patch_votes = patch_centers_grid_mm(SHAPE[ndim], net.stride, spacing) + displacements_grid_mm(
            net(image), spacing
        )
        output = joint(image)
    for points in (output.points_grid_mm, *output.intermediate_points):
        torch.testing.assert_close(points, patch_votes.mean(-1), rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("ndim", [2, 3])
def test_gradients_reach_stage_1_end_to_end_and_stop_before_it_when_frozen(ndim: int) -> None:
    image = padded(patch_net(ndim), ndim)
    where = {"spacing": torch.tensor(SPACING[ndim]), "stride": 4}
    points = torch.rand(2, 3, ndim) * 5
    states = torch.full((2, 3), State.PRESENT)
    for frozen in (False, True):
        joint = JointNet(patch_net(ndim), spacing=SPACING[ndim], rank=4)
        if frozen:
            joint.freeze()
        before = {k: v.clone() for k, v in joint.patches.state_dict().items()}
        joint.train()
        terms = joint_loss(joint(image), points, states, attention_loss_weight=0.0, class_weight=0.0, **where)
        (terms["coordinate"] + terms["intermediate"]).backward()
        reached = [p.grad is not None and bool(p.grad.abs().sum() > 0) for p in joint.patches.parameters()]
        assert not any(reached) if frozen else all(reached)
        assert joint.rounds[0].weight.weight.grad is not None
        assert joint.rounds[0].weight.weight.grad.abs().sum() > 0
        if frozen:
            assert all(torch.equal(v, before[k]) for k, v in joint.patches.state_dict().items())


def test_fixed_normalisation_is_the_same_in_training_and_in_prediction() -> None:
    joint = JointNet(patch_net(2), spacing=SPACING[2], rank=4, fixed_normalisation=True).train()
    image = padded(joint.patches, 2)
    before = {k: v.clone() for k, v in joint.patches.state_dict().items()}
    learning = joint(image).points_grid_mm
    learning.sum().backward()
    assert all(p.grad is not None and bool(p.grad.abs().sum() > 0) for p in joint.patches.parameters())
    assert all(torch.equal(v, before[k]) for k, v in joint.patches.state_dict().items())
    with torch.no_grad():
        torch.testing.assert_close(joint.eval()(image).points_grid_mm, learning, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kept", [0, 10**9])
def test_parts_of_the_landmarks_give_what_all_give(monkeypatch: pytest.MonkeyPatch, kept: int) -> None:
    joint = JointNet(patch_net(2, landmarks=5), spacing=SPACING[2], rank=4).eval()
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
    given: dict[str, Any] = {"spacing": spacing, "stride": 4, "distance_decay": 8.0, "distance_floor": 0.1}
    assert displacement_loss(exact, points, states, **given) < 1e-6
    for ignored in (1, 2):
        wrong = exact.clone()
        wrong[0, ignored] += 5
        assert displacement_loss(wrong, points, states, **given) < 1e-6
    near, far = exact.clone(), exact.clone()
    near[0, 0, :, 0, 0] += 1
    far[0, 0, :, -1, -1] += 1
    assert displacement_loss(near, points, states, **given) > 2 * displacement_loss(far, points, states, **given) > 0
    alike = {**given, "distance_decay": 1e9}  # the same error of a long displacement counts less by its logarithm alone
    assert displacement_loss(near, points, states, **alike) > displacement_loss(far, points, states, **alike) > 0


def test_absent_landmarks_teach_the_classifier_alone_and_unannotated_ones_nothing() -> None:
    joint = JointNet(patch_net(2), spacing=SPACING[2], rank=4)
    image = padded(joint.patches, 2, batch=1)
    states = torch.tensor([[State.PRESENT, State.ABSENT, State.NOT_ANNOTATED]])
    points = torch.tensor([[[3.0, 4.0], [float("nan")] * 2, [1.0, 1.0]]])
    terms = joint_loss(
        joint.train()(image),
        points,
        states,
        attention_loss_weight=1.0,
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


def plan_for(case: CachedCase, **asked: Any) -> TwoStagePlan:
    """The plan of small networks for images like that of `case`."""
    ndim = case.image.fine.ndim
    defaults = {"spacing": SPACING[ndim], "channels": ((4,), (4,), (4,)), "head_channels": (4,), "refine": False}
    facts = DataFacts((case.image.fine_grid,), len(case.states), has_pairs=False, memory_bytes=8e9)
    return TwoStage.plan(TwoStageSettings(**{**defaults, "distance_decay": 10.0, **asked}), facts)


def detector_for(plan: TwoStagePlan) -> TwoStage:
    """A detector that has learned nothing yet."""
    network = plan.network
    networks = {"stage1": make_patches(network), "stage2": make_joint(network, make_patches(network))}
    return TwoStage(network, networks, PresenceModel.unfitted(network.answers))


@pytest.mark.parametrize("ndim", [2, 3])
def test_the_detector_gives_in_the_world_what_the_patches_give_in_the_array(ndim: int) -> None:
    """Votes that all point at one element of an image of odd size come out at its world position."""
    shape = (23, 38, 17)[:ndim]
    target = np.array([[7.0, 11.0, 3.0], [20.5, 2.25, 9.0], [0.0, 37.0, 16.0]])[:, :ndim]
    case = a_case(ndim, shape, target)
    detector = detector_for(plan_for(case, stage2_crop=(24,) * ndim))

    class Exact(PatchNet):
        def displacements(self, features: torch.Tensor, part: slice | None = None) -> torch.Tensor:
            centers = votes.patch_centers(features.shape[2:], (self.stride,) * ndim)
            aim = torch.from_numpy(target).float().view(1, 3, ndim, *(1,) * ndim)
            far = (aim - centers) * torch.tensor(SPACING[ndim]).view(ndim, *(1,) * ndim)
            return (far / min(SPACING[ndim]))[:, part or slice(3)]

    for network in (detector.networks["stage1"], detector.networks["stage2"].patches):
        network.__class__ = Exact
    for stage in ("stage1", "stage2"):
        (found,) = detector.locate(case.image, CPU, upto=stage)
        np.testing.assert_allclose(found.points_world, case.points_world, atol=1e-3)
        np.testing.assert_allclose(found.spread, 0, atol=1e-2)
    for found_points in detector.fixed_votes(case.image, CPU).values():
        np.testing.assert_allclose(found_points, case.points_world, atol=1e-3)


def test_stage_1_is_chosen_by_single_votes_next_to_the_landmark() -> None:
    """Far votes and the mean vote may be anything; votes that cancel out around the landmark are no merit."""
    case = a_case(2, (40, 48), np.array([[12.0, 20.0], [30.0, 9.0], [np.nan, np.nan]]))
    stages = TwoStageStages(plan_for(case, stage2_crop=(40, 48)))
    network = make_patches(stages.plan.network)
    centers = votes.patch_centers((10, 12), (4, 4))

    class Fixed(PatchNet):
        off = 0.0

        def displacements(self, features: torch.Tensor, part: slice | None = None) -> torch.Tensor:
            aim = torch.tensor([[12.0, 20.0], [30.0, 9.0], [5.0, 5.0]]).view(1, 3, 2, 1, 1)
            far = (aim - centers) * torch.tensor(SPACING[2]).view(2, 1, 1)
            wrong = 100.0 * (far.square().sum(2, keepdim=True) > 15**2) + self.off * far.sign()
            return (far + wrong) / min(SPACING[2])

    network.__class__ = Fixed
    assert np.nanmean(stages.errors("stage1", {"stage1": network}, [case], CPU)) < 1e-3
    network.off = 2.0
    assert np.nanmean(stages.errors("stage1", {"stage1": network}, [case], CPU)) == pytest.approx(
        2 * np.sqrt(2), rel=0.3
    )


def test_examples_show_the_landmark_where_their_points_are() -> None:
    target = np.array([[30.0, 12.0]])
    case = a_case(2, (60, 44), target)
    array = np.zeros((60, 44), dtype=np.uint8)
    array[30, 12] = 255
    image = WorkingImage(array, case.image.fine_grid, array, case.image.fine_grid, (0.0, 255.0))
    case = CachedCase("a", "a", "train", image, case.points_world, case.states)
    stages = TwoStageStages(plan_for(case, augmentation="none", stage1_crop=(24, 16), stage2_crop=(60, 44)))
    cache = Cache(("a",), (), (case,), True)
    margin = make_patches(stages.plan.network).margin
    seen = 0
    for seed in range(30):
        batch = stages.batch("stage1", [case], cache.mirrored, np.random.default_rng(seed), CPU)
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
    planned = TwoStage.plan(TwoStageSettings(), facts(ndim))
    assert planned.network.pool == (1,) * ndim
    assert planned.undecided == ()
    values = {**dict(planned.network), **dict(planned.training)}
    assert all(values[name] is not None for name in values if name not in ("template", "minutes"))
    assert set(TwoStageSettings.model_fields) - {"augmentation", "epochs"} <= set(values)
    stride = planned.network.stride
    assert all(n % stride == 0 for n in (*planned.training.stage1_crop, *planned.training.stage2_crop))


def test_patches_of_many_landmarks_lie_farther_apart() -> None:
    few, many = (TwoStage.plan(TwoStageSettings(), facts(3, 1e12, n)).network for n in (10, 10_000))
    assert len(many.channels) == len(few.channels) + 1
    assert TwoStage.plan(TwoStageSettings(channels=((8,), (8,))), facts(3)).network.dilations == ()
    assert (few.refine, many.refine) == (True, False)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"pool": (2, 2)}, "pool"),
        ({"stage1_crop": (30, 32)}, "stage1_crop"),
        ({"stage2_crop": (32,)}, "stage2_crop"),
        ({"refine_level": 3}, "refine_level"),
        ({"refine_window": (30, 30)}, "refine_window"),
        ({"refine_channels": ((8,), ())}, "refine_channels"),
        ({"channels": ((8,), ())}, "channels"),
    ],
)
def test_settings_that_do_not_fit_are_named(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        TwoStage.plan(TwoStageSettings(**settings), facts(2))


def test_all_settings_that_do_not_fit_are_named_at_once() -> None:
    asked = TwoStageSettings(pool=(2, 2), refine_level=3, stage1_crop=(32,))
    with pytest.raises(SettingsError) as error:
        TwoStage.plan(asked, facts(2))
    assert all(name in str(error.value) for name in ("pool", "refine_level", "stage1_crop"))


def test_an_image_too_large_for_the_memory_is_refused_with_what_to_set() -> None:
    with pytest.raises(SettingsError, match="spacing"):
        TwoStage.plan(TwoStageSettings(spacing=(0.3, 0.3, 0.3)), facts(3, memory=1e8))


def test_a_stage_too_large_for_the_memory_is_refused_with_the_batch_that_fits() -> None:
    one = TwoStageStages(TwoStage.plan(TwoStageSettings(stage2_batch=1), facts(2))).stage_plan("stage2").case_bytes
    with pytest.raises(SettingsError, match="stage2_batch=2"):
        TwoStage.plan(TwoStageSettings(stage2_batch=4), facts(2, memory=2.5 * one))
    small = TwoStage.plan(TwoStageSettings(), facts(2, memory=1.1 * one)).training
    assert small.stage1_batch < TwoStage.plan(TwoStageSettings(), facts(2)).training.stage1_batch


def test_epochs_are_shared_over_the_stages_and_a_stage_may_have_its_own_steps() -> None:
    training = TwoStage.plan(TwoStageSettings(epochs=4000, frozen_steps=7), facts(2)).training
    assert training.frozen_steps == 7
    assert training.stage1_steps == round(4000 * 0.3 * 3 / training.stage1_batch)
    assert training.stage2_steps == round(4000 * 0.65 * 3 / training.stage2_batch)
    stages = TwoStageStages(TwoStage.plan(TwoStageSettings(), facts(2)))
    assert sum(stages.stage_plan(stage).share for stage in stages.stages) == pytest.approx(1)
    for stage in stages.stages:
        assert stages.with_steps(stage, 11).stage_plan(stage).steps == 11


@pytest.mark.parametrize(
    ("earlier", "value"),
    [
        ("say_weight", 0.7),
        ("look", False),
        ("look_level", 0),
        ("look_window", (32, 16)),
        ("look_channels", ((4,), (6,))),
        ("near", 12.0),
        ("image", (64, 32)),
        ("hidden", (16, 8)),
        ("rank", 5),
        ("context", (3,)),
        ("ripple", 0.05),
    ],
)
def test_settings_load_by_their_earlier_names(earlier: str, value: object) -> None:
    asked = TwoStageSettings.model_validate({earlier: value})
    assert getattr(asked, TwoStageSettings.earlier_names[earlier]) == value


def test_every_setting_has_a_description() -> None:
    assert not [name for name, field in TwoStageSettings.model_fields.items() if not field.description]


class FewSteps:
    """A trainer that takes the planned steps and nothing else."""

    device = CPU

    def train(self, staged: StagedT, stage: str, networks: Networks, cache: Cache) -> tuple[StagedT, torch.nn.Module]:
        network = staged.make(stage, networks, cache).train()
        optimiser = torch.optim.AdamW((p for p in network.parameters() if p.requires_grad), lr=2e-3)
        rng = np.random.default_rng(0)
        for _ in range(staged.stage_plan(stage).steps):
            batch = staged.batch(stage, cache.training, cache.mirrored, rng, CPU)
            optimiser.zero_grad()
            torch.stack(list(staged.loss(stage, network, batch).values())).sum().backward()
            optimiser.step()
        return staged, network


@pytest.mark.parametrize("ndim", [2, 3])
def test_a_fitted_detector_holds_its_two_networks_and_comes_back_from_its_tensors(ndim: int) -> None:
    case = a_case(ndim, (24, 32, 16)[:ndim], np.array([[7.0, 11.0, 3.0], [20.0, 2.0, 9.0], [9.0, 20.0, 8.0]])[:, :ndim])
    held_out = CachedCase("b", "b", "validation", case.image, case.points_world, case.states)
    cache = Cache(("a", "b", "c"), (), (case, held_out), True)
    steps = {"stage1_steps": 2, "frozen_steps": 2, "stage2_steps": 2}
    refinement = {"refine": True, "refine_window": (8,) * ndim, "refine_channels": ((4,), (4,)), "refine_level": 0}
    plan = plan_for(case, **steps, **refinement)
    detector = TwoStage.fit(plan, cache, FewSteps())
    assert detector.network == plan.network
    assert sorted(detector.networks) == ["stage1", "stage2"]
    assert 0 <= float(detector.tensors()["stage2.refinement.blend_weight"]) <= 1
    assert len(detector.presence.weights) == plan.network.answers == 2
    again = TwoStage.load(plan.network, detector.tensors(), detector.presence, device=CPU, source="model")
    for one, two in zip(detector.locate(case.image, CPU), again.locate(case.image, CPU), strict=True):
        np.testing.assert_array_equal(one.points_world, two.points_world)
        np.testing.assert_array_equal(one.mass, two.mass)


def test_the_frozen_stage_leaves_the_network_of_stage_1_as_it_was() -> None:
    case = a_case(2, (24, 32), np.array([[7.0, 11.0], [20.0, 2.0], [9.0, 20.0]]))
    cache = Cache(("a", "b", "c"), (), (case,), True)
    stages = TwoStageStages(plan_for(case, frozen_steps=3))
    first = {"stage1": stages.make("stage1", {}, cache)}
    before = {name: tensor.clone() for name, tensor in first["stage1"].state_dict().items()}
    _, frozen = FewSteps().train(stages, "stage2_frozen", first, cache)
    for name, tensor in before.items():
        assert torch.equal(first["stage1"].state_dict()[name], tensor)
        assert torch.equal(frozen.state_dict()[f"patches.{name}"], tensor)
    assert any(bool(p.grad is not None and p.grad.abs().sum() > 0) for p in frozen.rounds.parameters())


# Names and settings as models of format 1 had them; those of a training are passed over.
FORMAT_1: dict[str, Any] = {
    "spacing": [0.7, 1.3],
    "pool": [1, 1],
    "align": "none",
    "channels": [[4], [4], [4]],
    "context": [2],
    "hidden": [4],
    "rounds": 2,
    "rank": 3,
    "image": [40, 56],
    "say_weight": 0.1,
    "ripple": 0.1,
    "prediction_memory_gib": 1.5,
}
LOOK = {"look": True, "look_level": 0, "look_window": [16, 24], "look_channels": [[4], [4]], "look_uniform": 0.1}
TO_FORMAT_1 = {"body": "ladder", "head": "hidden", "refinement": "look", "blend_weight": "share"}


def name_of_format_1(name: str) -> str:
    stage, *parts = name.split(".")
    outer = 1 if stage == "stage1" else 2  # deeper parts keep their names
    return ".".join([stage, *(TO_FORMAT_1.get(part, part) for part in parts[:outer]), *parts[outer:]])


@pytest.mark.parametrize("look", [{}, LOOK], ids=["before the refinement", "with it"])
def test_models_of_format_1_load_by_the_names_of_their_time(look: dict[str, Any]) -> None:
    case = a_case(2, (40, 56), np.array([[12.0, 40.0], [30.0, 9.0], [20.0, 20.0]]))
    network = TwoStageNetwork.from_format_1({**FORMAT_1, **look}, 3)
    assert network.refine == bool(look)
    assert network.answers == 1 + bool(look)
    assert (network.dilations, network.head_channels, network.joint_rank) == ((2,), (4,), 3)
    torch.manual_seed(0)
    networks = {"stage1": make_patches(network), "stage2": make_joint(network, make_patches(network))}
    detector = TwoStage(network, networks, PresenceModel.unfitted(network.answers))
    old = {name_of_format_1(name): tensor for name, tensor in detector.tensors().items()}
    assert "stage2.patches.ladder.0.body.0.convolve.weight" in old
    assert ("stage2.look.share" in old) == ("stage2.look.net.body.0.weight" in old) == bool(look)
    loaded = TwoStage.load(network, old, detector.presence, device=CPU, source="model")
    for one, two in zip(detector.locate(case.image, CPU), loaded.locate(case.image, CPU), strict=True):
        np.testing.assert_array_equal(one.points_world, two.points_world)


@pytest.mark.parametrize("name", ["spacing", "pool", "channels", "context", "rank", "look_window"])
def test_a_model_of_format_1_without_a_setting_of_its_network_is_refused(name: str) -> None:
    settings = {**FORMAT_1, **LOOK}
    del settings[name]
    with pytest.raises(ValidationError):
        TwoStageNetwork.from_format_1(settings, 3)

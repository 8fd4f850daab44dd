"""Transfer from atlases: better than the mean shape, right about what no atlas has, and never without an answer."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from anatomark.core.grid import Grid
from anatomark.core.image import Image
from anatomark.core.landmarks import State
from anatomark.data.cache import Cache, CachedCase
from anatomark.data.phantoms import PhantomSpec, phantom
from anatomark.data.working import Sampling, working_image
from anatomark.errors import ModelError, RegistrationError, SettingsError
from anatomark.methods.atlas.config import AtlasNetwork, AtlasTraining
from anatomark.methods.atlas.fusion import Transfer, agreement, fuse
from anatomark.methods.atlas.library import choose_atlases, straightened
from anatomark.methods.atlas.method import Atlas
from anatomark.methods.atlas.plan import AtlasPlan
from anatomark.methods.atlas.registration import full_map
from anatomark.methods.atlas.settings import AtlasSettings
from anatomark.methods.interface import DataFacts, Located, Networks, StagedT

Floats = np.ndarray[Any, np.dtype[np.float64]]
CPU = torch.device("cpu")
SIZE = {2: {"shape": (96, 112), "spacing": (2.0, 2.2)}, 3: {"shape": (32, 40, 36), "spacing": (4.0, 3.8, 4.6)}}
SIDE = {2: 48, 3: 32}


def facts(cases: Sequence[CachedCase]) -> DataFacts:
    return DataFacts(tuple(c.image.fine_grid for c in cases), len(cases[0].states), False, 1e9)


def phantom_cases(ndim: int, count: int, *, absent: float = 0.0) -> tuple[CachedCase, ...]:
    """Phantoms as training cases, at a spacing that registers in no time."""
    spec = PhantomSpec(ndim=ndim, landmarks=5, absent=absent, **SIZE[ndim])
    cases = []
    for index in range(count):
        image, landmarks = phantom(11, index, spec)
        spacing = (max(image.grid.extent) / SIDE[ndim],) * ndim
        working = working_image(image, Sampling(spacing, (1,) * ndim))
        cases.append(CachedCase(str(index), str(index), "train", working, landmarks.points, landmarks.states))
    return tuple(cases)


class NoTrainer:
    """A trainer that is never asked for anything: no network is trained by steps."""

    device = CPU

    def train(self, staged: StagedT, stage: str, networks: Networks, cache: Cache) -> tuple[StagedT, torch.nn.Module]:
        raise AssertionError("the atlas has no stages")


def planned(cases: Sequence[CachedCase], **settings: Any) -> AtlasPlan:
    ndim = cases[0].image.fine.ndim
    return Atlas.plan(AtlasSettings(**{"pool": (1,) * ndim, "registration": "affine"} | settings), facts(cases))


def trained(cases: Sequence[CachedCase], **settings: Any) -> Atlas:
    cache = Cache(tuple("abcde"), (), tuple(cases), in_memory=True)
    return Atlas.fit(planned(cases, **settings), cache, NoTrainer())


def errors(method: Atlas, cases: Sequence[CachedCase]) -> tuple[Floats, Floats]:
    """Radial errors of the atlas and of its mean shape in the middle of the image, of present landmarks."""
    found, blind = [], []
    for case in cases:
        grid = case.image.fine_grid
        plain = grid.index_to_world(straightened(grid).world_to_index(method.library.mean_shape))
        found.append(np.linalg.norm(method.locate(case.image, CPU)[0].points_world - case.points_world, axis=1))
        blind.append(np.linalg.norm(plain - case.points_world, axis=1))
    present = np.isfinite(np.concatenate(found))
    return np.concatenate(found)[present], np.concatenate(blind)[present]


# --- registration -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ndim", [2, pytest.param(3, marks=[pytest.mark.slow, pytest.mark.long])], ids=["2D", "3D"])
def test_it_beats_the_mean_shape(ndim: int) -> None:
    cases = phantom_cases(ndim, 8)
    found, blind = errors(trained(cases[:6], nearest=3), cases[6:])
    assert found.mean() < 0.5 * blind.mean()


@pytest.mark.parametrize("ndim", [2, pytest.param(3, marks=[pytest.mark.slow, pytest.mark.long])], ids=["2D", "3D"])
def test_a_deformable_registration_comes_nearer_than_an_affine_one(ndim: int) -> None:
    cases = phantom_cases(ndim, 4)
    affine, _ = errors(trained(cases[:3], nearest=2), cases[3:])
    deformable, _ = errors(trained(cases[:3], nearest=2, registration="deformable"), cases[3:])
    assert deformable.mean() < 0.85 * affine.mean()


def test_the_nearest_alone_finds_an_image_of_its_own() -> None:
    cases = phantom_cases(2, 4)
    method = trained(cases, nearest=1, registration="rigid")
    for case in cases:
        located = method.locate(case.image, CPU)[0]
        error = np.linalg.norm(located.points_world - case.points_world, axis=1)
        assert error.max() < case.image.fine_grid.spacing[0]
        np.testing.assert_allclose(located.spread, 0, atol=1e-9)


def test_landmarks_outside_the_image_are_recognised() -> None:
    cases = phantom_cases(2, 12, absent=0.9)
    method = trained(cases[:8], nearest=3)
    states = np.concatenate([case.states for case in cases[8:]])
    mass = np.concatenate([method.locate(case.image, CPU)[0].mass for case in cases[8:]])
    presence = method.presence.probability(mass[:, None])
    assert presence[states == State.PRESENT].mean() > presence[states == State.ABSENT].mean() + 0.4


def test_the_number_of_threads_changes_no_answer() -> None:
    cases = phantom_cases(2, 4)
    method = trained(cases[:3], nearest=3, registration="deformable")
    before = torch.get_num_threads()
    answers = []
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            answers.append(method.locate(cases[3].image, CPU)[0].points_world)
    finally:
        torch.set_num_threads(before)
    np.testing.assert_array_equal(*answers)


def test_more_atlases_may_be_asked_for_than_there_are_cases() -> None:
    """As in the trial of an estimate, which has a few cases only."""
    cases = phantom_cases(2, 2)
    method = trained(cases, atlases=4, nearest=3)
    assert len(method.library) == 2
    assert np.isfinite(method.locate(cases[0].image, CPU)[0].points_world).all()


# --- what cannot be registered ----------------------------------------------------------------------------------------


def failing(*_: Any, **__: Any) -> Any:
    raise RegistrationError("no")


def test_where_every_registration_fails_the_mean_shape_is_the_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    cases = phantom_cases(2, 3)
    method = trained(cases)
    monkeypatch.setattr("anatomark.methods.atlas.registration.register_linear", failing)
    located = method.locate(cases[0].image, CPU)[0]
    grid = cases[0].image.fine_grid
    expected = np.mean([c.points_world - c.image.fine_grid.center for c in cases], axis=0) + grid.center
    np.testing.assert_allclose(located.points_world, expected, atol=1e-6)
    np.testing.assert_array_equal(located.mass, 0)
    np.testing.assert_allclose(located.spread, np.linalg.norm(grid.extent) / 2)


def test_where_the_full_registrations_fail_those_of_the_ranking_count(monkeypatch: pytest.MonkeyPatch) -> None:
    cases = phantom_cases(2, 4)
    method = trained(cases[:3], registration="deformable")
    monkeypatch.setattr("anatomark.methods.atlas.registration.register_deformable", failing)
    found, blind = errors(method, cases[3:])
    assert found.mean() < 0.5 * blind.mean()
    assert (method.locate(cases[3].image, CPU)[0].mass > 0).all()


def test_full_registrations_that_went_astray_do_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    cases = phantom_cases(2, 4)
    method = trained(cases[:3], nearest=3)
    expected = method.locate(cases[3].image, CPU)[0]
    moved = np.eye(3)
    moved[0, 2] = 60.0

    def astray(network: AtlasNetwork, atlas: Image, points: Floats, image: Image) -> tuple[Floats, Floats] | None:
        answer = full_map(network, atlas, points, image)
        return None if answer is None else (moved @ answer[0], answer[1] + [60.0, 0.0])

    monkeypatch.setattr("anatomark.methods.atlas.locate.full_map", astray)
    located = method.locate(cases[3].image, CPU)[0]
    assert np.linalg.norm(located.points_world - expected.points_world, axis=1).max() < 10
    assert (located.spread < 10).all()


# --- landmarks that atlases lack --------------------------------------------------------------------------------------


def without(case: CachedCase, landmark: int, state: State) -> CachedCase:
    points, states = case.points_world.copy(), case.states.copy()
    points[landmark], states[landmark] = np.nan, state
    return replace(case, points_world=points, states=states)


def test_an_atlas_where_a_landmark_is_not_annotated_does_not_count() -> None:
    cases = phantom_cases(2, 4)
    one = trained([cases[0]])
    both = trained([cases[0], without(cases[1], 2, State.NOT_ANNOTATED)])
    alone, together = one.locate(cases[3].image, CPU)[0], both.locate(cases[3].image, CPU)[0]
    np.testing.assert_allclose(together.points_world[2], alone.points_world[2])
    assert together.mass[2] == 1
    assert (np.linalg.norm(together.points_world - alone.points_world, axis=1) > 0.01).sum() == 4


def test_a_landmark_that_none_of_the_nearest_atlases_has_comes_from_the_others() -> None:
    cases = phantom_cases(2, 4)
    rich, poor = cases[1], [without(cases[0], 2, State.ABSENT), without(cases[2], 2, State.ABSENT)]
    method = trained([rich, *poor], nearest=1)
    located = method.locate(cases[0].image, CPU)[0]
    assert located.mass[2] == 0, "the nearest atlas is the image itself, where it is annotated as absent"
    expected = trained([rich]).locate(cases[0].image, CPU)[0]  # placed without the detour by the nearest one
    np.testing.assert_allclose(located.points_world[2], expected.points_world[2], rtol=0, atol=2)


def test_the_choice_of_atlases_has_every_landmark() -> None:
    points = np.random.default_rng(0).normal(size=(30, 6, 3))
    states = np.full((30, 6), State.PRESENT, dtype=np.uint8)
    states[:, 5], states[:, 4] = State.ABSENT, State.NOT_ANNOTATED
    states[17, 5], states[23, 4] = State.PRESENT, State.PRESENT
    points[states != State.PRESENT] = np.nan
    chosen = choose_atlases(points, states, 4)
    assert {17, 23} <= set(chosen)
    assert len(set(chosen)) == 4
    assert chosen == choose_atlases(points, states, 4)


def test_the_choice_of_atlases_is_spread_over_the_shapes() -> None:
    rng = np.random.default_rng(1)
    kinds = rng.normal(size=(3, 6, 2)) * 10
    points = np.concatenate([kind + rng.normal(size=(n, 6, 2)) for kind, n in zip(kinds, (20, 4, 8), strict=True)])
    states = np.full(points.shape[:2], State.PRESENT, dtype=np.uint8)
    chosen = np.array(choose_atlases(points, states, 3))
    assert sorted(np.searchsorted([20, 24], chosen, side="right")) == [0, 1, 2]
    assert sorted(choose_atlases(points, states, 99)) == list(range(32))


# --- parts ------------------------------------------------------------------------------------------------------------


def test_what_agrees_more_weighs_more_in_the_mass() -> None:
    grid = Grid.from_geometry((10, 10), spacing=(1.0, 1.0))
    inside, outside, absent = [5.0, 5.0], [50.0, 5.0], [np.nan, np.nan]
    everywhere = np.ones(3, dtype=bool)
    nearest = [
        Transfer(0.6, np.array([inside, inside, absent]), everywhere),
        Transfer(0.2, np.array([inside, outside, inside]), everywhere),
        Transfer(0.9, np.array([inside, absent, absent]), np.array([True, False, False])),
    ]
    _, spread, mass = fuse(nearest, [], grid, np.zeros((3, 2)))
    np.testing.assert_allclose(mass, [1, 0.75, 0.25])
    np.testing.assert_allclose(spread, [0, 22.5, 0], atol=1e-9)


def test_images_that_go_together_agree() -> None:
    rng = np.random.default_rng(0)
    grid = Grid.from_geometry((40, 50), spacing=(1.0, 1.0))
    image = Image(np.cumsum(rng.normal(size=(40, 50)), axis=1).astype(np.float32), grid)
    shift = np.eye(3)
    shift[0, 2] = 6.0
    assert agreement(image, Image(-image.array, grid), np.eye(3)) == pytest.approx(1)
    assert agreement(image, image, shift) < 0.6
    assert agreement(image, Image(image.array[:, :25], grid.crop((0, 0), (40, 25))), np.eye(3)) == pytest.approx(1)
    shift[0, 2] = 600.0
    assert agreement(image, image, shift) == 0


@pytest.mark.parametrize("ndim", [2, 3])
def test_straightened_grids_keep_shape_spacing_shear_and_forget_the_turn(ndim: int) -> None:
    from scipy.spatial.transform import Rotation

    plain = Grid.from_geometry((9, 7, 5)[:ndim], spacing=(1.0, 1.5, 2.5)[:ndim], origin=(7.0, -3.0, 2.0)[:ndim])
    turn = np.eye(ndim + 1)
    turn[:ndim, :ndim] = Rotation.from_rotvec([0, 0, 0.4] if ndim == 2 else [0.2, -0.1, 0.3]).as_matrix()[:ndim, :ndim]
    sheared = np.eye(ndim + 1)
    sheared[0, 1] = sheared[1, 0] = 0.2
    for matrix in (np.eye(ndim + 1), sheared):
        grid = Grid(plain.shape, matrix @ plain.affine)
        straight = straightened(grid)
        np.testing.assert_allclose(straight.center, 0, atol=1e-9)
        np.testing.assert_allclose(straight.spacing, grid.spacing, atol=1e-6)
        corners = np.array([[0] * ndim, [n - 1 for n in grid.shape]])
        apart = [np.linalg.norm(np.diff(g.index_to_world(corners), axis=0)) for g in (grid, straight)]
        assert apart[0] == pytest.approx(apart[1], abs=1e-6)
        assert straightened(Grid(grid.shape, turn @ grid.affine)).same_as(straight, 1e-9)


def test_a_plan_names_what_does_not_fit() -> None:
    cases = phantom_cases(2, 4)
    plan = Atlas.plan(AtlasSettings.model_validate({}), facts(cases))
    assert (plan.training.atlases, plan.network.nearest) == (4, 4)
    asked = AtlasSettings.model_validate({"spacing": (1.0,), "nearest": 5, "atlases": 2})
    with pytest.raises(SettingsError, match=r"spacing has 1 entries.*nearest=5 is more than atlases=2; set nearest to"):
        Atlas.plan(asked, facts(cases))
    with pytest.raises(ValidationError, match="atlas_shapes"):
        AtlasSettings.model_validate({"atlas_shapes": ((3, 3),)})


def test_an_earlier_name_of_a_setting_still_works() -> None:
    cases = phantom_cases(2, 4)
    assert planned(cases, elements=600).network.spacing == planned(cases, max_voxels=600).network.spacing
    assert planned(cases, elements=600) != planned(cases)


def test_a_plan_can_be_written() -> None:
    plan = planned(phantom_cases(2, 3), seed=4)
    assert AtlasNetwork.model_validate_json(plan.network.model_dump_json()) == plan.network
    assert AtlasTraining.model_validate_json(plan.training.model_dump_json()) == plan.training
    assert plan.network.seed == plan.training.seed == 4


# --- models -----------------------------------------------------------------------------------------------------------


def load_again(method: Atlas, tensors: dict[str, torch.Tensor]) -> Atlas:
    return Atlas.load(method.network, tensors, method.presence, device=CPU, source="model.safetensors")


def test_a_library_comes_back_whole_from_its_tensors() -> None:
    cases = phantom_cases(2, 4, absent=0.9)
    method = trained(cases[:3], nearest=2)
    again = load_again(method, {name: tensor.clone() for name, tensor in method.tensors().items()})
    assert again.network.atlas_shapes == again.library.shapes == method.library.shapes
    assert len(again.library) == 3
    one, other = (m.locate(cases[3].image, CPU)[0] for m in (method, again))
    np.testing.assert_array_equal(one.points_world, other.points_world)
    np.testing.assert_array_equal(one.mass, other.mass)


def test_tensors_that_do_not_fit_are_named() -> None:
    method = trained(phantom_cases(2, 3))
    whole = method.tensors()
    assert {name.split(".")[0] for name in whole} == {"atlases"}
    lost = {name: tensor for name, tensor in whole.items() if name != "atlases.grey_1"}
    with pytest.raises(ModelError, match=r"model.safetensors: 1 tensors missing \(atlases.grey_1\)"):
        load_again(method, lost)
    with pytest.raises(ModelError, match=r"1 tensors foreign \(global.bias\)"):
        load_again(method, whole | {"global.bias": torch.zeros(2)})
    with pytest.raises(ModelError, match=r"1 tensors of another shape \(atlases.links\)"):
        load_again(method, whole | {"atlases.links": torch.zeros((2, 3, 3))})
    with pytest.raises(ModelError, match=r"1 tensors not finite \(atlases.mean_shape\)"):
        load_again(method, whole | {"atlases.mean_shape": torch.full((5, 2), torch.nan)})


def test_a_model_of_format_1_gives_its_network() -> None:
    earlier: dict[str, Any] = {"spacing": [3.0, 2.5], "pool": [2, 1], "align": "none", "template": None, "seed": 3}
    earlier |= {"elements": 3000, "atlases": 3, "nearest": 2, "registration": "rigid", "backend": "simpleitk"}
    earlier |= {"atlas_shapes": [[57, 53], [33, 53]], "patience": 10}
    network = AtlasNetwork.from_format_1(earlier, 4)
    assert (network.landmarks, network.nearest, network.registration, network.seed) == (4, 2, "rigid", 3)
    assert network.atlas_shapes == ((57, 53), (33, 53))
    for damage in ({"atlas_shapes": None}, {"atlas_shapes": [[3, 3, 3]]}, {"nearest": 0}, {"seed": "x"}):
        with pytest.raises(ValidationError):
            AtlasNetwork.from_format_1(earlier | damage, 4)


def test_a_located_image_is_finite_without_any_landmark_in_training() -> None:
    nothing: dict[str, Any] = {"points_world": np.full((5, 2), np.nan), "states": np.zeros(5, dtype=np.uint8)}
    cases = [replace(case, **nothing) for case in phantom_cases(2, 2)]
    located: Located = trained(cases).locate(cases[0].image, CPU)[0]
    assert np.isfinite(located.points_world).all()
    np.testing.assert_array_equal(located.mass, 0)

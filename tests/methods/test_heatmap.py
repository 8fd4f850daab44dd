"""The heatmap baseline: its loss, its tiles, and the points it takes out of heatmaps."""

import itertools
import math
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from anatomark import load, load_dataset, train
from anatomark.core.grid import Grid
from anatomark.core.landmarks import State
from anatomark.data.phantoms import make_phantoms
from anatomark.data.working import WorkingImage, working_image
from anatomark.errors import MissingExtraError, SettingsError
from anatomark.methods.heatmap.config import HeatmapLoss, HeatmapNetwork, HeatmapTraining
from anatomark.methods.heatmap.loss import cross_entropy, density, inside_grid
from anatomark.methods.heatmap.method import Heatmap
from anatomark.methods.heatmap.network import HeatmapNet
from anatomark.methods.heatmap.peaks import find_peaks
from anatomark.methods.heatmap.plan import HeatmapPlan, plan
from anatomark.methods.heatmap.settings import HeatmapSettings
from anatomark.methods.heatmap.stages import HeatmapStages, make_network
from anatomark.methods.interface import Batch, DataFacts
from anatomark.methods.passes import passes
from anatomark.methods.presence import PresenceModel
from anatomark.methods.unet_plan import plan_strides

CPU = torch.device("cpu")
SMALL = {"channels": [4, 6, 8], "batch": 2, "steps": 10, "precision": "32-true"}


def facts(shape: tuple[int, ...], spacing: float = 1.0, *, landmarks: int = 5, memory_gib: float = 16) -> DataFacts:
    grid = Grid.from_geometry(shape, spacing=(spacing,) * len(shape))
    return DataFacts((grid,) * 3, landmarks, False, memory_gib * 2**30)


def small(shape: tuple[int, ...], *, landmarks: int = 5, **settings: Any) -> tuple[HeatmapStages, Heatmap]:
    """An untrained detector for images of `shape`, and how it would learn."""
    one = {"strides": [[1] * len(shape), [2] * len(shape), [2] * len(shape)]}
    planned = plan(HeatmapSettings(**SMALL | one | settings), facts(shape, landmarks=landmarks))
    torch.manual_seed(1)
    network = make_network(planned.network)
    torch.nn.init.normal_(network.head.weight, std=1.0)
    return HeatmapStages(planned), Heatmap(planned.network, {"heatmap": network}, PresenceModel.unfitted(1))


def network_of(detector: Heatmap) -> HeatmapNet:
    return cast("HeatmapNet", detector.networks["heatmap"])


def noise(shape: tuple[int, ...], seed: int = 0) -> WorkingImage:
    array = np.random.default_rng(seed).integers(0, 255, shape).astype(np.uint8)
    grid = Grid.from_geometry(shape, spacing=(1.0,) * len(shape))
    return WorkingImage(array, grid, array, grid, (0.0, 255.0))


def some_batch(network: HeatmapNetwork, *, seed: int = 0) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    crop, landmarks = network.crop, network.landmarks
    points = torch.rand((2, landmarks, len(crop)), generator=generator) * torch.tensor(crop) - 0.5
    states = torch.full((2, landmarks), int(State.PRESENT), dtype=torch.uint8)
    states[0, 1], states[1, 2] = int(State.ABSENT), int(State.NOT_ANNOTATED)
    points[states != State.PRESENT] = torch.nan
    values = torch.randn((2, 1, *crop), generator=generator)
    return {"values": values, "points": points, "states": states, "sigma": torch.full((len(crop),), 1.5)}


# --- the loss ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("loss", ["binary", "softmax"])
@pytest.mark.parametrize("grid", [(7, 11), (5, 6, 9)])
def test_the_loss_is_the_cross_entropy_with_a_whole_gaussian(grid: tuple[int, ...], loss: HeatmapLoss) -> None:
    """Against the same written out, the target being an array of all elements."""
    d = len(grid)
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn((2, 3, *grid), generator=generator)
    points = torch.rand((2, 3, d), generator=generator) * (torch.tensor(grid) - 1)
    inside = torch.tensor([[True, False, True], [True, True, False]])
    points[~inside] = torch.nan
    sigma = torch.tensor([0.8, 1.7, 1.2][:d])

    found = cross_entropy(logits, points, inside, sigma, loss=loss)

    axes = torch.meshgrid(*(torch.arange(n) for n in grid), indexing="ij")
    for b, k in itertools.product(range(2), range(3)):
        exponent = torch.stack([((a - points[b, k, i]) / sigma[i]) ** 2 for i, a in enumerate(axes)]).sum(0)
        target = (-0.5 * exponent).exp() if inside[b, k] else torch.zeros(grid)
        if loss == "binary":
            entropy = torch.nn.functional.binary_cross_entropy_with_logits(logits[b, k], target, reduction="sum")
            expected = entropy / ((2 * math.pi) ** (d / 2) * sigma.prod())
        else:
            all_logits = torch.cat([logits[b, k].flatten(), torch.zeros(1)])
            share = target.flatten() / target.sum() if inside[b, k] else target.flatten()
            everything = torch.cat([share, (1 - share.sum()).view(1)])
            expected = -(everything * all_logits.log_softmax(0)).sum()
        torch.testing.assert_close(found[b, k], expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("loss", ["binary", "softmax"])
def test_the_density_sums_to_one_where_the_heatmap_is_its_target(loss: HeatmapLoss) -> None:
    axes = torch.meshgrid(torch.arange(20), torch.arange(24), indexing="ij")
    square = ((axes[0] - 9.3) ** 2 + (axes[1] - 12.1) ** 2) / 1.5**2
    target = (-0.5 * square).exp().view(1, 1, 20, 24)
    logits = target.clamp(1e-9, 1 - 1e-6).logit() if loss == "binary" else target.log() + 20
    found = density(logits, torch.tensor([1.5, 1.5]), loss=loss)
    np.testing.assert_allclose(found.sum(), 1, rtol=1e-3)
    assert found.min() >= 0
    assert density(logits - 40, torch.tensor([1.5, 1.5]), loss=loss).sum() < 1e-6


def test_a_landmark_is_inside_within_the_outer_border_of_the_grid() -> None:
    points = torch.tensor([[[-0.5, 3.0], [-0.6, 3.0], [3.4, 4.4], [3.5, 1.0], [math.nan, math.nan], [1.0, 1.0]]])
    states = torch.tensor([[1, 1, 1, 1, 1, 0]], dtype=torch.uint8)
    states[states == 1] = int(State.PRESENT)
    states[0, 5] = int(State.ABSENT)
    found = inside_grid(points, states, torch.tensor([4, 5]))
    assert found.tolist() == [[True, False, True, False, False, False]]


def test_what_is_not_annotated_counts_nowhere() -> None:
    stages, detector = small((32, 32))
    network = network_of(detector)
    batch = some_batch(detector.network)
    batch["states"][:] = int(State.PRESENT)
    batch["points"] = torch.nan_to_num(batch["points"], nan=3.0)
    batch["states"][:, 3] = int(State.NOT_ANNOTATED)
    loss = stages.loss("heatmap", network, batch)["heatmap"]
    loss.backward()
    gradient = network.head.weight.grad
    assert gradient is not None
    assert gradient[3].abs().max() == 0
    assert (gradient[[0, 1, 2, 4]].abs().amax((1, 2, 3)) > 0).all()

    batch["points"][:, 3] = torch.nan
    torch.testing.assert_close(stages.loss("heatmap", network, batch)["heatmap"], loss)
    batch["states"][:] = int(State.NOT_ANNOTATED)
    nothing = stages.loss("heatmap", network, batch)["heatmap"]
    nothing.backward()
    assert nothing == 0


# --- tiles ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(40, 32), (12, 16, 20)])
@pytest.mark.parametrize("per_tile", [1, 2])
def test_tiles_of_landmarks_change_nothing(shape: tuple[int, ...], per_tile: int) -> None:
    whole, tiled = small(shape, landmarks_per_tile=5), small(shape, landmarks_per_tile=per_tile)
    gradients = []
    for stages, detector in (whole, tiled):
        network = network_of(detector)
        loss = stages.loss("heatmap", network, some_batch(detector.network))["heatmap"]
        loss.backward()
        gradients.append([loss, *(p.grad for p in network.parameters())])
    for one, other in zip(*gradients, strict=True):
        assert one is not None
        torch.testing.assert_close(other, one, rtol=1e-5, atol=1e-5)

    one, other = (detector.locate(noise(shape), CPU)[0] for _, detector in (whole, tiled))
    for name in ("points_world", "spread", "mass"):
        np.testing.assert_allclose(getattr(other, name), getattr(one, name), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("per_tile", [2, 40])
def test_training_keeps_no_heatmap_but_with_a_single_tile(per_tile: int) -> None:
    stages, detector = small((64, 64), landmarks=40, landmarks_per_tile=per_tile)
    batch = some_batch(detector.network)
    kept = []

    def keep(tensor: Tensor) -> Tensor:
        kept.append(tensor.shape)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        stages.loss("heatmap", network_of(detector), batch)
    heatmaps = [shape for shape in kept if shape[:2] == (2, per_tile) and math.prod(shape[2:]) >= 64 * 64]
    assert bool(heatmaps) == (per_tile == 40)


# --- points -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", [(9.3, 12.8), (8.5, 11.5), (10.0, 11.07), (7.25, 9.7, 8.4)])
def test_points_lie_between_elements(place: tuple[float, ...]) -> None:
    d = len(place)
    axes = torch.meshgrid(*(torch.arange(n, dtype=torch.float32) for n in (20, 24, 18)[:d]), indexing="ij")
    square = torch.stack([((a - p) / 1.5) ** 2 for a, p in zip(axes, place, strict=True)]).sum(0)
    wide = (-0.5 * square).exp() / (math.sqrt(2 * math.pi) * 1.5) ** d
    found = find_peaks(0.7 * wide.unsqueeze(0), radius=(5,) * d, spacing=(2.0,) * d)
    np.testing.assert_allclose(found.points[0], place, atol=0.02)
    np.testing.assert_allclose(found.mass[0], 0.7, rtol=0.02)
    assert 1.5 < found.spread[0] < 1.5 * 2 * math.sqrt(d)


def test_a_second_peak_moves_the_spread_and_not_the_point() -> None:
    heatmap = torch.full((1, 30, 50), 1e-4)
    heatmap[0, 10, 12], heatmap[0, 10, 42] = 0.6, 0.3
    found = find_peaks(heatmap, radius=(4, 4), spacing=(1.0, 2.0))
    np.testing.assert_allclose(found.points[0], (10, 12), atol=1e-4)
    np.testing.assert_allclose(found.spread[0], 60 * math.sqrt(1 / 3), rtol=1e-3)
    np.testing.assert_allclose(found.mass[0], 0.6 + 80e-4, rtol=1e-4)


def test_a_peak_in_the_corner_stays_in_the_image_and_an_empty_heatmap_is_no_matter() -> None:
    heatmap = torch.zeros((3, 6, 5))
    heatmap[0, 0, 0] = heatmap[1, 5, 4] = 3
    found = find_peaks(heatmap, radius=(3, 9), spacing=(1.0, 1.0))
    np.testing.assert_allclose(found.points[:2], [[0, 0], [5, 4]], atol=1e-4)
    assert found.mass.tolist() == [1, 1, 0]
    assert all(part.isfinite().all() for part in found)


@pytest.mark.parametrize("stride", [1, 2])
def test_images_larger_than_a_crop_are_seen_in_overlapping_crops(stride: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every landmark is found at its place in the image, whichever crop saw it."""
    strides = [[stride, stride], [2, 2], [2, 1]]
    _, detector = small((70, 90), landmarks=3, crop=[32, 40], strides=strides)
    image = noise((70, 90))
    array = np.zeros((70, 90), np.uint8)
    places = [(3, 4), (40, 41), (69, 89)]
    for k, place in enumerate(places):
        array[place] = 10 * (k + 1)
    image = WorkingImage(array, image.fine_grid, array, image.fine_grid, (0.0, 1.0))
    crops = passes((70, 90), crop=(32, 40), strides=strides)
    assert len(crops) > 4
    covered = np.zeros((70, 90), bool)
    for start, size, inside in crops:
        assert size == (32, 40)
        covered[tuple(slice(a, a + n) for a, n in zip(start, inside, strict=True))] = True
    assert covered.all()

    network = network_of(detector)
    pool = torch.nn.functional.max_pool2d
    monkeypatch.setattr(network, "features_and_deepest", lambda values: (pool(values, stride), values))
    monkeypatch.setattr(
        network,
        "logits",
        lambda features, tile: torch.cat([40.0 * (features == 10 * (k + 1)) - 20 for k in tile.tolist()], dim=1),
    )
    located = detector.locate(image, CPU)[0]
    away = np.abs(image.fine_grid.world_to_index(located.points_world) - places)
    np.testing.assert_allclose(away, (stride - 1) / 2, atol=1e-3)  # the middle of two elements is half of one away
    assert (located.mass > 0.1).all()


# --- the plan ---------------------------------------------------------------------------------------------------------


def test_the_crop_is_the_whole_image_until_memory_is_short() -> None:
    ample = plan(HeatmapSettings(), facts((300, 240)))
    step = np.prod(ample.network.strides, axis=0)
    assert all(n <= c < n + m for n, c, m in zip((300, 240), ample.network.crop, step, strict=True))
    assert ample.training.landmark_crop_fraction == 0
    assert ample.network.landmarks_per_tile == 5
    short = plan(HeatmapSettings(), facts((300, 240), memory_gib=0.1))
    assert math.prod(short.network.crop) < math.prod(ample.network.crop)
    assert short.training.landmark_crop_fraction == 0.5
    many = plan(HeatmapSettings(), facts((300, 240), landmarks=5000, memory_gib=4))
    assert many.network.crop == ample.network.crop
    assert 1 < many.network.landmarks_per_tile < 5000


def test_strides_even_out_thick_slices_and_end_with_a_small_bottleneck() -> None:
    strides = plan_strides((20, 128, 128), (5.0, 1.0, 1.0))
    assert strides[1] == (1, 2, 2)
    left = np.array((20, 128, 128)) / np.prod(strides, axis=0)
    assert ((left >= 6) & (left < 12)).all()
    assert plan_strides((3, 4), (1.0, 1.0)) == ((1, 1), (1, 1), (1, 1))
    assert len(plan_strides((512, 512), (1.0, 1.0), levels=4)) == 4
    assert plan_strides((40, 40, 8), (1.0, 1.0, 1.0), halve_first=True)[0] == (2, 2, 1)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"spacing": [1.0, 1.0, 1.0], "pool": [2, 2]}, "spacing has 3 entries.*; pool is"),
        ({"channels": [8, 8]}, "at least 3"),
        ({"channels": [8, 8, 8, 8], "strides": [[1, 1]] * 3}, "as many of both"),
        ({"crop": [30, 64], "channels": [8, 8, 8]}, "multiples"),
        ({"spacing": [0.001, 0.001], "crop": [65536, 65536], "channels": [8, 8, 8]}, "smaller crop"),
    ],
)
def test_settings_that_do_not_fit_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        plan(HeatmapSettings(**settings), facts((300, 240)))


def test_without_monai_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"pip install 'anatomark\[heatmap\]'"):
        plan(HeatmapSettings(), facts((300, 240)))


def test_a_plan_is_complete_and_can_be_written() -> None:
    """In a settings.json, for a run that is resumed; on a GPU, images and heatmaps are finer."""
    plans: list[HeatmapPlan] = []
    for on_gpu in (False, True):
        planned = Heatmap.plan(HeatmapSettings(), replace(facts((40, 300, 240)), on_gpu=on_gpu))
        assert HeatmapNetwork.model_validate_json(planned.network.model_dump_json()) == planned.network
        assert HeatmapTraining.model_validate_json(planned.training.model_dump_json()) == planned.training
        assert not planned.undecided
        plans.append(planned)
    slow, fast = plans
    assert slow.network.stride == (2, 2, 2)
    assert fast.network.stride == (1, 1, 1)
    assert min(fast.network.spacing) < min(slow.network.spacing)
    assert fast.training.steps > slow.training.steps


def test_the_length_of_a_training_in_epochs_counts_its_batches() -> None:
    planned = plan(HeatmapSettings(epochs=40, batch=2), facts((300, 240)))
    assert planned.training.steps == 40 * 3 / 2


def test_a_batch_that_memory_cannot_hold_is_refused_with_one_that_it_can() -> None:
    with pytest.raises(SettingsError, match=r"training stage heatmap needs about .* set batch=\d+ or a smaller crop"):
        Heatmap.plan(HeatmapSettings(batch=10_000), facts((300, 240)))


def test_earlier_names_of_settings_still_work() -> None:
    earlier = {"window": 2.0, "ripple": 0.05}
    planned = plan(HeatmapSettings.model_validate(earlier), facts((300, 240)))
    assert planned.network.peak_window == 2
    assert planned.training.elastic_fine == 0.05


# --- models of format 1 -----------------------------------------------------------------------------------------------

FORMAT_1 = {
    "spacing": [3.0, 2.5],
    "pool": [1, 1],
    "align": "none",
    "template": None,
    "seed": 0,
    "ripple": 0.0,
    "channels": [4, 6, 8],
    "strides": [[2, 2], [2, 2], [2, 1]],
    "loss": "softmax",
    "sigma": 5.0,
    "window": 3.5,
    "landmarks_per_tile": 4,
    "crop": [64, 72],
    "near_landmarks": 0.0,
    "look_uniform": 0.1,
}


def test_a_model_of_format_1_gives_its_network() -> None:
    network = HeatmapNetwork.from_format_1(FORMAT_1, 4)
    assert (network.landmarks, network.peak_window, network.loss, network.stride) == (4, 3.5, "softmax", (2, 2))
    assert network.sigma_elements((3.0, 2.5)) == (max(0.7, 5 / 6), 1.0)


@pytest.mark.parametrize(
    "damage", [{"window": None}, {"channels": [4, 6]}, {"crop": [64, 64, 64]}, {"strides": [[2], [2], [2]]}]
)
def test_a_damaged_model_of_format_1_is_refused(damage: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        HeatmapNetwork.from_format_1(FORMAT_1 | damage, 4)


# --- what it learns ---------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_it_learns_places_and_absence(tmp_path: Path) -> None:
    folder = make_phantoms(tmp_path / "set", ndim=2, cases=60, landmarks=5, shape=(72, 84), absent=0.6, seed=2)
    settings = {"channels": [12, 24, 32, 48], "steps": 250, "validations": 1, "ema": 0.97, "precision": "32-true"}
    run = train(folder, out=tmp_path / "run", method="heatmap", device="cpu", settings=settings)
    model = load(run, device="cpu")
    errors, masses = [], {State.PRESENT: [], State.ABSENT: []}
    for case in load_dataset(folder).split("test"):
        network = model.detector.network
        image = working_image(case.read_image(), network.sampling)
        located = model.detector.locate(image, CPU)[0]
        reference = case.reference.select(model.names)
        for k, state in enumerate(reference.states):
            masses[State(state)].append(located.mass[k])
            if state == State.PRESENT:
                errors.append(np.linalg.norm(located.points_world[k] - reference.points[k]))
    present, absent = np.array(masses[State.PRESENT]), np.array(masses[State.ABSENT])
    assert len(absent) > 3
    assert np.median(errors) < 1
    assert np.median(present) > 0.7
    assert (present[:, None] > absent).mean() > 0.85, "mass tells present landmarks from absent ones"

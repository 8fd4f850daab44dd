"""What every method must do, in 2D and in 3D. A method joins by its name in METHODS, with settings in TINY_OF.

The last one, `nearest_case`, is a method as somebody else might write it, against `Detector` alone.
"""

import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from anatomark import load, load_dataset, train
from anatomark.core.grid import Grid
from anatomark.core.image import Image
from anatomark.data.description import Dataset
from anatomark.data.phantoms import make_phantoms
from anatomark.formats.images import write_image
from anatomark.methods import METHODS, detector_class
from anatomark.methods.prediction import Prediction
from anatomark.model import Model
from tests.methods.nearest_case import NearestCase

Floats = np.ndarray[Any, np.dtype[np.float64]]

# What beside conftest's `tiny` makes a training of a few seconds, and one of a few steps.
TINY_OF: dict[str, dict[str, Any]] = {
    "unet-votes": {
        "channels": [8, 12, 16],
        "global_head": 64,
        "local_head": 32,
        "batch": 2,
        "steps": 130,
        "learning_rate": 5e-3,
        "seed": 1,  # of those that learn every landmark in so few steps
    },
    "global-to-local": {},
    "two-stage": {
        "channels": [[4, 4], [6, 6], [8]],
        "head_channels": [16],
        "joint_rank": 4,
        "stage1_batch": 2,
        "stage1_steps": 20,
        "frozen_steps": 10,
        "stage2_steps": 20,
        "stage2_batch": 2,
    },
    "heatmap": {"channels": [8, 12, 16, 24], "batch": 2, "steps": 150, "learning_rate": 3e-3},
    "atlas": {"max_voxels": 6000, "atlases": 1, "registration": "affine"},
    NearestCase.name: {},
}
# Votes that have just begun to be weighted lie far apart, and a little moves their mean.
LOOSE = {"two-stage": 3.0, "unet-votes": 2.0}
FEW_STEPS: dict[str, dict[str, Any]] = {
    "unet-votes": {"channels": [4, 6, 8], "batch": 2, "steps": 30, "validations": 1},
    "global-to-local": {"global_steps": 10, "local_steps": 10, "validations": 1},
    "two-stage": {"stage1_steps": 10, "frozen_steps": 10, "stage2_steps": 10, "validations": 1},
    "heatmap": {"channels": [4, 6, 8], "batch": 2, "steps": 30, "validations": 1},
    "atlas": {"max_voxels": 4000, "atlases": 3, "nearest": 2},
    NearestCase.name: {},
}


@pytest.fixture(scope="session", params=[*METHODS, NearestCase.name])
def method(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="session")
def settings(method: str, tiny: dict[str, Any]) -> dict[str, Any]:
    """Tiny settings of the method: those of `tiny` that it has, and its own."""
    known = detector_class(method).settings_type.model_fields
    return {k: v for k, v in tiny.items() if k in known} | TINY_OF[method]


@pytest.fixture(scope="session")
def few_steps(method: str, settings: dict[str, Any]) -> dict[str, Any]:
    return settings | FEW_STEPS[method]


@pytest.fixture(scope="session")
def model(
    method: str,
    settings: dict[str, Any],
    phantoms: Path,
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
) -> Model:
    """A trained model of the method."""
    if method == "global-to-local":
        return load(request.getfixturevalue("run"), device="cpu")
    out = tmp_path_factory.mktemp(method) / "run"
    return load(train(phantoms, out=out, method=method, device="cpu", settings=settings), device="cpu")


@pytest.fixture(scope="session")
def dataset(phantoms: Path) -> Dataset:
    return load_dataset(phantoms)


@pytest.fixture(scope="session")
def image(dataset: Dataset) -> Image:
    return dataset.split("test")[0].read_image()


@pytest.fixture(scope="session")
def answer(model: Model, image: Image) -> Prediction:
    """What the model says of `image`."""
    return model.predict(image)


def require_sound(prediction: Prediction, model: Model) -> None:
    found = prediction.landmarks
    assert found.names == model.names
    assert found.unit == model.unit
    assert found.present.all()
    assert np.isfinite(found.points).all()
    assert prediction.presence.shape == prediction.spread.shape == (len(model.names),)
    assert ((prediction.presence >= 0) & (prediction.presence <= 1)).all()
    assert (prediction.spread >= 0).all()
    assert np.isfinite(prediction.spread).all()
    withheld = [model.bounds.reason(name) is not None for name in model.names]
    np.testing.assert_array_equal(np.isnan(prediction.error_bound), withheld)


def require_same(first: Prediction, second: Prediction) -> None:
    assert first.landmarks == second.landmarks
    np.testing.assert_array_equal(first.presence, second.presence)
    np.testing.assert_array_equal(first.spread, second.spread)
    np.testing.assert_array_equal(first.error_bound, second.error_bound)


def require_near(found: Prediction, expected: Prediction, *, world: float) -> None:
    np.testing.assert_allclose(found.landmarks.points, expected.landmarks.points, rtol=0, atol=world)
    np.testing.assert_allclose(found.presence, expected.presence, rtol=0, atol=max(world, 1e-4))


def element(model: Model, image: Image) -> float:
    """The largest spacing of the image and of the working image, for no method looks closer than the coarser one."""
    return max(*image.grid.spacing, *model.detector.network.spacing)


def moved(grid: Grid, matrix: Floats) -> Grid:
    """The grid after a map (d+1, d+1) of the world."""
    return Grid(grid.shape, matrix @ grid.affine, grid.unit)


def turned(image: Image, order: tuple[int, ...], flips: tuple[bool, ...]) -> Image:
    """The same content with array axes in another order, and some of them the other way round."""
    d = image.grid.ndim
    affine = image.grid.affine[:, [*order, d]].copy()
    shape = [image.grid.shape[k] for k in order]
    for axis, flip in enumerate(flips):
        if flip:
            affine[:, -1] += affine[:, axis] * (shape[axis] - 1)
            affine[:, axis] *= -1
    cuts = tuple(slice(None, None, -1) if flip else slice(None) for flip in flips)
    return Image(image.array.transpose(order)[cuts], Grid(tuple(shape), affine, image.grid.unit))


def rotation(ndim: int, degrees: float) -> Floats:
    """A rotation of the world about its origin, in 3D about a slanting axis."""
    from scipy.spatial.transform import Rotation

    matrix = np.eye(ndim + 1)
    axis = np.array([0.0, 0.0, 1.0]) if ndim == 2 else np.array([0.36, -0.48, 0.8])
    matrix[:ndim, :ndim] = Rotation.from_rotvec(np.deg2rad(degrees) * axis).as_matrix()[:ndim, :ndim]
    return matrix


# --- predict is a pure function ---------------------------------------------------------------------------------------


def test_predict_keeps_its_hands_off(model: Model, image: Image, answer: Prediction) -> None:
    array = image.array.copy()
    weights = {name: tensor.clone() for name, tensor in model.detector.tensors().items()}
    torch_state, numpy_state = torch.get_rng_state(), np.random.get_state()[1]  # noqa: NPY002
    require_sound(answer, model)
    require_same(model.predict(image), answer)
    np.testing.assert_array_equal(image.array, array)
    assert torch.equal(torch.get_rng_state(), torch_state)
    np.testing.assert_array_equal(np.random.get_state()[1], numpy_state)  # noqa: NPY002
    assert weights.keys() == model.detector.tensors().keys()
    assert all(torch.equal(tensor, weights[name]) for name, tensor in model.detector.tensors().items())


def test_images_together_are_predicted_as_one_at_a_time(model: Model, dataset: Dataset) -> None:
    images = [case.read_image() for case in dataset.split("test")[:3]]
    rows, *others = images[0].grid.shape
    smaller = images[0].grid.crop([3, *(0 for _ in others)], [rows - 3, *others])
    images.append(Image(images[0].array[3:], smaller))
    together = model.predict_together(images, sources=["one", "two", "three", "smaller"])
    for found, image in zip(together, images, strict=True):
        require_near(found, model.predict(image), world=1e-4)


def test_a_saved_model_says_the_same(model: Model, image: Image, answer: Prediction, tmp_path: Path) -> None:
    model.save(tmp_path / "copy")
    files = sorted(p.name for p in (tmp_path / "copy").iterdir())
    assert files == ["error_bounds.safetensors", "model.json", "model.safetensors", "suitability.safetensors"]
    again = load(tmp_path / "copy", device="cpu")
    assert (again.names, again.pairs, again.ndim, again.unit) == (model.names, model.pairs, model.ndim, model.unit)
    assert again.detector.network == model.detector.network
    require_same(again.predict(image), answer)


# --- images of every size and type ------------------------------------------------------------------------------------

SIZES = {
    2: [(7, 150), (150, 3), (33, 17), (1, 40), (2, 2), (161, 209), (64, 64)],
    3: [(5, 6, 7), (1, 40, 40), (31, 1, 9), (2, 2, 2), (33, 17, 49), (24, 64, 24), (3, 90, 2)],
}


@pytest.mark.parametrize("number", range(7))
def test_any_size_will_do(model: Model, number: int) -> None:
    shape = SIZES[model.ndim][number]
    array = np.random.default_rng(number).integers(0, 255, shape).astype(np.uint8)
    grid = Grid.from_geometry(shape, spacing=(1.3, 0.9, 2.1)[: model.ndim], origin=(-300.0, 40.0, 7.0)[: model.ndim])
    require_sound(model.predict(Image(array, grid)), model)


@pytest.mark.parametrize("spacing", [0.001, 40.0])
def test_any_spacing_will_do(model: Model, spacing: float) -> None:
    """An image smaller than an element of the working image, and one whose elements are larger than a window."""
    shape = (20, 14) if model.ndim == 2 else (6, 5, 4)  # as few as that, for they become many
    array = np.random.default_rng(0).integers(0, 255, shape).astype(np.int16)
    grid = Grid.from_geometry(shape, spacing=(spacing,) * model.ndim)
    require_sound(model.predict(Image(array, grid)), model)


@pytest.mark.parametrize("dtype", ["uint8", "int8", "int16", ">i2", "uint16", "int32", "float16", "float32", "float64"])
def test_any_number_type_will_do(model: Model, image: Image, dtype: str) -> None:
    levels = np.round((image.array - image.array.min()) / np.ptp(image.array) * 100)
    plain = model.predict(Image(levels.astype(np.int16), image.grid))
    scale, shift = {"int32": (1000, -7), "float64": (0.003, -70.0), "uint16": (600, 0), "int16": (20, -1000)}.get(
        dtype, (1, 0)
    )
    other = model.predict(Image((levels * scale + shift).astype(dtype), image.grid))
    if model.detector.name == "atlas":  # after other roundings a registration this short may end elsewhere
        require_sound(other, model)
    else:
        require_near(other, plain, world=0.05 * LOOSE.get(model.detector.name, 1) * element(model, image))


# --- geometry ---------------------------------------------------------------------------------------------------------


def test_points_move_with_the_origin(model: Model, image: Image, answer: Prediction) -> None:
    matrix = np.eye(model.ndim + 1)
    matrix[:-1, -1] = (812.5, -77.25, 31.0)[: model.ndim]
    shifted = model.predict(Image(image.array, moved(image.grid, matrix)))
    np.testing.assert_allclose(shifted.landmarks.points, answer.landmarks.points + matrix[:-1, -1], rtol=0, atol=1e-4)
    np.testing.assert_allclose(shifted.presence, answer.presence, rtol=0, atol=1e-5)


@pytest.mark.parametrize("degrees", [7.0, -20.0])
def test_points_turn_with_an_oblique_grid(model: Model, dataset: Dataset, degrees: float) -> None:
    """The same array on a grid turned in the world gives the turned points: nothing takes axes for world axes.

    Presence may differ, for how usual a turn is counts there; the votes' mass may not.
    """
    case = dataset.split("test")[1]
    found = case.read_image()
    straight = Image(found.array, Grid.from_geometry(found.grid.shape, spacing=found.grid.spacing[::-1]))
    matrix = rotation(model.ndim, degrees)
    expected = model.locate(straight)[-1]
    oblique = model.locate(Image(straight.array, moved(straight.grid, matrix)))[-1]
    points = expected.points_world @ matrix[:-1, :-1].T
    np.testing.assert_allclose(oblique.points_world, points, rtol=0, atol=1e-3)
    np.testing.assert_allclose(oblique.mass, expected.mass, rtol=0, atol=1e-4)


def turns(ndim: int) -> list[tuple[tuple[int, ...], tuple[bool, ...]]]:
    every = list(itertools.product(itertools.permutations(range(ndim)), itertools.product((False, True), repeat=ndim)))
    return every[1:] if ndim == 2 else every[1::9]


def test_the_order_of_axes_does_not_matter(model: Model, image: Image, answer: Prediction) -> None:
    for order, flips in turns(model.ndim):
        other = turned(image, order, flips)
        np.testing.assert_allclose(
            other.grid.index_to_world(np.zeros(model.ndim)),
            image.grid.index_to_world(
                [image.grid.shape[k] - 1 if flips[order.index(k)] else 0 for k in range(model.ndim)]
            ),
        )
        require_near(model.predict(other), answer, world=1e-3)


def test_the_order_of_axes_does_not_matter_to_large_images(model: Model) -> None:
    """Grey values of a large image are judged by a part of it, which must be the same part however it is stored."""
    if model.detector.name != "unet-votes":
        pytest.skip("working images are made alike for all methods")
    shape = {2: (1010, 1000), 3: (102, 100, 104)}[model.ndim]
    rng = np.random.default_rng(3)
    ramp = np.add.outer(*(np.linspace(0, 400, n) for n in shape[:2]))
    array = (ramp if model.ndim == 2 else np.add.outer(ramp, np.linspace(0, 400, shape[2]))) + rng.normal(size=shape)
    array[(slice(None, None, 2),) * model.ndim] += 3000.0 * (
        rng.random(array[(slice(None, None, 2),) * model.ndim].shape) < 0.02
    )
    size = 80.0 if model.ndim == 2 else 50.0  # few elements of a working image
    image = Image(array.astype(np.float32), Grid.from_geometry(shape, spacing=[size / n for n in shape[::-1]]))
    expected = model.predict(image)
    order = tuple(range(model.ndim))
    require_near(model.predict(turned(image, order, (True,) * model.ndim)), expected, world=1e-3)
    require_near(model.predict(turned(image, order[::-1], (False,) * model.ndim)), expected, world=1e-3)


@pytest.mark.parametrize("degrees", [0.0, 3.0])
def test_another_sampling_of_the_same_content(model: Model, image: Image, answer: Prediction, degrees: float) -> None:
    d = model.ndim
    canonical = image.canonical()
    spacing = np.asarray(canonical.grid.spacing) * (0.83, 1.31, 0.9)[:d]
    shape = np.round(np.asarray(canonical.grid.extent) / spacing).astype(int)
    spacing = np.asarray(canonical.grid.extent) / shape  # the same field of view
    affine = np.eye(d + 1)
    affine[:d, :d] = rotation(d, degrees)[:d, :d] @ canonical.grid.direction * spacing
    affine[:d, d] = canonical.grid.center - affine[:d, :d] @ ((shape - 1) / 2)
    other = canonical.resampled(Grid(tuple(shape), affine, image.grid.unit))
    found = model.predict(other)
    difference = np.linalg.norm(found.landmarks.points - answer.landmarks.points, axis=1)
    lever = np.linalg.norm(answer.landmarks.points - canonical.grid.center, axis=1).max()
    allowed = 1.5 * element(model, image) + np.deg2rad(degrees) * lever  # what little it learned is not invariant
    nearly_all = np.sort(difference)[:-1]  # one landmark may have two places that such a network finds equally likely
    assert nearly_all.max() < allowed * LOOSE.get(model.detector.name, 1)


# --- training ---------------------------------------------------------------------------------------------------------


def numbers(run: Path) -> list[float]:
    """Every number in the log of a run; none for a method without stages, which has no steps to tell of."""
    if not (run / "log.jsonl").exists():
        return []
    records = map(json.loads, (run / "log.jsonl").read_text().splitlines())
    found = [value for record in records for value in record.values() if isinstance(value, float)]
    assert len(found) > 8
    return found


@pytest.fixture(scope="session", params=[2, 3], ids=["2D", "3D"])
def sparse(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Phantoms of which a third of the landmarks was never looked at, and others lie outside the image."""
    shape = (80, 104) if request.param == 2 else (24, 32, 28)
    spacing = (2.0, 2.4) if request.param == 2 else (5.0, 4.8, 7.0)
    folder = tmp_path_factory.mktemp(f"sparse{request.param}")
    return make_phantoms(
        folder, ndim=request.param, cases=10, landmarks=4, shape=shape, spacing=spacing, absent=0.9, not_annotated=0.3
    )


@pytest.fixture(scope="session")
def sparse_run(sparse: Path, method: str, few_steps: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("sparse_runs") / "run"
    return train(sparse, out=out, method=method, device="cpu", settings=few_steps)


def test_missing_and_absent_landmarks_are_learned_from_or_left_out(sparse: Path, sparse_run: Path) -> None:
    dataset = load_dataset(sparse)
    states = np.stack([case.reference.states for case in dataset.split("train")])
    assert {0, 1, 2} == set(states.ravel().tolist()), "the set holds landmarks of every state"
    assert np.isfinite(numbers(sparse_run)).all()
    model = load(sparse_run, device="cpu")
    require_sound(model.predict(dataset.split("test")[0].read_image()), model)


@pytest.mark.parametrize(
    "sparse", [2, pytest.param(3, marks=pytest.mark.long)], ids=["2D", "3D"], indirect=True, scope="session"
)
def test_the_seed_and_nothing_else_decides_the_weights(
    sparse: Path, sparse_run: Path, method: str, few_steps: dict[str, Any], tmp_path: Path
) -> None:
    torch.manual_seed(99)  # what went on before in this process does not matter
    same = train(sparse, out=tmp_path / "same", method=method, device="cpu", settings=few_steps)
    weights = (sparse_run / "model.safetensors").read_bytes()
    assert (same / "model.safetensors").read_bytes() == weights
    other = train(sparse, out=tmp_path / "other", method=method, device="cpu", settings=few_steps | {"seed": 5})
    if (other / "log.jsonl").exists():  # what is not trained by steps may well have nothing to draw
        assert (other / "model.safetensors").read_bytes() != weights


@pytest.mark.parametrize("ndim", [2, 3], ids=["2D", "3D"])
def test_landmarks_at_the_border_of_images_of_every_size(
    ndim: int, method: str, few_steps: dict[str, Any], tmp_path: Path
) -> None:
    """Corners, an outer border, and images far smaller than a crop or a window: no window may leave the image."""
    shapes = [(40, 50, 9), (9, 60, 10), (130, 40, 12), (33, 12, 31), (50, 50, 8), (5, 6, 7), (64, 64, 16), (1, 30, 12)]
    images = tmp_path / "images"
    rng = np.random.default_rng(0)
    rows = ["image,landmark," + ",".join("xyz"[:ndim]) + ",frame"]
    for number, shape in enumerate(shapes):
        shape = shape[:ndim]
        grid = Grid.from_geometry(shape, spacing=(1.0, 1.5, 2.0)[:ndim])
        ending = ".png" if ndim == 2 else ".nii.gz"
        write_image(Image(rng.integers(0, 255, shape).astype(np.uint8), grid), images / f"{number}{ending}")
        last = [n - 1 for n in shape[::-1]]
        for name, point in (
            ("first", [0] * ndim),
            ("last", last),
            ("edge", [-0.49, *(n / 2 for n in last[1:])]),
        ):
            rows.append(f"{number},{name}," + ",".join(map(str, point)) + ",pixel")
    (tmp_path / "table.csv").write_text("\n".join(rows) + "\n")
    description: dict[str, Any] = {
        "name": "borders",
        "dimension": ndim,
        "landmarks": ["first", "last", "edge"],
        "pairs": [["first", "last"]],
        "images": {"folder": "images"} | ({"spacing": [1.0, 1.5]} if ndim == 2 else {}),
        "annotations": {"table": "table.csv"},
        "missing_values": [],  # a point at exactly 0, 0 in every image is a place here
    }
    (tmp_path / "dataset.yaml").write_text(yaml.safe_dump(description))
    run = train(tmp_path / "dataset.yaml", out=tmp_path / "run", method=method, device="cpu", settings=few_steps)
    assert np.isfinite(numbers(run)).all()
    model = load(run, device="cpu")
    for case in load_dataset(tmp_path / "dataset.yaml").cases:
        require_sound(model.predict(case.read_image()), model)

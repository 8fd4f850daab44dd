from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from anatomark import load_dataset
from anatomark.core.grid import Grid
from anatomark.core.image import Image
from anatomark.data import alignment
from anatomark.data.alignment import Alignment, Placement, place
from anatomark.data.cache import open_cache, prepare
from anatomark.data.description import Dataset
from anatomark.data.phantoms import make_phantoms
from anatomark.data.working import Sampling
from anatomark.errors import RegistrationError


def ramp(ndim: int) -> Image:
    """Grey values that tell the world position, on an oblique anisotropic grid."""
    shape = (31, 24, 40)[:ndim]
    turn = Rotation.from_euler("xyz", (0, 0, 12) if ndim == 2 else (8, -5, 12), degrees=True).as_matrix()
    spacing = (1.1, 1.7, 2.3)[:ndim]
    grid = Grid.from_geometry(shape, spacing=spacing, origin=(70, -20, 9)[:ndim], direction=turn[:ndim, :ndim])
    return Image((grid.centers() @ np.array([1.0, 10.0, -3.0])[:ndim]).astype(np.float32), grid)


def affine_map(ndim: int) -> np.ndarray:
    matrix = np.eye(ndim + 1)
    turn = Rotation.from_euler("xyz", (0, 0, 25) if ndim == 2 else (20, -15, 25), degrees=True).as_matrix()
    stretch = np.array([[1.2, 0.1, 0.0], [0.0, 0.9, 0.05], [0.0, 0.0, 0.8]])
    matrix[:ndim, :ndim] = turn[:ndim, :ndim] @ stretch[:ndim, :ndim]
    matrix[:ndim, ndim] = (40, -7, 100)[:ndim]
    return matrix


@pytest.fixture(params=[2, 3], ids=["2D", "3D"])
def ndim(request: pytest.FixtureRequest) -> int:
    return request.param


def test_points_go_there_and_back_exactly(ndim: int) -> None:
    placed = Placement(ramp(ndim), affine_map(ndim), np.eye(ndim)[:, ::-1])
    points = np.random.default_rng(0).normal(0, 300, (50, ndim))
    there = placed.to_template(points)
    np.testing.assert_allclose(there, points @ affine_map(ndim)[:-1, :-1].T + affine_map(ndim)[:-1, -1])
    np.testing.assert_allclose(placed.from_template(there), points, rtol=0, atol=1e-9)
    points[3] = np.nan
    assert np.isnan(placed.to_template(points)[3]).all()
    assert np.isfinite(np.delete(placed.to_template(points), 3, axis=0)).all()


def test_a_length_goes_back_by_the_mean_scale(ndim: int) -> None:
    turned = affine_map(ndim)
    turned[:-1, :-1] = np.linalg.qr(turned[:-1, :-1])[0]
    np.testing.assert_allclose(Placement(ramp(ndim), turned).length_from_template([2.0, 5.0]), [2.0, 5.0])
    halved = np.diag([0.5] * ndim + [1.0])
    np.testing.assert_allclose(Placement(ramp(ndim), halved).length_from_template([2.0, 5.0]), [4.0, 10.0])


def test_the_working_image_shows_the_image_where_it_was_placed(ndim: int) -> None:
    image = ramp(ndim)
    axes = Rotation.from_euler("xyz", (0, 0, -9), degrees=True).as_matrix()[:ndim, :ndim][:, ::-1]
    placed = Placement(image, affine_map(ndim), axes)
    working = placed.working_image(Sampling((1.5, 1.2, 2.0)[:ndim], (2,) * ndim))
    grid = working.fine_grid
    np.testing.assert_allclose(grid.direction, axes, atol=1e-12)
    np.testing.assert_allclose(grid.spacing, (1.5, 1.2, 2.0)[:ndim])
    assert grid.contains(placed.to_template(image.grid.centers())).all()
    np.testing.assert_allclose(working.coarse_grid.direction, axes, atol=1e-12)

    own = placed.from_template(grid.centers())
    index = image.grid.world_to_index(own)
    inner = ((index > 2) & (index < np.asarray(image.grid.shape) - 3)).all(axis=-1)
    assert inner.sum() > 500
    low, high = np.percentile(image.array, (0.5, 99.5))
    expected = (own @ np.array([1.0, 10.0, -3.0])[:ndim] - low) / (high - low)
    np.testing.assert_allclose(working.fine[inner].astype(float), expected[inner], atol=2e-3)


def test_without_alignment_nothing_is_moved(ndim: int) -> None:
    image = ramp(ndim)
    placed = place(None, image)
    points = image.grid.centers()
    np.testing.assert_array_equal(placed.to_template(points), points)
    np.testing.assert_array_equal(placed.from_template(points), points)
    working = placed.working_image(Sampling((2.0,) * ndim, (1,) * ndim))
    assert working.fine_grid == image.grid.canonical().respaced((2.0,) * ndim)
    assert placed.failure is None


# --- from images ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=[2, 3], ids=["2D", "3D"])
def dataset(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    two = request.param == 2
    folder = tmp_path_factory.mktemp(f"aligned{request.param}")
    shape, spacing = ((80, 104), (2.0, 2.4)) if two else ((24, 32, 28), (5.0, 4.8, 7.0))
    options = {"shape": shape, "spacing": spacing, "absent": 0.0, "not_annotated": 0.0}
    return load_dataset(make_phantoms(folder, ndim=request.param, cases=3, landmarks=9, **options))


def test_aligned_cases_have_their_landmarks_nearer_together(dataset: Dataset, tmp_path: Path) -> None:
    roles = {"train": dataset.cases[:2], "validation": dataset.cases[2:]}
    caches, d = {}, dataset.ndim
    for align in ("none", "rigid", "affine"):
        more = {} if align == "none" else {"align": align, "template": dataset.cases[1]}
        prepare(dataset, roles, tmp_path / align, sampling=Sampling((5.0,) * d, (1,) * d), **more)
        caches[align] = open_cache(tmp_path / align)
    apart = {k: np.stack([c.points_world for c in v.cases]).std(axis=0).mean() for k, v in caches.items()}
    assert apart["affine"] < apart["rigid"] < apart["none"]
    assert caches["none"].alignment is None

    found = caches["affine"].alignment
    assert found is not None
    assert (found.kind, found.case) == ("affine", dataset.cases[1].id)
    template = dataset.cases[1].read_image()
    expected = Alignment.to(template, kind="affine", case="x").template
    np.testing.assert_array_equal(found.template.array, expected.array)
    assert found.template.grid == expected.grid
    own = caches["affine"].cases[1]  # the template itself stays where it is
    np.testing.assert_allclose(
        own.points_world, dataset.cases[1].reference.points, atol=0.25 * min(template.grid.spacing)
    )
    for case in caches["affine"].cases:
        assert case.failure is None
        assert case.image.fine_grid.contains(case.points_world).all()


def test_another_alignment_is_another_cache(dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(alignment, "register_linear", lambda *_, **__: np.eye(dataset.ndim + 1))
    first, second = dataset.cases[:2]
    asked: list[dict[str, Any]] = [
        {},
        {"align": "rigid", "template": first},
        {"align": "rigid", "template": first},
        {"align": "rigid", "template": second},
        {"align": "affine", "template": second},
        {},
    ]
    common = {"sampling": Sampling((8.0,) * dataset.ndim, (1,) * dataset.ndim)}
    made = []
    for options in asked:
        done: list[int] = []
        roles = {"train": dataset.cases[:1]}
        prepare(dataset, roles, tmp_path, progress=lambda k, _, done=done: done.append(k), **common, **options)
        made.append(len(done))
    assert made == [1, 1, 0, 1, 1, 1]


def test_a_case_that_cannot_be_aligned_lies_as_it_is(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(*_: object, **__: object) -> None:
        raise RegistrationError("they show other parts")

    monkeypatch.setattr(alignment, "register_linear", failing)
    common = {"sampling": Sampling((8.0,) * dataset.ndim, (1,) * dataset.ndim)}
    prepare(dataset, {"train": dataset.cases[:1]}, tmp_path / "none", **common)
    prepare(dataset, {"train": dataset.cases[:1]}, tmp_path / "on", align="rigid", template=dataset.cases[2], **common)
    (plain,), (failed,) = open_cache(tmp_path / "none").cases, open_cache(tmp_path / "on").cases
    assert failed.failure == f"not aligned to {dataset.cases[2].id}: they show other parts"
    np.testing.assert_array_equal(failed.image.fine, plain.image.fine)
    np.testing.assert_array_equal(failed.points_world, plain.points_world)
    assert failed.image.fine_grid == plain.image.fine_grid

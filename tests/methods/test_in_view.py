"""Which landmarks lie in the field of view, by where the others let expect them."""

import numpy as np
import pytest

from anatomark.core.grid import Grid
from anatomark.methods.in_view import CutOff, InView, depths_of, expected_places
from anatomark.methods.suitability import Suitability, Usual
from tests.methods.test_suitability import SIZE, people

SEEN, UNSEEN = 0.97, 0.03  # posterior masses


@pytest.fixture(scope="module", params=[(19, 2), (24, 3)], ids=["2D", "3D"])
def usual(request: pytest.FixtureRequest) -> Usual:
    landmarks, d = request.param
    references = people(12, landmarks, d, seed=2)
    predicted = references + np.random.default_rng(3).normal(0, 1.0, references.shape)
    learned = Suitability.learned(people(60, landmarks, d, seed=1), predicted, references).usual
    assert learned is not None
    return learned


def around(shape: np.ndarray, side: int, part: float) -> Grid:
    """A grid around a shape, that ends before `part` of its landmarks at one side."""
    d = shape.shape[1]
    low, high = shape.min(axis=0) - SIZE / 2, shape.max(axis=0) + SIZE / 2
    axis, far = side // 2, side % 2 == 1
    plane = np.quantile(shape[:, axis], 1 - part if far else part)
    (high if far else low)[axis] = plane
    return Grid.from_geometry(
        tuple(np.ceil(high - low).astype(int)[::-1].tolist()), spacing=(1.0,) * d, origin=(low + 0.5).tolist()
    )


def found(shape: np.ndarray, grid: Grid, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """What a detector finds: about the truth inside of the image, anything for what lies outside, hardly voted for."""
    rng = np.random.default_rng(seed)
    inside = grid.contains(shape)
    anywhere = grid.index_to_world(rng.uniform(0, np.asarray(grid.shape) - 1, shape.shape))
    points = np.where(inside[:, None], shape + rng.normal(0, 1.0, shape.shape), anywhere)
    mass = np.where(inside, SEEN, UNSEEN)
    mass[rng.random(len(mass)) < 0.1] = 0.5
    return points, mass[:, None]


@pytest.mark.parametrize("part", [0.0, 0.2, 0.45])
def test_places_beyond_the_image_are_expected_where_they_are(usual: Usual, part: float) -> None:
    d = usual.typical.shape[1]
    for seed, shape in enumerate(people(2 * d, len(usual.typical), d, seed=5)):
        grid = around(shape, seed, part)
        places = expected_places(usual, grid, *found(shape, grid, seed))
        apart = np.linalg.norm(places - shape, axis=1)
        assert np.median(apart) < 2.5
        assert apart.max() < 0.3 * SIZE
        depths = depths_of(usual, grid, places)
        inside = grid.contains(shape)
        assert ((depths > 0) == inside).mean() > 0.9


def test_a_regression_tells_them_and_an_image_that_shows_all_keeps_all(usual: Usual) -> None:
    d = usual.typical.shape[1]
    rows = []
    for seed, shape in enumerate(people(40, len(usual.typical), d, seed=6)):
        grid = around(shape, seed % (2 * d), (0.0, 0.2, 0.4)[seed % 3])
        points, mass = found(shape, grid, seed)
        depths = depths_of(usual, grid, expected_places(usual, grid, points, mass))
        rows.append((mass, depths, grid.contains(shape)))
    mass, depths, inside = (np.concatenate(column) for column in zip(*rows[:20], strict=True))
    told = InView.fitted(mass, depths, inside)
    assert told is not None
    assert told.depth > 0
    mass, depths, inside = (np.concatenate(column) for column in zip(*rows[20:], strict=True))
    said = told.probability(mass, depths) >= 0.5
    assert (~said[~inside]).mean() > 0.9
    assert said[inside].mean() > 0.95


def test_too_few_that_lie_outside_teach_nothing() -> None:
    mass, depths = np.full((50, 1), SEEN), np.full(50, 5.0)
    assert InView.fitted(mass, depths, np.arange(50) > 5) is None
    assert InView.fitted(mass, np.full(50, np.nan), np.arange(50) > 25) is None


def test_without_a_usual_place_nothing_is_said(usual: Usual) -> None:
    told = InView((1.0,), 1.0, 0.0)
    assert told.probability(np.full((2, 1), UNSEEN), np.array([np.nan, -5.0])).tolist() == [
        1.0,
        pytest.approx(0, abs=0.01),
    ]
    d = usual.typical.shape[1]
    shape = people(1, len(usual.typical), d, seed=5)[0]
    grid = around(shape, 0, 0.0)
    points, mass = found(shape, grid, 0)
    nowhere = np.full_like(points, np.nan)
    nowhere[: d + 1] = points[: d + 1]
    assert np.isnan(expected_places(usual, grid, nowhere, mass)).all() or len(points) > 5 * (d + 1)


@pytest.mark.parametrize(
    ("ndim", "towards", "side"),
    [(2, (1, 0), "right"), (2, (0, 1), "bottom"), (3, (1, 0, 0), "left-hand side"), (3, (0, 0, -1), "lower end")],
)
def test_the_side_in_words(ndim: int, towards: tuple[float, ...], side: str) -> None:
    turned = np.eye(ndim)[:, ::-1] * np.array([-1.0, *[1.0] * (ndim - 1)])  # stored the other way round
    grid = Grid.from_geometry((40,) * ndim, spacing=(2.0,) * ndim, direction=turned)
    places = grid.center + 70 * np.asarray(towards) + np.random.default_rng(0).normal(0, 5, (6, ndim))
    cut_off = CutOff.beyond(grid, places)
    assert cut_off.side == side
    assert cut_off.words(60) is None, "a tenth of the landmarks is not worth telling"
    assert cut_off.words(59) == f"cut off at the {side}: 6 of 59 landmarks lie outside of the image"

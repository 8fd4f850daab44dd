"""Grey values around the points, and left and right exchanged."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from anatomark.core.grid import Grid
from anatomark.core.image import Image
from anatomark.data.working import Sampling, WorkingImage, working_image
from anatomark.errors import ModelError
from anatomark.methods.appearance import LEAST_SEEN, Appearance, Nodes
from anatomark.methods.suitability import Suitability

CORNERS = np.array([[-1, -1], [1, -1], [-1, 1], [1, 1], [0, -1], [0, 1]], dtype=float)
PARTNERS = np.array([1, 0, 3, 2, 4, 5])


def picture(d: int, seed: int, *, heart: float = 1.0) -> tuple[Image, np.ndarray]:
    """A symmetrical body with a `heart` on one side, of random place and size, and its landmarks (N, d)."""
    rng = np.random.default_rng(seed)
    center, size = 50 + rng.normal(0, 3, d), 25 * np.exp(rng.normal(0, 0.05))
    corners = CORNERS if d == 2 else np.concatenate([np.c_[CORNERS, z * np.ones(6)] for z in (-1, 1)])
    axes = [np.arange(0.0, 100.0, 2.0)] * d
    world = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)[..., ::-1]  # array axes are z, y, x
    at = (world - center) / size
    body = np.exp(-((np.linalg.norm(at, axis=-1) / 1.2) ** 6))
    middle = np.array([0.5 * heart, 0.2, 0.0][:d])
    beat = 0.7 * np.exp(-(np.linalg.norm(at - middle, axis=-1) ** 2) / 0.1)
    array = (body + beat + rng.normal(0, 0.05, body.shape)).astype(np.float32)
    return Image(array, Grid.from_geometry(array.shape, spacing=[2.0] * d)), center + size * corners


def shown(d: int, seed: int, nodes: Nodes, typical: np.ndarray, *, heart: float = 1.0) -> np.ndarray:
    image, points = picture(d, seed, heart=heart)
    return nodes.seen(typical, points, coarse(image))


def coarse(image: Image) -> WorkingImage:
    d = image.grid.ndim
    return working_image(image, Sampling([2.0] * d, [2] * d))


@pytest.fixture(scope="module", params=[2, 3], ids=["2D", "3D"])
def learned(request: pytest.FixtureRequest) -> tuple[int, np.ndarray, Appearance]:
    d = request.param
    typical = picture(d, 0)[1]
    partners = PARTNERS if d == 2 else np.concatenate([PARTNERS, PARTNERS + 6])
    nodes = Nodes.around(typical, np.eye(d), partners)
    taught = np.stack([shown(d, seed, nodes, typical) for seed in range(1, 31)])
    found = np.stack([shown(d, seed, nodes, typical) for seed in range(31, 41)])
    appearance = Appearance.learned(nodes, taught, found)
    assert appearance is not None
    return d, typical, appearance


def standard(appearance: Appearance, seen: np.ndarray) -> np.ndarray:
    return appearance.apart(seen) / appearance.deviation


def test_suitable_images_lie_near_what_is_usual(learned: tuple[int, np.ndarray, Appearance]) -> None:
    d, typical, appearance = learned
    for seed in range(50, 60):
        grey, side = standard(appearance, shown(d, seed, appearance.nodes, typical))
        assert grey < 4
        assert side == 0


def test_a_mirrored_image_is_told_by_its_sides(learned: tuple[int, np.ndarray, Appearance]) -> None:
    d, typical, appearance = learned
    for seed in range(60, 66):
        _, side = standard(appearance, shown(d, seed, appearance.nodes, typical, heart=-1.0))
        assert side < -6


def test_an_inverted_image_is_told_by_its_grey_values(learned: tuple[int, np.ndarray, Appearance]) -> None:
    d, typical, appearance = learned
    image, points = picture(d, 70)
    inverted = Image(1 - image.array, image.grid)
    grey, _ = standard(appearance, appearance.nodes.seen(typical, points, coarse(inverted)))
    assert grey > 6


def test_sides_without_a_difference_say_nothing(learned: tuple[int, np.ndarray, Appearance]) -> None:
    d, typical, appearance = learned
    nodes = appearance.nodes
    alike = np.stack([shown(d, seed, nodes, typical, heart=0.0) for seed in range(1, 31)])
    model = Appearance.learned(nodes, alike, alike[:0])
    assert model is not None
    sides = [standard(model, shown(d, seed, nodes, typical, heart=0.0))[1] for seed in range(80, 90)]
    assert min(sides) > -4


def test_the_plane_of_the_mirror_is_that_of_the_pairs() -> None:
    """Also where the anatomy lies turned; without pairs it is upright through the middle."""
    turned = CORNERS @ np.array([[0.8, 0.6], [-0.6, 0.8]])
    nodes = Nodes.around(turned, np.eye(2), PARTNERS)
    there = turned @ nodes.mirror[:2, :2].T + nodes.mirror[:2, 2]
    np.testing.assert_allclose(there, turned[PARTNERS], atol=1e-9)
    assert np.linalg.det(nodes.mirror[:2, :2]) == pytest.approx(-1)
    alone = Nodes.around(CORNERS + 5, np.eye(2), np.arange(6))
    np.testing.assert_allclose(CORNERS @ alone.mirror[:2, :2].T, CORNERS * [-1, 1], atol=1e-9)
    np.testing.assert_allclose(alone.mirror[:2, 2], [10, 0], atol=1e-9)


def test_the_nodes_go_along_with_the_points(learned: tuple[int, np.ndarray, Appearance]) -> None:
    """A map to another world, as of a template, changes nothing; what lies outside of the image is not seen."""
    d, typical, appearance = learned
    image, points = picture(d, 90)
    seen = appearance.nodes.seen(typical, points, coarse(image))
    matrix = np.diag([2.0] * d + [1.0])
    matrix[:-1, -1] = 7.0
    far = Image(image.array, Grid(image.grid.shape, matrix @ image.grid.affine, "mm"))
    working = working_image(far, Sampling([4.0] * d, [2] * d))
    np.testing.assert_allclose(appearance.nodes.seen(typical, points, working, matrix), seen, atol=1e-4)
    part = Image(image.array[25:], image.grid.crop([25, *[0] * (d - 1)], [25, *image.array.shape[1:]]))
    half = appearance.nodes.seen(typical, points, coarse(part))
    assert LEAST_SEEN < np.isfinite(half).mean() < 0.7
    assert np.isfinite(standard(appearance, half)).all()
    nothing = appearance.nodes.seen(typical, points + 1000, coarse(image))
    assert np.isnan(nothing).all()
    assert np.isnan(appearance.apart(nothing)).all()
    assert np.isnan(appearance.nodes.seen(typical, np.full_like(points, np.nan), coarse(image))).all()


def test_saved_with_the_suitability_it_judges_the_same(
    learned: tuple[int, np.ndarray, Appearance], tmp_path: Path
) -> None:
    d, _, appearance = learned
    references = np.stack([picture(d, seed)[1] for seed in range(1, 31)])
    rng = np.random.default_rng(0)
    references = references + rng.normal(0, 0.3, references.shape)
    plain = Suitability.learned(references, references[:10] + 0.1, references[:10])
    assert plain.usual is not None
    typical, partners = plain.usual.typical, PARTNERS if d == 2 else np.concatenate([PARTNERS, PARTNERS + 6])
    nodes = Nodes.around(typical, plain.usual.turn, partners)
    taught, found = (
        np.stack([shown(d, seed, nodes, typical) for seed in range(*ends)]) for ends in ((1, 31), (31, 41))
    )
    model = plain.with_appearance(nodes, taught, found)
    model.save(tmp_path)
    again = Suitability.load(tmp_path, references.shape[1], d)
    assert again.usual is not None
    image, points = picture(d, 95, heart=-1.0)
    ones = np.ones(len(points))
    judged = []
    for usual in (model.usual, again.usual):
        assert usual is not None
        judged.append(usual.judge(points, ones > 0, seen=usual.seen(points, ones > 0, coarse(image))))
    assert judged[0].reason == judged[1].reason
    assert "left and right look exchanged" in (judged[0].reason or "")
    assert math.isclose(judged[0].share, judged[1].share, rel_tol=0.01)
    assert plain.judge(points, ones).reason is None

    held = {name: array for name, array in appearance.tensors().items() if name != "side_axes"}
    with pytest.raises(KeyError):
        Appearance.of_tensors(held, 10, d)
    with pytest.raises(ValueError, match="appearance"):
        Appearance.of_tensors({**appearance.tensors(), "mirror": np.eye(5)}, 10, d)
    with pytest.raises(ModelError):
        Suitability.load(tmp_path, references.shape[1], 5 - d)


def test_too_few_images_judge_nothing(learned: tuple[int, np.ndarray, Appearance]) -> None:
    d, typical, appearance = learned
    few = np.stack([shown(d, seed, appearance.nodes, typical) for seed in range(1, 8)])
    assert Appearance.learned(appearance.nodes, few, few) is None

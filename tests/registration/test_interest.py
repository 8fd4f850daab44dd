import numpy as np
import pytest
from scipy.spatial import cKDTree

from anatomark.core.grid import Grid
from anatomark.core.image import Image
from anatomark.data.phantoms import PhantomSpec, phantom
from anatomark.errors import ImageError, SettingsError
from anatomark.registration.interest import GATHERED, farthest_first, foreground, propose_landmarks


@pytest.fixture(scope="module", params=[2, 3], ids=["2D", "3D"])
def template(request):
    two = request.param == 2
    spec = PhantomSpec(ndim=request.param, shape=(200, 260) if two else (48, 64, 56))
    return phantom(1, 0, spec)[0]


def box(grid, low, high):
    """A bright box, smooth by half an element, between two corners of the world."""
    steps = min(grid.spacing)
    centers = grid.centers()
    edges = np.minimum(centers - low, high - centers) / steps
    return Image(np.clip(edges + 0.5, 0, 1).prod(axis=-1).astype(np.float32), grid)


def test_named_spread_and_within_the_image(template):
    found = propose_landmarks(template, count=60)
    assert found.names[0] == "L0001"
    assert found.names[-1] == "L0060"
    assert found.present.all()
    assert found == propose_landmarks(template, count=60)
    assert found.unit == "mm"
    index = template.grid.world_to_index(found.points)
    assert (index > 1).all()
    assert (index < np.array(template.grid.shape) - 2).all()
    nearest = cKDTree(found.points).query(found.points, k=2)[0][:, 1]
    inside = foreground(template)
    random = template.grid.index_to_world(np.random.default_rng(0).permutation(np.argwhere(inside))[:60])
    assert nearest.min() > 4 * cKDTree(random).query(random, k=2)[0][:, 1].min()
    assert inside[tuple(np.rint(index).astype(int).T)].mean() > 0.95


@pytest.mark.parametrize("kind", ["straight", "oblique"])
@pytest.mark.parametrize("ndim", [2, 3])
def test_the_corners_of_a_box_come_first(ndim, kind):
    spacing = np.array([1.5, 1.0, 1.2][:ndim])
    affine = np.eye(ndim + 1)
    affine[:ndim, :ndim] = np.eye(ndim)[::-1] * spacing
    if kind == "oblique":
        turn = np.linalg.qr(np.eye(ndim) + 0.4 * np.eye(ndim, k=1) - 0.4 * np.eye(ndim, k=-1))[0]
        affine[:ndim, :ndim] = turn @ affine[:ndim, :ndim]
    grid = Grid((64,) * ndim, affine)
    half = np.array([12.0, 17.0, 14.0][:ndim])
    low, high = grid.center - half, grid.center + half
    found = propose_landmarks(box(grid, low, high), count=2**ndim, scale=1.5).points
    corners = np.stack(np.meshgrid(*zip(low, high, strict=True), indexing="ij"), axis=-1).reshape(-1, ndim)
    distance, which = cKDTree(corners).query(found)
    assert sorted(which) == list(range(2**ndim))  # each corner once; the operator lies within it
    assert distance.max() < 2.0 * GATHERED * 1.5


def test_only_under_the_mask(template):
    half = np.zeros(template.grid.shape, dtype=np.uint8)
    half[: len(half) // 2] = 1
    found = propose_landmarks(template, count=20, mask=Image(half, template.grid))
    assert (template.grid.world_to_index(found.points)[:, 0] < len(half) // 2 + 1).all()
    with pytest.raises(ImageError, match="0 distinct points"):
        propose_landmarks(template, count=20, mask=Image(0 * half, template.grid))
    other = Grid((9,) * template.grid.ndim, np.eye(template.grid.ndim + 1), "px")
    with pytest.raises(ImageError, match="the mask is"):
        propose_landmarks(template, count=20, mask=Image(np.ones(other.shape), other))


def test_a_margin_keeps_away_from_the_border(template):
    margin = 0.3 * min(template.grid.extent)
    found = propose_landmarks(template, count=10, margin=margin)
    index = template.grid.world_to_index(found.points)
    size = np.array(template.grid.shape)
    to_border = np.minimum(index + 0.5, size - 0.5 - index) * template.grid.spacing
    assert to_border.min() > margin - max(template.grid.spacing)


def test_too_few_points(template):
    with pytest.raises(ImageError, match=r"the image has \d+ distinct points .* 100000 landmarks were asked for"):
        propose_landmarks(template, count=100_000)
    flat = Image(np.zeros(template.grid.shape), template.grid)
    with pytest.raises(ImageError, match="0 distinct points"):
        propose_landmarks(flat, count=3)


@pytest.mark.parametrize("wrong", [{"count": 0}, {"count": 3, "scale": -1.0}, {"count": 3, "margin": float("nan")}])
def test_settings_out_of_range(template, wrong):
    with pytest.raises(SettingsError):
        propose_landmarks(template, **wrong)


def test_farthest_first():
    points = np.array([[0.0, 0.0], [1.0, 0.0], [10.0, 0.0], [9.0, 0.0], [5.0, 3.0]])
    assert farthest_first(points, 4).tolist() == [0, 2, 4, 1]

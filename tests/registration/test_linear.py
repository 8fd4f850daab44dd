import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from anatomark.core.grid import Grid
from anatomark.core.image import Image
from anatomark.data.phantoms import PhantomSpec, phantom
from anatomark.errors import RegistrationError
from anatomark.registration import linear
from anatomark.registration.linear import register_linear


@pytest.fixture(scope="module", params=[2, 3], ids=["2D", "3D"])
def fixed(request):
    """An image on an anisotropic grid, in 3D an oblique one, and its landmarks' points."""
    shape = (120, 150) if request.param == 2 else (30, 44, 40)
    spacing = (1.5, 1.6) if request.param == 2 else (3.6, 3.5, 5.0)
    image, landmarks = phantom(0, 3, PhantomSpec(ndim=request.param, shape=shape, spacing=spacing))
    return image, landmarks.points


def turn(d, degrees):
    axis = np.array([0.0, 0.0, 1.0]) if d == 2 else np.array([0.36, -0.48, 0.8])
    return Rotation.from_rotvec(np.deg2rad(degrees) * axis).as_matrix()[:d, :d]


def moved(image, matrix):
    """The image after a map of the world, seen on another oblique and anisotropic grid."""
    d = image.grid.ndim
    carried = Image(image.array, Grid(image.grid.shape, matrix @ image.grid.affine))
    spacing = np.array([1.9, 1.4] if d == 2 else [4.2, 3.1, 3.8])
    shape = np.ceil(1.15 * max(image.grid.extent) / spacing).astype(int)
    affine = np.eye(d + 1)
    affine[:d, :d] = turn(d, 8.0)[:, ::-1] * spacing
    affine[:d, d] = carried.grid.center - affine[:d, :d] @ ((shape - 1) / 2)
    return carried.resampled(Grid(tuple(shape), affine))


def mapped(matrix, points):
    return points @ matrix[:-1, :-1].T + matrix[:-1, -1]


def the_map(d, kind):
    matrix = np.eye(d + 1)
    matrix[:d, :d] = turn(d, 22.0)
    if kind == "affine":
        matrix[:d, :d] = matrix[:d, :d] @ np.array([[1.1, 0.08, 0.0], [-0.05, 0.9, 0.06], [0.0, 0.04, 1.05]])[:d, :d]
    matrix[:d, d] = (30.0, -20.0, 150.0)[:d]
    return matrix


@pytest.mark.parametrize("kind", ["rigid", "affine"])
def test_a_known_map_is_found_again(fixed, kind):
    image, points = fixed
    true = the_map(image.grid.ndim, kind)
    moving = moved(image, true)
    found = register_linear(image, moving, kind=kind)
    error = np.linalg.norm(mapped(found, points) - mapped(true, points), axis=1)
    assert error.max() < max(image.grid.spacing)
    if kind == "rigid":
        np.testing.assert_array_equal(register_linear(image, moving, kind=kind), found)
        np.testing.assert_allclose(found[:-1, :-1].T @ found[:-1, :-1], np.eye(image.grid.ndim), atol=1e-9)


def test_grey_values_may_be_another_modalitys_and_grids_sheared(fixed):
    image, points = fixed
    true = the_map(image.grid.ndim, "affine")
    grey = (image.array.astype(float) - image.array.min()) / np.ptp(image.array)
    moving = Image(1000 * np.cos(2.5 * grey), Grid(image.grid.shape, true @ image.grid.affine))
    found = register_linear(image, moving, kind="affine")
    error = np.linalg.norm(mapped(found, points) - mapped(true, points), axis=1)
    assert error.max() < max(image.grid.spacing)


def test_an_image_lies_where_it_is(fixed):
    image, points = fixed
    found = register_linear(image, image, kind="affine")
    assert np.abs(mapped(found, points) - points).max() < 0.1 * max(image.grid.spacing)


def test_what_cannot_be_registered_is_said(fixed):
    image, _ = fixed
    shape = image.grid.shape
    with pytest.raises(RegistrationError, match="the moving image is one grey value"):
        register_linear(image, Image(np.full(shape, 7.0), image.grid), kind="rigid")
    with pytest.raises(RegistrationError, match="the fixed image is one grey value"):
        register_linear(Image(np.zeros(shape), image.grid), image, kind="affine")
    with pytest.raises(RegistrationError, match="not finite"):
        register_linear(image, Image(np.full(shape, np.nan), image.grid), kind="rigid")
    with pytest.raises(RegistrationError, match="two kinds"):
        register_linear(image, Image(image.array, Grid(shape, image.grid.affine, "px")), kind="rigid")
    noise = np.random.default_rng(0).normal(size=shape)
    with pytest.raises(RegistrationError, match="do not show the same"):
        register_linear(image, Image(noise, image.grid), kind="rigid")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (np.diag([2.5, 1.0, 1.0]), "scales from 1.00 to 2.50"),
        (np.diag([1.0, 0.3, 1.0]), "scales from 0.30 to 1.00"),
        (np.diag([-1.0, 1.0, 1.0]), "mirrors"),
        (np.full((3, 3), np.nan), "not finite"),
        (np.eye(3), "overlap by only [0-9]%"),
    ],
)
def test_a_map_that_cannot_be_is_refused(fixed, change, reason, monkeypatch):
    image, _ = fixed
    d = image.grid.ndim
    matrix = np.eye(d + 1)
    matrix[:d, :d] = change[:d, :d]
    matrix[:d, d] = image.grid.center - matrix[:d, :d] @ image.grid.center
    if reason.startswith("overlap"):
        matrix[0, d] += 0.95 * image.grid.canonical().extent[-1]
    monkeypatch.setattr(linear, "_optimised", lambda *_: matrix)
    monkeypatch.setattr(linear, "_agreement", lambda _, __, m: float(m is matrix))
    with pytest.raises(RegistrationError, match=reason) as told:
        register_linear(image, image, kind="affine")
    assert "\n" not in str(told.value)


@pytest.mark.parametrize("shape", [(1, 40, 40), (2, 2, 2), (3, 90, 2), (7, 150, 33)])
def test_odd_sizes_of_nothing_are_refused(fixed, shape):
    image, _ = fixed
    d = image.grid.ndim
    array = np.random.default_rng(0).normal(size=shape[:d])
    with pytest.raises(RegistrationError):
        register_linear(image, Image(array, Grid.from_geometry(array.shape, spacing=(2.0,) * d)), kind="affine")

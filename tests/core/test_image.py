"""Image against SimpleITK: resampling and orientation."""

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st

from anatomark.core.grid import Grid
from anatomark.core.image import Image

# ITK inverts a direction by SVD, which fails on denormal entries: no angles of 1e-300
angles = st.integers(-500, 500).map(lambda n: n / 1000)


def itk_of(image):
    itk = sitk.GetImageFromArray(np.ascontiguousarray(image.array))
    itk.SetSpacing(image.grid.spacing[::-1])
    itk.SetOrigin(image.grid.origin.tolist())
    itk.SetDirection(image.grid.direction[:, ::-1].ravel().tolist())
    return itk


def rotation(d, angle):
    matrix = np.eye(d)
    c, s = np.cos(angle), np.sin(angle)
    matrix[:2, :2] = [[c, -s], [s, c]]
    if d == 3:
        turned = np.eye(3)
        turned[1:, 1:] = [[np.cos(angle / 2), -np.sin(angle / 2)], [np.sin(angle / 2), np.cos(angle / 2)]]
        matrix = matrix @ turned
    return matrix


def random_image(seed, d, angle=0.0):
    rng = np.random.default_rng(seed)
    shape = tuple(rng.integers(6, 12, size=d))
    grid = Grid.from_geometry(
        shape,
        spacing=rng.uniform(0.5, 2, size=d).tolist(),
        origin=rng.uniform(-50, 50, size=d).tolist(),
        direction=rotation(d, angle),
    )
    return Image(rng.normal(size=shape).astype(np.float32), grid)


def itk_resampled(image, grid):
    like = itk_of(Image(np.zeros(grid.shape, np.float32), grid))
    inside = sitk.Resample(itk_of(image), like, sitk.Transform(), sitk.sitkLinear, 1e9)
    return sitk.GetArrayFromImage(inside)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([2, 3]), angles, angles)
def test_resampled_is_itk_linear_interpolation(seed, d, angle, turn):
    image = random_image(seed, d, 6 * angle)
    # a finer, turned and shifted grid: no smoothing comes in
    wanted = Grid.from_geometry(
        (7,) * d,
        spacing=[0.3 * min(image.grid.spacing)] * d,
        origin=(image.grid.center - 0.2).tolist(),
        direction=rotation(d, 6 * angle + turn),
    )
    expected = itk_resampled(image, wanted)
    got = image.resampled(wanted)
    inside = expected < 1e8
    assert inside.any()
    np.testing.assert_allclose(got.array[inside], expected[inside], atol=2e-4)
    assert got.grid == wanted
    assert got.array.dtype == np.float32


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([2, 3]))
def test_resampling_along_the_axes_agrees_too(seed, d):
    image = random_image(seed, d)
    wanted = image.grid.respaced([0.7 * s for s in image.grid.spacing])
    expected = itk_resampled(image, wanted)
    inside = expected < 1e8
    np.testing.assert_allclose(image.resampled(wanted).array[inside], expected[inside], atol=2e-4)


@pytest.mark.parametrize("d", [2, 3])
@pytest.mark.parametrize("factor", [0.4, 1.7, 4.0])
def test_a_linear_ramp_stays_a_linear_ramp_in_the_world(d, factor):
    """Whatever the resampling does to grey values, it must not move them."""
    grid = Grid.from_geometry((40,) * d, spacing=[1.0, 0.8, 1.3][:d], origin=[5.0, -7, 11][:d])
    normal = np.array([1.0, 2.0, -1.0])[:d]
    image = Image((grid.centers() @ normal).astype(np.float32), grid)
    other = image.resampled(grid.respaced([factor * s for s in grid.spacing]))
    margin = int(np.ceil(6 / factor))
    core = tuple(slice(margin, n - margin) for n in other.grid.shape)
    np.testing.assert_allclose(other.array[core], (other.grid.centers() @ normal)[core], atol=1e-3)


def test_border_values_are_continued_outside():
    grid = Grid.from_geometry((4, 4), spacing=(1, 1))
    image = Image(np.arange(16, dtype=np.uint8).reshape(4, 4), grid)
    wide = image.resampled(grid.crop((-2, -2), (8, 8)))
    np.testing.assert_array_equal(wide.array, np.pad(image.array, 2, mode="edge"))


def test_a_coarser_grid_is_smoothed_against_aliasing():
    grid = Grid.from_geometry((64, 64), spacing=(1, 1))
    stripes = Image(np.tile([0.0, 1.0], (64, 32)).astype(np.float32), grid)
    coarse = stripes.resampled(grid.respaced(8.0)).array
    np.testing.assert_allclose(coarse[:, 1:-1], 0.5, atol=0.01)  # the outer columns feel the border


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.permutations([0, 1, 2]), st.tuples(*[st.booleans()] * 3), angles)
def test_canonical_is_itk_dicom_orient_lps(seed, order, flips, angle):
    image = random_image(seed, 3)
    direction = rotation(3, angle)[:, list(order)] * np.where(flips, -1, 1)
    grid = Grid.from_geometry(image.grid.shape, spacing=image.grid.spacing[::-1], origin=(3, 4, 5), direction=direction)
    image = Image(image.array, grid)
    oriented = sitk.DICOMOrient(itk_of(image), "LPS")
    canonical = image.canonical()
    np.testing.assert_array_equal(canonical.array, sitk.GetArrayFromImage(oriented))
    np.testing.assert_allclose(canonical.grid.origin, oriented.GetOrigin(), atol=1e-6)


def test_resampling_onto_flipped_axes_is_flipping():
    image = random_image(0, 3)
    flipped = Grid.from_geometry(
        image.grid.shape, spacing=image.grid.spacing[::-1], direction=np.diag([-1, 1, -1]), origin=(1, 2, 3)
    )
    mirrored = Image(image.array, flipped)
    np.testing.assert_allclose(mirrored.resampled(flipped.canonical()).array, mirrored.canonical().array, atol=1e-5)


def test_canonical_in_2d():
    array = np.arange(6).reshape(2, 3)
    grid = Grid.from_geometry((2, 3), spacing=(1, 2), direction=[[0, -1], [1, 0]])  # x goes down, y goes left
    canonical = Image(array, grid).canonical()
    np.testing.assert_array_equal(canonical.array, array.T[:, ::-1])
    value, where = array[1, 2], grid.index_to_world((1, 2))
    row, column = np.rint(canonical.grid.world_to_index(where)).astype(int)
    assert canonical.array[row, column] == value


def test_the_array_is_read_only_and_must_fit():
    grid = Grid.from_geometry((2, 3), spacing=(1, 1))
    with pytest.raises(ValueError, match="read-only"):
        Image(np.zeros((2, 3)), grid).array[0, 0] = 1
    with pytest.raises(ValueError, match="must agree"):
        Image(np.zeros((3, 2)), grid)
    with pytest.raises(ValueError, match="2D image"):
        Image(np.zeros((2, 3)), grid).resampled(Grid.from_geometry((2, 2, 2), spacing=(1, 1, 1)))

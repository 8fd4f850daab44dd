"""Grid against SimpleITK, on oblique, anisotropic, non-cubic and non-square geometry."""

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from anatomark.core.grid import Grid

finite = st.floats(-300, 300)


@st.composite
def rotations(draw, d):
    """A rotation, or a rotation with a reflection, of d axes."""
    seed = draw(st.integers(0, 2**32 - 1))
    matrix, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(d, d)))
    return matrix


@st.composite
def itk_images(draw, dimensions=(2, 3)):
    d = draw(st.sampled_from(dimensions))
    image = sitk.Image(draw(st.lists(st.integers(1, 9), min_size=d, max_size=d)), sitk.sitkUInt8)
    image.SetSpacing(draw(st.lists(st.floats(0.05, 5), min_size=d, max_size=d)))
    image.SetOrigin(draw(st.lists(finite, min_size=d, max_size=d)))
    image.SetDirection(draw(rotations(d)).ravel().tolist())
    return image


def grid_of(image):
    return Grid.from_geometry(
        image.GetSize()[::-1],
        spacing=image.GetSpacing(),
        origin=image.GetOrigin(),
        direction=image.GetDirection(),
    )


@given(itk_images(), st.data())
def test_index_and_world_agree_with_itk(image, data):
    grid = grid_of(image)
    index = data.draw(st.lists(st.floats(-20, 20), min_size=grid.ndim, max_size=grid.ndim))
    expected = image.TransformContinuousIndexToPhysicalPoint(index[::-1])
    np.testing.assert_allclose(grid.index_to_world(index), expected, atol=1e-9)
    np.testing.assert_allclose(grid.world_to_index(expected), index, atol=1e-7)
    np.testing.assert_allclose(grid.spacing, image.GetSpacing()[::-1], rtol=1e-12)
    direction = np.asarray(image.GetDirection()).reshape(grid.ndim, -1)
    np.testing.assert_allclose(grid.direction[:, ::-1], direction, atol=1e-12)


@given(itk_images(), st.data())
def test_contains_agrees_with_itk(image, data):
    grid = grid_of(image)
    index = np.array([data.draw(st.floats(-1.5, n + 0.5)) for n in grid.shape])
    borders = np.abs(np.concatenate([index + 0.5, index - np.array(grid.shape) + 0.5]))
    assume(borders.min() > 1e-6)
    point = grid.index_to_world(index)
    nearest = image.TransformPhysicalPointToIndex(point.tolist())
    inside = all(0 <= i < n for i, n in zip(nearest, image.GetSize(), strict=True))
    assert bool(grid.contains(point)) == inside
    assert not grid.contains(np.full(grid.ndim, np.nan))


@given(itk_images(), st.data())
def test_crop_agrees_with_itk_extract(image, data):
    grid = grid_of(image)
    start = [data.draw(st.integers(0, n - 1)) for n in grid.shape]
    shape = [data.draw(st.integers(1, n - s)) for n, s in zip(grid.shape, start, strict=True)]
    cut = sitk.RegionOfInterest(image, shape[::-1], start[::-1])
    assert grid.crop(start, shape).same_as(grid_of(cut), 1e-9)


@given(itk_images(), st.data())
def test_strided_is_the_grid_of_average_pooling(image, data):
    grid = grid_of(image)
    stride = [data.draw(st.integers(1, n)) for n in grid.shape]
    pooled = sitk.BinShrink(image, stride[::-1])
    assert grid.strided(stride).same_as(grid_of(pooled), 1e-9)


@given(itk_images(), st.data())
def test_respaced_keeps_the_outer_border_at_index_zero(image, data):
    grid = grid_of(image)
    spacing = [data.draw(st.floats(0.02, 10)) for _ in range(grid.ndim)]
    other = grid.respaced(spacing)
    corner = np.full(grid.ndim, -0.5)
    np.testing.assert_allclose(other.index_to_world(corner), grid.index_to_world(corner), atol=1e-9)
    np.testing.assert_allclose(other.spacing, spacing, rtol=1e-9)
    np.testing.assert_allclose(other.direction, grid.direction, atol=1e-9)
    missing = np.abs(np.array(other.extent) - np.array(grid.extent))
    grew_from_nothing = np.array(other.shape) == 1
    assert ((missing <= np.array(spacing) / 2 + 1e-9) | grew_from_nothing).all()


@given(itk_images(dimensions=(3,)))
def test_canonical_is_itk_orientation_lps(image):
    grid = grid_of(image)
    strength = np.sort(np.abs(grid.direction), axis=0)
    assume((strength[-1] - strength[-2]).min() > 0.05)  # near a tie any choice is as good
    assume(len(set(np.abs(grid.direction).argmax(axis=0))) == 3)
    assert grid.canonical().same_as(grid_of(sitk.DICOMOrient(image, "LPS")), 1e-7)


@given(itk_images())
def test_canonical_holds_the_same_elements_and_is_settled(image):
    grid = grid_of(image)
    canonical = grid.canonical()
    order, flipped = grid.canonical_axes()
    assert sorted(order) == list(range(grid.ndim))
    centers = grid.centers().transpose(*order, grid.ndim)
    centers = np.flip(centers, [axis for axis, flip in enumerate(flipped) if flip])
    np.testing.assert_allclose(canonical.centers(), centers, atol=1e-8)
    assert canonical.canonical_axes() == (tuple(range(grid.ndim)), (False,) * grid.ndim)


@given(itk_images())
def test_a_dictionary_gives_back_an_equal_grid_of_equal_hash(image):
    grid = grid_of(image)
    other = Grid.from_dict(grid.to_dict())
    assert other == grid
    assert hash(other) == hash(grid)


def test_equal_grids_have_equal_hashes_in_spite_of_negative_zeros():
    plus, minus = np.eye(3), np.eye(3)
    minus[0, 1] = -0.0
    assert Grid((4, 5), plus) == Grid((4, 5), minus)
    assert hash(Grid((4, 5), plus)) == hash(Grid((4, 5), minus))


def test_a_grid_cannot_be_changed_through_what_it_hands_out():
    grid = Grid.from_geometry((4, 5), spacing=(0.5, 0.25), origin=(1, 2))
    for array in (grid.affine, grid.direction, grid.origin, grid.center):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 7


def test_microscopic_spacing_is_a_grid():
    grid = Grid.from_geometry((4, 5, 6), spacing=(1e-5, 1e-5, 2e-5))
    np.testing.assert_allclose(grid.world_to_index(grid.index_to_world([1, 2, 3])), [1, 2, 3])


@pytest.mark.parametrize(
    ("shape", "affine", "unit"),
    [
        ((4,), np.eye(2), "mm"),
        ((4, 5), np.eye(4), "mm"),
        ((0, 5), np.eye(3), "mm"),
        ((4, 5), np.diag([1, 0, 1]), "mm"),
        ((4, 5), np.array([[1, 1, 0], [1, 1, 0], [0, 0, 1]]), "mm"),
        ((4, 5), np.diag([1, np.nan, 1]), "mm"),
        ((4, 5), np.eye(3), "cm"),
    ],
)
def test_impossible_grids_are_refused(shape, affine, unit):
    with pytest.raises(ValueError):
        Grid(shape, affine, unit)


@settings(max_examples=20)
@given(itk_images())
def test_extent_and_center(image):
    grid = grid_of(image)
    corners = grid.index_to_world([np.full(grid.ndim, -0.5), np.array(grid.shape) - 0.5])
    np.testing.assert_allclose(grid.center, corners.mean(axis=0), atol=1e-9)
    np.testing.assert_allclose(np.linalg.norm(corners[1] - corners[0]), np.linalg.norm(grid.extent), rtol=1e-9)

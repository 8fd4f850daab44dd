import numpy as np
import pytest

from anatomark import Grid, Image
from anatomark.data.working import Sampling, average_pool, intensity_window, otsu_threshold, working_image
from anatomark.errors import ImageError

OBLIQUE = [[0.0, 0.6, 0.8], [1.0, 0.0, 0.0], [0.0, 0.8, -0.6]]


def ramp(grid: Grid) -> np.ndarray:
    """Grey values that are a linear function of the world, so that interpolation is exact."""
    return (grid.centers() @ np.arange(1.0, grid.ndim + 1) + 50).astype(np.float32)


@pytest.mark.parametrize("dtype", [np.float32, np.int16])
def test_values_stay_where_they_are_in_the_world(dtype: type) -> None:
    grid = Grid.from_geometry((20, 31, 26), spacing=(1.5, 0.8, 2.1), origin=(9, -4, 30), direction=OBLIQUE)
    image = Image((10 * ramp(grid)).astype(dtype), grid)
    working = working_image(image, Sampling((2.0, 1.6, 3.0), (1, 2, 2)))
    low, high = intensity_window(image.array)
    for array, at in ((working.fine, working.fine_grid), (working.coarse, working.coarse_grid)):
        inner = (slice(3, -3),) * 3
        grey = array.astype(np.float32)[inner] * (high - low) + low
        expected = 10 * ramp(at)[inner]
        within = (expected > low) & (expected < high)
        assert within.mean() > 0.5
        assert np.abs(grey - expected)[within].max() < 0.01 * (high - low)


def test_axes_come_nearest_to_z_y_x() -> None:
    grid = Grid.from_geometry((20, 31, 26), spacing=(1.5, 0.8, 2.1), direction=OBLIQUE)
    working = working_image(Image(ramp(grid), grid), Sampling((1, 1, 1), (2, 2, 2)))
    towards = working.fine_grid.direction
    assert (np.abs(towards).argmax(axis=0) == [2, 1, 0]).all()
    assert (towards[[2, 1, 0], [0, 1, 2]] > 0).all()


def test_eight_bit_images_stay_eight_bit_with_the_same_window() -> None:
    array = np.random.default_rng(0).integers(20, 200, (40, 30), dtype=np.uint8)
    working = working_image(Image(array, Grid.from_geometry(array.shape, spacing=(1, 1))), Sampling((1, 1), (1, 1)))
    assert working.fine.dtype == np.uint8
    assert working.coarse is working.fine
    np.testing.assert_array_equal(working.fine, array)
    assert working.window == intensity_window(array)


def test_pooling_takes_means_and_keeps_the_last_incomplete_block() -> None:
    array = np.array([[0, 2, 10], [4, 2, 30]], dtype=np.uint8)
    pooled, grid = average_pool(array, Grid.from_geometry((2, 3), spacing=(1, 1)), (2, 2))
    assert pooled.tolist() == [[2, 20]]
    np.testing.assert_allclose(grid.centers(), [[[0.5, 0.5], [2.5, 0.5]]])


def test_mostly_empty_images_are_windowed_by_their_range_and_constant_ones_refused() -> None:
    array = np.zeros((100, 100), dtype=np.uint8)
    array[0, 0] = 9
    assert intensity_window(array) == (0.0, 9.0)
    with pytest.raises(ImageError, match=r"x\.png: all grey values are 7"):
        intensity_window(np.full((9, 9), 7), "x.png")


def anatomy(shape, rng):
    """Air at -1000, soft tissue about 40, and bone about 900 in a thirtieth of the image, as in CT."""
    array = np.full(shape, -1000.0)
    middle = tuple(slice(n // 8, n - n // 8) for n in shape)
    array[middle] = rng.normal(40, 20, array[middle].shape)
    bone = tuple(slice(n // 3, n // 3 + max(1, round(0.32 * n))) for n in shape)
    array[bone] = rng.normal(900, 150, array[bone].shape)
    return array + rng.normal(0, 5, shape)


@pytest.mark.parametrize("ndim", [2, 3])
def test_air_around_an_image_does_not_change_how_the_foreground_is_seen(ndim):
    rng = np.random.default_rng(0)
    array = anatomy((160,) * ndim if ndim == 2 else (48,) * ndim, rng)
    wide = np.pad(array, [(round(0.7 * n),) * 2 for n in array.shape], constant_values=-1000.0)
    wide += rng.normal(0, 5, wide.shape)
    (low, high), (low_wide, high_wide) = (intensity_window(a, grey_values="foreground") for a in (array, wide))
    assert high == pytest.approx(high_wide, abs=0.02 * (high - low))
    assert low == pytest.approx(low_wide, abs=0.02 * (high - low))
    of_image = [intensity_window(a)[1] for a in (array, wide)]
    assert of_image[0] - of_image[1] > 0.05 * (high - low)  # which is why


def test_the_foreground_of_few_grey_values_and_of_none():
    array = np.zeros((9, 9))
    array[4, 4] = 9.0
    assert intensity_window(array, grey_values="foreground") == (0.0, 9.0)
    assert otsu_threshold(np.array([1.0, 1.0, 5.0, 6.0]), 1.0, 6.0) == pytest.approx(3.0, abs=1.5)
    with pytest.raises(ImageError, match="all grey values are 7"):
        intensity_window(np.full((9, 9), 7), "x.png", "foreground")


def test_a_working_image_knows_what_its_window_is_of():
    array = anatomy((60, 50), np.random.default_rng(1))
    image = Image(array.astype(np.float32), Grid.from_geometry(array.shape, spacing=(1, 1)))
    for kind in ("image", "foreground"):
        working = working_image(image, Sampling((1, 1), (1, 1), kind))
        assert working.grey_values == kind
        low, high = intensity_window(array, grey_values=kind)
        np.testing.assert_allclose(working.fine, np.clip((array - low) / (high - low), -4, 4), atol=2e-3)

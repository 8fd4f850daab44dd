import numpy as np
import pytest

from anatomark import Grid, Image
from anatomark.data.working import average_pool, intensity_window, working_image
from anatomark.errors import ImageError

OBLIQUE = [[0.0, 0.6, 0.8], [1.0, 0.0, 0.0], [0.0, 0.8, -0.6]]


def ramp(grid: Grid) -> np.ndarray:
    """Grey values that are a linear function of the world, so that interpolation is exact."""
    return (grid.centers() @ np.arange(1.0, grid.ndim + 1) + 50).astype(np.float32)


@pytest.mark.parametrize("dtype", [np.float32, np.int16])
def test_values_stay_where_they_are_in_the_world(dtype: type) -> None:
    grid = Grid.from_geometry((20, 31, 26), spacing=(1.5, 0.8, 2.1), origin=(9, -4, 30), direction=OBLIQUE)
    image = Image((10 * ramp(grid)).astype(dtype), grid)
    working = working_image(image, spacing=(2.0, 1.6, 3.0), pool=(1, 2, 2))
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
    working = working_image(Image(ramp(grid), grid), spacing=(1, 1, 1), pool=(2, 2, 2))
    towards = working.fine_grid.direction
    assert (np.abs(towards).argmax(axis=0) == [2, 1, 0]).all()
    assert (towards[[2, 1, 0], [0, 1, 2]] > 0).all()


def test_eight_bit_images_stay_eight_bit_with_the_same_window() -> None:
    array = np.random.default_rng(0).integers(20, 200, (40, 30), dtype=np.uint8)
    working = working_image(Image(array, Grid.from_geometry(array.shape, spacing=(1, 1))), spacing=(1, 1), pool=(1, 1))
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

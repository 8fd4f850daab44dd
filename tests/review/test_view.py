"""Views: the page's NIfTI and its map agree with the image, whatever its type, axes and size."""

import numpy as np
import pytest

from anatomark.core.grid import Grid
from anatomark.core.image import Image
from anatomark.formats.images import read_image
from anatomark.review import view as views
from anatomark.review.view import view_of

TURNED = [[0.36, 0.48, -0.8], [-0.8, 0.6, 0.0], [0.48, 0.64, 0.6]]
FLAT = {
    "straight": np.eye(2),
    "turned": [[0.6, -0.8], [0.8, 0.6]],
    "mirrored": [[-1.0, 0.0], [0.0, 1.0]],
}


def seen(image, tmp_path):
    """(view, its voxels as an Image in LPS, where the viewer has RAS)."""
    view = view_of(image)
    path = tmp_path / "view.nii"
    path.write_bytes(view.nifti)
    return view, read_image(path)


def value_at(shown, view, point):
    """The grey value that the viewer has at a world point, which must be the centre of a voxel."""
    viewer = view.viewer_from_world @ [*point, *[0.0] * (3 - len(point)), 1.0]
    index = shown.grid.world_to_index(viewer[:3] * [-1, -1, 1])  # the file read in LPS
    nearest = np.round(index).astype(int)
    np.testing.assert_allclose(index, nearest, atol=1e-3)
    return shown.array[tuple(nearest)]


@pytest.mark.parametrize("axes", FLAT)
@pytest.mark.parametrize("unit", ["mm", "px"])
def test_a_picture_is_upright_and_its_points_are_where_they_were(tmp_path, axes, unit):
    array = np.arange(7 * 5, dtype=np.uint16).reshape(7, 5)
    steps = (0.5, 2.0) if unit == "mm" else (1.0, 1.0)
    grid = Grid.from_geometry((7, 5), spacing=steps, origin=(10, -3), direction=FLAT[axes], unit=unit)
    view, shown = seen(Image(array, grid), tmp_path)
    assert shown.array.shape == (1, 7, 5)
    for index in np.ndindex(7, 5):
        assert value_at(shown, view, grid.index_to_world(index)) == array[index]
    # upright: down the picture the viewer's second axis falls, to the right its first one falls (seen from the feet)
    corner, right, down = (view.viewer_from_world @ [*grid.index_to_world(i), 0, 1] for i in ((0, 0), (0, 1), (1, 0)))
    np.testing.assert_allclose(right - corner, [-steps[0], 0, 0, 0], atol=1e-9)
    np.testing.assert_allclose(down - corner, [0, -steps[1], 0, 0], atol=1e-9)


def test_an_oblique_volume_keeps_its_world(tmp_path):
    array = np.random.default_rng(1).integers(-1000, 3000, (4, 6, 5)).astype(np.int16)
    grid = Grid.from_geometry((4, 6, 5), spacing=(0.7, 1.1, 3.0), origin=(-20, 7, 90), direction=TURNED)
    view, shown = seen(Image(array, grid), tmp_path)
    assert shown.array.dtype == np.int16
    for index in np.ndindex(array.shape):
        assert value_at(shown, view, grid.index_to_world(index)) == array[index]


@pytest.mark.parametrize("ndim", [2, 3])
def test_what_is_too_large_is_shown_at_every_second_element(tmp_path, monkeypatch, ndim):
    monkeypatch.setattr(views, f"LONGEST_{ndim}D", 8)
    shape = (9, 7, 11)[-ndim:]
    array = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    axes = TURNED if ndim == 3 else FLAT["turned"]
    grid = Grid.from_geometry(shape, spacing=(0.7, 1.1, 3.0)[:ndim], origin=(1, 2, 3)[:ndim], direction=axes)
    view, shown = seen(Image(array, grid), tmp_path)
    assert view.step == 2
    for index in np.ndindex(*[-(-n // 2) for n in shape]):
        there = tuple(2 * k for k in index)
        assert value_at(shown, view, grid.index_to_world(there)) == array[there]


@pytest.mark.parametrize("kind", ["bool", "int8", "int64", "uint32", "float16", "float64"])
def test_every_type_is_shown(tmp_path, kind):
    array = (np.arange(60).reshape(3, 4, 5) % 2).astype(kind)
    grid = Grid.from_geometry((3, 4, 5), spacing=(1, 2, 3))
    _, shown = seen(Image(array, grid), tmp_path)
    np.testing.assert_array_equal(shown.array, array.astype(float))


def test_what_is_not_finite_is_shown_as_the_least(tmp_path):
    array = np.array([[[1.0, np.nan], [3.0, 4.0]], [[5.0, -2.0], [7.0, 8.0]]])
    _, shown = seen(Image(array, Grid.from_geometry((2, 2, 2), spacing=(1, 1, 1))), tmp_path)
    assert shown.array[0, 0, 1] == -2

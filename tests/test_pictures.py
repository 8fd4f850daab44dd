"""Pictures: points fall on the voxel they belong to, whatever the image's orientation, type and aspect."""

import numpy as np
import pytest

from anatomark.core.grid import Grid
from anatomark.core.image import Image
from anatomark.core.landmarks import Landmarks, State
from anatomark.picture_sheets import PREDICTED_COLOUR, REFERENCE_COLOUR, font_of
from anatomark.pictures import (
    crop,
    grey_range,
    overlay,
    window,
    worst_planes,
)


def rgb(colour):
    return np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)])


def centre_of(picture, colour, skip_bottom=22):
    """Mean (x, y) of the pixels of a colour, the legend left out."""
    array = np.asarray(picture).astype(int)[: picture.height - skip_bottom]
    ys, xs = np.nonzero((np.abs(array - rgb(colour)) < 8).all(axis=-1))
    assert len(xs), "the colour is not in the picture"
    return (xs.min() + xs.max()) / 2, (ys.min() + ys.max()) / 2


def brightest(array):
    weight = np.clip(array.astype(float) - 128, 0, None)
    ys, xs = np.mgrid[: array.shape[0], : array.shape[1]]
    return (xs * weight).sum() / weight.sum(), (ys * weight).sum() / weight.sum()


def test_a_2d_point_is_drawn_on_its_bright_pixel():
    array = np.zeros((50, 80), dtype=np.uint16)
    array[12:15, 60:63] = 4000
    grid = Grid.from_geometry(array.shape, spacing=(0.5, 0.25), origin=(3, 9))
    point = grid.index_to_world([[13, 61]])
    bright = np.asarray(overlay(Image(array, grid)).convert("L"))
    assert bright.shape == (
        312,
        1000,
    )  # 40 mm x 12.5 mm: the picture has the shape of the body, not of the array
    drawn = overlay(Image(array, grid), predicted=Landmarks.from_points(["p"], point))
    x, y = brightest(bright)
    assert np.abs(np.subtract(centre_of(drawn, PREDICTED_COLOUR), (x, y))).max() < 1.5


@pytest.mark.parametrize("direction", ["LPS", "RAS", "oblique", "sagittal"])
def test_3d_points_are_drawn_on_their_bright_voxel_in_all_views(direction):
    axes = {
        "LPS": np.eye(3),
        "RAS": np.diag([-1.0, -1, 1]),
        "sagittal": np.array([[0, 0, 1.0], [1, 0, 0], [0, -1, 0]]),
        "oblique": np.array([[np.cos(0.3), -np.sin(0.3), 0], [np.sin(0.3), np.cos(0.3), 0], [0, 0, 1]]),
    }[direction]
    array = np.zeros((20, 40, 60), dtype=np.float32)
    array[4:7, 9:12, 44:47] = 1
    grid = Grid.from_geometry(array.shape, spacing=(1, 1.5, 3), origin=(-10, 20, 5), direction=axes)
    image, point = Image(array, grid), grid.index_to_world([[5, 10, 45]])
    landmarks = Landmarks.from_points(["p"], point)
    drawn = np.asarray(overlay(image, reference=landmarks).convert("RGB"))
    plain = np.asarray(overlay(image, reference=Landmarks.from_points(["p"], point * np.nan)).convert("L"))
    extent = np.array(image.canonical().grid.extent)  # z, y, x
    scale = 500 / extent.max()
    widths = [round(extent[k] * scale) for k in (2, 2, 1)]
    left = 0
    for width in widths:
        inner, ring = plain[:-22, left : left + width].copy(), drawn[:-22, left : left + width]
        inner[:, :22] = inner[:, -22:] = 0  # the letters of orientation
        inner[:24] = inner[-24:] = 0
        close = (np.abs(ring.astype(int) - rgb(REFERENCE_COLOUR)) < 8).all(axis=-1)
        ys, xs = np.nonzero(close)
        middle = ((xs.min() + xs.max()) / 2, (ys.min() + ys.max()) / 2)
        assert np.abs(np.subtract(middle, brightest(inner))).max() < 3
        left += width + 6


def test_the_head_is_up_and_the_right_side_left():
    array = np.zeros((30, 30, 30), dtype=np.uint8)
    grid = Grid.from_geometry(array.shape, spacing=(1, 1, 1))
    upper_left_back = Landmarks.from_points(["p"], [[25.0, 24.0, 23.0]])  # LPS: left, posterior, superior
    picture = overlay(Image(array, grid), reference=upper_left_back)
    views = [picture.crop((x, 0, x + 500, 500)) for x in (0, 506, 1012)]
    axial, coronal, sagittal = (centre_of(v, REFERENCE_COLOUR, 0) for v in views)
    assert axial[0] > 350  # patient's left is on the right side
    assert axial[1] > 350  # posterior is down
    assert coronal[0] > 350
    assert coronal[1] < 150  # superior is up
    assert sagittal[0] > 350  # posterior is right
    assert sagittal[1] < 150


@pytest.mark.parametrize("ndim", [2, 3])
def test_a_crop_has_the_reference_in_its_middle_even_at_the_border(ndim):
    shape, spacing = (60, 50, 40)[:ndim], (0.7, 1.1, 2.0)[:ndim]
    grid = Grid.from_geometry(shape, spacing=spacing, direction=np.diag([-1.0, 1, 1][:ndim]))
    image = Image(np.random.default_rng(0).random(shape), grid)
    for index in ([0.0] * ndim, [30.0, 20.4, 11.7][:ndim]):
        point = grid.index_to_world(index)
        picture = crop(image, point, reference=point, width=20.0, size=200)
        tiles = 1 if ndim == 2 else 3
        assert picture.size == (206 * tiles - 6, 200)
        for tile in range(tiles):
            x, y = centre_of(picture.crop((206 * tile, 0, 206 * tile + 200, 200)), REFERENCE_COLOUR, 0)
            assert (x, y) == pytest.approx((100, 100), abs=1)


def test_a_crop_shows_the_voxel_that_the_point_names():
    grid = Grid.from_geometry((30, 40, 50), spacing=(1.5, 1, 2), direction=np.diag([-1.0, -1, 1]))
    array = np.zeros(grid.shape)
    array[11, 22, 33] = 1
    point = grid.index_to_world([11, 22, 33])
    grey = np.asarray(crop(Image(array, grid), point, width=20.0, size=200).convert("L"))
    for tile in range(3):
        assert brightest(grey[:, 206 * tile : 206 * tile + 200]) == pytest.approx((100, 100), abs=1.5)


def test_a_prediction_far_outside_does_not_break_a_picture():
    grid = Grid.from_geometry((20, 20), spacing=(1, 1))
    image = Image(np.ones((20, 20)), grid)
    far = Landmarks.from_points(["p"], [[-1e4, 5e3]])
    assert overlay(image, predicted=far, radius=[3.0]).size == (1000, 1022)
    crop(image, np.array([500.0, 500]), predicted=np.array([1e4, 1e4]), width=10)


def test_absent_points_many_names_and_no_points_are_drawn_without_complaint():
    grid = Grid.from_geometry((30, 30), spacing=(1, 1), unit="px")
    image = Image(np.arange(900).reshape(30, 30), grid)
    names = [f"l{k}" for k in range(60)]
    points = np.random.default_rng(1).uniform(0, 29, (60, 2))
    some = Landmarks(tuple(names), points, np.resize([State.PRESENT, State.ABSENT], 60), "px")
    assert overlay(image, predicted=some, reference=some, radius=np.full(60, np.nan)).height == 1022
    assert overlay(image).size == (1000, 1000)


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16, np.float32, np.float64, bool])
def test_grey_values_of_any_type_use_the_whole_range(dtype):
    array = np.random.default_rng(0).uniform(0, 2, (64, 64)).round().astype(dtype)
    grey = window(array)
    assert (grey.min(), grey.max()) == (0, 255)


def test_one_hot_pixel_or_nan_does_not_darken_the_rest():
    array = np.linspace(0, 100, 10_000).reshape(100, 100)
    array[0, 0], array[0, 1], array[0, 2] = 1e9, np.nan, np.inf
    low, high = grey_range(array)
    assert high < 101
    assert low >= 0
    assert window(array)[99, 99] == 255


def test_a_constant_and_a_nearly_empty_image_have_a_range():
    assert window(np.full((9, 9), 7)).max() == 0
    array = np.zeros((100, 100))
    array[5, 5] = 3
    assert window(array)[5, 5] == 255


def test_a_name_beyond_ascii_gets_another_font_if_there_is_one(monkeypatch):
    from PIL import ImageFont

    asked = []
    plain, wide = ImageFont.load_default(13), ImageFont.load_default(26)

    def truetype(name, size):
        asked.append(name)
        if name != "DejaVuSans.ttf":
            raise OSError
        return wide

    monkeypatch.setattr(ImageFont, "load_default", lambda size: plain)
    monkeypatch.setattr(ImageFont, "truetype", truetype)
    width = {name: font_of(13, name).getlength("ab") for name in ("Sella", "Gnathion, äußerster")}
    assert width["Gnathion, äußerster"] > 1.5 * width["Sella"]
    assert asked[-1] == "DejaVuSans.ttf"


def test_the_planes_go_through_the_worst_landmarks_in_turn():
    grid = Grid.from_geometry((30, 40, 50), spacing=(1.5, 1, 2))
    points = grid.index_to_world([[11, 22, 33], [20, 10, 30], [15, 20, 25], [5, 5, 5]])
    array = np.zeros(grid.shape)
    array[20, 10, 30] = 1
    names = ("a", "b", "c", "d")
    states = np.array([State.PRESENT] * 3 + [State.ABSENT], dtype=np.uint8)
    predicted, worst = Landmarks(names, points, states), np.array([1.0, 3.0, np.nan, 9.0])
    picture = worst_planes(Image(array, grid), worst=worst, predicted=predicted, size=100)
    assert picture is not None
    assert picture.size == (3 * 106 - 6, 2 * 122 + 6), "rows for b and a: d is absent, c has no value"
    for tile in range(3):
        where = (106 * tile, 22, 106 * tile + 100, 122)
        assert centre_of(picture.crop(where), PREDICTED_COLOUR, 0) == pytest.approx((50, 50), abs=1)
    nothing = worst_planes(Image(array, grid), worst=worst * np.nan, predicted=predicted)
    assert nothing is None

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import ndimage

from anatomark.data.augment import Strength, Warp, draw_grey_change, draw_warp, sample

CPU = torch.device("cpu")
STRONG = Strength(rotation_degrees=20, scale=0.2, shear=0.1, elastic_mm=1.0, elastic_fine=0.1, elastic_fine_spacing=8)
SPACINGS = {2: (0.7, 1.1), 3: (2.0, 1.0, 1.3)}
SHAPES = {2: (70, 50), 3: (30, 46, 38)}


def blob(shape: tuple[int, ...], spacing: tuple[float, ...], at: np.ndarray, sigma_mm: float = 2.5) -> np.ndarray:
    axes = np.meshgrid(*(np.arange(n) for n in shape), indexing="ij")
    distance2 = sum(((a - p) * s) ** 2 for a, p, s in zip(axes, at, spacing, strict=True))
    return (200 * np.exp(-distance2 / (2 * sigma_mm**2))).astype(np.float32)


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("mirror", [False, True])
def test_points_move_with_the_image(ndim: int, mirror: bool) -> None:
    shape, spacing = SHAPES[ndim], SPACINGS[ndim]
    rng = np.random.default_rng(3)
    for _ in range(5):
        point = np.array(shape) * rng.uniform(0.4, 0.6, ndim)
        warp = draw_warp(
            rng,
            shape=tuple(n - 6 for n in shape),
            spacing=spacing,
            source_spacing=spacing,
            center_index=(np.array(shape, dtype=float)[None] - 1) / 2,
            strength=STRONG,
            mirror=mirror,
        )
        window = sample(blob(shape, spacing, point), (0.0, 200.0), warp, CPU)[0].numpy()
        seen = np.array(ndimage.center_of_mass(np.where(window > 0.5, window, 0)))
        told = warp.points_to_window(point[None, None])[0, 0]
        assert np.linalg.norm((seen - told) * spacing) < 0.45, (seen, told)


@pytest.mark.parametrize("shape", [(40, 30), (1, 30), (40, 30, 36)])
def test_points_to_window_inverts_the_places_of_elements(shape: tuple[int, ...]) -> None:
    d = len(shape)
    first, size = np.arange(3.0)[:d], np.array([50.0, 60.0, 70.0])[:d]
    warp = draw_warp(
        np.random.default_rng(0),
        shape=shape,
        spacing=(1, 2, 1.5)[:d],
        source_spacing=(0.5, 3, 1)[:d],
        center_index=np.array([[20.0, 9.0, 4.0], [3.0, 50.0, 11.0]])[:, :d],
        strength=replace(STRONG, elastic_fine=0.05),
    )
    places = warp.places(first, size, CPU).numpy()[..., ::-1].astype(float)
    index = ((places + 1) * size - 1) / 2 + first
    elements = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1).reshape(-1, d)
    told = warp.points_to_window(index.reshape(2, -1, d))
    np.testing.assert_allclose(told, np.tile(elements, (2, 1, 1)), atol=2e-3)
    low, high = warp.reach()
    assert (index >= low - 1e-4).all()
    assert (index <= high + 1e-4).all()


def test_points_stay_not_a_number() -> None:
    warp = draw_warp(
        np.random.default_rng(0),
        shape=(8, 8),
        spacing=(1, 1),
        source_spacing=(1, 1),
        center_index=np.zeros((1, 2)),
        strength=STRONG,
    )
    assert np.isnan(warp.points_to_window(np.full((1, 2, 2), np.nan))).all()


def test_a_plain_window_is_the_crop_itself_and_zero_outside() -> None:
    array = np.arange(1, 7 * 9 + 1, dtype=np.uint8).reshape(7, 9)
    warp = Warp(
        (4, 4),
        np.ones(2),
        np.ones(2),
        np.array([[1.5, 1.5], [6.5, 8.5]]),
        np.tile(np.eye(2), (2, 1, 1)),
        None,
    )
    first, last = sample(array, (0, 1), warp, CPU).numpy()
    np.testing.assert_allclose(first, array[:4, :4], rtol=1e-4)
    np.testing.assert_allclose(last[:2, :2], array[5:, 7:], rtol=1e-4)
    np.testing.assert_allclose(last[2:], 0, atol=1e-4)


def test_a_window_wholly_outside_is_zero() -> None:
    warp = Warp(
        (4, 4),
        np.ones(2),
        np.ones(2),
        np.array([[-50.0, 3.0], [99.0, 99.0]]),
        np.tile(np.eye(2), (2, 1, 1)),
        None,
    )
    assert (sample(np.full((7, 9), 5.0), (0, 1), warp, CPU) == 0).all()


def test_mirroring_exchanges_the_last_axis_only() -> None:
    array = np.arange(24, dtype=np.float32).reshape(4, 6)
    warp = draw_warp(
        np.random.default_rng(0),
        shape=(4, 6),
        spacing=(1, 1),
        source_spacing=(1, 1),
        center_index=np.array([[1.5, 2.5]]),
        strength=Strength(),
        mirror=True,
    )
    np.testing.assert_allclose(sample(array, (0, 1), warp, CPU)[0].numpy(), array[:, ::-1], atol=1e-4)
    np.testing.assert_allclose(warp.points_to_window(np.array([[[1.0, 0.0]]])), [[[1.0, 5.0]]])


def test_the_same_draw_gives_the_same_windows_and_another_gives_others() -> None:
    def once(seed: int) -> torch.Tensor:
        rng = np.random.default_rng(seed)
        strength = Strength(rotation_degrees=10, gain=0.2, shift=0.1, gamma=0.2, noise=0.1)
        warp = draw_warp(
            rng,
            shape=(16, 16),
            spacing=(1, 1),
            source_spacing=(1, 1),
            center_index=np.full((1, 2), 15.0),
            strength=strength,
        )
        array = np.random.default_rng(9).integers(0, 255, (32, 32), dtype=np.uint8)
        return draw_grey_change(rng, strength).apply(sample(array, (0, 255), warp, CPU))

    assert torch.equal(once(1), once(1))
    assert not torch.equal(once(1), once(2))


def test_a_drawn_change_of_grey_values_is_the_same_for_every_image_it_is_applied_to() -> None:
    change = draw_grey_change(np.random.default_rng(3), Strength(gain=0.2, shift=0.1, gamma=0.2, noise=0.1))
    one, other = torch.full((2, 5, 6), 0.25), torch.full((2, 5, 6), 0.5)
    noise = change.apply(one) - (0.25**change.exponent * change.gain + change.shift)
    assert noise.std() > 0
    torch.testing.assert_close(change.apply(other), 0.5**change.exponent * change.gain + change.shift + noise)
    assert torch.equal(draw_grey_change(np.random.default_rng(3), Strength()).apply(one), one)


@pytest.mark.parametrize("ndim", [2, 3])
def test_fine_elastic_deformations_are_as_fine_and_as_strong_as_they_are_said_to_be(ndim: int) -> None:
    """Along each axis, control points about 10 elements apart, with a s.d. of a tenth of that, in mm."""
    shape, spacing = (81, 41, 61)[:ndim], (2.0, 1.0, 0.5)[:ndim]
    warp = draw_warp(
        np.random.default_rng(0),
        shape=shape,
        spacing=spacing,
        source_spacing=spacing,
        center_index=np.zeros((200 if ndim == 2 else 20, ndim)),
        strength=Strength(elastic_fine=0.1, elastic_fine_spacing=10),
    )
    assert warp.elastic is not None
    assert warp.elastic.shape[2:] == (9, 5, 7)[:ndim]
    spread = warp.elastic.std(axis=(0, *range(2, 2 + ndim)))
    np.testing.assert_allclose(spread, np.array(spacing), rtol=0.05)


def test_coarse_and_fine_elastic_displacements_add_up() -> None:
    def elastic(**strength: float) -> np.ndarray:
        given = {"shape": (61, 81), "spacing": (1, 1), "source_spacing": (1, 1), "center_index": np.zeros((500, 2))}
        drawn = draw_warp(np.random.default_rng(0), **given, strength=Strength(**strength)).elastic
        assert drawn is not None
        return drawn

    both = elastic(elastic_mm=3.0, elastic_points=5, elastic_fine=0.1, elastic_fine_spacing=10)
    assert both.shape == (500, 2, 7, 9)
    corner = both[:, :, 0, 0].std()  # a control point of both
    assert corner == pytest.approx(np.hypot(3, 1), rel=0.08)

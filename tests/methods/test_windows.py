"""Windows at and over the border: what lies outside the image is 0, and points stay where they are."""

from typing import Any

import numpy as np
import pytest
import torch

from anatomark.core.grid import Grid
from anatomark.core.landmarks import State
from anatomark.data.augment import plain_windows
from anatomark.data.cache import CachedCase
from anatomark.data.working import WorkingImage
from anatomark.methods.examples import crop_example
from anatomark.methods.global_to_local.plan import GlobalToLocalPlan, plan
from anatomark.methods.global_to_local.settings import GlobalToLocalSettings
from anatomark.methods.global_to_local.windows import local_example
from anatomark.methods.interface import DataFacts

CPU = torch.device("cpu")
STILL = {"augmentation": "none"}


@pytest.mark.parametrize(
    "center", [(0, 0), (0, 29), (19, 0), (19, 29), (9.6, 14.2), (-40, 10), (10, 900), (-5, -5), (19.49, 29.49)]
)
def test_a_plain_window_holds_the_image_and_zeros_around_it(center: tuple[float, float]) -> None:
    array = np.random.default_rng(0).integers(1, 255, (20, 30)).astype(np.uint8)
    size = (16, 12)
    values, corner = plain_windows(array, (0.0, 255.0), (1.0, 1.0), size, np.array([center]), CPU)
    assert values.shape == (1, *size)
    assert corner.shape == (1, 2)
    start = corner[0].astype(int)
    np.testing.assert_array_equal(start, corner[0], "windows coincide with elements")
    padded = np.pad(array, 100)
    expected = padded[tuple(slice(100 + s, 100 + s + n) for s, n in zip(start, size, strict=True))] / 255
    np.testing.assert_allclose(values[0].numpy(), expected, atol=1e-5)
    assert expected.any(), "a window always sees some of the image"
    inside = np.clip(center, 0, (19, 29))
    assert (np.abs(inside - (corner[0] + (np.array(size) - 1) / 2)) <= 0.5 + 1e-9).all()


def planned(shape: tuple[int, ...], **settings: Any) -> GlobalToLocalPlan:
    """The plan for images of `shape` with 3 landmarks."""
    facts = DataFacts((Grid.from_geometry(shape, spacing=(1.0,) * len(shape)),), 3, False, 2**34)
    return plan(GlobalToLocalSettings(**settings), facts)


def case_of(shape: tuple[int, ...], points_index: list[list[float]], states: list[State]) -> CachedCase:
    """A case whose image is 1 in the elements of its landmarks and 0 elsewhere."""
    grid = Grid.from_geometry(shape, spacing=(1.5, 0.7, 2.0)[: len(shape)], origin=(5.0, -9.0, 30.0)[: len(shape)])
    array = np.zeros(shape, dtype=np.float16)
    for point, state in zip(points_index, states, strict=True):
        if state == State.PRESENT:
            array[tuple(int(p) for p in point)] = 1
    world = grid.index_to_world(points_index)
    world[np.array(states) != State.PRESENT] = np.nan
    image = WorkingImage(array, grid, array, grid, (0.0, 1.0))
    return CachedCase("a", "a", "train", image, world, np.array(states, dtype=np.uint8))


@pytest.mark.parametrize("shape", [(40, 24), (9, 70), (12, 30, 18)])
def test_in_examples_a_landmark_stays_on_its_element(shape: tuple[int, ...]) -> None:
    """Non-square images, landmarks in the corners, images smaller than the window: image and points go one way."""
    d = len(shape)
    corners = [[0.0] * d, [n - 1.0 for n in shape], [0.0, *(n - 1.0 for n in shape[1:])]]
    settings = planned(
        shape, **STILL, spacing=(1.0,) * d, pool=(1,) * d, global_crop=(32,) * d, local_window=(16,) * d,
        window_jitter=2.0, mirror=False,
    )  # fmt: skip
    order = np.arange(3)
    rng = np.random.default_rng(1)
    seen = 0
    for _ in range(12):
        for chosen in range(3):
            case = case_of(shape, [corners[chosen]] * 3, [State.PRESENT] * 3)
            local, points, states = local_example(case, settings, order, rng, CPU, slice(0, 3))
            whole, points_whole, _ = crop_example(
                case, settings.training, order, rng, CPU, level="coarse", crop=settings.training.global_crop
            )
            assert (states == State.PRESENT).all()
            windows = [(local[k], points[k]) for k in range(3)] + [(whole[0], points_whole[0])]
            for window, point in windows:
                at = point.round().long()
                if ((at < 0) | (at >= torch.tensor(window.shape))).any():
                    continue  # a crop need not hold every landmark
                seen += 1
                # linear interpolation leaves the element's light within one element of the point
                near = window[tuple(slice(max(0, int(a) - 1), int(a) + 2) for a in at)]
                total = float(window.sum())
                assert float(near.sum()) == pytest.approx(total, abs=1e-4)
                assert total > 0.05
    assert seen > 60


def test_a_local_window_holds_its_present_landmark() -> None:
    shape = (60, 44)
    case = case_of(shape, [[3.0, 40.0], [58.0, 2.0], [30.0, 20.0]], [State.PRESENT] * 3)
    settings = planned(shape, spacing=(1.0, 1.0), pool=(1, 1), local_window=(16, 24), window_jitter=100.0)
    rng = np.random.default_rng(0)
    for _ in range(40):
        values, points, _ = local_example(case, settings, np.arange(3), rng, CPU, slice(0, 3))
        assert values.shape == (3, 16, 24)
        assert torch.isfinite(values).all()
        assert torch.isfinite(points).all()


def test_absent_and_unknown_landmarks_get_a_window_and_no_point() -> None:
    states = [State.PRESENT, State.ABSENT, State.NOT_ANNOTATED]
    case = case_of((60, 44), [[3.0, 40.0], [0.0, 0.0], [0.0, 0.0]], states)
    settings = planned((60, 44), spacing=(1.0, 1.0), pool=(1, 1), local_window=(16, 24), window_jitter=1.0)
    values, points, told = local_example(case, settings, np.arange(3), np.random.default_rng(0), CPU, slice(0, 3))
    assert torch.isfinite(values).all()
    assert torch.isfinite(points[0]).all()
    assert points[1:].isnan().all()
    assert told.tolist() == [int(s) for s in states]


def test_a_mirrored_example_takes_the_partners_name() -> None:
    case = case_of((40, 40), [[10.0, 5.0], [10.0, 30.0], [20.0, 18.0]], [State.PRESENT, State.PRESENT, State.ABSENT])
    settings = planned(
        (40, 40), **STILL, spacing=(1.0, 1.0), pool=(1, 1), global_crop=(48, 48), mirror=True, local_window=(16, 16),
        window_jitter=0.0,
    )  # fmt: skip
    mirrored = np.array([1, 0, 2])
    rng = np.random.default_rng(0)
    for _ in range(20):
        values, points, states = crop_example(
            case, settings.training, mirrored, rng, CPU, level="coarse", crop=settings.training.global_crop
        )
        assert states.tolist() == [State.PRESENT, State.PRESENT, State.ABSENT]
        # the left landmark of an image is left in its mirror image too: 25 elements before the right one
        assert float(points[1, 1] - points[0, 1]) == pytest.approx(25, abs=1e-3)
        at = points[0].round().long()
        assert float(values[0][at[0] - 1 : at[0] + 2, at[1] - 1 : at[1] + 2].sum()) == pytest.approx(1, abs=1e-2)

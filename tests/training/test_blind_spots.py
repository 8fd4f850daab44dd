"""What a model does not tell from suitable images."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from anatomark.core.grid import Grid
from anatomark.core.image import Image
from anatomark.core.landmarks import State
from anatomark.data.cache import CachedCase
from anatomark.data.working import Sampling, working_image
from anatomark.methods.interface import Located
from anatomark.methods.presence import PresenceModel
from anatomark.methods.suitability import Suitability
from anatomark.model import Member
from anatomark.training.blind_spots import _flipped, _inverted, blind_spots

SHAPE = np.array([[20.0, 30], [60, 30], [30, 70], [55, 80], [40, 50]])


def case(seed: int, dtype: Any = np.uint8) -> CachedCase:
    """An image in which landmark n has the grey value 100 + 20 n, alone above 90; not symmetrical."""
    rng = np.random.default_rng(seed)
    points = np.round(SHAPE + rng.normal(0, 2, SHAPE.shape))
    array = rng.integers(20, 90, (101, 91)).astype(dtype)
    for n, (x, y) in enumerate(points.astype(int)):
        array[y, x] = 100 + 20 * n
    array[0, 0], array[-1, -1] = 0, 255
    image = Image(array, Grid.from_geometry(array.shape, spacing=[1.0, 1.0]))
    working = working_image(image, Sampling([1.0, 1.0], [1, 1]))
    return CachedCase(str(seed), str(seed), "validation", working, points, np.full(5, State.PRESENT, np.uint8))


class Reader:
    """A detector that finds landmarks by their grey values, `symmetrical`: in the mirrored order, too.

    A `constant` one gives the same points for every image.
    """

    quick = True
    presence = PresenceModel.unfitted(1)

    def __init__(self, *, symmetrical: bool = False, constant: bool = False) -> None:
        self.symmetrical, self.constant = symmetrical, constant

    def locate(self, image: Any, device: torch.device, *, upto: str | None = None) -> list[Located]:
        if self.constant:
            return [Located(SHAPE, np.ones(5), np.full(5, 0.9))]
        low, high = image.window
        values = 255 * (image.fine.astype(float) - low) / (high - low) if image.fine.dtype != np.uint8 else image.fine
        found = [np.argwhere(np.abs(values - (100 + 20 * n)) < 1) for n in range(5)]
        points = np.array([f[0][::-1] if len(f) else [45.0, 50.0] for f in found], dtype=float)
        if self.symmetrical and points[0, 0] > points[1, 0]:  # as if nothing had been mirrored
            points[:, 0] = 90 - points[:, 0]
        return [Located(points, np.ones(5), np.full(5, 0.9))]


def member(**settings: bool) -> Member:
    references = np.stack([case(seed).points_world for seed in range(60)])
    suitability = Suitability.learned(references[:40], references[40:] + 0.1, references[40:])
    detector: Any = Reader(**settings)
    return Member(detector, None, suitability)


def test_what_gives_itself_away_by_its_points_is_no_blind_spot() -> None:
    """Grey values find the points of a mirrored image truly, so that nothing is wrong; an inverted one is told."""
    cases = [case(seed) for seed in range(60, 64)]
    assert blind_spots(member(), cases, np.full((4, 5), 0.1), torch.device("cpu")) == ()


def test_an_image_that_looks_natural_in_the_wrong_place_is_one() -> None:
    cases = [case(seed) for seed in range(60, 64)]
    blind = blind_spots(member(symmetrical=True), cases, np.full((4, 5), 0.1), torch.device("cpu"))
    assert blind == ("mirrored",)
    told = replace(member().suitability, blind=blind)
    assert told.limits == ["images that are mirrored look suitable to the model"]


def test_a_network_that_has_only_learned_where_landmarks_usually_are_tells_no_turn() -> None:
    cases = [case(seed) for seed in range(60, 64)]
    blind = blind_spots(member(constant=True), cases, np.full((4, 5), 2.0), torch.device("cpu"))
    assert blind == ("mirrored", "upside down", "turned by 180 degrees")


def test_a_model_of_few_cases_says_so() -> None:
    references = np.stack([case(seed).points_world for seed in range(12)])
    few = Suitability.learned(references[:8], references[8:] + 0.1, references[8:])
    assert few.limits == ["suitability was learned from only 12 images: it tells gross faults alone"]
    assert "cannot be judged" in Suitability.learned(references[:3], references[8:], references[8:]).limits[0]


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_copies_keep_their_landmarks(dtype: Any) -> None:
    whole = case(1, dtype)
    for axis in (0, 1):
        copy = _flipped(whole, axis)
        row, column = copy.points_world[2, ::-1].astype(int)
        assert copy.image.fine[row, column] == whole.image.fine[tuple(whole.points_world[2, ::-1].astype(int))]
        assert (copy.points_world != whole.points_world).any(axis=0).tolist() == [axis == 1, axis == 0]
    inverted = _inverted(whole).image
    before, after = (
        (image.fine.astype(float) - image.window[0]) / (image.window[1] - image.window[0])
        for image in (whole.image, inverted)
    )
    np.testing.assert_allclose(before + after, 1.0, atol=2e-3)

"""Several images together: the answers of one at a time, from fewer calls of the networks."""

from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from anatomark import load
from anatomark.data.working import WorkingImage
from anatomark.methods.calls import Calls
from anatomark.methods.interface import Located
from anatomark.methods.networks import NetworkDetector
from anatomark.methods.search import ask, found_together
from tests.exports.untrained import METHODS, image_of, save_untrained

CPU = torch.device("cpu")
CLOSE = 1e-4  # mm
SHAPES = {  # two of one size, one that is padded to it or not, and one that takes several passes
    2: ((34, 28), (34, 28), (33, 28), (34, 28), (76, 30), (40, 21), (75, 30)),
    3: ((20, 26, 22), (20, 26, 22), (19, 26, 22), (20, 26, 22), (46, 26, 22), (22, 18, 25)),
}


@dataclass(frozen=True)
class Counted:
    """Calls that count how many images each of them was given."""

    calls: Calls
    seen: Counter[tuple[str, int]]

    def __getitem__(self, name: str) -> Any:
        def call(*tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
            self.seen[name, len(tensors[0])] += 1
            return self.calls[name](*tensors)

        return call


@pytest.fixture(scope="module", params=[(method, ndim) for method in METHODS for ndim in (2, 3)], ids=str)
def given(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, list[WorkingImage]]:
    """A detector and working images of unequal sizes."""
    method, ndim = request.param
    folder: Path = tmp_path_factory.mktemp("together") / "model"
    model = load(save_untrained(folder, method, ndim, names=tuple("abcde")), device="cpu")
    (member,) = model.members
    images = [image_of(ndim, shape, seed) for seed, shape in enumerate(SHAPES[ndim])]
    return member.detector, [member.working_image(member.place(image)) for image in images]


def require_close(one: list[Located], other: list[Located]) -> None:
    for first, second in zip(one, other, strict=True):
        np.testing.assert_allclose(second.points_world, first.points_world, rtol=0, atol=CLOSE)
        np.testing.assert_allclose(second.spread, first.spread, rtol=0, atol=CLOSE)
        np.testing.assert_allclose(second.mass, first.mass, rtol=0, atol=1e-5)
        assert (first.features is None) == (second.features is None)
        if first.features is not None and second.features is not None:
            np.testing.assert_allclose(second.features.summary, first.features.summary, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("count", [1, 2, 4, 7])
def test_images_together_are_located_as_one_at_a_time(given, count):
    detector, images = given
    alone = [detector.locate(image, CPU) for image in images[:count]]
    together = detector.locate_together(images[:count], CPU)
    for one, other in zip(alone, together, strict=True):
        require_close(one, other)
        if count == 1:
            np.testing.assert_array_equal(one[-1].points_world, other[-1].points_world)


def test_networks_see_images_of_one_size_as_a_batch(given):
    detector, images = given
    seen: Counter[tuple[str, int]] = Counter()
    same = [image for image in images if image.fine.shape == images[0].fine.shape]
    assert len(same) >= 3
    found_together([detector.search(image, CPU) for image in same], Counted(detector.calls, seen))
    assert {count for _, count in seen} == {len(same)}
    alone: Counter[tuple[str, int]] = Counter()
    found_together([detector.search(same[0], CPU)], Counted(detector.calls, alone))
    assert {name: count for (name, _), count in seen.items()} == {name: count for (name, _), count in alone.items()}


def test_an_exported_model_sees_one_image_at_a_time(given):
    detector, images = given
    seen: Counter[tuple[str, int]] = Counter()
    assert isinstance(detector, NetworkDetector)
    exported = replace(detector, networks={}, runtime=Counted(detector.calls, seen))
    for one, other in zip(
        detector.locate_together(images[:3], CPU), exported.locate_together(images[:3], CPU), strict=True
    ):
        require_close(one, other)
    assert {count for _, count in seen} == {1}


def test_questions_of_other_landmarks_are_not_asked_together():
    def search(which: int):
        (answer,) = yield from ask("twice", torch.ones(1, 2), torch.tensor([which]))
        return answer

    seen: list[tuple[int, int]] = []

    def twice(values: torch.Tensor, which: torch.Tensor) -> tuple[torch.Tensor]:
        seen.append((len(values), int(which[0])))
        return (2 * values + which,)

    answers = found_together([search(which) for which in (3, 5, 3)], {"twice": twice})
    assert [float(answer[0, 0]) for answer in answers] == [5.0, 7.0, 5.0]
    assert sorted(seen) == [(1, 5), (2, 3)]

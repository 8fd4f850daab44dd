"""The joint choice: partners that look alike, landmarks that are nowhere, and what is kept of the shape."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from anatomark.core.grid import Floats
from anatomark.errors import ModelError
from anatomark.methods.joint_choice import TRUSTED, Modes, ShapeModel, modes_of

PATCH = 10.0


def head(ndim: int) -> Floats:
    """Four points in the midline, not in a line, and four pairs (8 to 15), each with its partner next to it."""
    rng = np.random.default_rng(3)
    middle = rng.uniform(-60, 60, (4, ndim))
    middle[:, 0] = 0
    right = rng.uniform(20, 60, (4, ndim)) * rng.choice([-1, 1], (4, ndim))
    right[:, 0] = np.abs(right[:, 0])
    left = right * np.array([-1.0, *[1.0] * (ndim - 1)])
    return np.concatenate([middle, np.stack([right, left], axis=1).reshape(-1, ndim)])


def turned(shape: Floats, rng: np.random.Generator) -> Floats:
    """The shape in any pose, a little larger or smaller, and a little different."""
    d = shape.shape[1]
    q, _ = np.linalg.qr(rng.normal(size=(d, d)))
    q[:, 0] *= np.linalg.det(q)
    scale = np.exp(rng.normal(0, 0.05))
    return scale * (shape + rng.normal(0, 1.0, shape.shape)) @ q.T + rng.uniform(-100, 100, d)


def heads(ndim: int, count: int, seed: int = 0) -> Floats:
    rng = np.random.default_rng(seed)
    return np.stack([turned(head(ndim), rng) for _ in range(count)])


def confused(points: Floats, rng: np.random.Generator) -> Modes:
    """Modes next to the points; each of a pair has its partner's place as well, as the larger one in every second."""
    n, d = points.shape
    places, mass = np.zeros((n, 2, d)), np.zeros((n, 2))
    partner = np.array([*range(4), *[k ^ 1 for k in range(4, n)]])
    for k in range(n):
        wrong = k >= 4 and k % 4 < 2
        places[k] = (points[partner[k]], points[k]) if wrong else (points[k], points[partner[k]])
        mass[k] = (0.6, 0.3) if k >= 4 else (0.9, 0.0)
    return Modes(places + rng.normal(0, 2.0, places.shape), mass)


@pytest.mark.parametrize("ndim", [2, 3])
def test_partners_are_told_apart_by_the_others(ndim: int) -> None:
    model = ShapeModel.learned(heads(ndim, 40))
    assert model is not None
    rng = np.random.default_rng(1)
    for points in heads(ndim, 10, seed=7):
        modes = confused(points, rng)
        alone = np.linalg.norm(modes.places[:, 0] - points, axis=1)
        choice = model.choose(modes, PATCH)
        assert choice is not None
        assert (alone > 20).sum() >= 4
        assert (np.linalg.norm(choice.places - points, axis=1) < 8).all()
        assert (choice.trust > TRUSTED).all()


@pytest.mark.parametrize("ndim", [2, 3])
def test_a_landmark_that_fits_nowhere_is_expected_where_the_others_say(ndim: int) -> None:
    model = ShapeModel.learned(heads(ndim, 40))
    assert model is not None
    points = heads(ndim, 1, seed=9)[0]
    far = points.copy()
    far[6] += 90.0
    choice = model.choose(Modes.single(far, np.full(len(far), 0.9)), PATCH)
    assert choice is not None
    assert choice.trust[6] < 0.1
    assert np.linalg.norm(choice.places[6] - points[6]) < 6
    assert (np.delete(choice.trust, 6) > TRUSTED).all()


def test_a_landmark_without_votes_does_not_count() -> None:
    model = ShapeModel.learned(heads(2, 40))
    assert model is not None
    points = heads(2, 1, seed=9)[0]
    strayed, mass = points.copy(), np.full(len(points), 0.9)
    strayed[:5] += 15.0
    mass[:5] = 1e-6
    choice = model.choose(Modes.single(strayed, mass), PATCH)
    assert choice is not None
    assert (np.linalg.norm(choice.places - points, axis=1) < 6).all()
    assert (choice.trust[:5] < TRUSTED).all()


def test_where_too_few_agree_nothing_is_chosen() -> None:
    model = ShapeModel.learned(heads(3, 40))
    assert model is not None
    anywhere = np.random.default_rng(2).uniform(-100, 100, model.mean.shape)
    assert model.choose(Modes.single(anywhere, np.full(len(anywhere), 0.9)), 1.0) is None
    known = heads(3, 1)[0]
    assert model.choose(Modes.single(known, np.full(len(known), 1e-9)), PATCH) is None


def test_landmarks_that_no_training_image_has_keep_their_largest_mode() -> None:
    shapes = heads(2, 40)
    shapes[:, 5] = np.nan
    shapes[::3, 7] = np.nan
    model = ShapeModel.learned(shapes)
    assert model is not None
    points = heads(2, 1, seed=9)[0]
    modes = confused(points, np.random.default_rng(1))
    choice = model.choose(modes, PATCH)
    assert choice is not None
    np.testing.assert_array_equal(choice.places[5], modes.places[5, 0])
    assert np.linalg.norm(choice.places[7] - points[7]) < 8


def test_too_few_shapes_teach_nothing() -> None:
    assert ShapeModel.learned(heads(2, 7)) is None
    lonely = heads(2, 40)
    lonely[:, 3:] = np.nan
    assert ShapeModel.learned(lonely) is None


def test_modes_are_the_groups_of_votes() -> None:
    rng = np.random.default_rng(0)
    groups = np.array([[0.0, 0.0], [50.0, 0.0], [0.0, 50.0]])
    places = (groups[:, None] + rng.normal(0, 1.0, (3, 10, 2))).reshape(1, 30, 2)
    weights = np.repeat([0.02, 0.05, 0.01], 10)[None]
    modes = modes_of(weights, places, patch=PATCH)
    np.testing.assert_allclose(modes.places[0, :3], groups[[1, 0, 2]], atol=1.5)
    np.testing.assert_allclose(modes.mass[0, :3], [0.5, 0.2, 0.1], atol=0.03)
    assert modes.mass.sum() == pytest.approx(0.8)


def test_a_shape_model_is_kept_and_a_damaged_one_refused() -> None:
    model = ShapeModel.learned(heads(3, 20))
    assert model is not None
    tensors = model.tensors()
    n = model.mean.shape[0]
    again = ShapeModel.of_tensors(tensors, n, 3, "x")
    assert again is not None
    np.testing.assert_allclose(again.axes, model.axes, atol=1e-4)
    assert again.size_deviation == pytest.approx(model.size_deviation)
    assert ShapeModel.of_tensors({}, n, 3, "x") is None
    for name, tensor in (
        ("mean", tensors["mean"][:-1]),
        ("noise", tensors["noise"] - 1e6),
        ("size", torch.zeros(2)),
        ("axes", torch.full_like(tensors["axes"], torch.nan)),
        ("axes", torch.tensor(1.0)),
        ("strange", torch.zeros(2)),
    ):
        with pytest.raises(ModelError, match="typical shape"):
            ShapeModel.of_tensors({**tensors, name: tensor}, n, 3, "x")
    with pytest.raises(ModelError, match="typical shape"):
        ShapeModel.of_tensors({"mean": tensors["mean"]}, n, 3, "x")

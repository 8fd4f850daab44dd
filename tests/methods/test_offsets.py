"""Offsets of a place: found where they are planted, left out where they are not, in the frame of the anatomy."""

from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from anatomark.errors import ModelError
from anatomark.methods.offsets import LEAST, NAME, Offsets, learn_offsets
from anatomark.nets.weights import save_tensors

SIZE = 40.0


def people(count: int, landmarks: int, d: int, seed: int, *, degrees: float = 8.0) -> tuple[np.ndarray, np.ndarray]:
    """Points (count, landmarks, d) of people who are turned, of several sizes, and the turns (count, d, d)."""
    template = np.random.default_rng(7).normal(0, SIZE, (landmarks, d))
    rng = np.random.default_rng(seed)
    vectors = rng.normal(0, np.radians(degrees), (count, 3)) * ([0, 0, 1] if d == 2 else [1, 1, 1])
    turns = Rotation.from_rotvec(vectors).as_matrix()[:, :d, :d]
    points = (template + rng.normal(0, 1.5, (count, landmarks, d))) @ turns.transpose(0, 2, 1)
    return points + rng.normal(0, 50, (count, 1, d)), turns


def placed(
    points: np.ndarray, turns: np.ndarray, offset: np.ndarray, seed: int, noise: float = 0.7
) -> tuple[np.ndarray, np.ndarray]:
    """What is predicted for the points, and the references of a place with `offset` in the frame of the anatomy."""
    predicted = points + np.random.default_rng(seed).normal(0, noise, points.shape)
    return predicted, points + offset @ turns.transpose(0, 2, 1)


def subjects(count: int) -> list[str]:
    return [f"s{k}" for k in range(count)]


def error(points: np.ndarray, references: np.ndarray) -> float:
    return float(np.nanmean(np.linalg.norm(points - references, axis=-1)))


def everywhere(points: np.ndarray) -> np.ndarray:
    return np.ones(points.shape[:-1])


@pytest.mark.parametrize(("landmarks", "d"), [(8, 2), (19, 2), (8, 3), (40, 3)])
@pytest.mark.parametrize("degrees", [8.0, 90.0])
def test_planted_offsets_are_found_and_turn_with_the_patient(landmarks: int, d: int, degrees: float) -> None:
    offset = np.zeros((landmarks, d))
    offset[2, 0], offset[5, 1] = 4.0, -3.0
    points, turns = people(30, landmarks, d, seed=1, degrees=degrees)
    predicted, references = placed(points, turns, offset, seed=2)
    found, corrected = learn_offsets(predicted[:10], references[:10], subjects=subjects(10))
    moved = found.apply(predicted[10:], everywhere(predicted[10:]))
    wrong, right, left = (error(p[:, [2, 5]], references[10:][:, [2, 5]]) for p in (predicted[10:], moved, points[10:]))
    assert left == pytest.approx(3.5, abs=0.01)
    assert right < 0.5 * wrong
    assert found.lengths[[2, 5]] == pytest.approx([4.0, 3.0], abs=1.0)
    rest = np.setdiff1d(np.arange(landmarks), [2, 5])
    assert found.lengths[rest].max() < 0.8
    assert error(moved, references[10:]) < error(predicted[10:], references[10:])
    assert error(corrected, references[:10]) == pytest.approx(error(moved, references[10:]), rel=0.2)


@pytest.mark.parametrize("d", [2, 3])
def test_turned_and_enlarged_images_turn_and_enlarge_the_offsets(d: int) -> None:
    offset = np.zeros((9, d))
    offset[:, 0] = 3.0
    predicted, references = placed(*people(12, 9, d, seed=3), offset, seed=4)
    learned, corrected = learn_offsets(predicted, references, subjects=subjects(12))
    turn = Rotation.from_rotvec([0, 0, 1.9]).as_matrix()[:d, :d]
    found = learned.apply(predicted[0], everywhere(predicted[0]))
    there = learned.apply(1.3 * predicted[0] @ turn.T + 20.0, everywhere(predicted[0]))
    np.testing.assert_allclose(there, 1.3 * found @ turn.T + 20.0, atol=1e-5)
    assert np.linalg.norm(found - predicted[0], axis=1).min() > 1.0
    again, turned = learn_offsets(predicted @ turn.T, references @ turn.T, subjects=subjects(12))
    np.testing.assert_allclose(turned, corrected @ turn.T, atol=0.03)
    np.testing.assert_allclose(again.lengths, learned.lengths, atol=0.03)


@pytest.mark.parametrize("count", [5, 10, 20])
def test_a_place_like_the_first_is_not_made_worse(count: int) -> None:
    before, after = [], []
    for seed in range(8):
        predicted, references = placed(*people(60, 12, 2, seed=seed), np.zeros((12, 2)), seed=seed + 100)
        learned, _ = learn_offsets(predicted[:count], references[:count], subjects=subjects(count))
        before.append(error(predicted[count:], references[count:]))
        after.append(error(learned.apply(predicted[count:], everywhere(predicted[count:])), references[count:]))
    assert np.mean(after) < 1.01 * np.mean(before)


def test_one_gross_error_moves_little() -> None:
    offset = np.full((10, 2), 2.0)
    predicted, references = placed(*people(8, 10, 2, seed=5), offset, seed=6)
    good, _ = learn_offsets(predicted, references, subjects=subjects(8))
    references[3, 4] += 60.0
    bad, _ = learn_offsets(predicted, references, subjects=subjects(8))
    assert np.linalg.norm(bad.offset[4] - good.offset[4]) < 2.0


def test_few_subjects_teach_nothing_even_with_many_cases() -> None:
    predicted, references = placed(*people(9, 8, 2, seed=8), np.full((8, 2), 3.0), seed=9)
    few = [f"s{k % (LEAST - 1)}" for k in range(9)]
    learned, corrected = learn_offsets(predicted, references, subjects=few)
    assert not learned.lengths.any()
    assert corrected is predicted
    alone, _ = learn_offsets(predicted[:1], references[:1], subjects=["s"])
    assert not alone.lengths.any()
    np.testing.assert_array_equal(alone.apply(predicted[0], everywhere(predicted[0])), predicted[0])


def test_subjects_are_left_out_whole() -> None:
    """Twice the same cases of each subject: what is left out may not come back by the second."""
    predicted, references = placed(*people(6, 8, 2, seed=10), np.full((8, 2), 3.0), seed=11)
    shape = predicted[0]
    once, corrected = learn_offsets(predicted, references, subjects=subjects(6), typical=shape)
    more = (np.tile(points, (2, 1, 1)) for points in (predicted, references))
    twice, both = learn_offsets(*more, subjects=subjects(6) * 2, typical=shape)
    np.testing.assert_allclose(once.offset, twice.offset, atol=1e-6)
    np.testing.assert_allclose(both[:6], corrected, atol=1e-6)


@pytest.mark.parametrize("d", [2, 3])
def test_one_landmark_has_the_axes_of_the_world(d: int) -> None:
    rng = np.random.default_rng(12)
    predicted = rng.normal(0, 50, (10, 1, d))
    references = predicted + np.eye(d)[0] * 4.0 + rng.normal(0, 0.5, predicted.shape)
    learned, _ = learn_offsets(predicted, references, subjects=subjects(10))
    assert not np.isfinite(learned.typical).any()
    moved = learned.apply(predicted[0], np.ones(1))
    np.testing.assert_allclose(moved - predicted[0], [np.eye(d)[0] * 4.0], atol=0.6)


def test_points_that_are_not_there_count_nowhere() -> None:
    predicted, references = placed(*people(12, 9, 2, seed=13), np.full((9, 2), 3.0), seed=14)
    references[2:, 4] = np.nan  # annotated in two subjects only
    references[::3, 1] = np.nan
    predicted[5, 6] = np.nan
    learned, corrected = learn_offsets(predicted, references, subjects=subjects(12))
    assert learned.lengths[4] == 0
    assert (np.delete(learned.lengths, 4) > 2.0).all()
    assert np.isnan(corrected[5, 6]).all()
    points, presence = predicted[0].copy(), np.ones(9)
    moved = learned.apply(points, presence)
    points[7], presence[7] = 1e4, 0.1
    np.testing.assert_allclose(np.delete(learned.apply(points, presence), 7, 0), np.delete(moved, 7, 0), atol=0.3)
    few = np.where(np.arange(9) < 2, 1.0, 0.0)
    np.testing.assert_array_equal(learned.apply(points, few), points)


def test_saved_offsets_are_the_same_and_damage_is_one_line(tmp_path: Path) -> None:
    predicted, references = placed(*people(12, 9, 3, seed=15), np.full((9, 3), 3.0), seed=16)
    learned, _ = learn_offsets(predicted, references, subjects=subjects(12), source="cases of the clinic")
    assert Offsets.load(tmp_path, 9, 3) is None
    learned.save(tmp_path)
    again = Offsets.load(tmp_path, 9, 3)
    assert again is not None
    assert again.source == "cases of the clinic"
    np.testing.assert_array_equal(
        again.apply(predicted, everywhere(predicted)), learned.apply(predicted, np.ones((12, 9)))
    )
    for landmarks, d in ((8, 3), (9, 2)):
        with pytest.raises(ModelError, match="is damaged or of another model; copy the whole run folder again"):
            Offsets.load(tmp_path, landmarks, d)
    save_tensors(tmp_path / NAME, {}, {"about": "{}"})
    with pytest.raises(ModelError, match="is damaged or of another model"):
        Offsets.load(tmp_path, 9, 3)
    (tmp_path / NAME).write_bytes(b"nothing")
    with pytest.raises(ModelError, match=NAME):
        Offsets.load(tmp_path, 9, 3)

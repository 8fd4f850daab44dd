import re
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from anatomark.combined import agreed
from anatomark.core.landmarks import Landmarks
from anatomark.errors import ModelError
from anatomark.formats.table import read_table, write_table
from anatomark.methods.components import Components
from anatomark.methods.prediction import Prediction, prediction_table
from anatomark.methods.suitability import FEWEST, NAME, SHARE, Judgement, Suitability
from anatomark.nets.weights import save_tensors

SIZE = 40.0


def people(count: int, landmarks: int, d: int, seed: int, *, variation: float = 2.0) -> np.ndarray:
    """Shapes (count, landmarks, d) of one kind: a template, three ways to vary, sizes, small turns, places."""
    kind = np.random.default_rng(7)
    template = kind.normal(0, SIZE, (landmarks, d))
    modes = kind.normal(0, 1, (3, landmarks, d))
    rng = np.random.default_rng(seed)
    shapes = template + variation * np.einsum("mk,knd->mnd", rng.normal(0, 1, (count, 3)), modes)
    shapes = shapes + rng.normal(0, 0.5, shapes.shape)
    for shape in shapes:
        shape[:] = turned(shape, rng.normal(0, 5)) * np.exp(rng.normal(0, 0.06)) + rng.normal(0, 50, d)
    return shapes


def turned(shape: np.ndarray, degrees: float) -> np.ndarray:
    d = shape.shape[1]
    matrix = Rotation.from_rotvec([0, 0, np.radians(degrees)]).as_matrix()[:d, :d]
    return shape @ matrix.T


@pytest.fixture(scope="module", params=[(6, 2), (19, 2), (12, 3), (60, 3)], ids=lambda p: f"{p[0]} points {p[1]}D")
def learned(request: pytest.FixtureRequest) -> tuple[Suitability, int, int]:
    landmarks, d = request.param
    references = people(12, landmarks, d, seed=2)
    predicted = references + np.random.default_rng(3).normal(0, 1.0, references.shape)
    return Suitability.learned(people(60, landmarks, d, seed=1), predicted, references), landmarks, d


def judge(model: Suitability, points: np.ndarray, absent: tuple[int, ...] = ()) -> Judgement:
    presence = np.ones(len(points))
    presence[list(absent)] = 0.1
    return model.judge(points, presence)


def test_other_people_are_suitable_and_their_shares_are_spread(learned: tuple[Suitability, int, int]) -> None:
    model, landmarks, d = learned
    shares = []
    for shape in people(60, landmarks, d, seed=4):
        judgement = judge(model, shape + np.random.default_rng(5).normal(0, 1.0, shape.shape))
        assert judgement.reason is None
        shares.append(judgement.share)
    assert np.mean(np.array(shares) < 0.01) < 0.05
    assert max(shares) > 0.3


def test_what_is_not_like_the_training_images_is_told(learned: tuple[Suitability, int, int]) -> None:
    model, landmarks, d = learned
    rng = np.random.default_rng(6)
    for shape in people(5, landmarks, d, seed=8):
        mirrored = shape * np.array([-1.0, 1.0, 1.0][:d])
        for points, words in (
            (mirrored, "do not lie"),
            (rng.permutation(shape), "do not lie"),
            (rng.normal(0, SIZE, shape.shape), "do not lie"),
            (2.5 * shape, "2.[2-9] times|3 times|2 times"),
            (0.4 * shape, "only 0.[345]\\d? times"),
            (turned(shape, 90), "turned by"),
            (turned(shape, 180), "turned by"),
        ):
            judgement = judge(model, points)
            assert judgement.share < SHARE
            assert judgement.reason is not None
            assert re.search(words, judgement.reason), (words, judgement.reason)
            assert "\n" not in judgement.reason


def test_absent_landmarks_are_left_out_of_the_judgement(learned: tuple[Suitability, int, int]) -> None:
    model, landmarks, d = learned
    shape = people(1, landmarks, d, seed=9)[0]
    wrong = shape.copy()
    wrong[0] += 6 * SIZE
    assert judge(model, wrong).reason is not None
    if landmarks - 1 >= d + 2:
        assert judge(model, wrong, absent=(0,)).reason is None
    few = judge(model, wrong, absent=tuple(range(1, landmarks - d)))
    assert few.reason is None or "are said to be there" in few.reason, "d + 1 points fit nearly anything"


def test_an_image_in_which_hardly_anything_is_found(learned: tuple[Suitability, int, int]) -> None:
    """A method that knows absent landmarks calls most of them so in an image of another kind."""
    model, landmarks, d = learned
    shape = people(1, landmarks, d, seed=9)[0]
    judgement = judge(model, shape, absent=tuple(range(1, landmarks)))
    assert judgement.reason is not None
    assert "only 1 landmarks are said to be there" in judgement.reason


def test_an_image_is_not_cut_off_where_too_few_landmarks_tell(learned: tuple[Suitability, int, int]) -> None:
    """What lies outside counts as found only beside a shape: in an image of another kind, its end is a guess."""
    model, landmarks, d = learned
    if landmarks < 2 * (d + 2):
        return
    shape = people(1, landmarks, d, seed=9)[0]
    outside = landmarks // 2
    for present, suitable in ((landmarks - outside, True), (d + 1, False)):
        judgement = model.judge(shape, np.repeat([1.0, 0.1], [present, landmarks - present]), cut_off=outside)
        assert (judgement.reason is None) == suitable


def test_partly_annotated_training_images(learned: tuple[Suitability, int, int]) -> None:
    _, landmarks, d = learned
    shapes = people(60, landmarks, d, seed=1)
    holes = np.random.default_rng(0).random(shapes.shape[:2]) < (0.2 if landmarks > 10 else 0.05)
    shapes[holes] = np.nan
    references = people(12, landmarks, d, seed=2)
    model = Suitability.learned(shapes, references + 0.5, references)
    for shape in people(5, landmarks, d, seed=4):
        assert judge(model, shape).reason is None
        assert judge(model, shape * np.array([-1.0, 1.0, 1.0][:d])).reason is not None


def test_few_cases_are_careful() -> None:
    """Somebody far larger is unsuitable by sixty cases and only unusual by eight, which know less of sizes."""
    references = people(3, 10, 2, seed=2)
    large = people(1, 10, 2, seed=4)[0] * 1.28
    many, few = (Suitability.learned(people(n, 10, 2, seed=1), references, references) for n in (60, 8))
    assert judge(many, large).reason is not None
    assert judge(few, large).reason is None
    assert judge(many, large).share < judge(few, large).share < 0.05
    assert judge(few, 4 * large).reason is not None


@pytest.mark.parametrize(
    ("shapes", "predicted", "words"),
    [
        (people(FEWEST - 1, 6, 2, 0), people(3, 6, 2, 1), f"{FEWEST - 1} training images"),
        (people(20, 3, 2, 0), people(3, 3, 2, 1), "0 training images have 4 landmarks"),
        (people(20, 6, 2, 0), np.empty((0, 6, 2)), "no validation case"),
    ],
)
def test_what_cannot_be_judged_says_why(shapes: np.ndarray, predicted: np.ndarray, words: str, tmp_path: Path) -> None:
    model = Suitability.learned(shapes, predicted, predicted)
    assert words in model.withheld
    assert np.isnan(judge(model, shapes[0]).share)
    assert judge(model, 100 * shapes[0]).reason is None
    model.save(tmp_path)
    assert Suitability.load(tmp_path, shapes.shape[1], 2).withheld == model.withheld


def test_saved_and_loaded_it_judges_the_same(learned: tuple[Suitability, int, int], tmp_path: Path) -> None:
    model, landmarks, d = learned
    model.save(tmp_path)
    again = Suitability.load(tmp_path, landmarks, d)
    for shape in (people(1, landmarks, d, seed=4)[0], 3 * people(1, landmarks, d, seed=5)[0]):
        here, there = judge(model, shape), judge(again, shape)
        assert there.share == pytest.approx(here.share, rel=1e-2)
        assert there.reason == here.reason
    with pytest.raises(ModelError, match="damaged or of another model"):
        Suitability.load(tmp_path, landmarks + 1, d)
    save_tensors(tmp_path / NAME, {"typical": torch.zeros(landmarks, d)}, {"about": '{"withheld": "", "count": 9}'})
    with pytest.raises(ModelError, match="damaged or of another model"):
        Suitability.load(tmp_path, landmarks, d)
    (tmp_path / NAME).unlink()
    assert "calibrate" in Suitability.load(tmp_path, landmarks, d).withheld


def test_distances_are_those_of_the_full_covariance() -> None:
    shapes = people(40, 5, 2, seed=1)
    shapes = shapes - shapes.mean(axis=1, keepdims=True)
    components = Components.fitted(shapes, error=0.3)
    covariance = components.axes.T @ components.axes + components.noise * np.eye(10)
    flat = (shapes - components.mean).reshape(40, 10)
    whole = np.sqrt(np.einsum("mi,ij,mj->m", flat, np.linalg.inv(covariance), flat) / 10)
    np.testing.assert_allclose(components.distances(shapes), whole)
    partial = shapes.copy()
    partial[:, 1] = np.nan
    kept = np.r_[0:2, 4:10]
    part = np.linalg.inv(covariance[np.ix_(kept, kept)])
    expected = np.sqrt(np.einsum("mi,ij,mj->m", flat[:, kept], part, flat[:, kept]) / 8)
    np.testing.assert_allclose(components.distances(partial), expected)


def test_an_unsuitable_image_keeps_its_points_and_loses_its_bounds(tmp_path: Path) -> None:
    landmarks = Landmarks.from_points(("a", "b"), np.array([[1.0, 2.0], [3.0, 4.0]]))
    found = Prediction(landmarks, np.ones(2), np.ones(2), None, np.array([2.0, 3.0]))
    doubtful = found.judged(Judgement(1e-9, "the points do not lie as usual"))
    assert doubtful.landmarks is landmarks
    assert np.isnan(doubtful.error_bound).all()
    assert doubtful.remarks == "doubtful points, the points do not lie as usual"
    fine = found.judged(Judgement(0.4))
    assert fine.remarks is None
    assert fine.suitability == 0.4
    np.testing.assert_array_equal(fine.error_bound, [2.0, 3.0])
    write_table(prediction_table({"odd": doubtful, "usual": fine}), tmp_path / "t.csv")
    bound = read_table(tmp_path / "t.csv").bound
    assert bound is not None
    np.testing.assert_array_equal(bound, [np.inf, np.inf, 2.0, 3.0])


def test_most_folds_decide() -> None:
    odd, usual = Judgement(1e-9, "odd"), Judgement(0.5)
    assert agreed([odd, odd, usual]) == Judgement(1e-9, "odd")
    assert agreed([odd, usual]).reason is None
    assert agreed([usual, usual, odd]) == Judgement(0.5)

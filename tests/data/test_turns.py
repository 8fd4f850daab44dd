"""How far the training images are turned, and how far their copies are turned for it."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from anatomark.data.shapes import usual_turn
from anatomark.methods.settings import AugmentedSettings, planned_augmentation


@pytest.mark.parametrize("d", [2, 3])
def test_the_usual_turn_is_that_of_nearly_all_cases(d: int) -> None:
    rng = np.random.default_rng(0)
    shape, degrees = rng.normal(0, 30, (8, d)), rng.uniform(-40, 40, 150)
    turns = np.stack([Rotation.from_rotvec([0, 0, np.radians(a)]).as_matrix()[:d, :d] for a in degrees])
    cases = np.einsum("nj,mij->mni", shape, turns) + rng.normal(0, 0.5, (150, 8, d)) + rng.normal(0, 99, (150, 1, d))
    cases[::7, 3] = np.nan
    assert usual_turn(cases) == pytest.approx(np.quantile(np.abs(degrees), 0.95), abs=3)
    assert usual_turn(np.repeat(cases[1:2], 9, axis=0)) == pytest.approx(0, abs=0.01)
    assert usual_turn(cases[:, :2]) == 0


def test_copies_are_turned_as_far_as_the_training_images() -> None:
    def rotation(turn_degrees: float, ndim: int = 2, **settings: object) -> float:
        asked = AugmentedSettings.model_validate(settings)
        return float(
            planned_augmentation(asked, has_pairs=False, ndim=ndim, turn_degrees=turn_degrees)["rotation_degrees"]
        )

    assert rotation(8) == rotation(0) == 12
    assert rotation(40) == 40
    assert rotation(40, ndim=3) == 23  # in each of three planes
    assert rotation(120) == rotation(120, ndim=3) == 180
    assert rotation(40, augmentation="none") == 0
    assert rotation(40, rotation_degrees=5.0) == 5
    assert rotation(40, align="rigid") == 12

"""Which training case is the template."""

from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from anatomark import load_dataset
from anatomark.data.description import Dataset
from anatomark.data.phantoms import make_phantoms
from anatomark.errors import SettingsError
from anatomark.training.template import chosen_template, most_typical


@pytest.fixture(scope="module", params=[2, 3], ids=["2D", "3D"])
def dataset(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    shape, spacing = ((80, 104), (2.0, 2.4)) if request.param == 2 else ((24, 32, 28), (5.0, 4.8, 7.0))
    options = {"shape": shape, "spacing": spacing, "absent": 0.0, "not_annotated": 0.0}
    folder: Path = tmp_path_factory.mktemp(f"template{request.param}")
    return load_dataset(make_phantoms(folder, ndim=request.param, cases=3, landmarks=9, **options))


def test_the_most_typical_case_is_found_among_the_complete_ones() -> None:
    rng = np.random.default_rng(1)
    shape = rng.normal(0, 50, (8, 3))
    points = shape + rng.normal(0, 6, (7, 8, 3))
    points[4] = 1.3 * (shape + rng.normal(0, 0.3, shape.shape)) @ Rotation.from_rotvec((0.1, 0.2, 0.3)).as_matrix()
    points[2] = shape
    points[2, 3:] = np.nan  # with three landmarks nothing can be said of a shape
    assert most_typical(points) == 4
    assert most_typical(points[:, :2]) == 0
    assert most_typical(np.full((3, 8, 2), np.nan)) == 0


def test_the_template_is_chosen_or_named(dataset: Dataset) -> None:
    training = dataset.cases
    assert chosen_template(dataset, training, align="none", template=None) is None
    assert chosen_template(dataset, training, align="rigid", template=None) in [case.id for case in training]
    assert chosen_template(dataset, training, align="rigid", template="case_002") == "case_002"
    with pytest.raises(SettingsError, match=r"template='case_02' is not a training case of .*, did you mean 'case_00"):
        chosen_template(dataset, training, align="affine", template="case_02")
    with pytest.raises(SettingsError, match="there are: case_000, case_001"):
        chosen_template(dataset, training, align="affine", template="zzz")
    with pytest.raises(SettingsError, match="without use; set align=rigid"):
        chosen_template(dataset, training, align="none", template="case_001")

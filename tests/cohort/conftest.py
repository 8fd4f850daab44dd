"""A small cohort: tiny images, the model of an earlier commit, and one that starts at once (`small_model`)."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from anatomark.cohort.run import predict_cohort
from anatomark.core.grid import Grid
from anatomark.core.image import Image
from anatomark.formats.images import read_image, write_image

OLD = Path(__file__).parents[1] / "fixtures" / "old_models"
SPACING = (2.5, 3.0)
SMALL = "tests.cohort.small_model:load"


@pytest.fixture(scope="session")
def model() -> Path:
    """The run folder of a 2D model of four landmarks, in mm."""
    return OLD / "6237412" / "global-to-local-2d"


@pytest.fixture
def own_model(model, tmp_path) -> Path:
    """A copy of it, to be changed."""
    return Path(shutil.copytree(model, tmp_path / "model"))


@pytest.fixture(scope="session")
def pictures(tmp_path_factory) -> Path:
    """A folder with 20 images without a spacing: 10 in it, 10 of the same names in a subfolder."""
    folder = tmp_path_factory.mktemp("pictures")
    whole = read_image(OLD / "image_2d.mha").array.astype(float)
    random = np.random.default_rng(5)
    for k in range(20):
        array = np.clip(whole * 200 / whole.max() + random.normal(0, 15, whole.shape), 0, 255).astype(np.uint8)
        write_image(Image(array, Grid.without_spacing(array.shape)), folder / ("sub" * (k % 2)) / f"x{k // 2}.png")
    return folder


def predict(model, manifest, out, **options):
    """`predict_cohort` with the model that starts at once, in this process where nothing else is said."""
    given = {"workers": 0, "loader": SMALL, "spacing": SPACING, "chunk": 4, "recursive": True} | options
    return predict_cohort(model, manifest, out=out, **given)


def parts(out: Path) -> dict[str, bytes]:
    """{name: content} of the parts that are there."""
    return {path.name: path.read_bytes() for path in sorted((out / "parts").glob("*.parquet"))}

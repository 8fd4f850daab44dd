"""What export.json says is enough: a program without anatomark finds the same points by it."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from untrained import METHODS, image_of

from anatomark import load
from anatomark.core.grid import Grid
from anatomark.core.image import Image
from examples.exported_model.points import find

PROGRAM = Path(__file__).parents[2] / "examples" / "exported_model" / "points.py"
QUICK = (*((method, 2) for method in METHODS), ("global-to-local", 3))
LONG = [pytest.param(method, 3, marks=pytest.mark.long) for method in METHODS if method != "global-to-local"]


def test_the_program_does_without_anatomark() -> None:
    lines = [line.split() for line in PROGRAM.read_text().splitlines()]
    assert not [words for words in lines if words[:1] in (["import"], ["from"]) and words[1].startswith("anatomark")]


@pytest.mark.parametrize(("method", "ndim"), [*QUICK, *LONG])
def test_the_points_are_those_of_anatomark(
    method: str, ndim: int, exported: Callable[[str, int], tuple[Path, Path]]
) -> None:
    run, bundle = exported(method, ndim)
    model = load(run, device="cpu")
    for number, shape in enumerate([(34, 28), (51, 70)] if ndim == 2 else [(20, 26, 22), (27, 41, 33)]):
        image = image_of(ndim, shape, seed=number)
        turned = image.array[::-1].swapaxes(0, 1)  # in another order of axes, and coarser than the model wants it
        affine = image.grid.affine.copy()
        affine[:, -1] += affine[:, 0] * (shape[0] - 1)
        affine[:, 0] *= -1
        affine = affine[:, [1, 0, *range(2, ndim + 1)]]
        bright = np.clip(turned // 4, 0, 255).astype(np.uint8) if number else turned
        expected = model.predict(Image(bright, Grid(bright.shape, affine)))
        points, presence, spread = find(bundle / "models", bright, affine)
        np.testing.assert_allclose(points, expected.landmarks.points, rtol=0, atol=1e-3)
        np.testing.assert_allclose(spread, expected.spread, rtol=0, atol=1e-3)
        np.testing.assert_allclose(presence, expected.presence, rtol=0, atol=1e-4)

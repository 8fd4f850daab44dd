"""Images that look mirrored, turned, inverted or of another size: what the reason says, and the points by orient."""

import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from anatomark.combined import Answer
from anatomark.core.grid import Grid
from anatomark.core.image import Image
from anatomark.formats.images import write_image
from anatomark.methods.error_bound import ErrorBounds
from anatomark.methods.in_view import CutOff
from anatomark.methods.suitability import Suitability
from anatomark.model import Member, Model
from anatomark.predict import predict_to_folder
from anatomark.views import View, orientations, scaled

NAMES = tuple("abcdefgh")
SIZES = {2: (90, 120), 3: (30, 40, 36)}
SPACING = {2: (1.0, 1.5), 3: (2.0, 2.0, 3.0)}


def shapes(count: int, ndim: int, seed: int) -> np.ndarray:
    """(count, 8, d) world points of one kind, within the images of `image_of`."""
    kind, rng = np.random.default_rng(3), np.random.default_rng(seed)
    extent = np.array(SIZES[ndim][::-1]) * SPACING[ndim]
    typical = kind.uniform(0.2, 0.8, (len(NAMES), ndim)) * extent
    return typical + rng.normal(0, 0.01 * extent.min(), (count, len(NAMES), ndim))


def image_of(points: np.ndarray) -> tuple[Image, np.ndarray]:
    """An image with a bright element for each landmark, brighter from one to the next, and their exact places."""
    ndim = points.shape[1]
    grid = Grid.from_geometry(SIZES[ndim], spacing=SPACING[ndim])
    index = np.round(grid.world_to_index(points)).astype(int)
    array = np.full(grid.shape, 0, dtype=np.uint8)
    array[(0,) * ndim] = 255  # the range of grey values is that of eight bits
    for number, at in enumerate(index):
        array[tuple(at)] = 10 + 20 * number
    return Image(array, grid), grid.index_to_world(index)


@dataclass(frozen=True, eq=False)
class ByGreyValue(Member):
    """Finds each landmark where the grey value is its own, sizes up to half and twice the usual one; else it errs."""

    def found(self, images: Sequence[Image], device: Any, *, sources: Sequence[str]) -> list[tuple[Answer, list[Any]]]:
        return [(self.answer(image), []) for image in images]

    def answer(self, image: Image) -> Answer:
        where = [np.argwhere(image.array == 10 + 20 * number) for number in range(len(NAMES))]
        index = np.array([found[0] if len(found) == 1 else (0,) * image.grid.ndim for found in where], dtype=float)
        points = image.grid.index_to_world(index)
        ones = np.ones(len(points))
        return Answer(points, ones, ones, self.suitability.judge(points, ones))


def model_for(ndim: int) -> Model:
    references = shapes(12, ndim, 1)
    suitability = Suitability.learned(shapes(40, ndim, 0), references + 0.1, references)
    bounds = ErrorBounds.fitted(
        np.full((12, len(NAMES)), 1.0),
        np.ones((12, len(NAMES))),
        subjects=[str(k) for k in range(12)],
        names=NAMES,
        unit="mm",
        source="test",
    )
    detector: Any = SimpleNamespace(first_look=None)
    return Model(NAMES, (), ndim, "mm", "test", (ByGreyValue(detector, None, suitability),), bounds)


def stored(view: View, image: Image) -> Image:
    """`image` as it is in a file that `view` would put right, its grid along the axes of the world again."""
    undo = View(np.asarray(np.linalg.inv(view.matrix), dtype=np.float64), "", view.inverted)
    return undo.of(image).canonical()


CASES = [(2, view) for view in orientations(2)] + [(3, view) for view in orientations(3)]


@pytest.mark.parametrize(("ndim", "view"), CASES, ids=[f"{d}D {view.words}" for d, view in CASES])
def test_the_reason_is_found_and_auto_gives_the_points_of_the_image_as_it_is(ndim: int, view: View) -> None:
    model = model_for(ndim)
    image, points = image_of(shapes(1, ndim, 9)[0])
    assert model.predict(image).unsuitable is None
    given = stored(view, image)
    kept = model.predict(given)
    assert kept.unsuitable is not None
    assert f"looks {view.words}" in kept.unsuitable
    assert kept.taken_for is None
    assert np.isnan(kept.error_bound).all(), "an unsuitable image has no bounds"
    np.testing.assert_array_equal(kept.landmarks.points, model.predict(given).landmarks.points)
    taken = model.predict(given, orient="auto")
    assert (taken.unsuitable, taken.taken_for) == (None, view.words)
    center = image.grid.center
    expected = (points - center) @ np.linalg.inv(view.matrix).T + center
    np.testing.assert_allclose(taken.landmarks.points, expected, atol=1e-9)
    assert np.isfinite(taken.error_bound).all()


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("times", [0.4, 1.5, 2.5])
def test_a_wrong_spacing_is_named_and_bounds_are_in_the_spacing_that_was_given(ndim: int, times: float) -> None:
    model = model_for(ndim)
    image, points = image_of(shapes(1, ndim, 9)[0])
    affine = image.grid.affine.copy()
    affine[:-1] *= times
    given = Image(image.array, Grid(image.grid.shape, affine, "mm"))
    kept = model.predict(given)
    assert kept.unsuitable is not None
    assert "check the spacing" in kept.unsuitable
    taken = model.predict(given, orient="auto")
    assert taken.unsuitable is None
    np.testing.assert_allclose(taken.landmarks.points, points * times, atol=1e-9)
    np.testing.assert_allclose(taken.error_bound, times * model.predict(image).error_bound, rtol=0.05)


def test_an_image_that_no_view_makes_usual_keeps_its_reason() -> None:
    model = model_for(2)
    rng = np.random.default_rng(5)
    image, _ = image_of(rng.uniform(0.1, 0.9, (8, 2)) * [120, 135])
    for orient in ("keep", "auto"):
        prediction = model.predict(image, orient=orient)
        assert prediction.unsuitable is not None
        assert "look if the image" in prediction.unsuitable
        assert prediction.taken_for is None


def test_sides_are_not_exchanged_where_a_turn_explains_a_volume() -> None:
    """A symmetrical anatomy on its back: mirrored front to back it would look usual, too."""
    turn = next(view for view in orientations(3) if view.words == "turned by 180 degrees about its head-feet axis")
    order = [view.proper for view in orientations(3) if not view.inverted]
    assert order == sorted(order, reverse=True), "turns are tried before mirrored views"
    assert turn.proper


def test_a_view_keeps_the_middle_and_lengths_follow_its_scale() -> None:
    image, points = image_of(shapes(1, 2, 4)[0])
    view = scaled(2, 2.0, "mm")
    seen = view.of(image)
    np.testing.assert_allclose(seen.grid.center, image.grid.center)
    assert math.isclose(seen.grid.spacing[0], 2 * image.grid.spacing[0])
    np.testing.assert_allclose(view.back(seen.grid.index_to_world(image.grid.world_to_index(points)), image), points)


@pytest.mark.parametrize(("ndim", "view"), CASES, ids=[f"{d}D {view.words}" for d, view in CASES])
def test_the_side_that_is_cut_off_is_that_of_the_image_as_it_was_given(ndim: int, view: View) -> None:
    image, _ = image_of(shapes(1, ndim, 9)[0])
    seen = view.of(image).grid
    beyond = seen.center + 300 * np.eye(ndim)[-1:]  # below a picture, above a volume
    told = view.back_side(CutOff.beyond(seen, beyond))
    assert told is not None
    assert told.side == CutOff.beyond(image.grid, view.back(beyond, image)).side
    assert view.back_side(None) is None


def test_images_csv_names_what_is_unsuitable_and_what_could_not_be_read(tmp_path: Path) -> None:
    image, _ = image_of(shapes(1, 2, 9)[0])
    folder = tmp_path / "images"
    folder.mkdir()
    write_image(image, folder / "good.nrrd")
    write_image(stored(orientations(2)[0], image), folder / "mirrored.nrrd")
    (folder / "broken.nrrd").write_bytes(b"NRRD0004\n")
    summary = predict_to_folder(model_for(2), [folder], out=tmp_path / "out", orient="auto")
    with open(tmp_path / "out" / "images.csv", newline="") as file:
        rows = {row["image"]: row for row in csv.DictReader(file)}
    assert list(rows) == ["good", "mirrored", "broken"]
    assert rows["good"]["taken_for"] == rows["good"]["unsuitable"] == rows["good"]["error"] == ""
    assert float(rows["good"]["suitability"]) > 0.01
    assert rows["mirrored"]["taken_for"] == "mirrored"
    assert "broken.nrrd" in rows["broken"]["error"]
    assert list(summary.warnings) == ["mirrored"]
    predict_to_folder(model_for(2), [folder / "mirrored.nrrd"], out=tmp_path / "kept")
    assert "looks mirrored" in (tmp_path / "kept" / "images.csv").read_text()

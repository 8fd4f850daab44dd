"""The gallery: which cases and predictions are shown, and that a bound is drawn as long as it is."""

import base64
import io
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image as Pillow

from anatomark.errors import ImageError
from anatomark.evaluation.gallery import case_errors, gallery
from anatomark.picture_sheets import PREDICTED_COLOUR
from anatomark.pictures import crop
from tests.evaluation.made import made_rows


def picture_of(tile):
    return Pillow.open(io.BytesIO(base64.b64decode(tile.picture.partition(",")[2])))


def test_best_median_and_worst_cases_and_predictions_are_shown_once():
    rows, cases = made_rows(cases=9, names=5)
    shown = gallery(rows, cases)
    order = np.argsort(case_errors(rows))
    words = zip(("Best", "Median", "Worst"), order[[0, 4, 8]], strict=True)
    wanted = [f"{word} case: {rows.cases[i]}" for word, i in words]
    assert [tile.title for tile in shown.cases] == wanted
    worst = np.sort(rows.radial[rows.found])[::-1]
    assert [float(t.title.split()[-2]) for t in shown.points["Worst"]] == pytest.approx(worst[:6], abs=0.006)
    assert [float(t.title.split()[-2]) for t in shown.points["Best"]] == pytest.approx(worst[::-1][:3], abs=0.006)
    assert len(shown.points["Median"]) == 3
    pictures = [t.picture for group in shown.points.values() for t in group]
    assert len(set(pictures)) == 12
    assert "bound 2.00 mm" in shown.points["Worst"][0].caption


@pytest.mark.parametrize("ndim", [2, 3])
def test_pictures_fit_the_page(ndim):
    rows, cases = made_rows(ndim, cases=3, names=4)
    shown = gallery(rows, cases)
    sizes = [picture_of(t).size for t in shown.cases]
    assert max(width for width, _ in sizes) <= 1086
    assert len(sizes) == (3 if ndim == 2 else 6)
    assert all("slices through its worst landmark" in t.caption for t in shown.cases[1::2]) or ndim == 2
    assert max(picture_of(t).width for group in shown.points.values() for t in group) <= 536


def test_an_image_that_cannot_be_read_costs_its_pictures_only():
    rows, cases = made_rows(cases=3, names=2, absent=False, misses=False)

    class Broken:
        def read_image(self):
            raise ImageError("it is gone")

    worst = int(np.argmax(case_errors(rows)))
    shown = gallery(rows, [Broken() if i == worst else case for i, case in enumerate(cases)])
    assert shown.notes == [f"no picture of {rows.cases[worst]}: it is gone"]
    assert len(shown.cases) == 2


def test_nothing_found_shows_nothing():
    rows, cases = made_rows(cases=2, names=2)
    shown = gallery(replace(rows, answers=np.zeros_like(rows.answers)), cases)
    assert (shown.cases, shown.points, shown.notes) == ([], {}, [])


def test_predictions_without_bounds_have_none_in_the_pictures():
    rows, cases = made_rows(cases=2, names=2)
    rows = replace(rows, bound=np.full(rows.states.shape, np.nan))
    assert np.isnan(rows.bound).all()
    shown = gallery(rows, cases)
    assert "bound" not in shown.points["Worst"][0].caption


@pytest.mark.parametrize("ndim", [2, 3])
def test_the_bound_is_a_circle_of_its_length(ndim):
    _, cases = made_rows(ndim, cases=1, names=1)
    at = cases[0].image.grid.center
    picture = crop(cases[0].image, at, predicted=at, radius=10.0, width=40.0, size=200)
    assert picture.size == ((200, 200) if ndim == 2 else (612, 200))
    colour = np.array([int(PREDICTED_COLOUR[i : i + 2], 16) for i in (1, 3, 5)])
    for left in (0,) if ndim == 2 else (0, 206, 412):
        tile = np.asarray(picture)[:, left : left + 200].astype(int)
        ys, xs = np.nonzero((np.abs(tile - colour) < 8).all(axis=-1))
        assert (xs.max() - xs.min(), ys.max() - ys.min()) == pytest.approx((100, 100), abs=2)  # 20 of 40 mm
    plain = np.asarray(crop(cases[0].image, at, predicted=at, width=40.0, size=200)).astype(int)
    ys, xs = np.nonzero((np.abs(plain - colour) < 8).all(axis=-1))
    assert ys.max() - ys.min() < 20

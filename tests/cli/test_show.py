"""`anatomark show`: points fall where they are, sets are told apart, and what cannot be shown is said in a line."""

import csv

import numpy as np
import pytest
from PIL import Image as Pillow

from anatomark import Grid, Image, Landmarks, write_image, write_landmarks
from anatomark.cli.main import run
from anatomark.picture_sheets import PREDICTED_COLOUR, REFERENCE_COLOUR
from anatomark.show import show_landmarks

NAMES = ("tip", "base")
POINTS = np.array([[20.0, 30.0], [60.0, 70.0]])


@pytest.fixture
def folder(tmp_path):
    """An image of 1 mm pixels, two sets of landmarks 3 mm apart, and a table of two images with error bounds."""
    grid = Grid.from_geometry((100, 80), spacing=(1, 1))
    grey = np.random.default_rng(0).integers(0, 90, grid.shape).astype(np.uint8)
    write_image(Image(grey, grid), tmp_path / "p1.nii")
    write_landmarks(Landmarks.from_points(NAMES, POINTS), tmp_path / "first.csv")
    write_landmarks(Landmarks.from_points(NAMES[::-1], POINTS[::-1] + np.array([3, 0])), tmp_path / "second.csv")
    rows = [["image", "landmark", "x", "y", "frame", "unit", "error_bound_mm"]]
    rows += [
        [f"p{k}.nii", n, *p, "LPS", "mm", b] for k in (1, 2) for n, p, b in zip(NAMES, POINTS, (9, ""), strict=True)
    ]
    with open(tmp_path / "predictions.csv", "w", newline="") as file:
        csv.writer(file).writerows(rows)
    return tmp_path


def pixels(picture):
    """(rows, columns, 3) the colours of a picture."""
    with Pillow.open(picture) as opened:
        return np.asarray(opened.convert("RGB")).astype(int)


def middles(picture, colour):
    """Whether a mark of the colour lies around each of POINTS, in a picture of ten pixels a millimetre."""
    near = (np.abs(pixels(picture) - [int(colour[i : i + 2], 16) for i in (1, 3, 5)]) < 8).all(axis=-1)
    return [
        bool(near[10 * y + 5 - 9 : 10 * y + 5 + 9, 10 * x + 5 - 9 : 10 * x + 5 + 9].any())
        for x, y in POINTS.astype(int)
    ]


def test_one_set(folder, capsys):
    out = folder / "picture.png"
    assert run(["show", str(folder / "p1.nii"), str(folder / "first.csv"), "--out", str(out)]) == 0
    assert capsys.readouterr().out == f"picture: {out}\n"
    assert middles(out, PREDICTED_COLOUR) == [True, True]
    assert middles(out, REFERENCE_COLOUR) == [False, False]
    assert pixels(out).shape == (1022, 800, 3)


def test_two_sets_are_compared_by_name(folder, capsys):
    out = folder / "picture.png"
    files = [str(folder / name) for name in ("second.csv", "first.csv")]
    assert run(["show", str(folder / "p1.nii"), *files, "--out", str(out), "--size", "1000"]) == 0
    assert "3.00 mm apart on average, over 2 landmarks that both have" in capsys.readouterr().out
    assert middles(out, REFERENCE_COLOUR) == [True, True]
    assert middles(out, PREDICTED_COLOUR) == [False, False], "the other set lies 3 mm beside it"


def test_of_a_table_of_many_images_this_one_is_taken(folder):
    shown = show_landmarks(folder / "p1.nii", [folder / "predictions.csv"], out=folder / "picture.png")
    assert shown.sets[0].points == pytest.approx(POINTS)
    amber = (np.abs(pixels(shown.picture) - [255, 176, 31]) < 8).all(axis=-1)
    assert amber[305, 205 + 90 - 2 : 205 + 90 + 3].any(), "the error bound of 9 mm around the first point"


@pytest.mark.parametrize(
    ("image", "landmarks", "out", "told"),
    [
        ("other.nii", ["predictions.csv"], "a.png", "none of them is called 'other'"),
        ("p1.nii", ["first.csv", "first.csv", "first.csv"], "a.png", "3 sets of landmarks; one or two can be shown"),
        ("p1.nii", ["first.csv"], "a.jpg", "is no .png"),
        ("p1.nii", ["none.csv"], "a.png", "none.csv"),
    ],
)
def test_what_cannot_be_shown(folder, capsys, image, landmarks, out, told):
    (folder / "other.nii").write_bytes((folder / "p1.nii").read_bytes())
    files = [str(folder / name) for name in landmarks]
    assert run(["show", str(folder / image), *files, "--out", str(folder / out)]) == 2
    error = capsys.readouterr().err
    assert told in error
    assert error.count("\n") == 1
    assert not (folder / out).exists()

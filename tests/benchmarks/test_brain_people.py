"""Registration of label maps finds a known map, and the points that maps define are where they are."""

import numpy as np
import pytest

from anatomark.core.grid import Grid, transform_points
from anatomark.core.image import Image
from benchmarks import label_registration
from benchmarks.brain_people import Carried, write_tissues
from benchmarks.brain_people_points import BRAIN, GROUPS, MIDLINE, SIDED, exact_points, structure_distance
from benchmarks.brain_people_ways import overlap
from benchmarks.label_registration import register_labels

AXES = np.linalg.qr(np.array([[0.98, -0.12, 0.1], [0.13, 0.99, -0.06], [-0.09, 0.07, 0.99]]))[0]
AXES = AXES * np.sign(np.diag(AXES))


def bodies(grid, moved=lambda points: points):
    """Three ellipsoids that touch, labels 1 to 3, seen through `moved` (world to the bodies' world)."""
    places = moved(grid.centers().reshape(-1, 3))
    labels = np.zeros(len(places), np.uint8)
    for label, center, radii in ((1, (0, 0, 0), (22, 17, 15)), (2, (6, 2, 1), (8, 6, 7)), (3, (-9, -3, 2), (6, 7, 5))):
        labels[(((places - center) / radii) ** 2).sum(axis=1) < 1] = label
    return Image(labels.reshape(grid.shape), grid)


def bend(points):
    """A smooth map by up to 3 mm."""
    return points + 3 * np.stack(
        [np.sin(points[:, 1] / 14), np.cos(points[:, 2] / 17), np.sin(points[:, 0] / 19)], axis=-1
    )


def test_a_known_map_between_label_maps_is_found(monkeypatch):
    monkeypatch.setattr(label_registration, "STEPS", ((2, 40), (1, 40)))
    shape, spacing = (56, 60, 66), (1.0, 1.1, 0.9)
    origin = -AXES @ ((np.array(shape[::-1]) - 1) / 2 * spacing)
    turned = Grid.from_geometry(shape, spacing=spacing, origin=origin, direction=AXES)
    plain = Grid.from_geometry(shape, spacing=(1, 1, 1), origin=[-32.5, -29.5, -27.5])
    shift = np.eye(4)
    shift[:3, 3] = 100, -50, 25
    moving = Image(bodies(plain).array, Grid(plain.shape, shift @ plain.affine))
    fixed = bodies(turned, bend)
    found = register_labels(fixed, moving, ((1,), (2,), (3,)), shift)
    assert found.overlap.min() > 0.93

    surface = np.array([[8.0, 0, 0], [0, 8, 5], [-9, -3, 7], [6, 2, 8], [14, 2, 1], [-3, -3, 2]])
    truth = transform_points(shift, bend(surface))
    start = np.linalg.norm(transform_points(shift, surface) - truth, axis=1)
    error = np.linalg.norm(found.map(surface) - truth, axis=1)
    assert start.mean() > 2.5
    assert error.mean() < 1.2, "half an element of the working grid, about"


def test_points_that_a_map_defines():
    grid = Grid.from_geometry((60, 60, 60), spacing=(1, 1, 1), origin=[-30, -30, -30])
    array = np.zeros(grid.shape, np.uint8)
    for k, labels in enumerate(SIDED.values()):  # a box of each structure, left is larger x
        for side, numbers in zip((1, -1), labels, strict=True):
            x = 30 + side * (3 + 2 * k)
            array[10:40, 20 + k : 50, x : x + 2] = numbers[0]
    for k, numbers in enumerate(MIDLINE.values()):
        array[50 + k, 28:33, 28:33] = numbers[0]
    array[45, 2, [10, 50]] = 44
    points = exact_points(Image(array, grid), np.eye(4), "brain01")
    assert points["thalamus-L"] == pytest.approx([13.5, 7, -5.5], abs=0.6)
    assert points["thalamus-R"][0] == pytest.approx(-12.5)
    assert points["eye-L"] == pytest.approx([20, -28, 15])
    assert points["eye-R"] == pytest.approx([-20, -28, 15])
    assert points["caudate_anterior-L"][1] == pytest.approx(-30 + 20 + list(SIDED).index("caudate"))
    assert points["hemisphere_frontal_pole-R"][1] == pytest.approx(-10)
    names = [name[:-2] for name in points if name.endswith("-L")]
    assert {f"{name}-R" for name in names} <= set(points)

    unusable = exact_points(Image(array, grid), np.eye(4), "brain07")
    missing = {name for name, point in unusable.items() if np.isnan(point).any()}
    assert "hippocampus-L" in missing
    assert "ventricle_anterior-L" in missing
    assert not {"hippocampus-R", "ventricle_3", "thalamus-L"} & missing


def test_overlap_of_a_map_with_itself_and_beside_itself():
    grid = Grid.from_geometry((31, 33, 35), spacing=(1, 1, 1), direction=AXES)
    array = np.ones(grid.shape, np.uint8)
    array[:, :, 20:] = 2
    labels = Image(array, grid)
    assert overlap(labels, labels, lambda points: points)[[0, 2]] == pytest.approx([1, 1])
    beside = overlap(labels, labels, lambda points: points + 60 * AXES[:, 0])
    assert beside.max() == 0


def test_no_label_is_in_two_groups():
    labels = [label for group in GROUPS.values() for label in group]
    assert len(labels) == len(set(labels))
    assert set(labels) <= set(BRAIN)


def test_points_that_do_not_come_back_are_not_annotated():
    there_and_back, apart = np.array([1.0, 9.0, 1.0]), np.array([1.0, 0.0, 3.0])
    carried = Carried(np.ones((3, 3)), there_and_back, apart, np.ones(1), np.ones(1), {"eye-L": np.zeros(3)})
    assert carried.landmarks(["a", "b", "c"]).present.tolist() == [True, False, False, True]


def test_the_distance_to_the_own_structure():
    grid = Grid.from_geometry((20, 20, 40), spacing=(2, 1, 1.5), direction=AXES)
    array = np.ones(grid.shape, np.uint8)
    array[:, :, 20:] = 2
    labels = Image(array, grid)
    index = np.array([[5.0, 5, 10], [5, 5, 30], [6, 5, 10]])
    carried = index + np.array([[0, 0, 4], [0, 0, -15], [0, 0, 14]])
    found = structure_distance(labels, grid.index_to_world(index), labels, grid.index_to_world(carried))
    assert found == pytest.approx([0, 10, 10])


def test_tissues_are_even_ranges_of_the_priors(tmp_path):
    from anatomark.data.tissue_table import read_tissues

    header = "id,name,class,mean_of_mean,sd_of_mean,mean_of_sd,sd_of_sd\n"
    (tmp_path / "priors.csv").write_text(header + "0,air,0,1,2,5,1\n2,L,7,100,10,20,5\n21,R,7,100,10,20,5\n")
    assert write_tissues(tmp_path / "priors.csv", tmp_path / "tissues.csv") == {0: 1.0, 2: 100.0, 21: 100.0}
    air, white = read_tissues(tmp_path / "tissues.csv")
    assert (air.mean[0], white.labels, white.mean) == (0.0, (2, 21), (82.7, 117.3))

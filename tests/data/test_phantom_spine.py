"""Phantoms of alike vertebrae, and in any pose."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from anatomark.data.description import load_dataset
from anatomark.data.phantom_spine import PARTS, draw_spine
from anatomark.data.phantoms import PhantomSpec, make_phantoms, phantom
from anatomark.errors import SettingsError

SPINE_2D: dict[str, Any] = {"ndim": 2, "vertebrae": 8, "landmarks": 40, "shape": (220, 150), "spacing": (1.0, 1.1)}
SPINE_3D: dict[str, Any] = {
    "ndim": 3,
    "vertebrae": 5,
    "landmarks": 25,
    "shape": (60, 36, 40),
    "spacing": (2.2, 2.4, 2.6),
}


@pytest.mark.parametrize("given", [SPINE_2D, SPINE_3D], ids=["2D", "3D"])
def test_vertebrae_lie_in_a_row_bright_inside_and_dark_between(given):
    spec = PhantomSpec(**given)
    for index in range(4):
        image, truth = phantom(0, index, spec)
        assert truth.names == spec.names
        assert image.grid.contains(truth.points).all()
        fronts = [
            (truth[f"v{k:02d}_front_upper"] + truth[f"v{k:02d}_front_lower"]) / 2 for k in range(1, spec.vertebrae + 1)
        ]
        steps = np.diff([front[-1] for front in fronts])
        assert (steps > 0).all() if spec.ndim == 2 else (steps < 0).all(), "the first vertebra is the uppermost"
        # points a third of the way from the front to the process lie in the body, those between two bodies do not
        inside = np.array(
            [
                front + 0.25 * (truth[f"v{k:02d}_{'back_upper' if spec.ndim == 2 else 'process'}"] - front)
                for k, front in enumerate(fronts, 1)
            ]
        )
        between = (inside[1:] + inside[:-1]) / 2
        here, there = (
            image.array[tuple(np.round(image.grid.world_to_index(points)).astype(int).T)]
            for points in (inside, between)
        )
        assert np.median(here) > there.max()


@pytest.mark.parametrize("ndim", [2, 3])
def test_the_template_looks_the_same_in_every_vertebra(ndim):
    vertebrae = 6
    anatomy = draw_spine(3, (150.0,) * ndim, vertebrae, vertebrae * len(PARTS[ndim]), 150)
    vertebra = anatomy.points.reshape(vertebrae, -1, ndim)
    centers, corners = vertebra[:, -1:], vertebra[:, :-1]
    seen = np.stack([anatomy.sample(centers + part * (corners - centers)) for part in (0.3, 0.8)])
    assert seen.std(axis=1).max() < 0.05
    assert seen.min() > 0.6


@pytest.mark.parametrize("ndim", [2, 3])
def test_poses_go_all_the_way_round(ndim):
    spec = PhantomSpec(ndim=ndim, landmarks=8, pose_degrees=180, shape=(40, 44) if ndim == 2 else (20, 22, 24))
    upright = phantom(1, 0, PhantomSpec(ndim=ndim, landmarks=8, shape=spec.shape))[1].points
    angles = []
    for index in range(24):
        image, truth = phantom(1, index, spec)
        assert truth.present.all()
        assert image.grid.contains(truth.points).all()
        a, b = (points - points.mean(axis=0) for points in (upright, truth.points))
        u, _, vt = np.linalg.svd(a.T @ b)
        turn = u @ np.diag([1.0] * (ndim - 1) + [np.linalg.det(u @ vt)]) @ vt
        angles.append(np.degrees(np.arccos(np.clip((np.trace(turn) - (ndim - 2)) / 2, -1, 1))))
    assert min(angles) < 45
    assert max(angles) > 135


def test_a_spine_is_written_with_its_pairs(tmp_path: Path):
    path = make_phantoms(tmp_path, cases=3, absent=False, pose_degrees=20.0, **SPINE_3D)
    dataset = load_dataset(path)
    assert len(dataset.names) == 25
    assert dataset.pairs == tuple((f"v{k:02d}_left", f"v{k:02d}_right") for k in range(1, 6))
    assert PhantomSpec(ndim=3, vertebrae=5, landmarks=10).pairs == (), "the right ones are left out"
    assert PhantomSpec(**SPINE_2D).pairs == ()


def test_spines_and_poses_that_cannot_be():
    faults: list[tuple[dict[str, Any], str]] = [
        ({"vertebrae": 5, "landmarks": 12}, "1 to 6 landmarks on each vertebra, as many on all, got 12 on 5"),
        ({"vertebrae": 5, "landmarks": 35}, "got 35 on 5"),
        ({"pose_degrees": 181.0}, "an angle of 0 to 180, got 181"),
        ({"pose_degrees": -1.0}, "an angle of 0 to 180"),
    ]
    for wrong, words in faults:
        with pytest.raises(SettingsError, match=words):
            PhantomSpec(**wrong)

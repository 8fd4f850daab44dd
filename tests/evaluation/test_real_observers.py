"""Observers and measurements on real placements, against numbers that were found in another way."""

import os
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose

from anatomark import compare_observers
from anatomark.data.description import load_dataset
from anatomark.data.measurements import measure

REPOSITORY = Path(__file__).parents[2]
DATA = Path(os.environ.get("ANATOMARK_DATA") or REPOSITORY.parent / "shared" / "data")


def dataset(name):
    if not (DATA / name / "landmarks.csv").is_file():
        pytest.skip(f"needs the data set {name} under ANATOMARK_DATA ({DATA})")
    return load_dataset(REPOSITORY / "datasets" / f"{name}.yaml", DATA)


@pytest.mark.data
def test_the_two_observers_of_the_x_rays_are_as_far_apart_as_the_data_set_says():
    data = dataset("isbi2015_ceph")
    for split, mean, sd, median in (
        ("train", 2.36, 2.60, 1.42),
        ("test1", 2.36, 2.16, 1.71),
        ("test2", 1.52, 1.40, 1.11),
    ):
        found = compare_observers(data, split=split, samples=200)
        overall = found["inter"]["overall"]
        assert_allclose([overall["mre"], overall["sd"], overall["median"]], [mean, sd, median], atol=0.006)
        assert found["intra"] is None
    everything = compare_observers(data, samples=0)["inter"]["landmarks"]
    assert max(everything, key=lambda name: everything[name]["mre"]) == "soft_tissue_pogonion"
    assert everything["soft_tissue_pogonion"]["mre"] == pytest.approx(6.6, abs=0.1)
    assert compare_observers(data, samples=0)["pairs"][0]["landmarks"]["soft_tissue_pogonion"]["bias"]["y"] != 0


@pytest.mark.data
def test_raters_of_the_brain_in_sessions_and_without_images():
    data = dataset("afids_multirater")
    assert len(data.cases) == 62
    found = compare_observers(data, samples=200)
    assert found["sessions"]["rater03"] >= 4
    assert "groundtruth" not in found["names"]
    landmarks = found["inter"]["landmarks"]
    easiest = sorted(landmarks, key=lambda name: landmarks[name]["mre"])[:4]
    assert {"01_AC", "02_PC"} <= set(easiest)
    assert found["intra"]["overall"]["mre"] < found["inter"]["overall"]["mre"]
    # counted by hand: 8 raters of Colin27 in 4 sessions each are 28 pairs and 48 repeats of each of 32 landmarks
    colin = [case for case in data.cases if case.id == "Colin27"]
    assert len(colin) == 1
    assert sum(name.startswith("rater") for name in colin[0].observers) == 32


@pytest.mark.data
def test_the_eight_cephalometric_measurements_are_the_challenges():
    """The formulas of the challenge, written down here a second time, with dot and cross products alone."""
    data = dataset("isbi2015_ceph")
    points = np.stack([case.reference.points for case in data.cases])
    found = measure(data.measurements, data.names, points)

    def way(a, b):
        return points[:, b - 1] - points[:, a - 1]

    def angle(a, b):
        return np.degrees(np.arccos((a * b).sum(-1) / np.linalg.norm(a, axis=-1) / np.linalg.norm(b, axis=-1)))

    def turned(a, b):
        return np.sign(a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0])

    sna, snb = angle(way(2, 1), way(2, 5)), angle(way(2, 1), way(2, 6))
    palatal = turned(way(4, 3), way(17, 18)) * angle(way(4, 3), way(17, 18))
    facial_to_ab = -turned(way(2, 7), way(5, 6)) * angle(way(2, 7), way(5, 6))
    wanted = {
        "SNA": sna,
        "SNB": snb,
        "ANB": sna - snb,
        "ODI": angle(way(8, 10), way(6, 5)) + palatal,
        "APDI": angle(way(3, 4), way(2, 7)) + facial_to_ab + palatal,
        "FHI": np.linalg.norm(way(1, 10), axis=-1) / np.linalg.norm(way(2, 8), axis=-1),
        "FMA": angle(way(1, 2), way(10, 9)),
        "MW": np.linalg.norm(way(11, 12), axis=-1) * np.where(way(11, 12)[:, 0] < 0, -1, 1),
    }
    assert {m.name for m in data.measurements if not m.hidden} == set(wanted)
    for name, values in wanted.items():
        assert_allclose(found[name], values, atol=1e-6, err_msg=name)
    # plausible for people: means within the norms' neighbourhood
    assert 78 < found["SNA"].mean() < 86
    assert 0.6 < found["FHI"].mean() < 0.7

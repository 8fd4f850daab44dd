import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from anatomark import State, load_dataset
from anatomark.data.cache import Cache, open_cache, prepare
from anatomark.data.phantoms import make_phantoms
from anatomark.data.working import Sampling
from anatomark.errors import ModelError


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cache")
    dataset = load_dataset(make_phantoms(folder / "data", ndim=3, cases=6, landmarks=5, seed=2))
    roles = {"train": dataset.cases[:4], "validation": dataset.cases[4:]}
    prepare(dataset, roles, folder / "cache", sampling=Sampling((3.0, 3.0, 3.0), (2, 2, 2)))
    return folder


def test_a_cache_gives_back_cases_landmarks_and_grids(prepared: Path) -> None:
    dataset = load_dataset(prepared / "data" / "dataset.yaml")
    cache = open_cache(prepared / "cache")
    assert cache.names == dataset.names
    assert [c.id for c in cache.training] == [c.id for c in dataset.cases[:4]]
    assert [c.id for c in cache.validation] == [c.id for c in dataset.cases[4:]]
    for cached, case in zip(cache.cases, dataset.cases, strict=True):
        np.testing.assert_array_equal(cached.points_world, case.reference.points)
        np.testing.assert_array_equal(cached.states, case.reference.states)
        np.testing.assert_allclose(cached.image.fine_grid.spacing, 3.0)
        np.testing.assert_allclose(cached.image.coarse_grid.spacing, 6.0)
        assert cached.image.fine.shape == cached.image.fine_grid.shape
        present = cached.states == State.PRESENT
        assert cached.image.fine_grid.contains(cached.points_world[present]).all()


def test_the_memory_map_holds_what_memory_holds(prepared: Path) -> None:
    in_memory, mapped = open_cache(prepared / "cache"), open_cache(prepared / "cache", memory_limit_bytes=0)
    assert in_memory.in_memory
    assert not mapped.in_memory
    for a, b in zip(in_memory.cases, mapped.cases, strict=True):
        np.testing.assert_array_equal(a.image.fine, b.image.fine)
        np.testing.assert_array_equal(a.image.coarse, b.image.coarse)


def test_a_matching_cache_is_kept_and_another_is_made_anew(prepared: Path, tmp_path: Path) -> None:
    dataset = load_dataset(prepared / "data" / "dataset.yaml")
    roles = {"train": dataset.cases[:2]}
    made = []
    every = [Sampling((spacing,) * 3, (1, 1, 1)) for spacing in (4.0, 4.0, 5.0)]
    for sampling in (*every, replace(every[-1], grey_values="foreground")):
        prepare(dataset, roles, tmp_path, sampling=sampling, progress=lambda *_: made.append(1))
    assert len(made) == 6  # two images for each sampling, none for the second time
    assert {case.image.grey_values for case in open_cache(tmp_path).cases} == {"foreground"}


def test_a_half_written_cache_is_refused(prepared: Path, tmp_path: Path) -> None:
    index = json.loads((prepared / "cache" / "index.json").read_text())
    (tmp_path / "index.json").write_text(json.dumps(index))
    (tmp_path / "images.bin").write_bytes((prepared / "cache" / "images.bin").read_bytes()[:1000])
    with pytest.raises(ModelError, match="not a whole prepared cache"):
        open_cache(tmp_path)


def test_mirrored_order_exchanges_the_pairs_only() -> None:
    cache = Cache(("a", "left", "b", "right"), (("left", "right"),), (), True)
    assert cache.mirrored.tolist() == [0, 3, 2, 1]

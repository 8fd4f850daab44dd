"""Synthetic subjects: their landmarks are where the image shows them; training on them needs no file."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import ndimage

from anatomark.core.grid import Grid
from anatomark.core.image import Image
from benchmarks.answers import parse_settings, scores
from benchmarks.brain import brain_cache, run, split_roles
from benchmarks.synthetic_brains import LARGEST_MM, SOLVED_MM, Template, draw_deformation, lattice_values, subject

BOX = (72.0, 90.0, 80.0)


@pytest.fixture(scope="module")
def template() -> Template:
    """A blurred random head of 108 x 126 x 116 mm at 3 mm, not square, with an oblique field of view within."""
    rng = np.random.default_rng(5)
    noise = ndimage.gaussian_filter(rng.standard_normal((36, 42, 38)), 1.5)
    array = np.clip(128 + 400 * noise, 20, 255).astype(np.uint8)
    turn = np.array([[0.995, -0.0998, 0.0], [0.0998, 0.995, 0.0], [0.0, 0.0, 1.0]])
    grid = Grid.from_geometry(array.shape, spacing=(3.0, 3.0, 3.0), origin=(-20.0, 7.0, 300.0), direction=turn)
    field = grid.crop([6, 6, 6], [24, 30, 27])
    points = field.index_to_world(rng.uniform(5, 19, (12, 3)))
    return Template(Image(array, grid), field, points)


def offsets(count: int, *, margin: float) -> Any:
    return np.random.default_rng(1).uniform(margin, np.asarray(BOX) - margin, (count, 3))


@pytest.mark.parametrize("seed", range(4))
def test_the_deformation_and_its_inverse_agree(seed: int) -> None:
    deformation = draw_deformation(np.random.default_rng(seed), BOX)
    here = offsets(500, margin=0.0)
    there = deformation.to_template(here)
    assert np.abs(there - here).max() > 3, "something moves"
    again = deformation.from_template(there)
    assert np.linalg.norm(again - here, axis=1).max() < 0.01
    assert np.abs(deformation.to_template(again) - there).max() < 2 * SOLVED_MM


@pytest.mark.parametrize("seed", range(4))
def test_the_deformation_is_smooth_and_as_large_as_said(seed: int) -> None:
    deformation = draw_deformation(np.random.default_rng(seed), BOX)
    far = np.linalg.norm(deformation.displacement, axis=0)
    assert 0.25 * LARGEST_MM < far.max() <= LARGEST_MM
    step = np.asarray(BOX) / deformation.displacement.shape[1:]
    slopes = np.stack([np.stack(np.gradient(part, *step), axis=-1) for part in deformation.displacement], axis=-2)
    assert np.linalg.det(np.eye(3) + slopes).min() > 0.1, "nothing folds"


def test_the_negative_velocity_undoes_the_velocity() -> None:
    """The exponential is one: forth and back along the same field leaves a twentieth of a voxel."""
    deformation = draw_deformation(np.random.default_rng(0), (144.0, 186.0, 152.0))
    here = np.random.default_rng(1).uniform(25, 119, (500, 3))
    there = here + lattice_values(deformation.displacement, here / deformation.box)
    back = there + lattice_values(deformation.backward, there / deformation.box)
    assert np.sqrt(np.mean(np.sum((back - here) ** 2, axis=1))) < 0.05


def test_the_image_shows_the_template_where_the_landmarks_say(template: Template) -> None:
    """Grey values along the map follow the template's: the same map made the image and the points."""
    fine = template.at(1.5)
    image, points, deformation = subject(fine, seed=3, index=8)
    spacing = np.asarray(image.grid.spacing)
    at = offsets(400, margin=8.0)
    source = fine.field.index_to_world(deformation.to_template(at) / spacing - 0.5)
    seen = ndimage.map_coordinates(image.array.astype(float), (at / spacing - 0.5).T, order=1)
    known = ndimage.map_coordinates(
        fine.image.array.astype(float), fine.image.grid.world_to_index(source).T, order=1, mode="constant"
    )
    inside = fine.image.grid.contains(source)
    right = np.corrcoef(seen[inside], known[inside])[0, 1]
    beside = ndimage.map_coordinates(image.array.astype(float), (at / spacing - 0.5 + 2).T, order=1)
    assert right > 0.9 > np.corrcoef(beside[inside], known[inside])[0, 1]
    here = (image.grid.world_to_index(points) + 0.5) * spacing
    target = (fine.field.world_to_index(fine.points_world) + 0.5) * spacing
    assert np.linalg.norm(deformation.to_template(here) - target, axis=1).max() < 1e-3


def test_a_subject_is_decided_by_seed_and_index(template: Template) -> None:
    first, points, _ = subject(template, seed=1, index=2)
    again, same, _ = subject(template, seed=1, index=2)
    np.testing.assert_array_equal(first.array, again.array)
    np.testing.assert_array_equal(points, same)
    for seed, index in ((1, 3), (2, 2)):
        other, elsewhere, _ = subject(template, seed=seed, index=index)
        assert (other.array != first.array).mean() > 0.2
        assert np.abs(elsewhere - points).max() > 1


def test_the_anatomy_does_not_depend_on_the_spacing(template: Template) -> None:
    coarse, fine = template.at(3.0), template.at(1.5)
    _, points, _ = subject(coarse, seed=1, index=2)
    _, same, _ = subject(fine, seed=1, index=2)
    np.testing.assert_allclose(points, same, rtol=0, atol=1e-3)


def test_a_saved_template_is_the_same(template: Template, tmp_path: Path) -> None:
    template.save(tmp_path / "sub" / "t.npz")
    again = Template.load(tmp_path / "sub" / "t.npz")
    np.testing.assert_array_equal(again.image.array, template.image.array)
    np.testing.assert_array_equal(again.points_world, template.points_world)
    assert again.field == template.field
    assert again.image.grid == template.image.grid


def test_the_cache_holds_the_subjects_and_landmarks_outside_are_absent(template: Template) -> None:
    from anatomark.methods.settings import Network

    beyond = Template(template.image, template.field, np.vstack([template.points_world, [[500.0, 500.0, 500.0]]]))
    network = Network(landmarks=13, spacing=(3.0, 3.0, 3.0), pool=(1, 1, 1), align="none")
    cache = brain_cache(beyond, {"train": [4], "validation": [9]}, network, seed=1)
    assert [case.id for case in cache.validation] == ["subject9"]
    case = cache.training[0]
    np.testing.assert_array_equal(case.image.fine, subject(beyond, seed=1, index=4)[0].array)
    assert case.states.tolist() == [2] * 12 + [1]
    assert np.isnan(case.points_world[-1]).all()


def test_roles_and_scores() -> None:
    assert split_roles(20, 0.15) == {"train": list(range(17)), "validation": [17, 18, 19]}
    assert split_roles(3, 0.15)["validation"] == []
    told = scores(np.array([[1.0, 3.0], [np.nan, 2.0]]), (1.0, 2.5))
    assert (told["n"], told["mre"], told["median"]) == (3, 2.0, 2.0)
    assert told["sdr"] == {"1": pytest.approx(100 / 3), "2.5": pytest.approx(200 / 3)}
    assert parse_settings(["seed=3", "two-stage:rank=4", "x:near=[1, 2]"]) == (
        {"seed": 3},
        {"two-stage": {"rank": 4}, "x": {"near": [1, 2]}},
    )


@pytest.mark.slow
def test_the_brain_benchmark_trains_scores_and_goes_on(
    template: Template, tiny: dict[str, Any], tmp_path: Path
) -> None:
    options: dict[str, Any] = {"method": "global-to-local", "train": 6, "seed": 0, "device": "cpu"}
    options["settings"] = {**tiny, "local_window": [8, 8, 8], "global_crop": [24, 32, 32]}
    first = run(template, out=tmp_path / "run", test=2, show=None, **options)
    assert list(first["answers"]) == ["global", "local"]
    assert all(entry["n"] + first["test"]["landmarks_outside"] == 24 for entry in first["answers"].values())
    assert first["train"]["steps"] == {"global": 20, "local": 20}
    assert first["prediction"]["seconds"] > 0
    assert first["prediction"]["peak_bytes"] > 1 << 20
    further = run(template, out=tmp_path / "run", test=3, show=None, **options)
    assert further["answers"]["local"]["n"] > first["answers"]["local"]["n"]


def test_no_image_library_is_needed() -> None:
    program = (
        "import sys, benchmarks.brain, anatomark.training.train, anatomark.methods.global_to_local.method;"
        "print([m for m in ('SimpleITK', 'itk', 'monai') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2]
    )
    assert done.stdout.strip() == "[]"

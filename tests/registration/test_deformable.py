from importlib import metadata

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter, shift
from scipy.spatial.transform import Rotation

from anatomark.core.grid import Grid
from anatomark.core.image import Image
from anatomark.data.phantoms import PhantomSpec, phantom
from anatomark.errors import MissingExtraError, RegistrationError, UnknownNameError
from anatomark.registration import bspline, deformable, elastix
from anatomark.registration.deformable import PointMap, choose_backend, register_deformable

ELASTIX = pytest.param("elastix", marks=pytest.mark.slow)


def pair(ndim):
    """Two phantoms of one anatomy on anisotropic grids, in 3D turned ones, and their landmarks' points."""
    shape, spacing = ((100, 120), (1.7, 1.9)) if ndim == 2 else ((24, 34, 28), (4.8, 4.4, 5.6))
    spec = PhantomSpec(ndim=ndim, landmarks=60, shape=shape, spacing=spacing)
    (one, here), (other, there) = (phantom(3, k, spec) for k in (0, 1))
    return one, other, here.points, there.points


def oblique(image):
    """The same grey values in the same world, on a turned, flipped, anisotropic and sheared grid."""
    d = image.grid.ndim
    spacing = np.array([1.6, 2.1] if d == 2 else [5.4, 4.4, 5.9])
    shape = np.ceil(1.1 * max(image.grid.extent) / spacing).astype(int)
    axis = np.array([0.0, 0.0, 0.5]) if d == 2 else np.array([0.3, -0.2, 0.25])
    turned = Rotation.from_rotvec(axis).as_matrix()[:d, :d]
    sheared = np.eye(d) + 0.15 * np.eye(d, k=1)
    affine = np.eye(d + 1)
    affine[:d, :d] = turned @ sheared @ np.diag([-1.0, 1.0, 1.0][:d]) * spacing
    affine[:d, d] = image.grid.center - affine[:d, :d] @ ((shape - 1) / 2)
    return image.resampled(Grid(tuple(shape), affine))


def errors(found: PointMap, here, there):
    """(free form, affine alone): mean distances from the truth."""
    linear = here @ found.affine[:-1, :-1].T + found.affine[:-1, -1]
    return [float(np.linalg.norm(points - there, axis=1).mean()) for points in (found.map(here), linear)]


@pytest.mark.parametrize("backend", ["simpleitk", ELASTIX])
@pytest.mark.parametrize("ndim", [2, 3], ids=["2D", "3D"])
def test_points_are_carried_better_than_by_the_affine_map(ndim, backend, monkeypatch):
    if backend == "elastix":
        pytest.importorskip("itk", reason="needs the extra elastix")
        monkeypatch.setattr("anatomark.registration.elastix.ITERATIONS", 120)  # quick
    fixed, moving, here, there = pair(ndim)
    found = register_deformable(oblique(fixed), oblique(moving), backend=backend)
    assert found.backend == backend
    free, affine = errors(found, here, there)
    assert free < 0.3 * max(fixed.grid.spacing)
    assert free < 0.4 * affine


def test_contrast_may_be_turned_over():
    fixed, moving, here, there = pair(2)
    negative = Image(1.0 - (moving.array / moving.array.max()) ** 0.6, moving.grid)
    found = register_deformable(fixed, negative, backend="simpleitk")
    free, affine = errors(found, here, there)
    assert free < 0.4 * affine
    assert np.median(found.agreement_at(here)) > 0.5


def test_pixels_count_as_one():
    fixed, moving, here, there = pair(2)
    in_px = [Image(image.array, Grid(image.grid.shape, np.eye(3)[[1, 0, 2]], "px")) for image in (fixed, moving)]
    places = [
        grid.index_to_world(image.grid.world_to_index(points))
        for grid, image, points in zip([i.grid for i in in_px], (fixed, moving), (here, there), strict=True)
    ]
    found = register_deformable(*in_px, backend="simpleitk")
    free, affine = errors(found, *places)
    assert free < 0.4
    assert free < 0.4 * affine


def test_the_same_seed_gives_the_same_map(monkeypatch):
    import SimpleITK as sitk

    before = sitk.ProcessObject.GetGlobalDefaultNumberOfThreads()
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    try:
        fixed, moving, here, _ = pair(2)
        one, same, other = (
            register_deformable(fixed, moving, backend="simpleitk", seed=s).map(here) for s in (4, 4, 5)
        )
    finally:
        sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(before)
    assert np.array_equal(one, same)
    assert not np.array_equal(one, other)


def test_points_that_are_nowhere_stay_nowhere():
    grid = Grid.from_geometry((20, 30), spacing=(2.0, 1.0))
    affine = np.array([[1.0, 0.0, 5.0], [0.0, 1.0, -3.0], [0.0, 0.0, 1.0]])
    import SimpleITK as sitk

    found = PointMap(grid, affine, sitk.TranslationTransform(2, (0.5, 0.25)), np.ones(grid.shape, np.float32), "none")
    mapped = found.map([[1.0, 2.0], [np.nan, np.nan], [400.0, 2.0]])
    assert np.allclose(mapped, [[6.5, -0.75], [np.nan, np.nan], [405.5, -0.75]], equal_nan=True)
    assert np.array_equal(found.agreement_at([[1.0, 2.0], [np.nan, np.nan]]), [1.0, np.nan], equal_nan=True)
    assert found.map(np.empty((0, 2))).shape == (0, 2)


def test_the_working_grid_is_small_enough_and_no_finer_than_the_image():
    brain = Grid.from_geometry((181, 217, 181), spacing=(1.0, 1.0, 1.0))
    assert deformable._working_spacing(brain) == pytest.approx(1.92, abs=0.01)
    assert deformable._working_spacing(Grid.from_geometry((20, 20), spacing=(3.0, 2.0))) == 2.0


def test_local_agreement_tells_structure_from_noise_and_flat_places():
    rng = np.random.default_rng(0)
    one = rng.normal(size=(60, 90)).astype(np.float32)
    other = -2 * one + 3
    other[:, 30:60] = rng.normal(size=(60, 30))
    one[:, 60:] = 0
    known = np.ones(one.shape, dtype=bool)
    known[:5] = False
    agreement = deformable._local_agreement(one, other, known)
    assert np.isnan(agreement[:5]).all()
    assert agreement[10:-10, 5:22].min() > 0.99
    assert np.median(agreement[10:-10, 38:52]) < 0.1
    assert np.isnan(agreement[10:-10, 70:]).all()


@pytest.mark.slow
@pytest.mark.parametrize("ndim", [2, 3], ids=["2D", "3D"])
def test_the_transform_of_elastix_is_read_as_transformix_reads_it(ndim, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # transformix writes the field it returns
    itk = pytest.importorskip("itk", reason="needs the extra elastix")
    rng = np.random.default_rng(1)
    shape, spacing = ((40, 56), (1.5, 1.0)) if ndim == 2 else ((20, 28, 24), (2.0, 1.5, 1.0))
    fixed = gaussian_filter(rng.normal(size=shape), 2).astype(np.float32)
    moving = shift(fixed, [1.3, -0.8, 0.5][:ndim], mode="nearest").astype(np.float32)
    inside = np.ones(shape, dtype=bool)
    inside[-3:] = False
    found = elastix.registered(fixed, moving, inside, spacing, 8.0, 0)
    stages = [dict(found.GetParameterMap(k)) for k in range(found.GetNumberOfParameterMaps())]
    mine = elastix.composed(stages, ndim)
    field = itk.array_from_image(
        itk.transformix_deformation_field(elastix.as_itk(moving, spacing), found, log_to_console=False)
    )
    index = rng.integers(2, np.array(shape) - 2, size=(30, ndim))
    points = (index * spacing)[:, ::-1]
    moved = np.array([mine.TransformPoint(p) for p in points.tolist()])
    assert np.allclose(moved - points, field[tuple(index.T)], rtol=0, atol=1e-4)
    assert np.abs(moved - points).max() > 0.3


def test_elastix_may_be_missing(monkeypatch):
    def version(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr("importlib.metadata.version", version)
    assert choose_backend("auto") == "simpleitk"
    with pytest.raises(MissingExtraError, match=r"pip install 'anatomark\[elastix\]'"):
        choose_backend("elastix")


def test_elastix_is_taken_where_it_is(monkeypatch):
    monkeypatch.setattr("importlib.metadata.version", lambda name: "0.25")
    assert choose_backend("auto") == choose_backend("elastix") == "elastix"
    assert choose_backend("simpleitk") == "simpleitk"
    with pytest.raises(UnknownNameError, match="ants"):
        choose_backend("ants")


def test_images_of_two_kinds():
    two, _, _, _ = pair(2)
    three, _, _, _ = pair(3)
    in_px = Image(two.array, Grid(two.grid.shape, np.eye(3), "px"))
    for other in (three, in_px):
        with pytest.raises(RegistrationError, match="two kinds"):
            register_deformable(two, other, backend="simpleitk")


@pytest.mark.parametrize("failure", ["raises", "shifts"])
def test_a_free_form_that_fails_is_told(monkeypatch, failure):
    import SimpleITK as sitk

    fixed, moving, _, _ = pair(2)

    def free_form(*_):
        if failure == "raises":
            raise RuntimeError("Exception thrown in SimpleITK\n  sitk::ERROR: Too few samples\n\n")
        return sitk.TranslationTransform(2, (25.0, -25.0))

    monkeypatch.setattr(bspline, "free_form", free_form)
    with pytest.raises(RegistrationError, match="Too few samples" if failure == "raises" else "agree less") as caught:
        register_deformable(fixed, moving, backend="simpleitk")
    assert "\n" not in str(caught.value)

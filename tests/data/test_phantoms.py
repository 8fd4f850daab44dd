import numpy as np
import pytest

from anatomark.core.grid import Grid
from anatomark.core.landmarks import State
from anatomark.data.phantom_anatomy import draw_anatomy, template_of
from anatomark.data.phantoms import PhantomSpec, draw_deformation, make_phantoms, phantom, render
from anatomark.errors import AnatomarkError, OutputError, SettingsError

OBLIQUE = [[0.96, -0.2, 0.194], [0.215, 0.975, -0.058], [-0.178, 0.097, 0.979]]


def _peak(values, index):
    """Where the quadratic through the logarithms around `index` has its top, (d,); exact for any Gaussian."""
    d = values.ndim
    steps = np.stack(np.meshgrid(*[[-1, 0, 1]] * d, indexing="ij"), axis=-1).reshape(-1, d)
    products = [(i, j) for i in range(d) for j in range(i, d)]
    terms = [np.ones(len(steps)), *steps.T, *(steps[:, i] * steps[:, j] for i, j in products)]
    logs = np.log(values[tuple((index + steps).T)])
    fit = np.linalg.lstsq(np.stack(terms, axis=1), logs, rcond=None)[0]
    hessian = np.zeros((d, d))
    for (i, j), value in zip(products, fit[d + 1 :], strict=True):
        hessian[i, j] += value
        hessian[j, i] += value
    return index - np.linalg.solve(hessian, fit[1 : d + 1])


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("seed", range(4))
def test_a_rendered_blob_lies_at_its_landmark(ndim, seed):
    rng = np.random.default_rng(seed)
    shape, spacing = ((160, 208), (1.0, 1.2)) if ndim == 2 else ((48, 64, 56), (2.5, 2.4, 3.5))
    axes, _ = np.linalg.qr(np.array(OBLIQUE)[:ndim, :ndim])
    box = tuple(n * s for n, s in zip(reversed(shape), spacing, strict=True))
    centre = (np.array(shape[::-1]) - 1) / 2 * spacing
    grid = Grid.from_geometry(shape, spacing=spacing, origin=-axes @ centre, direction=axes)
    template = Grid.from_geometry([200] * ndim if ndim == 2 else [110] * ndim, spacing=[1.6] * ndim)
    template = template.crop(-np.asarray(template.shape) // 2, template.shape)
    points = rng.uniform(-0.5, 0.5, size=(6, ndim)) * np.array(box) / 2
    deformation = draw_deformation(rng, box)
    worlds = deformation.from_template(points)

    assert np.abs(deformation.to_template(worlds) - points).max() < 1e-5
    assert np.linalg.norm(worlds - points, axis=1).max() > 3, "this deformation would test nothing"
    for point, world in zip(points, worlds, strict=True):
        blob = np.exp(-0.5 * ((template.centers() - point) ** 2).sum(-1) / 6.0**2)
        anatomy = template_of(blob.astype(np.float32), template, points)
        image = np.maximum(render(anatomy, deformation, grid), 1e-9)
        found = _peak(image, np.array(np.unravel_index(image.argmax(), shape)))
        assert np.abs(found - grid.world_to_index(world)).max() < 0.05


@pytest.mark.parametrize("ndim", [2, 3])
def test_a_marker_shows_at_its_landmark_in_every_case(ndim):
    """The first landmark is a bright blob: its image is brighter there than around it."""
    spec = PhantomSpec(ndim=ndim, landmarks=5)
    for index in range(6):
        image, truth = phantom(0, index, spec)
        row = image.grid.world_to_index(truth.points[0])
        at = tuple(np.round(row).astype(int))
        offsets = np.linalg.norm(image.grid.centers() - truth.points[0], axis=-1)
        around = image.array[(offsets > 13) & (offsets < 18)]
        assert image.array[at] > np.percentile(around, 75)


def test_the_same_arguments_give_the_same_bytes_in_any_order():
    spec = PhantomSpec(ndim=3, absent=0.5, not_annotated=0.2, shape=(20, 24, 22))
    forth = [phantom(3, k, spec) for k in range(4)]
    back = [phantom(3, k, spec) for k in reversed(range(4))][::-1]
    for (a, b), (c, d) in zip(forth, back, strict=True):
        assert a.array.tobytes() == c.array.tobytes()
        assert a.grid == c.grid
        assert b == d
    assert forth[0][0].array.tobytes() != forth[1][0].array.tobytes()
    assert not np.array_equal(phantom(4, 0, spec)[1].points, forth[0][1].points)


@pytest.mark.parametrize(("ndim", "landmarks"), [(2, 3), (2, 2000), (3, 3), (3, 2000)])
def test_without_cuts_all_landmarks_are_in_the_image(ndim, landmarks):
    spec = PhantomSpec(ndim=ndim, landmarks=landmarks, shape=(20, 26) if ndim == 2 else (16, 20, 18))
    for index in range(12):
        image, truth = phantom(1, index, spec)
        assert len(truth) == landmarks
        assert truth.present.all()
        assert image.grid.contains(truth.points).all()
    assert len(np.unique(np.round(truth.points, 6), axis=0)) == landmarks


@pytest.mark.parametrize("ndim", [2, 3])
def test_a_cut_makes_landmarks_absent_and_keeps_half(ndim):
    spec = PhantomSpec(ndim=ndim, landmarks=20, absent=1.0, shape=(40, 52) if ndim == 2 else (20, 28, 24))
    absent = []
    for index in range(25):
        image, truth = phantom(0, index, spec)
        assert sorted(image.grid.shape) != sorted(spec.shape)
        assert truth.present.mean() >= 0.5
        assert image.grid.contains(truth.points[truth.present]).all()
        absent.append((truth.states == State.ABSENT).mean())
    assert 0.05 < np.mean(absent) < 0.45


def test_landmarks_that_nobody_looked_at():
    spec = PhantomSpec(landmarks=200, not_annotated=0.3, shape=(32, 40))
    states = np.concatenate([phantom(0, k, spec)[1].states for k in range(10)])
    assert 0.25 < (states == State.NOT_ANNOTATED).mean() < 0.35


def test_3d_sides_and_geometry():
    spec = PhantomSpec(ndim=3, landmarks=14, shape=(20, 28, 24))
    assert len(spec.pairs) == 4
    assert len(spec.names) == 14
    turned = set()
    for index in range(16):
        image, truth = phantom(2, index, spec)
        for left, right in spec.pairs:
            assert truth[left][0] - truth[right][0] > 5, "left is +x in LPS, whatever the image's axes"
        turned.add(image.grid.canonical_axes())
    assert len(turned) > 4, "axes are exchanged and flipped in some cases"


@pytest.mark.parametrize("seed", range(4))
def test_left_and_right_look_different(seed):
    box = (140.0, 150.0, 160.0)
    anatomy = draw_anatomy(seed, box, 12, 96)
    side = np.array([0.42, -0.1, 0.15]) + np.random.default_rng(0).uniform(-0.1, 0.1, size=(500, 3))
    left, right = (anatomy.sample(side * [sign, 1, 1] * np.array(box) / 2) for sign in (1, -1))
    assert left.mean() - right.mean() > 0.1


def test_wishes_that_cannot_be_met():
    for wrong in (
        {"ndim": 4},
        {"landmarks": 2},
        {"landmarks": 2001},
        {"absent": 2.0},
        {"shape": (8, 100)},
        {"ndim": 3, "shape": (40, 40)},
        {"spacing": (1.0, 0.0)},
    ):
        with pytest.raises(SettingsError) as caught:
            PhantomSpec(**wrong)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("ndim", [2, 3])
def test_a_written_set_reads_back_exactly(tmp_path, ndim):
    from anatomark.data.description import load_dataset

    shape = (32, 40) if ndim == 2 else (16, 20, 18)
    path = make_phantoms(tmp_path / "set", ndim=ndim, cases=10, landmarks=6, seed=5, not_annotated=0.1, shape=shape)
    dataset = load_dataset(path)
    spec = PhantomSpec(ndim=ndim, landmarks=6, absent=0.4, not_annotated=0.1, shape=shape)
    assert dataset.names == spec.names
    assert dataset.pairs == spec.pairs
    assert [len(dataset.split(s)) for s in ("train", "val", "test")] == [6, 2, 2]
    for index, case in enumerate(dataset.cases):
        image, truth = phantom(5, index, spec)
        read = case.read_image()
        assert np.array_equal(read.array, image.array)
        assert read.grid.same_as(image.grid, 1e-4)
        assert np.array_equal(case.reference.states, truth.states)
        assert case.reference.unit == "mm"
        np.testing.assert_allclose(case.reference.points, truth.points, rtol=0, atol=1e-9)


def test_a_folder_with_another_set_is_left_alone(tmp_path):
    make_phantoms(tmp_path, cases=3, shape=(16, 20))
    before = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    make_phantoms(tmp_path, cases=3, shape=(16, 20))
    assert before == {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    with pytest.raises(OutputError, match="empty folder"):
        make_phantoms(tmp_path, cases=2, shape=(16, 20))
    with pytest.raises(AnatomarkError):
        make_phantoms(tmp_path / "none", cases=0)

import numpy as np
import pytest

from anatomark.core.grid import Grid
from anatomark.core.image import Image
from anatomark.core.landmarks import Landmarks, State
from anatomark.data.phantoms import PhantomSpec, phantom
from anatomark.errors import FrameError, RegistrationError, SettingsError
from anatomark.registration.transfer import transfer_landmarks


@pytest.fixture(scope="module", params=[2, 3], ids=["2D", "3D"])
def pair(request):
    """A template, an image, and the landmarks of both: the truth."""
    shape, spacing = ((100, 120), (1.7, 1.9)) if request.param == 2 else ((24, 34, 28), (4.8, 4.4, 5.6))
    spec = PhantomSpec(ndim=request.param, landmarks=80, shape=shape, spacing=spacing)
    (template, here), (image, there) = (phantom(3, k, spec) for k in (0, 1))
    return template, here, image, there


def test_landmarks_are_carried_with_their_states(pair):
    template, here, image, there = pair
    states = here.states.copy()
    states[3], states[7] = State.ABSENT, State.NOT_ANNOTATED
    given = Landmarks(here.names, here.points, states)
    result = transfer_landmarks(template, given, image, backend="simpleitk")
    assert result.landmarks.names == here.names
    assert result.landmarks.states[[3, 7]].tolist() == [State.NOT_ANNOTATED] * 2
    assert np.isnan(result.inconsistency[[3, 7]]).all()
    kept = result.landmarks.present
    assert result.kept == kept.sum() > 0.9 * 78
    assert result.kept + result.inconsistent + result.unlike + result.outside == 78
    error = np.linalg.norm(result.landmarks.points - there.points, axis=1)[kept]
    assert error.mean() < 0.3 * max(template.grid.spacing)
    assert (result.inconsistency[kept] <= result.tolerance).all()
    assert result.tolerance == pytest.approx(2 * min(template.grid.spacing), rel=0.1)
    assert result.summary.startswith(f"kept {result.kept} of 80 ")


@pytest.mark.parametrize(("pair", "what"), [(2, "noise"), (2, "one value")], indirect=["pair"])
def test_where_the_image_is_destroyed_nothing_is_annotated(pair, what):
    template, here, image, there = pair
    block = tuple(slice(int(0.35 * n), int(0.75 * n)) for n in image.grid.shape)
    array = image.array.astype(np.float32)
    if what == "noise":
        array[block] = np.random.default_rng(0).choice(array.ravel(), size=array[block].shape)
    else:
        array[block] = np.median(array)
    result = transfer_landmarks(template, here, Image(array, image.grid), backend="simpleitk")
    index = image.grid.world_to_index(there.points)
    low, high = (np.array([getattr(side, end) for side in block]) for end in ("start", "stop"))
    deep = ((index > low + 4) & (index < high - 4)).all(axis=1)
    far = ((index < low - 4) | (index > high + 4)).any(axis=1)
    assert deep.sum() > 4
    assert result.landmarks.present[deep].mean() < 0.15
    assert result.landmarks.present[far].mean() > 0.85
    assert result.unlike + result.inconsistent >= 0.85 * deep.sum()


@pytest.mark.parametrize("pair", [2], indirect=True)
def test_points_beyond_the_image_are_not_annotated(pair):
    template, here, image, there = pair
    shape = (*image.grid.shape[:-1], int(0.7 * image.grid.shape[-1]))
    part = Image(image.array[..., : shape[-1]], image.grid.crop((0,) * len(shape), shape))
    result = transfer_landmarks(template, here, part, backend="simpleitk")
    index = image.grid.world_to_index(there.points)[:, -1]
    beyond = index > shape[-1] + 1
    assert beyond.sum() > 5
    assert not result.landmarks.present[beyond].any()
    assert result.landmarks.present[index < shape[-1] - 4].mean() > 0.8
    assert part.grid.contains(result.landmarks.points[result.landmarks.present]).all()


@pytest.mark.parametrize("pair", [2], indirect=True)
def test_a_tolerance_of_ones_own(pair):
    template, here, image, _ = pair
    wide, narrow = (
        transfer_landmarks(template, here, image, backend="simpleitk", tolerance=t * min(template.grid.spacing))
        for t in (10.0, 0.02)
    )
    assert wide.inconsistent == 0
    assert narrow.inconsistent > 0.5 * len(here)
    assert narrow.kept < wide.kept
    assert (narrow.inconsistency[narrow.landmarks.present] <= narrow.tolerance).all()


def test_landmarks_that_are_not_the_templates(pair):
    template, here, image, _ = pair
    d = template.grid.ndim
    away = here.with_points(here.points + 1000.0)
    with pytest.raises(FrameError, match=rf"outside of the template \({here.names[0]}, .* and 77 more"):
        transfer_landmarks(template, away, image)
    with pytest.raises(FrameError, match=f"{5 - d}D in mm, the template is {d}D"):
        transfer_landmarks(template, Landmarks.from_points(["a"], np.zeros((1, 5 - d))), image)
    with pytest.raises(FrameError, match="no present point"):
        transfer_landmarks(template, Landmarks.from_points(["a"], np.full((1, d), np.nan)), image)
    with pytest.raises(SettingsError, match="tolerance"):
        transfer_landmarks(template, here, image, tolerance=-1.0)


def test_an_image_of_something_else():
    spec = PhantomSpec(ndim=2, shape=(80, 90), spacing=(1.5, 1.5))
    template, here = phantom(3, 0, spec)
    noise = Image(np.random.default_rng(0).normal(size=(64, 64)), Grid.from_geometry((64, 64), spacing=(2.0, 2.0)))
    with pytest.raises(RegistrationError):
        transfer_landmarks(template, here, noise, backend="simpleitk")

"""The plan for images of every kind: what the data decide, and what they must leave alone."""

import math
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from anatomark.core.grid import Grid, Unit
from anatomark.errors import SettingsError
from anatomark.methods.global_to_local.config import GlobalToLocalNetwork, GlobalToLocalTraining
from anatomark.methods.global_to_local.plan import GlobalToLocalPlan, largest_window, plan, size_local
from anatomark.methods.global_to_local.settings import GlobalToLocalSettings, noothout2020
from anatomark.methods.interface import DataFacts

GIB = 2**30


def facts(
    shape: tuple[int, ...],
    spacing: tuple[float, ...],
    *,
    unit: Unit = "mm",
    landmarks: int = 19,
    memory_gib: float = 16,
    pairs: bool = False,
) -> DataFacts:
    """`shape` and `spacing` both in array-axis order."""
    grid = Grid.from_geometry(shape, spacing=spacing[::-1], unit=unit)
    return DataFacts((grid,) * 5, landmarks, pairs, memory_gib * GIB)


KINDS = {
    "X-ray": facts((960, 774), (0.25, 0.25)),
    "CT": facts((300, 512, 512), (1.0, 0.5, 0.5)),
    "thick-slice MR": facts((24, 512, 512), (5.0, 0.5, 0.5)),
    "photo": facts((2000, 3000), (1.0, 1.0), unit="px"),
    "tiny 2D": facts((20, 24), (1.0, 1.0)),
    "tiny 3D": facts((9, 12, 10), (2.0, 2.0, 2.0)),
    "one slice": facts((1, 256, 256), (5.0, 1.0, 1.0)),
    "many landmarks": facts((186, 152, 144), (1.0, 1.0, 1.0), landmarks=1200),
}


def plan_of(kind: str, *, on_gpu: bool = False, **settings: Any) -> GlobalToLocalPlan:
    return plan(GlobalToLocalSettings(**settings), replace(KINDS[kind], on_gpu=on_gpu))


def whole(plan: GlobalToLocalPlan) -> SimpleNamespace:
    """The values of network and training under their names."""
    return SimpleNamespace(**(dict(plan.network) | dict(plan.training)))


def planned(kind: str, *, on_gpu: bool = False, **settings: Any) -> SimpleNamespace:
    return whole(plan_of(kind, on_gpu=on_gpu, **settings))


def stride_of(settings: SimpleNamespace) -> int:
    return 2 * 2 ** sum(settings.global_downsample)


@pytest.mark.parametrize("on_gpu", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_a_plan_is_whole_and_its_numbers_agree(kind: str, on_gpu: bool) -> None:
    given = KINDS[kind]
    complete = plan_of(kind, on_gpu=on_gpu)
    settings = whole(complete)
    d = given.grids[0].ndim
    assert set(complete.undecided) == {"local_window", "window_jitter", "local_class_weight"}, "await the global stage"
    assert {name for name, value in vars(settings).items() if value is None} <= {"template", "minutes"}
    assert settings.local_window == largest_window(d), "until then, the most that may come"
    assert len(settings.spacing) == len(settings.pool) == len(settings.global_crop) == d
    assert all(n % stride_of(settings) == 0 and n > 0 for n in settings.global_crop)
    assert all(s >= native - 1e-9 for s, native in zip(settings.spacing, given.grids[0].spacing, strict=True)), (
        "nothing is gained by voxels finer than the image's own"
    )
    assert settings.global_batch >= 1
    assert 1 <= settings.local_landmarks_per_step <= given.landmarks
    # a settings.json holds it, for a run that is resumed
    assert GlobalToLocalNetwork.model_validate_json(complete.network.model_dump_json()) == complete.network
    assert GlobalToLocalTraining.model_validate_json(complete.training.model_dump_json()) == complete.training


def test_an_x_ray() -> None:
    settings = planned("X-ray")
    assert settings.spacing == pytest.approx((240 / 512,) * 2)
    assert settings.pool == (2, 2)
    assert settings.global_crop == (256, 208), "the whole image: 960 x 774 pixels of 0.25 mm at 0.94 mm"
    finer = planned("X-ray", on_gpu=True)
    assert finer.spacing == pytest.approx((0.25, 0.25)), "a GPU works at the image's own resolution"


def test_a_ct() -> None:
    settings = planned("CT")
    assert settings.spacing == pytest.approx((300 / 160,) * 3)
    coarse = np.multiply(settings.spacing, settings.pool)
    assert ((coarse > 3) & (coarse < 5)).all()
    covered = np.multiply(settings.global_crop, coarse)
    assert (covered >= [300, 256, 256]).all(), "one crop looks over the whole volume"


def test_thick_slices_stay_apart() -> None:
    complete = plan_of("thick-slice MR")
    settings = whole(complete)
    assert settings.spacing[0] == pytest.approx(5.0)
    assert settings.spacing[1:] == pytest.approx((1.6, 1.6))
    assert settings.pool == (1, 2, 2), "slices are not averaged"
    finished = size_local(complete, [3.0] * 50).network
    lengths = np.multiply(finished.local_window, settings.spacing)
    assert lengths.max() < 2 * lengths.min(), "a window spans about the same length along each axis"


def test_photos_without_spacing_are_planned_in_px() -> None:
    settings = planned("photo")
    assert settings.spacing == pytest.approx((3000 / 512,) * 2)
    assert settings.global_crop == (176, 256)


def test_mixed_sizes_are_planned_by_the_usual_one() -> None:
    usual = KINDS["X-ray"].grids[0]
    odd = Grid.from_geometry((4000, 4000), spacing=(0.05, 0.05))
    mixed = DataFacts((usual,) * 9 + (odd,), 19, False, 16 * GIB)
    assert whole(plan(GlobalToLocalSettings(), mixed)) == planned("X-ray")


def test_pairs_bring_mirrored_images() -> None:
    with_pairs = facts((960, 774), (0.25, 0.25), pairs=True)
    assert plan(GlobalToLocalSettings(), with_pairs).training.mirror is True
    assert plan(GlobalToLocalSettings(mirror=False), with_pairs).training.mirror is False
    assert planned("X-ray").mirror is False


def test_many_landmarks_share_a_local_network() -> None:
    """A step then costs the same for any number of them."""
    grids = facts((774, 960), (1.0, 1.0)).grids
    per_step = {}
    for landmarks in (19, 49, 50, 1200):
        settings = whole(plan(GlobalToLocalSettings(), DataFacts(grids, landmarks, False, 16 * GIB)))
        assert settings.local_shared == (landmarks >= 50)
        per_step[landmarks] = settings.local_landmarks_per_step
    assert per_step[50] == per_step[1200] < 50
    assert per_step[49] == 49
    assert whole(plan(GlobalToLocalSettings(local_shared=True), DataFacts(grids, 19, False, 16 * GIB))).local_shared


def test_little_memory_makes_smaller_batches_and_then_an_error() -> None:
    plenty = facts((300, 512, 512), (1, 0.5, 0.5), memory_gib=64)
    batches, landmarks = [], []
    for memory in (64, 16, 8, 4, 2, 1.2, 0.6):
        given = DataFacts(plenty.grids, 200, False, memory * GIB)
        settings = whole(plan(GlobalToLocalSettings(local_shared=False), given))
        batches.append(settings.global_batch)
        landmarks.append(settings.local_landmarks_per_step)
    with pytest.raises(SettingsError, match=r"needs about .* GiB, .* set a smaller global_crop or global_channels"):
        plan(GlobalToLocalSettings(), DataFacts(plenty.grids, 200, False, 0.05 * GIB))
    assert batches == sorted(batches, reverse=True)
    assert batches[0] == 2
    assert batches[-1] == 1
    assert landmarks == sorted(landmarks, reverse=True)
    assert landmarks[0] == 200
    assert landmarks[-1] < 200


def test_a_window_too_large_for_memory_names_its_setting() -> None:
    given = facts((960, 774), (0.25, 0.25), memory_gib=1)
    with pytest.raises(SettingsError, match=r"set a smaller local_window or local_landmarks_per_step"):
        plan(GlobalToLocalSettings(local_window=(512, 512), local_landmarks_per_step=19), given)


USER: dict[str, Any] = {
    "spacing": (0.7, 0.3),
    "pool": (3, 1),
    "global_downsample": (True, False, False, False),
    "global_crop": (64, 128),
    "global_batch": 3,
    "global_steps": 7,
    "global_class_weight": 5.5,
    "local_channels": ((4, 4), (8,)),
    "local_window": (20, 44),
    "window_jitter": 0.0,
    "local_batch": 9,
    "local_landmarks_per_step": 30,
    "local_steps": 11,
    "local_class_weight": 2.5,
    "mirror": True,
}


@pytest.mark.parametrize("on_gpu", [False, True])
def test_what_the_user_set_is_never_changed(on_gpu: bool) -> None:
    settings = whole(size_local(plan_of("X-ray", on_gpu=on_gpu, **USER), [50.0] * 9))
    assert {name: getattr(settings, name) for name in USER} == USER
    for name, value in USER.items():  # also one at a time
        if name == "global_downsample":
            continue  # the planned crop follows it
        alone = whole(size_local(plan_of("X-ray", on_gpu=on_gpu, **{name: value}), [50.0] * 9))
        assert getattr(alone, name) == value


@pytest.mark.parametrize("downsample", [(False,) * 4, (True, False, False, False), (True,) * 4])
def test_the_crop_follows_the_stride(downsample: tuple[bool, ...]) -> None:
    settings = planned("X-ray", global_downsample=downsample)
    assert all(n % stride_of(settings) == 0 for n in settings.global_crop)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"spacing": (1.0,)}, "spacing has 1 entries, the images have 2 axes"),
        ({"global_crop": (64, 64, 64)}, "global_crop has 3 entries"),
        ({"local_window": (64, 64, 64)}, "local_window has 3 entries"),
        ({"global_channels": (8, 16)}, "need one entry for each stage"),
        ({"global_crop": (64, 65)}, "must be multiples of 8"),
        ({"local_window": (64, 66)}, "local_window .* must be multiples of 4"),
        ({"local_channels": ()}, "local_channels"),
        ({"local_channels": ((8,), ())}, "local_channels"),
    ],
)
def test_what_does_not_fit_is_named(wrong: dict[str, Any], words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        planned("X-ray", **wrong)


def test_all_that_does_not_fit_is_named_at_once() -> None:
    with pytest.raises(SettingsError, match=r"spacing has 1 .*; pool has 3 .*global_blocks"):
        planned("X-ray", spacing=(1.0,), pool=(1, 1, 1), global_blocks=(1, 1))


# --- the local stage ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_the_window_grows_with_the_global_error_up_to_a_cap(kind: str) -> None:
    complete = plan_of(kind)
    settings = whole(complete)
    d = KINDS[kind].grids[0].ndim
    finest, stride = min(settings.spacing), 2 ** (len(settings.local_channels) - 1)
    rng = np.random.default_rng(1)
    shares = np.abs(rng.normal(size=400))
    windows, jitters = [], []
    for scale in (0.01, 1, 3, 8, 20, 100, 10_000):
        finished = whole(size_local(complete, (shares * scale * finest).tolist()))
        assert all(n % stride == 0 and n >= 2 * stride for n in finished.local_window)
        lengths = np.multiply(finished.local_window, settings.spacing)
        assert (lengths <= max(largest_window(d)) * finest + 2 * stride * np.asarray(settings.spacing)).all()
        windows.append(finished.local_window)
        jitters.append(finished.window_jitter)
    assert windows == sorted(windows)
    assert windows[0] != windows[-1]
    assert windows[-1] == windows[-2], "capped"
    assert jitters == sorted(jitters)
    assert jitters[0] == pytest.approx(finest), "never below an element"


def test_the_window_holds_the_errors_of_the_global_stage() -> None:
    complete = plan_of("X-ray")
    settings = whole(complete)
    errors = np.linspace(0, 15, 200)
    finished = whole(size_local(complete, errors.tolist()))
    stride = 2 ** (len(finished.local_channels) - 1)
    assert finished.local_class_weight == pytest.approx(0.1 * math.prod(n // stride for n in finished.local_window))
    half = min(np.multiply(finished.local_window, settings.spacing)) / 2
    assert half > np.percentile(errors, 98)


@pytest.mark.parametrize("errors", [[], [float("nan")] * 4])
def test_without_an_error_to_go_by_there_is_a_window_all_the_same(errors: list[float]) -> None:
    finished = whole(size_local(plan_of("CT"), errors))
    assert finished.window_jitter > 0


# --- the published settings -----------------------------------------------------------------------------------------


def test_the_preset_holds_the_papers_numbers_for_x_rays() -> None:
    given = facts((2400, 1935), (0.1, 0.1))
    settings = whole(plan(GlobalToLocalSettings(**noothout2020(2)), replace(given, on_gpu=True)))
    assert settings.spacing == (0.1, 0.1)
    assert settings.pool == (1, 1), "both stages at one resolution"
    assert settings.global_crop == (992, 992)
    assert stride_of(settings) == 32
    assert settings.global_class_weight == 20


def test_the_preset_holds_the_papers_numbers_for_volumes() -> None:
    given = facts((300, 512, 512), (0.5, 0.4, 0.4), landmarks=8)
    settings = whole(plan(GlobalToLocalSettings(**noothout2020(3)), replace(given, on_gpu=True)))
    assert settings.spacing == (1.5, 1.5, 1.5)
    assert settings.global_crop == (72, 72, 72)
    assert stride_of(settings) == 8
    assert settings.global_class_weight == 8


@pytest.mark.parametrize("ndim", [2, 3])
def test_the_preset_holds_the_papers_networks_and_training(ndim: int) -> None:
    grid = KINDS["X-ray" if ndim == 2 else "CT"].grids[0]
    settings = whole(plan(GlobalToLocalSettings(**noothout2020(ndim)), DataFacts((grid,), 8, True, 64 * GIB)))
    assert settings.global_stem == 16
    assert settings.global_blocks == (3, 4, 6, 3)
    assert settings.global_channels == (32, 64, 128, 256)
    assert settings.global_head == 256
    assert settings.global_batch == 4
    assert settings.global_steps == 300_000
    assert settings.global_learning_rate == 1e-3
    assert settings.amsgrad
    assert settings.weight_decay == 0
    assert settings.local_channels == ((32, 32, 32, 32), (64, 64))
    assert settings.local_head == 64
    assert settings.local_window == (16,) * ndim
    assert settings.uniform_window_fraction == 1, "the landmark lies anywhere in the window"
    assert settings.local_class_weight == 1, "equal weights"
    assert settings.local_learning_rate == 1e-3
    assert settings.local_schedule == "warm-restarts"
    assert settings.local_steps == 310_000
    changes = ("rotation_degrees", "scale", "shear", "elastic", "elastic_fine", "gain", "shift", "gamma", "noise")
    assert all(getattr(settings, name) == 0 for name in changes), "no augmentation"
    assert settings.mirror is False
    assert settings.coordinate_weight == 0
    assert not settings.class_prior
    assert settings.ema == 0

"""What may be asked of a training: names, descriptions, earlier names, levels of augmentation, lengths."""

from pathlib import Path
from typing import Any

import pytest

from anatomark.core.grid import Grid
from anatomark.errors import SettingsError
from anatomark.methods import METHODS, detector_class
from anatomark.methods.interface import DataFacts
from anatomark.methods.settings import STRENGTHS
from anatomark.methods.settings_page import USER_SETTINGS, settings_page
from anatomark.training.request import resolve_settings

DOCS = Path(__file__).parents[2] / "docs" / "settings.md"
STEPPED = ("global-to-local", "two-stage", "heatmap")


def plan(method: str, **settings: Any) -> Any:
    kind = detector_class(method)
    grid = Grid.from_geometry((160, 208), spacing=(1.0, 1.2))
    return kind.plan(resolve_settings(kind, 2, None, settings), DataFacts((grid,) * 40, 5, True, 2**34))


def test_the_page_of_settings_is_made_from_the_settings() -> None:
    assert DOCS.read_text(encoding="utf-8") == settings_page(), (
        "python -m anatomark.methods.settings_page > docs/settings.md"
    )


def test_users_have_at_most_twenty_settings_and_each_is_described() -> None:
    assert len(USER_SETTINGS) <= 20
    fields = {
        name: info for method in METHODS for name, info in detector_class(method).settings_type.model_fields.items()
    }
    assert set(USER_SETTINGS) <= fields.keys()
    assert not [name for name, info in fields.items() if not info.description]


@pytest.mark.parametrize("method", METHODS)
def test_earlier_names_mean_the_same(method: str) -> None:
    kind = detector_class(method)
    for old, new in kind.settings_type.earlier_names.items():
        value = {"look": True, "refine": True}.get(old, "7")
        with pytest.raises(SettingsError, match=f"{old} and {new} are two names of one setting"):
            resolve_settings(kind, 2, None, {old: value, new: value})
        assert new in kind.settings_type.model_fields
        assert old not in kind.settings_type.model_fields
    if method == "global-to-local":
        now = resolve_settings(kind, 2, "noothout2020", {"uniform_window_fraction": 0.5})
        with pytest.warns(FutureWarning, match="setting local_uniform is called uniform_window_fraction now"):
            assert resolve_settings(kind, 2, "noothout2020", {"local_uniform": 0.5}) == now


@pytest.mark.parametrize("method", METHODS)
def test_a_setting_that_is_fixed_now_is_refused_in_one_line_that_says_so(method: str) -> None:
    kind = detector_class(method)
    for name, value in kind.settings_type.fixed.items():
        assert name not in kind.settings_type.model_fields
        assert name not in kind.settings_type.earlier_names
        with pytest.raises(SettingsError) as refused:
            resolve_settings(kind, 2, None, {name: 0.1})
        assert str(refused.value) == f"{name} is fixed now, at {value}; leave it out"
    if method == "two-stage":
        with pytest.raises(
            SettingsError, match=r"shear is fixed now, at .*, class_weight is fixed now, at 0.3; leave them out"
        ):
            resolve_settings(kind, 2, None, {"shear": 0.1, "class_weight": 1})


@pytest.mark.parametrize("method", STEPPED)
def test_augmentation_has_levels_and_single_strengths_win(method: str) -> None:
    none, default, strong = (plan(method, augmentation=level).training for level in ("none", "default", "strong"))
    for name in STRENGTHS["none"]:
        assert getattr(none, name) == 0
        assert getattr(strong, name) > 0
        assert getattr(strong, name) >= getattr(default, name)
    assert (none.mirror, default.mirror) == (False, True)
    one = plan(method, augmentation="none", rotation_degrees=5.0, mirror=True).training
    assert (one.rotation_degrees, one.scale, one.mirror) == (5.0, 0.0, True)
    assert plan(method).training == default


@pytest.mark.parametrize("method", STEPPED)
def test_epochs_are_shared_over_the_stages(method: str) -> None:
    def examples(training: Any) -> float:
        stages = {
            "global-to-local": (("global_steps", "global_batch"), ("local_steps", "local_batch")),
            "two-stage": (
                ("stage1_steps", "stage1_batch"), ("frozen_steps", "stage2_batch"), ("stage2_steps", "stage2_batch")
            ),
            "heatmap": (("steps", "batch"),),
        }[method]  # fmt: skip
        return sum(getattr(training, steps) * getattr(training, batch) for steps, batch in stages)

    assert examples(plan(method, epochs=100).training) == pytest.approx(100 * 40, rel=0.02)
    assert examples(plan(method, epochs=200).training) == pytest.approx(200 * 40, rel=0.02)


def test_two_lengths_or_a_length_without_steps_are_refused() -> None:
    with pytest.raises(SettingsError, match="minutes and epochs both say how long to train"):
        plan("heatmap", minutes=3, epochs=4)
    with pytest.raises(SettingsError, match="atlas looks at each training case once"):
        plan("atlas", minutes=3)

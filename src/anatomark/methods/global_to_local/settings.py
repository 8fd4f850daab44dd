"""Every value of a global-to-local training. `None` means that the plan fills it in from the data.

The preset `noothout2020` holds what Noothout et al. (IEEE TMI 2020, arXiv 2007.05295) state, marked [paper]; everything
else is this project's choice.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt

from anatomark.methods.interface import AugmentedSettings, Schedule


class GlobalToLocalSettings(AugmentedSettings):
    """Flat and complete: what a run used is what its `settings.json` says. Lengths per axis are in array-axis order."""

    memory_settings: ClassVar[Mapping[str, Sequence[str]]] = {
        "global": ("global_batch", "global_crop", "global_channels"),
        "local": ("local_landmarks_per_step", "local_batch", "local_window", "local_channels"),
    }

    # the global network
    global_stem: PositiveInt = 16
    global_blocks: tuple[PositiveInt, ...] = (3, 4, 6, 3)
    global_channels: tuple[PositiveInt, ...] = (32, 64, 128, 256)
    global_downsample: tuple[bool, ...] | None = None
    global_head: PositiveInt = 256
    global_crop: tuple[PositiveInt, ...] | None = None
    global_batch: PositiveInt | None = None
    global_steps: PositiveInt | None = None
    global_learning_rate: PositiveFloat = 1e-3
    global_class_weight: PositiveFloat | None = Field(
        None, description="weight of the cross-entropy (mean over patches)"
    )
    global_schedule: Schedule = "cosine"

    # the local networks
    local: bool = Field(True, description="false: the global stage alone")
    local_channels: tuple[tuple[PositiveInt, ...], ...] | None = None
    local_head: PositiveInt = 64
    local_norm: bool = Field(True, description="batch normalisation in the local networks")
    local_window: tuple[PositiveInt, ...] | None = Field(None, description="elements; None: from the global error")
    local_jitter: NonNegativeFloat | None = Field(None, description="s.d. of window centres in training, world units")
    local_uniform: float = Field(0.15, ge=0, le=1, description="share of windows with the landmark anywhere inside")
    local_batch: PositiveInt | None = None
    local_landmarks_per_step: PositiveInt | None = Field(None, description="all, or fewer where memory is short")
    local_steps: PositiveInt | None = None
    local_learning_rate: PositiveFloat = 2e-3
    local_class_weight: PositiveFloat | None = None
    local_schedule: Schedule = "cosine"

    # both
    coordinate_weight: NonNegativeFloat = Field(1.0, description="weight of the error of the combined coordinate")
    class_prior: bool = Field(True, description="start the classifiers at one positive patch in all")

    def bounds(self, ndim: int) -> tuple[GlobalToLocalSettings, GlobalToLocalSettings]:
        """With the smallest and the largest local window that the global stage's errors may ask for."""
        from anatomark.methods.global_to_local.plan import plan_local

        nowhere = 1e9  # an error, in world units, beyond any image
        return plan_local(self, [0.0], ndim=ndim), plan_local(self, [nowhere], ndim=ndim)


def noothout2020(ndim: int) -> dict[str, Any]:
    """[paper] The published settings: cephalometric X-rays in 2D, coronary CT angiography in 3D."""
    flat = ndim == 2
    return {
        "spacing": (0.1, 0.1) if flat else (1.5, 1.5, 1.5),
        "pool": (1,) * ndim,
        "global_downsample": (True, True, True, True) if flat else (True, True, False, False),
        "global_crop": (992, 992) if flat else (72, 72, 72),
        "global_batch": 4,
        "global_steps": 300_000,
        "global_learning_rate": 1e-3,
        "global_class_weight": 20.0 if flat else 8.0,
        "global_schedule": "constant",
        "local_channels": ((32, 32, 32, 32), (64, 64)),
        "local_norm": False,
        "local_window": (16,) * ndim,
        "local_uniform": 1.0,
        "local_batch": 4,
        "local_steps": 310_000,
        "local_learning_rate": 1e-3,
        "local_class_weight": 1.0,
        "local_schedule": "warm-restarts",
        "coordinate_weight": 0.0,
        "class_prior": False,
        "mirror": False,
        "rotation_degrees": 0.0,
        "scale": 0.0,
        "shear": 0.0,
        "elastic": 0.0,
        "gain": 0.0,
        "shift": 0.0,
        "gamma": 0.0,
        "noise": 0.0,
        "amsgrad": True,
        "weight_decay": 0.0,
        "gradient_clip": 0.0,
        "ema": 0.0,
        "patience": 1_000_000,
    }


PRESETS = {"noothout2020": noothout2020}

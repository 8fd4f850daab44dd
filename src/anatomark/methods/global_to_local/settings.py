"""What may be asked of a global-to-local training.

The preset `noothout2020` holds what Noothout et al. (IEEE TMI 2020, arXiv 2007.05295) state, marked [paper]; everything
else is this project's choice.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt

from anatomark.methods.settings import AugmentedSettings, Channels, Schedule, Size, unit


class GlobalToLocalSettings(AugmentedSettings):
    """`None` is decided by the plan."""

    earlier_names: ClassVar[Mapping[str, str]] = {
        "local_jitter": "window_jitter",
        "local_uniform": "uniform_window_fraction",
        **AugmentedSettings.earlier_names,
    }

    # the global network
    global_stem: PositiveInt = Field(16, description="channels of the global network's first layer")
    global_blocks: Size = Field((3, 4, 6, 3), description="residual blocks of each of its stages")
    global_channels: Size = Field((32, 64, 128, 256), description="channels of each of its stages")
    global_downsample: tuple[bool, ...] | None = Field(None, description="the stages that begin by halving the grid")
    global_head: PositiveInt = Field(256, description="channels of its two heads")
    global_crop: Size | None = Field(
        None, description="size of its training crops", json_schema_extra=unit("elements of the coarse image")
    )
    global_batch: PositiveInt | None = Field(None, description="crops in a step")
    global_steps: PositiveInt | None = Field(
        None, description="length of the global stage", json_schema_extra=unit("steps")
    )
    global_learning_rate: PositiveFloat = Field(1e-3, description="peak learning rate of the global stage")
    global_class_weight: PositiveFloat | None = Field(
        None, description="weight of its cross-entropy (mean over patches)"
    )
    global_schedule: Schedule = Field("cosine", description="of the learning rate of the global stage")

    # the local networks
    local: bool = Field(True, description="refine each landmark by a local network; false: the global stage alone")
    local_channels: Channels | None = Field(None, description="channels of the local networks' convolutions, by level")
    local_head: PositiveInt = Field(64, description="channels of their heads")
    local_norm: bool = Field(True, description="batch normalisation in the local networks")
    local_shared: bool | None = Field(
        None, description="one local network that all landmarks share; without, where they are many"
    )
    local_window: Size | None = Field(
        None,
        description="size of their windows; without, from the errors of the global stage",
        json_schema_extra=unit("elements"),
    )
    window_jitter: NonNegativeFloat | None = Field(
        None,
        description="s.d. of the centres of training windows; without, from the errors of the global stage",
        json_schema_extra=unit("mm (or px)"),
    )
    uniform_window_fraction: float = Field(
        0.15, ge=0, le=1, description="part of the training windows with the landmark anywhere inside"
    )
    local_batch: PositiveInt | None = Field(None, description="images in a step of the local stage")
    local_landmarks_per_step: PositiveInt | None = Field(
        None, description="landmarks whose networks run at once: all, or fewer where memory is short"
    )
    local_steps: PositiveInt | None = Field(
        None, description="length of the local stage", json_schema_extra=unit("steps")
    )
    local_learning_rate: PositiveFloat = Field(2e-3, description="peak learning rate of the local stage")
    local_class_weight: PositiveFloat | None = Field(
        None, description="weight of its cross-entropy (mean over patches)"
    )
    local_schedule: Schedule = Field("cosine", description="of the learning rate of the local stage")

    # both
    coordinate_weight: NonNegativeFloat = Field(
        1.0, description="weight of the error of the posterior-weighted coordinate in the loss"
    )
    class_prior: bool = Field(True, description="start the classifiers at one positive patch in all")


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
        "local_shared": False,
        "local_window": (16,) * ndim,
        "uniform_window_fraction": 1.0,
        "local_batch": 4,
        "local_steps": 310_000,
        "local_learning_rate": 1e-3,
        "local_class_weight": 1.0,
        "local_schedule": "warm-restarts",
        "coordinate_weight": 0.0,
        "class_prior": False,
        "augmentation": "none",
        "amsgrad": True,
        "weight_decay": 0.0,
        "gradient_clip": 0.0,
        "ema": 0.0,
        "patience": 1_000_000,
    }


PRESETS = {"noothout2020": noothout2020}

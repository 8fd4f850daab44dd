"""What may be asked of a two-stage training.

The paper (Zhang, Liu, Shen, IEEE TIP 2017, doi 10.1109/TIP.2017.2721106) states the two stages and their roles; layers,
patch size, losses and optimiser could not be read and are this project's choice throughout, so there is no preset.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from anatomark.methods.settings import AugmentedSettings, Channels, Size, unit


class TwoStageSettings(AugmentedSettings):
    """`None` is decided by the plan. Lengths per axis are in array-axis order."""

    earlier_names: ClassVar[Mapping[str, str]] = {
        "say_weight": "attention_loss_weight",
        "look": "refine",
        "look_level": "refine_level",
        "look_window": "refine_window",
        "look_channels": "refine_channels",
        "near": "distance_decay",
        "image": "stage2_crop",
        "hidden": "head_channels",
        "rank": "joint_rank",
        "context": "dilations",
        **AugmentedSettings.earlier_names,
    }
    fixed: ClassVar[Mapping[str, str]] = {
        "landmark_crop_fraction": "a half",
        "near_landmarks": "a half",
        "distance_floor": "0.1 in 2D and 0.01 in 3D",
        "far_weight": "0.1 in 2D and 0.01 in 3D",
        "frozen_learning_rate": "0.005",
        "fixed_normalisation": "yes where a step has less than 4 images, else no",
        "class_weight": "0.3",
        "refine_jitter": "the distance between patches",
        "look_jitter": "the distance between patches",
        **AugmentedSettings.fixed,
    }

    # the network of patches
    channels: Channels | None = Field(
        None, description="channels of the unpadded convolutions, by level; patches lie 2^(levels - 1) elements apart"
    )
    dilations: Size | None = Field(
        None, description="dilations of further convolutions on the last level, for a larger patch"
    )
    head_channels: Size = Field((256,), description="channels of the 1x1 layers before the displacements")

    # stage 1: displacements from patches
    stage1_crop: Size | None = Field(
        None, description="size of the training crops of stage 1", json_schema_extra=unit("elements")
    )
    stage1_batch: PositiveInt | None = Field(None, description="crops in a step of stage 1")
    stage1_steps: PositiveInt | None = Field(None, description="length of stage 1", json_schema_extra=unit("steps"))
    stage1_learning_rate: PositiveFloat = Field(2e-3, description="peak learning rate of stage 1")
    distance_decay: PositiveFloat | None = Field(
        None,
        description="distance at which the weight of a patch's displacement has fallen to 1/e",
        json_schema_extra=unit("mm (or px)"),
    )

    # stage 2: all landmarks jointly
    stage2_crop: Size | None = Field(
        None,
        description="size of the images of stage 2 in training; without, whole ones up to a largest size",
        json_schema_extra=unit("elements"),
    )
    rounds: PositiveInt = Field(
        2, description="rounds of voting; each weighs patches by their distance from the points of the one before"
    )
    joint_rank: PositiveInt = Field(
        32, description="size of the bottleneck between the mean votes of all landmarks and their joint correction"
    )
    stage2_batch: PositiveInt | None = Field(None, description="images in a step of stage 2")
    frozen_steps: PositiveInt | None = Field(
        None,
        description="length of the part of stage 2 that trains the extra layers alone",
        json_schema_extra=unit("steps"),
    )
    stage2_steps: PositiveInt | None = Field(
        None, description="length of stage 2, end to end", json_schema_extra=unit("steps")
    )
    stage2_learning_rate: PositiveFloat = Field(2e-3, description="peak learning rate of stage 2, end to end")
    displacement_weight: NonNegativeFloat | None = Field(None, description="weight of the loss of stage 1 in stage 2")
    attention_loss_weight: NonNegativeFloat = Field(
        0.1, description="weight of the cross-entropy between the attention weights and the patches next to a landmark"
    )

    # the refinement, stage 2's last layers
    refine: bool | None = Field(
        None, description="refine each landmark in a window around it; without, for up to 100 landmarks"
    )
    refine_level: NonNegativeInt | None = Field(
        None, description="level of `channels` whose features the refinement sees; 0 is the finest"
    )
    refine_window: Size | None = Field(
        None, description="size of the windows of the refinement", json_schema_extra=unit("elements")
    )
    refine_channels: Channels | None = Field(
        None, description="channels of the convolutions of each landmark's refinement network, by level"
    )

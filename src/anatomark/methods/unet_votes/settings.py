"""What may be asked of a unet-votes training."""

from __future__ import annotations

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt

from anatomark.methods.settings import AugmentedSettings, Size, unit


class UNetVotesSettings(AugmentedSettings):
    """`None` is decided by the plan. Lengths per axis are in array-axis order."""

    channels: Size | None = Field(None, description="channels of each level of the U-Net, three levels or more")
    strides: tuple[Size, ...] | None = Field(
        None, description="strides of each level along each axis; the first are those of the fine patches"
    )
    coarse_level: PositiveInt | None = Field(None, description="the level that casts the global votes; the finest is 0")
    global_head: PositiveInt = Field(256, description="channels of the hidden layers before the global votes")
    local_head: PositiveInt = Field(64, description="channels of those before the local votes")
    local_window: Size | None = Field(
        None, description="size of the windows of the local votes", json_schema_extra=unit("elements")
    )
    uniform_window_fraction: float = Field(
        0.15, ge=0, le=1, description="part of the training windows with the landmark anywhere inside"
    )
    local_landmarks_per_step: PositiveInt | None = Field(
        None, description="landmarks whose windows are looked at in a step: all, or fewer where memory is short"
    )
    joint_choice: bool = Field(
        True,
        description="all landmarks choose together among the modes of their global votes, by the typical shape; "
        "without, each is looked for around the mean of its votes",
    )
    image_statistics: bool = Field(
        True,
        description="predictions normalise each image by its own statistics; without, by running averages of those of "
        "the training",
    )
    crop: Size | None = Field(
        None,
        description="size of the training crops; without, the whole image where memory holds it",
        json_schema_extra=unit("elements"),
    )
    batch: PositiveInt | None = Field(None, description="crops in a step")
    steps: PositiveInt | None = Field(None, description="length of the training", json_schema_extra=unit("steps"))
    learning_rate: PositiveFloat = Field(2e-3, description="peak learning rate")
    coordinate_weight: NonNegativeFloat = Field(
        1.0, description="weight of the error of the posterior-weighted coordinates in the loss"
    )

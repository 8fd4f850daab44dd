"""The complete network and training of unet-votes."""

from __future__ import annotations

import math
from typing import Self

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt, model_validator

from anatomark.methods.settings import CroppedTraining, Network, Size


class UNetVotesNetwork(Network):
    """The U-Net, its windows, and the size of the crops that it learned from."""

    channels: Size
    strides: tuple[Size, ...] = Field(min_length=2)
    coarse_level: PositiveInt
    global_head: PositiveInt
    local_head: PositiveInt
    local_window: Size
    crop: Size
    joint_choice: bool = False  # of models that were trained before there was one
    image_statistics: bool = False  # the same

    @property
    def answers(self) -> int:
        return 2

    @property
    def stride(self) -> Size:
        """(d,) elements of the image in a patch of the finest level, along each axis."""
        return self.strides[0]

    @property
    def window(self) -> Size:
        """(d,) patches of the finest level in a local window, along each axis."""
        return tuple(n // s for n, s in zip(self.local_window, self.stride, strict=True))

    @property
    def coarse_stride(self) -> Size:
        """(d,) the same of the level that casts the global votes."""
        return tuple(math.prod(along) for along in zip(*self.strides[: self.coarse_level + 1], strict=True))

    @model_validator(mode="after")
    def _agree(self) -> Self:
        if len(self.channels) != len(self.strides):
            raise ValueError(f"channels has {len(self.channels)} levels, strides {len(self.strides)}")
        if any(len(size) != self.ndim for size in (self.crop, self.local_window, *self.strides)):
            raise ValueError(f"crop, local_window or strides are not {self.ndim}D")
        if self.coarse_level >= len(self.strides):
            raise ValueError(f"coarse_level is {self.coarse_level}, there are {len(self.strides)} levels from 0 on")
        if any(n % s for n, s in zip(self.local_window, self.stride, strict=True)):
            raise ValueError(f"local_window {self.local_window} must be multiples of {self.stride}, the first strides")
        return self


class UNetVotesTraining(CroppedTraining):
    """How it learns."""

    uniform_window_fraction: float = Field(ge=0, le=1)
    local_landmarks_per_step: PositiveInt
    batch: PositiveInt
    steps: PositiveInt
    learning_rate: PositiveFloat
    coordinate_weight: NonNegativeFloat

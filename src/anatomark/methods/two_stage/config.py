"""The complete network and training of two-stage."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Self

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from anatomark.methods.settings import AugmentedTraining, Channels, Network, Size

# Settings of the network by what they were called in model.json of format 1.
FORMAT_1_NAMES = {
    "context": "dilations",
    "hidden": "head_channels",
    "rank": "joint_rank",
    "look": "refine",
    "look_level": "refine_level",
    "look_window": "refine_window",
    "look_channels": "refine_channels",
}


class TwoStageNetwork(Network):
    """Both networks; with `refine` false there is no refinement, and the other values of it mean nothing."""

    channels: Channels = Field(min_length=1)
    dilations: Size
    head_channels: Size
    rounds: PositiveInt
    joint_rank: PositiveInt
    refine: bool
    refine_level: NonNegativeInt
    refine_window: Size
    refine_channels: Channels = Field(min_length=1)

    @property
    def answers(self) -> int:
        return 2 if self.refine else 1

    @property
    def stride(self) -> int:
        """Elements along each axis from patch to patch."""
        return 2 ** (len(self.channels) - 1)

    @property
    def refine_stride(self) -> int:
        """Elements along each axis of a cell of the refinement."""
        return 2 ** (self.refine_level + len(self.refine_channels) - 1)

    @classmethod
    def from_format_1(cls, settings: Mapping[str, object], landmarks: int) -> Self:
        """The network of a model.json of format 1; see `Network.from_format_1`.

        Models were trained before there was a refinement: where none is mentioned, there is none.
        """
        renamed = {FORMAT_1_NAMES.get(name, name): value for name, value in settings.items()}
        if not renamed.get("refine"):
            none = {
                "refine": False,
                "refine_level": 0,
                "refine_window": renamed.get("pool"),
                "refine_channels": ((1,),),
            }
            renamed |= none
        return super().from_format_1(renamed, landmarks)

    @model_validator(mode="after")
    def _agree(self) -> Self:
        if not all(self.channels) or not all(self.refine_channels):
            raise ValueError("channels and refine_channels need at least one convolution in each level")
        if self.refine_level >= len(self.channels):
            raise ValueError(f"refine_level is {self.refine_level}, channels has {len(self.channels)} levels")
        if len(self.refine_window) != self.ndim:
            raise ValueError(f"refine_window is not {self.ndim}D")
        if any(n % self.refine_stride for n in self.refine_window):
            raise ValueError(f"refine_window is no multiple of {self.refine_stride}, a cell of refine_channels")
        return self


class TwoStageTraining(AugmentedTraining):
    """How both learn; lengths per axis in array-axis order."""

    stage1_crop: Size
    stage1_batch: PositiveInt
    stage1_steps: PositiveInt
    stage1_learning_rate: PositiveFloat
    distance_decay: PositiveFloat
    stage2_crop: Size
    stage2_batch: PositiveInt
    frozen_steps: PositiveInt
    stage2_steps: PositiveInt
    stage2_learning_rate: PositiveFloat
    displacement_weight: NonNegativeFloat
    attention_loss_weight: NonNegativeFloat

"""The complete network and training of global-to-local."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Self, cast

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt, model_validator

from anatomark.methods.settings import AugmentedTraining, Channels, Network, Schedule, Size


class GlobalToLocalNetwork(Network):
    """Both networks; `local` false is the global stage alone, whose local values then mean nothing."""

    global_stem: PositiveInt
    global_blocks: Size
    global_channels: Size
    global_downsample: tuple[bool, ...]
    global_head: PositiveInt
    local: bool
    local_channels: Channels = Field(min_length=1)
    local_head: PositiveInt
    local_norm: bool
    local_shared: bool = False
    local_window: Size
    local_landmarks_per_step: PositiveInt
    local_passes: PositiveInt = 1  # older models may look more than once, each time around the answer before

    @classmethod
    def from_format_1(cls, settings: Mapping[str, object], landmarks: int) -> Self:
        """As of every network; where there is no local stage, its window was never planned, and any will do."""
        pool = settings.get("pool")
        if settings.get("local") is False and settings.get("local_window") is None and isinstance(pool, list | tuple):
            settings = {**settings, "local_window": [1] * len(cast("list[object]", pool))}
        return super().from_format_1(settings, landmarks)

    @property
    def answers(self) -> int:
        return 2 if self.local else 1

    @property
    def global_stride(self) -> int:
        return 2 * 2 ** sum(self.global_downsample)

    @property
    def local_stride(self) -> int:
        return 2 ** (len(self.local_channels) - 1)

    @model_validator(mode="after")
    def _agree(self) -> GlobalToLocalNetwork:
        if len({len(self.global_blocks), len(self.global_channels), len(self.global_downsample)}) != 1:
            raise ValueError("global_blocks, global_channels and global_downsample differ in length")
        if len(self.local_window) != self.ndim:
            raise ValueError(f"local_window is not {self.ndim}D")
        return self


class GlobalToLocalTraining(AugmentedTraining):
    """How both learn."""

    global_crop: Size
    global_batch: PositiveInt
    global_steps: PositiveInt
    global_learning_rate: PositiveFloat
    global_class_weight: PositiveFloat
    global_schedule: Schedule
    window_jitter: NonNegativeFloat
    uniform_window_fraction: float = Field(ge=0, le=1)
    local_batch: PositiveInt
    local_steps: PositiveInt
    local_learning_rate: PositiveFloat
    local_class_weight: PositiveFloat
    local_schedule: Schedule
    coordinate_weight: NonNegativeFloat
    class_prior: bool

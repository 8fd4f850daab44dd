"""The complete network and training of heatmap."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Literal, Self

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from anatomark.methods.settings import CroppedTraining, Network, Size

HeatmapLoss = Literal["binary", "softmax"]

FORMAT_1_NAMES = {"window": "peak_window"}
SMALLEST_SIGMA = 0.7  # elements: a narrower Gaussian would not tell where between two elements it lies


class HeatmapNetwork(Network):
    """The U-Net, and how points are taken from its heatmaps; `sigma` is in world units."""

    channels: Size
    strides: tuple[Size, ...] = Field(min_length=1)
    crop: Size
    loss: HeatmapLoss
    sigma: PositiveFloat
    peak_window: PositiveFloat
    landmarks_per_tile: PositiveInt

    @property
    def stride(self) -> Size:
        """(d,) elements of the image in one of the heatmap, along each axis."""
        return self.strides[0]

    @property
    def heatmap_elements(self) -> int:
        """Elements of the heatmap of a crop."""
        return math.prod(self.crop) // math.prod(self.stride)

    def sigma_elements(self, spacing: Sequence[float]) -> tuple[float, ...]:
        """(d,) s.d. of the targets in elements of the heatmap of an image with `spacing` (d,)."""
        return tuple(max(SMALLEST_SIGMA, self.sigma / (s * n)) for s, n in zip(spacing, self.stride, strict=True))

    @classmethod
    def from_format_1(cls, settings: Mapping[str, object], landmarks: int) -> Self:
        """The network of a model.json of format 1; see `Network.from_format_1`."""
        renamed = {FORMAT_1_NAMES.get(name, name): value for name, value in settings.items()}
        return super().from_format_1(renamed, landmarks)

    @model_validator(mode="after")
    def _agree(self) -> Self:
        if len(self.channels) != len(self.strides):
            raise ValueError(f"channels has {len(self.channels)} levels, strides {len(self.strides)}")
        if any(len(size) != self.ndim for size in (self.crop, *self.strides)):
            raise ValueError(f"crop or strides are not {self.ndim}D")
        return self


class HeatmapTraining(CroppedTraining):
    """How it learns."""

    batch: PositiveInt
    steps: PositiveInt
    learning_rate: PositiveFloat

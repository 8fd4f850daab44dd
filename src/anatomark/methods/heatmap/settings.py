"""What may be asked of a heatmap training."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from pydantic import Field, PositiveFloat, PositiveInt

from anatomark.methods.heatmap.config import HeatmapLoss
from anatomark.methods.settings import AugmentedSettings, Size, unit


class HeatmapSettings(AugmentedSettings):
    """`None` is decided by the plan. Lengths per axis are in array-axis order."""

    earlier_names: ClassVar[Mapping[str, str]] = {
        "window": "peak_window",
        **AugmentedSettings.earlier_names,
    }
    fixed: ClassVar[Mapping[str, str]] = {
        "landmark_crop_fraction": "a half where images are larger than a crop, else 0",
        "near_landmarks": "a half where images are larger than a crop, else 0",
        "schedule": "cosine",
        **AugmentedSettings.fixed,
    }

    # the U-Net
    channels: Size | None = Field(None, description="channels of each level of the U-Net, three levels or more")
    strides: tuple[Size, ...] | None = Field(
        None, description="strides of each level along each axis; the first are those of the heatmaps"
    )

    # the heatmaps
    loss: HeatmapLoss = Field(
        "binary", description="cross-entropy of each element by itself, or of a softmax over the whole heatmap"
    )
    sigma: PositiveFloat | None = Field(
        None, description="s.d. of the target Gaussian around a landmark", json_schema_extra=unit("mm (or px)")
    )
    peak_window: PositiveFloat = Field(
        3.0,
        description="radius of the window around the maximum whose mean is the point",
        json_schema_extra=unit("sigma"),
    )
    landmarks_per_tile: PositiveInt | None = Field(
        None, description="heatmaps that exist at the same time: all, or fewer where memory is short"
    )

    # training
    crop: Size | None = Field(
        None,
        description="size of the training crops; without, the whole image where memory holds it",
        json_schema_extra=unit("elements"),
    )
    batch: PositiveInt | None = Field(None, description="crops in a step")
    steps: PositiveInt | None = Field(None, description="length of the training", json_schema_extra=unit("steps"))
    learning_rate: PositiveFloat = Field(1e-3, description="peak learning rate")

"""Every value of a heatmap training. `None` means that the plan fills it in from the data."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

from pydantic import Field, PositiveFloat, PositiveInt

from anatomark.methods.heatmap.loss import Reading
from anatomark.methods.interface import AugmentedSettings, Schedule


class HeatmapSettings(AugmentedSettings):
    """Flat and complete: what a run used is what its `settings.json` says. Lengths per axis are in array-axis order."""

    memory_settings: ClassVar[Mapping[str, Sequence[str]]] = {
        "heatmap": ("landmarks_per_tile", "batch", "crop", "channels")
    }

    # the U-Net
    channels: tuple[PositiveInt, ...] | None = Field(None, description="features of each level, three levels or more")
    strides: tuple[tuple[PositiveInt, ...], ...] | None = Field(
        None, description="of each level and axis; the first one is the stride of the heatmaps"
    )

    # the heatmaps
    loss: Reading = Field("binary", description="cross-entropy of each element, or softmax over all of an image")
    sigma: PositiveFloat | None = Field(None, description="s.d. of the Gaussian around a landmark, world units")
    window: PositiveFloat = Field(3.0, description="a point is the mean within this many sigma of the maximum")
    landmarks_per_tile: PositiveInt | None = Field(
        None, description="heatmaps that exist at a time: all, or fewer where memory is short"
    )

    # training
    crop: tuple[PositiveInt, ...] | None = Field(None, description="elements; the whole image where it fits")
    near_landmarks: float | None = Field(
        None,
        ge=0,
        le=1,
        description="share of crops drawn around a landmark; None: half where images are larger",
    )
    batch: PositiveInt | None = None
    steps: PositiveInt | None = None
    learning_rate: PositiveFloat = 1e-3
    schedule: Schedule = "cosine"


PRESETS: Mapping[str, Callable[[int], dict[str, Any]]] = {}

"""Every value of the atlas method. `None` means that the plan fills it in from the data."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, PositiveInt

from anatomark.methods.interface import CommonSettings


class AtlasSettings(CommonSettings):
    """`spacing` is that of the registrations; `pool` makes the coarse images by which atlases are ranked."""

    elements: PositiveInt | None = Field(None, description="of a registered image, which the planned spacing comes to")
    atlases: PositiveInt | None = Field(None, description="training cases kept at most, well spread over all")
    nearest: PositiveInt | None = Field(None, description="atlases that are registered in full and vote")
    registration: Literal["rigid", "affine", "deformable"] = "deformable"
    backend: Literal["simpleitk", "elastix"] = Field(
        "simpleitk", description="of deformable registration; named, so that a model says the same on every machine"
    )
    atlas_shapes: tuple[tuple[PositiveInt, ...], ...] | None = Field(
        None, description="shapes of the kept images; written by training, never set"
    )


def single(ndim: int) -> dict[str, Any]:
    """The most similar atlas alone."""
    return {"nearest": 1}


PRESETS = {"single": single}

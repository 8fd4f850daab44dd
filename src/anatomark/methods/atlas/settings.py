"""What may be asked of the atlas method."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import Field, PositiveInt, model_validator

from anatomark.methods.atlas.config import Backend, Registration
from anatomark.methods.settings import Settings


class AtlasSettings(Settings):
    """`None` is decided by the plan. `spacing` is that of the registrations; `pool` is for the ranking of atlases."""

    earlier_names: ClassVar[Mapping[str, str]] = {"elements": "max_voxels"}

    max_voxels: PositiveInt | None = Field(
        None, description="size of a registered image at most, which decides the spacing where none is set"
    )
    atlases: PositiveInt | None = Field(
        None, description="training cases that are kept as atlases at most, spread over the shapes of all"
    )
    nearest: PositiveInt | None = Field(
        None, description="atlases, the most similar to an image, that are registered in full and averaged"
    )
    registration: Registration = Field("deformable", description="the map from atlas to image")
    backend: Backend = Field(
        "simpleitk",
        description="of deformable registration; fixed, so that a model gives the same points on every machine",
    )

    @model_validator(mode="after")
    def _without_steps(self) -> AtlasSettings:
        if self.minutes is not None or self.epochs is not None:
            raise ValueError("atlas looks at each training case once and takes no steps; leave out minutes and epochs")
        return self


def single(ndim: int) -> dict[str, Any]:
    """The most similar atlas alone."""
    return {"nearest": 1}


PRESETS = {"single": single}
